/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gradients of one problem have to do with one another. dx, the gradient of a score, is that of a mask which
 * has an element for every pair; every other mask's, that of slopes and of a relative bias are sums of it, and the
 * gradient of what is shared by strides of 0 is the sum of those of its copies.
 *
 *   CLATTN_VARIANT   the variant that runs; tiled, unless it is set
 */
#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* More than a tile of either side, and neither a multiple of one. */
enum { BATCH = 2, HEADS = 4, GROUPS = 2, QUERIES = 70, KEYS = 130, DIM = 8, REACH = 20 };
enum { PAIRS = BATCH * HEADS * QUERIES * KEYS, DISTANCES = 2 * REACH + 1 };
enum { POSITION = KEYS - QUERIES }; /* of the first query, by the alignment */

/* Dense, whatever strides of 0 leave of them. */
static struct {
    float query[BATCH * HEADS * QUERIES * DIM];
    float key[BATCH * GROUPS * KEYS * DIM];
    float value[BATCH * GROUPS * KEYS * DIM];
    float mask[PAIRS];
    float slopes[HEADS];
    float bias[HEADS * DISTANCES];
    float d_output[BATCH * HEADS * QUERIES * DIM];
    float d_lse[BATCH * HEADS * QUERIES];
    float output[BATCH * HEADS * QUERIES * DIM];
    float lse[BATCH * HEADS * QUERIES];
} in;

struct gradients {
    float query[BATCH * HEADS * QUERIES * DIM];
    float key[BATCH * GROUPS * KEYS * DIM];
    float value[BATCH * GROUPS * KEYS * DIM];
    float mask[PAIRS];
    float slopes[HEADS];
    float bias[HEADS * DISTANCES];
};

static void fill(float *numbers, size_t count, double deviation, uint64_t seed)
{
    for (size_t n = 0; n < count; ++n)
        numbers[n] = (float)(deviation * case_normal(&seed));
}

/* The mask is 0 throughout: whatever its shape, the problem is the same. */
static void fill_inputs(void)
{
    fill(in.query, sizeof in.query / sizeof(float), 1.0, 1);
    fill(in.key, sizeof in.key / sizeof(float), 1.0, 2);
    fill(in.value, sizeof in.value / sizeof(float), 1.0, 3);
    fill(in.bias, sizeof in.bias / sizeof(float), 1.0, 4);
    fill(in.d_output, sizeof in.d_output / sizeof(float), 1.0, 5);
    fill(in.d_lse, sizeof in.d_lse / sizeof(float), 1.0, 6);
    memset(in.mask, 0, sizeof in.mask);
    for (int h = 0; h < HEADS; ++h)
        in.slopes[h] = 0.01F * (float)(h + 1);
}

static clattn_attention_desc describe_forward(void)
{
    clattn_attention_desc desc;
    char problem[200];
    clattn_attention_desc_init(&desc);
    snprintf(problem, sizeof problem,
             "b%dh%dg%dq%dk%dd%d:f32:lse:mask=add:causal:softcap=5:dropout=0.25:alibi@bottom-right:relative=%d@bottom-"
             "right",
             BATCH, HEADS, GROUPS, QUERIES, KEYS, DIM, REACH);
    assert_int_equal(clattn_attention_desc_parse(problem, &desc, NULL), CLATTN_SUCCESS);
    return desc;
}

static clattn_attention_backward_desc describe_backward(const clattn_attention_desc *forward)
{
    clattn_attention_backward_desc desc;
    const char *variant = getenv("CLATTN_VARIANT");
    clattn_attention_backward_desc_init(&desc);
    desc.attention = forward;
    desc.d_lse = 1;
    desc.variant = variant != NULL ? variant : "tiled";
    return desc;
}

/* Forward and backward; gradients that are not wanted stay as they are, as does what an own shape leaves of others. */
static void run(const struct harness *harness, const clattn_attention_backward_desc *desc, struct gradients *gradients)
{
    clattn_attention_host_args forward;
    clattn_attention_backward_host_args args;
    clattn_error error;
    clattn_attention_host_args_init(&forward);
    forward.query = in.query;
    forward.key = in.key;
    forward.value = in.value;
    forward.output = in.output;
    forward.mask = in.mask;
    forward.lse = in.lse;
    forward.alibi_slopes = in.slopes;
    forward.relative_bias = in.bias;
    forward.dropout_seed_set = 1;
    forward.dropout_seed = 7;
    harness_check(clattn_attention_host(harness->context, desc->attention, &forward, &error), &error, "forward");
    clattn_attention_backward_host_args_init(&args);
    args.query = in.query;
    args.key = in.key;
    args.value = in.value;
    args.output = in.output;
    args.lse = in.lse;
    args.mask = in.mask;
    args.alibi_slopes = in.slopes;
    args.relative_bias = in.bias;
    args.dropout_seed_set = 1;
    args.dropout_seed = 7;
    args.d_output = in.d_output;
    args.d_lse = in.d_lse;
    args.d_query = gradients->query;
    args.d_key = gradients->key;
    args.d_value = gradients->value;
    args.d_mask = gradients->mask;
    args.d_alibi_slopes = gradients->slopes;
    args.d_relative_bias = gradients->bias;
    harness_check(clattn_attention_backward_host(harness->context, desc, &args, &error), &error, "backward");
}

