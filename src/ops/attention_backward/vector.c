/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass with queries, and then dims, in the lanes of wide vectors: cl/backward_vector.cl. Delta into the
 * workspace, then one launch for all three gradients, and one more that adds up d_query where the keys of a head are
 * shared out to several work-groups.
 */
#include "ops/attention_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

enum { KEYS = 64 };       /* of a tile */
enum { MOST_DIMS = 512 }; /* so that the private memory of a work-item stays below 4 MiB */

/* Of the keys and values of a span and the sums of their gradients, so that these share a second-level cache of 1 MiB
 * with the tiles. */
enum { SPAN_BYTES = 768 * 1024, MOST_SPAN = 512 };

/* Groups a compute unit, so that all of them are busy to the end; and what the parts may take of memory for that. */
enum { GROUPS_A_UNIT = 4 };
#define MOST_PART_BYTES ((int64_t)256 << 20)

/* Spans of a part whose sums may be added in order, as tiles of queries in the kernel. */
enum { HELD_SPANS = 32, HELD_TILES = 64 };

/* How the keys of a head are shared out, and the sums of d_query that each part keeps. */
struct shares {
    int64_t span;
    int64_t parts;
    bool pairs;
    int64_t tile_rows;
    int64_t row_tiles;
    int64_t tile_floats; /* of d_query in a part, one tile of rows of a head */
    int64_t start;       /* floats from the beginning of the workspace */
};

/* Whether a gradient sums over more than the query heads of a group. */
static bool is_shared(const struct cla_problem *problem, int gradient)
{
    const struct cla_backward_shares shares = cla_backward_shares(problem, gradient);
    const int64_t heads = gradient == CLA_D_QUERY ? problem->q_heads : problem->kv_heads;
    return shares.sum_batches > 1 || shares.heads != heads;
}

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    (void)device;
    if (problem->head_dim > MOST_DIMS || problem->value_dim > MOST_DIMS)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED,
                        "head_dim %lld and value_dim %lld do not fit private memory, at most %d do",
                        (long long)problem->head_dim, (long long)problem->value_dim, MOST_DIMS);
    for (int o = CLA_D_QUERY; o <= CLA_D_VALUE; o++) {
        if (problem->tensor[o].present && is_shared(problem, o))
            return cla_fail(why, CLATTN_ERROR_UNSUPPORTED,
                            "%s is a sum over heads or batches, whose rows lie in one place, and would have two owners",
                            cla_operand_name(problem, o));
    }
    return CLATTN_SUCCESS;
}

static struct shares share_out(const clattn_plan *plan)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t heads = problem->batch * problem->kv_heads;
    const int64_t wanted = GROUPS_A_UNIT * (int64_t)plan->context->device.info.compute_units;
    const struct cla_vector_block *block = cla_vector_block_for(&plan->context->device);
    struct shares shares = {.tile_rows = (int64_t)block->vectors * block->lanes};
    shares.row_tiles = cla_ceil_div(problem->q_len, shares.tile_rows);
    int64_t part_floats = shares.row_tiles * shares.tile_rows;
    if (!cla_mul(part_floats, problem->batch * problem->q_heads, &part_floats) ||
        !cla_mul(part_floats, problem->head_dim, &part_floats))
        part_floats = INT64_MAX;
    const int64_t room = cla_max(MOST_PART_BYTES / (int64_t)sizeof(float) / cla_max(part_floats, 1), 1);
    shares.parts = cla_min(cla_ceil_div(wanted, cla_max(heads, 1)), room);
    shares.span = cla_clamp(SPAN_BYTES / (8 * (problem->head_dim + problem->value_dim)) / KEYS * KEYS, KEYS, MOST_SPAN);
    shares.span = cla_min(shares.span, cla_max(cla_round_up(cla_ceil_div(problem->kv_len, shares.parts), KEYS), KEYS));
    const int64_t spans = cla_max(cla_ceil_div(problem->kv_len, shares.span), 1);
    shares.parts = cla_min(shares.parts, spans);
    shares.pairs = cla_ceil_div(spans, shares.parts) > HELD_SPANS;
    shares.tile_floats = shares.tile_rows * problem->head_dim * (shares.pairs ? 2 : 1);
    return shares;
}

static clattn_status take_room(clattn_plan *plan, struct shares *shares, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t floats = shares->tile_floats;
    shares->start = cla_round_up((int64_t)(plan->workspace_size / sizeof(float)), 16);
    if (!problem->tensor[CLA_D_QUERY].present || problem->kv_len <= shares->span)
        return CLATTN_SUCCESS;
    if (!cla_mul(floats, shares->parts, &floats) || !cla_mul(floats, problem->batch * problem->q_heads, &floats) ||
        !cla_mul(floats, cla_max(shares->row_tiles, 1), &floats) || floats > INT64_MAX / 8)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "the sums of d_query are more than 2^60 numbers");
    plan->workspace_size = (size_t)(shares->start + floats) * sizeof(float);
    return CLATTN_SUCCESS;
}

