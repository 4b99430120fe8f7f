/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention with queries in the lanes of wide vectors: cl/flash_vector.cl. One launch, no workspace. */
#include "ops/attention/registry.h"

enum { KEYS = 64 }; /* of a tile: with 48 rows, 12 KiB of weights */

bool cla_flash_vector_accepts(const struct cla_problem *problem, const struct cla_device *device,
                              struct cla_text *reason)
{
    (void)device;
    if (problem->scores_stage != CLATTN_SCORES_NONE)
        cla_text_add(reason, "gives no scores out");
    else if (problem->head_dim > 2048 || problem->value_dim > 2048)
        cla_text_add(reason, "head_dim %lld and value_dim %lld do not fit private memory, at most 2048 do",
                     (long long)problem->head_dim, (long long)problem->value_dim);
    return reason->length == 0;
}

clattn_status cla_add_flash_vector(clattn_plan *plan, const struct cla_vector_block *block, bool pack,
                                   struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t tile_rows = (int64_t)block->vectors * block->lanes;
    const int64_t packed = pack ? cla_heads_per_kv(problem) : 1;
    const int64_t heads = problem->batch * problem->q_heads / packed;
    struct cla_split split = {0};
    if (pack)
        split = cla_split_keys(plan, heads * ((problem->q_len * packed + tile_rows - 1) / tile_rows), KEYS);

    struct cla_problem written = *problem; /* by the kernel, as far as its options tell */
    if (split.keys != 0)
        written.tensor[CLA_OUTPUT].dtype = CLATTN_F32;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_common_options(&options, &written, CLA_USES_ALL, NULL, block);
    cla_flash_options(&options, problem);
    cla_option(&options, "CLA_KEYS", KEYS);
    cla_option(&options, "CLA_PACK", pack);
    cla_option(&options, "CLA_SPLIT", split.keys != 0);
    clattn_status status = cla_plan_add_step(plan, "flash_vector.cl", options.data, "flash_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_flash_args(step, problem, &split);
    step->heads = heads;
    step->packed_heads = packed;
    step->rows = problem->q_len;
    step->tile_rows = tile_rows;
    cla_text_add(name, "q%lldk%d", (long long)tile_rows, KEYS);
    if (split.keys != 0)
        cla_text_add(name, "s%lld", (long long)split.keys);
    return cla_add_split_merge(plan, &split, error);
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    return cla_add_flash_vector(plan, cla_vector_block_for(&plan->context->device), false, name, error);
}

const struct cla_variant cla_attention_flash_vector = {"flash_vector", cla_flash_vector_accepts, add_steps};
