/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle of the backward: by hand, against central differences of the forward's, and identities that it obeys. */
#include "oracle_backward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_near(found, expected, within) assert_true(fabs((found) - (expected)) <= (within))

/* ---- a problem with all its operands -------------------------------------------------------------------------- */

enum { QUERY, KEY, VALUE, MASK, SINKS, ALIBI, RELATIVE, NUM_INPUTS };

static const char *const input_names[] = {"query", "key", "value", "mask", "sinks", "alibi_slopes", "relative_bias"};

struct problem {
    const char *text;
    clattn_attention_desc desc;
    struct oracle_operands operands;
    float *inputs[NUM_INPUTS]; /* what has a gradient, dense; NULL where there is none */
    int64_t counts[NUM_INPUTS];
    unsigned char *kept_by_mask;
    float *d_output;
    int64_t output_count;
    float *d_lse; /* NULL: none */
    int64_t lse_count;
    const struct oracle_dropout *dropout;
};

static int32_t lengths[] = {4, 0};
static int32_t q_cu[] = {1, 4, 6};  /* 3 and 2 queries, row 0 is nobody's */
static int32_t kv_cu[] = {0, 3, 8}; /* 3 and 5 keys */

static uint32_t random_state;

/* Multiples of 1/32 from -1 to 1: what steps of a power of two make of them is exact. */
static float next(void)
{
    random_state = random_state * 1664525U + 1013904223U;
    return (float)((int)(random_state >> 16) % 65 - 32) / 32.0F;
}

static float *filled(int64_t count)
{
    float *array = calloc((size_t)count + 1, sizeof *array);

    assert_non_null(array);
    for (int64_t n = 0; n < count; ++n)
        array[n] = next();
    return array;
}

static int64_t elements(const clattn_attention_desc *desc, enum oracle_tensor tensor)
{
    int64_t extent[4];
    int64_t strides[4];

    return oracle_tensor_shape(desc, tensor, extent, strides) ? extent[0] * extent[1] * extent[2] * extent[3] : 0;
}

static void count_inputs(struct problem *p)
{
    const clattn_attention_desc *desc = &p->desc;

    p->counts[QUERY] = elements(desc, ORACLE_QUERY);
    p->counts[KEY] = elements(desc, ORACLE_KEY);
    p->counts[VALUE] = elements(desc, ORACLE_VALUE);
    p->counts[MASK] = desc->mask_kind == CLATTN_MASK_ADDITIVE ? elements(desc, ORACLE_MASK) : 0;
    p->counts[SINKS] = desc->sinks ? desc->q_heads : 0;
    p->counts[ALIBI] = desc->alibi ? (desc->alibi_batch > 1 ? desc->batch : 1) * desc->q_heads : 0;
    p->counts[RELATIVE] = desc->relative_extent > 0 ? desc->q_heads * (2 * desc->relative_extent + 1) : 0;
}

static void point_operands(struct problem *p)
{
    const clattn_attention_desc *desc = &p->desc;
    const void *mask = desc->mask_kind == CLATTN_MASK_BOOL ? (void *)p->kept_by_mask : (void *)p->inputs[MASK];

    p->operands = (struct oracle_operands){.desc = desc,
                                           .q_len = desc->q_len,
                                           .kv_len = desc->kv_len,
                                           .offset = desc->offset,
                                           .query = p->inputs[QUERY],
                                           .key = p->inputs[KEY],
                                           .value = p->inputs[VALUE],
                                           .mask = mask,
                                           .kv_lengths = lengths,
                                           .q_total = desc->q_total,
                                           .kv_total = desc->kv_total,
                                           .q_cu_lengths = q_cu,
                                           .kv_cu_lengths = kv_cu,
                                           .sinks = p->inputs[SINKS],
                                           .alibi_slopes = p->inputs[ALIBI],
                                           .relative_bias = p->inputs[RELATIVE]};
}

