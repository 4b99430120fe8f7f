/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass with tiles in local memory: cl/backward_*.cl. Up to four launches: delta into the workspace, then
 * one for the gradient of each side. Takes every problem.
 */
#include "ops/semantics.h"
#include "ops/variant.h"
#include "problem/attention_backward.h"
#include "util/error.h"
#include "util/size.h"

#define USES       (CLA_USES_ALL & ~CLA_USES_SINKS)
#define USES_DELTA (CLA_USES_VALUE_OUTPUT | CLA_USES_PLACES)
#define USES_SINKS CLA_USES_PLACES

static struct cla_needs needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    (void)problem;
    return (struct cla_needs){.local_bytes = 64 * (int64_t)tile->width * tile->height +
                                             16 * (int64_t)tile->chunk * (tile->width + tile->height)};
}

static clattn_status add_step(clattn_plan *plan, const char *file, const char *kernel_name, unsigned uses,
                              struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                              clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tiled_kernel kernel = {file, kernel_name, needs};
    const struct cla_build build = cla_semantics_build(problem, uses);
    int64_t queries = INT64_MAX;
    struct cla_text options = {0};
    if (!cla_mul(problem->q_len, cla_heads_per_kv(problem), &queries))
        queries = INT64_MAX;
    cla_option(&options, "CLA_D_OUTPUT_TYPE", (int64_t)problem->tensor[CLA_D_OUTPUT].dtype);
    cla_option(&options, "CLA_D_QUERY_TYPE", (int64_t)problem->tensor[CLA_D_QUERY].dtype);
    cla_option(&options, "CLA_D_KEY_TYPE", (int64_t)problem->tensor[CLA_D_KEY].dtype);
    cla_option(&options, "CLA_D_VALUE_TYPE", (int64_t)problem->tensor[CLA_D_VALUE].dtype);
    cla_option(&options, "CLA_ACCUMULATE", problem->accumulate);
    clattn_status status =
        cla_add_tiled_step(plan, &kernel, &build, cla_max(queries, problem->kv_len), &options, name, step, tile, error);
    cla_text_free(&options);
    return status;
}

static void add_delta(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_workspace(step, problem->q_heads * problem->q_len, problem->q_len, 1);
}

static clattn_status add_delta_step(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(add_step(plan, "backward_delta.cl", "backward_delta", USES_DELTA, NULL, &step, &tile, error));
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_operand(step, problem, CLA_D_OUTPUT);
    cla_step_operand(step, problem, CLA_D_LSE);
    add_delta(step, problem);
    cla_step_int(step, problem->tensor[CLA_D_LSE].present);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, problem->value_dim);
    cla_step_semantics(step, problem, USES_DELTA);
    step->tile_rows = (int64_t)tile->width * tile->height;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

/* What both kernels read. */
static void add_inputs(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LSE);
    add_delta(step, problem);
}

static clattn_status add_query_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(add_step(plan, "backward_query.cl", "backward_query", USES, name, &step, &tile, error));
    add_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_QUERY);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_semantics(step, problem, USES);
    step->column_groups = cla_ceil_div(problem->head_dim, 4 * tile->width);
    return CLATTN_SUCCESS;
}

static clattn_status add_key_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t head_columns = problem->tensor[CLA_D_KEY].present ? problem->head_dim : 0;
    const int64_t value_columns = problem->tensor[CLA_D_VALUE].present ? problem->value_dim : 0;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(add_step(plan, "backward_key.cl", "backward_key", USES, name, &step, &tile, error));
    add_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_KEY);
    cla_step_operand(step, problem, CLA_D_VALUE);
    cla_step_int(step, problem->kv_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, head_columns);
    cla_step_int(step, value_columns);
    cla_step_semantics(step, problem, USES);
    step->heads = problem->batch * problem->kv_heads;
    step->tile_rows = 0;
    step->tile_keys = 4 * tile->height;
    step->column_groups = cla_ceil_div(cla_max(head_columns, value_columns), 4 * tile->width);
    return CLATTN_SUCCESS;
}

static clattn_status add_sinks_step(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(add_step(plan, "backward_sinks.cl", "backward_sinks", USES_SINKS, NULL, &step, &tile, error));
    cla_step_operand(step, problem, CLA_SINKS);
    cla_step_operand(step, problem, CLA_LSE);
    add_delta(step, problem);
    cla_step_operand(step, problem, CLA_D_SINKS);
    cla_step_int(step, problem->batch);
    cla_step_semantics(step, problem, USES_SINKS);
    step->heads = problem->q_heads;
    step->tile_rows = 0;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t rows = 0;
    if (!cla_mul(problem->batch * problem->q_heads, problem->q_len, &rows) || rows > INT64_MAX / 4)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "delta has more than 2^61 numbers");
    plan->workspace_size = (size_t)(4 * rows);
    CLA_TRY(add_delta_step(plan, error));
    const bool keys = problem->tensor[CLA_D_KEY].present || problem->tensor[CLA_D_VALUE].present;
    if (problem->tensor[CLA_D_QUERY].present)
        CLA_TRY(add_query_step(plan, name, error));
    if (keys)
        CLA_TRY(add_key_step(plan, problem->tensor[CLA_D_QUERY].present ? NULL : name, error));
    return problem->tensor[CLA_D_SINKS].present ? add_sinks_step(plan, error) : CLATTN_SUCCESS;
}

static const struct cla_variant tiled = {"tiled", NULL, add_steps};
static const struct cla_variant *const variants[] = {&tiled};
const struct cla_registry cla_attention_backward_registry = {variants, sizeof variants / sizeof *variants};
