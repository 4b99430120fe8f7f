/* SPDX-License-Identifier: Apache-2.0 */
/* Linear's descriptor. */
#include "problem/check.h"
#include "problem/layout.h"
#include "util/error.h"
#include "util/struct_size.h"

static clattn_status set_tensor(struct cla_problem *problem, enum cla_operand operand, const clattn_layout *layout,
                                int64_t batch, int64_t rows, int64_t columns, clattn_error *error)
{
    const int64_t extent[4] = {batch, 1, rows, columns};
    CLA_TRY(cla_check_dtype(operand, layout->dtype, CLA_DTYPES_FLOATING, error));
    return cla_tensor_resolve(problem, operand, layout, extent, operand == CLA_OUTPUT, error);
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
    problem->operation = CLA_OP_LINEAR;
    problem->batch = desc.batch;
    problem->q_heads = problem->kv_heads = 1;
    problem->q_len = desc.length;
    problem->head_dim = desc.in_features;
    problem->value_dim = desc.out_features;

    CLA_TRY(set_tensor(problem, CLA_INPUT, &desc.input, desc.batch, desc.length, desc.in_features, error));
    CLA_TRY(set_tensor(problem, CLA_WEIGHT, &desc.weight, 1, desc.out_features, desc.in_features, error));
    CLA_TRY(set_tensor(problem, CLA_OUTPUT, &desc.output, desc.batch, desc.length, desc.out_features, error));
    if (!desc.bias)
        return CLATTN_SUCCESS;
    const clattn_layout dense = {desc.bias_dtype, {0}};
    if (cla_check_dtype(CLA_BIAS, desc.bias_dtype, CLA_DTYPES_FLOATING, NULL) != CLATTN_SUCCESS)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "bias_dtype is %d (%s): expected f32, f16 or bf16",
                        (int)desc.bias_dtype, clattn_dtype_string(desc.bias_dtype));
    return set_tensor(problem, CLA_BIAS, &dense, 1, 1, desc.out_features, error);
}
