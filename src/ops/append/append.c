/* SPDX-License-Identifier: Apache-2.0 */
/* Append to a key/value cache, a step a tensor: cl/append.cl. */
#include "problem/append.h"
#include "ops/semantics.h"
#include "ops/variant.h"
#include "util/error.h"

/* Work-items a row: as many as read memory in one go on a GPU. */
enum { MOST_ITEMS = 64 };

/* Rows a work-group where that is one work-item: enough to be worth starting it. */
enum { ROWS = 16 };

/* CLA_POSITIONS of the kernel, numbered as clattn_lengths is. */
static int64_t positions_type(const struct cla_problem *problem)
{
    const struct cla_tensor *positions = &problem->tensor[CLA_APPEND_POSITIONS];
    return !positions->present            ? CLATTN_LENGTHS_NONE
           : positions->element_size == 4 ? CLATTN_LENGTHS_I32
                                          : CLATTN_LENGTHS_I64;
}

static clattn_status add_step(clattn_plan *plan, int from, int cache, int64_t columns, size_t size, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t rows = size == 1 ? ROWS : 1;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    const struct cla_build build = cla_semantics_build(problem, CLA_USES_PLACES);
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_FROM_TYPE", (int64_t)problem->tensor[from].dtype);
    cla_option(&options, "CLA_CACHE_TYPE", (int64_t)problem->tensor[cache].dtype);
    cla_option(&options, "CLA_POSITIONS", positions_type(problem));
    cla_option(&options, "CLA_GROUP_SIZE", (int64_t)size);
    cla_option(&options, "CLA_ROWS", rows);
    clattn_status status = cla_plan_add_step(plan, "append.cl", &options, "append", size, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, from);
    cla_step_operand(step, problem, cache);
    cla_step_operand(step, problem, CLA_APPEND_POSITIONS);
    cla_step_run_value(step, CLA_ARG_OFFSET);
    cla_step_int(step, problem->kv_heads);
    cla_step_int(step, columns);
    cla_step_semantics(step, problem, CLA_USES_PLACES);
    step->heads = problem->batch * problem->kv_heads;
    step->rows = problem->q_len;
    step->tile_rows = rows;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const size_t size = cla_row_group(&plan->context->device, MOST_ITEMS);
    CLA_TRY(add_step(plan, CLA_KEY, CLA_KEY_CACHE, problem->head_dim, size, error));
    if (problem->tensor[CLA_VALUE].present)
        CLA_TRY(add_step(plan, CLA_VALUE, CLA_VALUE_CACHE, problem->value_dim, size, error));
    cla_text_add(tile, "w%zu", size);
    return CLATTN_SUCCESS;
}

static const struct cla_variant append = {"append", NULL, add_steps};
static const struct cla_variant *const variants[] = {&append};
const struct cla_registry cla_append_registry = {variants, sizeof variants / sizeof *variants};
