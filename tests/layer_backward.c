/* SPDX-License-Identifier: Apache-2.0 */
/* Implements layer_backward.h. */
#include "layer_backward.h"
#include "compare.h"
#include "oracle_backward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- operands ------------------------------------------------------------------------------------------------- */

const char *const layer_gradient_names[NUM_LAYER_GRADIENTS] = {
    "d_input", "d_context", "d_w_q", "d_w_k",   "d_w_v",  "d_w_o",   "d_w_qkv",        "d_b_q",
    "d_b_k",   "d_b_v",     "d_b_o", "d_b_qkv", "d_mask", "d_sinks", "d_alibi_slopes", "d_relative_bias"};

/* What each is a gradient of. */
static const enum layer_operand source[NUM_LAYER_GRADIENTS] = {
    LAYER_INPUT, LAYER_CONTEXT, LAYER_W_Q,          LAYER_W_K,          LAYER_W_V, LAYER_W_O,
    LAYER_W_QKV, LAYER_B_Q,     LAYER_B_K,          LAYER_B_V,          LAYER_B_O, LAYER_B_QKV,
    LAYER_MASK,  LAYER_SINKS,   LAYER_ALIBI_SLOPES, LAYER_RELATIVE_BIAS};

int *layer_gradient_flag(clattn_layer_backward_desc *desc, enum layer_gradient gradient)
{
    int *const flags[NUM_LAYER_GRADIENTS] = {
        &desc->d_input, &desc->d_context, &desc->d_w_q,          &desc->d_w_k,          &desc->d_w_v, &desc->d_w_o,
        &desc->d_w_qkv, &desc->d_b_q,     &desc->d_b_k,          &desc->d_b_v,          &desc->d_b_o, &desc->d_b_qkv,
        &desc->d_mask,  &desc->d_sinks,   &desc->d_alibi_slopes, &desc->d_relative_bias};

    return flags[gradient];
}

clattn_buffer *layer_gradient_slot(clattn_layer_backward_args *args, enum layer_gradient gradient)
{
    clattn_buffer *const slots[NUM_LAYER_GRADIENTS] = {
        &args->d_input, &args->d_context, &args->d_w_q,          &args->d_w_k,          &args->d_w_v, &args->d_w_o,
        &args->d_w_qkv, &args->d_b_q,     &args->d_b_k,          &args->d_b_v,          &args->d_b_o, &args->d_b_qkv,
        &args->d_mask,  &args->d_sinks,   &args->d_alibi_slopes, &args->d_relative_bias};

    return slots[gradient];
}

/* Of what the layer has, all that is not left out; a boolean mask has no gradient. */
static bool wants(const struct layer_backward_scene *scene, enum layer_gradient gradient)
{
    if (gradient == D_MASK && scene->layer.attention.mask_kind != CLATTN_MASK_ADDITIVE)
        return false;
    return scene->layer.t[source[gradient]].data != NULL && (scene->of->without >> gradient & 1) == 0;
}

void layer_backward_describe(struct layer_backward_scene *scene, const struct layer_backward_case *c)
{
    memset(scene, 0, sizeof *scene);
    scene->of = c;
    layer_describe(&scene->layer, &c->layer);
    scene->layer.desc.keep = 1;
    clattn_layer_backward_desc_init(&scene->desc);
    scene->desc.layer = &scene->layer.desc;
    scene->desc.d_lse = c->d_lse;
    scene->desc.accumulate = c->accumulate;
    scene->desc.accumulate_inputs = c->accumulate_inputs;
    scene->desc.d_weight = c->d_weight;
}

static bool is_input(enum layer_gradient gradient)
{
    return gradient == D_INPUT || gradient == D_CONTEXT;
}

/* A gradient in the shape of what it is of, with what it is added to. */
static void make_gradient(struct layer_backward_scene *scene, enum layer_gradient gradient)
{
    const struct layer_backward_case *c = scene->of;
    const struct tensor *of = &scene->layer.t[source[gradient]];
    const clattn_dtype dtype = is_input(gradient) ? c->d_input : gradient >= D_MASK ? CLATTN_F32 : c->d_weight;
    const int64_t padding = is_input(gradient) ? c->layer.padding : 0;
    struct tensor *d = &scene->d[gradient], *old = &scene->old[gradient];

    *d = tensor_make(dtype, of->extent[0], of->extent[1], of->extent[2], of->extent[3], padding);
    if (!(is_input(gradient) ? c->accumulate_inputs : c->accumulate))
        return;
    *old = tensor_make(dtype, of->extent[0], of->extent[1], of->extent[2], of->extent[3], padding);
    tensor_fill(old, 1.0, 300 + (uint64_t)gradient);
    memcpy(d->data, old->data, old->bytes);
}

