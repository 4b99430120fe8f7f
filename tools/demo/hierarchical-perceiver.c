/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long input in groups: each group is read into latents of its own, then groups are merged and read again.
 *
 *   z1[g] = softmax(b q x[g]^T) x[g]             16 groups of 3136 pixels, 128 latents each
 *   z2[g] = softmax(b q merged(z1)[g]^T) ...     4 groups of 4 * 128 latents, 256 each
 *   z3    = softmax(b q merged(z2)^T) ...        1 group of 4 * 256 latents, 256
 *
 * Carreira et al. 2022, "HiP: Hierarchical Perceiver", on a picture of 224 x 224. A group is a batch: to split
 * [50176, 128] is to call it [16, 3136, 128], to merge [16, 128, 128] is to call it [4, 512, 128]. No tensor moves, one
 * run has all groups, at a sixteenth of the cost of as many latents that each read everything.
 *
 * In place of training: a pixel is 128 waves over its colour (Rahimi and Recht 2007), whose dot products tell how much
 * alike colours are, and a latent asks for a colour. The waves are keys and values, so a latent finds its colour in its
 * group and passes it on; that of the last block has looked at the whole picture.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 224, PIXELS = SIDE * SIDE, DIM = 128, BLOCKS = 3, SHOWN = 4 };

struct block {
    int groups, tokens, latents; /* tokens and latents of a group */
    float *weights;              /* [groups, latents, tokens] */
};

struct numbers {
    float pixels[PIXELS][DIM], latents[256][DIM], all[2048][DIM], alone[2048][DIM], direction[DIM / 2][3];
    float weights1[2048 * 3136], weights2[1024 * 512], weights3[256 * 1024], first[PIXELS], seen[SHOWN][PIXELS];
    struct block blocks[BLOCKS];
};

static struct numbers *my; /* demo->memory */
static const unsigned char wanted[SHOWN][3] = {
    {0xff, 0xd9, 0x3b}, {0xb5, 0x32, 0x2b}, {0x2e, 0x7d, 0x32}, {0x6b, 0x42, 0x26}};

/* cos and sin of 64 random waves, slow enough that colours a little apart are alike, over 8: of length 1. */
static void waves(const unsigned char *rgb, float feature[DIM])
{
    for (int i = 0; i < DIM / 2; i++) {
        const float *d = my->direction[i];
        float angle = (d[0] * (float)rgb[0] + d[1] * (float)rgb[1] + d[2] * (float)rgb[2]) / 255;
        feature[2 * i] = cosf(angle) / 8;
        feature[2 * i + 1] = sinf(angle) / 8;
    }
}

/* The colour that latent `l` of `count` asks for: one of those to be shown, or that of some pixel. */
static const unsigned char *asked(const struct picture *image, int l, int count)
{
    return l < SHOWN ? wanted[l] : image->pixels + 3 * ((int64_t)l * 7919 * PIXELS / count % PIXELS);
}

