/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strides that a run brings: one plan on tensors that lie otherwise than its descriptor says gives the same bits, reads
 * and writes nothing between their elements, and refuses what a descriptor is refused for.
 */
#include "tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Uploads a tensor; where it is not dense, the buffer says how it lies. */
static clattn_buffer laid_out(const struct harness *harness, struct tensor *t)
{
    clattn_buffer buffer = tensor_upload(harness, t);
    memcpy(buffer.strides, t->layout.strides, sizeof buffer.strides);
    return buffer;
}

static void finish(const struct harness *harness)
{
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
}

static void assert_same(const struct tensor *found, const struct tensor *expected)
{
    TENSOR_FOR_EACH(expected)
    {
        const double a = tensor_get(found, b, h, i, j), e = tensor_get(expected, b, h, i, j);
        if (a != e)
            fail_msg("element %d %d %d %d is %g: expected %g", (int)b, (int)h, (int)i, (int)j, a, e);
    }
}

/* A tensor with the same numbers whatever lies between them. */
static struct tensor filled_as(clattn_dtype dtype, int64_t b, int64_t h, int64_t rows, int64_t columns, int64_t padding,
                               uint64_t seed)
{
    struct tensor t = tensor_make(dtype, b, h, rows, columns, padding);
    tensor_fill(&t, 1.0, seed);
    return t;
}

static struct tensor filled(int64_t b, int64_t h, int64_t rows, int64_t columns, int64_t padding, uint64_t seed)
{
    return filled_as(CLATTN_F32, b, h, rows, columns, padding, seed);
}

/* The gaps between rows, heads and batches in one run; 0: dense, and the run brings no strides. */
static const int64_t paddings[] = {0, 1, 6};
enum { NUM_PADDINGS = sizeof paddings / sizeof *paddings };

/* ---- attention ------------------------------------------------------------------------------------------------ */

enum { B = 2, H = 4, G = 2, Q = 9, K = 70, D = 12, V = 20 };

static clattn_attention_desc attention_desc(const char *variant, bool weights)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = B;
    desc.q_heads = H;
    desc.kv_heads = G;
    desc.q_len = Q;
    desc.kv_len = K;
    desc.head_dim = D;
    desc.value_dim = V;
    desc.mask_kind = CLATTN_MASK_ADDITIVE;
    desc.mask_shape[0] = B;
    desc.mask_shape[1] = 1;
    desc.mask_shape[2] = Q;
    desc.mask_shape[3] = K;
    desc.scores_stage = weights ? CLATTN_SCORES_WEIGHTS : CLATTN_SCORES_NONE;
    desc.lse = 1;
    desc.variant = variant;
    return desc;
}

struct attention_tensors {
    struct tensor query, key, value, mask, output, scores, lse;
};

/* Of the types of a descriptor. */
static struct attention_tensors make_attention_tensors(const clattn_attention_desc *desc, int64_t padding)
{
    return (struct attention_tensors){
        .query = filled_as(desc->query.dtype, B, H, Q, D, padding, 1),
        .key = filled_as(desc->key.dtype, B, G, K, D, padding, 2),
        .value = filled_as(desc->value.dtype, B, G, K, V, padding, 3),
        .mask = filled(B, 1, Q, K, padding, 4),
        .output = tensor_make(desc->output.dtype, B, H, Q, V, padding),
        .scores = tensor_make(CLATTN_F32, B, H, Q, K, padding),
        .lse = tensor_make(CLATTN_F32, B, H, Q, 1, 0),
    };
}

