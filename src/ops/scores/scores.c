/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, tiled: cl/scores.cl. */
#include "ops/semantics.h"
#include "ops/variant.h"

/* What the scores of a stage depend on. */
static unsigned uses(clattn_scores_stage stage)
{
    unsigned softcap = stage >= CLATTN_SCORES_SOFTCAP ? CLA_USES_SOFTCAP : 0;
    unsigned exclusions = stage >= CLATTN_SCORES_MASKED ? CLA_USES_EXCLUSIONS | CLA_USES_BIASES : 0;
    return CLA_USES_QUERY_KEY | CLA_USES_PLACES | softcap | exclusions;
}

clattn_status cla_add_scores_step(clattn_plan *plan, clattn_scores_stage stage, const struct cla_intermediate *to,
                                  struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    static const struct cla_tiled_kernel kernel = {"scores.cl", "scores", cla_product_needs};
    const struct cla_build build = cla_semantics_build(problem, uses(stage));
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    const struct cla_tile *tile = NULL;
    cla_option(&options, "CLA_STAGE", (int64_t)stage);
    clattn_status status =
        cla_add_tiled_step(plan, &kernel, &build, problem->head_dim, &options, name, &step, &tile, error);
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
    cla_step_semantics(step, problem, uses(stage));
    step->tile_keys = 4 * tile->width;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_intermediate to = {.operand = CLA_SCORES};
    return cla_add_scores_step(plan, plan->problem.semantics.scores_stage, &to, tile, error);
}

static const struct cla_variant scores = {"scores", NULL, add_steps};
static const struct cla_variant *const variants[] = {&scores};
const struct cla_registry cla_scores_registry = {variants, sizeof variants / sizeof *variants};
