/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Implements oracle_backward.h: the backward of one row in numbered passes, added to the gradients of all. Each number
 * comes with its magnitude, the same sum over absolute values.
 */
#include "oracle_backward.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* ---- the gradients that are summed up ------------------------------------------------------------------------- */

/* One of them: three arrays of `count` elements, NULL where not wanted. */
struct gradient {
    double *sum;
    double *magnitude;
    double *terms;
    int64_t count;
};

struct all_gradients {
    struct gradient query;
    struct gradient key;
    struct gradient value;
    struct gradient mask;
    struct gradient sinks;
    struct gradient alibi;
    struct gradient relative;
};

/* A number, and the sum of the absolute values of what it was made of. */
struct term {
    double value;
    double magnitude;
};

static bool wanted(const struct gradient *gradient)
{
    return gradient->sum != NULL || gradient->magnitude != NULL || gradient->terms != NULL;
}

static void clear(const struct gradient *gradient)
{
    double *arrays[] = {gradient->sum, gradient->magnitude, gradient->terms};

    for (size_t n = 0; n < sizeof arrays / sizeof *arrays; ++n)
        for (int64_t at = 0; arrays[n] != NULL && at < gradient->count; ++at)
            arrays[n][at] = 0.0;
}

/* gradient[at + d] += term * vector[d] */
static void add(const struct gradient *gradient, int64_t at, struct term term, const float *vector, int64_t dim)
{
    if (!wanted(gradient))
        return;
    assert(at >= 0 && at + dim <= gradient->count);
    for (int64_t d = 0; gradient->sum != NULL && d < dim; ++d)
        gradient->sum[at + d] += term.value * (double)vector[d];
    for (int64_t d = 0; gradient->magnitude != NULL && d < dim; ++d)
        gradient->magnitude[at + d] += term.magnitude * fabs((double)vector[d]);
    for (int64_t d = 0; gradient->terms != NULL && d < dim; ++d)
        gradient->terms[at + d] += 1.0;
}

static int64_t elements(const clattn_attention_desc *desc, enum oracle_tensor tensor)
{
    int64_t extent[4];
    int64_t strides[4];

    return oracle_tensor_shape(desc, tensor, extent, strides) ? extent[0] * extent[1] * extent[2] * extent[3] : 0;
}

static struct all_gradients clear_all(const clattn_attention_desc *desc, const struct oracle_gradients *g)
{
    int64_t slopes = (desc->alibi_batch > 1 ? desc->batch : 1) * desc->q_heads;
    int64_t distances = 2 * desc->relative_extent + 1;
    struct all_gradients all = {
        {g->d_query, g->query_magnitude, g->query_terms, elements(desc, ORACLE_QUERY)},
        {g->d_key, g->key_magnitude, g->key_terms, elements(desc, ORACLE_KEY)},
        {g->d_value, g->value_magnitude, g->value_terms, elements(desc, ORACLE_VALUE)},
        {g->d_mask, g->mask_magnitude, g->mask_terms, elements(desc, ORACLE_MASK)},
        {g->d_sinks, g->sinks_magnitude, g->sinks_terms, desc->q_heads},
        {g->d_alibi_slopes, g->alibi_magnitude, g->alibi_terms, slopes},
        {g->d_relative_bias, g->relative_magnitude, g->relative_terms, desc->q_heads * distances}};

    assert(!wanted(&all.mask) || desc->mask_kind == CLATTN_MASK_ADDITIVE);
    assert(!wanted(&all.sinks) || desc->sinks);
    assert(!wanted(&all.alibi) || desc->alibi);
    assert(!wanted(&all.relative) || desc->relative_extent > 0);
    clear(&all.query);
    clear(&all.key);
    clear(&all.value);
    clear(&all.mask);
    clear(&all.sinks);
    clear(&all.alibi);
    clear(&all.relative);
    return all;
}