static void make_plan(const struct harness *harness, struct layer_backward_scene *scene)
{
    clattn_layer_backward_desc *desc = &scene->desc;
    clattn_error error;

    desc->d_output_layout = scene->d_output.layout;
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        *layer_gradient_flag(desc, (enum layer_gradient)g) = scene->d[g].data != NULL;
    desc->d_input_layout = scene->d[D_INPUT].layout;
    desc->d_context_layout = scene->d[D_CONTEXT].layout;
    desc->d_mask_layout = scene->d[D_MASK].layout;
    harness_check(clattn_layer_backward_plan_create(harness->context, desc, &scene->plan, &error), &error,
                  scene->of->layer.attention);
    assert_int_equal(clattn_layer_kept_size(scene->plan), scene->kept_bytes);
}

/* What both runs have. */
static void share_args(struct layer_backward_scene *scene)
{
    const clattn_layer_args *from = &scene->layer.args;
    clattn_layer_backward_args *args = &scene->args;

    clattn_layer_backward_args_init(args, scene->plan);
    args->q_len = from->q_len;
    args->kv_len = from->kv_len;
    args->offset = from->offset;
    args->input = from->input;
    args->context = from->context;
    args->w_q = from->w_q;
    args->w_k = from->w_k;
    args->w_v = from->w_v;
    args->w_o = from->w_o;
    args->w_qkv = from->w_qkv;
    args->kept = from->kept;
    args->mask = from->mask;
    args->kv_lengths = from->kv_lengths;
    args->lse = from->lse;
    args->sinks = from->sinks;
    args->alibi_slopes = from->alibi_slopes;
    args->relative_bias = from->relative_bias;
    args->dropout_seed_set = from->dropout_seed_set;
    args->dropout_seed = from->dropout_seed;
    args->dropout_offset = from->dropout_offset;
    args->dropout_batch = from->dropout_batch;
}

void layer_backward_open(const struct harness *harness, struct layer_backward_scene *scene)
{
    struct layer_scene *layer = &scene->layer;
    const clattn_attention_desc *attention = &layer->attention;
    const int64_t padding = scene->of->layer.padding;

    layer_open(harness, layer);
    scene->kept_bytes = clattn_layer_kept_size(layer->plan);
    layer->args.kept = harness_guarded(harness, scene->kept_bytes);
    const int64_t *extent = layer->t[LAYER_OUTPUT].extent;
    scene->d_output = tensor_make(scene->of->d_output, extent[0], extent[1], extent[2], extent[3], padding);
    tensor_fill(&scene->d_output, 1.0, 201);
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        if (wants(scene, (enum layer_gradient)g))
            make_gradient(scene, (enum layer_gradient)g);
    make_plan(harness, scene);
    share_args(scene);
    scene->args.d_output = tensor_upload(harness, &scene->d_output);
    if (scene->of->d_lse) {
        scene->d_lse = tensor_make(CLATTN_F32, attention->batch, attention->q_heads, attention->q_len, 1, 0);
        tensor_fill(&scene->d_lse, 1.0, 202);
        scene->args.d_lse = tensor_upload(harness, &scene->d_lse);
    }
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        if (scene->d[g].data != NULL)
            *layer_gradient_slot(&scene->args, (enum layer_gradient)g) = tensor_upload(harness, &scene->d[g]);
}

void layer_backward_close(const struct harness *harness, struct layer_backward_scene *scene)
{
    harness_guarded_release(harness, scene->layer.args.kept, scene->kept_bytes);
    tensor_free(&scene->d_output);
    tensor_free(&scene->d_lse);
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g) {
        tensor_free(&scene->d[g]);
        tensor_free(&scene->old[g]);
    }
    clattn_plan_release(scene->plan);
    layer_close(&scene->layer);
}

static int64_t rows_of_run(const struct layer_backward_scene *scene, enum layer_gradient gradient)
{
    if (gradient == D_INPUT)
        return scene->args.q_len;
    return gradient == D_CONTEXT ? scene->args.kv_len : scene->d[gradient].extent[2];
}

