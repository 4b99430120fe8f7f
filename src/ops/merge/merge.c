/* SPDX-License-Identifier: Apache-2.0 */
/* Merge of partial states, one work-group a row: cl/merge.cl. */
#include "ops/semantics.h"
#include "ops/variant.h"
#include "util/size.h"

/* Places for packed queries, sinks for runs without keys. */
#define USES (CLA_USES_VALUE_OUTPUT | CLA_USES_PLACES | CLA_USES_SINKS)

/* Vectors of columns for which a work-item uses a weight that it has computed. */
enum { VECTORS = 4 };

/* The widest vectors that the device likes and that leave few columns over; always at least 4, which lanes.cl needs. */
static int lanes_for(const struct cla_device *device, int64_t value_dim)
{
    int lanes = (int)cla_max(4, (int64_t)device->vector_lanes);
    while (lanes > 4 && value_dim % lanes != 0)
        lanes /= 2;
    return lanes;
}

static void add_partial(struct cla_step *step, const struct cla_problem *problem, const struct cla_partial *at)
{
    if (at->in_workspace)
        cla_step_workspace_from(step, at->start, at->part_stride, at->head_stride, at->row_stride);
    else
        cla_step_operand(step, problem, at->operand);
}

static clattn_status add_with_group(clattn_plan *plan, const struct cla_partial *outputs,
                                    const struct cla_partial *states, int64_t split_keys, int lanes, size_t size,
                                    clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const clattn_dtype part = outputs->in_workspace ? CLATTN_F32 : problem->tensor[outputs->operand].dtype;
    const struct cla_vector_block block = {lanes, VECTORS, 1};
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    struct cla_build build = cla_semantics_build(problem, USES);
    build.vector_block = &block;
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_GROUP_SIZE", (int64_t)size);
    cla_option(&options, "CLA_PART_TYPE", (int64_t)part);
    cla_option(&options, "CLA_PART_SUMS", states->in_workspace);
    cla_option(&options, "CLA_LSE", problem->tensor[CLA_LSE].present);
    clattn_status status = cla_plan_add_step(plan, "merge.cl", &options, "merge", size, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    add_partial(step, problem, outputs);
    add_partial(step, problem, states);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_operand(step, problem, CLA_LSE);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, split_keys);
    cla_step_slice(step);
    cla_step_semantics(step, problem, USES);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = 1;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

clattn_status cla_add_merge_step(clattn_plan *plan, const struct cla_partial *outputs, const struct cla_partial *states,
                                 int64_t split_keys, struct cla_text *name, clattn_error *error)
{
    const struct cla_device *device = &plan->context->device;
    const int lanes = lanes_for(device, plan->problem.value_dim);
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    for (size_t size = cla_row_group(device, plan->problem.value_dim / lanes); size > 0; size /= 2) {
        status = add_with_group(plan, outputs, states, split_keys, lanes, size, error);
        if (status == CLATTN_SUCCESS && name != NULL)
            cla_text_add(name, "w%zu", size);
        if (status != CLATTN_ERROR_UNSUPPORTED)
            break;
    }
    return status;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_partial outputs = {.operand = CLA_PARTS};
    const struct cla_partial states = {.operand = CLA_PART_LSE};
    return cla_add_merge_step(plan, &outputs, &states, 1, tile, error);
}

static const struct cla_variant merge = {"merge", NULL, add_steps};
static const struct cla_variant *const variants[] = {&merge};
const struct cla_registry cla_merge_registry = {variants, sizeof variants / sizeof *variants};