static void make(struct problem *p, const char *text, bool with_d_lse, const struct oracle_dropout *dropout)
{
    clattn_error error;

    memset(p, 0, sizeof *p);
    p->text = text;
    p->dropout = dropout;
    clattn_attention_desc_init(&p->desc);
    if (clattn_attention_desc_parse(text, &p->desc, &error) != CLATTN_SUCCESS)
        fail_msg("%s: %s", text, error.message);
    random_state = 1;
    count_inputs(p);
    for (int n = 0; n < NUM_INPUTS; ++n)
        p->inputs[n] = p->counts[n] > 0 ? filled(p->counts[n]) : NULL;
    for (int64_t n = 4; n < p->counts[MASK]; n += 7)
        p->inputs[MASK][n] = -INFINITY;
    if (p->counts[SINKS] > 1)
        p->inputs[SINKS][1] = -INFINITY; /* no sink */
    int64_t mask_count = elements(&p->desc, ORACLE_MASK);
    p->kept_by_mask = calloc((size_t)mask_count + 1, 1);
    assert_non_null(p->kept_by_mask);
    for (int64_t n = 0; n < mask_count; ++n)
        p->kept_by_mask[n] = next() > -0.5F;
    p->output_count = elements(&p->desc, ORACLE_OUTPUT);
    p->d_output = filled(p->output_count);
    p->lse_count = p->output_count / oracle_value_dim(&p->desc);
    p->d_lse = with_d_lse ? filled(p->lse_count) : NULL;
    point_operands(p);
}

static void discard(struct problem *p)
{
    for (int n = 0; n < NUM_INPUTS; ++n)
        free(p->inputs[n]);
    free(p->kept_by_mask);
    free(p->d_output);
    free(p->d_lse);
}

static bool keep_most(void *user, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return (uint32_t)(b * 1009 + h * 499 + i * 83 + j * 17 + *(int *)user) * 2654435761U >> 30 != 0;
}

static int salt = 5;
static const struct oracle_dropout a_quarter = {.dropout = 0.25, .keep = keep_most, .user = &salt};

/* ---- its gradients -------------------------------------------------------------------------------------------- */

struct found {
    double *sums[NUM_INPUTS]; /* NULL where the problem has no such input */
    double *magnitudes[NUM_INPUTS];
    double *terms[NUM_INPUTS];
    double amplitude;
};

static double *room(int64_t count)
{
    double *array = count > 0 ? calloc((size_t)count, sizeof *array) : NULL;

    assert_true(array != NULL || count == 0);
    for (int64_t n = 0; n < count; ++n)
        array[n] = (double)NAN; /* which the oracle has to write over */
    return array;
}

static void backward(const struct problem *p, const float *output, struct found *found)
{
    for (int n = 0; n < NUM_INPUTS; ++n) {
        found->sums[n] = room(p->counts[n]);
        found->magnitudes[n] = room(p->counts[n]);
        found->terms[n] = room(p->counts[n]);
    }
    struct oracle_gradients g = {.d_query = found->sums[QUERY],
                                 .d_key = found->sums[KEY],
                                 .d_value = found->sums[VALUE],
                                 .d_mask = found->sums[MASK],
                                 .d_sinks = found->sums[SINKS],
                                 .d_alibi_slopes = found->sums[ALIBI],
                                 .d_relative_bias = found->sums[RELATIVE],
                                 .query_magnitude = found->magnitudes[QUERY],
                                 .key_magnitude = found->magnitudes[KEY],
                                 .value_magnitude = found->magnitudes[VALUE],
                                 .mask_magnitude = found->magnitudes[MASK],
                                 .sinks_magnitude = found->magnitudes[SINKS],
                                 .alibi_magnitude = found->magnitudes[ALIBI],
                                 .relative_magnitude = found->magnitudes[RELATIVE],
                                 .query_terms = found->terms[QUERY],
                                 .key_terms = found->terms[KEY],
                                 .value_terms = found->terms[VALUE],
                                 .mask_terms = found->terms[MASK],
                                 .sinks_terms = found->terms[SINKS],
                                 .alibi_terms = found->terms[ALIBI],
                                 .relative_terms = found->terms[RELATIVE]};
    assert_true(oracle_backward(&p->operands, p->d_output, p->d_lse, output, p->dropout, &g));
    found->amplitude = g.amplitude;
}

static void discard_found(struct found *found)
{
    for (int n = 0; n < NUM_INPUTS; ++n) {
        free(found->sums[n]);
        free(found->magnitudes[n]);
        free(found->terms[n]);
    }
}

