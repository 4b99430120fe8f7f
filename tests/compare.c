/* SPDX-License-Identifier: Apache-2.0 */
/* Implements compare.h. Rows are dealt to two threads where there is enough to do; each keeps a tally of its own. */
#include "compare.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define EPS32 0x1p-23

/* The element with the largest share of its bound. */
struct worst {
    double share;
    const char *tensor;
    int64_t index[4];
    double found;
    double expected;
    double bound;
};

/* What one thread has seen; sums are over output elements whose expected value is finite. */
struct tally {
    struct worst worst;
    double largest_error;
    double plain_error;
    double largest_magnitude;
    double signed_error;
    double reference;
    double magnitude;
    int64_t elements;
    int64_t rows;
    bool no_memory;
};

struct job {
    const struct oracle_operands *operands;
    const void *output;
    const float *lse;
    const float *scores;
    bool fused_rounding;
    bool any_inputs;
    bool with_plain;
    int64_t first_row;
    int64_t row_step;
    struct tally tally;
};

double compare_epsilon(clattn_dtype dtype)
{
    return dtype == CLATTN_F32 ? EPS32 : dtype == CLATTN_F16 ? 0x1p-10 : 0x1p-7;
}

double compare_smallest_normal(clattn_dtype dtype)
{
    return dtype == CLATTN_F16 ? 0x1p-14 : 0x1p-126;
}

double compare_share(clattn_dtype dtype, double found, double expected, double bound)
{
    if (isnan(expected) || isinf(oracle_round(dtype, expected)))
        return isnan(expected)                          ? (isnan(found) ? 0.0 : HUGE_VAL)
               : found == oracle_round(dtype, expected) ? 0.0
                                                        : HUGE_VAL;
    if (isinf(found)) /* stands for the first number that the type no longer has */
        found = copysign(dtype == CLATTN_F16 ? 0x1p16 : 0x1p128, found);
    double error = fabs(found - expected);
    return error == 0.0 ? 0.0 : error / bound <= HUGE_VAL ? error / bound : HUGE_VAL;
}

static void note(struct tally *tally, const struct worst *candidate)
{
    if (tally->worst.tensor == NULL || candidate->share > tally->worst.share)
        tally->worst = *candidate;
}

/* The absolute error that a score, and so the exponent of a weight, may have. */
static double score_bound(const struct job *job, double amplitude)
{
    const double any = 0x1p-16 * (1.0 + amplitude);
    const double random = 4.0 * EPS32 * (1.0 + amplitude + sqrt((double)job->operands->kv_len) / 16.0);
    return job->any_inputs ? any : fmin(random, any);
}

/* ---- bounds 1 and 4: element by element ----------------------------------------------------------------------- */

static void compare_output_row(struct job *job, const int64_t index[3], const struct oracle_row *row)
{
    const clattn_attention_desc *desc = job->operands->desc;
    clattn_dtype dtype = desc->output.dtype;
    struct tally *tally = &job->tally;
    double kept_share = 1.0 - (double)desc->dropout;
    double relative =
        compare_epsilon(dtype) * (job->fused_rounding ? 2.0 : 1.0) + score_bound(job, row->largest_amplitude);
    int64_t at = oracle_query_at(job->operands, ORACLE_OUTPUT, index[0], index[1], index[2]);

    for (int64_t d = 0; d < oracle_value_dim(desc); ++d) {
        double expected = row->output[d];
        double found = oracle_load(dtype, job->output, at + d);
        double bound = relative * row->magnitude[d];
        if (isfinite(row->unweighted[d]))
            bound += 0x1p-126 / kept_share *
                     row->unweighted[d]; /* of weights beside a sink that leads, as of weights given out */
        if (fabs(expected) < compare_smallest_normal(dtype) && row->lse != -HUGE_VAL)
            bound += compare_smallest_normal(dtype);
        double share = compare_share(dtype, found, expected, bound);
        if (isinf(oracle_round(dtype, expected)) && isnan(found))
            share = 0.0;
        note(tally, &(struct worst){share, "output", {index[0], index[1], index[2], d}, found, expected, bound});
        if (!isfinite(expected) || !isfinite(found))
            continue;
        tally->largest_error = fmax(tally->largest_error, fabs(found - expected));
        tally->largest_magnitude = fmax(tally->largest_magnitude, row->magnitude[d]);
        tally->signed_error += expected < 0.0 ? expected - found : found - expected;
        tally->reference += fabs(expected);
        tally->magnitude += row->magnitude[d];
        tally->elements++;
    }
}

