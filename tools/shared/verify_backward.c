/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradients once more, in double precision, one pair of query and key after the other, as the formulas of
 * backward.h have them, from the output and lse that the forward left. Any row of a gradient can be had by itself,
 * which makes samples of large problems cheap.
 */
#include "compare.h"
#include "shared/verify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sum, the sum of the absolute values of its terms, and that of each times the largest number that went into it. */
struct sum {
    double value;
    double magnitude;
    double amplified;
};

struct reference {
    const struct arrays *arrays;
    const clattn_attention_desc *desc;
    struct oracle_operands operands;
    int64_t value_dim;
    double scale;
    int64_t strides[4][4]; /* of d_output, d_query, d_key and d_value */
    struct sum *delta;     /* [batch, q_heads, q_len]; amplified is not used */
    float *widened[4];     /* scratch: a row each of query, key, value and d_output */
    struct sum *row;       /* [head_dim + value_dim]: what a row of a gradient is summed in */
    double products;       /* that may be computed for each gradient */
    struct verification *verification;
};

/* What query i of (b, h) and key j have to do with each other. */
struct pair {
    const float *query, *key, *d_output;
    double weight; /* after dropout */
    struct sum dx;
    double ds; /* dx times this is ds, the scale in it */
    double amplitude;
};

/* ---- where things are ---- */

enum laid_out { LAID_D_OUTPUT, LAID_D_QUERY, LAID_D_KEY, LAID_D_VALUE };

static void set_strides(struct reference *r)
{
    const clattn_attention_backward_desc *backward = &r->arrays->backward;
    const clattn_layout *const layouts[] = {&backward->d_output_layout, &backward->d_query_layout,
                                            &backward->d_key_layout, &backward->d_value_layout};
    static const enum oracle_tensor shapes[] = {ORACLE_OUTPUT, ORACLE_QUERY, ORACLE_KEY, ORACLE_VALUE};
    for (int n = 0; n < 4; n++) {
        int64_t extent[4];
        oracle_tensor_shape(r->desc, shapes[n], extent, r->strides[n]);
        oracle_strides(layouts[n], extent, r->strides[n]);
    }
}

/* Element (b, h, row, 0), `row` counting from the first of the batch's sequence. */
static int64_t place_of(const struct reference *r, enum laid_out which, int64_t b, int64_t h, int64_t row)
{
    const bool keys = which == LAID_D_KEY || which == LAID_D_VALUE;
    const int64_t *strides = r->strides[which];
    if ((keys ? r->desc->kv_cu_lengths : r->desc->q_cu_lengths) != CLATTN_LENGTHS_NONE) {
        const struct oracle_sequence sequence = oracle_sequence(&r->operands, b);
        row += keys ? sequence.kv_first : sequence.q_first;
        b = 0;
    }
    return b * strides[0] + h * strides[1] + row * strides[2];
}

static int64_t group_of(const struct reference *r)
{
    return r->desc->kv_heads > 0 ? r->desc->q_heads / r->desc->kv_heads : 1;
}

static const float *d_output_of(const struct reference *r, int64_t b, int64_t h, int64_t i)
{
    return oracle_widen(r->arrays->backward.d_output_layout.dtype, r->arrays->array[D_OUTPUT].data,
                        place_of(r, LAID_D_OUTPUT, b, h, i), r->value_dim, r->widened[3]);
}

static double lse_of(const struct reference *r, int64_t b, int64_t h, int64_t i)
{
    return (double)((const float *)r->arrays->array[LSE].data)[oracle_lse_at(&r->operands, b, h, i)];
}

static struct sum *delta_of(const struct reference *r, int64_t b, int64_t h, int64_t i)
{
    return &r->delta[(b * r->desc->q_heads + h) * r->desc->q_len + i];
}

/* ---- the formulas ---- */

static bool sees_any(const struct reference *r, int64_t b, int64_t h, int64_t i)
{
    for (int64_t j = 0; j < r->desc->kv_len; j++)
        if (oracle_visible(&r->operands, b, h, i, j))
            return true;
    return false;
}

