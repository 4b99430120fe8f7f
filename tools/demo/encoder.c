/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Self-attention in the encoder of the Transformer: every token looks at every other, with several heads at a time.
 *
 *   head_h = softmax((x W_q,h^T) (x W_k,h^T)^T / sqrt(64)) x W_v,h^T      y = [head_1, ..., head_8] W_o^T
 *
 * Vaswani et al. 2017, "Attention Is All You Need", sections 3.2.2 and 3.5, in its base size: 512 wide, 8 heads of 64.
 *
 * Nothing in the formula knows the order of the tokens: reordered tokens give the same outputs, reordered. So positions
 * are added as sines and cosines, and "for any fixed offset k, PE(pos + k) can be represented as a linear function of
 * PE(pos)". The weights below take the authors at their word: W_k of each head reads the 32 fastest waves as they are,
 * W_q turns them by as many positions as the head is to look away, -3 for the first to 4 for the last. W_v and W_o
 * are random.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 12, WIDTH = 512, HEADS = 8, DIM = 64 };

static const char *const words[TOKENS] = {"the",    "animal",  "did", "not", "cross", "the",
                                          "street", "because", "it",  "was", "too",   "tired"};
static const int word_ids[TOKENS] = {0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 10}; /* "the" is one vector, wherever it is */

struct encoder {
    clattn_plan **positions, **layer;
    clattn_sinusoidal_args positions_args;
    clattn_layer_args layer_args;
    float embedding[TOKENS][WIDTH], x[TOKENS][WIDTH];
    float w_qkv[3 * WIDTH][WIDTH], w_o[WIDTH][WIDTH];
    float straight[TOKENS][WIDTH], reversed[TOKENS][WIDTH], bare[TOKENS][WIDTH], bare_reversed[TOKENS][WIDTH];
    float weights[HEADS][TOKENS][TOKENS]; /* of the last run */
};

static int distance(int head)
{
    return head - 3;
}

static void make_weights(struct encoder *e)
{
    const float gain = 2; /* of query and of key: how sharply a head looks */
    demo_normal(&e->w_qkv[2 * WIDTH][0], WIDTH * WIDTH, 1 / sqrtf(WIDTH), 1);
    demo_normal(&e->w_o[0][0], WIDTH * WIDTH, 1 / sqrtf(WIDTH), 2);
    demo_normal(&e->embedding[0][0], TOKENS * WIDTH, 0.25f, 3);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < DIM; i += 2) {
            float turn = (float)distance(h) * powf(10000, -(float)i / WIDTH);
            float(*q)[WIDTH] = &e->w_qkv[h * DIM + i], (*k)[WIDTH] = &e->w_qkv[WIDTH + h * DIM + i];
            q[0][i] = q[1][i + 1] = gain * cosf(turn); /* sin(a + t) = sin a cos t + cos a sin t, and so on */
            q[0][i + 1] = gain * sinf(turn);
            q[1][i] = -gain * sinf(turn);
            k[0][i] = k[1][i + 1] = gain;
        }
}

static enum exit_code make_plans(struct demo *demo, struct encoder *e)
{
    clattn_sinusoidal_desc positions;
    clattn_sinusoidal_desc_init(&positions);
    positions.batch = 1;
    positions.length = TOKENS;
    positions.width = WIDTH;
    positions.add = 1;
    e->positions = demo_plan(demo);
    CALL(clattn_sinusoidal_plan_create(demo->context, &positions, e->positions, &demo->error));
    clattn_sinusoidal_args_init(&e->positions_args, *e->positions);

    clattn_attention_desc attention;
    clattn_attention_desc_init(&attention);
    attention.batch = 1;
    attention.q_heads = attention.kv_heads = HEADS;
    attention.q_len = attention.kv_len = TOKENS;
    attention.head_dim = DIM;
    attention.scores_stage = CLATTN_SCORES_WEIGHTS;
    clattn_layer_desc layer;
    clattn_layer_desc_init(&layer);
    layer.attention = &attention;
    layer.inputs = CLATTN_LAYER_SELF;
    layer.width = WIDTH;
    layer.packed = 1; /* one projection for queries, keys and values */
    e->layer = demo_plan(demo);
    CALL(clattn_layer_plan_create(demo->context, &layer, e->layer, &demo->error));
    clattn_layer_args_init(&e->layer_args, *e->layer);

