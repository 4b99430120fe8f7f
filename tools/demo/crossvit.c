/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two branches see an image in patches of two sizes; the class token of one attends over the patches of the other.
 *
 *   x' = [f(class token of the large branch), patches of the small branch]
 *   y = f(class token) + W_O attention(W_Q f(class token), W_K x', W_V x')      one query: the cost is linear
 *
 * Chen, Fan and Panda 2021, "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification", the
 * fusion by cross-attention, without its layer norms. Shapes of CrossViT-15: patches of 12 x 12 pixels, 400 of them,
 * 192 elements wide, six heads; the class token that visits them is 384 wide, and f takes it to their width.
 *
 * Nothing is trained: weights are random, and patches are a random projection of their pixels. Keys are twice as long
 * as before training, so that each head shows a taste of its own.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>

enum { SIDE = 12, GRID = 20, PATCHES = GRID * GRID, TOKENS = 1 + PATCHES, PIXELS = SIDE * SIDE * 3 };
enum { LARGE = 384, SMALL = 192, HEADS = 6, DIM = SMALL / HEADS, SQUARE = SMALL * SMALL };

static float class_token[LARGE], f[SMALL * LARGE], tokens[TOKENS * SMALL];
static float w_q[SQUARE], w_k[SQUARE], w_v[SQUARE], w_o[SQUARE], output[SMALL], weights[HEADS * TOKENS];

/* out = rows of `in` times the transpose of `weight` [to, from]: the reference, and the embedding of patches. */
static void project(const float *in, int rows, int from, const float *weight, int to, float *out)
{
    for (int i = 0; i < rows * to; i++) {
        double sum = 0;
        for (int k = 0; k < from; k++)
            sum += (double)in[i / to * from + k] * (double)weight[i % to * from + k];
        out[i] = (float)sum;
    }
}

/* Tokens 1 and on, from the pixels. Token 0 is left to f, on the device. */
static void embed(const struct picture *picture)
{
    static float pixels[PATCHES * PIXELS], projection[SMALL * PIXELS];
    for (int p = 0; p < PATCHES; p++)
        for (int i = 0; i < PIXELS; i++) {
            int x = p % GRID * SIDE + i / 3 % SIDE, y = p / GRID * SIDE + i / 3 / SIDE;
            pixels[p * PIXELS + i] = (float)picture->pixels[3 * (y * picture->width + x) + i % 3] / 128 - 1;
        }
    demo_normal(projection, SMALL * PIXELS, 1 / sqrtf(PIXELS), 1);
    project(pixels, PATCHES, PIXELS, projection, SMALL, tokens + SMALL);
}

/* f, straight into the place of token 0, then the layer; the residual is added in the end. */
static enum exit_code attend(struct demo *demo)
{
    clattn_linear_desc linear;
    clattn_linear_desc_init(&linear);
    linear.batch = linear.length = 1;
    linear.in_features = LARGE;
    linear.out_features = SMALL;
    clattn_attention_desc attention;
    clattn_attention_desc_init(&attention);
    attention.batch = attention.q_len = 1;
    attention.q_heads = attention.kv_heads = HEADS;
    attention.kv_len = TOKENS;
    attention.head_dim = DIM;
    attention.scores_stage = CLATTN_SCORES_WEIGHTS;
    clattn_layer_desc layer;
    clattn_layer_desc_init(&layer);
    layer.attention = &attention;
    layer.inputs = CLATTN_LAYER_CROSS;
    layer.width = SMALL;
    clattn_plan **narrow = demo_plan(demo), **plan = demo_plan(demo);
    CALL(clattn_linear_plan_create(demo->context, &linear, narrow, &demo->error));
    CALL(clattn_layer_plan_create(demo->context, &layer, plan, &demo->error));
    clattn_linear_args to_small;
    clattn_linear_args_init(&to_small, *narrow);
    clattn_layer_args args;
    clattn_layer_args_init(&args, *plan);
    TRY(demo_buffer(demo, tokens, sizeof tokens, &args.context));
    TRY(demo_buffer(demo, class_token, sizeof class_token, &to_small.input));
    TRY(demo_buffer(demo, f, sizeof f, &to_small.weight));
    TRY(demo_buffer(demo, w_q, sizeof w_q, &args.w_q));
    TRY(demo_buffer(demo, w_k, sizeof w_k, &args.w_k));
    TRY(demo_buffer(demo, w_v, sizeof w_v, &args.w_v));
    TRY(demo_buffer(demo, w_o, sizeof w_o, &args.w_o));
    TRY(demo_buffer(demo, NULL, sizeof output, &args.output));
    TRY(demo_buffer(demo, NULL, sizeof weights, &args.scores));
    args.input = to_small.output = args.context; /* token 0 of the context is the query */
    CALL(clattn_linear_run(*narrow, demo->queue, &to_small, 0, NULL, NULL, &demo->error));
    CALL(clattn_layer_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, args.context, tokens, SMALL * sizeof *tokens));
    TRY(demo_read(demo, args.scores, weights, sizeof weights));
    TRY(demo_read(demo, args.output, output, sizeof output));
    for (int d = 0; d < SMALL; d++)
        output[d] += tokens[d];
    return EXIT_DONE;
}

