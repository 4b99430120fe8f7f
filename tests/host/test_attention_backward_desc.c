/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the backward pass: what becomes of it, and every one that is refused, with its whole message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/attention_backward.h"

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
    assert_string_equal(text, "attention_backward b2h12g4q30k50d64:f32:lse:d_lse:d_query:d_value:accumulate");

    d.d_sinks = 1;
    assert_int_equal(cla_problem_from_attention_backward(&d, &problem, NULL), CLATTN_SUCCESS);
    assert_true(problem.tensor[CLA_SINKS].present && problem.tensor[CLA_D_SINKS].present);
    assert_int_equal(problem.tensor[CLA_D_SINKS].span, 12);
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
    REFUSED("d_query, d_key, d_value and d_sinks are 0: expected one of them set", d.d_query = d.d_key = d.d_value = 0);
    REFUSED("d_sinks is 1 and attention.sinks is 0: expected 0, there are no sinks", d.d_sinks = 1);
    REFUSED("attention.lse is 0: expected it set, the backward pass reads what the forward wrote there",
            forward.lse = 0);
    REFUSED("attention.kv_storage is 1 (circular): expected 0 (linear), caches are not trained on",
            forward.kv_storage = CLATTN_STORAGE_CIRCULAR, forward.kv_lengths = CLATTN_LENGTHS_I32);
    REFUSED("attention.kv_storage is 2 (paged): expected 0 (linear), caches are not trained on",
            forward.kv_storage = CLATTN_STORAGE_PAGED, forward.page_size = 16, forward.num_blocks = 8);
    REFUSED("d_key.dtype is 3 (bool): expected f32, f16 or bf16", d.d_key_layout.dtype = CLATTN_BOOL);
    REFUSED("d_output.dtype is 3 (bool): expected f32, f16 or bf16", d.d_output_layout.dtype = CLATTN_BOOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_becomes_a_problem),
        cmocka_unit_test(what_writes_without_queries_is_not_empty),
        cmocka_unit_test(every_wrong_descriptor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