/* delta = d_output . output - d_lse; of a query that sees no key, the output is 0 whatever d_output is. */
static void compute_delta(struct reference *r, int64_t b, int64_t h, int64_t i)
{
    const struct array *array = r->arrays->array;
    struct sum *delta = delta_of(r, b, h, i);
    double d_lse = array[D_LSE].data != NULL
                       ? (double)((const float *)array[D_LSE].data)[oracle_lse_at(&r->operands, b, h, i)]
                       : 0;
    const float *output =
        oracle_widen(r->desc->output.dtype, array[OUTPUT].data, oracle_query_at(&r->operands, ORACLE_OUTPUT, b, h, i),
                     r->value_dim, r->widened[2]);
    oracle_dot(d_output_of(r, b, h, i), output, r->value_dim, &delta->value, &delta->magnitude);
    if (!isfinite(delta->value) && !sees_any(r, b, h, i))
        *delta = (struct sum){0};
    delta->value -= d_lse;
    delta->magnitude += fabs(d_lse);
}

/* The element of the mask that is added to the score of a pair, in a dense array of its shape. */
static int64_t mask_element(const struct reference *r, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t index[4] = {b, h, i, j};
    int64_t extent[4], strides[4], at = 0;
    oracle_tensor_shape(r->desc, ORACLE_MASK, extent, strides);
    for (int d = 0; d < 4; d++)
        at = at * extent[d] + (extent[d] > 1 ? index[d] : 0);
    return at;
}

/* What is added to a score, and its absolute value. */
static double added(const struct reference *r, int64_t b, int64_t h, int64_t i, int64_t j, double *amplitude)
{
    const clattn_attention_desc *desc = r->desc;
    const struct oracle_operands *o = &r->operands;
    int64_t reach = desc->relative_extent, ahead = 0;
    if (desc->alibi || reach > 0)
        ahead = j - oracle_position(o, b, i);
    double mask = desc->mask_kind == CLATTN_MASK_ADDITIVE
                      ? oracle_load(desc->mask.dtype, o->mask, mask_element(r, b, h, i, j))
                      : 0;
    double slope = desc->alibi ? (double)o->alibi_slopes[(desc->alibi_batch > 1 ? b : 0) * desc->q_heads + h] : 0;
    int64_t nearest = ahead < -reach ? -reach : ahead > reach ? reach : ahead;
    double relative = reach > 0 ? (double)o->relative_bias[h * (2 * reach + 1) + nearest + reach] : 0;
    *amplitude += fabs(mask) + fabs(slope * (double)ahead) + fabs(relative);
    return mask - slope * fabs((double)ahead) + relative;
}

/* False where the query does not see the key. */
static bool compute_pair(const struct reference *r, int64_t b, int64_t h, int64_t i, int64_t j, struct pair *pair)
{
    const clattn_attention_desc *desc = r->desc;
    const struct oracle_operands *o = &r->operands;
    const double softcap = (double)desc->softcap, lse = lse_of(r, b, h, i);
    const struct sum *delta = delta_of(r, b, h, i);
    int64_t g = h / group_of(r);
    if (!oracle_visible(o, b, h, i, j) || lse == -HUGE_VAL)
        return false;
    const struct oracle_keys keys = oracle_keys(o, ORACLE_KEY, b, g), values = oracle_keys(o, ORACLE_VALUE, b, g);
    pair->query = oracle_widen(desc->query.dtype, o->query, oracle_query_at(o, ORACLE_QUERY, b, h, i), desc->head_dim,
                               r->widened[0]);
    pair->key = oracle_widen(desc->key.dtype, o->key, oracle_key_at(&keys, j), desc->head_dim, r->widened[1]);
    const float *value =
        oracle_widen(desc->value.dtype, o->value, oracle_key_at(&values, j), r->value_dim, r->widened[2]);
    pair->d_output = d_output_of(r, b, h, i);

    double score, d_weight, d_weight_magnitude;
    oracle_dot(pair->query, pair->key, desc->head_dim, &score, &pair->amplitude);
    score *= r->scale;
    pair->amplitude *= fabs(r->scale);
    double capped = softcap > 0 ? softcap * tanh(score / softcap) : score;
    double cosh_of_score = softcap > 0 ? cosh(score / softcap) : 1; /* 1 - tanh^2 = 1 / cosh^2, without cancellation */
    double weight = exp(capped + added(r, b, h, i, j, &pair->amplitude) - lse);
    pair->amplitude = fmax(pair->amplitude, fabs(lse));
    double kept = desc->dropout == 0.0f ? 1 : oracle_dropout_keeps(o, b, h, i, j) ? 1 / (1 - (double)desc->dropout) : 0;
    oracle_dot(pair->d_output, value, r->value_dim, &d_weight, &d_weight_magnitude);
    pair->weight = weight * kept;
    pair->dx.value = weight * ((kept > 0 ? kept * d_weight : 0) - delta->value);
    pair->dx.magnitude = weight * ((kept > 0 ? kept * d_weight_magnitude : 0) + delta->magnitude);
    pair->ds = r->scale / cosh_of_score / cosh_of_score;
    return true;
}