void layer_backward_run_again(const struct harness *harness, struct layer_backward_scene *scene)
{
    clattn_error error;

    harness_check(clattn_layer_backward_run(scene->plan, harness->queue, &scene->args, 0, NULL, NULL, &error), &error,
                  clattn_plan_problem(scene->plan));
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        if (scene->d[g].data != NULL) {
            const int64_t rows = scene->d[g].extent[2];
            scene->d[g].extent[2] = rows_of_run(scene, (enum layer_gradient)g);
            tensor_download(harness, &scene->d[g]);
            scene->d[g].extent[2] = rows;
        }
}

void layer_backward_run(const struct harness *harness, struct layer_backward_scene *scene)
{
    layer_run(harness, &scene->layer);
    layer_backward_run_again(harness, scene);
    layer_read(harness, &scene->layer);
}

/* ---- the reference -------------------------------------------------------------------------------------------- */

/* [batch, rows, columns], dense: numbers, and the sums of the absolute values of the terms that they are made of. */
struct numbers {
    int64_t batch, rows, columns;
    double *value;
    double *size;
};

static struct numbers make_numbers(int64_t batch, int64_t rows, int64_t columns)
{
    const size_t count = (size_t)(batch * rows * columns) + 1;
    struct numbers made = {batch, rows, columns, calloc(count, sizeof(double)), calloc(count, sizeof(double))};

    assert_true(made.value != NULL && made.size != NULL);
    return made;
}

static void free_numbers(struct numbers *numbers)
{
    free(numbers->value);
    free(numbers->size);
}

static int64_t at(const struct numbers *numbers, int64_t b, int64_t i, int64_t k)
{
    return (b * numbers->rows + i) * numbers->columns + k;
}

/* Those of a tensor without heads; none of one that is not there. */
static struct numbers numbers_of(const struct tensor *t)
{
    struct numbers numbers = make_numbers(t->extent[0], t->extent[2], t->extent[3]);

    if (t->data != NULL)
        TENSOR_FOR_EACH(t)
        {
            numbers.value[at(&numbers, b, i, j)] = tensor_get(t, b, h, i, j);
            numbers.size[at(&numbers, b, i, j)] = fabs(tensor_get(t, b, h, i, j));
        }
    return numbers;
}

/* to[t] += a[n] * b[m] */
static void add_product(struct numbers *to, int64_t t, const struct numbers *a, int64_t n, const struct numbers *b,
                        int64_t m)
{
    to->value[t] += a->value[n] * b->value[m];
    to->size[t] += a->size[n] * b->size[m];
}

static void add_number(struct numbers *to, int64_t t, const struct numbers *a, int64_t n)
{
    to->value[t] += a->value[n];
    to->size[t] += a->size[n];
}

/* y = x w^T + bias for `length` rows, w being the rows from `first` on. */
static void project(struct numbers *y, const struct numbers *x, const struct numbers *w, const struct numbers *bias,
                    int64_t first, int64_t length)
{
    for (int64_t b = 0; b < y->batch; ++b)
        for (int64_t i = 0; i < length; ++i)
            for (int64_t n = 0; n < y->columns; ++n) {
                if (bias->columns > 0)
                    add_number(y, at(y, b, i, n), bias, first + n);
                for (int64_t k = 0; k < x->columns; ++k)
                    add_product(y, at(y, b, i, n), x, at(x, b, i, k), w, at(w, 0, first + n, k));
            }
}

/* Adds what y's gradient is to those of x, w and the bias. */
static void project_back(const struct numbers *dy, const struct numbers *x, const struct numbers *w, int64_t first,
                         int64_t length, struct numbers *dx, struct numbers *dw, struct numbers *d_bias)
{
    for (int64_t b = 0; b < dy->batch; ++b)
        for (int64_t i = 0; i < length; ++i)
            for (int64_t n = 0; n < dy->columns; ++n) {
                if (d_bias->columns > 0)
                    add_number(d_bias, first + n, dy, at(dy, b, i, n));
                for (int64_t k = 0; k < x->columns; ++k) {
                    add_product(dx, at(dx, b, i, k), dy, at(dy, b, i, n), w, at(w, 0, first + n, k));
                    add_product(dw, at(dw, 0, first + n, k), dy, at(dy, b, i, n), x, at(x, b, i, k));
                }
            }
}

