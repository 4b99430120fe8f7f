/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention with queries in the lanes of wide vectors: cl/flash_vector.cl. One launch, no workspace. */
#include "ops/attention/registry.h"
#include "util/error.h"

enum { KEYS = 64 }; /* of a tile: with 48 rows, 12 KiB of weights */

clattn_status cla_flash_vector_accepts(const struct cla_problem *problem, const struct cla_device *device,
                                       clattn_error *why)
{
    (void)device;
    if (problem->semantics.scores_stage != CLATTN_SCORES_NONE)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "gives no scores out");
    if (problem->head_dim > 2048 || problem->value_dim > 2048)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED,
                        "head_dim %lld and value_dim %lld do not fit private memory, at most 2048 do",
                        (long long)problem->head_dim, (long long)problem->value_dim);
    return CLATTN_SUCCESS;
}

clattn_status cla_flash_vector_add(clattn_plan *plan, enum cla_dot dot, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block *block = cla_vector_block_for(&plan->context->device);
    const int64_t tile_rows = (int64_t)block->vectors * block->lanes;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    struct cla_build build = cla_semantics_build(problem, CLA_USES_ALL);
    build.vector_block = block;
    build.dot = dot;
    cla_build_options(&options, &build);
    cla_flash_options(&options, problem);
    cla_option(&options, "CLA_KEYS", KEYS);
    clattn_status status = cla_plan_add_step(plan, "flash_vector.cl", &options, "flash_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_flash_args(step, problem, NULL);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = tile_rows;
    cla_text_add(name, "q%lldk%d", (long long)tile_rows, KEYS);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    return cla_flash_vector_add(plan, CLA_DOT_NONE, name, error);
}

const struct cla_variant cla_attention_flash_vector = {"flash_vector", cla_flash_vector_accepts, add_steps};
