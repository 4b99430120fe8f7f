/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the backward pass: what becomes of it, and every one that is refused, with its whole message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/attention_backward/registry.h"
#include "plain.h"

static clattn_attention_desc forward; /* what plain_backward points to */

static clattn_attention_backward_desc plain_backward(void)
{
    clattn_attention_backward_desc d;
    forward = plain();
    forward.lse = 1;
    clattn_attention_backward_desc_init(&d);
    d.attention = &forward;
    d.d_query = d.d_key = d.d_value = 1;
    return d;
}

static void a_descriptor_becomes_a_problem(void **state)
{
    (void)state;
    clattn_attention_backward_desc d = plain_backward();
    struct cla_problem problem;
    char text[200];
    forward.sinks = 1;
    forward.variant = "no such";
    forward.scores_stage = CLATTN_SCORES_WEIGHTS;
    d.d_key = 0;
    d.d_lse = 1;
    d.accumulate = 1;
    d.d_value_layout.dtype = CLATTN_BF16;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_int_equal(problem.operation, &cla_attention_backward_operation);
    assert_false(problem.tensor[CLA_OUTPUT].written || problem.tensor[CLA_LSE].written);
    assert_false(problem.tensor[CLA_SCORES].present || problem.tensor[CLA_SINKS].present);
    assert_false(problem.tensor[CLA_D_KEY].present || problem.tensor[CLA_D_SINKS].present);
    assert_true(problem.tensor[CLA_D_QUERY].written && problem.tensor[CLA_D_LSE].present);
    assert_int_equal(problem.tensor[CLA_D_VALUE].extent[1], 4);
    assert_int_equal(problem.tensor[CLA_D_VALUE].element_size, 2);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "b2h12g4q30k50d64:f32:backward=query,value:d_lse:accumulate");

    d.d_sinks = 1;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_true(problem.tensor[CLA_SINKS].present && problem.tensor[CLA_D_SINKS].present);
    assert_int_equal(problem.tensor[CLA_D_SINKS].span, 12);
}

static void assert_extents(const struct cla_problem *problem, int operand, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t expected[4] = {b, h, i, j};
    assert_true(problem->tensor[operand].present && problem->tensor[operand].written);
    assert_memory_equal(problem->tensor[operand].extent, expected, sizeof expected);
}

static void gradients_of_biases_have_their_shapes(void **state)
{
    static const int64_t shape[4] = {2, 1, 30, 1};
    (void)state;
    clattn_attention_backward_desc d = plain_backward();
    struct cla_problem problem;
    char text[200];
    d.d_query = d.d_key = d.d_value = 0;
    d.d_mask = d.d_alibi_slopes = d.d_relative_bias = 1;
    forward.mask_kind = CLATTN_MASK_ADDITIVE;
    forward.mask.dtype = CLATTN_BF16;
    forward.alibi = 1;
    forward.relative_extent = 7;
    forward.alignment = CLATTN_ALIGN_TOP_LEFT;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_extents(&problem, CLA_D_MASK, 2, 12, 30, 50);
    assert_extents(&problem, CLA_D_ALIBI_SLOPES, 1, 12, 1, 1);
    assert_extents(&problem, CLA_D_RELATIVE_BIAS, 1, 12, 1, 15);
    cla_problem_string(&problem, text, sizeof text);
    assert_non_null(strstr(text, ":backward=mask,alibi,relative"));

    forward.alibi_batch = 2;
    memcpy(forward.mask_shape, shape, sizeof shape);
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_extents(&problem, CLA_D_MASK, 2, 1, 30, 1);
    assert_extents(&problem, CLA_D_ALIBI_SLOPES, 2, 12, 1, 1);

    const int64_t repeated[4] = {0, 1500, 50, 1};
    memset(forward.mask_shape, 0, sizeof shape);
    memcpy(forward.mask.strides, repeated, sizeof repeated);
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_extents(&problem, CLA_D_MASK, 1, 12, 30, 50);
}