/* Of query, key and value: from what, by which rows of which weight, in how many heads. */
struct stream {
    enum layer_operand input, weight;
    enum layer_gradient d_input, d_weight, d_bias;
    int64_t first;
    int64_t heads, dim, length, greatest;
    clattn_dtype dtype;
    struct numbers y, dy;
    void *rounded; /* [batch, heads, greatest, dim] */
};

static struct stream make_stream(const struct layer_backward_scene *scene, int number)
{
    const clattn_attention_desc *attention = &scene->layer.attention;
    const clattn_layer_desc *desc = &scene->layer.desc;
    const int64_t query = attention->q_heads * attention->head_dim, key = attention->kv_heads * attention->head_dim;
    const bool self = desc->inputs == CLATTN_LAYER_SELF;
    const bool context = number == 1 ? !self : number == 2 && desc->inputs == CLATTN_LAYER_CROSS;
    const int w = desc->packed ? LAYER_W_QKV - LAYER_W_Q : number;
    struct stream s = {
        .input = context ? LAYER_CONTEXT : LAYER_INPUT,
        .weight = (enum layer_operand)(LAYER_W_Q + w),
        .d_input = context ? D_CONTEXT : D_INPUT,
        .d_weight = (enum layer_gradient)(D_W_Q + w),
        .d_bias = (enum layer_gradient)(D_B_Q + w),
        .first = !desc->packed || number == 0 ? 0
                 : number == 1                ? query
                                              : query + key,
        .heads = number == 0 ? attention->q_heads : attention->kv_heads,
        .dim = number == 2 ? oracle_value_dim(attention) : attention->head_dim,
        .length = number == 0 || self ? scene->args.q_len : scene->args.kv_len,
        .greatest = number == 0 ? attention->q_len : attention->kv_len,
        .dtype = number == 0   ? attention->query.dtype
                 : number == 1 ? attention->key.dtype
                               : attention->value.dtype,
    };

    s.y = make_numbers(attention->batch, s.greatest, s.heads * s.dim);
    s.dy = make_numbers(attention->batch, s.greatest, s.heads * s.dim);
    s.rounded = calloc((size_t)(attention->batch * s.greatest * s.heads * s.dim) + 1, sizeof(float));
    assert_non_null(s.rounded);
    return s;
}

/* Element (b, i, column n) of a projected tensor in [batch, heads, greatest, dim]. */
static int64_t by_heads(int64_t heads, int64_t greatest, int64_t dim, int64_t b, int64_t i, int64_t n)
{
    return ((b * heads + n / dim) * greatest + i) * dim + n % dim;
}

/* The projected tensor, as it is stored. */
static void fill_stream(struct stream *s, const struct numbers x[LAYER_NUM_OPERANDS])
{
    project(&s->y, &x[s->input], &x[s->weight], &x[LAYER_BIAS_OF(s->weight)], s->first, s->length);
    for (int64_t b = 0; b < s->y.batch; ++b)
        for (int64_t i = 0; i < s->length; ++i)
            for (int64_t n = 0; n < s->y.columns; ++n)
                oracle_store(s->dtype, s->rounded, by_heads(s->heads, s->greatest, s->dim, b, i, n),
                             s->y.value[at(&s->y, b, i, n)]);
}

/* Attention's output, heads side by side. */
static struct numbers attend(const struct oracle_operands *operands)
{
    const clattn_attention_desc *desc = operands->desc;
    const int64_t dim = oracle_value_dim(desc);
    struct numbers o = make_numbers(desc->batch, desc->q_len, desc->q_heads * dim);
    struct oracle_row row;

    assert_true(oracle_row_init(&row, operands));
    for (int64_t b = 0; b < desc->batch; ++b)
        for (int64_t h = 0; h < desc->q_heads; ++h)
            for (int64_t i = 0; i < operands->q_len; ++i) {
                oracle_row_compute(operands, b, h, i, &row);
                memcpy(&o.value[at(&o, b, i, h * dim)], row.output, (size_t)dim * sizeof(double));
                memcpy(&o.size[at(&o, b, i, h * dim)], row.magnitude, (size_t)dim * sizeof(double));
            }
    oracle_row_free(&row);
    return o;
}

static bool keeps(void *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return oracle_dropout_keeps(operands, b, h, i, j);
}

