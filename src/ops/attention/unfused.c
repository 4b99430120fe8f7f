/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention as the composition of its three primitives: scores, softmax in place, weighted sum. Takes every problem,
 * and is the only one that gives scores or weights out. The scores pass through memory: a buffer of the caller's where
 * they are asked for, else the workspace, in slices that fit it.
 */
#include "ops/attention/registry.h"
#include "util/error.h"
#include "util/size.h"

/* Scores in flight, in bytes, where that is enough: more would leave the caches without saving launches that matter. */
#define WORKSPACE_AIM ((int64_t)128 << 20)

/* Slices to aim at for large problems, so that steps stay few, and the most that a device's limit may make of them. */
#define AIM_SLICES  1024
#define MOST_SLICES (1 << 14)

/* Heads and rows a slice: whole heads where one fits the workspace, else rows of one head. */
struct slicing {
    int64_t heads;
    int64_t rows;
    int64_t row_stride; /* elements */
};

static clattn_status slice(const clattn_plan *plan, struct slicing *slicing, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t heads = problem->batch * problem->q_heads;
    int64_t row_bytes = 4 * cla_round_up(cla_max(problem->kv_len, 1), 16);
    int64_t total = INT64_MAX;
    if (!cla_mul(row_bytes, problem->q_len, &total) || !cla_mul(total, heads, &total))
        total = INT64_MAX;
    int64_t largest = (int64_t)(plan->context->device.info.largest_buffer < (uint64_t)INT64_MAX
                                    ? plan->context->device.info.largest_buffer
                                    : (uint64_t)INT64_MAX);
    int64_t limit = cla_min(cla_max(cla_max(WORKSPACE_AIM, row_bytes), total / AIM_SLICES), largest);
    if (row_bytes > limit)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                        "one row of scores has %lld bytes, the device allocates at most %lld", (long long)row_bytes,
                        (long long)largest);
    slicing->row_stride = row_bytes / 4;
    slicing->rows = cla_min(problem->q_len, limit / row_bytes);
    if (slicing->rows < problem->q_len && slicing->rows > 64)
        slicing->rows -= slicing->rows % 64; /* whole tiles */
    slicing->heads = slicing->rows < problem->q_len ? 1 : cla_min(heads, limit / (row_bytes * slicing->rows));
    int64_t count = cla_ceil_div(heads, slicing->heads) * cla_ceil_div(problem->q_len, slicing->rows);
    if (count > MOST_SLICES)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                        "the scores take %lld slices of %lld bytes, which is what the device allocates: expected at "
                        "most %d",
                        (long long)count, (long long)limit, MOST_SLICES);
    return CLATTN_SUCCESS;
}

/* The steps added so far cover everything; makes them cover one slice and adds the others. */
static clattn_status cut_into_slices(clattn_plan *plan, const struct slicing *slicing, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    size_t steps = plan->num_steps;
    int64_t all_heads = problem->batch * problem->q_heads;
    for (size_t i = 0; i < steps; i++) {
        plan->steps[i].heads = slicing->heads;
        plan->steps[i].rows = slicing->rows;
    }
    for (int64_t head = 0; head < all_heads; head += slicing->heads) {
        for (int64_t row = 0; row < problem->q_len; row += slicing->rows) {
            if (head == 0 && row == 0)
                continue;
            CLA_TRY(cla_plan_repeat_steps(plan, steps, head, cla_min(slicing->heads, all_heads - head), row,
                                          cla_min(slicing->rows, problem->q_len - row), error));
        }
    }
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const clattn_scores_stage stage = problem->semantics.scores_stage;
    const struct cla_intermediate user = {.operand = CLA_SCORES};
    struct slicing slicing = {0};
    if (stage != CLATTN_SCORES_WEIGHTS) /* else the caller's buffer takes them all at once */
        CLA_TRY(slice(plan, &slicing, error));
    struct cla_intermediate space = {.in_workspace = true, .row_stride = slicing.row_stride};
    space.head_stride = slicing.rows * slicing.row_stride;
    space.batch_stride = problem->q_heads * space.head_stride;

    const struct cla_intermediate *masked =
        stage == CLATTN_SCORES_MASKED || stage == CLATTN_SCORES_WEIGHTS ? &user : &space;
    const struct cla_intermediate *weights = stage == CLATTN_SCORES_WEIGHTS ? &user : &space;
    if (stage == CLATTN_SCORES_RAW || stage == CLATTN_SCORES_SOFTCAP)
        CLA_TRY(cla_add_scores_step(plan, stage, &user, NULL, error));
    CLA_TRY(cla_add_scores_step(plan, CLATTN_SCORES_MASKED, masked, tile, error));
    CLA_TRY(cla_add_softmax_step(plan, masked, weights, NULL, error));
    CLA_TRY(cla_add_weighted_sum_step(plan, weights, NULL, error));
    if (stage == CLATTN_SCORES_WEIGHTS)
        return CLATTN_SUCCESS;
    plan->workspace_size = (size_t)(slicing.heads * slicing.rows * slicing.row_stride * 4);
    return cut_into_slices(plan, &slicing, error);
}

const struct cla_variant cla_attention_unfused = {"unfused", NULL, add_steps};