/* sum += factor * value, for a term that is made of a pair. */
static void add(struct sum *sum, double factor, double value, double magnitude, double amplitude)
{
    sum->value += factor * value;
    sum->magnitude += fabs(factor) * magnitude;
    sum->amplified += fabs(factor) * magnitude * amplitude;
}

static void add_dx(struct sum *sum, double factor, const struct pair *pair)
{
    add(sum, factor, pair->dx.value, pair->dx.magnitude, pair->amplitude);
}

/* ---- comparing ---- */

/* `terms`: at most so many are in the sum. `at`: the element in the array of the gradient, for the message too. */
static void compare(struct reference *r, enum operand gradient, clattn_dtype dtype, int64_t at, const struct sum *sum,
                    double terms)
{
    struct verification *v = r->verification;
    const double eps = compare_epsilon(dtype), eps32 = compare_epsilon(CLATTN_F32);
    double found = oracle_load(dtype, r->arrays->array[gradient].data, at);
    double within = (eps + 4 * eps32 * (2 + sqrt(terms) / 16)) * sum->magnitude + 4 * eps32 * sum->amplified;
    if (sum->magnitude > 0 && fabs(sum->value) < compare_smallest_normal(dtype))
        within += compare_smallest_normal(dtype);
    double share = compare_share(dtype, found, sum->value, within), error = fabs(found - sum->value);
    v->error = error > v->error ? error : v->error;
    if (share <= v->share)
        return;
    v->share = share;
    v->passed = share <= 1;
    snprintf(v->message, sizeof v->message, "element %lld of %s is %.9g: expected %.9g, within %.3g", (long long)at,
             operand_names[gradient], found, sum->value, within);
}

static void compare_row(struct reference *r, enum operand gradient, clattn_dtype dtype, int64_t at,
                        const struct sum *row, int64_t dim, double terms)
{
    for (int64_t d = 0; d < dim && r->arrays->array[gradient].data != NULL; d++)
        compare(r, gradient, dtype, at + d, &row[d], terms);
}

/* ---- the gradients, `unit` by unit: a row of queries or keys, or an element ---- */

static void check_query(struct reference *r, int64_t unit)
{
    const clattn_attention_desc *desc = r->desc;
    int64_t i = unit % desc->q_len, h = unit / desc->q_len % desc->q_heads, b = unit / desc->q_len / desc->q_heads;
    if (i >= oracle_sequence(&r->operands, b).q_len)
        return;
    memset(r->row, 0, (size_t)desc->head_dim * sizeof *r->row);
    for (int64_t j = 0; j < desc->kv_len; j++) {
        struct pair pair;
        if (!compute_pair(r, b, h, i, j, &pair))
            continue;
        for (int64_t d = 0; d < desc->head_dim; d++)
            add_dx(&r->row[d], pair.ds * (double)pair.key[d], &pair);
    }
    compare_row(r, D_QUERY, r->arrays->backward.d_query_layout.dtype, place_of(r, LAID_D_QUERY, b, h, i), r->row,
                desc->head_dim, (double)desc->kv_len);
}

