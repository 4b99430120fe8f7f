/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention with queries in the lanes of wide vectors: cl/flash_vector.cl. One launch, no workspace. */
#include "ops/attention/registry.h"
#include "ops/kernel.h"

/*
 * A register block of `block` x `vectors` sums, with `vectors` operands and a broadcast one, must fit the vector
 * registers: 32 of 16 lanes (AVX-512), 16 of 8 (AVX2), 32 of 4 (NEON).
 */
static const struct block {
    uint32_t lanes;
    int vectors;
    int block;
    int keys;
} blocks[] = {
    {16, 3, 8, 64},
    {8, 2, 4, 64},
    {4, 3, 8, 64},
};

static const struct block *block_for(const struct cla_device *device)
{
    size_t count = sizeof blocks / sizeof *blocks;
    for (size_t i = 0; i < count; i++) {
        if (device->vector_lanes >= blocks[i].lanes)
            return &blocks[i];
    }
    return &blocks[count - 1];
}

static bool accepts(const struct cla_problem *problem, const struct cla_device *device, struct cla_text *reason)
{
    (void)device;
    if (problem->scores_stage != CLATTN_SCORES_NONE)
        cla_text_add(reason, "gives no scores out");
    else if (problem->head_dim > 2048 || problem->value_dim > 2048)
        cla_text_add(reason, "head_dim %lld and value_dim %lld do not fit private memory, at most 2048 do",
                     (long long)problem->head_dim, (long long)problem->value_dim);
    return reason->length == 0;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct block *block = block_for(&plan->context->device);
    const int rows = block->vectors * (int)block->lanes;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_common_options(&options, problem, CLA_USES_ALL, NULL, (int)block->lanes);
    cla_flash_options(&options, problem);
    cla_option(&options, "CLA_VECTORS", block->vectors);
    cla_option(&options, "CLA_BLOCK", block->block);
    cla_option(&options, "CLA_KEYS", block->keys);
    cla_option(&options, "CLA_PACK", 0);
    cla_option(&options, "CLA_SPLIT", 0);
    clattn_status status = cla_plan_add_step(plan, "flash_vector.cl", options.data, "flash_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_flash_args(step, problem);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = rows;
    cla_text_add(name, "q%dk%d", rows, block->keys);
    return CLATTN_SUCCESS;
}

const struct cla_variant cla_attention_flash_vector = {"flash_vector", accepts, add_steps};
