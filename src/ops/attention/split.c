/* SPDX-License-Identifier: Apache-2.0 */
/* What the flash kernels have in common: options, arguments, and keys that are split over work-groups. */
#include "ops/attention/registry.h"
#include "util/error.h"
#include "util/size.h"

/* Work-groups a compute unit that keep it busy to the end, and the least keys that are worth a work-group. */
#define GROUPS_PER_UNIT 4
#define LEAST_KEYS      256

void cla_flash_options(struct cla_text *options, const struct cla_problem *problem)
{
    cla_option(options, "CLA_HEAD_DIM", problem->head_dim);
    cla_option(options, "CLA_VALUE_DIM", problem->value_dim);
    cla_option(options, "CLA_LSE", problem->tensor[CLA_LSE].present);
}

int64_t cla_packed_rows(const struct cla_problem *problem)
{
    return cla_heads_per_kv(problem) * problem->q_len;
}

clattn_status cla_packed_rows_fit(const struct cla_problem *problem, clattn_error *why)
{
    const int64_t most = INT32_MAX - 64;
    const int64_t rows = cla_packed_rows(problem);
    if (rows > most)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED,
                        "%lld rows of a key/value head are too many to number, at most %lld", (long long)rows,
                        (long long)most);
    return CLATTN_SUCCESS;
}

/* Key/value heads of all batches: the query heads of each are packed together. */
static int64_t packs(const struct cla_problem *problem)
{
    return problem->batch * problem->q_heads / cla_heads_per_kv(problem);
}

struct cla_split cla_split_keys(clattn_plan *plan, int64_t tile_rows, int64_t tile_keys)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t groups = packs(problem) * cla_ceil_div(cla_packed_rows(problem), tile_rows);
    const int64_t wanted = GROUPS_PER_UNIT * (int64_t)plan->context->device.info.compute_units;
    const int64_t most = cla_ceil_div(problem->kv_len, LEAST_KEYS);
    const int64_t parts = cla_min(cla_ceil_div(wanted, cla_max(groups, 1)), most);
    struct cla_split split = {.tile_rows = tile_rows, .tile_keys = tile_keys};
    plan->workspace_size = 0;
    if (parts < 2)
        return split;
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    split.keys = cla_round_up(cla_ceil_div(problem->kv_len, parts), tile_keys);
    split.outputs = (struct cla_partial){.in_workspace = true,
                                         .part_stride = rows * problem->value_dim,
                                         .head_stride = problem->q_len * problem->value_dim,
                                         .row_stride = problem->value_dim};
    split.states = (struct cla_partial){.in_workspace = true,
                                        .start = cla_round_up(parts * split.outputs.part_stride, 2),
                                        .part_stride = 2 * rows,
                                        .head_stride = 2 * problem->q_len,
                                        .row_stride = 2};
    plan->workspace_size = (size_t)(split.states.start + parts * split.states.part_stride) * sizeof(float);
    return split;
}

static void partial_arg(struct cla_step *step, const struct cla_problem *problem, const struct cla_partial *partial)
{
    cla_step_workspace_from(step, partial->start, problem->q_heads * partial->head_stride, partial->head_stride,
                            partial->row_stride);
}

void cla_flash_args(struct cla_step *step, const struct cla_problem *problem, const struct cla_split *split)
{
    const bool parts = split != NULL && split->keys != 0;
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_operand(step, problem, CLA_VALUE);
    if (parts) {
        partial_arg(step, problem, &split->outputs);
        partial_arg(step, problem, &split->states);
    } else {
        cla_step_operand(step, problem, CLA_OUTPUT);
        cla_step_operand(step, problem, CLA_LSE);
    }
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_semantics(step, problem, CLA_USES_ALL);
    if (parts) {
        cla_step_int(step, split->keys);
        cla_step_long(step, split->outputs.part_stride);
        cla_step_long(step, split->states.part_stride);
        step->tile_keys = split->keys;
    }
    step->column_groups = 1;
}

clattn_status cla_finish_split(clattn_plan *plan, struct cla_step *step, const struct cla_split *split,
                               struct cla_text *name, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    cla_flash_args(step, problem, split);
    step->heads = packs(problem);
    step->packed_heads = cla_heads_per_kv(problem);
    step->rows = problem->q_len;
    step->tile_rows = split->tile_rows;
    cla_text_add(name, "q%lldk%lld", (long long)split->tile_rows, (long long)split->tile_keys);
    if (split->keys == 0)
        return CLATTN_SUCCESS;
    cla_text_add(name, "s%lld", (long long)split->keys);
    return cla_add_merge_step(plan, &split->outputs, &split->states, split->keys, NULL, error);
}
