/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash attention for few queries on devices with wide vectors: cl/flash_vector.cl with the rows of all query heads of
 * a key/value head together, and the keys split over work-groups where there would be too few of them (Dao et al. 2023,
 * "Flash-Decoding"). One launch, and one more that merges the parts.
 */
#include "ops/attention/registry.h"
#include "util/size.h"

static bool accepts(const struct cla_problem *problem, const struct cla_device *device, struct cla_text *reason)
{
    return cla_packed_rows_fit(problem, reason) && cla_flash_vector_accepts(problem, device, reason);
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const int64_t rows = cla_heads_per_kv(&plan->problem) * plan->problem.q_len;
    struct cla_vector_block block = {4, 1, 8};
    while (block.lanes < rows && 2 * block.lanes <= (int)plan->context->device.vector_lanes && block.lanes < 16)
        block.lanes *= 2;
    if (block.lanes == 8 && rows > 8) { /* 16 registers hold 4 x 2 sums, or 8 x 1 */
        block.vectors = 2;
        block.block = 4;
    } else {
        block.vectors = (int)cla_min(3, cla_ceil_div(rows, block.lanes));
    }
    return cla_add_flash_vector(plan, &block, true, name, error);
}

const struct cla_variant cla_attention_split_kv_vector = {"split_kv_vector", accepts, add_steps};
