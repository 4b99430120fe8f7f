/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/attention_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

#define USES_SINKS CLA_USES_PLACES

static const struct cla_variant *const variants[] = {
    &cla_attention_backward_vector,
    &cla_attention_backward_tiled,
};

const struct cla_registry cla_attention_backward_registry = {variants, sizeof variants / sizeof *variants};

void cla_backward_options(struct cla_text *options, const struct cla_problem *problem)
{
    cla_option(options, "CLA_D_OUTPUT_TYPE", (int64_t)problem->tensor[CLA_D_OUTPUT].dtype);
    cla_option(options, "CLA_D_QUERY_TYPE", (int64_t)problem->tensor[CLA_D_QUERY].dtype);
    cla_option(options, "CLA_D_KEY_TYPE", (int64_t)problem->tensor[CLA_D_KEY].dtype);
    cla_option(options, "CLA_D_VALUE_TYPE", (int64_t)problem->tensor[CLA_D_VALUE].dtype);
    cla_option(options, "CLA_ACCUMULATE_INPUT", problem->accumulate_input);
    cla_option(options, "CLA_ACCUMULATE", problem->accumulate);
}

struct cla_backward_shares cla_backward_shares(const struct cla_problem *problem, int gradient)
{
    const int64_t *extent = problem->tensor[gradient].extent;
    const bool of_keys = gradient == CLA_D_KEY || gradient == CLA_D_VALUE;
    const bool packed = (gradient == CLA_D_QUERY && problem->semantics.q_cu_lengths != CLATTN_LENGTHS_NONE) ||
                        (of_keys && problem->semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE);
    const int64_t batches = packed ? problem->batch : extent[0];
    return (struct cla_backward_shares){batches, extent[1], problem->batch / cla_max(batches, 1),
                                        problem->q_heads / cla_max(extent[1], 1)};
}

static struct cla_needs needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    (void)problem;
    return (struct cla_needs){.local_bytes = 64 * (int64_t)tile->width * tile->height +
                                             16 * (int64_t)tile->chunk * (tile->width + tile->height)};
}

clattn_status cla_backward_tiled_step(clattn_plan *plan, const char *file, const char *kernel_name, unsigned uses,
                                      int64_t terms, struct cla_text *name, struct cla_step **step,
                                      const struct cla_tile **tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tiled_kernel kernel = {file, kernel_name, needs};
    const struct cla_build build = cla_semantics_build(problem, uses);
    struct cla_text options = {0};
    cla_backward_options(&options, problem);
    clattn_status status = cla_add_tiled_step(plan, &kernel, &build, terms, &options, name, step, tile, error);
    cla_text_free(&options);
    return status;
}

static void add_delta(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_workspace(step, problem->q_heads * problem->q_len, problem->q_len, 1);
}

void cla_backward_inputs(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LSE);
    add_delta(step, problem);
}

clattn_status cla_backward_take_delta(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t rows = 0;
    if (!cla_mul(problem->batch * problem->q_heads, problem->q_len, &rows) || rows > INT64_MAX / 4)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "delta has more than 2^61 numbers");
    plan->workspace_size = (size_t)(4 * rows);
    return CLATTN_SUCCESS;
}

void cla_backward_delta_args(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_operand(step, problem, CLA_D_OUTPUT);
    cla_step_operand(step, problem, CLA_D_LSE);
    add_delta(step, problem);
    cla_step_int(step, problem->tensor[CLA_D_LSE].present);
    cla_step_int(step, problem->q_heads);
}

clattn_status cla_backward_add_sinks(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    if (!problem->tensor[CLA_D_SINKS].present)
        return CLATTN_SUCCESS;
    CLA_TRY(
        cla_backward_tiled_step(plan, "backward_sinks.cl", "backward_sinks", USES_SINKS, 0, NULL, &step, &tile, error));
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