static void set_strides(clattn_layout *layout, int64_t batch, int64_t head, int64_t row)
{
    const int64_t strides[4] = {batch, head, row, 1};
    memcpy(layout->strides, strides, sizeof strides);
}

/* What lies in one place has one gradient; packed sequences have one tensor, but rows of their own. */
static void gradients_of_what_is_shared_are_sums(void **state)
{
    (void)state;
    clattn_attention_backward_desc d = plain_backward();
    struct cla_problem problem;
    set_strides(&forward.query, 0, 64, 12 * 64);
    set_strides(&forward.key, 50 * 64, 0, 64);
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_extents(&problem, CLA_D_QUERY, 1, 12, 30, 64);
    assert_extents(&problem, CLA_D_KEY, 2, 1, 50, 64);
    assert_extents(&problem, CLA_D_VALUE, 2, 4, 50, 64);
    const struct cla_backward_shares of_query = cla_backward_shares(&problem, CLA_D_QUERY);
    const struct cla_backward_shares of_key = cla_backward_shares(&problem, CLA_D_KEY);
    const struct cla_backward_shares of_value = cla_backward_shares(&problem, CLA_D_VALUE);
    const struct cla_backward_shares expected[3] = {{1, 12, 2, 1}, {2, 1, 1, 12}, {2, 4, 1, 3}};
    assert_memory_equal(&of_query, &expected[0], sizeof of_query);
    assert_memory_equal(&of_key, &expected[1], sizeof of_key);
    assert_memory_equal(&of_value, &expected[2], sizeof of_value);

    forward.kv_cu_lengths = CLATTN_LENGTHS_I32;
    forward.kv_total = 70;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_extents(&problem, CLA_D_KEY, 1, 1, 70, 64);
    const struct cla_backward_shares of_packed = cla_backward_shares(&problem, CLA_D_KEY);
    assert_memory_equal(&of_packed, &expected[1], sizeof of_packed);
}

/* Sums are there, and 0, even where a run has no pair of a query and a key. */
static void sums_are_written_whatever_the_lengths(void **state)
{
    static const int64_t shapes[4][4] = {{1, 1, 30, 50}, {1, 1, 1, 50}, {1, 1, 30, 1}, {1, 1, 1, 1}};
    static const int64_t elements[4][4] = {/* of (q_len, kv_len) = (20, 40), (0, 40), (20, 0), (0, 0) */
                                           {20 * 50 - 10, 0, 0, 0},
                                           {40, 40, 0, 0},
                                           {20, 0, 20, 0},
                                           {1, 1, 1, 1}};
    (void)state;
    for (int s = 0; s < 4; s++) {
        clattn_attention_backward_desc d = plain_backward();
        struct cla_problem problem;
        d.d_mask = 1;
        forward.mask_kind = CLATTN_MASK_ADDITIVE;
        memcpy(forward.mask_shape, shapes[s], sizeof shapes[s]);
        assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
        for (int n = 0; n < 4; n++) {
            const struct cla_lengths lengths = {.q_len = n % 2 == 0 ? 20 : 0, .kv_len = n < 2 ? 40 : 0};
            assert_int_equal(cla_problem_cut(&problem, CLA_D_MASK, &lengths).span, elements[s][n]);
        }
    }
}

static void what_writes_without_queries_is_not_empty(void **state)
{
    (void)state;
    clattn_attention_backward_desc d = plain_backward();
    struct cla_problem problem;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_false(cla_problem_is_empty(&problem, 0));
    forward.batch = 0;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_true(cla_problem_is_empty(&problem, 30));
}

#define REFUSED(text, ...)                                                                                             \
    REFUSED_BY(cla_problem_from_attention_backward, clattn_attention_backward_desc, plain_backward,                    \
               CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)
#define MISUSED(text, ...)                                                                                             \
    REFUSED_BY(cla_problem_from_attention_backward, clattn_attention_backward_desc, plain_backward,                    \
               CLATTN_ERROR_INVALID_ARGUMENT, text, __VA_ARGS__)

