/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of softmax, of the weighted sum and of the merge. */
#include "problem/check.h"
#include "problem/primitive.h"
#include "util/error.h"
#include "util/struct_size.h"

static const struct cla_operand operands[] = {
    CLA_ATTENTION_OPERANDS,
    [CLA_WEIGHTS] = {"weights", CLA_CUT_SCORES, CLA_STRIDED | CLA_READ_BACK},
    [CLA_PARTS] = {"parts_output", CLA_CUT_PARTS, 0},
    [CLA_PART_LSE] = {"part_lse", CLA_CUT_PARTS, 0},
};
_Static_assert(CLA_NUM_PRIMITIVE_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

const struct cla_operation cla_softmax_operation = {
    .name = "softmax",
    .operands = operands,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .in_place = {.output = CLA_WEIGHTS, .input = CLA_SCORES},
    .format = cla_format_stage,
};

const struct cla_operation cla_weighted_sum_operation = {
    .name = "weighted_sum",
    .operands = operands,
    .typed = {CLA_VALUE, CLA_OUTPUT},
    .num_typed = 2,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .format = cla_format_stage,
};

const struct cla_operation cla_merge_operation = {
    .name = "merge",
    .operands = operands,
    .typed = {CLA_PARTS, CLA_OUTPUT},
    .num_typed = 2,
    .q_len = "q_len",
    .kv_len = "parts",
    .format = cla_format_stage,
};

/* The sizes that both have, already in `problem`; their heads are called `heads`. */
static clattn_status check_sizes(const struct cla_problem *problem, const char *heads, clattn_error *error)
{
    CLA_TRY(cla_check_range("batch", problem->batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range(heads, problem->q_heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("kv_heads", problem->kv_heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("q_len", problem->q_len, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("kv_len", problem->kv_len, 0, CLA_MAX_LENGTH, error));
    return cla_check_heads(problem, heads, error);
}

clattn_status cla_problem_from_softmax(const clattn_softmax_desc *given, struct cla_problem *problem,
                                       clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    clattn_softmax_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_softmax_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_softmax_operation;
    problem->batch = desc.batch;
    problem->q_heads = problem->kv_heads = desc.heads;
    problem->q_len = desc.q_len;
    problem->kv_len = desc.kv_len;
    CLA_TRY(check_sizes(problem, "heads", error));

    const int64_t scores[4] = {desc.batch, desc.heads, desc.q_len, desc.kv_len};
    const int64_t lse[4] = {desc.batch, desc.heads, desc.q_len, 1};
    CLA_TRY(cla_set_tensor(problem, CLA_SCORES, &desc.scores, CLA_DTYPES_F32, scores, false, error));
    CLA_TRY(cla_set_tensor(problem, CLA_WEIGHTS, &desc.weights, CLA_DTYPES_F32, scores, true, error));
    if (desc.lse)
        CLA_TRY(cla_set_tensor(problem, CLA_LSE, &dense_f32, CLA_DTYPES_F32, lse, true, error));
    return CLATTN_SUCCESS;
}

clattn_status cla_problem_from_weighted_sum(const clattn_weighted_sum_desc *given, struct cla_problem *problem,
                                            clattn_error *error)
{
    clattn_weighted_sum_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_weighted_sum_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_weighted_sum_operation;
    problem->batch = desc.batch;
    problem->q_heads = desc.q_heads;
    problem->kv_heads = desc.kv_heads;
    problem->q_len = desc.q_len;
    problem->kv_len = desc.kv_len;
    CLA_TRY(check_sizes(problem, "q_heads", error));
    CLA_TRY(cla_check_range("value_dim", desc.value_dim, 1, CLA_MAX_LENGTH, error));
    problem->value_dim = desc.value_dim;

    const int64_t weights[4] = {desc.batch, desc.q_heads, desc.q_len, desc.kv_len};
    const int64_t value[4] = {desc.batch, desc.kv_heads, desc.kv_len, desc.value_dim};
    const int64_t output[4] = {desc.batch, desc.q_heads, desc.q_len, desc.value_dim};
    CLA_TRY(cla_set_tensor(problem, CLA_WEIGHTS, &desc.weights, CLA_DTYPES_F32, weights, false, error));
    CLA_TRY(cla_set_tensor(problem, CLA_VALUE, &desc.value, CLA_DTYPES_FLOATING, value, false, error));
    return cla_set_tensor(problem, CLA_OUTPUT, &desc.output, CLA_DTYPES_FLOATING, output, true, error);
}

clattn_status cla_problem_from_merge(const clattn_merge_desc *given, struct cla_problem *problem, clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    clattn_merge_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_merge_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_merge_operation;
    problem->batch = desc.batch;
    problem->q_heads = problem->kv_heads = desc.heads;
    problem->q_len = desc.q_len;
    CLA_TRY(check_sizes(problem, "heads", error));
    CLA_TRY(cla_check_range("parts", desc.parts, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("value_dim", desc.value_dim, 1, CLA_MAX_LENGTH, error));
    problem->kv_len = desc.parts;
    problem->value_dim = desc.value_dim;

    if ((unsigned)desc.part > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "part is %d (%s): expected f32, f16 or bf16", (int)desc.part,
                        clattn_dtype_string(desc.part));

    /* Parts have five extents, of which batch and heads are one: they are dense. */
    const clattn_layout dense = {desc.part, {0}};
    const int64_t parts[4] = {desc.parts, desc.batch * desc.heads, desc.q_len, desc.value_dim};
    const int64_t part_lse[4] = {desc.parts, desc.batch * desc.heads, desc.q_len, 1};
    const int64_t output[4] = {desc.batch, desc.heads, desc.q_len, desc.value_dim};
    const int64_t lse[4] = {desc.batch, desc.heads, desc.q_len, 1};
    CLA_TRY(cla_set_tensor(problem, CLA_PARTS, &dense, CLA_DTYPES_FLOATING, parts, false, error));
    CLA_TRY(cla_set_tensor(problem, CLA_PART_LSE, &dense_f32, CLA_DTYPES_F32, part_lse, false, error));
    CLA_TRY(cla_set_tensor(problem, CLA_OUTPUT, &desc.output, CLA_DTYPES_FLOATING, output, true, error));
    if (desc.lse)
        CLA_TRY(cla_set_tensor(problem, CLA_LSE, &dense_f32, CLA_DTYPES_F32, lse, true, error));
    return CLATTN_SUCCESS;
}
