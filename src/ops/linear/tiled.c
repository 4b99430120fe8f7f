/* SPDX-License-Identifier: Apache-2.0 */
/* Linear with tiles in local memory: cl/linear.cl. One launch, no workspace. Takes every problem. */
#include "ops/linear/registry.h"
#include "util/size.h"

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"linear.cl", "linear", cla_product_needs};
    const struct cla_problem *problem = &plan->problem;
    const struct cla_build build = cla_linear_build(problem);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    cla_linear_options(&options, problem);
    clattn_status status =
        cla_add_tiled_step(plan, &kernel, &build, problem->head_dim, &options, NULL, &step, &tile, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_linear_args(step, problem);
    step->column_groups = cla_ceil_div(problem->value_dim, 4 * tile->width);
    cla_text_add(name, "r%dn%d", 4 * tile->height, 4 * tile->width);
    return CLATTN_SUCCESS;
}

const struct cla_variant cla_linear_tiled = {"tiled", NULL, add_steps};