/* Element (n0, n1, n2, n3) of a tensor in an array that is dense; an extent of 1 has the same one for all. */
static int64_t dense_at(const clattn_attention_desc *desc, enum oracle_tensor tensor, int64_t n0, int64_t n1,
                        int64_t n2, int64_t n3)
{
    const int64_t index[4] = {n0, n1, n2, n3};
    int64_t extent[4];
    int64_t strides[4];
    int64_t at = 0;

    oracle_tensor_shape(desc, tensor, extent, strides);
    for (int d = 0; d < 4; ++d)
        at = at * extent[d] + (extent[d] > 1 ? index[d] : 0);
    return at;
}

/* ---- one row -------------------------------------------------------------------------------------------------- */

/* What is the same for all rows, and everything about row (b, h, i). Arrays belong to it. */
struct backward {
    const struct oracle_operands *operands;
    const void *d_output;
    const float *d_lse;
    const void *output;
    const struct oracle_dropout *dropout;
    struct all_gradients gradients;

    int64_t b;
    int64_t h;
    int64_t i;
    int64_t first; /* row of query 0 and of key 0 of the batch, where they are packed */
    int64_t kv_first;
    bool sees; /* any key at all */
    struct oracle_row row;
    double *kept;          /* [kv_len] what dropout makes of a weight of 1; 0 where the key is excluded */
    struct term *d_masked; /* [kv_len] the gradient of row.masked; 0 where the key is excluded */
    struct term delta;
    const float *d_out;   /* [value_dim] of the row */
    float *widened_d_out; /* scratch, as large as one row of a tensor, each */
    float *widened_query;
    float *widened;
};

static struct oracle_keys keys_of(const struct backward *w, enum oracle_tensor tensor)
{
    const clattn_attention_desc *desc = w->operands->desc;

    return oracle_keys(w->operands, tensor, w->b, w->h / (desc->q_heads / desc->kv_heads));
}

/* The first element of key j in d_key or d_value. */
static int64_t dense_key_at(const struct backward *w, enum oracle_tensor tensor, int64_t j)
{
    const clattn_attention_desc *desc = w->operands->desc;

    return dense_at(desc, tensor, w->b, w->h / (desc->q_heads / desc->kv_heads), w->kv_first + j, 0);
}

/* 1. kept[j] = 1 / (1 - dropout) where the weight is kept, 0 where it is dropped. */
static void draw(struct backward *w)
{
    const struct oracle_dropout *dropout = w->dropout;

    w->sees = false;
    for (int64_t j = 0; j < w->operands->kv_len; ++j) {
        w->kept[j] = 0.0;
        if (!w->row.kept[j])
            continue;
        w->sees = true;
        if (dropout == NULL)
            w->kept[j] = 1.0;
        else if (dropout->keep(dropout->user, w->b, w->h, w->i, j))
            w->kept[j] = 1.0 / (1.0 - dropout->dropout);
    }
}

/*
 * 2. d_value[j] += kept[j] * weights[j] * d_output, and d_masked[j] = kept[j] * (d_output . value_j), the gradient of
 * the weight so far.
 */
static void through_values(struct backward *w)
{
    const clattn_attention_desc *desc = w->operands->desc;
    int64_t value_dim = oracle_value_dim(desc);
    struct oracle_keys values = keys_of(w, ORACLE_VALUE);

    for (int64_t j = 0; j < w->operands->kv_len; ++j) {
        w->d_masked[j] = (struct term){0.0, 0.0};
        if (!w->row.kept[j])
            continue;
        double weight = w->kept[j] * w->row.weights[j];
        add(&w->gradients.value, dense_key_at(w, ORACLE_VALUE, j), (struct term){weight, weight}, w->d_out, value_dim);
        if (w->kept[j] == 0.0)
            continue;
        const float *value =
            oracle_widen(desc->value.dtype, w->operands->value, oracle_key_at(&values, j), value_dim, w->widened);
        for (int64_t d = 0; d < value_dim; ++d) {
            double product = w->kept[j] * (double)w->d_out[d] * (double)value[d];
            w->d_masked[j].value += product;
            w->d_masked[j].magnitude += fabs(product);
        }
    }
}

