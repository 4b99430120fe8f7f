/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of attention on host arrays: it does what a run on buffers does, which test_backward holds against
 * the oracle, changes no byte that is not an element's, and refuses what such a run cannot see.
 *
 *   CLATTN_CASES     "quick": what needs no kernel; "more": the rest
 */
#include "harness.h"
#include "tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Rows of no sequence lie in front of the sequences and behind them. */
#define PACKED "b3h4g2q5k9d8:f32:ragged=qkv:causal:sinks:dropout=0.3:lse"

enum gradient { D_QUERY, D_KEY, D_VALUE, D_SINKS, NUM_GRADIENTS };

/* A problem, what its forward left, and everything that its backward pass takes. */
struct trained {
    struct test_case c;
    struct arrays arrays;
    clattn_attention_backward_desc desc;
    struct tensor d_output;
    struct tensor d_lse;
    struct tensor gradient[NUM_GRADIENTS];
};

static void *elements(const struct tensor *t)
{
    return t->data + TENSOR_ROOM * tensor_element_size(t);
}

/* What a forward might have left: the comparisons are with a run, whatever its inputs mean. */
static void fill_forward(const struct arrays *arrays)
{
    const clattn_attention_desc *desc = &arrays->of->desc;
    const int64_t rows = desc->q_heads * (desc->q_total > 0 ? desc->q_total : desc->batch * desc->q_len);
    float *output = arrays_at(arrays, ARRAY_OUTPUT);
    float *lse = arrays_at(arrays, ARRAY_LSE);
    uint64_t seed = 9;
    for (int64_t n = 0; n < rows * desc->head_dim; ++n)
        output[n] = (float)case_normal(&seed);
    for (int64_t n = 0; n < rows; ++n)
        lse[n] = 2.0F + (float)case_normal(&seed);
}

/* Every gradient, added to normal numbers; those of queries and keys have gaps between rows. */
static void make_trained(struct trained *trained)
{
    static const clattn_dtype dtypes[NUM_GRADIENTS] = {CLATTN_F32, CLATTN_BF16, CLATTN_F16, CLATTN_F32};
    struct test_case *c = &trained->c;
    assert_true(case_from_problem(PACKED, c));
    c->q_rows = (struct case_rows){1, {c->q_len, 0, 3, 0}, c->desc.q_total};
    c->kv_rows = (struct case_rows){2, {c->kv_len, 4, 0, 0}, c->desc.kv_total};
    c->dropout_seed = 7;
    assert_true(arrays_init(&trained->arrays, c));
    fill_forward(&trained->arrays);
    int64_t extent[4], strides[4];
    oracle_tensor_shape(&c->desc, ORACLE_OUTPUT, extent, strides);
    trained->d_output = tensor_make(CLATTN_F32, extent[0], extent[1], extent[2], extent[3], 0);
    trained->d_lse = tensor_make(CLATTN_F32, extent[0], extent[1], extent[2], 1, 0);
    tensor_fill(&trained->d_output, 1.0, 1);
    tensor_fill(&trained->d_lse, 1.0, 2);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        if (g != D_SINKS)
            oracle_tensor_shape(&c->desc, (enum oracle_tensor)g, extent, strides);
        trained->gradient[g] =
            g == D_SINKS ? tensor_make(CLATTN_F32, 1, c->desc.q_heads, 1, 1, 0)
                         : tensor_make(dtypes[g], extent[0], extent[1], extent[2], extent[3], g == D_VALUE ? 0 : 3);
        tensor_fill(&trained->gradient[g], 1.0, (uint64_t)g + 3);
    }
    clattn_attention_backward_desc *desc = &trained->desc;
    clattn_attention_backward_desc_init(desc);
    desc->attention = &c->desc;
    desc->d_query = desc->d_key = desc->d_value = desc->d_sinks = desc->d_lse = desc->accumulate = 1;
    desc->d_query_layout = trained->gradient[D_QUERY].layout;
    desc->d_key_layout = trained->gradient[D_KEY].layout;
    desc->d_value_layout = trained->gradient[D_VALUE].layout;
}

static void free_trained(struct trained *trained)
{
    arrays_free(&trained->arrays);
    tensor_free(&trained->d_output);
    tensor_free(&trained->d_lse);
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        tensor_free(&trained->gradient[g]);
}