static int64_t count_of(const struct tensor *t)
{
    return t->extent[0] * t->extent[1] * t->extent[2] * t->extent[3];
}

/*
 * Attention's gradients by the oracle, twice: for the numbers, and, with the sizes of d_output in its place, for the
 * sizes. What is added to scores goes to `expected` at once.
 */
static void attend_back(const struct layer_backward_scene *scene, struct oracle_operands *operands,
                        const struct numbers *d_o, struct stream streams[3], struct numbers expected[])
{
    const clattn_attention_desc *desc = operands->desc;
    const int64_t dim = oracle_value_dim(desc), rows = desc->batch * desc->q_heads * desc->q_len;
    const struct oracle_dropout dropout = {(double)desc->dropout, keeps, operands};
    float *d_output = calloc((size_t)(rows * dim) + 1, sizeof *d_output);
    float *d_lse = calloc((size_t)rows + 1, sizeof *d_lse);
    double *sum[3], *magnitude[3];

    assert_true(d_output != NULL && d_lse != NULL);
    for (int n = 0; n < 3; ++n) {
        const size_t count = (size_t)(desc->batch * streams[n].heads * streams[n].greatest * streams[n].dim) + 1;
        sum[n] = calloc(count, sizeof(double));
        magnitude[n] = calloc(count, sizeof(double));
        assert_true(sum[n] != NULL && magnitude[n] != NULL);
    }
    for (int sizes = 0; sizes < 2; ++sizes) {
        struct oracle_gradients g;
        memset(&g, 0, sizeof g);
        for (int64_t b = 0; b < desc->batch; ++b)
            for (int64_t i = 0; i < operands->q_len; ++i)
                for (int64_t n = 0; n < d_o->columns; ++n)
                    d_output[by_heads(desc->q_heads, desc->q_len, dim, b, i, n)] =
                        (float)(sizes ? d_o->size : d_o->value)[at(d_o, b, i, n)];
        for (int64_t n = 0; n < rows && scene->d_lse.data != NULL; ++n) {
            d_lse[n] = (float)tensor_get(&scene->d_lse, 0, 0, 0, n);
            d_lse[n] = sizes ? fabsf(d_lse[n]) : d_lse[n];
        }
        double **const to[] = {&g.d_query, &g.d_key, &g.d_value};
        double **const to_size[] = {&g.query_magnitude, &g.key_magnitude, &g.value_magnitude};
        for (int n = 0; n < 3; ++n)
            *(sizes ? to_size : to)[n] = sizes ? magnitude[n] : sum[n];
        double **const added[] = {&g.d_mask, &g.d_sinks, &g.d_alibi_slopes, &g.d_relative_bias};
        double **const added_size[] = {&g.mask_magnitude, &g.sinks_magnitude, &g.alibi_magnitude,
                                       &g.relative_magnitude};
        for (int n = 0; n < 4; ++n)
            if (scene->d[D_MASK + n].data != NULL)
                *(sizes ? added_size : added)[n] = sizes ? expected[D_MASK + n].size : expected[D_MASK + n].value;
        assert_true(oracle_backward(operands, d_output, d_lse, NULL, dropout.dropout > 0.0 ? &dropout : NULL, &g));
    }
    for (int n = 0; n < 3; ++n) {
        struct stream *s = &streams[n];
        for (int64_t b = 0; b < desc->batch; ++b)
            for (int64_t i = 0; i < s->greatest; ++i)
                for (int64_t c = 0; c < s->dy.columns; ++c) {
                    const int64_t from = by_heads(s->heads, s->greatest, s->dim, b, i, c);
                    s->dy.value[at(&s->dy, b, i, c)] = sum[n][from];
                    s->dy.size[at(&s->dy, b, i, c)] = magnitude[n][from];
                }
        free(sum[n]);
        free(magnitude[n]);
    }
    free(d_output);
    free(d_lse);
}

/* ---- the comparison ------------------------------------------------------------------------------------------- */

/* Between 1 and the next number, of the coarsest type on the way to a gradient of `dtype`. */
static double coarsest(const struct layer_backward_scene *scene, clattn_dtype dtype)
{
    const clattn_attention_desc *attention = &scene->layer.attention;
    const clattn_dtype types[] = {attention->query.dtype, attention->key.dtype, attention->value.dtype,
                                  attention->output.dtype, dtype};
    double worst = 0.0;

    for (size_t n = 0; n < sizeof types / sizeof *types; ++n)
        worst = fmax(worst, compare_epsilon(types[n]));
    return worst;
}

