/* SPDX-License-Identifier: Apache-2.0 */
/* Linear's descriptor: what becomes of it, and every one that is refused, with its status and its whole message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/linear.h"
#include <stdio.h>

static clattn_linear_desc plain_linear(void)
{
    clattn_linear_desc d;
    clattn_linear_desc_init(&d);
    d.batch = 2;
    d.length = 30;
    d.in_features = 50;
    d.out_features = 70;
    return d;
}

static void a_descriptor_becomes_a_problem(void **state)
{
    (void)state;
    clattn_linear_desc d = plain_linear();
    struct cla_problem problem;
    d.bias = 1;
    d.bias_dtype = CLATTN_F16;
    SET(d.output, 30 * 210, 0, 210, 1);
    assert_int_equal(cla_problem_from_linear(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_int_equal(problem.operation, &cla_linear_operation);
    assert_int_equal(problem.q_len, 30);
    assert_int_equal(problem.head_dim, 50);
    assert_int_equal(problem.value_dim, 70);
    assert_int_equal(problem.tensor[CLA_LINEAR_INPUT].stride[0], 30 * 50);
    assert_int_equal(problem.tensor[CLA_LINEAR_INPUT].stride[1], 0);
    assert_int_equal(problem.tensor[CLA_LINEAR_WEIGHT].stride[2], 50);
    assert_int_equal(problem.tensor[CLA_LINEAR_WEIGHT].span, 70 * 50);
    assert_int_equal(problem.tensor[CLA_LINEAR_OUTPUT].stride[2], 210);
    assert_true(problem.tensor[CLA_LINEAR_OUTPUT].written && !problem.tensor[CLA_LINEAR_INPUT].written);
    assert_int_equal(problem.tensor[CLA_LINEAR_BIAS].span, 70);
    assert_int_equal(problem.tensor[CLA_LINEAR_BIAS].element_size, 2);
}

static void without_bias_its_type_is_not_read(void **state)
{
    (void)state;
    clattn_linear_desc d = plain_linear();
    struct cla_problem problem;
    d.bias_dtype = CLATTN_BOOL;
    assert_int_equal(cla_problem_from_linear(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_false(problem.tensor[CLA_LINEAR_BIAS].present);
}

static void zero_rows_are_taken(void **state)
{
    (void)state;
    clattn_linear_desc d = plain_linear();
    struct cla_problem problem;
    d.length = 0;
    assert_int_equal(cla_problem_from_linear(&d, &problem, NULL), CLATTN_SUCCESS);
    d.length = 30;
    d.batch = 0;
    assert_int_equal(cla_problem_from_linear(&d, &problem, NULL), CLATTN_SUCCESS);
}

#define REFUSED_WITH(expected, text, ...)                                                                              \
    do {                                                                                                               \
        clattn_linear_desc d = plain_linear();                                                                         \
        struct cla_problem problem;                                                                                    \
        clattn_error error = {0};                                                                                      \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(cla_problem_from_linear(&d, &problem, &error), expected);                                     \
        assert_int_equal(error.status, expected);                                                                      \
        assert_string_equal(error.message, text);                                                                      \
        assert_int_equal(cla_problem_from_linear(&d, &problem, NULL), expected);                                       \
    } while (0)
#define REFUSED(text, ...) REFUSED_WITH(CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)

static void sizes_are_refused(void **state)
{
    (void)state;
    REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    REFUSED("batch is 2147483648: expected at most 2147483647", d.batch = 2147483648);
    REFUSED("length is -1: expected 0 or more", d.length = -1);
    REFUSED("length is 1073741825: expected at most 1073741824", d.length = 1073741825);
    REFUSED("in_features is 0: expected 1 or more", d.in_features = 0);
    REFUSED("in_features is 1073741825: expected at most 1073741824", d.in_features = 1073741825);
    REFUSED("out_features is -7: expected 1 or more", d.out_features = -7);
    REFUSED("out_features is 1073741825: expected at most 1073741824", d.out_features = 1073741825);
    REFUSED("weight has the shape [1, 1, 1073741824, 1073741824]: expected a size in bytes that fits 63 bits",
            d.batch = d.length = 1;
            SET(d.weight, 0, 0, (int64_t)1 << 40, 1); d.in_features = d.out_features = 1 << 30);
}

static void types_are_refused(void **state)
{
    (void)state;
    REFUSED("input.dtype is 3 (bool): expected f32, f16 or bf16", d.input.dtype = CLATTN_BOOL);
    REFUSED("weight.dtype is 9 (?): expected f32, f16 or bf16", d.weight.dtype = (clattn_dtype)9);
    REFUSED("output.dtype is 3 (bool): expected f32, f16 or bf16", d.output.dtype = CLATTN_BOOL);
    REFUSED("bias_dtype is 3 (bool): expected f32, f16 or bf16", d.bias = 1; d.bias_dtype = CLATTN_BOOL);
}

static void layouts_are_refused(void **state)
{
    (void)state;
    REFUSED("input.strides[2] is -50: expected 0 or more", SET(d.input, 1500, 0, -50, 1));
    REFUSED("weight.strides[3] is 70: expected 1, rows are contiguous", SET(d.weight, 0, 0, 1, 70));
    REFUSED("output.strides[2] is 69: expected at least 70, so that no two elements share a place",
            SET(d.output, 2100, 0, 69, 1));
    REFUSED("output.strides[0] is 0: expected at least 1, so that no two elements share a place",
            SET(d.output, 0, 0, 70, 1));
}

static void struct_sizes_are_refused(void **state)
{
    (void)state;
    char text[200];
    snprintf(text, sizeof text,
             "clattn_linear_desc.struct_size is 0: expected at least %zu, as clattn_linear_desc_init sets it",
             sizeof(clattn_linear_desc));
    REFUSED_WITH(CLATTN_ERROR_INVALID_ARGUMENT, text, d.struct_size = 0);
    struct cla_problem problem;
    clattn_error error;
    assert_int_equal(cla_problem_from_linear(NULL, &problem, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "clattn_linear_desc is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_becomes_a_problem),
        cmocka_unit_test(without_bias_its_type_is_not_read),
        cmocka_unit_test(zero_rows_are_taken),
        cmocka_unit_test(sizes_are_refused),
        cmocka_unit_test(types_are_refused),
        cmocka_unit_test(layouts_are_refused),
        cmocka_unit_test(struct_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