static clattn_attention_backward_host_args host_args(const struct trained *trained)
{
    const struct arrays *arrays = &trained->arrays;
    clattn_attention_backward_host_args args;
    clattn_attention_backward_host_args_init(&args);
    args.query = arrays_at(arrays, ARRAY_QUERY);
    args.key = arrays_at(arrays, ARRAY_KEY);
    args.value = arrays_at(arrays, ARRAY_VALUE);
    args.output = arrays_at(arrays, ARRAY_OUTPUT);
    args.lse = arrays_at(arrays, ARRAY_LSE);
    args.mask = arrays_at(arrays, ARRAY_MASK);
    args.kv_lengths = arrays_at(arrays, ARRAY_LENGTHS);
    args.q_cu_lengths = arrays_at(arrays, ARRAY_Q_CU_LENGTHS);
    args.kv_cu_lengths = arrays_at(arrays, ARRAY_KV_CU_LENGTHS);
    args.sinks = arrays_at(arrays, ARRAY_SINKS);
    args.alibi_slopes = arrays_at(arrays, ARRAY_ALIBI_SLOPES);
    args.relative_bias = arrays_at(arrays, ARRAY_RELATIVE_BIAS);
    args.d_output = elements(&trained->d_output);
    args.d_lse = elements(&trained->d_lse);
    args.d_query = elements(&trained->gradient[D_QUERY]);
    args.d_key = elements(&trained->gradient[D_KEY]);
    args.d_value = elements(&trained->gradient[D_VALUE]);
    args.d_sinks = elements(&trained->gradient[D_SINKS]);
    args.dropout_seed_set = 1;
    args.dropout_seed = trained->c.dropout_seed;
    return args;
}

#define REFUSED(status, text, ...)                                                                                     \
    do {                                                                                                               \
        clattn_attention_backward_host_args args = host_args(&trained);                                                \
        clattn_attention_backward_desc desc = trained.desc;                                                            \
        clattn_error error = {.message = ""};                                                                          \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(clattn_attention_backward_host(harness->context, &desc, &args, &error), status);              \
        assert_string_equal(error.message, text);                                                                      \
    } while (0)

static void it_refuses(void **state)
{
    static const int32_t too_long[4] = {0, 6, 6, 6}, past_the_end[4] = {0, 9, 18, 28};
    const struct harness *harness = *state;
    struct trained trained;
    struct tensor before[NUM_GRADIENTS];
    make_trained(&trained);
    float *query = arrays_at(&trained.arrays, ARRAY_QUERY);
    float *output = arrays_at(&trained.arrays, ARRAY_OUTPUT);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        before[g].data = malloc(trained.gradient[g].bytes);
        assert_non_null(before[g].data);
        memcpy(before[g].data, trained.gradient[g].data, trained.gradient[g].bytes);
    }
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "args.lse is NULL: expected 240 bytes", args.lse = NULL);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "args.output is NULL: expected 1920 bytes", args.output = NULL);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "args.d_output is NULL: expected 1920 bytes", args.d_output = NULL);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "args.d_lse is NULL: expected 240 bytes", args.d_lse = NULL);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "args.d_sinks is NULL: expected 16 bytes", args.d_sinks = NULL);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT,
            "args.d_query shares bytes with args.query: expected outputs apart from every other operand",
            args.d_query = query);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT,
            "args.d_query shares bytes with args.output: expected outputs apart from every other operand",
            args.d_query = output);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT,
            "args.d_key shares bytes with args.d_value: expected outputs apart from every other operand",
            args.d_value = args.d_key);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "q_cu_lengths[1] is 6: expected at most 5, q_len (5) after the one before it",
            args.q_cu_lengths = too_long);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "kv_cu_lengths[3] is 28: expected at most kv_total (27)",
            args.kv_cu_lengths = past_the_end);
    REFUSED(
        CLATTN_ERROR_INVALID_VALUE,
        "d_query, d_key, d_value, d_mask, d_sinks, d_alibi_slopes and d_relative_bias are 0: expected one of them set",
        desc.d_query = desc.d_key = desc.d_value = desc.d_sinks = 0);
    clattn_attention_backward_host_args args = host_args(&trained);
    assert_int_equal(clattn_attention_backward_host(NULL, NULL, &args, NULL), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_attention_backward_host(NULL, &trained.desc, NULL, NULL), CLATTN_ERROR_INVALID_ARGUMENT);
    args.struct_size = 4;
    assert_int_equal(clattn_attention_backward_host(NULL, &trained.desc, &args, NULL), CLATTN_ERROR_INVALID_ARGUMENT);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        assert_memory_equal(trained.gradient[g].data, before[g].data, trained.gradient[g].bytes);
        free(before[g].data);
    }
    free_trained(&trained);
}