static void assert_same(const struct problem *p, const struct found *a, const struct found *b)
{
    for (int n = 0; n < NUM_INPUTS; ++n)
        for (int64_t at = 0; at < p->counts[n]; ++at) {
            bool same = a->sums[n][at] == b->sums[n][at] && a->magnitudes[n][at] == b->magnitudes[n][at] &&
                        a->terms[n][at] == b->terms[n][at];
            if (!same)
                fail_msg("%s: %s %d: %.17g and %.17g", p->text, input_names[n], (int)at, a->sums[n][at],
                         b->sums[n][at]);
        }
}

/* ---- the loss that they are gradients of ---------------------------------------------------------------------- */

/* Output element d of the row that `row` holds, after dropout. */
static double output_after_dropout(const struct problem *p, const struct oracle_row *row, int64_t b, int64_t h,
                                   int64_t i, int64_t d)
{
    const clattn_attention_desc *desc = &p->desc;
    struct oracle_keys values = oracle_keys(&p->operands, ORACLE_VALUE, b, h / (desc->q_heads / desc->kv_heads));
    double sum = 0.0;

    for (int64_t j = 0; j < p->operands.kv_len; ++j) {
        if (!row->kept[j] || (p->dropout != NULL && !p->dropout->keep(p->dropout->user, b, h, i, j)))
            continue;
        double factor = p->dropout != NULL ? 1.0 / (1.0 - p->dropout->dropout) : 1.0;
        sum +=
            factor * row->weights[j] * oracle_load(desc->value.dtype, p->operands.value, oracle_key_at(&values, j) + d);
    }
    return sum;
}

static double loss_of(const struct problem *p, struct oracle_row *row)
{
    int64_t value_dim = oracle_value_dim(&p->desc);
    double loss = 0.0;

    for (int64_t b = 0; b < p->desc.batch; ++b)
        for (int64_t h = 0; h < p->desc.q_heads; ++h)
            for (int64_t i = 0; i < oracle_sequence(&p->operands, b).q_len; ++i) {
                int64_t at = oracle_query_at(&p->operands, ORACLE_OUTPUT, b, h, i);
                oracle_row_compute(&p->operands, b, h, i, row);
                for (int64_t d = 0; d < value_dim; ++d)
                    loss += (double)p->d_output[at + d] * output_after_dropout(p, row, b, h, i, d);
                if (p->d_lse != NULL && row->lse != -HUGE_VAL)
                    loss += (double)p->d_lse[oracle_lse_at(&p->operands, b, h, i)] * row->lse;
            }
    return loss;
}

static double difference(const struct problem *p, struct oracle_row *row, float *element, float step)
{
    float value = *element;

    *element = value + step;
    double above = loss_of(p, row);
    *element = value - step;
    double below = loss_of(p, row);
    *element = value;
    return (above - below) / (2.0 * (double)step);
}

/* Central differences with two steps, of whose errors the one that goes with the step's square cancels. */
static double derivative(const struct problem *p, struct oracle_row *row, float *element)
{
    if (isinf(*element))
        return 0.0;
    return (4.0 * difference(p, row, element, 0x1p-8F) - difference(p, row, element, 0x1p-7F)) / 3.0;
}

/* Pairs that see each other, and rows that have an lse. */
static void count_pairs(const struct problem *p, struct oracle_row *row, double *pairs, double *rows)
{
    *pairs = *rows = 0.0;
    for (int64_t b = 0; b < p->desc.batch; ++b)
        for (int64_t h = 0; h < p->desc.q_heads; ++h)
            for (int64_t i = 0; i < oracle_sequence(&p->operands, b).q_len; ++i) {
                oracle_row_compute(&p->operands, b, h, i, row);
                *rows += row->lse != -HUGE_VAL;
                for (int64_t j = 0; j < p->operands.kv_len; ++j)
                    *pairs += oracle_visible(&p->operands, b, h, i, j);
            }
}

static void check_terms(const struct problem *p, const struct found *found, struct oracle_row *row)
{
    const int64_t dims[NUM_INPUTS] = {p->desc.head_dim, p->desc.head_dim, oracle_value_dim(&p->desc), 1, 1, 1, 1};
    double pairs;
    double rows;

    count_pairs(p, row, &pairs, &rows);
    for (int n = 0; n < NUM_INPUTS; ++n) {
        double sum = 0.0;
        for (int64_t at = 0; at < p->counts[n]; ++at)
            sum += found->terms[n][at];
        if (p->counts[n] > 0 && sum != (n == SINKS ? rows : pairs * (double)dims[n]))
            fail_msg("%s: %s has %g terms, of %g pairs and %g rows", p->text, input_names[n], sum, pairs, rows);
    }
}