static void check_key(struct reference *r, int64_t unit)
{
    const clattn_attention_desc *desc = r->desc;
    int64_t j = unit % desc->kv_len, g = unit / desc->kv_len % desc->kv_heads, b = unit / desc->kv_len / desc->kv_heads;
    struct sum *d_key = r->row, *d_value = r->row + desc->head_dim;
    const struct oracle_sequence sequence = oracle_sequence(&r->operands, b);
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE && j >= sequence.kv_len)
        return;
    memset(r->row, 0, (size_t)(desc->head_dim + r->value_dim) * sizeof *r->row);
    for (int64_t h = g * group_of(r); h < (g + 1) * group_of(r); h++)
        for (int64_t i = 0; i < sequence.q_len; i++) {
            struct pair pair;
            if (!compute_pair(r, b, h, i, j, &pair))
                continue;
            for (int64_t d = 0; d < desc->head_dim; d++)
                add_dx(&d_key[d], pair.ds * (double)pair.query[d], &pair);
            for (int64_t d = 0; d < r->value_dim && pair.weight > 0; d++)
                add(&d_value[d], (double)pair.d_output[d], pair.weight, pair.weight, pair.amplitude);
        }
    const double terms = (double)(group_of(r) * desc->q_len);
    compare_row(r, D_KEY, r->arrays->backward.d_key_layout.dtype, place_of(r, LAID_D_KEY, b, g, j), d_key,
                desc->head_dim, terms);
    compare_row(r, D_VALUE, r->arrays->backward.d_value_layout.dtype, place_of(r, LAID_D_VALUE, b, g, j), d_value,
                r->value_dim, terms);
}

/* An extent of the pairs that something is added to: one index, or all up to `count`. */
struct range {
    int64_t first, end;
};

static struct range range_of(int64_t extent, int64_t index, int64_t count)
{
    return extent == 1 ? (struct range){0, count} : (struct range){index, index + 1 < count ? index + 1 : count};
}

static void check_mask(struct reference *r, int64_t unit)
{
    const clattn_attention_desc *desc = r->desc;
    int64_t extent[4], strides[4], index[4];
    oracle_tensor_shape(desc, ORACLE_MASK, extent, strides);
    for (int64_t d = 3, rest = unit; d >= 0; d--) {
        index[d] = rest % extent[d];
        rest /= extent[d];
    }
    const struct range batches = range_of(extent[0], index[0], desc->batch);
    const struct range heads = range_of(extent[1], index[1], desc->q_heads);
    const struct range keys = range_of(extent[3], index[3], desc->kv_len);
    struct sum sum = {0};
    double terms = 0;
    for (int64_t b = batches.first; b < batches.end; b++) {
        const struct range rows = range_of(extent[2], index[2], oracle_sequence(&r->operands, b).q_len);
        for (int64_t h = heads.first; h < heads.end; h++)
            for (int64_t i = rows.first; i < rows.end; i++)
                for (int64_t j = keys.first; j < keys.end; j++) {
                    struct pair pair;
                    terms++;
                    if (compute_pair(r, b, h, i, j, &pair))
                        add_dx(&sum, 1, &pair);
                }
    }
    compare(r, D_MASK, CLATTN_F32, unit, &sum, terms);
}

static void check_sink(struct reference *r, int64_t h)
{
    const double sink = (double)r->operands.sinks[h];
    struct sum sum = {0};
    for (int64_t b = 0; b < r->desc->batch; b++)
        for (int64_t i = 0; i < oracle_sequence(&r->operands, b).q_len; i++) {
            const struct sum *delta = delta_of(r, b, h, i);
            const double lse = lse_of(r, b, h, i);
            if (lse != -HUGE_VAL)
                add(&sum, -exp(sink - lse), delta->value, delta->magnitude, fmax(fabs(sink), fabs(lse)));
        }
    compare(r, D_SINKS, CLATTN_F32, h, &sum, (double)(r->desc->batch * r->desc->q_len));
}

static void check_alibi(struct reference *r, int64_t unit)
{
    const clattn_attention_desc *desc = r->desc;
    const struct range batches = range_of(desc->alibi_batch > 1 ? desc->batch : 1, unit / desc->q_heads, desc->batch);
    const int64_t h = unit % desc->q_heads;
    struct sum sum = {0};
    for (int64_t b = batches.first; b < batches.end; b++)
        for (int64_t i = 0; i < oracle_sequence(&r->operands, b).q_len; i++)
            for (int64_t j = 0; j < desc->kv_len; j++) {
                struct pair pair;
                if (compute_pair(r, b, h, i, j, &pair))
                    add_dx(&sum, -fabs((double)(j - oracle_position(&r->operands, b, i))), &pair);
            }
    compare(r, D_ALIBI_SLOPES, CLATTN_F32, unit, &sum,
            (double)(batches.end - batches.first) * (double)desc->q_len * (double)desc->kv_len);
}

