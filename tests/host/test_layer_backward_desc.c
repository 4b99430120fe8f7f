/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the layer's backward pass: what becomes of it, and every one that is refused, with its whole
 * message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/attention_backward.h"
#include "problem/layer_backward.h"
#include "problem/linear_backward.h"
#include <stdio.h>
#include <stdlib.h>

static clattn_attention_desc attention;
static clattn_layer_desc layer;

/* Every gradient of a cross-attention layer; the forward's descriptors are `layer` and `attention`. */
static clattn_layer_backward_desc plain_backward(void)
{
    clattn_layer_backward_desc d;
    clattn_attention_desc_init(&attention);
    attention.batch = 2;
    attention.q_heads = 4;
    attention.kv_heads = 2;
    attention.q_len = 30;
    attention.kv_len = 50;
    attention.head_dim = 16;
    attention.value_dim = 8;
    clattn_layer_desc_init(&layer);
    layer.attention = &attention;
    layer.inputs = CLATTN_LAYER_CROSS;
    layer.width = 36;
    layer.context_width = 28;
    layer.output_width = 40;
    layer.bias = layer.keep = 1;
    clattn_layer_backward_desc_init(&d);
    d.layer = &layer;
    d.d_input = d.d_context = d.d_w_q = d.d_w_k = d.d_w_v = d.d_w_o = d.d_b_q = d.d_b_k = d.d_b_v = d.d_b_o = 1;
    return d;
}

static struct cla_layer_backward_problem *problem_of(const clattn_layer_backward_desc *d)
{
    struct cla_layer_backward_problem *problem = malloc(sizeof *problem);
    assert_non_null(problem);
    assert_int_equal(cla_problem_from_layer_backward(d, problem, NULL), CLATTN_SUCCESS);
    return problem;
}

static void expect_text(const struct cla_problem *problem, const char *expected)
{
    char text[400];
    cla_problem_string(problem, text, sizeof text);
    assert_string_equal(text, expected);
}

static void expect_present(const struct cla_problem *problem, const int *operands, int count)
{
    for (int o = 0; o < CLA_NUM_LAYER_BACKWARD_OPERANDS; o++) {
        bool expected = false;
        for (int n = 0; n < count; n++)
            expected = expected || operands[n] == o;
        if (problem->tensor[o].present != expected)
            fail_msg("%s is %s", cla_operand_name(problem, o), expected ? "missing" : "there");
        assert_int_equal(problem->tensor[o].written, expected && o > CLA_LAYER_D_LSE);
    }
}

#define EXPECT_PRESENT(problem, ...)                                                                                   \
    expect_present(problem, (const int[]){__VA_ARGS__}, sizeof(int[]){__VA_ARGS__} / sizeof(int))

static void a_descriptor_becomes_parts(void **state)
{
    (void)state;
    clattn_layer_backward_desc d = plain_backward();
    d.accumulate = 1;
    d.d_weight = CLATTN_F16;
    SET(d.d_context_layout, 50 * 60, 0, 60, 1);
    struct cla_layer_backward_problem *p = problem_of(&d);
    expect_text(&p->whole,
                "layer_backward:f32:d_input:d_context:d_w_q:d_w_k:d_w_v:d_w_o:d_b_q:d_b_k:d_b_v:d_b_o:accumulate");
    expect_text(&p->attention, "b2h4g2q30k50d16v8:f32:backward:accumulate");
    assert_false(p->attention.accumulate_input); /* what lies in the workspace is overwritten */
    expect_text(&p->projection[CLA_PROJECT_QUERY],
                "linear_backward b2l30i36o64:f32-f32-f32-f32-f16-f16:d_input:d_weight:d_bias:accumulate");
    expect_text(&p->projection[CLA_PROJECT_KEY],
                "linear_backward b2l50i28o32:f32-f32-f32-f32-f16-f16:d_input:d_weight:d_bias:accumulate");
    expect_text(&p->projection[CLA_PROJECT_VALUE], "linear_backward b2l50i28o16:f32-f32-f32-f32-f16-f16:d_input:"
                                                   "d_weight:d_bias:accumulate:accumulate_input");
    expect_text(&p->projection[CLA_PROJECT_OUTPUT],
                "linear_backward b2l30i32o40:f32-f32-f32-f32-f16-f16:d_input:d_weight:d_bias:accumulate");
    EXPECT_PRESENT(&p->whole, CLA_INPUT, CLA_CONTEXT, CLA_W_Q, CLA_W_K, CLA_W_V, CLA_W_O, CLA_KEPT, CLA_LAYER_D_OUTPUT,
                   CLA_LAYER_D_INPUT, CLA_LAYER_D_CONTEXT, CLA_D_W_Q, CLA_D_W_K, CLA_D_W_V, CLA_D_W_O, CLA_D_B_Q,
                   CLA_D_B_K, CLA_D_B_V, CLA_D_B_O);
    assert_int_equal(p->whole.tensor[CLA_LAYER_D_CONTEXT].stride[2], 60);
    assert_int_equal(p->projection[CLA_PROJECT_VALUE].tensor[CLA_LINEAR_D_INPUT].stride[2], 60);
    assert_int_equal(p->whole.tensor[CLA_D_W_K].span, 32 * 28);
    assert_int_equal(p->whole.tensor[CLA_D_B_K].span, 32);
    assert_int_equal(p->whole.tensor[CLA_D_W_K].element_size, 2);
    free(p);
}

