/* SPDX-License-Identifier: Apache-2.0 */
/* Linear with rows of the input in the lanes of wide vectors: cl/linear_vector.cl. One launch, no workspace. */
#include "ops/linear/registry.h"
#include "util/size.h"

/*
 * Elements a chunk, so that a turned tile (24 KiB of 48 rows) and the rows of a register block (4 KiB) share a
 * first-level cache of 32 KiB; the most features and tiles a group, so that the sums (192 KiB) and a chunk of the
 * weights (256 KiB) share a second-level one of 512 KiB, and a tile is turned for many features.
 */
enum { DEPTH = 128, MOST_FEATURES = 512, MOST_TILES = 2 };

/* Groups a compute unit, so that all of them are busy to the end. */
enum { GROUPS_A_UNIT = 4 };

/* The part of the output that a group makes. */
struct share {
    int64_t features;
    int64_t tiles;
};

/* The largest share with enough groups for the device: weights are read once a share, input once a feature group. */
static struct share share_for(const clattn_plan *plan, int64_t tile_rows)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t wanted = GROUPS_A_UNIT * (int64_t)plan->context->device.info.compute_units;
    struct share share = {MOST_FEATURES, MOST_TILES};
    for (;;) {
        int64_t groups = problem->batch * cla_ceil_div(problem->q_len, share.tiles * tile_rows);
        if (groups >= cla_ceil_div(wanted, cla_ceil_div(problem->value_dim, share.features)))
            return share;
        if (share.tiles > 1)
            share.tiles /= 2;
        else if (share.features > 64)
            share.features /= 2;
        else
            return share;
    }
}

clattn_status cla_linear_vector_add(clattn_plan *plan, enum cla_dot dot, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block *block = cla_vector_block_for(&plan->context->device);
    const int64_t tile_rows = (int64_t)block->vectors * block->lanes;
    const struct share share = share_for(plan, tile_rows);
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    struct cla_build build = cla_linear_build(problem);
    build.vector_block = block;
    build.dot = dot;
    cla_build_options(&options, &build);
    cla_linear_options(&options, problem);
    cla_option(&options, "CLA_DEPTH", DEPTH);
    cla_option(&options, "CLA_FEATURES", MOST_FEATURES);
    cla_option(&options, "CLA_TILES", MOST_TILES);
    clattn_status status = cla_plan_add_step(plan, "linear_vector.cl", &options, "linear_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_linear_args(step, problem);
    cla_step_int(step, share.features);
    cla_step_int(step, share.tiles);
    step->heads = problem->batch;
    step->rows = problem->q_len;
    step->tile_rows = share.tiles * tile_rows;
    step->column_groups = cla_ceil_div(problem->value_dim, share.features);
    cla_text_add(name, "r%lldn%lld", (long long)step->tile_rows, (long long)share.features);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    return cla_linear_vector_add(plan, CLA_DOT_NONE, name, error);
}

const struct cla_variant cla_linear_vector = {"vector", NULL, add_steps};