/* A block over `tokens`, which are keys and values: all groups in one run, or in several with a part of them each. */
static enum exit_code read_groups(struct demo *demo, const struct picture *image, const struct block *block, int runs,
                                  clattn_buffer tokens, clattn_buffer output)
{
    size_t row = DIM * sizeof(float), groups = (size_t)(block->groups / runs);
    size_t scores = groups * (size_t)block->latents * (size_t)block->tokens * sizeof(float);
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = (int64_t)groups;
    desc.q_heads = desc.kv_heads = 1;
    desc.q_len = block->latents;
    desc.kv_len = block->tokens;
    desc.head_dim = DIM;
    desc.query.strides[2] = DIM; /* that of batches is 0: every group has the same queries */
    desc.query.strides[3] = 1;
    desc.scale = 40;
    desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_attention_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_attention_args args;
    clattn_attention_args_init(&args, *plan);
    for (int l = 0; l < block->latents; l++)
        waves(asked(image, l, block->latents), my->latents[l]);
    TRY(demo_buffer(demo, my->latents, sizeof my->latents, &args.query));
    TRY(demo_buffer(demo, NULL, scores, &args.scores));
    for (size_t n = 0; n < (size_t)runs; n++) {
        args.key = args.value = demo_at(tokens, n * groups * (size_t)block->tokens * row);
        args.output = demo_at(output, n * groups * (size_t)block->latents * row);
        CALL(clattn_attention_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    }
    printf("block     %d x %s\n", runs, clattn_plan_problem(*plan));
    return demo_read(demo, args.scores, block->weights, scores); /* of several runs, the last one's */
}

/* What latent `l` of the last block has seen of each pixel: the product of the blocks' weights. */
static const float *trace(int l)
{
    static float share[BLOCKS + 1][PIXELS];
    memset(share, 0, sizeof share);
    share[BLOCKS][l] = 1;
    for (int b = BLOCKS - 1; b >= 0; b--)
        for (int i = 0, tokens = my->blocks[b].tokens; i < my->blocks[b].groups * my->blocks[b].latents; i++)
            for (int j = 0, to = i / my->blocks[b].latents * tokens; j < tokens; j++)
                share[b][to + j] += share[b + 1][i] * my->blocks[b].weights[i * tokens + j];
    return share[0];
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    const struct picture *image;
    clattn_buffer tokens[BLOCKS + 1], apart;
    my->blocks[0] = (struct block){16, 3136, 128, my->weights1};
    my->blocks[1] = (struct block){4, 512, 256, my->weights2};
    my->blocks[2] = (struct block){1, 1024, 256, my->weights3};
    TRY(demo_image(demo, SIDE, SIDE, &image));
    demo_normal(*my->direction, DIM / 2 * 3, 5, 1);
    for (int i = 0; i < PIXELS; i++)
        waves(image->pixels + 3 * i, my->pixels[i]);
    TRY(demo_buffer(demo, my->pixels, sizeof my->pixels, &tokens[0]));
    TRY(demo_buffer(demo, NULL, sizeof my->alone, &apart));
    TRY(read_groups(demo, image, &my->blocks[0], 16, tokens[0], apart));
    for (int b = 0; b < BLOCKS; b++) {
        TRY(demo_buffer(demo, NULL, sizeof my->all, &tokens[b + 1]));
        TRY(read_groups(demo, image, &my->blocks[b], 1, tokens[b], tokens[b + 1]));
    }
    TRY(demo_read(demo, tokens[1], my->all, sizeof my->all));
    TRY(demo_read(demo, apart, my->alone, sizeof my->alone));
    TRY(demo_check("16 groups in one run against each in its own", demo_difference(*my->all, *my->alone, 2048 * DIM),
                   1e-5));
    for (int s = 0; s < SHOWN; s++) {
        double there = 0;
        const float *share = trace(s);
        for (int i = 0; i < PIXELS; i++) {
            const unsigned char *rgb = image->pixels + 3 * i, *own = wanted[s];
            if (abs(rgb[0] - own[0]) + abs(rgb[1] - own[1]) + abs(rgb[2] - own[2]) < 60)
                there += (double)share[i];
            my->seen[s][i] = log10f(fmaxf(share[i], 1e-8f));
            my->first[i] =
                log10f(fmaxf(my->weights1[i / 3136 * 128 * 3136 + i % 3136], 1e-8f)); /* of latent 0 of the group */
        }
        TRY(demo_check("share that a latent gives to other colours than it asks for", 1 - there, 0.1));
    }
    const struct heatmap_panel panels[] = {
        {"16 groups of 3136 pixels", NULL, SIDE, SIDE, 0, 0, NULL, NULL, image},
        {"block 1, each group: yellow", my->first, SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3, all merged: yellow", my->seen[0], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: red", my->seen[1], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: dark green", my->seen[2], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: brown", my->seen[3], SIDE, SIDE, 0, 0, NULL, NULL, NULL}};
    const char *title = "hierarchical-perceiver: what latents see that ask for a colour (log10 of weights)";
    return demo_picture(demo, &(struct heatmap){title, "y", "x", panels, 6, 3});
}

const struct demo_entry demo_hierarchical_perceiver = {
    "hierarchical-perceiver", "an input in groups, attended in one batch and merged (Carreira 2022)", false, run,
    sizeof *my};