/* What is kept has the sizes of the parts, each place at a multiple of 256 bytes; lse unless the caller has it. */
static void what_is_kept(void **state)
{
    (void)state;
    clattn_layer_backward_desc d = plain_backward();
    attention.query.dtype = attention.key.dtype = CLATTN_F16;
    struct cla_layer_backward_problem *p = problem_of(&d);
    const struct cla_layer_places *places = &p->forward.places;
    assert_int_equal(places->query, 0);
    assert_int_equal(places->key, 2 * 30 * 64 * 2);
    assert_int_equal(places->value, places->key + 2 * 50 * 32 * 2);
    assert_int_equal(places->output, places->value + 2 * 50 * 16 * 4);
    assert_int_equal(places->lse, places->output + 2 * 30 * 32 * 4);
    assert_int_equal(places->end, places->lse + 1024); /* of 2 * 4 * 30 * 4 bytes */
    assert_int_equal(p->whole.tensor[CLA_KEPT].span, places->end / 4);
    assert_int_equal(p->places.key, 2 * 30 * 64 * 4); /* gradients are in f32 */
    free(p);
    attention.lse = 1;
    p = problem_of(&d);
    assert_int_equal(p->forward.places.end, p->forward.places.lse);
    assert_true(p->whole.tensor[CLA_LSE].present);
    assert_false(p->whole.tensor[CLA_LSE].written);
    free(p);
}

static void packed_weights_are_one_part(void **state)
{
    (void)state;
    clattn_layer_backward_desc d = plain_backward();
    attention.kv_len = 30;
    layer.inputs = CLATTN_LAYER_SELF;
    layer.packed = 1;
    d.d_context = d.d_w_q = d.d_w_k = d.d_w_v = d.d_b_q = d.d_b_k = d.d_b_v = 0;
    d.d_w_qkv = d.d_b_qkv = 1;
    struct cla_layer_backward_problem *p = problem_of(&d);
    expect_text(&p->projection[CLA_PROJECT_QUERY], "linear_backward b2l30i36o112:f32:d_input:d_weight:d_bias");
    assert_null(p->projection[CLA_PROJECT_KEY].operation);
    assert_null(p->projection[CLA_PROJECT_VALUE].operation);
    assert_int_equal(p->attention.tensor[CLA_D_KEY].stride[2], 112);
    assert_int_equal(p->places.key, 64 * 4);
    assert_int_equal(p->places.value, 96 * 4);
    free(p);
}

/* And nothing is asked of the others. */
static void gradients_alone_need_their_parts_only(void **state)
{
    (void)state;
    clattn_layer_backward_desc d = plain_backward();
    d.d_input = d.d_context = d.d_w_q = d.d_w_v = d.d_w_o = d.d_b_q = d.d_b_k = d.d_b_v = d.d_b_o = 0;
    struct cla_layer_backward_problem *p = problem_of(&d); /* d_w_k */
    expect_text(&p->attention, "b2h4g2q30k50d16v8:f32:backward=key");
    assert_null(p->projection[CLA_PROJECT_QUERY].operation);
    assert_null(p->projection[CLA_PROJECT_VALUE].operation);
    expect_text(&p->projection[CLA_PROJECT_OUTPUT], "linear_backward b2l30i32o40:f32:d_input");
    EXPECT_PRESENT(&p->whole, CLA_CONTEXT, CLA_W_O, CLA_KEPT, CLA_LAYER_D_OUTPUT, CLA_D_W_K);
    free(p);

    d.d_w_k = 0;
    d.d_b_o = 1;
    p = problem_of(&d);
    assert_null(p->attention.operation);
    expect_text(&p->projection[CLA_PROJECT_OUTPUT], "linear_backward b2l30i32o40:f32:d_bias");
    EXPECT_PRESENT(&p->whole, CLA_KEPT, CLA_LAYER_D_OUTPUT, CLA_D_B_O);
    free(p);

    d.d_b_o = 0;
    d.d_sinks = attention.sinks = 1;
    attention.mask_kind = CLATTN_MASK_BOOL;
    attention.mask.dtype = CLATTN_BOOL;
    p = problem_of(&d);
    expect_text(&p->attention, "b2h4g2q30k50d16v8:f32:mask=bool:sinks:backward=sinks");
    EXPECT_PRESENT(&p->whole, CLA_W_O, CLA_MASK, CLA_SINKS, CLA_KEPT, CLA_LAYER_D_OUTPUT, CLA_LAYER_D_SINKS);
    free(p);
}