static void check_differences(struct problem *p)
{
    struct oracle_row row;
    struct found found;

    assert_true(oracle_row_init(&row, &p->operands));
    backward(p, NULL, &found);
    for (int n = 0; n < NUM_INPUTS; ++n)
        for (int64_t at = 0; at < p->counts[n]; ++at) {
            double expected = derivative(p, &row, &p->inputs[n][at]);
            double sum = found.sums[n][at];
            double magnitude = found.magnitudes[n][at];
            if (!(fabs(sum - expected) <= 1e-8 * (1.0 + magnitude)) || !(fabs(sum) <= magnitude * (1.0 + 1e-12)))
                fail_msg("%s%s%s: d_%s %d is %.12g of magnitude %.12g, by differences %.12g", p->text,
                         p->d_lse != NULL ? " with d_lse" : "", p->dropout != NULL ? " with dropout" : "",
                         input_names[n], (int)at, sum, magnitude, expected);
        }
    check_terms(p, &found, &row);
    discard_found(&found);
    oracle_row_free(&row);
}

static const char *const problems[] = {
    "b1h1q3k4d3:f32",
    "b2h4g2q3k5d4v3:f32",
    "b2h2g1q3k5d2v4:f32:scale=0.5:causal",
    "b1h2q4k3d2:f32:causal", /* its first query sees nothing */
    "b1h2q3k5d2:f32:causal@top-left",
    "b1h2q4k5d2:f32:causal@-2:shift=1",
    "b1h2q4k5d2:f32:window=1,1@bottom-right",
    "b1h2q4k5d2:f32:window=0,-1@top-left:shift=2",
    "b1h2q4k5d2:f32:window=1,0@1:causal@1:shift=-1",
    "b2h2q3k5d2:f32:mask=bool",
    "b2h2q3k5d2:f32:mask=bool@2x1x1x5:causal",
    "b2h4g2q3k5d2:f32:mask=add",
    "b2h4g2q3k5d2:f32:mask=add@1x1x3x5",
    "b2h4g2q3k5d2:f32:mask=add@2x1x1x5",
    "b2h4g2q3k5d2:f32:mask=add@1x4x1x5",
    "b2h4g2q3k5d2:f32:mask=add@2x4x3x1",
    "b2h4g2q3k5d2:f32:mask=add@1x1x1x1",
    "b2h2q3k5d2:f32:mask=add@2x2x3x3:mask_pad:causal",
    "b2h2g1q3k5d2:f32:lengths:causal",
    "b2h2g1q3k5d2:f32:lengths:sinks:mask=add@2x1x3x5",
    "b2h2g1q3k5d2v3:f32:ragged=qkv@7,9:causal",
    "b2h2g1q3k5d2v3:f32:ragged=q@6:mask=add:sinks",
    "b2h2g1q3k4d2v3:f32:ragged=kv@9:causal@top-left", /* cuts a sequence of 5 keys */
    "b2h2q3k5d4:f32:softcap=0.75",
    "b2h2q3k5d2:f32:sinks",
    "b2h2q4k5d2:f32:sinks:causal@-2:softcap=2",
    "b2h2g1q3k5d2:f32:alibi@bottom-right",
    "b2h2q3k5d2:f32:alibi=batch@2:causal@2",
    "b2h2q3k5d2:f32:relative=2@top-left",
    "b2h2q3k5d2:f32:relative=1@bottom-right:lengths",
    "b2h2q3k5d2:f32:scale=0:mask=add:alibi@top-left",
    "b2h4g2q3k5d3v2:f32:causal@1:window=3,1@1:mask=add@1x4x3x5:lengths:softcap=1.5:sinks:alibi=batch@1:relative=1@1",
    ("b2h4g2q3k5d3v2:f32:ragged=qkv@6,8:causal:mask=add@2x1x3x1:softcap=1.5:sinks:alibi@bottom-right:"
     "relative=2@bottom-right"),
    "b2h2q3k0d2:f32:sinks",
};