static void check_relative(struct reference *r, int64_t unit)
{
    const clattn_attention_desc *desc = r->desc;
    const int64_t reach = desc->relative_extent, columns = 2 * reach + 1, h = unit / columns;
    const int64_t ahead = unit % columns - reach;
    struct sum sum = {0};
    double terms = 0;
    for (int64_t b = 0; b < desc->batch; b++)
        for (int64_t i = 0; i < oracle_sequence(&r->operands, b).q_len; i++) {
            const int64_t at = oracle_position(&r->operands, b, i) + ahead;
            int64_t first = ahead == -reach ? 0 : at, end = ahead == reach ? desc->kv_len : at + 1;
            first = first > 0 ? first : 0;
            end = end < desc->kv_len ? end : desc->kv_len;
            for (int64_t j = first; j < end; j++) {
                struct pair pair;
                terms++;
                if (compute_pair(r, b, h, i, j, &pair))
                    add_dx(&sum, 1, &pair);
            }
        }
    compare(r, D_RELATIVE_BIAS, CLATTN_F32, unit, &sum, terms);
}

/* All units, or some in equal steps where `products`, which all of them need, are too many: odd steps, since lengths
 * are often powers of two, and every position in them should come up. */
static void check_units(struct reference *r, void (*check)(struct reference *r, int64_t unit), int64_t units,
                        double products)
{
    int64_t step = (int64_t)(products / r->products);
    step = step < 1 ? 1 : step | 1;
    for (int64_t unit = 0; unit < units; unit += step) {
        check(r, unit);
        r->verification->compared++;
    }
    r->verification->rows += units;
}

static int64_t elements_of(const struct array *array)
{
    return (int64_t)(array->bytes / sizeof(float));
}

static void check_all(struct reference *r)
{
    const clattn_attention_desc *desc = r->desc;
    const struct array *array = r->arrays->array;
    const double pairs = (double)desc->batch * (double)desc->q_heads * (double)desc->q_len * (double)desc->kv_len;
    const double dims = (double)(desc->head_dim + r->value_dim);
    if (array[D_QUERY].data != NULL)
        check_units(r, check_query, desc->batch * desc->q_heads * desc->q_len, pairs * (dims + (double)desc->head_dim));
    if (array[D_KEY].data != NULL || array[D_VALUE].data != NULL)
        check_units(r, check_key, desc->batch * desc->kv_heads * desc->kv_len, pairs * 2 * dims);
    if (array[D_MASK].data != NULL)
        check_units(r, check_mask, elements_of(&array[D_MASK]), pairs * dims);
    if (array[D_SINKS].data != NULL)
        check_units(r, check_sink, desc->q_heads, 0);
    if (array[D_ALIBI_SLOPES].data != NULL)
        check_units(r, check_alibi, elements_of(&array[D_ALIBI_SLOPES]), pairs * dims);
    if (array[D_RELATIVE_BIAS].data != NULL)
        check_units(r, check_relative, elements_of(&array[D_RELATIVE_BIAS]), pairs * dims);
}

enum exit_code verify_gradients(const struct arrays *arrays, double most_products, struct verification *verification)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const int64_t value_dim = oracle_value_dim(desc);
    const size_t dims = (size_t)(desc->head_dim + value_dim);
    const size_t rows = (size_t)desc->batch * (size_t)desc->q_heads * (size_t)desc->q_len;
    struct reference r = {.arrays = arrays,
                          .desc = desc,
                          .operands = verify_operands(arrays),
                          .value_dim = value_dim,
                          .scale = oracle_scale(desc),
                          .products = most_products,
                          .verification = verification};
    *verification = (struct verification){.passed = true};
    set_strides(&r);
    r.delta = calloc(rows + 1, sizeof *r.delta); /* never an allocation of nothing */
    r.row = calloc(dims, sizeof *r.row);
    float *widened = calloc(4 * dims, sizeof *widened);
    bool memory = r.delta != NULL && r.row != NULL && widened != NULL;
    for (int n = 0; n < 4 && memory; n++)
        r.widened[n] = widened + (size_t)n * dims;
    for (int64_t b = 0; memory && b < desc->batch; b++)
        for (int64_t h = 0; h < desc->q_heads; h++)
            for (int64_t i = 0; i < oracle_sequence(&r.operands, b).q_len; i++)
                compute_delta(&r, b, h, i);
    if (memory)
        check_all(&r);
    free(r.delta);
    free(r.row);
    free(widened);
    return memory ? EXIT_DONE : fail(EXIT_FAILED, "no memory to verify the gradients");
}
