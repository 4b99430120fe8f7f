/* SPDX-License-Identifier: Apache-2.0 */
/* Attention's descriptor, for attention itself and for its scores: every rule of attention.h, every default. */
#include "problem/attention.h"
#include "problem/check.h"
#include "util/error.h"
#include "util/size.h"
#include "util/struct_size.h"
#include <math.h>

static const struct cla_operand operands[] = {CLA_ATTENTION_OPERANDS};
_Static_assert(CLA_NUM_ATTENTION_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

/* A circular cache has all its rows, whatever its sequences have of them. */
static clattn_status check_lengths(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                   clattn_error *error)
{
    if (problem->semantics.kv_storage != CLATTN_STORAGE_CIRCULAR || lengths->kv_len == problem->kv_len)
        return CLATTN_SUCCESS;
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                    "kv_len is %lld: expected the plan's %lld, the capacity of the circular cache",
                    (long long)lengths->kv_len, (long long)problem->kv_len);
}

const struct cla_operation cla_attention_operation = {
    .name = "attention",
    .operands = operands,
    .typed = {CLA_QUERY, CLA_KEY, CLA_VALUE, CLA_OUTPUT},
    .num_typed = 4,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .format = cla_format_attention,
    .check_lengths = check_lengths,
};

const struct cla_operation cla_scores_operation = {
    .name = "scores",
    .operands = operands,
    .typed = {CLA_QUERY, CLA_KEY},
    .num_typed = 2,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .format = cla_format_stage,
    .check_lengths = check_lengths,
};

static clattn_status refuse(clattn_error *error, const char *name, long long value, const char *expected)
{
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %lld: expected %s", name, value, expected);
}