static clattn_status add_step(clattn_plan *plan, const char *kernel_name, const struct shares *shares,
                              struct cla_step **step, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_build build = cla_semantics_build(problem, CLA_BACKWARD_USES);
    struct cla_text options = {0};
    int64_t tiles = INT64_MAX; /* of queries that a key's sums go over */
    build.vector_block = cla_vector_block_for(&plan->context->device);
    cla_build_options(&options, &build);
    cla_backward_options(&options, problem);
    if (!cla_mul(shares->row_tiles, cla_heads_per_kv(problem), &tiles))
        tiles = INT64_MAX;
    cla_option(&options, "CLA_HEAD_DIM", problem->head_dim);
    cla_option(&options, "CLA_VALUE_DIM", problem->value_dim);
    cla_option(&options, "CLA_KEYS", KEYS);
    cla_option(&options, "CLA_SPAN", shares->span);
    cla_option(&options, "CLA_PARTS", shares->parts);
    cla_option(&options, "CLA_HELD", tiles > HELD_TILES);
    cla_option(&options, "CLA_PAIRS", shares->pairs);
    clattn_status status = cla_plan_add_step(plan, "backward_vector.cl", &options, kernel_name, 1, step, error);
    cla_text_free(&options);
    return status;
}

/* Appends the rest of the arguments of a kernel that takes a tile of queries of a head, and its geometry. */
static void finish_query_step(struct cla_step *step, const struct cla_problem *problem, const struct shares *shares)
{
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = shares->tile_rows;
    step->column_groups = 1;
}

static clattn_status add_delta_step(clattn_plan *plan, const struct shares *shares, clattn_error *error)
{
    struct cla_step *step = NULL;
    CLA_TRY(cla_backward_take_delta(plan, error));
    CLA_TRY(add_step(plan, "backward_vector_delta", shares, &step, error));
    cla_backward_delta_args(step, &plan->problem);
    finish_query_step(step, &plan->problem, shares);
    return CLATTN_SUCCESS;
}

static void add_parts(struct cla_step *step, const struct cla_problem *problem, const struct shares *shares)
{
    const int64_t head_floats = shares->row_tiles * shares->tile_floats;
    cla_step_workspace_from(step, shares->start, problem->batch * problem->q_heads * head_floats, head_floats,
                            shares->tile_floats);
}

static clattn_status add_gradients_step(clattn_plan *plan, struct shares *shares, struct cla_text *name,
                                        clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_step *step = NULL;
    CLA_TRY(take_room(plan, shares, error));
    CLA_TRY(add_step(plan, "backward_vector", shares, &step, error));
    cla_backward_inputs(step, problem);
    cla_step_operand(step, problem, CLA_D_QUERY);
    cla_step_operand(step, problem, CLA_D_KEY);
    cla_step_operand(step, problem, CLA_D_VALUE);
    add_parts(step, problem, shares);
    cla_step_int(step, problem->kv_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_semantics(step, problem, CLA_BACKWARD_USES);
    step->heads = problem->batch * problem->kv_heads;
    step->rows = problem->q_len;
    step->tile_rows = 0;
    step->column_groups = shares->parts;
    cla_text_add(name, "q%lldk%ds%lld", (long long)shares->tile_rows, KEYS, (long long)shares->span);
    if (shares->parts > 1)
        cla_text_add(name, "p%lld", (long long)shares->parts);
    return CLATTN_SUCCESS;
}

static clattn_status add_parts_step(clattn_plan *plan, const struct shares *shares, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_step *step = NULL;
    CLA_TRY(add_step(plan, "backward_vector_query", shares, &step, error));
    add_parts(step, problem, shares);
    cla_step_operand(step, problem, CLA_D_QUERY);
    cla_step_int(step, problem->q_heads);
    finish_query_step(step, problem, shares);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_tensor *tensor = plan->problem.tensor;
    struct shares shares = share_out(plan);
    CLA_TRY(add_delta_step(plan, &shares, error));
    if (tensor[CLA_D_QUERY].present || tensor[CLA_D_KEY].present || tensor[CLA_D_VALUE].present)
        CLA_TRY(add_gradients_step(plan, &shares, name, error));
    if (tensor[CLA_D_QUERY].present && shares.parts > 1)
        CLA_TRY(add_parts_step(plan, &shares, error));
    CLA_TRY(cla_backward_add_sinks(plan, error));
    return cla_backward_add_biases(plan, error);
}

const struct cla_variant cla_attention_backward_vector = {"vector", accepts, add_steps};
