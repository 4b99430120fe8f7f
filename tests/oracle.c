/* SPDX-License-Identifier: Apache-2.0 */
/* Implements oracle.h: attention for one row in numbered passes. oracle_types.c and oracle_places.c have the rest. */
#include "oracle.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- what a row sees ------------------------------------------------------------------------------------------ */

/* What is the same for all keys of one row. */
struct sight {
    struct oracle_keys keys;
    int64_t position;
    int64_t first; /* keys before it and from `end` on are excluded by lengths, band or the end of the mask */
    int64_t end;
    int64_t mask_index; /* element of key 0 */
    int64_t mask_stride;
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct sight look(const struct oracle_operands *o, int64_t b, int64_t h, int64_t i)
{
    const clattn_attention_desc *desc = o->desc;
    struct oracle_sequence sequence = oracle_sequence(o, b);
    struct sight sight = {.keys = oracle_keys(o, ORACLE_KEY, b, 0),
                          .position = oracle_position(o, b, i),
                          .first = 0,
                          .end = sequence.kv_len};

    const int64_t middle = sight.position + desc->window_shift; /* of what causality and window keep */
    if (desc->causal)
        sight.end = smaller(sight.end, middle + 1);
    if (desc->window && desc->window_left >= 0)
        sight.first = larger(sight.first, middle - desc->window_left);
    if (desc->window && desc->window_right >= 0)
        sight.end = smaller(sight.end, middle + desc->window_right + 1);
    if (desc->mask_kind != CLATTN_MASK_NONE) {
        int64_t extent[4];
        int64_t strides[4];
        oracle_tensor_shape(desc, ORACLE_MASK, extent, strides);
        sight.mask_index = (extent[0] > 1 ? b : 0) * strides[0] + (extent[1] > 1 ? h : 0) * strides[1] +
                           (extent[2] > 1 ? i : 0) * strides[2];
        sight.mask_stride = extent[3] > 1 ? strides[3] : 0;
        if (extent[3] > 1)
            sight.end = smaller(sight.end, extent[3]);
    }
    return sight;
}

/* The additive mask at key j of the row, 0 where there is none. */
static double mask_at(const struct oracle_operands *o, const struct sight *sight, int64_t j)
{
    if (o->desc->mask_kind != CLATTN_MASK_ADDITIVE)
        return 0.0;
    return oracle_load(o->desc->mask.dtype, o->mask, sight->mask_index + j * sight->mask_stride);
}

static bool sees(const struct oracle_operands *o, const struct sight *sight, int64_t j)
{
    if (j < sight->first || j >= sight->end || oracle_key_at(&sight->keys, j) < 0)
        return false;
    if (o->desc->mask_kind == CLATTN_MASK_BOOL)
        return ((const unsigned char *)o->mask)[sight->mask_index + j * sight->mask_stride] != 0;
    return mask_at(o, sight, j) != -HUGE_VAL;
}

bool oracle_visible(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    struct sight sight = look(operands, b, h, i);

    return sees(operands, &sight, j);
}

/* ---- one row -------------------------------------------------------------------------------------------------- */

/* In eight interleaved parts that a compiler can hold in vectors. */
void oracle_dot(const float *query, const float *key, int64_t dim, double *sum, double *amplitude)
{
    double sums[8] = {0};
    double amplitudes[8] = {0};
    int64_t d = 0;

    for (; d + 8 <= dim; d += 8)
        for (int lane = 0; lane < 8; ++lane) {
            double product = (double)query[d + lane] * (double)key[d + lane];
            sums[lane] += product;
            amplitudes[lane] += fabs(product);
        }
    for (int lane = 0; d < dim; ++d, ++lane) {
        double product = (double)query[d] * (double)key[d];
        sums[lane] += product;
        amplitudes[lane] += fabs(product);
    }
    *sum = *amplitude = 0.0;
    for (int lane = 0; lane < 8; ++lane) {
        *sum += sums[lane];
        *amplitude += amplitudes[lane];
    }
}

/* 1. raw[j] = scale * (query . key_j), and its amplitude. Nothing is excluded yet. */
static void compute_raw(const struct oracle_operands *o, int64_t b, int64_t h, int64_t i, struct oracle_row *row)
{
    const clattn_attention_desc *desc = o->desc;
    int64_t g = h / (desc->q_heads / desc->kv_heads);
    struct oracle_keys keys = oracle_keys(o, ORACLE_KEY, b, g);
    double scale = oracle_scale(desc);
    float *widened_key = row->widened + desc->head_dim;
    const float *query = oracle_widen(desc->query.dtype, o->query, oracle_query_at(o, ORACLE_QUERY, b, h, i),
                                      desc->head_dim, row->widened);

    for (int64_t j = 0; j < o->kv_len; ++j) {
        int64_t at = oracle_key_at(&keys, j);
        row->raw[j] = row->raw_amplitude[j] = 0.0;
        if (at < 0)
            continue;
        const float *key = oracle_widen(desc->key.dtype, o->key, at, desc->head_dim, widened_key);
        oracle_dot(query, key, desc->head_dim, &row->raw[j], &row->raw_amplitude[j]);
        row->raw[j] *= scale;
        row->raw_amplitude[j] *= fabs(scale);
    }
}

/* 2. softcap[j] = c tanh(raw[j] / c), or raw[j] where there is none. */
static void compute_softcap(const struct oracle_operands *o, struct oracle_row *row)
{
    double softcap = (double)o->desc->softcap;

    for (int64_t j = 0; j < o->kv_len; ++j)
        row->softcap[j] = softcap > 0.0 ? softcap * tanh(row->raw[j] / softcap) : row->raw[j];
}

/*
 * 3. masked[j] = softcap[j] + the additive mask - slope |p - j| + the relative bias, and -inf where the row does not
 * see the key, whatever softcap[j] is.
 */
static void compute_masked(const struct oracle_operands *o, int64_t b, int64_t h, int64_t i, struct oracle_row *row)
{
    const clattn_attention_desc *desc = o->desc;
    int64_t reach = desc->relative_extent;
    struct sight sight = look(o, b, h, i);
    double slope = desc->alibi ? (double)o->alibi_slopes[(desc->alibi_batch > 1 ? b : 0) * desc->q_heads + h] : 0.0;

    for (int64_t j = 0; j < o->kv_len; ++j) {
        int64_t ahead = j - sight.position;
        row->kept[j] = sees(o, &sight, j);
        row->masked[j] = -HUGE_VAL;
        row->amplitude[j] = 0.0;
        if (!row->kept[j])
            continue;
        double mask = mask_at(o, &sight, j);
        double alibi = -slope * fabs((double)ahead);
        double relative = 0.0;
        if (reach > 0)
            relative = (double)o->relative_bias[h * (2 * reach + 1) + larger(-reach, smaller(ahead, reach)) + reach];
        row->masked[j] = row->softcap[j] + mask + alibi + relative;
        row->amplitude[j] =
            row->raw_amplitude[j] + (mask == (double)-FLT_MAX ? 0.0 : fabs(mask)) + fabs(alibi) + fabs(relative);
    }
}

/*
 * 4. weights[j] = e^(masked[j] - max) / sum, lse = max + ln(sum), the sink being in max and sum as a key is, and -inf
 * where there is none. A row that sees nothing, or nothing but scores of -inf, has weights of 0 and an lse of -inf.
 * NaN in a score that is seen makes every weight that is seen NaN; so does +inf, by inf - inf.
 */
static void compute_weights(const struct oracle_operands *o, int64_t h, struct oracle_row *row)
{
    double sink = o->desc->sinks ? (double)o->sinks[h] : -HUGE_VAL;
    double largest = sink;
    bool nan = isnan(sink);

    for (int64_t j = 0; j < o->kv_len; ++j) {
        nan = nan || isnan(row->masked[j]);
        largest = row->masked[j] > largest ? row->masked[j] : largest;
    }
    bool empty = !nan && largest == -HUGE_VAL;
    double sum = empty ? 0.0 : exp(sink - largest);
    double of_keys = 0.0;
    for (int64_t j = 0; j < o->kv_len; ++j) {
        row->weights[j] = row->kept[j] && !empty ? (nan ? (double)NAN : exp(row->masked[j] - largest)) : 0.0;
        of_keys += row->weights[j];
    }
    bool sink_matters = sum > 0x1p-30 * (sum + of_keys);
    sum += of_keys;
    row->lse = empty ? -HUGE_VAL : largest + log(sum);
    row->largest_amplitude = sink_matters ? fabs(sink) : 0.0;
    for (int64_t j = 0; j < o->kv_len && !empty; ++j) {
        if (row->weights[j] > 0x1p-30 * of_keys && row->amplitude[j] > row->largest_amplitude)
            row->largest_amplitude = row->amplitude[j];
        row->weights[j] = row->kept[j] ? row->weights[j] / sum : 0.0;
    }
}

/* Philox 4x32-10, word `n` of four. */
static uint32_t philox_word(const uint32_t counter[4], uint64_t key, int n)
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t key_low = (uint32_t)key, key_high = (uint32_t)(key >> 32);

