/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, tiled: cl/scores.cl. */
#include "ops/kernel.h"
#include "ops/variant.h"

static int64_t local_bytes(const struct cla_tile *tile)
{
    return 4 * (4 * tile->width + 4 * tile->height) * tile->chunk;
}

static clattn_status add_with_tile(clattn_plan *plan, clattn_scores_stage stage, const struct cla_intermediate *to,
                                   const struct cla_tile *tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_common_options(&options, problem,
                       CLA_USES_QUERY_KEY | (stage >= CLATTN_SCORES_SOFTCAP ? CLA_USES_SOFTCAP : 0u) |
                           (stage >= CLATTN_SCORES_MASKED ? CLA_USES_EXCLUSIONS : 0u),
                       tile, 4);
    cla_option(&options, "CLA_STAGE", (int64_t)stage);
    clattn_status status = cla_plan_add_step(plan, "scores.cl", options.data, "scores",
                                             (size_t)(tile->width * tile->height), &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_intermediate(step, problem, to);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_slice(step);
    cla_step_semantics(step, problem);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = 4 * tile->height;
    step->tile_keys = 4 * tile->width;
    return CLATTN_SUCCESS;
}

clattn_status cla_add_scores_step(clattn_plan *plan, clattn_scores_stage stage, const struct cla_intermediate *to,
                                  struct cla_text *name, clattn_error *error)
{
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    const struct cla_tile *tile;
    for (size_t i = 0; (tile = cla_tile_for(&plan->context->device, local_bytes, i)) != NULL; i++) {
        status = add_with_tile(plan, stage, to, tile, error);
        if (status == CLATTN_SUCCESS && name != NULL)
            cla_text_add(name, "q%dk%d", 4 * tile->height, 4 * tile->width);
        if (status != CLATTN_ERROR_UNSUPPORTED)
            break;
    }
    return status;
}

static bool accepts(const struct cla_problem *problem, const struct cla_device *device, struct cla_text *reason)
{
    (void)problem;
    (void)device;
    (void)reason;
    return true;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_intermediate to = {.operand = CLA_SCORES};
    return cla_add_scores_step(plan, plan->problem.scores_stage, &to, tile, error);
}

static const struct cla_variant scores = {"scores", accepts, add_steps};
static const struct cla_variant *const variants[] = {&scores};
const struct cla_registry cla_scores_registry = {variants, sizeof variants / sizeof *variants};
