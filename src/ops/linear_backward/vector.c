/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear's backward pass with columns in the lanes of wide vectors: cl/linear_d_input_vector.cl and
 * cl/linear_d_weight_vector.cl.
 */
#include "ops/linear_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

/*
 * Terms a chunk, so that a panel (24 KiB of 48 columns) and the elements of a register block (4 or 8 KiB) share a
 * first-level cache of 32 KiB; the most rows and tiles a group, so that the sums (288 KiB) and a chunk of the elements
 * (128 KiB) share a second-level one of 512 KiB.
 */
enum { DEPTH = 128, MOST_ROWS = 256, MOST_TILES = 6 };

/* Groups a compute unit, so that all of them are busy to the end. */
enum { GROUPS_A_UNIT = 4 };

/* The part of a gradient that a group makes. */
struct share {
    int64_t rows;
    int64_t tiles; /* of columns */
};

static int64_t count_groups(const struct share *share, int64_t rows, int64_t tiles)
{
    return cla_ceil_div(rows, share->rows) * cla_ceil_div(tiles, share->tiles);
}

/* The largest share of `rows` rows and `tiles` tiles with enough groups for the device, or the least one. */
static struct share share_for(const clattn_plan *plan, int64_t rows, int64_t tiles)
{
    const int64_t wanted = GROUPS_A_UNIT * (int64_t)plan->context->device.info.compute_units;
    struct share share = {MOST_ROWS, cla_min(MOST_TILES, tiles)};
    while (count_groups(&share, rows, tiles) < wanted) {
        if (share.rows > 64)
            share.rows /= 2;
        else if (share.tiles > 1)
            share.tiles = cla_ceil_div(share.tiles, 2);
        else
            break;
    }
    return share;
}

static clattn_status add_input_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block *block = cla_vector_block_for(&plan->context->device);
    const int64_t tiles = cla_ceil_div(problem->head_dim, (int64_t)block->vectors * block->lanes);
    const struct share share = share_for(plan, problem->batch * problem->q_len, tiles);
    struct cla_build build = cla_linear_backward_build(problem, CLA_LINEAR_WEIGHT, CLA_LINEAR_D_INPUT);
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    build.vector_block = block;
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_DEPTH", DEPTH);
    cla_option(&options, "CLA_ROWS", MOST_ROWS);
    cla_option(&options, "CLA_TILES", MOST_TILES);
    clattn_status status =
        cla_plan_add_step(plan, "linear_d_input_vector.cl", &options, "linear_d_input_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_LINEAR_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LINEAR_WEIGHT);
    cla_step_operand(step, problem, CLA_LINEAR_D_INPUT);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->batch);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, problem->accumulate_input);
    cla_step_int(step, share.rows);
    cla_step_int(step, share.tiles);
    step->heads = 1;
    step->rows = problem->q_len;
    step->packed_heads = problem->batch;
    step->tile_rows = share.rows;
    step->column_groups = cla_ceil_div(tiles, share.tiles);
    cla_text_add(name, "r%lldn%lld", (long long)share.rows, (long long)share.tiles * block->vectors * block->lanes);
    return CLATTN_SUCCESS;
}

static clattn_status add_weight_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block *block = cla_vector_block_for(&plan->context->device);
    const int64_t tiles = cla_ceil_div(problem->head_dim, (int64_t)block->vectors * block->lanes);
    struct share share = {MOST_ROWS, cla_min(MOST_TILES, tiles)};
    struct cla_token_parts parts = cla_cut_tokens(plan, count_groups(&share, problem->value_dim, tiles));
    if (parts.count == 1)
        share = share_for(plan, problem->value_dim, tiles);
    struct cla_build build = cla_linear_backward_build(problem, CLA_LINEAR_INPUT, CLA_LINEAR_D_WEIGHT);
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    build.vector_block = block;
    if (parts.count > 1)
        build.output = CLATTN_F32;
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_DEPTH", DEPTH);
    cla_option(&options, "CLA_FEATURES", MOST_ROWS);
    cla_option(&options, "CLA_TILES", MOST_TILES);
    cla_option(&options, "CLA_ACCUMULATE", parts.count == 1 && problem->accumulate);
    clattn_status status =
        cla_plan_add_step(plan, "linear_d_weight_vector.cl", &options, "linear_d_weight_vector", 1, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_LINEAR_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LINEAR_INPUT);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_weight_step_output(plan, step, &parts);
    cla_step_int(step, share.rows);
    cla_step_int(step, share.tiles);
    step->column_groups = count_groups(&share, problem->value_dim, tiles);
    cla_text_add(name, "%so%lldi%lld", name->length > 0 ? "-" : "", (long long)share.rows,
                 (long long)share.tiles * block->vectors * block->lanes);
    if (parts.count > 1)
        cla_text_add(name, "s%lld", (long long)parts.span);
    return cla_add_weight_parts(plan, &parts, error);
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_tensor *tensor = plan->problem.tensor;
    if (tensor[CLA_LINEAR_D_INPUT].present)
        CLA_TRY(add_input_step(plan, name, error));
    if (tensor[CLA_LINEAR_D_WEIGHT].present)
        CLA_TRY(add_weight_steps(plan, name, error));
    return cla_add_bias_steps(plan, error);
}

const struct cla_variant cla_linear_backward_vector = {"vector", NULL, add_steps};