    for (int round = 0; round < 10; ++round) {
        uint64_t ax = (uint64_t)a * 3528531795U;
        uint64_t cx = (uint64_t)c * 3449720151U;
        a = (uint32_t)(cx >> 32) ^ b ^ key_low;
        b = (uint32_t)cx;
        c = (uint32_t)(ax >> 32) ^ d ^ key_high;
        d = (uint32_t)ax;
        key_low += 2654435769U;
        key_high += 3144134277U;
    }
    return n == 0 ? a : n == 1 ? b : n == 2 ? c : d;
}

bool oracle_dropout_keeps(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const clattn_attention_desc *desc = operands->desc;
    uint64_t row = (((uint64_t)operands->dropout_batch + (uint64_t)b) * (uint64_t)desc->q_heads + (uint64_t)h) *
                       (uint64_t)desc->q_len +
                   (uint64_t)i;
    uint64_t element = row * (uint64_t)desc->kv_len + (uint64_t)j;
    uint64_t block = element / 4 * 4;
    const uint32_t counter[4] = {(uint32_t)operands->dropout_offset, (uint32_t)(operands->dropout_offset >> 32),
                                 (uint32_t)block, (uint32_t)(block >> 32)};
    double least = floor((double)desc->dropout * 4294967296.0 + 0.5);

    return (double)philox_word(counter, operands->dropout_seed, (int)(element % 4)) >= least;
}

