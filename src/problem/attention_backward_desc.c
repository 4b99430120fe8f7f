/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of attention's backward pass. */
#include "problem/attention_backward.h"
#include "problem/check.h"
#include "util/error.h"
#include "util/struct_size.h"
#include <stddef.h>

static const struct cla_operand operands[] = {
    CLA_ATTENTION_OPERANDS,
    [CLA_D_OUTPUT] = {"d_output", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_D_LSE] = {"d_lse", CLA_CUT_ROWS, 0},
    [CLA_D_QUERY] = {"d_query", CLA_CUT_ROWS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_D_KEY] = {"d_key", CLA_CUT_KEYS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_D_VALUE] = {"d_value", CLA_CUT_KEYS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_D_MASK] = {"d_mask", CLA_CUT_SUMMED, CLA_STRIDED | CLA_READ_BACK},
    [CLA_D_SINKS] = {"d_sinks", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_ALIBI_SLOPES] = {"d_alibi_slopes", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_RELATIVE_BIAS] = {"d_relative_bias", CLA_CUT_NONE, CLA_READ_BACK},
};
_Static_assert(CLA_NUM_ATTENTION_BACKWARD_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

const struct cla_gradient cla_gradients[CLA_NUM_GRADIENTS] = {
    {"query", CLA_D_QUERY, offsetof(clattn_attention_backward_desc, d_query)},
    {"key", CLA_D_KEY, offsetof(clattn_attention_backward_desc, d_key)},
    {"value", CLA_D_VALUE, offsetof(clattn_attention_backward_desc, d_value)},
    {"mask", CLA_D_MASK, offsetof(clattn_attention_backward_desc, d_mask)},
    {"sinks", CLA_D_SINKS, offsetof(clattn_attention_backward_desc, d_sinks)},
    {"alibi", CLA_D_ALIBI_SLOPES, offsetof(clattn_attention_backward_desc, d_alibi_slopes)},
    {"relative", CLA_D_RELATIVE_BIAS, offsetof(clattn_attention_backward_desc, d_relative_bias)},
};

/* Which gradients, where they are not those of query, key and value. */
static void format(const struct cla_problem *problem, struct cla_line *line)
{
    bool usual = true;
    char separator = '=';
    cla_format_attention(problem, line);
    cla_line_add(line, ":backward");
    for (int g = 0; g < CLA_NUM_GRADIENTS; g++)
        usual = usual && problem->tensor[cla_gradients[g].operand].present == (g < CLA_NUM_USUAL_GRADIENTS);
    for (int g = 0; g < CLA_NUM_GRADIENTS && !usual; g++) {
        if (!problem->tensor[cla_gradients[g].operand].present)
            continue;
        cla_line_add(line, "%c%s", separator, cla_gradients[g].name);
        separator = ',';
    }
    if (problem->tensor[CLA_D_LSE].present)
        cla_line_add(line, ":d_lse");
    if (problem->accumulate)
        cla_line_add(line, ":accumulate");
}

const struct cla_operation cla_attention_backward_operation = {
    .name = "attention_backward",
    .operands = operands,
    .typed = {CLA_QUERY, CLA_KEY, CLA_VALUE, CLA_OUTPUT},
    .num_typed = 4,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .writes_without_queries = true,
    .format = format,
};

/* A gradient of an operand: where that has one element for several places, by a stride of 0, the gradient has one. */
static clattn_status set_gradient(struct cla_problem *problem, int gradient, int of, const clattn_layout *layout,
                                  unsigned dtypes, clattn_error *error)
{
    const struct cla_tensor *operand = &problem->tensor[of];
    int64_t extent[4];
    for (int d = 0; d < 4; d++)
        extent[d] = operand->span > 0 && operand->stride[d] == 0 ? 1 : operand->extent[d];
    return cla_set_tensor(problem, gradient, layout, dtypes, extent, true, error);
}

/* The gradient of queries, keys or values. */
static clattn_status set_rows(struct cla_problem *problem, int gradient, int of, int wanted,
                              const clattn_layout *layout, clattn_error *error)
{
    const struct cla_tensor *operand = &problem->tensor[of];
    if (!wanted)
        return CLATTN_SUCCESS;
    if (operand->extent[2] > 1 && operand->span > 0 && operand->stride[2] == 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "%s is %d and attention.%s.strides[2] is 0: expected 0, or rows that do not lie in one place",
                        cla_operand_name(problem, gradient), wanted, cla_operand_name(problem, of));
    return set_gradient(problem, gradient, of, layout, CLA_DTYPES_FLOATING, error);
}

static clattn_status set_sinks(struct cla_problem *problem, int wanted, clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    if (!wanted) {
        memset(&problem->tensor[CLA_SINKS], 0, sizeof problem->tensor[CLA_SINKS]);
        return CLATTN_SUCCESS;
    }
    if (!problem->tensor[CLA_SINKS].present)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_sinks is %d and attention.sinks is 0: expected 0, there are no sinks", wanted);
    return set_gradient(problem, CLA_D_SINKS, CLA_SINKS, &dense_f32, CLA_DTYPES_F32, error);
}

static clattn_status set_mask(struct cla_problem *problem, const clattn_attention_backward_desc *desc,
                              clattn_error *error)
{
    if (!desc->d_mask)
        return CLATTN_SUCCESS;
    if (problem->semantics.mask_kind == CLATTN_MASK_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_mask is %d and attention.mask_kind is 0 (none): expected 0, there is no mask", desc->d_mask);
    if (problem->semantics.mask_kind == CLATTN_MASK_BOOL)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_mask is %d and attention.mask_kind is 1 (boolean): expected 0, only an additive mask (2) "
                        "has a gradient",
                        desc->d_mask);
    return set_gradient(problem, CLA_D_MASK, CLA_MASK, &desc->d_mask_layout, CLA_DTYPES_F32, error);
}

static clattn_status set_biases(struct cla_problem *problem, const clattn_attention_backward_desc *desc,
                                clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    CLA_TRY(set_mask(problem, desc, error));
    if (desc->d_alibi_slopes && !problem->tensor[CLA_ALIBI_SLOPES].present)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_alibi_slopes is %d and attention.alibi is 0: expected 0, there are no slopes",
                        desc->d_alibi_slopes);
    if (desc->d_alibi_slopes)
        CLA_TRY(set_gradient(problem, CLA_D_ALIBI_SLOPES, CLA_ALIBI_SLOPES, &dense_f32, CLA_DTYPES_F32, error));
    if (!desc->d_relative_bias)
        return CLATTN_SUCCESS;
    if (!problem->tensor[CLA_RELATIVE_BIAS].present)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_relative_bias is %d and attention.relative_extent is 0: expected 0, there is no such bias",
                        desc->d_relative_bias);
    return set_gradient(problem, CLA_D_RELATIVE_BIAS, CLA_RELATIVE_BIAS, &dense_f32, CLA_DTYPES_F32, error);
}