/* All of it on the host. */
static void reference(float *expected)
{
    static float q[SMALL], k[TOKENS * SMALL], v[TOKENS * SMALL], o[SMALL];
    double mean[SMALL] = {0};
    project(class_token, 1, LARGE, f, SMALL, tokens);
    project(tokens, 1, SMALL, w_q, SMALL, q);
    project(tokens, TOKENS, SMALL, w_k, SMALL, k);
    project(tokens, TOKENS, SMALL, w_v, SMALL, v);
    for (int h = 0; h < HEADS; h++) {
        double e[TOKENS], sum = 0;
        for (int j = 0; j < TOKENS; j++) {
            double score = 0;
            for (int d = h * DIM; d < (h + 1) * DIM; d++)
                score += (double)q[d] * (double)k[j * SMALL + d];
            sum += e[j] = exp(score / sqrt(DIM));
        }
        for (int i = 0; i < DIM * TOKENS; i++)
            mean[h * DIM + i % DIM] += e[i / DIM] / sum * (double)v[i / DIM * SMALL + h * DIM + i % DIM];
    }
    for (int d = 0; d < SMALL; d++)
        o[d] = (float)mean[d];
    project(o, 1, SMALL, w_o, SMALL, expected);
    for (int d = 0; d < SMALL; d++)
        expected[d] += tokens[d];
}

static enum exit_code run(struct demo *demo)
{
    static struct heatmap_panel panels[HEADS];
    static const char *const captions[HEADS] = {"head 0", "head 1", "head 2", "head 3", "head 4", "head 5"};
    static float expected[SMALL];
    const struct picture *picture;
    TRY(demo_image(demo, GRID * SIDE, GRID * SIDE, &picture));
    demo_normal(class_token, LARGE, 1, 2);
    demo_normal(f, SMALL * LARGE, 1 / sqrtf(LARGE), 3);
    demo_normal(w_q, SQUARE, 1 / sqrtf(SMALL), 4);
    demo_normal(w_k, SQUARE, 2 / sqrtf(SMALL), 5);
    demo_normal(w_v, SQUARE, 1 / sqrtf(SMALL), 6);
    demo_normal(w_o, SQUARE, 1 / sqrtf(SMALL), 7);
    embed(picture);
    TRY(attend(demo));
    reference(expected);
    printf("shapes    1 query of %d -> %d elements over %d tokens of %d, %d heads\n", LARGE, SMALL, TOKENS, SMALL,
           HEADS);
    TRY(demo_check("class token", demo_difference(output, expected, SMALL), 1e-5));
    for (int h = 0; h < HEADS; h++)
        panels[h] =
            (struct heatmap_panel){captions[h], weights + h * TOKENS + 1, GRID, GRID, 0, 0, NULL, NULL, picture};
    return demo_picture(demo, &(struct heatmap){"crossvit: where the class token looks", "row of patches",
                                                "column of patches", panels, HEADS, 3});
}

const struct demo_entry demo_crossvit = {
    "crossvit", "the class token of one branch attends over the patches of the other (Chen 2021)", true, run, 0};