static void free_attention_tensors(struct attention_tensors *t)
{
    struct tensor *const all[] = {&t->query, &t->key, &t->value, &t->mask, &t->output, &t->scores, &t->lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
        tensor_free(all[i]);
}

static clattn_attention_args attention_args(const struct harness *harness, const clattn_plan *plan,
                                            struct attention_tensors *t, bool weights)
{
    clattn_attention_args args;
    clattn_attention_args_init(&args, plan);
    args.query = laid_out(harness, &t->query);
    args.key = laid_out(harness, &t->key);
    args.value = laid_out(harness, &t->value);
    args.mask = laid_out(harness, &t->mask);
    args.output = laid_out(harness, &t->output);
    args.lse = laid_out(harness, &t->lse);
    if (weights)
        args.scores = laid_out(harness, &t->scores);
    return args;
}

static void check_attention(const struct harness *harness, const char *variant, bool weights)
{
    clattn_attention_desc desc = attention_desc(variant, weights);
    struct attention_tensors first = {.query = {.mem = NULL}};
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_status status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    if (status == CLATTN_ERROR_UNSUPPORTED) { /* one takes nothing else */
        desc.query.dtype = desc.key.dtype = desc.value.dtype = desc.output.dtype = CLATTN_BF16;
        status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    }
    harness_check(status, &error, "plan");
    for (int n = 0; n < NUM_PADDINGS; ++n) {
        struct attention_tensors t = make_attention_tensors(&desc, paddings[n]);
        clattn_attention_args args = attention_args(harness, plan, &t, weights);
        harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
        finish(harness);
        tensor_download(harness, &t.output);
        tensor_download(harness, &t.lse);
        if (weights)
            tensor_download(harness, &t.scores);
        if (n == 0) {
            first = t;
            continue;
        }
        assert_same(&t.output, &first.output);
        assert_same(&t.lse, &first.lse);
        if (weights)
            assert_same(&t.scores, &first.scores);
        free_attention_tensors(&t);
    }
    free_attention_tensors(&first);
    clattn_plan_release(plan);
}

static void every_variant_takes_strides(void **state)
{
    const struct harness *harness = *state;
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n)
        check_attention(harness, clattn_attention_variant(n), false);
    check_attention(harness, "unfused", true);
}

/* [0, 0, 0, 1] is read as it stands: every batch, head and row is the first one. */
static void strides_of_zero_repeat(void **state)
{
    const struct harness *harness = *state;
    const clattn_attention_desc desc = attention_desc(NULL, false);
    struct attention_tensors t = make_attention_tensors(&desc, 0);
    clattn_plan *plan = NULL;
    clattn_error error;
    harness_check(clattn_attention_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    clattn_attention_args args = attention_args(harness, plan, &t, false);
    args.value.strides[3] = 1;
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
    finish(harness);
    tensor_download(harness, &t.output);
    TENSOR_FOR_EACH(&t.output)
    assert_true(fabs(tensor_get(&t.output, b, h, i, j) - tensor_get(&t.value, 0, 0, 0, j)) < 1e-5);
    free_attention_tensors(&t);
    clattn_plan_release(plan);
}

/* ---- a cache that is allocated anew --------------------------------------------------------------------------- */

enum { MOST = 64, STEP = 5, STEPS = 12 };

/* A cache of `capacity` rows with those of `old`, which is freed. */
static struct tensor grown(struct tensor *old, int64_t capacity)
{
    struct tensor t = tensor_make(CLATTN_F32, B, G, capacity, D, 0);
    /* dense, but not to the plan: its rows are as many as there are */
    for (int d = 0; d < 4; ++d)
        t.layout.strides[d] = t.strides[d];
    if (old->data != NULL) {
        TENSOR_FOR_EACH(old)
        tensor_put(&t, b, h, i, j, tensor_get(old, b, h, i, j));
        tensor_free(old);
    }
    return t;
}

struct cache {
    struct tensor key, value;
    clattn_buffer key_at, value_at;
};

static void allocate(const struct harness *harness, struct cache *cache, int64_t capacity)
{
    if (cache->key.mem != NULL) {
        tensor_download(harness, &cache->key);
        tensor_download(harness, &cache->value);
    }
    cache->key = grown(&cache->key, capacity);
    cache->value = grown(&cache->value, capacity);
    cache->key_at = laid_out(harness, &cache->key);
    cache->value_at = laid_out(harness, &cache->value);
}

static void append(const struct harness *harness, clattn_plan *plan, const struct cache *cache, int64_t position,
                   clattn_buffer key, clattn_buffer value)
{
    clattn_append_args args;
    clattn_error error;
    clattn_append_args_init(&args, plan);
    args.capacity = cache->key.extent[2];
    args.position = position;
    args.key = key;
    args.value = value;
    args.key_cache = cache->key_at;
    args.value_cache = cache->value_at;
    harness_check(clattn_append_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "append");
}

static struct tensor attend(const struct harness *harness, clattn_plan *plan, const struct cache *cache, int64_t keys,
                            clattn_buffer query)
{
    struct tensor output = tensor_make(CLATTN_F32, B, H, 1, D, 0);
    clattn_attention_args args;
    clattn_error error;
    clattn_attention_args_init(&args, plan);
    args.kv_len = keys;
    args.query = query;
    args.key = cache->key_at;
    args.value = cache->value_at;
    args.output = tensor_upload(harness, &output);
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "attend");
    finish(harness);
    tensor_download(harness, &output);
    return output;
}