/* Sums of terms, and of their absolute values. */
struct sum {
    double value;
    double magnitude;
};

static void add(struct sum *sum, double term)
{
    sum->value += term;
    sum->magnitude += fabs(term);
}

/* dx is off by 1e-5 at most where weights are as small as here. */
static void compare(const char *name, const float *found, double start, const struct sum *expected, size_t count)
{
    for (size_t n = 0; n < count; ++n) {
        const double within = 1e-5 * (1.0 + expected[n].magnitude);
        if (!(fabs((double)found[n] - start - expected[n].value) <= within))
            fail_msg("%s[%zu] is %.9g: expected %.9g, within %.3g", name, n, (double)found[n],
                     start + expected[n].value, within);
    }
}

#define FOR_EACH_PAIR                                                                                                  \
    for (int b = 0; b < BATCH; ++b)                                                                                    \
        for (int h = 0; h < HEADS; ++h)                                                                                \
            for (int i = 0; i < QUERIES; ++i)                                                                          \
                for (int j = 0; j < KEYS; ++j)

static size_t pair_at(int b, int h, int i, int j)
{
    return (size_t)(((b * HEADS + h) * QUERIES + i) * KEYS + j);
}

static void get_dx(const struct harness *harness, struct gradients *gradients)
{
    const clattn_attention_desc forward = describe_forward();
    clattn_attention_backward_desc desc = describe_backward(&forward);
    desc.d_mask = desc.d_alibi_slopes = desc.d_relative_bias = 1;
    run(harness, &desc, gradients);
}

/* Every shape, by extents of 1 or by strides of 0, written and added to. */
static void masks_sum_dx(void **state)
{
    static struct gradients whole, found;
    static struct sum expected[PAIRS];
    const struct harness *harness = *state;
    get_dx(harness, &whole);
    for (int shape = 0; shape < 16; ++shape) {
        const int64_t full[4] = {BATCH, HEADS, QUERIES, KEYS};
        clattn_attention_desc forward = describe_forward();
        clattn_attention_backward_desc desc = describe_backward(&forward);
        int64_t stride[4], elements = 1;
        const bool by_stride = shape % 2 == 0 && shape % 3 != 0; /* never of keys: these are contiguous */
        for (int d = 3; d >= 0; --d) {
            const bool repeated = (shape >> (3 - d) & 1) != 0;
            stride[d] = repeated ? 0 : elements;
            elements *= repeated ? 1 : full[d];
            forward.mask_shape[d] = repeated && !by_stride ? 1 : full[d];
        }
        if (by_stride)
            memcpy(forward.mask.strides, stride, sizeof stride);
        desc.d_mask = 1;
        desc.accumulate = shape % 4 >= 2;
        memset(expected, 0, sizeof expected);
        FOR_EACH_PAIR
        add(&expected[b * stride[0] + h * stride[1] + i * stride[2] + j * stride[3]],
            (double)whole.mask[pair_at(b, h, i, j)]);
        for (size_t n = 0; n < PAIRS; ++n)
            found.mask[n] = 0.5F;
        run(harness, &desc, &found);
        compare("d_mask", found.mask, desc.accumulate ? 0.5 : 0.0, expected, (size_t)elements);
        for (size_t n = (size_t)elements; n < PAIRS; ++n)
            assert_true(found.mask[n] == 0.5F);
    }
}

static void slopes_and_biases_sum_dx(void **state)
{
    static struct gradients found;
    static struct sum slopes[HEADS], bias[HEADS * DISTANCES];
    const struct harness *harness = *state;
    get_dx(harness, &found);
    FOR_EACH_PAIR
    {
        const double dx = (double)found.mask[pair_at(b, h, i, j)];
        const int ahead = j - (i + POSITION);
        const int nearest = ahead < -REACH ? -REACH : ahead > REACH ? REACH : ahead;
        add(&slopes[h], -abs(ahead) * dx);
        add(&bias[h * DISTANCES + nearest + REACH], dx);
    }
    compare("d_alibi_slopes", found.slopes, 0.0, slopes, HEADS);
    compare("d_relative_bias", found.bias, 0.0, bias, sizeof bias / sizeof *bias);
}