static void every_wrong_descriptor_is_refused(void **state)
{
    (void)state;
    MISUSED("attention is NULL: expected the forward's descriptor", d.attention = NULL);
    REFUSED("d_query, d_key, d_value, d_mask, d_sinks, d_alibi_slopes and d_relative_bias are 0: expected one of them "
            "set",
            d.d_query = d.d_key = d.d_value = 0);
    REFUSED("d_key is 1 and attention.key.strides[2] is 0: expected 0, or rows that do not lie in one place",
            set_strides(&forward.key, 256, 64, 0));
    REFUSED("d_mask is 1 and attention.mask_kind is 0 (none): expected 0, there is no mask", d.d_mask = 1);
    REFUSED("d_mask is 2 and attention.mask_kind is 1 (boolean): expected 0, only an additive mask (2) has a gradient",
            d.d_mask = 2, forward.mask_kind = CLATTN_MASK_BOOL, forward.mask.dtype = CLATTN_BOOL);
    REFUSED("d_mask.dtype is 1 (f16): expected f32", d.d_mask = 1, forward.mask_kind = CLATTN_MASK_ADDITIVE,
            d.d_mask_layout.dtype = CLATTN_F16);
    REFUSED("d_mask.strides[1] is 3: expected at least 50, so that no two elements share a place", d.d_mask = 1,
            forward.mask_kind = CLATTN_MASK_ADDITIVE, d.d_mask_layout.strides[0] = 18000,
            d.d_mask_layout.strides[1] = 3, d.d_mask_layout.strides[2] = 50, d.d_mask_layout.strides[3] = 1);
    REFUSED("d_alibi_slopes is 1 and attention.alibi is 0: expected 0, there are no slopes", d.d_alibi_slopes = 1);
    REFUSED("d_relative_bias is 1 and attention.relative_extent is 0: expected 0, there is no such bias",
            d.d_relative_bias = 1);
    REFUSED("d_sinks is 1 and attention.sinks is 0: expected 0, there are no sinks", d.d_sinks = 1);
    REFUSED("attention.lse is 0: expected it set, the backward pass reads what the forward wrote there",
            forward.lse = 0);
    REFUSED("attention.kv_storage is 1 (circular): expected 0 (linear), caches are not trained on",
            forward.kv_storage = CLATTN_STORAGE_CIRCULAR, forward.kv_lengths = CLATTN_LENGTHS_I32);
    REFUSED("attention.kv_storage is 2 (paged): expected 0 (linear), caches are not trained on",
            forward.kv_storage = CLATTN_STORAGE_PAGED, forward.page_size = 16, forward.num_blocks = 8);
    REFUSED("dropout is 1: expected 0 or more, less than 1", forward.dropout = 1.0f);
    REFUSED("dropout is -0.25: expected 0 or more, less than 1", forward.dropout = -0.25f);
    REFUSED("d_key.dtype is 3 (bool): expected f32, f16 or bf16", d.d_key_layout.dtype = CLATTN_BOOL);
    REFUSED("d_output.strides[2] is -64: expected 0 or more", SET(d.d_output_layout, 23040, 1920, -64, 1));
    REFUSED("d_output.strides[3] is 30: expected 1, rows are contiguous", SET(d.d_output_layout, 23040, 1920, 1, 30));
    REFUSED("d_query.strides[2] is 63: expected at least 64, so that no two elements share a place",
            SET(d.d_query_layout, 23040, 1920, 63, 1));
    REFUSED("d_key.strides[1] is 0: expected at least 1, so that no two elements share a place",
            SET(d.d_key_layout, 12800, 0, 64, 1));
    REFUSED("d_output.dtype is 3 (bool): expected f32, f16 or bf16", d.d_output_layout.dtype = CLATTN_BOOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_becomes_a_problem),
        cmocka_unit_test(gradients_of_biases_have_their_shapes),
        cmocka_unit_test(gradients_of_what_is_shared_are_sums),
        cmocka_unit_test(sums_are_written_whatever_the_lengths),
        cmocka_unit_test(what_writes_without_queries_is_not_empty),
        cmocka_unit_test(every_wrong_descriptor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