static void gradients_are_those_of_the_forward(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof problems / sizeof *problems; ++n)
        for (int with = 0; with < 4; ++with) {
            struct problem p;
            make(&p, problems[n], with % 2 == 1, with / 2 == 1 ? &a_quarter : NULL);
            check_differences(&p);
            discard(&p);
        }
}

/* ---- by hand -------------------------------------------------------------------------------------------------- */

/*
 * A query of 2 over two keys of 1: weights of 1/2. Values 2 and -4, so that the output is -1, of magnitude 3; with
 * d_output 3 and d_lse 1/2, delta is -3.5 and the gradients of the weights are 6 and -12.
 */
static void two_keys_by_hand(void **state)
{
    const float two = 2.0F;
    const float keys[] = {1.0F, 1.0F};
    const float values[] = {2.0F, -4.0F};
    const float d_output = 3.0F;
    const float d_lse = 0.5F;
    double d_query;
    double d_key[2];
    double d_value[2];
    double query_magnitude;
    double key_magnitude[2];
    double value_magnitude[2];
    double query_terms;
    clattn_attention_desc desc;
    struct oracle_gradients g = {.d_query = &d_query,
                                 .d_key = d_key,
                                 .d_value = d_value,
                                 .query_magnitude = &query_magnitude,
                                 .key_magnitude = key_magnitude,
                                 .value_magnitude = value_magnitude,
                                 .query_terms = &query_terms};

    (void)state;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = desc.q_len = desc.head_dim = 1;
    desc.kv_len = 2;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 1, .kv_len = 2, .query = &two, .key = keys, .value = values};
    assert_true(oracle_backward(&operands, &d_output, &d_lse, NULL, NULL, &g));
    assert_near(d_value[0], 1.5, 1e-15);
    assert_near(value_magnitude[1], 1.5, 1e-15);
    assert_near(d_key[0], 2.0 * 0.5 * (6.0 + 3.5), 1e-14);
    assert_near(d_key[1], 2.0 * 0.5 * (-12.0 + 3.5), 1e-14);
    assert_near(key_magnitude[0], 2.0 * 0.5 * (6.0 + 9.5), 1e-14);
    assert_near(key_magnitude[1], 2.0 * 0.5 * (12.0 + 9.5), 1e-14);
    assert_near(d_query, 0.5, 1e-14);
    assert_near(query_magnitude, 18.5, 1e-14);
    assert_true(query_terms == 2.0);
    assert_near(g.amplitude, 2.0, 1e-15);

    const float stored = -2.0F; /* as if it had been rounded to that: delta is -6.5 */
    assert_true(oracle_backward(&operands, &d_output, &d_lse, &stored, NULL, &g));
    assert_near(d_key[0], 2.0 * 0.5 * (6.0 + 6.5), 1e-14);
    assert_near(d_key[1], 2.0 * 0.5 * (-12.0 + 6.5), 1e-14);
    assert_near(key_magnitude[0], 2.0 * 0.5 * (6.0 + 6.5), 1e-14);
    assert_near(d_query, 3.5, 1e-14);
}

/* ---- identities ----------------------------------------------------------------------------------------------- */

/* What is added to all scores of a row changes its lse alone. */
static void a_mask_by_row_moves_lse_alone(void **state)
{
    (void)state;
    for (int with_d_lse = 0; with_d_lse < 2; ++with_d_lse) {
        struct problem p;
        struct found found;
        make(&p, "b2h4g2q3k5d4:f32:causal@top-left:softcap=2:mask=add@2x4x3x1", with_d_lse == 1, &a_quarter);
        backward(&p, NULL, &found);
        for (int64_t n = 0; n < p.counts[MASK]; ++n) {
            bool excluded = isinf(p.inputs[MASK][n]);
            double expected = with_d_lse == 1 && !excluded ? (double)p.d_lse[n] : 0.0;
            assert_near(found.sums[MASK][n], expected, 1e-14 * found.magnitudes[MASK][n]);
            assert_true((found.terms[MASK][n] > 0.0) == !excluded);
        }
        discard_found(&found);
        discard(&p);
    }
}