/* Decoding on two caches: one that has all its rows from the beginning, one that is as small as will do and doubles. */
static void a_cache_that_doubles_needs_no_new_plan(void **state)
{
    const struct harness *harness = *state;
    clattn_append_desc appended;
    clattn_attention_desc attended;
    clattn_plan *append_plan = NULL, *attend_plan = NULL;
    struct cache whole = {.key = {.data = NULL}}, growing = {.key = {.data = NULL}};
    clattn_error error;

    clattn_append_desc_init(&appended);
    appended.batch = B;
    appended.kv_heads = G;
    appended.length = STEP;
    appended.capacity = MOST;
    appended.head_dim = D;
    harness_check(clattn_append_plan_create(harness->context, &appended, &append_plan, &error), &error, "append plan");
    harness_check(
        clattn_attention_desc_parse("b2h4g2q1k64d12:f32", (clattn_attention_desc_init(&attended), &attended), &error),
        &error, "parse");
    harness_check(clattn_attention_plan_create(harness->context, &attended, &attend_plan, &error), &error, "plan");

    allocate(harness, &whole, MOST);
    allocate(harness, &growing, STEP);
    for (int step = 0; step < STEPS; ++step) {
        const int64_t keys = (step + 1) * STEP;
        struct tensor key = filled(B, G, STEP, D, 0, 100 + (uint64_t)step);
        struct tensor value = filled(B, G, STEP, D, 0, 200 + (uint64_t)step);
        struct tensor query = filled(B, H, 1, D, 0, 300 + (uint64_t)step);
        const clattn_buffer new_key = tensor_upload(harness, &key), new_value = tensor_upload(harness, &value);
        const clattn_buffer query_at = tensor_upload(harness, &query);
        if (keys > growing.key.extent[2])
            allocate(harness, &growing, keys <= MOST / 2 ? 2 * growing.key.extent[2] : MOST);
        append(harness, append_plan, &whole, keys - STEP, new_key, new_value);
        append(harness, append_plan, &growing, keys - STEP, new_key, new_value);
        struct tensor expected = attend(harness, attend_plan, &whole, keys, query_at);
        struct tensor found = attend(harness, attend_plan, &growing, keys, query_at);
        assert_same(&found, &expected);
        struct tensor *const used[] = {&key, &value, &query, &expected, &found};
        for (size_t i = 0; i < sizeof used / sizeof *used; ++i)
            tensor_free(used[i]);
    }
    assert_true(growing.key.extent[2] == MOST); /* it did double */
    struct tensor *const caches[] = {&whole.key, &whole.value, &growing.key, &growing.value};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; ++i)
        tensor_free(caches[i]);
    clattn_plan_release(append_plan);
    clattn_plan_release(attend_plan);
}

/* ---- the other operations ------------------------------------------------------------------------------------- */

/* Runs an operation on tensors with gaps of `padding`, and gives back its output, read. */
typedef struct tensor run_padded(const struct harness *harness, clattn_plan *plan, int64_t padding);

