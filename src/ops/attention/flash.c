/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention with tiles in local memory: cl/flash.cl. One launch, no workspace. */
#include "ops/attention/registry.h"
#include "ops/kernel.h"
#include "util/error.h"
#include "util/size.h"

static int64_t local_bytes(const struct cla_tile *tile)
{
    int64_t queries = 4 * tile->height;
    int64_t keys = 4 * tile->width;
    int64_t scratch = cla_max((queries + keys) * tile->chunk, cla_max(keys * keys, tile->width * queries));
    return 4 * (keys * queries + scratch + keys);
}

static clattn_status add_with_tile(clattn_plan *plan, const struct cla_tile *tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_common_options(&options, problem, CLA_USES_ALL, tile, 4);
    cla_option(&options, "CLA_HEAD_DIM", problem->head_dim);
    cla_option(&options, "CLA_VALUE_DIM", problem->value_dim);
    cla_option(&options, "CLA_LSE", problem->tensor[CLA_LSE].present);
    clattn_status status =
        cla_plan_add_step(plan, "flash.cl", options.data, "flash", (size_t)(tile->width * tile->height), &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_operand(step, problem, CLA_LSE);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_semantics(step, problem);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = 4 * tile->height;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

static bool accepts(const struct cla_problem *problem, const struct cla_device *device, struct cla_text *reason)
{
    if (problem->scores_stage != CLATTN_SCORES_NONE)
        cla_text_add(reason, "gives no scores out");
    else if (problem->value_dim > 1024)
        cla_text_add(reason, "value_dim %lld does not fit the registers, at most 1024 does",
                     (long long)problem->value_dim);
    else if (cla_tile_for(device, local_bytes, 0) == NULL)
        cla_text_add(reason, "no tile fits %llu bytes of local memory", (unsigned long long)device->info.local_memory);
    return reason->length == 0;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    const struct cla_tile *tile;
    for (size_t i = 0; (tile = cla_tile_for(&plan->context->device, local_bytes, i)) != NULL; i++) {
        status = add_with_tile(plan, tile, error);
        if (status == CLATTN_SUCCESS)
            cla_text_add(name, "q%dk%d", 4 * tile->height, 4 * tile->width);
        if (status != CLATTN_ERROR_UNSUPPORTED)
            break;
    }
    return status;
}

const struct cla_variant cla_attention_flash = {"flash", accepts, add_steps};
