/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradients of what is added to scores, for every variant: cl/backward_bias.cl makes dx once more and sums it along
 * queries, along keys or along diagonals, into the workspace, where cl/backward_bias_sum.cl or backward_relative.cl
 * adds up what is left. Of a mask that has an element for every query and key the first one makes the gradient itself.
 */
#include "ops/attention_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

/* CLA_SUM of cl/backward_bias.cl. */
enum sum { OF_PAIRS, OF_KEYS, OF_QUERIES, OF_DIAGONALS };

/* Sums of a step that lie in the workspace, [batch, q_heads, rows, columns]; of keys and queries one row. */
struct sums {
    int64_t start; /* floats from the beginning of the workspace */
    int64_t rows;
    int64_t columns;
};

static struct cla_needs needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    (void)problem;
    const int64_t staged = 16 * (int64_t)tile->chunk * (tile->width + tile->height);
    return (struct cla_needs){.local_bytes = staged + 64 * (int64_t)tile->width * tile->height};
}

static struct cla_needs sum_needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    (void)problem;
    return (struct cla_needs){.local_bytes = 4 * (int64_t)tile->width * tile->height};
}

static clattn_status take_room(clattn_plan *plan, int64_t rows, int64_t columns, struct sums *sums, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t floats = problem->batch * problem->q_heads;
    *sums = (struct sums){(int64_t)(plan->workspace_size / sizeof(float)), rows, columns};
    if (!cla_mul(floats, rows, &floats) || !cla_mul(floats, columns, &floats) ||
        !cla_add(floats, sums->start, &floats) || floats > INT64_MAX / 4)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "sums of gradients have more than 2^61 numbers");
    plan->workspace_size = (size_t)floats * sizeof(float);
    return CLATTN_SUCCESS;
}

static void add_sums(struct cla_step *step, const struct cla_problem *problem, const struct sums *sums)
{
    const int64_t head = sums->rows * sums->columns;
    cla_step_workspace_from(step, sums->start, problem->q_heads * head, head, sums->columns);
}

/* A step of cl/backward_bias.cl, for sums of up to `terms` queries or keys, as far as its inputs. */
static clattn_status add_dx(clattn_plan *plan, enum sum sum, bool distance, int64_t terms, struct cla_step **step,
                            const struct cla_tile **tile, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"backward_bias.cl", "backward_bias", needs};
    struct cla_problem problem = plan->problem;
    const struct cla_build build = cla_semantics_build(&problem, CLA_BACKWARD_USES);
    struct cla_text options = {0};
    problem.accumulate = problem.accumulate && sum == OF_PAIRS; /* else a later step does */
    cla_backward_options(&options, &problem);
    cla_option(&options, "CLA_SUM", sum);
    cla_option(&options, "CLA_DISTANCE", distance);
    clattn_status status = cla_add_tiled_step(plan, &kernel, &build, terms, &options, NULL, step, tile, error);
    cla_text_free(&options);
    if (status == CLATTN_SUCCESS)
        cla_backward_inputs(*step, &problem);
    return status;
}

/* What follows the output. */
static void add_numbers(struct cla_step *step, const struct cla_problem *problem,
                        const struct cla_backward_shares *shares, int64_t columns, int64_t below)
{
    cla_step_int(step, shares->heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, shares->sum_batches);
    cla_step_int(step, shares->sum_heads);
    cla_step_int(step, columns);
    cla_step_int(step, below);
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
}

/* Every head on its own. */
static struct cla_backward_shares apart(const struct cla_problem *problem)
{
    return (struct cla_backward_shares){problem->batch, problem->q_heads, 1, 1};
}