/* value_dim is left to attention, scores have none. */
static clattn_status set_sizes(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(cla_check_range("batch", desc->batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("q_heads", desc->q_heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("kv_heads", desc->kv_heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("q_len", desc->q_len, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("kv_len", desc->kv_len, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("head_dim", desc->head_dim, 1, CLA_MAX_LENGTH, error));
    problem->batch = desc->batch;
    problem->q_heads = desc->q_heads;
    problem->kv_heads = desc->kv_heads;
    problem->q_len = desc->q_len;
    problem->kv_len = desc->kv_len;
    problem->head_dim = desc->head_dim;
    return cla_check_heads(problem, "q_heads", error);
}

static clattn_status set_arithmetic(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if (!isfinite(desc->scale))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "scale is %g: expected a finite number",
                        (double)desc->scale);
    if (!isfinite(desc->softcap) || desc->softcap < 0.0f)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "softcap is %g: expected a finite number, 0 or more",
                        (double)desc->softcap);
    if (!(desc->dropout >= 0.0f && desc->dropout < 1.0f))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "dropout is %g: expected 0 or more, less than 1",
                        (double)desc->dropout);
    problem->semantics.scale = desc->scale != 0.0f ? desc->scale
                               : desc->scale_set   ? 0.0f
                                                   : cla_default_scale(desc->head_dim);
    problem->semantics.softcap = desc->softcap == 0.0f ? 0.0f : desc->softcap; /* of the two zeros, one */
    problem->semantics.dropout = desc->dropout == 0.0f ? 0.0f : desc->dropout;
    return CLATTN_SUCCESS;
}

static int64_t moved(int64_t end, int64_t shift)
{
    return end == CLA_UNBOUNDED ? CLA_UNBOUNDED : cla_min(end + shift, CLA_UNBOUNDED);
}

/* Causality and window as one band of keys around the position of each query, and what else depends on positions. */
static clattn_status set_positions(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    const char *user = desc->causal                 ? "causal"
                       : desc->window               ? "window"
                       : desc->alibi                ? "alibi"
                       : desc->relative_extent != 0 ? "relative_extent"
                                                    : NULL;
    int64_t left = CLA_UNBOUNDED, right = CLA_UNBOUNDED;
    if ((unsigned)desc->alignment > CLATTN_ALIGN_OFFSET)
        return refuse(error, "alignment", (int)desc->alignment, "a clattn_alignment, 0 to 3");
    if (desc->window) {
        CLA_TRY(cla_check_range("window_left", desc->window_left, -1, INT64_MAX, error));
        CLA_TRY(cla_check_range("window_right", desc->window_right, -1, INT64_MAX, error));
        if (desc->window_left >= 0)
            left = cla_min(desc->window_left, CLA_UNBOUNDED);
        if (desc->window_right >= 0)
            right = cla_min(desc->window_right, CLA_UNBOUNDED);
    }
    if (desc->causal)
        right = 0; /* no window ends further left */
    const int64_t shift = cla_clamp(desc->window_shift, -CLA_UNBOUNDED / 2, CLA_UNBOUNDED / 2);
    left = moved(left, -shift);
    right = moved(right, shift);
    if (user != NULL && desc->alignment == CLATTN_ALIGN_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "alignment is 0 (none) and %s is set: expected top-left, bottom-right or an offset", user);
    if (left != CLA_UNBOUNDED || right != CLA_UNBOUNDED) {
        problem->semantics.band = true;
        problem->semantics.left = left;
        problem->semantics.right = right;
    }
    if (!problem->semantics.band && !desc->alibi && desc->relative_extent == 0)
        return CLATTN_SUCCESS;
    problem->semantics.alignment = desc->alignment;
    if (desc->alignment == CLATTN_ALIGN_OFFSET)
        problem->semantics.offset = cla_clamp(desc->offset, -CLA_UNBOUNDED / 2, CLA_UNBOUNDED / 2);
    return CLATTN_SUCCESS;
}

/* An f32 row of `columns` numbers for every query head, and for every one of `batch` batches. */
static clattn_status set_head_values(struct cla_problem *problem, int operand, int64_t batch, int64_t columns,
                                     clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    const int64_t extent[4] = {batch, problem->q_heads, 1, columns};
    return cla_set_tensor(problem, operand, &dense_f32, CLA_DTYPES_F32, extent, false, error);
}

static clattn_status set_sinks_and_biases(const clattn_attention_desc *desc, struct cla_problem *problem,
                                          clattn_error *error)
{
    CLA_TRY(cla_check_range("relative_extent", desc->relative_extent, 0, CLA_MAX_LENGTH / 2, error));
    problem->semantics.relative_extent = desc->relative_extent;
    if (desc->sinks)
        CLA_TRY(set_head_values(problem, CLA_SINKS, 1, 1, error));
    if (desc->alibi) {
        const int64_t own = desc->alibi_batch > 1 ? desc->alibi_batch : 1;
        if (desc->alibi_batch < 0 || (own != 1 && own != desc->batch))
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "alibi_batch is %lld: expected 0, 1 or batch (%lld)",
                            (long long)desc->alibi_batch, (long long)desc->batch);
        CLA_TRY(set_head_values(problem, CLA_ALIBI_SLOPES, own, 1, error));
    }
    if (desc->relative_extent > 0)
        CLA_TRY(set_head_values(problem, CLA_RELATIVE_BIAS, 1, 2 * desc->relative_extent + 1, error));
    return CLATTN_SUCCESS;
}

static clattn_status set_mask(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    static const char *const names[4] = {"batch", "q_heads", "q_len", "kv_len"};
    const int64_t full[4] = {desc->batch, desc->q_heads, desc->q_len, desc->kv_len};
    const int64_t *shape = desc->mask_shape;

    problem->semantics.mask_keys = desc->kv_len;
    if ((unsigned)desc->mask_kind > CLATTN_MASK_ADDITIVE)
        return refuse(error, "mask_kind", (int)desc->mask_kind, "a clattn_mask_kind, 0 to 2");
    if (desc->mask_kind == CLATTN_MASK_NONE)
        return CLATTN_SUCCESS;
    if (shape[0] == 0 && shape[1] == 0 && shape[2] == 0 && shape[3] == 0)
        shape = full;
    for (int d = 0; d < 3; d++)
        if (shape[d] != 1 && shape[d] != full[d])
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "mask_shape[%d] is %lld: expected 1 or %s (%lld)", d,
                            (long long)shape[d], names[d], (long long)full[d]);
    if (shape[3] != 1 && shape[3] != full[3] && (shape[3] < 2 || shape[3] > full[3]))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "mask_shape[3] is %lld: expected 1 to kv_len (%lld)",
                        (long long)shape[3], (long long)full[3]);
    if (shape[3] != 1)
        problem->semantics.mask_keys = shape[3];
    problem->semantics.mask_pad = desc->mask_pad && problem->semantics.mask_keys < desc->kv_len;
    if (problem->semantics.mask_keys < desc->kv_len && !problem->semantics.mask_pad &&
        desc->kv_lengths == CLATTN_LENGTHS_NONE && desc->kv_cu_lengths == CLATTN_LENGTHS_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "mask_shape[3] is %lld: the mask covers %lld of kv_len (%lld) keys, expected 1 or all; or "
                        "mask_pad, which excludes the others, or lengths that do not exceed it",
                        (long long)shape[3], (long long)shape[3], (long long)desc->kv_len);
    problem->semantics.mask_kind = desc->mask_kind;
    return cla_set_tensor(problem, CLA_MASK, &desc->mask,
                          desc->mask_kind == CLATTN_MASK_BOOL ? CLA_DTYPES_BOOL : CLA_DTYPES_FLOATING, shape, false,
                          error);
}