static void check_operation(const struct harness *harness, clattn_plan *plan, run_padded *run)
{
    struct tensor expected = run(harness, plan, 0);
    for (int n = 1; n < NUM_PADDINGS; ++n) {
        struct tensor found = run(harness, plan, paddings[n]);
        assert_same(&found, &expected);
        tensor_free(&found);
    }
    tensor_free(&expected);
    clattn_plan_release(plan);
}

/* What a variant takes. */
static clattn_dtype linear_dtype(const char *variant)
{
    return strcmp(variant, "dot") == 0 ? CLATTN_BF16 : CLATTN_F32;
}

static struct tensor run_linear(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    const clattn_dtype dtype = linear_dtype(clattn_plan_variant(plan));
    struct tensor input = filled_as(dtype, B, 1, 50, 22, padding, 1);
    struct tensor weight = filled_as(dtype, 1, 1, 35, 22, padding, 2);
    struct tensor output = tensor_make(CLATTN_F32, B, 1, 50, 35, padding);
    clattn_linear_args args;
    clattn_error error;
    clattn_linear_args_init(&args, plan);
    args.input = laid_out(harness, &input);
    args.weight = laid_out(harness, &weight);
    args.output = laid_out(harness, &output);
    harness_check(clattn_linear_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "linear");
    finish(harness);
    tensor_download(harness, &output);
    tensor_free(&input);
    tensor_free(&weight);
    return output;
}

static void linear_takes_strides(void **state)
{
    const struct harness *harness = *state;
    for (size_t n = 0; clattn_linear_variant(n) != NULL; ++n) {
        clattn_linear_desc desc;
        clattn_plan *plan = NULL;
        clattn_error error;
        clattn_linear_desc_init(&desc);
        desc.batch = B;
        desc.length = 50;
        desc.in_features = 22;
        desc.out_features = 35;
        desc.variant = clattn_linear_variant(n);
        desc.input.dtype = desc.weight.dtype = linear_dtype(desc.variant);
        harness_check(clattn_linear_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
        check_operation(harness, plan, run_linear);
    }
}

static struct tensor run_rotary(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    struct tensor input = filled(B, H, Q, D, padding, 1), output = tensor_make(CLATTN_F32, B, H, Q, D, 2 * padding);
    clattn_rotary_args args;
    clattn_error error;
    clattn_rotary_args_init(&args, plan);
    args.input = laid_out(harness, &input);
    args.output = laid_out(harness, &output);
    harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "rotary");
    finish(harness);
    tensor_download(harness, &output);
    tensor_free(&input);
    return output;
}

static void rotary_takes_strides(void **state)
{
    const struct harness *harness = *state;
    clattn_rotary_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_rotary_desc_init(&desc);
    desc.batch = B;
    desc.heads = H;
    desc.length = Q;
    desc.head_dim = D;
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    check_operation(harness, plan, run_rotary);
}

static struct tensor run_softmax(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    struct tensor scores = filled(B, H, Q, K, padding, 1), weights = tensor_make(CLATTN_F32, B, H, Q, K, 2 * padding);
    clattn_softmax_args args;
    clattn_error error;
    clattn_softmax_args_init(&args, plan);
    args.scores = laid_out(harness, &scores);
    args.weights = laid_out(harness, &weights);
    harness_check(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "softmax");
    finish(harness);
    tensor_download(harness, &weights);
    tensor_free(&scores);
    return weights;
}

/* Where the plan's descriptor has both alike, a run in place may bring strides, the same for both. */
static struct tensor run_softmax_in_place(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    struct tensor scores = filled(B, H, Q, K, padding, 1);
    clattn_softmax_args args;
    clattn_error error;
    clattn_softmax_args_init(&args, plan);
    args.scores = args.weights = laid_out(harness, &scores);
    harness_check(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "softmax");
    if (padding != 0) {
        args.weights.strides[0]++;
        assert_int_equal(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                         CLATTN_ERROR_INVALID_BUFFER);
    }
    finish(harness);
    tensor_download(harness, &scores);
    return scores;
}

