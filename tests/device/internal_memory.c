/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail, one after the other: finding a device, making a context and making a plan end in
 * OUT_OF_HOST_MEMORY, or in the very plan that is made otherwise. The linker puts these functions in the place of the
 * library's (--wrap); the driver keeps its own.
 *
 *   CLATTN_CASES   "quick": all but the plan that compiles most, which each attempt does anew; "more": that one
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *data, size_t size);
char *__wrap_strdup(const char *text);

static long left; /* allocations until the one that fails; 0: none does */

static bool fails(void)
{
    return left > 0 && --left == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *data, size_t size)
{
    return fails() ? NULL : __real_realloc(data, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

/* ---- plans ---------------------------------------------------------------------------------------------------- */

typedef clattn_status make_function(clattn_context *context, clattn_plan **plan, clattn_error *error);

static clattn_status make_attention(clattn_context *context, const char *problem, clattn_plan **plan,
                                    clattn_error *error)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    clattn_status status = clattn_attention_desc_parse(problem, &desc, error);
    return status != CLATTN_SUCCESS ? status : clattn_attention_plan_create(context, &desc, plan, error);
}

/* Only one variant gives scores out: if another one accepts, they stay unwritten. */
static clattn_status make_weights(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    return make_attention(context, "b1h2q40k40d8:f32:scores=weights", plan, error);
}

static clattn_status make_prefill(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    return make_attention(context, "b1h2q40k40d8:f32:causal", plan, error);
}

static clattn_status make_decode(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    return make_attention(context, "b1h4g1q1k2000d8:f16:lengths", plan, error);
}

static clattn_status make_softmax(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    clattn_softmax_desc desc;
    clattn_softmax_desc_init(&desc);
    desc.batch = desc.heads = 1;
    desc.q_len = desc.kv_len = 8;
    return clattn_softmax_plan_create(context, &desc, plan, error);
}

static clattn_status make_rotary(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    clattn_rotary_desc desc;
    clattn_rotary_desc_init(&desc);
    desc.batch = desc.heads = 1;
    desc.length = 3;
    desc.head_dim = 8;
    return clattn_rotary_plan_create(context, &desc, plan, error);
}

/* With parts of the tokens, and the step that adds them up. */
static clattn_status make_linear_backward(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    clattn_linear_desc linear;
    clattn_linear_backward_desc desc;
    clattn_linear_desc_init(&linear);
    linear.batch = 1;
    linear.length = 2100;
    linear.in_features = linear.out_features = 3;
    clattn_linear_backward_desc_init(&desc);
    desc.linear = &linear;
    desc.d_weight = 1;
    return clattn_linear_backward_plan_create(context, &desc, plan, error);
}

static clattn_status make_layer(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    clattn_attention_desc attention;
    clattn_layer_desc desc;
    clattn_attention_desc_init(&attention);
    clattn_status status = clattn_attention_desc_parse("b1h2q5k5d8:f32", &attention, error);
    clattn_layer_desc_init(&desc);
    desc.attention = &attention;
    desc.width = desc.output_width = 16;
    return status != CLATTN_SUCCESS ? status : clattn_layer_plan_create(context, &desc, plan, error);
}

static clattn_status make_layer_backward(clattn_context *context, clattn_plan **plan, clattn_error *error)
{
    clattn_attention_desc attention;
    clattn_layer_desc layer;
    clattn_layer_backward_desc desc;
    clattn_attention_desc_init(&attention);
    clattn_status status = clattn_attention_desc_parse("b1h2q5k5d8:f32", &attention, error);
    clattn_layer_desc_init(&layer);
    layer.attention = &attention;
    layer.width = 16;
    layer.packed = layer.keep = 1;
    clattn_layer_backward_desc_init(&desc);
    desc.layer = &layer;
    desc.d_input = desc.d_w_qkv = desc.d_w_o = 1;
    return status != CLATTN_SUCCESS ? status : clattn_layer_backward_plan_create(context, &desc, plan, error);
}

static clattn_context *make_context(void)
{
    clattn_context *context = NULL;
    clattn_error error;
    if (clattn_context_create_default(NULL, NULL, &context, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return context;
}

/* Each attempt in a context of its own, or the second one would find the programs of the first. */
static void check_plans(make_function *make)
{
    clattn_context *context = make_context();
    clattn_plan *usual = NULL;
    clattn_error error;
    if (make(context, &usual, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    clattn_context_release(context);
    int refusals = 0;
    for (long n = 1;; n++) {
        clattn_plan *plan = NULL;
        context = make_context();
        left = n;
        clattn_status status = make(context, &plan, &error);
        const bool spared = left > 0; /* there is no nth allocation */
        left = 0;
        if (status == CLATTN_SUCCESS) {
            assert_string_equal(clattn_plan_describe(plan), clattn_plan_describe(usual));
        } else {
            if (status != CLATTN_ERROR_OUT_OF_HOST_MEMORY)
                fail_msg("%s without allocation %ld: %s", clattn_plan_problem(usual), n, error.message);
            assert_int_equal(error.status, status);
            assert_null(plan);
            refusals++;
        }
        clattn_plan_release(plan);
        clattn_context_release(context);
        if (spared)
            break;
    }
    assert_true(refusals > 5); /* or nothing was tried */
    clattn_plan_release(usual);
}

static void plans_of_attention(void **state)
{
    (void)state;
    check_plans(make_weights);
    check_plans(make_prefill);
    check_plans(make_decode);
}

static void plans_of_other_operations(void **state)
{
    (void)state;
    check_plans(make_softmax);
    check_plans(make_rotary);
    check_plans(make_linear_backward);
    check_plans(make_layer);
}

static void plans_of_the_layer_s_backward_pass(void **state)
{
    (void)state;
    check_plans(make_layer_backward);
}

/* ---- contexts ------------------------------------------------------------------------------------------------- */

static void contexts_and_devices(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        clattn_context *context = NULL;
        clattn_error error;
        left = n;
        clattn_status status = clattn_context_create_default(NULL, NULL, &context, &error);
        const bool spared = left > 0;
        left = 0;
        if (status != CLATTN_SUCCESS && status != CLATTN_ERROR_OUT_OF_HOST_MEMORY)
            fail_msg("without allocation %ld: %s", n, error.message);
        clattn_context_release(context);
        if (spared)
            break;
        assert_int_equal(status, CLATTN_ERROR_OUT_OF_HOST_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_of_attention),
        cmocka_unit_test(plans_of_other_operations),
        cmocka_unit_test(contexts_and_devices),
    };
    const struct CMUnitTest more[] = {cmocka_unit_test(plans_of_the_layer_s_backward_pass)};
    int failures = 0;
    if (harness_asks("quick"))
        failures += cmocka_run_group_tests(tests, NULL, NULL);
    if (harness_asks("more"))
        failures += cmocka_run_group_tests(more, NULL, NULL);
    return failures;
}