/*
 * 3. delta = d_output . output - d_lse. The output is what dropout and the sink have left of it, so that the first part
 * is the sum of weights[j] * d_masked[j] as well: that serves where no output was stored.
 */
static void compute_delta(struct backward *w)
{
    const struct oracle_operands *o = w->operands;
    int64_t value_dim = oracle_value_dim(o->desc);
    double d_lse = w->d_lse != NULL ? (double)w->d_lse[oracle_lse_at(o, w->b, w->h, w->i)] : 0.0;

    w->delta = (struct term){-d_lse, fabs(d_lse)};
    if (w->output != NULL && w->sees) {
        int64_t at = oracle_query_at(o, ORACLE_OUTPUT, w->b, w->h, w->i);
        const float *output = oracle_widen(o->desc->output.dtype, w->output, at, value_dim, w->widened);
        for (int64_t d = 0; d < value_dim; ++d) {
            double product = (double)w->d_out[d] * (double)output[d];
            w->delta.value += product;
            w->delta.magnitude += fabs(product);
        }
    }
    for (int64_t j = 0; w->output == NULL && j < o->kv_len; ++j) {
        w->delta.value += w->row.weights[j] * w->d_masked[j].value;
        w->delta.magnitude += w->row.weights[j] * w->d_masked[j].magnitude;
    }
}

/* 4. d_masked[j] = weights[j] * (d_masked[j] - delta), through the softmax; d_sink -= the sink's weight * delta. */
static void through_softmax(struct backward *w)
{
    const struct oracle_operands *o = w->operands;
    static const float one = 1.0F;

    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!w->row.kept[j])
            continue;
        w->d_masked[j].value = w->row.weights[j] * (w->d_masked[j].value - w->delta.value);
        w->d_masked[j].magnitude = w->row.weights[j] * (w->d_masked[j].magnitude + w->delta.magnitude);
    }
    if (o->desc->sinks) {
        double weight = exp((double)o->sinks[w->h] - w->row.lse);
        struct term term = {-weight * w->delta.value, weight * w->delta.magnitude};
        add(&w->gradients.sinks, w->h, term, &one, 1);
    }
}

/* 5. What was added to the scores: the mask, -slope |p - j| and the relative bias each get their share of d_masked. */
static void through_biases(struct backward *w)
{
    const struct oracle_operands *o = w->operands;
    const clattn_attention_desc *desc = o->desc;
    int64_t reach = desc->relative_extent;
    int64_t slope_at = (desc->alibi_batch > 1 ? w->b : 0) * desc->q_heads + w->h;
    static const float one = 1.0F;

    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!w->row.kept[j])
            continue;
        int64_t ahead = j - oracle_position(o, w->b, w->i);
        int64_t nearest = ahead < -reach ? -reach : ahead > reach ? reach : ahead;
        double distance = fabs((double)ahead);
        struct term of_slope = {-distance * w->d_masked[j].value, distance * w->d_masked[j].magnitude};
        if (desc->mask_kind == CLATTN_MASK_ADDITIVE)
            add(&w->gradients.mask, dense_at(desc, ORACLE_MASK, w->b, w->h, w->i, j), w->d_masked[j], &one, 1);
        if (desc->alibi)
            add(&w->gradients.alibi, slope_at, of_slope, &one, 1);
        if (reach > 0)
            add(&w->gradients.relative, w->h * (2 * reach + 1) + nearest + reach, w->d_masked[j], &one, 1);
    }
}

/*
 * 6. Through the softcap, d_score = d_masked * (1 - tanh^2), which is 1 / cosh^2 without cancellation, and through the
 * product: d_query += scale * d_score * key_j and d_key_j += scale * d_score * query.
 */
