/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradients of attention with everything that it can have, against what they are gradients of: each number that
 * goes in is moved a little, both ways, and attention computed again, in double precision on the host.
 *
 *   loss = sum of d_output * attention(...)        d_x = (loss(x + h) - loss(x - h)) / (2 h), central differences
 *
 * Attention is that of two query heads over one key/value head, causal, with softcap, a mask that both heads share,
 * sinks, slopes of ALiBi and a relative bias. Its backward pass is Dao et al. 2022, "FlashAttention", appendix B.4.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define PROBLEM                                                                                                        \
    "b1h2g1q6k8d4:f32:causal:alibi@bottom-right:relative=2@bottom-right:softcap=2:mask=add@1x1x6x8:sinks:"             \
    "backward=query,key,value,mask,sinks,alibi,relative"

enum { HEADS = 2, QUERIES = 6, KEYS = 8, DIM = 4, REACH = 2, SOFTCAP = 2 };

/* What goes in; of every number there is a gradient. */
struct numbers {
    float query[HEADS][QUERIES][DIM], key[KEYS][DIM], value[KEYS][DIM], mask[QUERIES][KEYS];
    float sinks[HEADS], slopes[HEADS], relative[HEADS][2 * REACH + 1];
};

enum { COUNT = sizeof(struct numbers) / sizeof(float) };

static const struct {
    const char *name;
    size_t first, count;
} parts[] = {
#define PART(name, field)                                                                                              \
    {                                                                                                                  \
        name, offsetof(struct numbers, field) / sizeof(float), sizeof((struct numbers *)NULL)->field / sizeof(float)   \
    }
    PART("d_query", query),
    PART("d_key", key),
    PART("d_value", value),
    PART("d_mask", mask),
    PART("d_sinks", sinks),
    PART("d_alibi_slopes", slopes),
    PART("d_relative_bias", relative),
};

static struct numbers x, by_library, by_differences;
static float d_output[HEADS][QUERIES][DIM];

/* A number of x, where number `at` of them all is larger by `step`. */
struct moved {
    size_t at;
    double step;
};

static double number(const struct moved *moved, const float *place)
{
    return (double)*place + ((size_t)(place - (const float *)&x) == moved->at ? moved->step : 0);
}

/* The score of a pair, with everything that is added to it. */
static double score(const struct moved *moved, int h, int i, int j)
{
    const int ahead = j - (i + KEYS - QUERIES); /* of the query's position */
    double sum = 0;
    for (int d = 0; d < DIM; d++)
        sum += number(moved, &x.query[h][i][d]) * number(moved, &x.key[j][d]);
    return SOFTCAP * tanh(sum / sqrt(DIM) / SOFTCAP) + number(moved, &x.mask[i][j]) -
           number(moved, &x.slopes[h]) * abs(ahead) +
           number(moved, &x.relative[h][(ahead < -REACH ? -REACH : ahead) + REACH]); /* no key ahead is seen */
}

static double loss(size_t at, double step)
{
    const struct moved moved = {at, step};
    double sum = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < QUERIES; i++) {
            double total = exp(number(&moved, &x.sinks[h])), output = 0;
            for (int j = 0; j <= i + KEYS - QUERIES; j++) {
                const double weight = exp(score(&moved, h, i, j));
                total += weight;
                for (int d = 0; d < DIM; d++)
                    output += weight * number(&moved, &x.value[j][d]) * (double)d_output[h][i][d];
            }
            sum += output / total;
        }
    return sum;
}

/* The same by the library: one call forward, one backward. */
static enum exit_code differentiate(struct demo *demo)
{
    float output[HEADS][QUERIES][DIM], lse[HEADS][QUERIES];
    clattn_attention_desc attention;
    clattn_attention_backward_desc backward;
    clattn_attention_desc_init(&attention);
    clattn_attention_backward_desc_init(&backward);
    CALL(clattn_attention_backward_desc_parse(PROBLEM, &attention, &backward, &demo->error));

    clattn_attention_host_args forward_args;
    clattn_attention_host_args_init(&forward_args);
    forward_args.query = x.query;
    forward_args.key = x.key;
    forward_args.value = x.value;
    forward_args.mask = x.mask;
    forward_args.sinks = x.sinks;
    forward_args.alibi_slopes = x.slopes;
    forward_args.relative_bias = x.relative[0];
    forward_args.output = output;
    forward_args.lse = lse[0];
    CALL(clattn_attention_host(demo->context, &attention, &forward_args, &demo->error));

    clattn_attention_backward_host_args args;
    clattn_attention_backward_host_args_init(&args);
    args.query = x.query;
    args.key = x.key;
    args.value = x.value;
    args.mask = x.mask;
    args.sinks = x.sinks;
    args.alibi_slopes = x.slopes;
    args.relative_bias = x.relative[0];
    args.output = output;
    args.lse = lse[0];
    args.d_output = d_output;
    args.d_query = by_library.query;
    args.d_key = by_library.key;
    args.d_value = by_library.value;
    args.d_mask = by_library.mask[0];
    args.d_sinks = by_library.sinks;
    args.d_alibi_slopes = by_library.slopes;
    args.d_relative_bias = by_library.relative[0];
    CALL(clattn_attention_backward_host(demo->context, &backward, &args, &demo->error));
    return EXIT_DONE;
}

static enum exit_code run(struct demo *demo)
{
    const float *library = (const float *)&by_library;
    float *differences = (float *)&by_differences;
    const double step = 1e-4; /* the differences are off by its square, and by 1e-16 over it */
    double worst = 0;
    demo_normal((float *)&x, COUNT, 1, 0);
    demo_normal(d_output[0][0], HEADS * QUERIES * DIM, 1, 1);
    printf("problem   %s\n", PROBLEM);
    TRY(differentiate(demo));
    for (size_t n = 0; n < COUNT; n++)
        differences[n] = (float)((loss(n, step) - loss(n, -step)) / (2 * step));
    printf("gradient         numbers   largest    off by at most\n");
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) {
        const double off = demo_difference(library + parts[n].first, differences + parts[n].first, parts[n].count);
        double largest = 0;
        for (size_t i = parts[n].first; i < parts[n].first + parts[n].count; i++)
            largest = fmax(largest, fabs((double)library[i]));
        printf("%-15s  %7zu  %8.4f    %.1e\n", parts[n].name, parts[n].count, largest, off);
        worst = fmax(worst, off);
    }
    TRY(demo_check("gradients against central differences in double precision", worst, 1e-5));
    const struct heatmap_panel panels[] = {
        {"by the backward pass", by_library.mask[0], QUERIES, KEYS, 0, 0, NULL, NULL, NULL},
        {"by central differences", by_differences.mask[0], QUERIES, KEYS, 0, 0, NULL, NULL, NULL}};
    const char *title = "gradients: that of the mask, summed over two heads";
    return demo_picture(demo, &(struct heatmap){title, "query", "key", panels, 2, 2});
}

const struct demo_entry demo_gradients = {
    "gradients", "every gradient of attention against central differences in double precision", false, run, 0};