static clattn_status check_forward(const struct cla_problem *problem, clattn_error *error)
{
    if (problem->semantics.kv_storage != CLATTN_STORAGE_LINEAR)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "attention.kv_storage is %d (%s): expected 0 (linear), caches are not trained on",
                        (int)problem->semantics.kv_storage,
                        problem->semantics.kv_storage == CLATTN_STORAGE_PAGED ? "paged" : "circular");
    if (!problem->tensor[CLA_LSE].present)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "attention.lse is 0: expected it set, the backward pass reads what the forward wrote there");
    return CLATTN_SUCCESS;
}

clattn_status cla_problem_from_attention_backward(const clattn_attention_backward_desc *given,
                                                  struct cla_problem *problem, clattn_error *error)
{
    clattn_attention_backward_desc desc;
    clattn_attention_desc forward;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_attention_backward_desc", error));
    CLA_CHECK(desc.attention != NULL, error, "attention is NULL: expected the forward's descriptor");
    CLA_TRY(cla_struct_read(desc.attention, sizeof forward, &forward, sizeof forward, "clattn_attention_desc", error));
    forward.scores_stage = CLATTN_SCORES_NONE;
    CLA_TRY(cla_problem_from_attention(&forward, problem, error));
    problem->operation = &cla_attention_backward_operation;
    problem->tensor[CLA_OUTPUT].written = problem->tensor[CLA_LSE].written = false;
    problem->accumulate = problem->accumulate_input = desc.accumulate != 0;
    CLA_TRY(check_forward(problem, error));
    if (!desc.d_query && !desc.d_key && !desc.d_value && !desc.d_mask && !desc.d_sinks && !desc.d_alibi_slopes &&
        !desc.d_relative_bias)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_query, d_key, d_value, d_mask, d_sinks, d_alibi_slopes and d_relative_bias are 0: expected "
                        "one of them set");
    CLA_TRY(cla_set_tensor(problem, CLA_D_OUTPUT, &desc.d_output_layout, CLA_DTYPES_FLOATING,
                           problem->tensor[CLA_OUTPUT].extent, false, error));
    if (desc.d_lse)
        problem->tensor[CLA_D_LSE] = problem->tensor[CLA_LSE];
    CLA_TRY(set_rows(problem, CLA_D_QUERY, CLA_QUERY, desc.d_query, &desc.d_query_layout, error));
    CLA_TRY(set_rows(problem, CLA_D_KEY, CLA_KEY, desc.d_key, &desc.d_key_layout, error));
    CLA_TRY(set_rows(problem, CLA_D_VALUE, CLA_VALUE, desc.d_value, &desc.d_value_layout, error));
    CLA_TRY(set_sinks(problem, desc.d_sinks, error));
    return set_biases(problem, &desc, error);
}