static void all_but_the_first_add(void **state)
{
    (void)state;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        clattn_layer_backward_desc d = plain_backward();
        attention.kv_len = 30;
        layer.inputs = CLATTN_LAYER_KEY;
        d.accumulate_inputs = accumulate;
        struct cla_layer_backward_problem *p = problem_of(&d);
        assert_int_equal(p->projection[CLA_PROJECT_QUERY].accumulate_input, accumulate);
        assert_int_equal(p->projection[CLA_PROJECT_KEY].accumulate_input, accumulate); /* of the context alone */
        assert_true(p->projection[CLA_PROJECT_VALUE].accumulate_input);
        assert_false(p->projection[CLA_PROJECT_OUTPUT].accumulate_input);
        free(p);
    }
}

static void expect_refused(const clattn_layer_backward_desc *d, clattn_status status, const char *message)
{
    struct cla_layer_backward_problem *problem = malloc(sizeof *problem);
    clattn_error error = {0};
    assert_non_null(problem);
    assert_int_equal(cla_problem_from_layer_backward(d, problem, &error), status);
    assert_string_equal(error.message, message);
    free(problem);
}

static void descriptors_are_refused(void **state)
{
    (void)state;
    clattn_layer_backward_desc d = plain_backward();
    d.layer = NULL;
    expect_refused(&d, CLATTN_ERROR_INVALID_ARGUMENT, "layer is NULL: expected the forward's descriptor");
    d = plain_backward();
    layer.width = 0;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "layer: width is 0: expected 1 or more");
    d = plain_backward();
    layer.keep = 0;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE,
                   "layer.keep is 0: expected it set, the backward pass reads what the forward run kept");
    d = plain_backward();
    clattn_layer_backward_desc_init(&d);
    d.layer = &layer;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE,
                   "d_input, d_context, d_w_q and the others are 0: expected one of them set, nothing is "
                   "wanted");
    d = plain_backward();
    d.d_w_qkv = 1;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "d_w_qkv is set: expected 0, the layer has no w_qkv");
    d = plain_backward();
    layer.bias = 0;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "d_b_q is set: expected 0, the layer has no b_q");
    d = plain_backward();
    attention.kv_len = 30;
    layer.inputs = CLATTN_LAYER_SELF;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "d_context is set: expected 0, the layer has no context");
    d = plain_backward();
    d.d_lse = 1;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE,
                   "d_lse is 1 and layer.attention.lse is 0: expected 0, the layer gives out no lse");
    d = plain_backward();
    d.d_weight = (clattn_dtype)7;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "d_weight is 7 (?): expected f32, f16 or bf16");
    d = plain_backward();
    d.d_output_layout.dtype = CLATTN_BOOL;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE, "d_output.dtype is 3 (bool): expected f32, f16 or bf16");
    d = plain_backward();
    SET(d.d_input_layout, 0, 0, 36, 1);
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE,
                   "d_input.strides[0] is 0: expected at least 1, so that no two elements share a place");
    d = plain_backward();
    d.d_sinks = 1;
    expect_refused(&d, CLATTN_ERROR_INVALID_VALUE,
                   "d_sinks is 1 and attention.sinks is 0: expected 0, there are no sinks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_becomes_parts),  cmocka_unit_test(what_is_kept),
        cmocka_unit_test(packed_weights_are_one_part), cmocka_unit_test(gradients_alone_need_their_parts_only),
        cmocka_unit_test(all_but_the_first_add),       cmocka_unit_test(descriptors_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