/* Weights have twice the bound of scores times the weight; that of a score without exclusion takes no bias. */
static void compare_scores_row(struct job *job, const int64_t index[3], const struct oracle_row *row)
{
    const clattn_attention_desc *desc = job->operands->desc;
    const double *stages[] = {NULL, row->raw, row->softcap, row->masked, row->dropped};
    const double *expected = stages[desc->scores_stage];
    struct oracle_keys keys = oracle_keys(job->operands, ORACLE_KEY, index[0], 0);
    int64_t kv_len = job->operands->kv_len;
    int64_t extent[4];
    int64_t strides[4];

    oracle_tensor_shape(desc, ORACLE_SCORES, extent, strides);
    for (int64_t j = 0; j < kv_len; ++j) {
        bool excludes = desc->scores_stage == CLATTN_SCORES_MASKED || desc->scores_stage == CLATTN_SCORES_WEIGHTS;
        if (!excludes && oracle_key_at(&keys, j) < 0)
            continue;
        int64_t at = index[0] * strides[0] + index[1] * strides[1] + index[2] * strides[2] + j * strides[3];
        double found = (double)job->scores[at];
        double bound;
        if (desc->scores_stage != CLATTN_SCORES_WEIGHTS) {
            bound = score_bound(job, excludes ? row->amplitude[j] : row->raw_amplitude[j]);
        } else if (row->kept[j] && (row->dropped[j] != 0.0 || row->weights[j] == 0.0)) {
            double amplitude = fmax(row->amplitude[j], row->largest_amplitude);
            bound = 0x1p-126 / (1.0 - (double)desc->dropout);
            if (row->weights[j] > 0.0) /* else the amplitude may be Inf, of a score of -inf */
                bound += 2.0 * score_bound(job, amplitude) * row->dropped[j];
        } else {
            bound = 0.0;
        }
        double share = compare_share(CLATTN_F32, found, expected[j], bound);
        if (desc->scores_stage == CLATTN_SCORES_WEIGHTS && isnan(row->lse) && isnan(found))
            share = 0.0;
        note(&job->tally,
             &(struct worst){share, "scores", {index[0], index[1], index[2], j}, found, expected[j], bound});
    }
}

static void compare_lse(struct job *job, const int64_t index[3], const struct oracle_row *row)
{
    double found = (double)job->lse[oracle_lse_at(job->operands, index[0], index[1], index[2])];
    double bound = score_bound(job, row->largest_amplitude);
    double share = compare_share(CLATTN_F32, found, row->lse, bound);

    note(&job->tally, &(struct worst){share, "lse", {index[0], index[1], index[2], 0}, found, row->lse, bound});
}

/* ---- bound 2: plain float ------------------------------------------------------------------------------------- */

/*
 * The same row as anybody would write it in float: a dot product, a softmax and a weighted sum, each added up in order,
 * with scores rounded to the query's type and weights to the value's. `scratch` holds kv_len + 3 x the larger dim.
 */
