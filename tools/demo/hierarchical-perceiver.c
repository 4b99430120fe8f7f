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
 * First the encodings of places are learned, in a step of their own as there: nothing is known of which place is beside
 * which, only that pictures are smooth. Half of the places of made-up pictures are masked, and the colour of each is
 * what attention from its encoding to those of the others gives; the error of that, through attention's backward pass,
 * moves the encodings. One run has 16 pictures, for the weights are the same for all: a value is the colours of a place
 * in each.
 *
 * In place of training the blocks: a pixel is 112 numbers, waves over its colour (Rahimi and Recht 2007), whose dot
 * products tell how much alike colours are, and the 16 of its place. A latent asks for a colour, and some for a place,
 * too. These numbers are keys and values, so a latent finds what it asks for in its group and passes it on; that of the
 * last block has looked at the whole picture.
 */
#include "demo/common.h"
#include "demo/training.h"
#include "shared/random.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 224, PIXELS = SIDE * SIDE, WAVES = 56, ENCODED = 16, DIM = 2 * WAVES + ENCODED, BLOCKS = 3, SHOWN = 5 };
enum { GRID = 32, PLACES = GRID * GRID, CELL = SIDE / GRID, HALF = PLACES / 2 }; /* a place has CELL x CELL pixels */
enum { PICTURES = 16, COLOURS = 3 * PICTURES, TRAINED = 120 };

struct block {
    int groups, tokens, latents; /* tokens and latents of a group */
    float *weights;              /* [groups, latents, tokens] */
};

struct numbers {
    float pixels[PIXELS][DIM], latents[256][DIM], all[2048][DIM], alone[2048][DIM], direction[WAVES][3];
    float weights1[2048 * 3136], weights2[1024 * 512], weights3[256 * 1024], first[PIXELS], seen[SHOWN][PIXELS];
    struct block blocks[BLOCKS];

    struct learned encodings; /* [PLACES, ENCODED] */
    float colours[PLACES][COLOURS], guess[HALF][COLOURS], d_guess[HALF][COLOURS];
    float half[2][HALF][ENCODED], d_half[2][HALF][ENCODED], values[HALF][COLOURS]; /* masked, then seen */
    int order[PLACES];                                                             /* the first half is masked */
    float before[PLACES], after[PLACES];
};

static struct numbers *my; /* demo->memory */
#define SCALE 40.0f        /* of the blocks' products */

/* What is asked for: a colour, and where x is not negative a place, in pixels. */
static const struct {
    unsigned char rgb[3];
    int y, x;
} wanted[SHOWN] = {{{0xff, 0xd9, 0x3b}, -1, -1},
                   {{0xb5, 0x32, 0x2b}, -1, -1},
                   {{0x6b, 0x42, 0x26}, -1, -1},
                   {{0x6b, 0x42, 0x26}, 150, 34},
                   {{0x6b, 0x42, 0x26}, 150, 193}};

/* ---- encodings of places ---- */

struct training {
    clattn_plan **forward, **backward;
    clattn_attention_args args;
    clattn_attention_backward_args backward_args;
};

static enum exit_code prepare(struct demo *demo, struct training *t)
{
    clattn_attention_desc desc;
    clattn_attention_backward_desc backward;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = 1;
    desc.q_len = desc.kv_len = HALF;
    desc.head_dim = ENCODED;
    desc.value_dim = COLOURS;
    desc.scale = 1;
    desc.lse = 1;
    CALL(clattn_attention_plan_create(demo->context, &desc, t->forward = demo_plan(demo), &demo->error));
    clattn_attention_backward_desc_init(&backward);
    backward.attention = &desc;
    backward.d_query = backward.d_key = 1;
    CALL(clattn_attention_backward_plan_create(demo->context, &backward, t->backward = demo_plan(demo), &demo->error));
    printf("learning  %s\n", clattn_plan_problem(*t->backward));
    clattn_attention_args_init(&t->args, *t->forward);
    TRY(demo_buffer(demo, NULL, sizeof my->half[0], &t->args.query));
    TRY(demo_buffer(demo, NULL, sizeof my->half[1], &t->args.key));
    TRY(demo_buffer(demo, NULL, sizeof my->values, &t->args.value));
    TRY(demo_buffer(demo, NULL, sizeof my->guess, &t->args.output));
    TRY(demo_buffer(demo, NULL, HALF * sizeof(float), &t->args.lse));
    clattn_attention_backward_args_init(&t->backward_args, *t->backward);
    t->backward_args.query = t->args.query;
    t->backward_args.key = t->args.key;
    t->backward_args.value = t->args.value;
    t->backward_args.output = t->args.output;
    t->backward_args.lse = t->args.lse;
    TRY(demo_buffer(demo, NULL, sizeof my->d_guess, &t->backward_args.d_output));
    TRY(demo_buffer(demo, NULL, sizeof my->d_half[0], &t->backward_args.d_query));
    return demo_buffer(demo, NULL, sizeof my->d_half[1], &t->backward_args.d_key);
}

