/* SPDX-License-Identifier: Apache-2.0 */
/* Implements layers.h. */
#include "layers.h"
#include "compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- operands ------------------------------------------------------------------------------------------------- */

const char *const layer_operand_names[LAYER_NUM_OPERANDS] = {
    "input", "context", "w_q",    "w_k",  "w_v",        "w_o", "w_qkv",  "b_q",   "b_k",          "b_v",
    "b_o",   "b_qkv",   "output", "mask", "kv_lengths", "lse", "scores", "sinks", "alibi_slopes", "relative_bias"};

clattn_buffer *layer_slot(clattn_layer_args *args, enum layer_operand operand)
{
    clattn_buffer *const slots[LAYER_NUM_OPERANDS] = {
        &args->input, &args->context, &args->w_q,    &args->w_k,          &args->w_v,
        &args->w_o,   &args->w_qkv,   &args->b_q,    &args->b_k,          &args->b_v,
        &args->b_o,   &args->b_qkv,   &args->output, &args->mask,         &args->kv_lengths,
        &args->lse,   &args->scores,  &args->sinks,  &args->alibi_slopes, &args->relative_bias};

    return slots[operand];
}

int64_t layer_kv_length(const struct layer_scene *scene, int64_t b)
{
    return scene->attention.kv_len - 3 * b;
}

void layer_describe(struct layer_scene *scene, const struct layer_case *c)
{
    clattn_error error;

    memset(scene, 0, sizeof *scene);
    scene->of = c;
    clattn_attention_desc_init(&scene->attention);
    harness_check(clattn_attention_desc_parse(c->attention, &scene->attention, &error), &error, c->attention);
    clattn_layer_desc_init(&scene->desc);
    clattn_layer_desc *desc = &scene->desc;
    desc->attention = &scene->attention;
    desc->inputs = c->inputs;
    desc->width = c->width;
    desc->context_width = c->context_width;
    desc->output_width = c->output_width;
    desc->packed = c->packed;
    desc->bias = c->bias;
    desc->weight = c->weight;
    desc->input.dtype = c->input;
    desc->context.dtype = c->context;
    desc->output.dtype = c->output;
}

static void make_weight(struct layer_scene *scene, enum layer_operand weight, int64_t rows, int64_t columns)
{
    const enum layer_operand bias = LAYER_BIAS_OF(weight);

    scene->t[weight] = tensor_make(scene->desc.weight, 1, 1, rows, columns, 0);
    tensor_fill(&scene->t[weight], 1.0 / sqrt((double)columns), 100 + weight);
    if (scene->desc.bias) {
        scene->t[bias] = tensor_make(scene->desc.weight, 1, 1, 1, rows, 0);
        tensor_fill(&scene->t[bias], 0.5, 100 + bias);
    }
}

static void make_weights(struct layer_scene *scene)
{
    const clattn_attention_desc *attention = &scene->attention;
    const clattn_layer_desc *desc = &scene->desc;
    const int64_t value_dim = oracle_value_dim(attention);
    const int64_t query = attention->q_heads * attention->head_dim;
    const int64_t key = attention->kv_heads * attention->head_dim, value = attention->kv_heads * value_dim;
    const int64_t key_width = desc->inputs == CLATTN_LAYER_SELF ? desc->width : scene->t[LAYER_CONTEXT].extent[3];

    make_weight(scene, LAYER_W_O, scene->t[LAYER_OUTPUT].extent[3], attention->q_heads * value_dim);
    if (desc->packed) {
        make_weight(scene, LAYER_W_QKV, query + key + value, desc->width);
        return;
    }
    make_weight(scene, LAYER_W_Q, query, desc->width);
    make_weight(scene, LAYER_W_K, key, key_width);
    make_weight(scene, LAYER_W_V, value, desc->inputs == CLATTN_LAYER_KEY ? desc->width : key_width);
}