/* 5. dropped[j] = weights[j] / (1 - dropout) where it is kept, else 0. */
static void compute_dropout(const struct oracle_operands *o, int64_t b, int64_t h, int64_t i, struct oracle_row *row)
{
    double dropout = (double)o->desc->dropout;

    for (int64_t j = 0; j < o->kv_len; ++j) {
        bool dropped = dropout > 0.0 && !oracle_dropout_keeps(o, b, h, i, j);
        row->dropped[j] = dropped ? 0.0 : row->weights[j] / (1.0 - dropout);
    }
}

/* 6. output[d] = sum of dropped[j] * value[j][d] over the keys that the row sees, magnitude[d] with |value|, and
 * unweighted[d] without the weights. */
static void compute_output(const struct oracle_operands *o, int64_t b, int64_t h, struct oracle_row *row)
{
    const clattn_attention_desc *desc = o->desc;
    int64_t g = h / (desc->q_heads / desc->kv_heads);
    struct oracle_keys values = oracle_keys(o, ORACLE_VALUE, b, g);
    int64_t value_dim = oracle_value_dim(desc);
    double *restrict output = row->output;
    double *restrict magnitude = row->magnitude;
    double *restrict unweighted = row->unweighted;

    for (int64_t d = 0; d < value_dim; ++d)
        output[d] = magnitude[d] = unweighted[d] = 0.0;
    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!row->kept[j])
            continue;
        double weight = row->dropped[j];
        const float *value =
            oracle_widen(desc->value.dtype, o->value, oracle_key_at(&values, j), value_dim, row->widened);
        for (int64_t d = 0; d < value_dim; ++d) {
            double product = weight * (double)value[d];
            output[d] += product;
            magnitude[d] += fabs(product);
            unweighted[d] += fabs((double)value[d]);
        }
    }
}

void oracle_row_compute(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, struct oracle_row *row)
{
    compute_raw(operands, b, h, i, row);
    compute_softcap(operands, row);
    compute_masked(operands, b, h, i, row);
    compute_weights(operands, h, row);
    compute_dropout(operands, b, h, i, row);
    compute_output(operands, b, h, row);
}

bool oracle_row_init(struct oracle_row *row, const struct oracle_operands *operands)
{
    size_t keys = (size_t)operands->kv_len + 1; /* never an allocation of nothing */
    size_t head_dim = (size_t)operands->desc->head_dim;
    size_t value_dim = (size_t)oracle_value_dim(operands->desc);
    double **arrays[] = {&row->raw,           &row->softcap,   &row->masked, &row->weights,   &row->dropped,
                         &row->raw_amplitude, &row->amplitude, &row->output, &row->magnitude, &row->unweighted};
    bool complete = true;

    memset(row, 0, sizeof *row);
    for (size_t n = 0; n < sizeof arrays / sizeof *arrays; ++n) {
        *arrays[n] = calloc(n < 7 ? keys : value_dim + 1, sizeof(double));
        complete = complete && *arrays[n] != NULL;
    }
    row->kept = calloc(keys, sizeof *row->kept);
    row->widened = calloc(2 * head_dim > value_dim ? 2 * head_dim : value_dim, sizeof *row->widened);
    return complete && row->kept != NULL && row->widened != NULL;
}

void oracle_row_free(struct oracle_row *row)
{
    double *arrays[] = {row->raw,           row->softcap,   row->masked, row->weights,   row->dropped,
                        row->raw_amplitude, row->amplitude, row->output, row->magnitude, row->unweighted};

    for (size_t n = 0; n < sizeof arrays / sizeof *arrays; ++n)
        free(arrays[n]);
    free(row->kept);
    free(row->widened);
    memset(row, 0, sizeof *row);
}