static void mark_seen(const struct problem *p, enum oracle_tensor tensor, int64_t dim, unsigned char *seen)
{
    const clattn_attention_desc *desc = &p->desc;

    for (int64_t b = 0; b < desc->batch; ++b)
        for (int64_t h = 0; h < desc->q_heads; ++h) {
            struct oracle_keys keys = oracle_keys(&p->operands, tensor, b, h / (desc->q_heads / desc->kv_heads));
            for (int64_t i = 0; i < oracle_sequence(&p->operands, b).q_len; ++i)
                for (int64_t j = 0; j < p->operands.kv_len; ++j)
                    if (oracle_visible(&p->operands, b, h, i, j))
                        memset(seen + oracle_key_at(&keys, j), 1, (size_t)dim);
        }
}

static int64_t poison(float *array, int64_t count, const unsigned char *seen)
{
    int64_t poisoned = 0;

    for (int64_t n = 0; n < count; ++n)
        if (!seen[n]) {
            array[n] = NAN;
            ++poisoned;
        }
    return poisoned;
}

static int64_t poison_keys(struct problem *p, int input, enum oracle_tensor tensor, int64_t dim)
{
    unsigned char *seen = calloc((size_t)p->counts[input] + 1, 1);

    assert_non_null(seen);
    mark_seen(p, tensor, dim, seen);
    int64_t poisoned = poison(p->inputs[input], p->counts[input], seen);
    free(seen);
    return poisoned;
}

static int64_t poison_rows(struct problem *p, float *output)
{
    int64_t dim = oracle_value_dim(&p->desc);
    unsigned char *seen = calloc((size_t)p->output_count + 1, 1);

    assert_non_null(seen);
    for (int64_t b = 0; b < p->desc.batch; ++b)
        for (int64_t h = 0; h < p->desc.q_heads; ++h)
            for (int64_t i = 0; i < oracle_sequence(&p->operands, b).q_len; ++i)
                for (int64_t j = 0; j < p->operands.kv_len; ++j)
                    if (oracle_visible(&p->operands, b, h, i, j))
                        memset(seen + oracle_query_at(&p->operands, ORACLE_OUTPUT, b, h, i), 1, (size_t)dim);
    int64_t poisoned = poison(p->d_output, p->output_count, seen) + poison(output, p->output_count, seen);
    free(seen);
    return poisoned;
}

static void what_nobody_sees_may_be_nan(void **state)
{
    const char *const texts[] = {
        "b2h2g1q3k5d2v3:f32:lengths:causal@-1",
        "b2h2g1q3k5d2v3:f32:lengths:sinks:causal@-1",
        "b2h2g1q3k5d2v3:f32:ragged=qkv@7,10:causal@-1:mask=add:sinks",
    };

    (void)state;
    for (size_t n = 0; n < sizeof texts / sizeof *texts; ++n) {
        struct problem p;
        struct found clean;
        struct found found;
        make(&p, texts[n], true, n == 1 ? &a_quarter : NULL);
        float *output = filled(p.output_count);
        backward(&p, output, &clean);
        assert_true(poison_keys(&p, KEY, ORACLE_KEY, p.desc.head_dim) > 0);
        assert_true(poison_keys(&p, VALUE, ORACLE_VALUE, oracle_value_dim(&p.desc)) > 0);
        assert_true(poison_rows(&p, output) > 0);
        backward(&p, output, &found);
        assert_same(&p, &clean, &found);
        discard_found(&clean);
        discard_found(&found);
        free(output);
        discard(&p);
    }
}

/* A copy of a dense array in another type and with other strides: [.., rows, heads, dim], one element of room. */
static void *laid_out(const clattn_attention_desc *desc, enum oracle_tensor tensor, clattn_layout *layout,
                      clattn_dtype dtype, bool one_head, const float *dense)
{
    int64_t extent[4];
    int64_t strides[4];

    oracle_tensor_shape(desc, tensor, extent, strides);
    int64_t row = extent[1] * extent[3] + 1;
    const int64_t moved[4] = {extent[2] * row, one_head ? 0 : extent[3], row, 1};
    void *array = calloc((size_t)(extent[0] * moved[0]) + 1, sizeof(float));
    assert_non_null(array);
    for (int64_t n = 0; n < extent[0] * extent[1] * extent[2] * extent[3]; ++n) {
        int64_t i = n / extent[3] % extent[2];
        int64_t h = n / extent[3] / extent[2] % extent[1];
        int64_t b = n / extent[3] / extent[2] / extent[1];
        oracle_store(dtype, array, b * moved[0] + h * moved[1] + i * moved[2] + n % extent[3], (double)dense[n]);
    }
    layout->dtype = dtype;
    memcpy(layout->strides, moved, sizeof moved);
    return array;
}

