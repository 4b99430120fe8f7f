/* SPDX-License-Identifier: Apache-2.0 */
/* Weighted sum, tiled: cl/weighted_sum.cl. */
#include "ops/kernel.h"
#include "ops/variant.h"
#include "util/size.h"

static int64_t local_bytes(const struct cla_tile *tile)
{
    int64_t queries = 4 * tile->height;
    int64_t keys = 4 * tile->width;
    return 4 * keys * (queries + keys + 1);
}

static clattn_status add_with_tile(clattn_plan *plan, const struct cla_intermediate *from, const struct cla_tile *tile,
                                   clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_common_options(&options, problem, CLA_USES_VALUE_OUTPUT | CLA_USES_EXCLUSIONS, tile, 4);
    clattn_status status = cla_plan_add_step(plan, "weighted_sum.cl", options.data, "weighted_sum",
                                             (size_t)(tile->width * tile->height), &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_intermediate(step, problem, from);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->value_dim);
    cla_step_slice(step);
    cla_step_semantics(step, problem);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = 4 * tile->height;
    step->column_groups = cla_ceil_div(problem->value_dim, 4 * tile->width);
    return CLATTN_SUCCESS;
}

clattn_status cla_add_weighted_sum_step(clattn_plan *plan, const struct cla_intermediate *from, struct cla_text *name,
                                        clattn_error *error)
{
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    const struct cla_tile *tile;
    for (size_t i = 0; (tile = cla_tile_for(&plan->context->device, local_bytes, i)) != NULL; i++) {
        status = add_with_tile(plan, from, tile, error);
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
    const struct cla_intermediate from = {.operand = CLA_WEIGHTS};
    return cla_add_weighted_sum_step(plan, &from, tile, error);
}

static const struct cla_variant weighted_sum = {"weighted_sum", accepts, add_steps};
static const struct cla_variant *const variants[] = {&weighted_sum};
const struct cla_registry cla_weighted_sum_registry = {variants, sizeof variants / sizeof *variants};