clattn_status cla_set_pages(struct cla_problem *problem, int64_t page_size, int64_t num_blocks,
                            int64_t block_table_stride, int64_t length, clattn_error *error)
{
    CLA_TRY(cla_check_range("page_size", page_size, 1, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("num_blocks", num_blocks, 1, CLA_MAX_HEADS, error));
    const int64_t extent[4] = {problem->batch, 1, 1, cla_ceil_div(length, page_size)};
    if (block_table_stride != 0)
        CLA_TRY(cla_check_range("block_table_stride", block_table_stride, extent[3], INT64_MAX, error));
    problem->semantics.page_size = page_size;
    problem->semantics.num_blocks = num_blocks;
    const clattn_layout layout = {CLATTN_F32, {block_table_stride, 0, 0, block_table_stride != 0}};
    return cla_set_tensor(problem, CLA_BLOCK_TABLE, &layout, CLA_DTYPES_F32, extent, false, error);
}

/* Where keys and values lie, and the numbers that say so. */
static clattn_status set_storage(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if ((unsigned)desc->kv_storage > CLATTN_STORAGE_PAGED)
        return refuse(error, "kv_storage", (int)desc->kv_storage, "a clattn_storage, 0 to 2");
    if ((unsigned)desc->kv_lengths > CLATTN_LENGTHS_I64)
        return refuse(error, "kv_lengths", (int)desc->kv_lengths, "a clattn_lengths, 0 to 2");
    problem->semantics.kv_storage = desc->kv_storage;
    problem->semantics.kv_lengths = desc->kv_lengths;
    if (desc->kv_lengths != CLATTN_LENGTHS_NONE)
        CLA_TRY(cla_set_integers(problem, CLA_KV_LENGTHS, desc->kv_lengths, desc->batch, error));
    if (desc->kv_storage == CLATTN_STORAGE_CIRCULAR && desc->kv_lengths == CLATTN_LENGTHS_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "kv_storage is 1 (circular) and kv_lengths is 0 (none): expected 1 or 2");
    if (desc->kv_storage == CLATTN_STORAGE_PAGED)
        return cla_set_pages(problem, desc->page_size, desc->num_blocks, desc->block_table_stride, desc->kv_len, error);
    return CLATTN_SUCCESS;
}

/* Packed sequences. */
static clattn_status set_ragged(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if ((unsigned)desc->q_cu_lengths > CLATTN_LENGTHS_I64)
        return refuse(error, "q_cu_lengths", (int)desc->q_cu_lengths, "a clattn_lengths, 0 to 2");
    if ((unsigned)desc->kv_cu_lengths > CLATTN_LENGTHS_I64)
        return refuse(error, "kv_cu_lengths", (int)desc->kv_cu_lengths, "a clattn_lengths, 0 to 2");
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE) {
        CLA_TRY(cla_check_range("q_total", desc->q_total, desc->q_len > 0 && desc->batch > 0, CLA_MAX_LENGTH, error));
        problem->semantics.q_cu_lengths = desc->q_cu_lengths;
        problem->semantics.q_total = desc->q_total;
        CLA_TRY(cla_set_integers(problem, CLA_Q_CU_LENGTHS, desc->q_cu_lengths, desc->batch + 1, error));
    }
    if (desc->kv_cu_lengths == CLATTN_LENGTHS_NONE)
        return CLATTN_SUCCESS;
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "kv_cu_lengths is set and kv_storage is %d (%s): expected 0 (linear)", (int)desc->kv_storage,
                        desc->kv_storage == CLATTN_STORAGE_PAGED ? "paged" : "circular");
    if (desc->kv_lengths != CLATTN_LENGTHS_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "kv_cu_lengths and kv_lengths are set: expected one of them, the cumulative ones give lengths");
    CLA_TRY(cla_check_range("kv_total", desc->kv_total, desc->kv_len > 0 && desc->batch > 0, CLA_MAX_LENGTH, error));
    problem->semantics.kv_cu_lengths = desc->kv_cu_lengths;
    problem->semantics.kv_total = desc->kv_total;
    return cla_set_integers(problem, CLA_KV_CU_LENGTHS, desc->kv_cu_lengths, desc->batch + 1, error);
}

