/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention with tiles in local memory: cl/flash.cl. One launch, no workspace. */
#include "ops/attention/registry.h"
#include "ops/kernel.h"
#include "util/error.h"
#include "util/size.h"

static struct cla_needs needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    const int64_t queries = 4 * (int64_t)tile->height;
    const int64_t keys = 4 * (int64_t)tile->width;
    return (struct cla_needs){.local_bytes = 4 * (keys * queries + (queries + keys) * tile->chunk),
                              .sums = problem->value_dim};
}

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    if (problem->semantics.scores_stage != CLATTN_SCORES_NONE)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "gives no scores out");
    if (problem->value_dim > 1024)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "value_dim %lld does not fit the registers, at most 1024 does",
                        (long long)problem->value_dim);
    if (cla_tile_for(device, problem, needs, 0) == NULL)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "no tile fits %llu bytes of local memory",
                        (unsigned long long)device->info.local_memory);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"flash.cl", "flash", needs};
    const struct cla_build build = cla_semantics_build(&plan->problem, CLA_USES_ALL);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    cla_flash_options(&options, &plan->problem);
    clattn_status status =
        cla_add_tiled_step(plan, &kernel, &build, plan->problem.kv_len, &options, name, &step, &tile, error);
    cla_text_free(&options);
    if (status == CLATTN_SUCCESS)
        cla_flash_args(step, &plan->problem, NULL);
    return status;
}

const struct cla_variant cla_attention_flash = {"flash", accepts, add_steps};
