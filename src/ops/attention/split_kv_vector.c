/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of few queries with head dims in the lanes of wide vectors: cl/split_kv_vector.cl. The query heads of a
 * key/value head share a work-group, and the keys are split over work-groups where there would be too few of them (Dao
 * et al. 2023, "Flash-Decoding"). One launch, and one more that merges the parts.
 */
#include "ops/attention/registry.h"
#include "util/error.h"
#include "util/size.h"

enum { TILE_BYTES = 4096, LEAST_KEYS = 8, MOST_KEYS = 64 };

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    if (problem->semantics.dropout > 0.0f)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "has no dropout");
    CLA_TRY(cla_packed_rows_fit(problem, why));
    return cla_flash_vector_accepts(problem, device, why);
}

/*
 * Keys a tile. While its keys are read its values are fetched, and while these are, the keys of the next one. All three
 * lie in the same sets of a cache where keys and values lie a multiple of 4 KiB apart, which large tensors do: with 16
 * KiB of each a first-level cache of 32 KiB keeps losing what it has just fetched (Zen 4: half the speed of 4 KiB).
 */
static int64_t tile_keys(const struct cla_problem *problem, int64_t rows)
{
    const int64_t key_bytes = problem->head_dim * (problem->tensor[CLA_KEY].dtype == CLATTN_F32 ? 4 : 2);
    int64_t keys = cla_max(LEAST_KEYS, 16 / rows); /* whole blocks */
    while (keys < MOST_KEYS && 2 * keys * key_bytes <= TILE_BYTES)
        keys *= 2;
    return keys;
}

/* The widest vectors that the device has and that both dims fill. */
static int lanes_for(const struct cla_problem *problem, const struct cla_device *device)
{
    const int64_t most = cla_min((int64_t)device->vector_lanes, cla_min(problem->head_dim, problem->value_dim));
    int lanes = 4;
    while (lanes < 16 && 2 * lanes <= most)
        lanes *= 2;
    return lanes;
}

/* Scores by dot products of pairs, where these are an instruction for vectors of that width, all of pairs. */
static enum cla_dot dot_for(const clattn_plan *plan, int lanes)
{
    const struct cla_problem *problem = &plan->problem;
    const bool fits = problem->tensor[CLA_QUERY].dtype == CLATTN_BF16 &&
                      problem->tensor[CLA_KEY].dtype == CLATTN_BF16 && problem->head_dim % (2 * (int64_t)lanes) == 0;
    const struct cla_device *device = &plan->context->device;
    const bool known = device->dot == CLA_DOT_INSTRUCTION && device->vector_lanes == (uint32_t)lanes;
    return fits && known ? CLA_DOT_INSTRUCTION : CLA_DOT_NONE;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block block = {lanes_for(problem, &plan->context->device), 1, 1};
    int64_t rows = 1;
    while (rows < cla_packed_rows(problem) && rows < block.lanes)
        rows *= 2;
    const int64_t keys = tile_keys(problem, rows);
    const struct cla_split split = cla_split_keys(plan, rows, keys);

    struct cla_build build = cla_semantics_build(problem, CLA_USES_ALL);
    build.vector_block = &block;
    build.dot = dot_for(plan, block.lanes);
    if (split.keys != 0) /* it writes parts */
        build.output = CLATTN_F32;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cla_build_options(&options, &build);
    cla_flash_options(&options, problem);
    cla_option(&options, "CLA_ROWS", rows);
    cla_option(&options, "CLA_KEYS", keys);
    cla_option(&options, "CLA_SPLIT", split.keys != 0);
    clattn_status status = cla_plan_add_step(plan, "split_kv_vector.cl", &options, "split_kv_vector", 1, &step, error);
    cla_text_free(&options);
    return status == CLATTN_SUCCESS ? cla_finish_split(plan, step, &split, name, error) : status;
}

const struct cla_variant cla_attention_split_kv_vector = {"split_kv_vector", accepts, add_steps};