/* Pictures that are sums of eight slow waves a colour, each of about 1 in size; and another half of the places. */
static void draw(int index)
{
    for (int c = 0; c < COLOURS; c++)
        for (int w = 0; w < 8; w++) {
            const uint64_t n = 3 * (uint64_t)((index * COLOURS + c) * 8 + w);
            const float turns_y = 6.3f * (float)random_normal(0, 2, n),
                        turns_x = 6.3f * (float)random_normal(0, 2, n + 1);
            const float begin = 6.3f * (float)random_normal(0, 2, n + 2);
            for (int i = 0; i < PLACES; i++) {
                const float y = (float)(i / GRID) / GRID, x = (float)(i % GRID) / GRID;
                my->colours[i][c] = (w > 0 ? my->colours[i][c] : 0) + cosf(turns_y * y + turns_x * x + begin) / 2;
            }
        }
    for (int i = 0; i < PLACES; i++) { /* Fisher and Yates */
        const int j = (int)(random_bits(0, 3, (uint64_t)(index * PLACES + i)) % (uint64_t)(i + 1));
        my->order[i] = my->order[j];
        my->order[j] = i;
    }
}

/* The masked places' colours from those of the others: half the mean squared error, and its gradient. */
static enum exit_code guess(struct demo *demo, const struct training *t, double *error)
{
    for (int i = 0; i < PLACES; i++)
        memcpy(my->half[i / HALF][i % HALF], my->encodings.value + my->order[i] * ENCODED, sizeof my->half[0][0]);
    for (int i = 0; i < HALF; i++)
        memcpy(my->values[i], my->colours[my->order[HALF + i]], sizeof my->values[i]);
    TRY(demo_write(demo, t->args.query, my->half[0], sizeof my->half[0]));
    TRY(demo_write(demo, t->args.key, my->half[1], sizeof my->half[1]));
    TRY(demo_write(demo, t->args.value, my->values, sizeof my->values));
    CALL(clattn_attention_run(*t->forward, demo->queue, &t->args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, t->args.output, my->guess, sizeof my->guess));
    *error = 0;
    for (int i = 0; i < HALF; i++)
        for (int c = 0; c < COLOURS; c++) {
            my->d_guess[i][c] = (my->guess[i][c] - my->colours[my->order[i]][c]) / (HALF * COLOURS);
            *error += 0.5 * (double)my->d_guess[i][c] * (double)my->d_guess[i][c] * HALF * COLOURS;
        }
    return EXIT_DONE;
}

static enum exit_code step(struct demo *demo, const struct training *t, int index)
{
    const clattn_attention_backward_args *args = &t->backward_args;
    double error;
    char text[80];
    draw(index);
    TRY(guess(demo, t, &error));
    TRY(demo_write(demo, args->d_output, my->d_guess, sizeof my->d_guess));
    CALL(clattn_attention_backward_run(*t->backward, demo->queue, args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, args->d_query, my->d_half[0], sizeof my->d_half[0]));
    TRY(demo_read(demo, args->d_key, my->d_half[1], sizeof my->d_half[1]));
    for (int i = 0; i < PLACES; i++)
        memcpy(my->encodings.gradient + my->order[i] * ENCODED, my->d_half[i / HALF][i % HALF],
               sizeof my->d_half[0][0]);
    learned_step(&my->encodings, learning_rate(index, TRAINED, 5e-2), 0);
    snprintf(text, sizeof text, "learning places: step %d of %d, error %.3f", index + 1, TRAINED, error);
    progress_bar((index + 1.0) / TRAINED, text);
    return EXIT_DONE;
}

/* How a place looks at all, itself too: log10 of its weights. The distance to the one beside which it looks at most. */
static double look(int place, float weights[PLACES])
{
    const float *e = my->encodings.value;
    double sum = 0;
    int nearest = place == 0;
    for (int j = 0; j < PLACES; j++) {
        weights[j] = 0;
        for (int d = 0; d < ENCODED; d++)
            weights[j] += e[place * ENCODED + d] * e[j * ENCODED + d];
        sum += exp((double)weights[j]);
        nearest = j != place && weights[j] > weights[nearest] ? j : nearest;
    }
    for (int j = 0; j < PLACES; j++)
        weights[j] = fmaxf((float)(((double)weights[j] - log(sum)) / log(10)), -8);
    return hypot(nearest / GRID - place / GRID, nearest % GRID - place % GRID);
}

static enum exit_code learn(struct demo *demo)
{
    struct training t;
    double before, after, distance = 0;
    progress("building kernels");
    TRY(prepare(demo, &t));
    demo_normal(my->encodings.value, PLACES * ENCODED, 0.3f, 4);
    look(GRID / 3 * GRID + GRID / 3, my->before);
    draw(TRAINED);
    TRY(guess(demo, &t, &before));
    for (int i = 0; i < TRAINED; i++)
        TRY(step(demo, &t, i));
    progress(NULL);
    draw(TRAINED);
    TRY(guess(demo, &t, &after));
    for (int i = 0; i < PLACES; i++)
        distance += look(i, my->after) / PLACES;
    look(GRID / 3 * GRID + GRID / 3, my->after);
    printf("places    error of masked colours %.3f before, %.3f after; the most similar one is %.2f places away\n",
           before, after, distance);
    TRY(demo_check("error of masked colours of unseen pictures, as a share of what it was", after / before, 0.1));
    return demo_check("distance of the place with the most similar encoding", distance, 1.5);
}

