/* SPDX-License-Identifier: Apache-2.0 */
/* Weighted sum, tiled: cl/weighted_sum.cl. */
#include "ops/semantics.h"
#include "ops/variant.h"
#include "util/error.h"
#include "util/size.h"

#define USES (CLA_USES_VALUE_OUTPUT | CLA_USES_PLACES | CLA_USES_EXCLUSIONS)

clattn_status cla_add_weighted_sum_step(clattn_plan *plan, const struct cla_intermediate *from, struct cla_text *name,
                                        clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"weighted_sum.cl", "weighted_sum", cla_product_needs};
    const struct cla_problem *problem = &plan->problem;
    const struct cla_build build = cla_semantics_build(problem, USES);
    struct cla_step *step = NULL;
    const struct cla_tile *tile = NULL;
    CLA_TRY(cla_add_tiled_step(plan, &kernel, &build, problem->kv_len, NULL, name, &step, &tile, error));
    cla_step_intermediate(step, problem, from);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->value_dim);
    cla_step_slice(step);
    cla_step_semantics(step, problem, USES);
    step->column_groups = cla_ceil_div(problem->value_dim, 4 * tile->width);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_intermediate from = {.operand = CLA_WEIGHTS};
    return cla_add_weighted_sum_step(plan, &from, tile, error);
}

static const struct cla_variant weighted_sum = {"weighted_sum", NULL, add_steps};
static const struct cla_variant *const variants[] = {&weighted_sum};
const struct cla_registry cla_weighted_sum_registry = {variants, sizeof variants / sizeof *variants};