static void compare(const struct layer_backward_scene *scene, enum layer_gradient gradient,
                    const struct numbers *expected)
{
    const struct tensor *d = &scene->d[gradient], *old = &scene->old[gradient];
    const double eps = coarsest(scene, d->layout.dtype) + 16.0 * compare_epsilon(CLATTN_F32);
    double errors = 0.0, references = 0.0, sizes = 0.0;
    int64_t n = 0;

    TENSOR_FOR_EACH(d)
    {
        const double before = old->data != NULL ? tensor_get(old, b, h, i, j) : 0.0;
        const double value = expected->value[n] + before, size = expected->size[n] + fabs(before);
        n++;
        if (i >= rows_of_run(scene, gradient))
            continue;
        const double found = tensor_get(d, b, h, i, j);
        if (!(compare_share(d->layout.dtype, found, value, 8.0 * eps * size) <= 1.0))
            fail_msg("%s: %s[%d,%d,%d,%d] is %.9g: expected %.9g, sizes %.3g", clattn_plan_problem(scene->plan),
                     layer_gradient_names[gradient], (int)b, (int)h, (int)i, (int)j, found, value, size);
        errors += (found - value) * (found - value);
        references += value * value;
        sizes += size * size;
    }
    if (!(sqrt(errors) <= eps * (8.0 * sqrt(references) + 0.25 * sqrt(sizes)))) /* a gradient may be 0: of b_k */
        fail_msg("%s: %s: root of the mean squared error is %.3g of the reference's, eps %.3g",
                 clattn_plan_problem(scene->plan), layer_gradient_names[gradient], sqrt(errors / references), eps);
}

void layer_backward_check(const struct layer_backward_scene *scene)
{
    const struct tensor *t = scene->layer.t;
    struct numbers x[LAYER_NUM_OPERANDS], expected[NUM_LAYER_GRADIENTS];
    struct stream streams[3];
    clattn_attention_desc desc = scene->layer.attention;

    for (int n = 0; n < LAYER_NUM_OPERANDS; ++n)
        x[n] = n < LAYER_OUTPUT ? numbers_of(&t[n]) : make_numbers(0, 0, 0);
    for (int g = 0; g < NUM_LAYER_GRADIENTS;
         ++g) { /* of those that are not wanted too, since others are made of them */
        const struct tensor *of = &t[source[g]];
        expected[g] =
            g < D_MASK ? make_numbers(of->extent[0], of->extent[2], of->extent[3]) : make_numbers(1, 1, count_of(of));
    }
    for (int n = 0; n < 3; ++n) {
        streams[n] = make_stream(scene, n);
        fill_stream(&streams[n], x);
    }
    struct oracle_operands operands =
        layer_operands(&scene->layer, streams[0].rounded, streams[1].rounded, streams[2].rounded);
    desc.output.dtype = CLATTN_F32; /* of its gradient */
    operands.desc = &desc;
    struct numbers o = attend(&operands), d_o = make_numbers(o.batch, o.rows, o.columns);
    struct numbers d_output = numbers_of(&scene->d_output);
    project_back(&d_output, &o, &x[LAYER_W_O], 0, scene->args.q_len, &d_o, &expected[D_W_O], &expected[D_B_O]);
    attend_back(scene, &operands, &d_o, streams, expected);
    for (int n = 0; n < 3; ++n) {
        struct stream *s = &streams[n];
        project_back(&s->dy, &x[s->input], &x[s->weight], s->first, s->length, &expected[s->d_input],
                     &expected[s->d_weight], &expected[s->d_bias]);
    }
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        if (scene->d[g].data != NULL)
            compare(scene, (enum layer_gradient)g, &expected[g]);

    for (int n = 0; n < 3; ++n) {
        free_numbers(&streams[n].y);
        free_numbers(&streams[n].dy);
        free(streams[n].rounded);
    }
    for (int n = 0; n < LAYER_NUM_OPERANDS; ++n)
        free_numbers(&x[n]);
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g)
        free_numbers(&expected[g]);
    free_numbers(&o);
    free_numbers(&d_o);
    free_numbers(&d_output);
}
