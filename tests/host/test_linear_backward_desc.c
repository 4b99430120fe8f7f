/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of linear's backward pass: what becomes of it, and every one that is refused, with its whole message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/linear_backward.h"
#include <stdio.h>

static clattn_linear_desc linear;

/* All three gradients; the forward's descriptor is `linear`. */
static clattn_linear_backward_desc plain_backward(void)
{
    clattn_linear_backward_desc d;
    clattn_linear_desc_init(&linear);
    linear.batch = 2;
    linear.length = 30;
    linear.in_features = 50;
    linear.out_features = 70;
    linear.bias = 1;
    clattn_linear_backward_desc_init(&d);
    d.linear = &linear;
    d.d_input = d.d_weight = d.d_bias = 1;
    return d;
}

static void expect_problem(const clattn_linear_backward_desc *d, struct cla_problem *problem, const char *expected)
{
    char text[200];
    assert_int_equal(cla_problem_from_linear_backward(d, problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(problem, text, sizeof text);
    assert_string_equal(text, expected);
}

static void a_descriptor_becomes_a_problem(void **state)
{
    (void)state;
    clattn_linear_backward_desc d = plain_backward();
    struct cla_problem problem;
    linear.input.dtype = CLATTN_BF16;
    d.d_bias_dtype = CLATTN_F16;
    d.accumulate = 1;
    SET(d.d_weight_layout, 0, 0, 60, 1);
    expect_problem(&d, &problem,
                   "linear_backward b2l30i50o70:f32-bf16-f32-f32-f32-f16:d_input:d_weight:d_bias:accumulate");
    assert_int_equal(problem.operation, &cla_linear_backward_operation);
    assert_int_equal(problem.q_len, 30);
    assert_int_equal(problem.head_dim, 50);
    assert_int_equal(problem.value_dim, 70);
    assert_int_equal(problem.tensor[CLA_LINEAR_D_OUTPUT].stride[0], 30 * 70);
    assert_int_equal(problem.tensor[CLA_LINEAR_D_INPUT].span, 2 * 30 * 50);
    assert_int_equal(problem.tensor[CLA_LINEAR_D_WEIGHT].stride[2], 60);
    assert_int_equal(problem.tensor[CLA_LINEAR_D_BIAS].span, 70);
    assert_int_equal(problem.tensor[CLA_LINEAR_D_BIAS].element_size, 2);
    for (int o = 0; o < CLA_NUM_LINEAR_BACKWARD_OPERANDS; o++) {
        assert_int_equal(problem.tensor[o].present, o != CLA_LINEAR_BIAS && o != CLA_LINEAR_OUTPUT);
        assert_int_equal(problem.tensor[o].written, o > CLA_LINEAR_D_OUTPUT);
    }
}

/* And nothing is asked of the others, whose types are not read. */
static void a_gradient_alone_needs_its_operands_only(void **state)
{
    (void)state;
    clattn_linear_backward_desc d = plain_backward();
    struct cla_problem problem;
    linear.bias_dtype = linear.output.dtype = (clattn_dtype)9;
    d.d_weight = d.d_bias = 0;
    d.d_weight_layout.dtype = d.d_bias_dtype = (clattn_dtype)9;
    d.accumulate = 1; /* of nothing that is wanted */
    expect_problem(&d, &problem, "linear_backward b2l30i50o70:f32:d_input");
    d.accumulate_input = 1;
    expect_problem(&d, &problem, "linear_backward b2l30i50o70:f32:d_input:accumulate_input");
    assert_false(problem.accumulate);
    assert_false(problem.tensor[CLA_LINEAR_INPUT].present);
    assert_true(problem.tensor[CLA_LINEAR_WEIGHT].present);

    d = plain_backward();
    d.d_input = d.d_bias = 0;
    d.d_input_layout.dtype = (clattn_dtype)9;
    expect_problem(&d, &problem, "linear_backward b2l30i50o70:f32:d_weight");
    assert_true(problem.tensor[CLA_LINEAR_INPUT].present);
    assert_false(problem.tensor[CLA_LINEAR_WEIGHT].present);

    d = plain_backward();
    d.d_input = d.d_weight = 0;
    expect_problem(&d, &problem, "linear_backward b2l30i50o70:f32:d_bias");
    assert_false(problem.tensor[CLA_LINEAR_INPUT].present || problem.tensor[CLA_LINEAR_WEIGHT].present);
}

/* Sums over no tokens are still written; without a batch nothing is. */
static void zero_rows_are_taken(void **state)
{
    (void)state;
    clattn_linear_backward_desc d = plain_backward();
    struct cla_problem problem;
    linear.length = 0;
    assert_int_equal(cla_problem_from_linear_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_false(cla_problem_is_empty(&problem, 0));
    linear.batch = 0;
    assert_int_equal(cla_problem_from_linear_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_true(cla_problem_is_empty(&problem, 0));
}

#define REFUSED_WITH(expected, text, ...)                                                                              \
    do {                                                                                                               \
        clattn_linear_backward_desc d = plain_backward();                                                              \
        struct cla_problem problem;                                                                                    \
        clattn_error error = {0};                                                                                      \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(cla_problem_from_linear_backward(&d, &problem, &error), expected);                            \
        assert_int_equal(error.status, expected);                                                                      \
        assert_string_equal(error.message, text);                                                                      \
        assert_int_equal(cla_problem_from_linear_backward(&d, &problem, NULL), expected);                              \
    } while (0)
#define REFUSED(text, ...) REFUSED_WITH(CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    REFUSED("d_input, d_weight and d_bias are 0: expected one that is not, nothing is wanted",
            d.d_input = d.d_weight = d.d_bias = 0);
    REFUSED("d_bias is 2 and linear.bias is 0: expected 0, there is no bias", d.d_bias = 2; linear.bias = 0);
    REFUSED("linear: length is -1: expected 0 or more", linear.length = -1);
    REFUSED("linear: weight.dtype is 3 (bool): expected f32, f16 or bf16", linear.weight.dtype = CLATTN_BOOL);
    REFUSED("linear: input.strides[3] is 2: expected 1, rows are contiguous", SET(linear.input, 0, 0, 100, 2));
}

static void types_are_refused(void **state)
{
    (void)state;
    REFUSED("d_output.dtype is 3 (bool): expected f32, f16 or bf16", d.d_output_layout.dtype = CLATTN_BOOL);
    REFUSED("d_input.dtype is 3 (bool): expected f32, f16 or bf16", d.d_input_layout.dtype = CLATTN_BOOL);
    REFUSED("d_weight.dtype is 9 (?): expected f32, f16 or bf16", d.d_weight_layout.dtype = (clattn_dtype)9);
    REFUSED("d_bias_dtype is 3 (bool): expected f32, f16 or bf16", d.d_bias_dtype = CLATTN_BOOL);
}

static void layouts_are_refused(void **state)
{
    (void)state;
    REFUSED("d_output.strides[2] is -70: expected 0 or more", SET(d.d_output_layout, 2100, 0, -70, 1));
    REFUSED("d_output.strides[3] is 70: expected 1, rows are contiguous", SET(d.d_output_layout, 0, 0, 1, 70));
    REFUSED("d_input.strides[0] is 0: expected at least 1, so that no two elements share a place",
            SET(d.d_input_layout, 0, 0, 50, 1));
    REFUSED("d_weight.strides[2] is 49: expected at least 50, so that no two elements share a place",
            SET(d.d_weight_layout, 0, 0, 49, 1));
}

static void struct_sizes_are_refused(void **state)
{
    (void)state;
    char text[200];
    snprintf(text, sizeof text,
             "clattn_linear_backward_desc.struct_size is 0: expected at least %zu, as clattn_linear_backward_desc_init "
             "sets it",
             sizeof(clattn_linear_backward_desc));
    REFUSED_WITH(CLATTN_ERROR_INVALID_ARGUMENT, text, d.struct_size = 0);
    snprintf(text, sizeof text,
             "linear: clattn_linear_desc.struct_size is 8: expected at least %zu, as clattn_linear_desc_init sets it",
             sizeof(clattn_linear_desc));
    REFUSED_WITH(CLATTN_ERROR_INVALID_ARGUMENT, text, linear.struct_size = 8);
    REFUSED_WITH(CLATTN_ERROR_INVALID_ARGUMENT, "linear is NULL: expected a clattn_linear_desc", d.linear = NULL);
    struct cla_problem problem;
    clattn_error error;
    assert_int_equal(cla_problem_from_linear_backward(NULL, &problem, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "clattn_linear_backward_desc is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_becomes_a_problem),
        cmocka_unit_test(a_gradient_alone_needs_its_operands_only),
        cmocka_unit_test(zero_rows_are_taken),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(types_are_refused),
        cmocka_unit_test(layouts_are_refused),
        cmocka_unit_test(struct_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
