/* SPDX-License-Identifier: Apache-2.0 */
/* Attention's descriptor, for attention itself and for its scores: every rule of attention.h, every default. */
#include "problem/check.h"
#include "problem/layout.h"
#include "util/error.h"
#include "util/size.h"
#include "util/struct_size.h"
#include <math.h>

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
    problem->scale = desc->scale == 0.0f ? cla_default_scale(desc->head_dim) : desc->scale;
    problem->softcap = desc->softcap == 0.0f ? 0.0f : desc->softcap; /* of the two zeros, one */
    return CLATTN_SUCCESS;
}

/* Causality and window as one band of keys around the position of each query. */
static clattn_status set_band(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
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
    if ((desc->causal || desc->window) && desc->alignment == CLATTN_ALIGN_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "alignment is 0 (none) and %s is set: expected top-left, bottom-right or an offset",
                        desc->causal ? "causal" : "window");
    if (left == CLA_UNBOUNDED && right == CLA_UNBOUNDED)
        return CLATTN_SUCCESS;
    problem->band = true;
    problem->left = left;
    problem->right = right;
    problem->alignment = desc->alignment;
    if (desc->alignment == CLATTN_ALIGN_OFFSET)
        problem->offset = cla_clamp(desc->offset, -CLA_UNBOUNDED / 2, CLA_UNBOUNDED / 2);
    return CLATTN_SUCCESS;
}

static clattn_status set_mask(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    static const char *const names[4] = {"batch", "q_heads", "q_len", "kv_len"};
    const int64_t full[4] = {desc->batch, desc->q_heads, desc->q_len, desc->kv_len};
    const int64_t *shape = desc->mask_shape;

    problem->mask_keys = desc->kv_len;
    if ((unsigned)desc->mask_kind > CLATTN_MASK_ADDITIVE)
        return refuse(error, "mask_kind", (int)desc->mask_kind, "a clattn_mask_kind, 0 to 2");
    if (desc->mask_kind == CLATTN_MASK_NONE)
        return CLATTN_SUCCESS;
    CLA_TRY(cla_check_dtype(CLA_MASK, desc->mask.dtype,
                            desc->mask_kind == CLATTN_MASK_BOOL ? CLA_DTYPES_BOOL : CLA_DTYPES_FLOATING, error));
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
        problem->mask_keys = shape[3];
    problem->mask_kind = desc->mask_kind;
    return cla_tensor_resolve(problem, CLA_MASK, &desc->mask, shape, false, error);
}

static clattn_status set_kv_lengths(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    static const clattn_layout dense = {CLATTN_F32, {0}}; /* integers are no dtype: only the strides are of use */
    const int64_t extent[4] = {desc->batch, 1, 1, 1};
    struct cla_tensor *tensor = &problem->tensor[CLA_KV_LENGTHS];
    if ((unsigned)desc->kv_lengths > CLATTN_LENGTHS_I64)
        return refuse(error, "kv_lengths", (int)desc->kv_lengths, "a clattn_lengths, 0 to 2");
    if (desc->kv_lengths == CLATTN_LENGTHS_NONE)
        return CLATTN_SUCCESS;
    problem->kv_lengths = desc->kv_lengths;
    CLA_TRY(cla_tensor_resolve(problem, CLA_KV_LENGTHS, &dense, extent, false, error));
    tensor->element_size = desc->kv_lengths == CLATTN_LENGTHS_I32 ? 4 : 8;
    return CLATTN_SUCCESS;
}

/* One of the tensors whose last two extents are `rows` and `columns`. */
static clattn_status set_tensor(struct cla_problem *problem, enum cla_operand operand, const clattn_layout *layout,
                                unsigned dtypes, int64_t rows, int64_t columns, clattn_error *error)
{
    bool keys = operand == CLA_KEY || operand == CLA_VALUE;
    const int64_t extent[4] = {problem->batch, keys ? problem->kv_heads : problem->q_heads, rows, columns};
    bool written = operand == CLA_OUTPUT || operand == CLA_LSE || operand == CLA_SCORES;
    CLA_TRY(cla_check_dtype(operand, layout->dtype, dtypes, error));
    return cla_tensor_resolve(problem, operand, layout, extent, written, error);
}

/* All that attention and scores have in common: everything but value, output, lse and scores. */
static clattn_status set_common(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(set_sizes(desc, problem, error));
    CLA_TRY(set_arithmetic(desc, problem, error));
    CLA_TRY(set_band(desc, problem, error));
    CLA_TRY(set_tensor(problem, CLA_QUERY, &desc->query, CLA_DTYPES_FLOATING, desc->q_len, desc->head_dim, error));
    CLA_TRY(set_tensor(problem, CLA_KEY, &desc->key, CLA_DTYPES_FLOATING, desc->kv_len, desc->head_dim, error));
    CLA_TRY(set_mask(desc, problem, error));
    return set_kv_lengths(desc, problem, error);
}

static clattn_status set_scores(const clattn_attention_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    problem->scores_stage = desc->scores_stage;
    return set_tensor(problem, CLA_SCORES, &desc->scores, CLA_DTYPES_F32, desc->q_len, desc->kv_len, error);
}

clattn_status cla_problem_from_attention(const clattn_attention_desc *given, struct cla_problem *problem,
                                         clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    clattn_attention_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_attention_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = CLA_OP_ATTENTION;
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

/* Leaves out what a stage before the mask does not depend on, so that no run has to bring it. */
static void drop_exclusions(struct cla_problem *problem)
{
    problem->band = false;
    problem->alignment = CLATTN_ALIGN_NONE;
    problem->offset = problem->left = problem->right = 0;
    problem->mask_kind = CLATTN_MASK_NONE;
    problem->mask_keys = problem->kv_len;
    problem->kv_lengths = CLATTN_LENGTHS_NONE;
    memset(&problem->tensor[CLA_MASK], 0, sizeof problem->tensor[CLA_MASK]);
    memset(&problem->tensor[CLA_KV_LENGTHS], 0, sizeof problem->tensor[CLA_KV_LENGTHS]);
}

clattn_status cla_problem_from_scores(const clattn_attention_desc *given, struct cla_problem *problem,
                                      clattn_error *error)
{
    clattn_attention_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_attention_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = CLA_OP_SCORES;
    CLA_TRY(set_common(&desc, problem, error));
    if (desc.scores_stage != CLATTN_SCORES_RAW && desc.scores_stage != CLATTN_SCORES_SOFTCAP &&
        desc.scores_stage != CLATTN_SCORES_MASKED)
        return refuse(error, "scores_stage", (int)desc.scores_stage, "1 (raw), 2 (softcap) or 3 (masked)");
    if (desc.scores_stage == CLATTN_SCORES_RAW)
        problem->softcap = 0.0f;
    if (desc.scores_stage != CLATTN_SCORES_MASKED)
        drop_exclusions(problem);
    return set_scores(&desc, problem, error);
}