/* ---- blocks ---- */

/* cos and sin of random waves, slow enough that colours a little apart are alike: of length 1. */
static void waves(const unsigned char *rgb, float feature[DIM])
{
    for (int i = 0; i < WAVES; i++) {
        const float *d = my->direction[i];
        float angle = (d[0] * (float)rgb[0] + d[1] * (float)rgb[1] + d[2] * (float)rgb[2]) / 255;
        feature[2 * i] = cosf(angle) / sqrtf(WAVES);
        feature[2 * i + 1] = sinf(angle) / sqrtf(WAVES);
    }
}

/* Behind the waves: the encoding of a pixel's place, whose products count `share` as much as in its training. */
static void encode(int y, int x, float share, float feature[DIM])
{
    const float *encoding = my->encodings.value + (y / CELL * GRID + x / CELL) * ENCODED;
    for (int d = 0; d < ENCODED; d++)
        feature[2 * WAVES + d] = encoding[d] * share / sqrtf(SCALE);
}

/* What latent `l` of `count` asks for: one of what is to be shown, or the colour of some pixel. */
static void ask(const struct picture *image, int l, int count, float feature[DIM])
{
    memset(feature, 0, DIM * sizeof *feature);
    waves(l < SHOWN ? wanted[l].rgb : image->pixels + 3 * ((int64_t)l * 7919 * PIXELS / count % PIXELS), feature);
    if (l < SHOWN && wanted[l].x >= 0)
        encode(wanted[l].y, wanted[l].x, 0.5f, feature);
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
    desc.scale = SCALE;
    desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_attention_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_attention_args args;
    clattn_attention_args_init(&args, *plan);
    for (int l = 0; l < block->latents; l++)
        ask(image, l, block->latents, my->latents[l]);
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

/* Whether a pixel is what was asked for, within a small difference of colours and a fifth of the picture. */
static bool fits(const struct picture *image, int pixel, int asked)
{
    const unsigned char *rgb = image->pixels + 3 * pixel, *own = wanted[asked].rgb;
    if (abs(rgb[0] - own[0]) + abs(rgb[1] - own[1]) + abs(rgb[2] - own[2]) >= 60)
        return false;
    return wanted[asked].x < 0 || hypot(pixel / SIDE - wanted[asked].y, pixel % SIDE - wanted[asked].x) < SIDE / 5;
}

static enum exit_code see(struct demo *demo)
{
    const struct picture *image;
    clattn_buffer tokens[BLOCKS + 1], apart;
    my->blocks[0] = (struct block){16, 3136, 128, my->weights1};
    my->blocks[1] = (struct block){4, 512, 256, my->weights2};
    my->blocks[2] = (struct block){1, 1024, 256, my->weights3};
    TRY(demo_image(demo, SIDE, SIDE, &image));
    demo_normal(*my->direction, WAVES * 3, 5, 1);
    for (int i = 0; i < PIXELS; i++) {
        waves(image->pixels + 3 * i, my->pixels[i]);
        encode(i / SIDE, i % SIDE, 1, my->pixels[i]);
    }
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
            there += fits(image, i, s) ? (double)share[i] : 0;
            my->seen[s][i] = log10f(fmaxf(share[i], 1e-8f));
            my->first[i] =
                log10f(fmaxf(my->weights1[i / 3136 * 128 * 3136 + i % 3136], 1e-8f)); /* of latent 0 of the group */
        }
        TRY(demo_check("share that a latent gives to other colours or places than it asks for", 1 - there, 0.1));
    }
    const struct heatmap_panel panels[] = {
        {"16 groups of 3136 pixels", NULL, 0, 0, 0, 0, NULL, NULL, image},
        {"a place, by its encoding: before", my->before, GRID, GRID, 0, 0, NULL, NULL, NULL},
        {"and after learning", my->after, GRID, GRID, 0, 0, NULL, NULL, NULL},
        {"block 1, each group: yellow", my->first, SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3, all merged: yellow", my->seen[0], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: red", my->seen[1], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: brown", my->seen[2], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: brown, on the left", my->seen[3], SIDE, SIDE, 0, 0, NULL, NULL, NULL},
        {"block 3: brown, on the right", my->seen[4], SIDE, SIDE, 0, 0, NULL, NULL, NULL}};
    const char *title = "hierarchical-perceiver: what a place and latents look at (log10 of weights)";
    return demo_picture(demo, &(struct heatmap){title, "y", "x", panels, 9, 3});
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    TRY(learned_create(&my->encodings, PLACES * ENCODED));
    enum exit_code code = learn(demo);
    if (code == EXIT_DONE)
        code = see(demo);
    learned_free(&my->encodings);
    return code;
}

const struct demo_entry demo_hierarchical_perceiver = {
    "hierarchical-perceiver", "learned places; an input in groups, attended in one batch and merged (Carreira 2022)",
    false, run, sizeof *my};
