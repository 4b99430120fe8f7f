/* SPDX-License-Identifier: Apache-2.0 */
/* Linear's descriptor. */
#include "problem/check.h"
#include "problem/linear.h"
#include "util/error.h"
#include "util/struct_size.h"
#include <inttypes.h>

static const struct cla_operand operands[] = {
    [CLA_LINEAR_INPUT] = {"input", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_LINEAR_WEIGHT] = {"weight", CLA_CUT_NONE, CLA_STRIDED},
    [CLA_LINEAR_BIAS] = {"bias", CLA_CUT_NONE, 0},
    [CLA_LINEAR_OUTPUT] = {"output", CLA_CUT_ROWS, CLA_STRIDED},
};
_Static_assert(CLA_NUM_LINEAR_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

static void format(const struct cla_problem *problem, struct cla_line *line)
{
    cla_line_add(line, "linear b%" PRId64 "l%" PRId64 "i%" PRId64 "o%" PRId64, problem->batch, problem->q_len,
                 problem->head_dim, problem->value_dim);
    cla_format_types(problem, line);
    if (problem->tensor[CLA_LINEAR_BIAS].present)
        cla_line_add(line, ":bias");
}

const struct cla_operation cla_linear_operation = {
    .name = "linear",
    .operands = operands,
    .typed = {CLA_LINEAR_INPUT, CLA_LINEAR_WEIGHT, CLA_LINEAR_BIAS, CLA_LINEAR_OUTPUT},
    .num_typed = 4,
    .q_len = "length",
    .kv_len = "kv_len",
    .format = format,
};

static clattn_status set_tensor(struct cla_problem *problem, int operand, const clattn_layout *layout, int64_t batch,
                                int64_t rows, int64_t columns, clattn_error *error)
{
    const int64_t extent[4] = {batch, 1, rows, columns};
    return cla_set_tensor(problem, operand, layout, CLA_DTYPES_FLOATING, extent, operand == CLA_LINEAR_OUTPUT, error);
}

clattn_status cla_problem_from_linear(const clattn_linear_desc *given, struct cla_problem *problem, clattn_error *error)
{
    clattn_linear_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_linear_desc", error));
    memset(problem, 0, sizeof *problem);
    CLA_TRY(cla_check_range("batch", desc.batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("length", desc.length, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("in_features", desc.in_features, 1, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("out_features", desc.out_features, 1, CLA_MAX_LENGTH, error));
    problem->operation = &cla_linear_operation;
    problem->batch = desc.batch;
    problem->q_heads = problem->kv_heads = 1;
    problem->q_len = desc.length;
    problem->head_dim = desc.in_features;
    problem->value_dim = desc.out_features;

    CLA_TRY(set_tensor(problem, CLA_LINEAR_INPUT, &desc.input, desc.batch, desc.length, desc.in_features, error));
    CLA_TRY(set_tensor(problem, CLA_LINEAR_WEIGHT, &desc.weight, 1, desc.out_features, desc.in_features, error));
    CLA_TRY(set_tensor(problem, CLA_LINEAR_OUTPUT, &desc.output, desc.batch, desc.length, desc.out_features, error));
    if (!desc.bias)
        return CLATTN_SUCCESS;
    const clattn_layout dense = {desc.bias_dtype, {0}};
    if ((unsigned)desc.bias_dtype > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "bias_dtype is %d (%s): expected f32, f16 or bf16",
                        (int)desc.bias_dtype, clattn_dtype_string(desc.bias_dtype));
    return set_tensor(problem, CLA_LINEAR_BIAS, &dense, 1, 1, desc.out_features, error);
}