/* What attention has besides: mask, lengths, sinks, biases, outputs. */
static void make_semantics(struct layer_scene *scene)
{
    const clattn_attention_desc *a = &scene->attention;
    struct tensor *t = scene->t;

    if (a->mask_kind != CLATTN_MASK_NONE)
        t[LAYER_MASK] = tensor_make(a->mask.dtype, a->batch, a->q_heads, a->q_len, a->kv_len, 0);
    if (a->mask_kind == CLATTN_MASK_ADDITIVE)
        tensor_fill(&t[LAYER_MASK], 1.0, 7);
    if (a->mask_kind == CLATTN_MASK_BOOL) {
        uint64_t seed = 7;
        for (size_t n = TENSOR_ROOM; n < t[LAYER_MASK].bytes - TENSOR_ROOM; ++n)
            t[LAYER_MASK].data[n] = case_random(&seed) % 4 != 0;
    }
    if (a->kv_lengths != CLATTN_LENGTHS_NONE) {
        t[LAYER_LENGTHS] = tensor_make(CLATTN_F32, a->batch, 1, 1, 1, 0); /* of four bytes, as int32_t is */
        for (int64_t b = 0; b < a->batch; ++b)
            ((int32_t *)(void *)t[LAYER_LENGTHS].data)[TENSOR_ROOM + b] = (int32_t)layer_kv_length(scene, b);
    }
    if (a->lse)
        t[LAYER_LSE] = tensor_make(CLATTN_F32, a->batch, a->q_heads, a->q_len, 1, 0);
    if (a->scores_stage != CLATTN_SCORES_NONE)
        t[LAYER_SCORES] = tensor_make(CLATTN_F32, a->batch, a->q_heads, a->q_len, a->kv_len, 0);
    if (a->sinks)
        t[LAYER_SINKS] = tensor_make(CLATTN_F32, 1, a->q_heads, 1, 1, 0);
    if (a->alibi)
        t[LAYER_ALIBI_SLOPES] = tensor_make(CLATTN_F32, a->alibi_batch > 1 ? a->batch : 1, a->q_heads, 1, 1, 0);
    if (a->relative_extent > 0)
        t[LAYER_RELATIVE_BIAS] = tensor_make(CLATTN_F32, 1, a->q_heads, 1, 2 * a->relative_extent + 1, 0);
    for (int n = LAYER_SINKS; n <= LAYER_RELATIVE_BIAS; ++n)
        if (t[n].data != NULL)
            tensor_fill(&t[n], 0.5, 100 + (uint64_t)n);
}

void layer_open(const struct harness *harness, struct layer_scene *scene)
{
    const struct layer_case *c = scene->of;
    const clattn_attention_desc *a = &scene->attention;
    clattn_layer_desc *desc = &scene->desc;
    struct tensor *t = scene->t;
    clattn_error error;

    t[LAYER_INPUT] = tensor_make(c->input, a->batch, 1, a->q_len, c->width, c->padding);
    tensor_fill(&t[LAYER_INPUT], 1.0, 5);
    desc->input = t[LAYER_INPUT].layout;
    if (c->inputs != CLATTN_LAYER_SELF) {
        int64_t width = c->context_width != 0 ? c->context_width : c->width;
        t[LAYER_CONTEXT] = tensor_make(c->context, a->batch, 1, a->kv_len, width, c->padding);
        tensor_fill(&t[LAYER_CONTEXT], 1.0, 6);
        desc->context = t[LAYER_CONTEXT].layout;
    }
    t[LAYER_OUTPUT] =
        tensor_make(c->output, a->batch, 1, a->q_len, c->output_width != 0 ? c->output_width : c->width, c->padding);
    desc->output = t[LAYER_OUTPUT].layout;
    make_weights(scene);
    make_semantics(scene);

    harness_check(clattn_layer_plan_create(harness->context, desc, &scene->plan, &error), &error, c->attention);
    clattn_layer_args_init(&scene->args, scene->plan);
    scene->args.dropout_seed_set = 1;
    scene->args.dropout_seed = 77;
    scene->args.dropout_offset = 1;
    scene->args.dropout_batch = 3;
    assert_true(scene->args.q_len == a->q_len && scene->args.kv_len == a->kv_len);
    if (c->q_len >= 0)
        scene->args.q_len = c->q_len;
    if (c->kv_len >= 0)
        scene->args.kv_len = c->kv_len;
    scene->args.offset = c->offset;
    for (int n = 0; n < LAYER_NUM_OPERANDS; ++n)
        if (t[n].data != NULL)
            *layer_slot(&scene->args, (enum layer_operand)n) = tensor_upload(harness, &t[n]);
}

void layer_close(struct layer_scene *scene)
{
    for (int n = 0; n < LAYER_NUM_OPERANDS; ++n)
        tensor_free(&scene->t[n]);
    clattn_plan_release(scene->plan);
}