static clattn_status add_pairs(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_backward_shares shares = cla_backward_shares(problem, CLA_D_MASK);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    /* as if a tile that is added were 32 keys: the greatest chunk, of which cla_add_tiled_step() counts some */
    const int64_t terms = cla_min(shares.sum_batches * shares.sum_heads, INT64_MAX / 32) * 32;
    CLA_TRY(add_dx(plan, OF_PAIRS, false, terms, &step, &tile, error));
    cla_step_operand(step, problem, CLA_D_MASK);
    add_numbers(step, problem, &shares, problem->tensor[CLA_D_MASK].extent[3], 0);
    step->heads = shares.batches * shares.heads;
    step->tile_keys = 4 * tile->width;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

/* Sums for each key, or each query, of every head. */
static clattn_status add_lines(clattn_plan *plan, bool by_key, bool distance, struct sums *sums, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_backward_shares shares = apart(problem);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(take_room(plan, 1, by_key ? problem->kv_len : problem->q_len, sums, error));
    CLA_TRY(add_dx(plan, by_key ? OF_KEYS : OF_QUERIES, distance, by_key ? problem->q_len : problem->kv_len, &step,
                   &tile, error));
    add_sums(step, problem, sums);
    add_numbers(step, problem, &shares, 0, 0);
    step->column_groups = 1;
    if (by_key) {
        step->tile_rows = 0;
        step->tile_keys = 4 * tile->width;
    }
    return CLATTN_SUCCESS;
}

/* Adds up such sums to a gradient that has one element for all queries where `whole` is set. */
static clattn_status add_lines_up(clattn_plan *plan, const struct sums *sums, bool by_key, bool whole, int gradient,
                                  clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"backward_bias_sum.cl", "backward_bias_sum", sum_needs};
    const struct cla_problem *problem = &plan->problem;
    const struct cla_build build = {0};
    const struct cla_backward_shares shares = cla_backward_shares(problem, gradient);
    const int64_t elements = whole ? 1 : problem->tensor[gradient].extent[by_key ? 3 : 2];
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    cla_option(&options, "CLA_WHOLE", whole);
    cla_option(&options, "CLA_ACCUMULATE", problem->accumulate);
    clattn_status status = cla_add_tiled_step(plan, &kernel, &build, 0, &options, NULL, &step, &tile, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    add_sums(step, problem, sums);
    cla_step_operand(step, problem, gradient);
    cla_step_int(step, shares.heads);
    cla_step_int(step, shares.sum_batches);
    cla_step_int(step, shares.sum_heads);
    cla_step_int(step, by_key);
    cla_step_int(step, elements);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_run_value(step, CLA_ARG_KV_LEN);
    step->heads = shares.batches * shares.heads;
    step->tile_rows = 0;
    step->column_groups = cla_ceil_div(elements, (int64_t)tile->width * tile->height);
    return CLATTN_SUCCESS;
}

static clattn_status add_mask(clattn_plan *plan, clattn_error *error)
{
    const int64_t *extent = plan->problem.tensor[CLA_D_MASK].extent;
    const bool by_key = extent[2] == 1 && extent[3] > 1;
    struct sums sums;
    if (extent[2] != 1 && extent[3] != 1)
        return add_pairs(plan, error);
    CLA_TRY(add_lines(plan, by_key, false, &sums, error));
    return add_lines_up(plan, &sums, by_key, extent[2] == 1 && extent[3] == 1, CLA_D_MASK, error);
}

static clattn_status add_slopes(clattn_plan *plan, clattn_error *error)
{
    struct sums sums;
    CLA_TRY(add_lines(plan, false, true, &sums, error));
    return add_lines_up(plan, &sums, false, true, CLA_D_ALIBI_SLOPES, error);
}

static clattn_status add_relative(clattn_plan *plan, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"backward_relative.cl", "backward_relative", sum_needs};
    const unsigned uses = CLA_USES_PLACES | CLA_USES_BIASES;
    const struct cla_problem *problem = &plan->problem;
    const struct cla_build build = cla_semantics_build(problem, uses);
    const struct cla_backward_shares shares = apart(problem);
    const struct cla_tile *tile = NULL;
    const struct cla_tile *group = NULL;
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    struct sums sums;
    CLA_TRY(add_dx(plan, OF_DIAGONALS, false, problem->q_len, &step, &tile, error));
    const int64_t tile_q = 4 * (int64_t)tile->height, tile_kv = 4 * (int64_t)tile->width;
    const int64_t below = cla_ceil_div(cla_max(problem->q_len - 1, 0), tile_kv); /* tiles, that of the first key */
    const int64_t tiles = below + cla_ceil_div(problem->kv_len, tile_kv);
    CLA_TRY(take_room(plan, tiles, tile_q + tile_kv, &sums, error));
    add_sums(step, problem, &sums);
    add_numbers(step, problem, &shares, tiles, below);
    step->tile_rows = 0;
    step->column_groups = tiles;

    cla_option(&options, "CLA_ACCUMULATE", problem->accumulate);
    clattn_status status = cla_add_tiled_step(plan, &kernel, &build, 0, &options, NULL, &step, &group, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    add_sums(step, problem, &sums);
    cla_step_operand(step, problem, CLA_D_RELATIVE_BIAS);
    cla_step_int(step, problem->batch);
    cla_step_int(step, tile_q);
    cla_step_int(step, tile_kv);
    cla_step_int(step, tiles);
    cla_step_int(step, below);
    cla_step_semantics(step, problem, uses);
    step->heads = problem->q_heads;
    step->tile_rows = 0;
    step->column_groups =
        cla_ceil_div(2 * problem->semantics.relative_extent + 1, (int64_t)group->width * group->height);
    return CLATTN_SUCCESS;
}

clattn_status cla_backward_add_biases(clattn_plan *plan, clattn_error *error)
{
    const struct cla_tensor *tensor = plan->problem.tensor;
    if (tensor[CLA_D_MASK].present)
        CLA_TRY(add_mask(plan, error));
    if (tensor[CLA_D_ALIBI_SLOPES].present)
        CLA_TRY(add_slopes(plan, error));
    return tensor[CLA_D_RELATIVE_BIAS].present ? add_relative(plan, error) : CLATTN_SUCCESS;
}
