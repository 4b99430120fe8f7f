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
        cla_backward_tiled_step(plan, "backward_delta.cl", "backward_delta", USES_DELTA, 0, NULL, &step, &tile, error));
    cla_backward_delta_args(step, problem);
    cla_step_int(step, problem->value_dim);
    cla_step_semantics(step, problem, USES_DELTA);
    step->tile_rows = (int64_t)tile->width * tile->height;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

/* Of `length` keys or queries of each batch and head: a part of a tile is added as a whole one is, of up to 256. */
static int64_t terms_of(const struct cla_backward_shares *shares, int64_t length)
{
    const int64_t sums = shares->sum_batches * shares->sum_heads;
    int64_t terms = INT64_MAX;
    return sums == 1 ? length : cla_mul(cla_round_up(length, 256), sums, &terms) ? terms : INT64_MAX;
}

/* What the kernels of both sides are told of a head. */
static void add_head(struct cla_step *step, const struct cla_problem *problem, const struct cla_backward_shares *shares)
{
    cla_step_int(step, shares->heads);
    cla_step_int(step, shares->sum_batches);
    cla_step_int(step, shares->sum_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
}

static clattn_status add_query_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_backward_shares shares = cla_backward_shares(problem, CLA_D_QUERY);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(cla_backward_tiled_step(plan, "backward_query.cl", "backward_query", CLA_BACKWARD_USES,
                                    terms_of(&shares, problem->kv_len), name, &step, &tile, error));
    cla_backward_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_QUERY);
    add_head(step, problem, &shares);
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
    step->heads = shares.batches * shares.heads;
    step->column_groups = cla_ceil_div(problem->head_dim, 4 * tile->width);
    return CLATTN_SUCCESS;
}

/* Of d_key, d_value or both, which are sums over the same. */
static clattn_status add_key_step(clattn_plan *plan, bool of_keys, bool of_values, struct cla_text *name,
                                  clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_backward_shares shares = cla_backward_shares(problem, of_keys ? CLA_D_KEY : CLA_D_VALUE);
    const int64_t head_columns = of_keys ? problem->head_dim : 0;
    const int64_t value_columns = of_values ? problem->value_dim : 0;
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(cla_backward_tiled_step(plan, "backward_key.cl", "backward_key", CLA_BACKWARD_USES,
                                    terms_of(&shares, problem->q_len), name, &step, &tile, error));
    cla_backward_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_KEY);
    cla_step_operand(step, problem, CLA_D_VALUE);
    add_head(step, problem, &shares);
    cla_step_int(step, head_columns);
    cla_step_int(step, value_columns);
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
    step->heads = shares.batches * shares.heads;
    step->tile_rows = 0;
    step->tile_keys = 4 * tile->height;
    step->column_groups = cla_ceil_div(cla_max(head_columns, value_columns), 4 * tile->width);
    return CLATTN_SUCCESS;
}

/* Keys and values have one step if their gradients are sums over the same batches and heads. */
static clattn_status add_key_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_tensor *key = &plan->problem.tensor[CLA_D_KEY];
    const struct cla_tensor *value = &plan->problem.tensor[CLA_D_VALUE];
    const bool alike = key->extent[0] == value->extent[0] && key->extent[1] == value->extent[1];
    if (!key->present && !value->present)
        return CLATTN_SUCCESS;
    if (!key->present || !value->present || alike)
        return add_key_step(plan, key->present, value->present, name, error);
    CLA_TRY(add_key_step(plan, true, false, name, error));
    return add_key_step(plan, false, true, NULL, error);
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const bool queries = plan->problem.tensor[CLA_D_QUERY].present;
    CLA_TRY(add_delta_step(plan, error));
    if (queries)
        CLA_TRY(add_query_step(plan, name, error));
    CLA_TRY(add_key_steps(plan, queries ? NULL : name, error));
    CLA_TRY(cla_backward_add_sinks(plan, error));
    return cla_backward_add_biases(plan, error);
}

const struct cla_variant cla_attention_backward_tiled = {"tiled", NULL, add_steps};
