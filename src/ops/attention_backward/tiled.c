/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass with tiles in local memory: cl/backward_*.cl. Up to four launches: delta into the workspace, then
 * one for the gradient of each side. Takes every problem.
 */
#include "ops/attention_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

#define USES_DELTA (CLA_USES_VALUE_OUTPUT | CLA_USES_PLACES)

static clattn_status add_delta_step(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(cla_backward_take_delta(plan, error));
    CLA_TRY(
        cla_backward_tiled_step(plan, "backward_delta.cl", "backward_delta", USES_DELTA, NULL, &step, &tile, error));
    cla_backward_delta_args(step, problem);
    cla_step_int(step, problem->value_dim);
    cla_step_semantics(step, problem, USES_DELTA);
    step->tile_rows = (int64_t)tile->width * tile->height;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

static clattn_status add_query_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(cla_backward_tiled_step(plan, "backward_query.cl", "backward_query", CLA_BACKWARD_USES, name, &step, &tile,
                                    error));
    cla_backward_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_QUERY);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
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
    CLA_TRY(
        cla_backward_tiled_step(plan, "backward_key.cl", "backward_key", CLA_BACKWARD_USES, name, &step, &tile, error));
    cla_backward_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_KEY);
    cla_step_operand(step, problem, CLA_D_VALUE);
    cla_step_int(step, problem->kv_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, head_columns);
    cla_step_int(step, value_columns);
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
    step->heads = problem->batch * problem->kv_heads;
    step->tile_rows = 0;
    step->tile_keys = 4 * tile->height;
    step->column_groups = cla_ceil_div(cla_max(head_columns, value_columns), 4 * tile->width);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_tensor *tensor = plan->problem.tensor;
    CLA_TRY(add_delta_step(plan, error));
    if (tensor[CLA_D_QUERY].present)
        CLA_TRY(add_query_step(plan, name, error));
    if (tensor[CLA_D_KEY].present || tensor[CLA_D_VALUE].present)
        CLA_TRY(add_key_step(plan, tensor[CLA_D_QUERY].present ? NULL : name, error));
    CLA_TRY(cla_backward_add_sinks(plan, error));
    return cla_backward_add_biases(plan, error);
}

const struct cla_variant cla_attention_backward_tiled = {"tiled", NULL, add_steps};