/* One of the tensors whose last two extents are `rows` and `columns` where they are neither packed nor paged. */
static clattn_status set_tensor(struct cla_problem *problem, int operand, const clattn_layout *layout, unsigned dtypes,
                                int64_t rows, int64_t columns, clattn_error *error)
{
    bool keys = operand == CLA_KEY || operand == CLA_VALUE;
    int64_t extent[4] = {problem->batch, keys ? problem->kv_heads : problem->q_heads, rows, columns};
    if (keys && problem->semantics.kv_storage == CLATTN_STORAGE_PAGED) {
        extent[0] = problem->semantics.num_blocks;
        extent[2] = problem->semantics.page_size;
    } else if (keys ? problem->semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE
                    : problem->semantics.q_cu_lengths != CLATTN_LENGTHS_NONE) {
        extent[0] = 1;
        extent[2] = keys ? problem->semantics.kv_total : problem->semantics.q_total;
    }
    bool written = operand == CLA_OUTPUT || operand == CLA_LSE || operand == CLA_SCORES;
    return cla_set_tensor(problem, operand, layout, dtypes, extent, written, error);
}

/* All that attention and scores have in common: everything but value, output, lse and scores. */
static clattn_status set_common(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(set_sizes(desc, problem, error));
    CLA_TRY(set_arithmetic(desc, problem, error));
    CLA_TRY(set_positions(desc, problem, error));
    CLA_TRY(set_storage(desc, problem, error));
    CLA_TRY(set_ragged(desc, problem, error));
    CLA_TRY(set_sinks_and_biases(desc, problem, error));
    CLA_TRY(set_tensor(problem, CLA_QUERY, &desc->query, CLA_DTYPES_FLOATING, desc->q_len, desc->head_dim, error));
    CLA_TRY(set_tensor(problem, CLA_KEY, &desc->key, CLA_DTYPES_FLOATING, desc->kv_len, desc->head_dim, error));
    return set_mask(desc, problem, error);
}