static clattn_plan *softmax_plan(const struct harness *harness)
{
    clattn_softmax_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_softmax_desc_init(&desc);
    desc.batch = B;
    desc.heads = H;
    desc.q_len = Q;
    desc.kv_len = K;
    harness_check(clattn_softmax_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    return plan;
}

static void softmax_takes_strides(void **state)
{
    check_operation(*state, softmax_plan(*state), run_softmax);
    check_operation(*state, softmax_plan(*state), run_softmax_in_place);
}

static struct tensor run_weighted_sum(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    struct tensor weights = filled(B, H, Q, K, padding, 1), value = filled(B, G, K, V, padding, 2);
    struct tensor output = tensor_make(CLATTN_F32, B, H, Q, V, padding);
    clattn_weighted_sum_args args;
    clattn_error error;
    clattn_weighted_sum_args_init(&args, plan);
    args.weights = laid_out(harness, &weights);
    args.value = laid_out(harness, &value);
    args.output = laid_out(harness, &output);
    harness_check(clattn_weighted_sum_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "weighted sum");
    finish(harness);
    tensor_download(harness, &output);
    tensor_free(&weights);
    tensor_free(&value);
    return output;
}

/* In place, one of the two said and the other not: they lie alike where no extent above 1 tells them apart. */
static void strides_of_one_row_do_not_matter(void **state)
{
    const struct harness *harness = *state;
    clattn_plan *plan = softmax_plan(harness);
    struct tensor scores = filled(B, H, Q, K, 0, 1);
    clattn_softmax_args args;
    clattn_error error;
    clattn_softmax_args_init(&args, plan);
    args.q_len = 1;
    args.scores = args.weights = tensor_upload(harness, &scores);
    memcpy(args.scores.strides, scores.strides, sizeof args.scores.strides);
    harness_check(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "softmax");
    finish(harness);
    tensor_free(&scores);
    clattn_plan_release(plan);
}

/* Softmax and the sum of values read the scores and weights that a kernel before them wrote. */
static void what_is_read_back_is_not_write_only(void **state)
{
    const struct harness *harness = *state;
    const clattn_attention_desc desc = attention_desc("unfused", true);
    struct attention_tensors t = make_attention_tensors(&desc, 0);
    clattn_plan *plan = NULL;
    clattn_error error;
    cl_int code;
    harness_check(clattn_attention_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    clattn_attention_args args = attention_args(harness, plan, &t, true);
    args.scores =
        (clattn_buffer){.mem = clCreateBuffer(harness->cl_ctx, CL_MEM_WRITE_ONLY, t.scores.bytes, NULL, &code)};
    assert_int_equal(code, CL_SUCCESS);
    assert_int_equal(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    assert_non_null(strstr(error.message, "buffer scores was created CL_MEM_WRITE_ONLY"));
    clReleaseMemObject(args.scores.mem);
    free_attention_tensors(&t);
    clattn_plan_release(plan);
}

static void weighted_sum_takes_strides(void **state)
{
    const struct harness *harness = *state;
    clattn_weighted_sum_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_weighted_sum_desc_init(&desc);
    desc.batch = B;
    desc.q_heads = H;
    desc.kv_heads = G;
    desc.q_len = Q;
    desc.kv_len = K;
    desc.value_dim = V;
    harness_check(clattn_weighted_sum_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    check_operation(harness, plan, run_weighted_sum);
}

enum { WIDTH = 24, CONTEXT = 30 };

/* Strides reach the plans within the plan: those of the projections and of attention. */
static struct tensor run_layer(const struct harness *harness, clattn_plan *plan, int64_t padding)
{
    struct tensor input = filled(B, 1, Q, WIDTH, padding, 1), context = filled(B, 1, K, CONTEXT, padding, 2);
    struct tensor w_q = filled(1, 1, H * D, WIDTH, 0, 3), w_k = filled(1, 1, G * D, CONTEXT, 0, 4);
    struct tensor w_v = filled(1, 1, G * V, CONTEXT, 0, 5), w_o = filled(1, 1, WIDTH, H * V, 0, 6);
    struct tensor mask = filled(B, 1, Q, K, padding, 7), lse = tensor_make(CLATTN_F32, B, H, Q, 1, 0);
    struct tensor output = tensor_make(CLATTN_F32, B, 1, Q, WIDTH, padding);
    clattn_layer_args args;
    clattn_error error;
    clattn_layer_args_init(&args, plan);
    args.input = laid_out(harness, &input);
    args.context = laid_out(harness, &context);
    args.w_q = laid_out(harness, &w_q);
    args.w_k = laid_out(harness, &w_k);
    args.w_v = laid_out(harness, &w_v);
    args.w_o = laid_out(harness, &w_o);
    args.mask = laid_out(harness, &mask);
    args.lse = laid_out(harness, &lse);
    args.output = laid_out(harness, &output);
    harness_check(clattn_layer_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "layer");
    finish(harness);
    tensor_download(harness, &output);
    struct tensor *const used[] = {&input, &context, &w_q, &w_k, &w_v, &w_o, &mask, &lse};
    for (size_t i = 0; i < sizeof used / sizeof *used; ++i)
        tensor_free(used[i]);
    return output;
}

static void a_layer_takes_strides(void **state)
{
    const struct harness *harness = *state;
    const clattn_attention_desc attention = attention_desc(NULL, false);
    clattn_layer_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_layer_desc_init(&desc);
    desc.attention = &attention;
    desc.inputs = CLATTN_LAYER_CROSS;
    desc.width = WIDTH;
    desc.context_width = CONTEXT;
    harness_check(clattn_layer_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    check_operation(harness, plan, run_layer);
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

/* A run with one stride or buffer changed fails so, with `message` in what it says. */
static void refused(const struct harness *harness, clattn_plan *plan, const clattn_attention_args *args,
                    clattn_status status, const char *message)
{
    clattn_error error = {.status = CLATTN_SUCCESS};
    assert_int_equal(clattn_attention_run(plan, harness->queue, args, 0, NULL, NULL, &error), status);
    if (strstr(error.message, message) == NULL)
        fail_msg("\"%s\": expected \"%s\" in it", error.message, message);
}

static void strides_are_checked_as_a_descriptors_are(void **state)
{
    const struct harness *harness = *state;
    const clattn_attention_desc desc = attention_desc(NULL, false);
    struct attention_tensors t = make_attention_tensors(&desc, 3);
    clattn_plan *plan = NULL;
    clattn_error error;
    harness_check(clattn_attention_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    const clattn_attention_args right = attention_args(harness, plan, &t, false);

    clattn_attention_args args = right;
    args.key.strides[1] = -1;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "key.strides[1] is -1: expected 0 or more");
    args = right;
    args.value.strides[3] = 2;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "value.strides[3] is 2: expected 1");
    args = right;
    args.output.strides[2] = V - 1;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "output.strides[2] is 19: expected at least 20");
    args = right;
    args.query.strides[0] = INT64_MAX;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "fits 63 bits");
    args = right;
    args.key.strides[0] *= 2;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer key has");
    args = right;
    args.lse.strides[3] = 1;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "lse.strides are given");
    args = right;
    args.workspace.strides[3] = 1; /* of a workspace that is not there, too */
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_VALUE, "workspace.strides are given");
    args = right;
    args.output.mem = args.key.mem;
    refused(harness, plan, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer output shares bytes with key");

    free_attention_tensors(&t);
    clattn_plan_release(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_takes_strides),
        cmocka_unit_test(strides_of_zero_repeat),
        cmocka_unit_test(a_cache_that_doubles_needs_no_new_plan),
        cmocka_unit_test(linear_takes_strides),
        cmocka_unit_test(rotary_takes_strides),
        cmocka_unit_test(softmax_takes_strides),
        cmocka_unit_test(strides_of_one_row_do_not_matter),
        cmocka_unit_test(what_is_read_back_is_not_write_only),
        cmocka_unit_test(weighted_sum_takes_strides),
        cmocka_unit_test(a_layer_takes_strides),
        cmocka_unit_test(strides_are_checked_as_a_descriptors_are),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