static void through_scores(struct backward *w)
{
    const struct oracle_operands *o = w->operands;
    const clattn_attention_desc *desc = o->desc;
    double scale = oracle_scale(desc);
    double softcap = (double)desc->softcap;
    struct oracle_keys keys = keys_of(w, ORACLE_KEY);
    int64_t d_query_at = dense_at(desc, ORACLE_QUERY, w->b, w->h, w->first + w->i, 0);
    const float *query = oracle_widen(desc->query.dtype, o->query, oracle_query_at(o, ORACLE_QUERY, w->b, w->h, w->i),
                                      desc->head_dim, w->widened_query);

    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!w->row.kept[j])
            continue;
        double cosh_of_score = softcap > 0.0 ? cosh(w->row.raw[j] / softcap) : 1.0;
        double slope = scale / cosh_of_score / cosh_of_score;
        struct term d_score = {slope * w->d_masked[j].value, fabs(slope) * w->d_masked[j].magnitude};
        const float *key = oracle_widen(desc->key.dtype, o->key, oracle_key_at(&keys, j), desc->head_dim, w->widened);
        add(&w->gradients.query, d_query_at, d_score, key, desc->head_dim);
        add(&w->gradients.key, dense_key_at(w, ORACLE_KEY, j), d_score, query, desc->head_dim);
    }
}

static void add_row(struct backward *w)
{
    const struct oracle_operands *o = w->operands;

    oracle_row_compute(o, w->b, w->h, w->i, &w->row);
    if (w->row.lse == -HUGE_VAL) /* neither a key nor a sink has any weight */
        return;
    w->d_out = oracle_widen(o->desc->output.dtype, w->d_output, oracle_query_at(o, ORACLE_OUTPUT, w->b, w->h, w->i),
                            oracle_value_dim(o->desc), w->widened_d_out);
    draw(w);
    through_values(w);
    compute_delta(w);
    through_softmax(w);
    through_biases(w);
    through_scores(w);
}

/* ---- all rows ------------------------------------------------------------------------------------------------- */

static bool backward_init(struct backward *w)
{
    const clattn_attention_desc *desc = w->operands->desc;
    size_t keys = (size_t)w->operands->kv_len + 1; /* never an allocation of nothing */
    int64_t value_dim = oracle_value_dim(desc);
    size_t dim = (size_t)(desc->head_dim > value_dim ? desc->head_dim : value_dim);

    bool complete = oracle_row_init(&w->row, w->operands);
    w->kept = calloc(keys, sizeof *w->kept);
    w->d_masked = calloc(keys, sizeof *w->d_masked);
    w->widened_d_out = calloc(dim, sizeof *w->widened_d_out);
    w->widened_query = calloc(dim, sizeof *w->widened_query);
    w->widened = calloc(dim, sizeof *w->widened);
    return complete && w->kept != NULL && w->d_masked != NULL && w->widened_d_out != NULL && w->widened_query != NULL &&
           w->widened != NULL;
}

static void backward_free(struct backward *w)
{
    oracle_row_free(&w->row);
    free(w->kept);
    free(w->d_masked);
    free(w->widened_d_out);
    free(w->widened_query);
    free(w->widened);
}

bool oracle_backward(const struct oracle_operands *operands, const void *d_output, const float *d_lse,
                     const void *output, const struct oracle_dropout *dropout, struct oracle_gradients *gradients)
{
    const clattn_attention_desc *desc = operands->desc;
    struct backward work = {.operands = operands,
                            .d_output = d_output,
                            .d_lse = d_lse,
                            .output = output,
                            .dropout = dropout,
                            .gradients = clear_all(desc, gradients)};

    assert(desc->kv_storage == CLATTN_STORAGE_LINEAR);
    gradients->amplitude = 0.0;
    bool complete = backward_init(&work);
    for (work.b = 0; complete && work.b < desc->batch; ++work.b) {
        struct oracle_sequence sequence = oracle_sequence(operands, work.b);
        work.first = sequence.q_first;
        work.kv_first = sequence.kv_first;
        for (work.h = 0; work.h < desc->q_heads; ++work.h)
            for (work.i = 0; work.i < sequence.q_len; ++work.i) {
                add_row(&work);
                gradients->amplitude = fmax(gradients->amplitude, work.row.largest_amplitude);
            }
    }
    backward_free(&work);
    return complete;
}
