/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-attention in the decoder of the Transformer: the words written so far look at all words that were read.
 *
 *   head_h = softmax((S_2 W_Q,h^T) (S_1 W_K,h^T)^T / sqrt(64)) S_1 W_V,h^T      y = [head_1, ..., head_8] W_O^T
 *
 * S_1 are the states of the encoder, S_2 those of the decoder: queries come from one sequence, keys and values from
 * another, and the output has the length of the queries'. Vaswani et al. 2017, "Attention Is All You Need", section
 * 3.2.3, in its base size: 512 wide, 8 heads of 64.
 *
 * The sentence is the one that Bahdanau et al. 2014 drew (figure 3). Nothing is trained; the weights are made so that
 * there is something to find. A word's meaning is a random vector m, the same in both languages; the encoder states it
 * as A m, the decoder as B m and noise, A and B being random matrices; W_Q = B^T and W_K = A^T read it back, roughly,
 * since the columns of a random matrix are nearly at right angles. W_V and W_O are random.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>

enum { SOURCE = 11, TARGET = 14, WIDTH = 512, HEADS = 8, DIM = 64 };

static const char *const source[SOURCE] = {"the",    "European", "Economic", "Area", "agreement", "was",
                                           "signed", "in",       "August",   "1992", "."};
static const char *const target[TARGET] = {"l'", "accord", "sur",   "la", "zone", "economique", "europeenne",
                                           "a",  "ete",    "signe", "en", "aout", "1992",       "."};
static const int translates[TARGET] = {0, 4, 4, 0, 3, 2, 1, 5, 5, 6, 7, 8, 9, 10}; /* the word that each stands for */

struct numbers {
    float meaning[SOURCE][WIDTH], s1[SOURCE][WIDTH], s2[TARGET][WIDTH];
    float w_q[WIDTH][WIDTH], w_k[WIDTH][WIDTH], w_v[WIDTH][WIDTH], w_o[WIDTH][WIDTH];
    float weights[HEADS][TARGET][SOURCE], mean[TARGET][SOURCE], output[TARGET][WIDTH], expected[TARGET][WIDTH];
};

static struct numbers *my; /* demo->memory */

/* state = m w, that is w^T m: what w then reads back. */
static void express(const float m[WIDTH], float w[WIDTH][WIDTH], float state[WIDTH])
{
    for (int d = 0; d < WIDTH; d++)
        for (int n = 0; n < WIDTH; n++)
            state[d] += m[n] * w[n][d];
}

static void make_up(void)
{
    float(*const matrices[])[WIDTH] = {my->w_q, my->w_k, my->w_v, my->w_o};
    for (uint64_t i = 0; i < 4; i++)
        demo_normal(&matrices[i][0][0], WIDTH * WIDTH, 1 / sqrtf(WIDTH), i);
    demo_normal(&my->meaning[0][0], SOURCE * WIDTH, 0.8f, 4);
    demo_normal(&my->s2[0][0], TARGET * WIDTH, 0.2f,
                5); /* what a state has besides: two words for one are not the same */
    for (int j = 0; j < SOURCE; j++)
        express(my->meaning[j], my->w_k, my->s1[j]);
    for (int i = 0; i < TARGET; i++)
        express(my->meaning[translates[i]], my->w_q, my->s2[i]);
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    const struct demo_layer layer = {.inputs = CLATTN_LAYER_CROSS,
                                     .heads = HEADS,
                                     .dim = DIM,
                                     .q_len = TARGET,
                                     .kv_len = SOURCE,
                                     .width = WIDTH,
                                     .key_width = WIDTH,
                                     .value_width = WIDTH,
                                     .output_width = WIDTH,
                                     .input = &my->s2[0][0],
                                     .keys = &my->s1[0][0],
                                     .values = &my->s1[0][0],
                                     .w_q = &my->w_q[0][0],
                                     .w_k = &my->w_k[0][0],
                                     .w_v = &my->w_v[0][0],
                                     .w_o = &my->w_o[0][0]};
    int wrong = 0;
    make_up();
    TRY(demo_layer_run(demo, &layer, &my->output[0][0], &my->weights[0][0][0]));
    for (int i = 0; i < TARGET; i++) {
        int most = 0;
        for (int j = 0; j < SOURCE; j++) {
            for (int h = 0; h < HEADS; h++)
                my->mean[i][j] += my->weights[h][i][j] / HEADS;
            most = my->mean[i][j] > my->mean[i][most] ? j : most;
        }
        wrong += most != translates[i];
        printf("%s%s<-%s %.2f%s", i == 0 ? "looks     " : "", target[i], source[most], (double)my->mean[i][most],
               i + 1 < TARGET ? ", " : "\n");
    }
    TRY(demo_layer_reference(&layer, &my->expected[0][0]));
    printf("output    %d rows as the queries, of %d keys\n", TARGET, SOURCE);
    TRY(demo_check("softmax((S2 WQ^T) (S1 WK^T)^T / 8) S1 WV^T WO^T",
                   demo_difference(&my->output[0][0], &my->expected[0][0], TARGET * WIDTH), 1e-5));
    TRY(demo_check("words that look elsewhere than at what they translate", wrong, 0));
    const struct heatmap_panel panel = {NULL, *my->mean, TARGET, SOURCE, 0, 0, target, source, NULL};
    const char *title = "decoder: which words each word looks at, mean of 8 heads";
    return demo_picture(demo, &(struct heatmap){title, "decoder (query)", "encoder (key)", &panel, 1, 1});
}

const struct demo_entry demo_decoder = {
    "decoder", "cross-attention: the words written look at the words read (Vaswani 2017)", false, run, sizeof *my};