/* The same by a plan and buffers, into copies of the gradients, which are the caller's. */
static void run_on_buffers(const struct harness *harness, struct trained *trained, struct tensor results[NUM_GRADIENTS])
{
    struct harness_buffers buffers;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_attention_backward_args args;
    harness_check(clattn_attention_backward_plan_create(harness->context, &trained->desc, &plan, &error), &error,
                  "plan");
    harness_buffers_create(harness, &trained->arrays, &buffers);
    const clattn_attention_args forward = harness_args(NULL, &trained->arrays, &buffers);
    clattn_attention_backward_args_init(&args, plan);
    args.query = forward.query;
    args.key = forward.key;
    args.value = forward.value;
    args.output = forward.output;
    args.lse = forward.lse;
    args.q_cu_lengths = forward.q_cu_lengths;
    args.kv_cu_lengths = forward.kv_cu_lengths;
    args.sinks = forward.sinks;
    args.dropout_seed_set = 1;
    args.dropout_seed = trained->c.dropout_seed;
    args.d_output = tensor_upload(harness, &trained->d_output);
    args.d_lse = tensor_upload(harness, &trained->d_lse);
    clattn_buffer *slots[NUM_GRADIENTS] = {&args.d_query, &args.d_key, &args.d_value, &args.d_sinks};
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        results[g] = trained->gradient[g];
        results[g].data = malloc(results[g].bytes);
        assert_non_null(results[g].data);
        memcpy(results[g].data, trained->gradient[g].data, results[g].bytes);
        *slots[g] = tensor_upload(harness, &results[g]);
    }
    harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        tensor_download(harness, &results[g]);
    harness_buffers_release(&buffers);
    clattn_plan_release(plan);
}

static void compare_with_run(const struct harness *harness, clattn_context *context)
{
    struct trained trained;
    struct arrays before;
    struct tensor expected[NUM_GRADIENTS];
    clattn_error error;
    char message[200];
    make_trained(&trained);
    run_on_buffers(harness, &trained, expected);
    assert_true(arrays_copy(&before, &trained.arrays));
    const clattn_attention_backward_host_args args = host_args(&trained);
    harness_check(clattn_attention_backward_host(context, &trained.desc, &args, &error), &error, "host call");
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        assert_memory_equal(trained.gradient[g].data, expected[g].data, expected[g].bytes);
        tensor_free(&expected[g]);
    }
    assert_true(arrays_same_outputs(&before, &trained.arrays));
    if (!arrays_only_outputs_differ(&before, &trained.arrays, message))
        fail_msg("%s", message);
    arrays_free(&before);
    free_trained(&trained);
}

static void it_does_what_a_run_does(void **state)
{
    const struct harness *harness = *state;
    compare_with_run(harness, harness->context);
}

static void it_makes_its_own_context(void **state)
{
    compare_with_run(*state, NULL);
}

static void it_needs_a_seed(void **state)
{
    const struct harness *harness = *state;
    struct trained trained;
    make_trained(&trained);
    REFUSED(CLATTN_ERROR_INVALID_VALUE,
            "dropout_seed is missing, dropout_seed_set is 0: expected a seed, the plan has dropout 0.3",
            args.dropout_seed_set = 0);
    free_trained(&trained);
}

int main(void)
{
    const struct CMUnitTest quick[] = {cmocka_unit_test(it_refuses)};
    const struct CMUnitTest more[] = {cmocka_unit_test(it_does_what_a_run_does), cmocka_unit_test(it_needs_a_seed),
                                      cmocka_unit_test(it_makes_its_own_context)};
    int failed = 0;

    if (harness_asks("quick"))
        failed += cmocka_run_group_tests(quick, harness_setup, harness_teardown);
    if (harness_asks("more"))
        failed += cmocka_run_group_tests(more, harness_setup, harness_teardown);
    return failed;
}