/* Types and strides are where the operands lie: gradients are the same, one for each element of a broadcast head. */
static void layouts_change_nothing(void **state)
{
    struct problem p;
    struct found dense;
    struct found found;

    (void)state;
    make(&p, "b2h4g2q3k5d4v3:f32:causal:sinks", true, NULL);
    int64_t head = p.desc.kv_len * p.desc.head_dim;
    for (int64_t b = 0; b < p.desc.batch; ++b) /* both heads the same, to be laid out as one */
        memcpy(p.inputs[KEY] + (2 * b + 1) * head, p.inputs[KEY] + 2 * b * head, (size_t)head * sizeof(float));
    float *output = filled(p.output_count);
    backward(&p, output, &dense);

    struct problem moved = p;
    moved.operands.desc = &moved.desc;
    void *query = laid_out(&p.desc, ORACLE_QUERY, &moved.desc.query, CLATTN_F16, false, p.inputs[QUERY]);
    void *key = laid_out(&p.desc, ORACLE_KEY, &moved.desc.key, CLATTN_BF16, true, p.inputs[KEY]);
    void *value = laid_out(&p.desc, ORACLE_VALUE, &moved.desc.value, CLATTN_F32, false, p.inputs[VALUE]);
    void *d_output = laid_out(&p.desc, ORACLE_OUTPUT, &moved.desc.output, CLATTN_F16, false, p.d_output);
    void *moved_output = laid_out(&p.desc, ORACLE_OUTPUT, &moved.desc.output, CLATTN_F16, false, output);
    moved.operands.query = query;
    moved.operands.key = key;
    moved.operands.value = value;
    moved.d_output = d_output;
    backward(&moved, moved_output, &found);
    assert_same(&p, &dense, &found);

    discard_found(&dense);
    discard_found(&found);
    free(query);
    free(key);
    free(value);
    free(d_output);
    free(moved_output);
    free(output);
    discard(&p);
}

/* A run with fewer queries and keys than the descriptor has: the rest of the arrays is 0, the part is where it was. */
static void shorter_runs_leave_zeros(void **state)
{
    struct problem p;
    struct found found;

    (void)state;
    make(&p, "b2h2q3k5d4:f32", true, NULL);
    p.operands.q_len = 2;
    p.operands.kv_len = 3;
    backward(&p, NULL, &found);
    for (int64_t n = 0; n < p.counts[QUERY]; ++n)
        assert_true((found.magnitudes[QUERY][n] > 0.0) == (n / 4 % 3 < 2));
    for (int64_t n = 0; n < p.counts[KEY]; ++n)
        assert_true((found.terms[KEY][n] == 2.0) == (n / 4 % 5 < 3) && found.terms[VALUE][n] == found.terms[KEY][n]);
    discard_found(&found);
    check_differences(&p);
    discard(&p);
}

/* What is asked for does not depend on what else is. */
static void one_gradient_alone_is_the_same(void **state)
{
    struct problem p;
    struct found found;

    (void)state;
    make(&p, "b2h4g2q3k5d4v3:f32:causal:sinks:mask=add", true, &a_quarter);
    backward(&p, NULL, &found);
    double *d_key = room(p.counts[KEY]);
    struct oracle_gradients g = {.d_key = d_key};
    assert_true(oracle_backward(&p.operands, p.d_output, p.d_lse, NULL, p.dropout, &g));
    assert_memory_equal(d_key, found.sums[KEY], (size_t)p.counts[KEY] * sizeof *d_key);
    assert_true(g.amplitude == found.amplitude && g.amplitude > 0.0);
    free(d_key);
    discard_found(&found);
    discard(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_keys_by_hand),
        cmocka_unit_test(gradients_are_those_of_the_forward),
        cmocka_unit_test(a_mask_by_row_moves_lse_alone),
        cmocka_unit_test(what_nobody_sees_may_be_nan),
        cmocka_unit_test(layouts_change_nothing),
        cmocka_unit_test(shorter_runs_leave_zeros),
        cmocka_unit_test(one_gradient_alone_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
