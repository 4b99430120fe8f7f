/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-modality attention in SelfDoc: the blocks of a page attend, in one modality, by what the other one says of
 * them.
 *
 *   head_h = softmax((V W_Q,h^T) (L W_K,h^T)^T / sqrt(64)) V W_V,h^T      y = [head_1, ..., head_12] W_O^T
 *
 * V are the blocks' looks, L their texts, a row of each for every block: queries and values come from one sequence,
 * keys from the other, of the same length, since value j belongs to key j. The other half of the model swaps the two.
 * Li et al. 2021, "SelfDoc: Self-Supervised Document Representation Learning"; 768 wide, 12 heads of 64, as in BERT.
 *
 * Nothing is trained; the weights are made so that there is something to find. A topic is a random vector t. A block's
 * text states its own topic, as A t; its look states the topic of the block that it belongs with, as B t: a figure
 * looks for its caption. W_Q = B^T and W_K = A^T read topics back, roughly, since the columns of a random matrix are
 * nearly at right angles. W_V and W_O are random.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>

enum { BLOCKS = 12, WIDTH = 768, HEADS = 12, DIM = 64 };

static const char *const blocks[BLOCKS] = {"title",   "authors", "abstract", "heading", "text 1",  "figure",
                                           "caption", "text 2",  "table",    "legend",  "formula", "page no"};
static const int partners[BLOCKS] = {2, 0, 0, 4, 7, 6, 5, 4, 9, 8, 7, 11}; /* where each block's look sends it */

struct numbers {
    float topics[BLOCKS][WIDTH], looks[BLOCKS][WIDTH], texts[BLOCKS][WIDTH];
    float w_q[WIDTH][WIDTH], w_k[WIDTH][WIDTH], w_v[WIDTH][WIDTH], w_o[WIDTH][WIDTH];
    float weights[HEADS][BLOCKS][BLOCKS], mean[BLOCKS][BLOCKS], output[BLOCKS][WIDTH], expected[BLOCKS][WIDTH];
};

static struct numbers *my; /* demo->memory */

/* state += w^T t: what w then reads back. */
static void express(const float t[WIDTH], float w[WIDTH][WIDTH], float state[WIDTH])
{
    for (int n = 0; n < WIDTH; n++)
        for (int d = 0; d < WIDTH; d++)
            state[d] += t[n] * w[n][d];
}

static void make_up(void)
{
    float(*const matrices[])[WIDTH] = {my->w_q, my->w_k, my->w_v, my->w_o};
    for (uint64_t i = 0; i < 4; i++)
        demo_normal(*matrices[i], WIDTH * WIDTH, 1 / sqrtf(WIDTH), i);
    demo_normal(*my->topics, BLOCKS * WIDTH, 0.8f, 4);
    demo_normal(*my->looks, BLOCKS * WIDTH, 0.2f, 5); /* what there is besides: two blocks never look the same */
    for (int i = 0; i < BLOCKS; i++) {
        express(my->topics[i], my->w_k, my->texts[i]);
        express(my->topics[partners[i]], my->w_q, my->looks[i]);
    }
}

/* Keys without a value each mean nothing. */
static enum exit_code check_refusal(struct demo *demo, struct demo_layer layer)
{
    clattn_attention_desc attention;
    clattn_attention_desc_init(&attention);
    attention.batch = 1;
    attention.q_heads = attention.kv_heads = layer.heads;
    attention.q_len = layer.q_len;
    attention.kv_len = layer.q_len + 1;
    attention.head_dim = layer.dim;
    clattn_layer_desc desc;
    clattn_layer_desc_init(&desc);
    desc.attention = &attention;
    desc.inputs = CLATTN_LAYER_KEY;
    desc.width = desc.context_width = WIDTH;
    clattn_status status = clattn_layer_plan_create(demo->context, &desc, demo_plan(demo), &demo->error);
    if (status == CLATTN_ERROR_INVALID_VALUE)
        printf("refused   %s\n", demo->error.message);
    return demo_check("one more text than there are blocks is refused", status != CLATTN_ERROR_INVALID_VALUE, 0);
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    const struct demo_layer layer = {
        .inputs = CLATTN_LAYER_KEY, /* input: looks, context: texts */
        .heads = HEADS,
        .dim = DIM,
        .q_len = BLOCKS,
        .kv_len = BLOCKS,
        .width = WIDTH,
        .key_width = WIDTH,
        .value_width = WIDTH,
        .output_width = WIDTH,
        .input = *my->looks,
        .keys = *my->texts,
        .values = *my->looks,
        .w_q = *my->w_q,
        .w_k = *my->w_k,
        .w_v = *my->w_v,
        .w_o = *my->w_o,
    };
    int wrong = 0;
    make_up();
    TRY(demo_layer_run(demo, &layer, *my->output, **my->weights));
    TRY(demo_layer_reference(&layer, *my->expected));
    for (int i = 0; i < BLOCKS; i++) {
        int most = 0;
        for (int j = 0; j < BLOCKS; j++) {
            for (int h = 0; h < HEADS; h++)
                my->mean[i][j] += my->weights[h][i][j] / HEADS;
            most = my->mean[i][j] > my->mean[i][most] ? j : most;
        }
        wrong += most != partners[i];
        printf("%s%s: %s %.2f%s", i == 0 ? "finds     " : "", blocks[i], blocks[most], (double)my->mean[i][most],
               i + 1 < BLOCKS ? ", " : "\n");
    }
    TRY(demo_check("softmax((V WQ^T) (L WK^T)^T / 8) V WV^T WO^T",
                   demo_difference(*my->output, *my->expected, BLOCKS * WIDTH), 1e-5));
    TRY(demo_check("blocks that find another than the one they belong with", wrong, 0));
    TRY(check_refusal(demo, layer));
    const struct heatmap_panel panel = {NULL, *my->mean, BLOCKS, BLOCKS, 0, 0, blocks, blocks, NULL};
    const char *title = "selfdoc: looks find texts, mean of 12 heads";
    return demo_picture(demo, &(struct heatmap){title, "query and value: look", "key: text", &panel, 1, 1});
}

const struct demo_entry demo_selfdoc = {
    "selfdoc", "blocks of a page: queries and values from their looks, keys from their texts (Li 2021)", false, run,
    sizeof *my};