static void plain_row(struct job *job, const int64_t index[3], const struct oracle_row *row, float *scratch)
{
    const struct oracle_operands *o = job->operands;
    const clattn_attention_desc *desc = o->desc;
    int64_t value_dim = oracle_value_dim(desc);
    int64_t width = desc->head_dim > value_dim ? desc->head_dim : value_dim;
    int64_t g = index[1] / (desc->q_heads / desc->kv_heads);
    struct oracle_keys keys = oracle_keys(o, ORACLE_KEY, index[0], g);
    struct oracle_keys values = oracle_keys(o, ORACLE_VALUE, index[0], g);
    float scale = (float)oracle_scale(desc);
    float *scores = scratch;
    float *output = scratch + o->kv_len;
    float *widened_query = output + width;
    float *widened_row = widened_query + width;
    float sink = desc->sinks ? o->sinks[index[1]] : -HUGE_VALF;
    float largest = sink;
    float sum = 0.0F;
    const float *query =
        oracle_widen(desc->query.dtype, o->query, oracle_query_at(o, ORACLE_QUERY, index[0], index[1], index[2]),
                     desc->head_dim, widened_query);

    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!row->kept[j])
            continue;
        const float *key = oracle_widen(desc->key.dtype, o->key, oracle_key_at(&keys, j), desc->head_dim, widened_row);
        float score = 0.0F;
        for (int64_t d = 0; d < desc->head_dim; ++d)
            score += query[d] * key[d];
        score *= scale;
        if (desc->softcap > 0.0F)
            score = desc->softcap * tanhf(score / desc->softcap);
        score += (float)(row->masked[j] - row->softcap[j]); /* the bias, exactly enough */
        scores[j] = (float)oracle_round(desc->query.dtype, (double)score);
        largest = scores[j] > largest ? scores[j] : largest;
    }
    if (sink != -HUGE_VALF)
        sum = expf(sink - largest);
    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (row->kept[j])
            sum += scores[j] = expf(scores[j] - largest);
    }
    for (int64_t d = 0; d < value_dim; ++d)
        output[d] = 0.0F;
    for (int64_t j = 0; j < o->kv_len; ++j) {
        if (!row->kept[j])
            continue;
        float weight = (float)oracle_round(desc->value.dtype, (double)(scores[j] / sum));
        if (desc->dropout > 0.0F)
            weight = row->dropped[j] == 0.0 ? 0.0F : weight / (1.0F - desc->dropout);
        const float *value =
            oracle_widen(desc->value.dtype, o->value, oracle_key_at(&values, j), value_dim, widened_row);
        for (int64_t d = 0; d < value_dim; ++d)
            output[d] += weight * value[d];
    }
    for (int64_t d = 0; d < value_dim; ++d) {
        double error = fabs(oracle_round(desc->output.dtype, (double)output[d]) - row->output[d]);
        if (isfinite(error))
            job->tally.plain_error = fmax(job->tally.plain_error, error);
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static int64_t count_rows(const struct oracle_operands *operands)
{
    return operands->desc->batch * operands->desc->q_heads * operands->q_len;
}

static void *compare_rows(void *argument)
{
    struct job *job = argument;
    const struct oracle_operands *o = job->operands;
    size_t width = (size_t)(o->desc->head_dim + oracle_value_dim(o->desc));
    float *scratch = calloc((size_t)o->kv_len + 3 * width, sizeof *scratch);
    struct oracle_row row;

    job->tally.no_memory = !oracle_row_init(&row, o) || scratch == NULL;
    for (int64_t r = job->first_row; r < count_rows(o) && !job->tally.no_memory; r += job->row_step) {
        int64_t index[3] = {r / o->q_len / o->desc->q_heads, r / o->q_len % o->desc->q_heads, r % o->q_len};
        if (index[2] >= oracle_sequence(o, index[0]).q_len)
            continue;
        oracle_row_compute(o, index[0], index[1], index[2], &row);
        if (job->output != NULL)
            compare_output_row(job, index, &row);
        if (job->lse != NULL)
            compare_lse(job, index, &row);
        if (job->scores != NULL)
            compare_scores_row(job, index, &row);
        if (job->with_plain)
            plain_row(job, index, &row, scratch);
        job->tally.rows++;
    }
    oracle_row_free(&row);
    free(scratch);
    return NULL;
}

static void merge(struct tally *into, const struct tally *from)
{
    if (from->worst.tensor != NULL)
        note(into, &from->worst);
    into->largest_error = fmax(into->largest_error, from->largest_error);
    into->plain_error = fmax(into->plain_error, from->plain_error);
    into->largest_magnitude = fmax(into->largest_magnitude, from->largest_magnitude);
    into->signed_error += from->signed_error;
    into->reference += from->reference;
    into->magnitude += from->magnitude;
    into->elements += from->elements;
    into->rows += from->rows;
    into->no_memory = into->no_memory || from->no_memory;
}

static double ratio(double value, double bound)
{
    return value == 0.0 ? 0.0 : value / bound;
}

/* Bounds 2 and 3 from the sums, then the verdict and its message. */
static struct compare_result judge(const struct tally *tally, const clattn_attention_desc *desc, bool with_plain,
                                   bool with_bias)
{
    struct compare_result result = {
        .worst_share = tally->worst.share, .largest_error = tally->largest_error, .compared = tally->rows};
    double plain_bound = 2.0 * tally->plain_error + EPS32 * tally->largest_magnitude;
    double bias_bound = compare_epsilon(desc->output.dtype) / 8.0 * tally->reference + 4.0 * EPS32 * tally->magnitude;

    if (with_plain)
        result.plain_share = ratio(tally->largest_error, plain_bound);
    if (with_bias)
        result.bias_share = ratio(fabs(tally->signed_error), bias_bound);
    result.no_memory = tally->no_memory;
    result.passed =
        !tally->no_memory && result.worst_share <= 1.0 && result.plain_share <= 1.0 && result.bias_share <= 1.0;
    if (tally->no_memory)
        snprintf(result.message, sizeof result.message, "no memory for the comparison");
    else if (result.worst_share <= 1.0 && result.plain_share > 1.0)
        snprintf(result.message, sizeof result.message,
                 "largest error of the output is %.3g: expected at most %.3g, from the %.3g of plain float",
                 tally->largest_error, plain_bound, tally->plain_error);
    else if (result.worst_share <= 1.0 && result.bias_share > 1.0)
        snprintf(result.message, sizeof result.message,
                 "mean error towards the sign of the reference is %.3g: expected at most %.3g in magnitude",
                 tally->signed_error / (double)tally->elements, bias_bound / (double)tally->elements);
    else if (tally->worst.tensor == NULL)
        snprintf(result.message, sizeof result.message, "nothing to compare");
    else
        snprintf(result.message, sizeof result.message,
                 "%s[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] is %.9g: expected %.9g within %.3g (share %.3g)",
                 tally->worst.tensor, tally->worst.index[0], tally->worst.index[1], tally->worst.index[2],
                 tally->worst.index[3], tally->worst.found, tally->worst.expected, tally->worst.bound,
                 tally->worst.share);
    return result;
}

struct compare_result compare_attention(const struct oracle_operands *operands, const void *output, const float *lse,
                                        const float *scores, int64_t row_step, bool fused_rounding, bool any_inputs,
                                        bool unit_variance)
{
    const clattn_attention_desc *desc = operands->desc;
    int64_t value_dim = oracle_value_dim(desc);
    int64_t rows = (count_rows(operands) + row_step - 1) / row_step;
    bool whole = output != NULL && row_step == 1 && rows * value_dim >= 4096;
    double work = (double)rows * (double)operands->kv_len * (double)(desc->head_dim + value_dim);
    struct job jobs[2];
    pthread_t thread;

    for (int n = 0; n < 2; ++n)
        jobs[n] = (struct job){.operands = operands,
                               .output = output,
                               .lse = lse,
                               .scores = desc->scores_stage != CLATTN_SCORES_NONE ? scores : NULL,
                               .fused_rounding = fused_rounding,
                               .any_inputs = any_inputs,
                               .with_plain = whole && unit_variance,
                               .first_row = n * row_step,
                               .row_step = 2 * row_step};
    if (work > 1e6 && pthread_create(&thread, NULL, compare_rows, &jobs[1]) == 0) {
        compare_rows(&jobs[0]);
        pthread_join(thread, NULL);
    } else {
        compare_rows(&jobs[0]);
        compare_rows(&jobs[1]);
    }
    merge(&jobs[0].tally, &jobs[1].tally);
    return judge(&jobs[0].tally, desc, whole && unit_variance, whole);
}
