/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of linear's backward pass. */
#include "problem/check.h"
#include "problem/linear_backward.h"
#include "util/error.h"
#include "util/struct_size.h"
#include <inttypes.h>

static const struct cla_operand operands[] = {
    [CLA_LINEAR_INPUT] = {"input", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_LINEAR_WEIGHT] = {"weight", CLA_CUT_NONE, CLA_STRIDED},
    [CLA_LINEAR_BIAS] = {"bias", CLA_CUT_NONE, 0},
    [CLA_LINEAR_OUTPUT] = {"output", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_LINEAR_D_OUTPUT] = {"d_output", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_LINEAR_D_INPUT] = {"d_input", CLA_CUT_ROWS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_LINEAR_D_WEIGHT] = {"d_weight", CLA_CUT_NONE, CLA_STRIDED | CLA_READ_BACK},
    [CLA_LINEAR_D_BIAS] = {"d_bias", CLA_CUT_NONE, CLA_READ_BACK},
};
_Static_assert(CLA_NUM_LINEAR_BACKWARD_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

static void format(const struct cla_problem *problem, struct cla_line *line)
{
    cla_line_add(line, "linear_backward b%" PRId64 "l%" PRId64 "i%" PRId64 "o%" PRId64, problem->batch, problem->q_len,
                 problem->head_dim, problem->value_dim);
    cla_format_types(problem, line);
    for (int o = CLA_LINEAR_D_INPUT; o < CLA_NUM_LINEAR_BACKWARD_OPERANDS; o++) {
        if (problem->tensor[o].present)
            cla_line_add(line, ":%s", operands[o].name);
    }
    if (problem->accumulate)
        cla_line_add(line, ":accumulate");
    if (problem->accumulate_input)
        cla_line_add(line, ":accumulate_input");
}

const struct cla_operation cla_linear_backward_operation = {
    .name = "linear_backward",
    .operands = operands,
    .typed = {CLA_LINEAR_D_OUTPUT, CLA_LINEAR_INPUT, CLA_LINEAR_WEIGHT, CLA_LINEAR_D_INPUT, CLA_LINEAR_D_WEIGHT,
              CLA_LINEAR_D_BIAS},
    .num_typed = 6,
    .q_len = "length",
    .kv_len = "kv_len",
    .writes_without_queries = true,
    .format = format,
};

/* The problem of the forward, of which only the sizes, the input and the weight count. */
static clattn_status set_forward(const clattn_linear_desc *given, struct cla_problem *problem, int *bias,
                                 clattn_error *error)
{
    clattn_linear_desc desc;
    clattn_error why = {0};
    clattn_status status = cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_linear_desc", &why);
    if (status == CLATTN_SUCCESS) {
        *bias = desc.bias;
        desc.bias = 0;
        memset(&desc.output, 0, sizeof desc.output);
        status = cla_problem_from_linear(&desc, problem, &why);
    }
    return status == CLATTN_SUCCESS ? status : cla_fail(error, status, "linear: %s", why.message);
}

static clattn_status set_tensor(struct cla_problem *problem, int operand, int like, const clattn_layout *layout,
                                clattn_error *error)
{
    return cla_set_tensor(problem, operand, layout, CLA_DTYPES_FLOATING, problem->tensor[like].extent,
                          operand != CLA_LINEAR_D_OUTPUT, error);
}

static clattn_status set_bias(const clattn_linear_backward_desc *desc, int bias, struct cla_problem *problem,
                              clattn_error *error)
{
    const clattn_layout dense = {desc->d_bias_dtype, {0}};
    const int64_t extent[4] = {1, 1, 1, problem->value_dim};
    if (!bias)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_bias is %d and linear.bias is 0: expected 0, there is no bias", desc->d_bias);
    if ((unsigned)desc->d_bias_dtype > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "d_bias_dtype is %d (%s): expected f32, f16 or bf16",
                        (int)desc->d_bias_dtype, clattn_dtype_string(desc->d_bias_dtype));
    return cla_set_tensor(problem, CLA_LINEAR_D_BIAS, &dense, CLA_DTYPES_FLOATING, extent, true, error);
}

static void remove_tensor(struct cla_problem *problem, int operand)
{
    memset(&problem->tensor[operand], 0, sizeof problem->tensor[operand]);
}

clattn_status cla_problem_from_linear_backward(const clattn_linear_backward_desc *given, struct cla_problem *problem,
                                               clattn_error *error)
{
    clattn_linear_backward_desc desc;
    int bias = 0;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_linear_backward_desc", error));
    CLA_CHECK(desc.linear != NULL, error, "linear is NULL: expected a clattn_linear_desc");
    CLA_TRY(set_forward(desc.linear, problem, &bias, error));
    problem->operation = &cla_linear_backward_operation;
    if (!desc.d_input && !desc.d_weight && !desc.d_bias)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_input, d_weight and d_bias are 0: expected one that is not, nothing is wanted");

    CLA_TRY(set_tensor(problem, CLA_LINEAR_D_OUTPUT, CLA_LINEAR_OUTPUT, &desc.d_output_layout, error));
    if (desc.d_input)
        CLA_TRY(set_tensor(problem, CLA_LINEAR_D_INPUT, CLA_LINEAR_INPUT, &desc.d_input_layout, error));
    if (desc.d_weight)
        CLA_TRY(set_tensor(problem, CLA_LINEAR_D_WEIGHT, CLA_LINEAR_WEIGHT, &desc.d_weight_layout, error));
    if (desc.d_bias)
        CLA_TRY(set_bias(&desc, bias, problem, error));
    remove_tensor(problem, CLA_LINEAR_OUTPUT);
    if (!desc.d_weight)
        remove_tensor(problem, CLA_LINEAR_INPUT);
    if (!desc.d_input)
        remove_tensor(problem, CLA_LINEAR_WEIGHT);
    problem->accumulate = desc.accumulate && (desc.d_weight || desc.d_bias);
    problem->accumulate_input = desc.accumulate_input && desc.d_input;
    return CLATTN_SUCCESS;
}