static clattn_status set_scores(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "q_cu_lengths is set: expected 0 (none) where scores are given out");
    problem->semantics.scores_stage = desc->scores_stage;
    return set_tensor(problem, CLA_SCORES, &desc->scores, CLA_DTYPES_F32, desc->q_len, desc->kv_len, error);
}

clattn_status cla_problem_from_attention(const clattn_attention_desc *given, struct cla_problem *problem,
                                         clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    clattn_attention_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_attention_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_attention_operation;
    CLA_TRY(set_common(&desc, problem, error));

    CLA_TRY(cla_check_range("value_dim", desc.value_dim, 0, CLA_MAX_LENGTH, error));
    problem->value_dim = desc.value_dim == 0 ? desc.head_dim : desc.value_dim;
    CLA_TRY(set_tensor(problem, CLA_VALUE, &desc.value, CLA_DTYPES_FLOATING, desc.kv_len, problem->value_dim, error));
    CLA_TRY(set_tensor(problem, CLA_OUTPUT, &desc.output, CLA_DTYPES_FLOATING, desc.q_len, problem->value_dim, error));
    if (desc.lse)
        CLA_TRY(set_tensor(problem, CLA_LSE, &dense_f32, CLA_DTYPES_F32, desc.q_len, 1, error));
    if ((unsigned)desc.scores_stage > CLATTN_SCORES_WEIGHTS)
        return refuse(error, "scores_stage", (int)desc.scores_stage, "a clattn_scores_stage, 0 to 4");
    if (desc.scores_stage == CLATTN_SCORES_NONE)
        return CLATTN_SUCCESS;
    return set_scores(&desc, problem, error);
}

static void drop(struct cla_problem *problem, int operand)
{
    memset(&problem->tensor[operand], 0, sizeof problem->tensor[operand]);
}

/* Leaves out what a stage before the mask does not depend on, so that no run has to bring it. Lengths stay where they
   say in which row a key lies. */
static void drop_exclusions(struct cla_problem *problem)
{
    problem->semantics.band = false;
    problem->semantics.alignment = CLATTN_ALIGN_NONE;
    problem->semantics.offset = problem->semantics.left = problem->semantics.right = 0;
    problem->semantics.mask_kind = CLATTN_MASK_NONE;
    problem->semantics.mask_keys = problem->kv_len;
    problem->semantics.mask_pad = false;
    problem->semantics.relative_extent = 0;
    drop(problem, CLA_MASK);
    drop(problem, CLA_ALIBI_SLOPES);
    drop(problem, CLA_RELATIVE_BIAS);
    if (problem->semantics.kv_storage == CLATTN_STORAGE_CIRCULAR)
        return;
    problem->semantics.kv_lengths = CLATTN_LENGTHS_NONE;
    drop(problem, CLA_KV_LENGTHS);
}

clattn_status cla_problem_from_scores(const clattn_attention_desc *given, struct cla_problem *problem,
                                      clattn_error *error)
{
    clattn_attention_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_attention_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_scores_operation;
    CLA_TRY(set_common(&desc, problem, error));
    if (desc.scores_stage != CLATTN_SCORES_RAW && desc.scores_stage != CLATTN_SCORES_SOFTCAP &&
        desc.scores_stage != CLATTN_SCORES_MASKED)
        return refuse(error, "scores_stage", (int)desc.scores_stage, "1 (raw), 2 (softcap) or 3 (masked)");
    if (desc.scores_stage == CLATTN_SCORES_RAW)
        problem->semantics.softcap = 0.0f;
    drop(problem, CLA_SINKS); /* the softmax's, as dropout is */
    problem->semantics.dropout = 0.0f;
    if (desc.scores_stage != CLATTN_SCORES_MASKED)
        drop_exclusions(problem);
    return set_scores(&desc, problem, error);
}
