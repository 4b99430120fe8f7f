/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-attention as a translation model has it: two target sequences of 5 tokens attend to source sequences of 12 and
 * 9 tokens, padded to 12. Four query heads share two key/value heads, numbers are stored in f16, and the tensors lie as
 * [batch, length, heads, dim], the order in which a projection leaves them. The result is compared with plain loops in
 * double precision.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 2, Q_HEADS = 4, KV_HEADS = 2, TARGET = 5, SOURCE = 12, DIM = 32 };

static cl_half query[BATCH][TARGET][Q_HEADS][DIM];
static cl_half key[BATCH][SOURCE][KV_HEADS][DIM];
static cl_half value[BATCH][SOURCE][KV_HEADS][DIM];
static cl_half output[BATCH][TARGET][Q_HEADS][DIM];
static const int32_t source_length[BATCH] = {12, 9};

/*
 * Numbers of 0.125 to 2 and of both signs, as the bits of f16: sign, exponent + 15 in five bits, ten of the fraction.
 * From a linear congruential generator (Knuth's MMIX constants).
 */
static void fill(cl_half *array, size_t count)
{
    static uint64_t state = 1;
    for (size_t i = 0; i < count; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        array[i] = (cl_half)((state >> 48 & 0x8fff) | 0x3000);
    }
}

/* The number that these bits stand for; NaN for infinity too, which is an error as well here. */
static double number(cl_half half)
{
    int exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31)
        return (double)NAN;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(0x400 + fraction, exponent - 25);
    return half >> 15 != 0 ? -magnitude : magnitude;
}

/* [batch, length, heads, dim] in memory, seen as the [batch, heads, length, dim] that the library speaks of. */
static clattn_layout length_before_heads(int64_t length, int64_t heads)
{
    return (clattn_layout){CLATTN_F16, {length * heads * DIM, DIM, heads * DIM, 1}};
}

/* The larger of two errors; NaN, should there be one, is the largest. */
static double larger(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

/* The largest error of a query row, as a share of what f16 allows: a rounding of the weights and of the output. */
static double row_error(int b, int i, int h)
{
    int g = h / (Q_HEADS / KV_HEADS);
    double weight[SOURCE], sum = 0, worst = 0;
    for (int j = 0; j < source_length[b]; ++j) {
        double score = 0;
        for (int d = 0; d < DIM; ++d)
            score += number(query[b][i][h][d]) * number(key[b][j][g][d]);
        sum += weight[j] = exp(score / sqrt(DIM));
    }
    for (int d = 0; d < DIM; ++d) {
        double expected = 0, magnitude = 0;
        for (int j = 0; j < source_length[b]; ++j) {
            double term = weight[j] / sum * number(value[b][j][g][d]);
            expected += term;
            magnitude += fabs(term);
        }
        double error = fabs(number(output[b][i][h][d]) - expected);
        worst = larger(worst, error / (magnitude * 2 * 0x1p-10));
    }
    return worst;
}

int main(void)
{
    fill(&query[0][0][0][0], sizeof query / sizeof(cl_half));
    fill(&key[0][0][0][0], sizeof key / sizeof(cl_half));
    fill(&value[0][0][0][0], sizeof value / sizeof(cl_half));

    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = BATCH;
    desc.q_heads = Q_HEADS;
    desc.kv_heads = KV_HEADS;
    desc.q_len = TARGET;
    desc.kv_len = SOURCE;
    desc.head_dim = DIM;
    desc.query = desc.output = length_before_heads(TARGET, Q_HEADS);
    desc.key = desc.value = length_before_heads(SOURCE, KV_HEADS);
    desc.kv_lengths = CLATTN_LENGTHS_I32; /* keeps the padding out */

    clattn_attention_host_args args;
    clattn_attention_host_args_init(&args);
    args.query = query;
    args.key = key;
    args.value = value;
    args.output = output;
    args.kv_lengths = source_length;

    clattn_error error;
    if (clattn_attention_host(NULL, &desc, &args, &error) != CLATTN_SUCCESS) {
        fprintf(stderr, "cross-attention: %s\n", error.message);
        return EXIT_FAILURE;
    }

    double worst = 0;
    for (int b = 0; b < BATCH; ++b)
        for (int i = 0; i < TARGET; ++i)
            for (int h = 0; h < Q_HEADS; ++h)
                worst = larger(worst, row_error(b, i, h));
    printf("%d targets attend to %d and %d sources: largest error %.2f of what f16 allows\n", TARGET, source_length[0],
           source_length[1], worst);
    return worst <= 1.0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