/* What is added to all scores of a row changes its lse by as much, and nothing else. */
static void of_a_row_dx_sums_to_d_lse(void **state)
{
    static struct gradients found;
    static struct sum expected[BATCH * HEADS * QUERIES];
    const struct harness *harness = *state;
    clattn_attention_desc forward = describe_forward();
    clattn_attention_backward_desc desc = describe_backward(&forward);
    const int64_t shape[4] = {BATCH, HEADS, QUERIES, 1};
    memcpy(forward.mask_shape, shape, sizeof shape);
    desc.d_mask = 1;
    for (int with = 0; with < 2; ++with) {
        desc.d_lse = with;
        memset(expected, 0, sizeof expected);
        for (size_t n = 0; n < BATCH * HEADS * QUERIES && with; ++n)
            add(&expected[n], (double)in.d_lse[n]);
        run(harness, &desc, &found);
        compare("d_mask", found.mask, 0.0, expected, BATCH * HEADS * QUERIES);
    }
}

/* The places of heads and batches of a dense tensor, or the same for all of those that are shared. */
static void lay_out(clattn_layout *layout, int64_t heads, int64_t rows, bool one_batch, bool one_head)
{
    const int64_t strides[4] = {one_batch ? 0 : heads * rows * DIM, one_head ? 0 : rows * DIM, DIM, 1};
    memcpy(layout->strides, strides, sizeof strides);
}

/* Makes the copies of what is shared: the tensor at the start of `numbers`, at the place of each. */
static void repeat(float *numbers, int64_t heads, int64_t rows, bool one_batch, bool one_head)
{
    const int64_t size = rows * DIM;
    for (int64_t b = 0; b < BATCH; ++b)
        for (int64_t h = 0; h < heads; ++h)
            memmove(numbers + (b * heads + h) * size,
                    numbers + ((one_batch ? 0 : b) * heads + (one_head ? 0 : h)) * size,
                    (size_t)size * sizeof *numbers);
}

static void check_shared(const char *name, const float *found, const float *copies, int64_t heads, int64_t rows,
                         bool one_batch, bool one_head)
{
    static struct sum expected[BATCH * HEADS * KEYS * DIM];
    const int64_t size = rows * DIM;
    const int64_t kept = one_head ? 1 : heads; /* the gradient is dense over what is left */
    memset(expected, 0, sizeof expected);
    for (int64_t b = 0; b < BATCH; ++b)
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t n = 0; n < size; ++n)
                add(&expected[((one_batch ? 0 : b) * kept + (one_head ? 0 : h)) * size + n],
                    (double)copies[(b * heads + h) * size + n]);
    compare(name, found, 0.0, expected, (size_t)((one_batch ? 1 : BATCH) * kept * size));
}

/* Queries, keys and values each shared by something else, so that d_key and d_value are not sums over the same. */
static void of_what_is_shared_gradients_are_sums(void **state)
{
    static struct gradients found, copies;
    const struct harness *harness = *state;
    for (int n = 0; n < 4; ++n) {
        const bool query_batch = n != 1, query_head = n != 0; /* by turns */
        const bool key_batch = n % 2 == 0, key_head = n / 2 == 0;
        const bool value_batch = n % 2 == 1, value_head = n / 2 == 1;
        clattn_attention_desc forward = describe_forward();
        clattn_attention_backward_desc desc = describe_backward(&forward);
        desc.d_query = desc.d_key = desc.d_value = 1;
        fill_inputs();
        repeat(in.query, HEADS, QUERIES, query_batch, query_head);
        repeat(in.key, GROUPS, KEYS, key_batch, key_head);
        repeat(in.value, GROUPS, KEYS, value_batch, value_head);
        run(harness, &desc, &copies);
        lay_out(&forward.query, HEADS, QUERIES, query_batch, query_head);
        lay_out(&forward.key, GROUPS, KEYS, key_batch, key_head);
        lay_out(&forward.value, GROUPS, KEYS, value_batch, value_head);
        run(harness, &desc, &found);
        check_shared("d_query", found.query, copies.query, HEADS, QUERIES, query_batch, query_head);
        check_shared("d_key", found.key, copies.key, GROUPS, KEYS, key_batch, key_head);
        check_shared("d_value", found.value, copies.value, GROUPS, KEYS, value_batch, value_head);
    }
    fill_inputs();
}

static int setup(void **state)
{
    fill_inputs();
    return harness_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_sum_dx), cmocka_unit_test(slopes_and_biases_sum_dx),
                                       cmocka_unit_test(of_a_row_dx_sums_to_d_lse),
                                       cmocka_unit_test(of_what_is_shared_gradients_are_sums)};
    return cmocka_run_group_tests(tests, setup, harness_teardown);
}