void layer_read(const struct harness *harness, struct layer_scene *scene)
{
    for (int n = 0; n < LAYER_NUM_OPERANDS; ++n) {
        struct tensor *t = &scene->t[n];
        int64_t extent[4];
        if (t->data == NULL)
            continue;
        memcpy(extent, t->extent, sizeof extent);
        if (n == LAYER_OUTPUT || n == LAYER_LSE || n == LAYER_SCORES)
            t->extent[2] = scene->args.q_len;
        else
            t->extent[0] = 0; /* an input: not one byte may have changed */
        tensor_download(harness, t);
        memcpy(t->extent, extent, sizeof extent);
    }
}

void layer_run(const struct harness *harness, struct layer_scene *scene)
{
    clattn_error error;

    harness_check(clattn_layer_run(scene->plan, harness->queue, &scene->args, 0, NULL, NULL, &error), &error,
                  clattn_plan_problem(scene->plan));
    layer_read(harness, scene);
}

/* ---- the reference -------------------------------------------------------------------------------------------- */

static double eps32(void)
{
    return compare_epsilon(CLATTN_F32);
}

/* Of a projected tensor [batch, heads, length, dim], dense: its elements, rounded, and how far off each may be. */
struct projected {
    int64_t extent[4];
    clattn_dtype dtype;
    void *rounded;
    double *error;
};

static int64_t index_of(const struct projected *p, int64_t b, int64_t h, int64_t i)
{
    return ((b * p->extent[1] + h) * p->extent[2] + i) * p->extent[3];
}

/* Rows of `x` times rows of `weight` from `first` on. The error is linear's, and half an eps for the rounding here. */
static struct projected project(const struct tensor *x, const struct tensor *weight, const struct tensor *bias,
                                int64_t first, clattn_dtype dtype, int64_t heads, int64_t dim, int64_t length)
{
    struct projected p = {.extent = {x->extent[0], heads, x->extent[2], dim}, .dtype = dtype};
    const int64_t width = x->extent[3];
    const size_t count = (size_t)(p.extent[0] * heads * p.extent[2] * dim) + 1;
    const double share = 1.5 * compare_epsilon(dtype) + 4.0 * eps32() * (1.0 + sqrt((double)width) / 16.0);

    p.rounded = calloc(count, clattn_dtype_size(dtype));
    p.error = calloc(count, sizeof *p.error);
    assert_true(p.rounded != NULL && p.error != NULL);
    for (int64_t b = 0; b < p.extent[0]; ++b)
        for (int64_t i = 0; i < length; ++i)
            for (int64_t n = 0; n < heads * dim; ++n) {
                double sum = bias->data != NULL ? tensor_get(bias, 0, 0, 0, first + n) : 0.0;
                double magnitude = fabs(sum);
                for (int64_t k = 0; k < width; ++k) {
                    double term = tensor_get(x, b, 0, i, k) * tensor_get(weight, 0, 0, first + n, k);
                    sum += term;
                    magnitude += fabs(term);
                }
                int64_t index = index_of(&p, b, n / dim, i) + n % dim;
                oracle_store(dtype, p.rounded, index, sum);
                p.error[index] = share * magnitude;
            }
    return p;
}

static void free_projected(struct projected *p)
{
    free(p->rounded);
    free(p->error);
}

/* How far off the score of one query and one key may be before attention has done anything. */
static double score_error(const struct projected *query, int64_t q, const struct projected *key, int64_t k,
                          double scale)
{
    double sum = 0.0;

    for (int64_t d = 0; d < query->extent[3]; ++d)
        sum += fabs(oracle_load(query->dtype, query->rounded, q + d)) * key->error[k + d] +
               query->error[q + d] * (fabs(oracle_load(key->dtype, key->rounded, k + d)) + key->error[k + d]);
    return fabs(scale) * sum;
}

/* Everything that one row of attention gives, by head: values and how far off each may be. */
struct merged {
    double *value; /* [q_heads * value_dim] */
    double *error;
};

/*
 * Scores that are off by E make every weight off by a factor of e^(2 E) at most. To that come attention's own bound and
 * the errors of the values.
 */