    TRY(demo_buffer(demo, NULL, sizeof e->x, &e->layer_args.input));
    TRY(demo_buffer(demo, e->w_qkv, sizeof e->w_qkv, &e->layer_args.w_qkv));
    TRY(demo_buffer(demo, e->w_o, sizeof e->w_o, &e->layer_args.w_o));
    TRY(demo_buffer(demo, NULL, sizeof e->straight, &e->layer_args.output));
    TRY(demo_buffer(demo, NULL, sizeof e->weights, &e->layer_args.scores));
    e->positions_args.input = e->positions_args.output = e->layer_args.input; /* in place */
    return EXIT_DONE;
}

/* Encodes the sentence, last word first if so wished: the output is then turned back. */
static enum exit_code encode(struct demo *demo, struct encoder *e, bool reverse, bool positions,
                             float output[TOKENS][WIDTH])
{
    static float read[TOKENS][WIDTH];
    for (int i = 0; i < TOKENS; i++)
        memcpy(e->x[i], e->embedding[word_ids[reverse ? TOKENS - 1 - i : i]], sizeof e->x[i]);
    TRY(demo_write(demo, e->layer_args.input, e->x, sizeof e->x));
    if (positions)
        CALL(clattn_sinusoidal_run(*e->positions, demo->queue, &e->positions_args, 0, NULL, NULL, &demo->error));
    CALL(clattn_layer_run(*e->layer, demo->queue, &e->layer_args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, e->layer_args.scores, e->weights, sizeof e->weights));
    TRY(demo_read(demo, e->layer_args.output, read, sizeof read));
    for (int i = 0; i < TOKENS; i++)
        memcpy(output[i], read[reverse ? TOKENS - 1 - i : i], sizeof read[i]);
    return EXIT_DONE;
}

static enum exit_code run(struct demo *demo)
{
    struct encoder *const e = demo->memory;
    struct heatmap_panel panels[HEADS];
    char captions[HEADS][32];
    double least = 1;
    make_weights(e);
    TRY(make_plans(demo, e));
    printf("layer     %s\n", clattn_plan_problem(*e->layer));
    TRY(encode(demo, e, true, true, e->reversed));
    TRY(encode(demo, e, false, false, e->bare));
    TRY(encode(demo, e, true, false, e->bare_reversed));
    TRY(encode(demo, e, false, true, e->straight));
    for (int h = 0; h < HEADS; h++) {
        double there = 0;
        for (int i = 0; i < TOKENS; i++)
            if (i + distance(h) >= 0 && i + distance(h) < TOKENS)
                there += (double)e->weights[h][i][i + distance(h)] / (TOKENS - abs(distance(h)));
        least = fmin(least, there);
        printf("%s%+d: %.2f%s", h == 0 ? "weight of the token at the head's distance  " : "", distance(h), there,
               h + 1 < HEADS ? ", " : "\n");
        snprintf(captions[h], sizeof captions[h], "head %d: %+d", h, distance(h));
        panels[h] = (struct heatmap_panel){captions[h], e->weights[h][0], TOKENS, TOKENS, 0, 0, words, NULL, NULL};
    }
    double bare = demo_difference(&e->bare[0][0], &e->bare_reversed[0][0], TOKENS * WIDTH);
    double moved = demo_difference(&e->straight[0][0], &e->reversed[0][0], TOKENS * WIDTH);
    printf("reversed  outputs differ by %.3g without positions, by %.3g with them\n", bare, moved);
    TRY(demo_check("without positions, outputs of reordered tokens", bare, 1e-5));
    TRY(demo_check("the same as a share of what positions make of it", bare / moved, 1e-4));
    TRY(demo_check("with positions, weight that goes elsewhere than to the head's distance", 1 - least, 0.4));
    return demo_picture(
        demo, &(struct heatmap){"encoder: eight heads, each looking its own way", "query", "key", panels, HEADS, 4});
}

const struct demo_entry demo_encoder = {"encoder",
                                        "self-attention with eight heads, with and without positions (Vaswani 2017)",
                                        false, run, sizeof(struct encoder)};
