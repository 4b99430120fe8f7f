/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of few queries with tiles in local memory: cl/split_kv.cl. The query heads of a key/value head share a
 * work-group, and the keys are split over work-groups where there would be too few of them. One launch, and one more
 * that merges the parts.
 */
#include "ops/attention/registry.h"
#include "util/error.h"
#include "util/size.h"

enum { ITEM_KEYS = 4 }; /* keys that a work-item has in flight: as in the kernel */

static int64_t elements_of_16_bytes(const struct cla_problem *problem, int operand)
{
    return problem->tensor[operand].dtype == CLATTN_F32 ? 4 : 8;
}

static int64_t row_groups(const struct cla_split_tile *tile)
{
    return cla_ceil_div(tile->rows, 4);
}

static int64_t tile_keys(const struct cla_split_tile *tile)
{
    return ITEM_KEYS * tile->group / (tile->sharers * row_groups(tile));
}

/* Errors grow with the number of values and of tiles that a work-item sums in order. */
enum { HELD_VALUES = 128, HELD_TILES = 8 };

/* CLA_HELD for a work-group with so many keys, of which those work-items share that the columns leave over. */
static int64_t held_tiles(const struct cla_split_tile *tile, const struct cla_problem *problem, int64_t keys)
{
    const int64_t pieces = cla_ceil_div(problem->value_dim, elements_of_16_bytes(problem, CLA_VALUE));
    const int64_t key_groups = cla_max(tile->group / (pieces * row_groups(tile)), 1);
    const int64_t tiles = cla_min(cla_max(HELD_VALUES * key_groups / tile_keys(tile), 1), HELD_TILES);
    return keys > tiles * tile_keys(tile) ? tiles : 0;
}

/* Columns of the values that a work-item sums, for each of the rows it has. */
static int64_t sums(const struct cla_split_tile *tile, const struct cla_problem *problem)
{
    const int64_t piece = elements_of_16_bytes(problem, CLA_VALUE);
    const int64_t pieces = cla_ceil_div(cla_ceil_div(problem->value_dim, piece) * row_groups(tile), tile->group);
    return pieces * piece * cla_min(tile->rows, 4);
}

static int64_t local_bytes(const struct cla_split_tile *tile, const struct cla_problem *problem)
{
    const int64_t groups = row_groups(tile);
    const int64_t piece = elements_of_16_bytes(problem, CLA_KEY);
    const int64_t dims = cla_round_up(problem->head_dim, piece * tile->sharers);
    const int64_t keys = tile_keys(tile);
    const int64_t padding = (groups - 1) * ((piece == 4 ? 4 : 1) + 8 / groups);
    return 4 * tile->rows * dims + 16 * (tile->group * cla_min(tile->rows, 4) + padding) +
           4 * tile->rows * (keys + keys / ITEM_KEYS + 1) + 8 * keys;
}

static struct cla_needs needs(const struct cla_split_tile *tile, const struct cla_problem *problem)
{
    return (struct cla_needs){.local_bytes = local_bytes(tile, problem), .sums = sums(tile, problem)};
}

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    if (problem->semantics.scores_stage != CLATTN_SCORES_NONE)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "gives no scores out");
    if (problem->value_dim > 1024)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "value_dim %lld does not fit the registers, at most 1024 does",
                        (long long)problem->value_dim);
    if (problem->semantics.dropout > 0.0f)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "has no dropout");
    CLA_TRY(cla_packed_rows_fit(problem, why));
    if (cla_split_tile_for(device, problem, cla_max(cla_packed_rows(problem), 1), needs, 0) == NULL)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "no tile fits %llu bytes of local memory",
                        (unsigned long long)device->info.local_memory);
    return CLATTN_SUCCESS;
}

static clattn_status add_with_tile(clattn_plan *plan, const struct cla_split_tile *tile, const struct cla_split *split,
                                   struct cla_step **step, clattn_error *error)
{
    const struct cla_build build = cla_semantics_build(&plan->problem, CLA_USES_ALL);
    struct cla_text options = {0};
    cla_build_options(&options, &build);
    cla_flash_options(&options, &plan->problem);
    cla_option(&options, "CLA_ROWS", tile->rows);
    cla_option(&options, "CLA_GROUP_SIZE", tile->group);
    cla_option(&options, "CLA_SHARERS", tile->sharers);
    cla_option(&options, "CLA_SPLIT", split->keys != 0);
    cla_option(&options, "CLA_HELD",
               held_tiles(tile, &plan->problem, split->keys != 0 ? split->keys : plan->problem.kv_len));
    clattn_status status =
        cla_plan_add_step(plan, "split_kv.cl", &options, "split_kv", (size_t)tile->group, step, error);
    cla_text_free(&options);
    return status;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_split split = {0};
    struct cla_step *step = NULL;
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    /* Some compilers refuse a tile that is too large for them by failing to build it. */
    for (size_t i = 0; status == CLATTN_ERROR_UNSUPPORTED || status == CLATTN_ERROR_BUILD_FAILED; i++) {
        const struct cla_split_tile *tile =
            cla_split_tile_for(&plan->context->device, problem, cla_packed_rows(problem), needs, i);
        if (tile == NULL)
            return status;
        split = cla_split_keys(plan, tile->rows, tile_keys(tile));
        status = add_with_tile(plan, tile, &split, &step, error);
    }
    return status == CLATTN_SUCCESS ? cla_finish_split(plan, step, &split, name, error) : status;
}

const struct cla_variant cla_attention_split_kv = {"split_kv", accepts, add_steps};