static void attend(const struct layer_scene *scene, const struct oracle_operands *operands, const struct projected p[3],
                   int64_t b, int64_t h, int64_t i, struct oracle_row *row, struct merged *merged)
{
    const clattn_attention_desc *attention = &scene->attention;
    const int64_t g = h / (attention->q_heads / attention->kv_heads), value_dim = p[2].extent[3];
    const struct tensor *lse = &scene->t[LAYER_LSE], *scores = &scene->t[LAYER_SCORES];
    double worst = 0.0;

    oracle_row_compute(operands, b, h, i, row);
    for (int64_t j = 0; j < operands->kv_len; ++j)
        if (row->kept[j])
            worst = fmax(worst, score_error(&p[0], index_of(&p[0], b, h, i), &p[1], index_of(&p[1], b, g, j),
                                            oracle_scale(attention)));
    const double own = 4.0 * eps32() * (1.0 + row->largest_amplitude + worst + sqrt((double)operands->kv_len) / 16.0);
    const double factor = expm1(2.0 * worst);
    for (int64_t d = 0; d < value_dim; ++d) {
        double values = 0.0;
        for (int64_t j = 0; j < operands->kv_len; ++j)
            if (row->kept[j])
                values += row->dropped[j] * p[2].error[index_of(&p[2], b, g, j) + d];
        merged->value[h * value_dim + d] = row->output[d];
        merged->error[h * value_dim + d] =
            factor * row->magnitude[d] +
            (1.0 + factor) * (values + (own + compare_epsilon(attention->output.dtype)) * (row->magnitude[d] + values));
    }
    if (lse->data != NULL)
        assert_true(compare_share(CLATTN_F32, tensor_get(lse, b, h, i, 0), row->lse, worst + own) <= 1.0);
    for (int64_t j = 0; j < operands->kv_len && scores->data != NULL; ++j) {
        double bound = row->dropped[j] * (factor + (1.0 + factor) * 2.0 * own) + 0x1p-126;
        assert_true(attention->scores_stage == CLATTN_SCORES_WEIGHTS);
        assert_true(compare_share(CLATTN_F32, tensor_get(scores, b, h, i, j), row->dropped[j],
                                  row->kept[j] ? bound : 0.0) <= 1.0);
    }
}

/* The last projection of one row, compared. Adds the squares of errors and references. */
static void compare_row(const struct layer_scene *scene, const struct merged *merged, int64_t b, int64_t i,
                        double *errors, double *references)
{
    const struct tensor *output = &scene->t[LAYER_OUTPUT], *weight = &scene->t[LAYER_W_O], *bias = &scene->t[LAYER_B_O];
    const int64_t features = weight->extent[3];
    const double share = compare_epsilon(output->layout.dtype) + 4.0 * eps32() * (1.0 + sqrt((double)features) / 16.0);

    for (int64_t n = 0; n < output->extent[3]; ++n) {
        double expected = bias->data != NULL ? tensor_get(bias, 0, 0, 0, n) : 0.0;
        double magnitude = fabs(expected), before = 0.0;
        for (int64_t f = 0; f < features; ++f) {
            double w = tensor_get(weight, 0, 0, n, f);
            expected += merged->value[f] * w;
            magnitude += (fabs(merged->value[f]) + merged->error[f]) * fabs(w);
            before += merged->error[f] * fabs(w);
        }
        double found = tensor_get(output, b, 0, i, n), bound = before + share * magnitude;
        if (!(compare_share(output->layout.dtype, found, expected, bound) <= 1.0))
            fail_msg("%s: output[%d,%d,%d] is %.9g: expected %.9g within %.3g", clattn_plan_name(scene->plan), (int)b,
                     (int)i, (int)n, found, expected, bound);
        *errors += (found - expected) * (found - expected);
        *references += expected * expected;
    }
}

/* The coarsest type on the way. */
static double coarsest(const struct layer_scene *scene)
{
    const clattn_attention_desc *attention = &scene->attention;
    const clattn_dtype types[] = {attention->query.dtype, attention->key.dtype, attention->value.dtype,
                                  attention->output.dtype, scene->desc.output.dtype};
    double worst = 0.0;

    for (size_t n = 0; n < sizeof types / sizeof *types; ++n)
        worst = fmax(worst, compare_epsilon(types[n]));
    return worst;
}

/* The first element of a tensor of F32; NULL where there is none. */
static const float *first_float(const struct tensor *t)
{
    return t->data == NULL ? NULL : (const float *)(const void *)t->data + TENSOR_ROOM;
}

struct oracle_operands layer_operands(const struct layer_scene *scene, const void *query, const void *key,
                                      const void *value)
{
    const struct tensor *t = scene->t;
    struct oracle_operands operands = {.desc = &scene->attention,
                                       .q_len = scene->args.q_len,
                                       .kv_len = scene->args.kv_len,
                                       .offset = scene->args.offset,
                                       .query = query,
                                       .key = key,
                                       .value = value};

    if (scene->desc.inputs == CLATTN_LAYER_SELF)
        operands.kv_len = operands.q_len;
    if (t[LAYER_MASK].data != NULL)
        operands.mask = t[LAYER_MASK].data + TENSOR_ROOM * tensor_element_size(&t[LAYER_MASK]);
    if (t[LAYER_LENGTHS].data != NULL)
        operands.kv_lengths = t[LAYER_LENGTHS].data + TENSOR_ROOM * sizeof(int32_t);
    operands.sinks = first_float(&t[LAYER_SINKS]);
    operands.alibi_slopes = first_float(&t[LAYER_ALIBI_SLOPES]);
    operands.relative_bias = first_float(&t[LAYER_RELATIVE_BIAS]);
    operands.dropout_seed = scene->args.dropout_seed;
    operands.dropout_offset = scene->args.dropout_offset;
    operands.dropout_batch = scene->args.dropout_batch;
    return operands;
}

void layer_check(const struct layer_scene *scene)
{
    const clattn_attention_desc *attention = &scene->attention;
    const struct tensor *t = scene->t;
    const clattn_layer_desc *desc = &scene->desc;
    const struct tensor *keys = desc->inputs == CLATTN_LAYER_SELF ? &t[LAYER_INPUT] : &t[LAYER_CONTEXT];
    const struct tensor *values = desc->inputs == CLATTN_LAYER_CROSS ? &t[LAYER_CONTEXT] : &t[LAYER_INPUT];
    const int64_t kv_heads = attention->kv_heads, head_dim = attention->head_dim;
    const int64_t value_dim = oracle_value_dim(attention);
    const int64_t first_key = desc->packed ? attention->q_heads * head_dim : 0;
    const int64_t first_value = desc->packed ? first_key + kv_heads * head_dim : 0;
    const enum layer_operand w[3] = {desc->packed ? LAYER_W_QKV : LAYER_W_Q, desc->packed ? LAYER_W_QKV : LAYER_W_K,
                                     desc->packed ? LAYER_W_QKV : LAYER_W_V};
    const int64_t q_len = scene->args.q_len;
    const int64_t kv_len = desc->inputs == CLATTN_LAYER_SELF ? q_len : scene->args.kv_len;
    struct projected p[3] = {
        project(&t[LAYER_INPUT], &t[w[0]], &t[LAYER_BIAS_OF(w[0])], 0, attention->query.dtype, attention->q_heads,
                head_dim, q_len),
        project(keys, &t[w[1]], &t[LAYER_BIAS_OF(w[1])], first_key, attention->key.dtype, kv_heads, head_dim, kv_len),
        project(values, &t[w[2]], &t[LAYER_BIAS_OF(w[2])], first_value, attention->value.dtype, kv_heads, value_dim,
                kv_len)};
    const struct oracle_operands operands = layer_operands(scene, p[0].rounded, p[1].rounded, p[2].rounded);
    const size_t features = (size_t)(attention->q_heads * value_dim);
    struct merged merged = {calloc(features, sizeof(double)), calloc(features, sizeof(double))};
    struct oracle_row row;
    double errors = 0.0, references = 0.0;

    assert_true(merged.value != NULL && merged.error != NULL && oracle_row_init(&row, &operands));
    for (int64_t b = 0; b < attention->batch; ++b)
        for (int64_t i = 0; i < q_len; ++i) {
            for (int64_t h = 0; h < attention->q_heads; ++h)
                attend(scene, &operands, p, b, h, i, &row, &merged);
            compare_row(scene, &merged, b, i, &errors, &references);
        }
    if (!(sqrt(errors) <= (4.0 * coarsest(scene) + 64.0 * eps32()) * sqrt(references)))
        fail_msg("%s: root of the mean squared error is %.3g of the reference's", clattn_plan_name(scene->plan),
                 sqrt(errors / references));
    oracle_row_free(&row);
    free(merged.value);
    free(merged.error);
    for (int n = 0; n < 3; ++n)
        free_projected(&p[n]);
}
