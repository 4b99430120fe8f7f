/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long input in few latents: 50 176 pixels are read into 2048 latents, processed, and decoded by a query a pixel.
 *
 *   z = z0 + cross(z0, x)    read      queries from the latents, keys and values from the input
 *   z = z + self(z)          process   among the latents, as often as one likes
 *   y = cross(q, z)          decode    queries from what is asked for, keys and values from the latents
 *
 * Jaegle et al. 2021, "Perceiver IO: A General Architecture for Structured Inputs & Outputs", with the pixels of its
 * ImageNet model (3 colours and 258 Fourier features of the place) and the latents of its optical flow (2048 of 512).
 * No attention pairs pixels with pixels, and no layer keeps its weights: memory grows with the pixels, not their
 * square.
 *
 * In place of training (train-perceiver-io.c trains): latents, pixels and queries know their places, W_q and W_k
 * compare places, and W_v and W_o pass the colours on. So each latent reads what is around its place; of the heads that
 * process, the first looks at the own latent, the others around it, and W_o adds half of the difference, which
 * sharpens.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SIDE = 224, PIXELS = SIDE * SIDE, BANDS = 64, AXIS = 1 + 2 * BANDS, CHANNELS = 3 + 2 * AXIS };
enum { ROWS = 32, COLUMNS = 64, LATENTS = ROWS * COLUMNS, WIDTH = 512, COLOURS = 2 * AXIS };
enum { DIM = 64, HEADS = 8, SHOWN = 18 };

struct numbers {
    float pixels[PIXELS][CHANNELS]; /* colours, then features of y and of x; the queries are these without colours */
    float latents[LATENTS][WIDTH];  /* features of y and of x, then the colours, then whatever there is */
    float change[LATENTS][WIDTH], decoded[PIXELS][3], shown[SHOWN][WIDTH], weights[SHOWN][PIXELS], seen[PIXELS];
    struct {
        float q[WIDTH * WIDTH], k[WIDTH * WIDTH], v[WIDTH * WIDTH], o[WIDTH * WIDTH];
    } w;
};

static struct numbers *my;                                                    /* demo->memory */
#define FREQUENCY(band) (1 + (SIDE / 2.0f - 1) * (float)(band) / (BANDS - 1)) /* evenly from 1 to half the pixels */

/* A coordinate from -1 to 1, its sines and cosines. */
static void place(int index, int count, float feature[AXIS])
{
    feature[0] = ((float)index + 0.5f) * 2 / (float)count - 1;
    for (int b = 0; b < BANDS; b++) {
        feature[1 + 2 * b] = sinf(3.14159265f * FREQUENCY(b) * feature[0]);
        feature[2 + 2 * b] = cosf(3.14159265f * FREQUENCY(b) * feature[0]);
    }
}

/*
 * 64 rows of W_q or W_k that read features from column `first` on, the lowest 16 bands: q . k has terms cos(pi f (x -
 * x')) and is largest where places agree. W_q (fine > 0) weighs them so that this falls the faster the larger `fine`
 * is, twice as fast across; 112 makes it about 10 an axis at its largest, enough to tell one pixel from 50 000.
 */
static void compare_places(float *rows, int width, int first, float fine)
{
    for (int i = 0; i < DIM; i++) {
        float spread = i & 2 ? 2 * fine : fine, f = FREQUENCY(i / 4);
        float weight = fine > 0 ? 112 / spread * expf(-0.5f * (f / spread) * (f / spread)) : 1;
        rows[i * width + first + (i & 2 ? AXIS : 0) + 1 + 2 * (i / 4) + (i & 1)] = weight;
    }
}

/* The weights of a layer, over inputs and contexts whose places and colours begin in these columns. */
static void make_weights(const struct demo_layer *l, int q_place, int k_place, int colours, const float fine[])
{
    int features = l->heads * DIM, out = l->output_width == 3 ? 0 : COLOURS; /* where colours are in the output */
    memset(&my->w, 0, sizeof my->w);
    for (int h = 0; h < l->heads; h++) {
        compare_places(my->w.q + h * DIM * l->width, l->width, q_place, fine[h]);
        compare_places(my->w.k + h * DIM * l->key_width, l->key_width, k_place, 0);
        for (int c = 0; c < 3; c++) { /* the first three of each head's 64 values */
            my->w.v[(h * DIM + c) * l->value_width + colours + c] = 1;
            my->w.o[(out + c) * features + h * DIM + c] = l->heads == 1 ? 1 : h == 0 ? 0.5f : -0.5f / (HEADS - 1);
        }
    }
}

static enum exit_code update(struct demo *demo, const struct demo_layer *layer)
{
    TRY(demo_layer_run(demo, layer, *my->change, NULL));
    for (int i = 0; i < LATENTS * WIDTH; i++)
        my->latents[i / WIDTH][i % WIDTH] += my->change[i / WIDTH][i % WIDTH];
    return EXIT_DONE;
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    const struct picture *image, *result;
    struct demo_layer read = {
        CLATTN_LAYER_CROSS, 1,           DIM,         LATENTS, PIXELS,  WIDTH,   CHANNELS, CHANNELS, WIDTH,
        *my->latents,       *my->pixels, *my->pixels, my->w.q, my->w.k, my->w.v, my->w.o};
    struct demo_layer process = {
        CLATTN_LAYER_SELF, HEADS,        DIM,          LATENTS, LATENTS, WIDTH,   WIDTH,  WIDTH, WIDTH,
        *my->latents,      *my->latents, *my->latents, my->w.q, my->w.k, my->w.v, my->w.o};
    struct demo_layer decode = {
        CLATTN_LAYER_CROSS, 1,       DIM,     PIXELS,  LATENTS, CHANNELS, WIDTH, WIDTH, 3, *my->pixels, *my->latents,
        *my->latents,       my->w.q, my->w.k, my->w.v, my->w.o};
    struct demo_layer few = read;
    double off = 0;
    few.q_len = SHOWN;
    few.input = *my->shown;
    TRY(demo_image(demo, SIDE, SIDE, &image));
    for (int i = 0; i < PIXELS; i++) {
        for (int c = 0; c < 3; c++)
            my->pixels[i][c] = (float)image->pixels[3 * i + c] / 255;
        place(i / SIDE, SIDE, my->pixels[i] + 3);
        place(i % SIDE, SIDE, my->pixels[i] + 3 + AXIS);
    }
    for (int i = 0; i < LATENTS; i++) {
        place(i / COLUMNS, ROWS, my->latents[i]);
        place(i % COLUMNS, COLUMNS, my->latents[i] + AXIS);
    }
    for (int i = 0; i < SHOWN; i++) /* three rows of six, evenly */
        memcpy(my->shown[i], my->latents[(5 + 11 * (i / 6)) * COLUMNS + 5 + 11 * (i % 6)], sizeof my->shown[i]);
    make_weights(&read, 0, 3, 0, (const float[]){4});
    TRY(demo_layer_run(demo, &few, *my->change, *my->weights));
    TRY(update(demo, &read));
    make_weights(&process, 0, 0, COLOURS, (const float[]){8, 2, 2, 2, 2, 2, 2, 2});
    TRY(update(demo, &process));
    TRY(update(demo, &process));
    make_weights(&decode, 3, 0, COLOURS, (const float[]){4});
    TRY(demo_layer_run(demo, &decode, *my->decoded, NULL));
    TRY(demo_colours(demo, *my->decoded, SIDE, SIDE, &result));
    for (int i = 0; i < 3 * PIXELS; i++)
        off += fabs((double)my->decoded[i / 3][i % 3] - (double)my->pixels[i / 3][i % 3]) / (3 * PIXELS);
    for (int i = 0; i < SHOWN * PIXELS; i++)
        my->seen[i % PIXELS] += my->weights[i / PIXELS][i % PIXELS];
    printf("memory    %.0f MB of the device; weights of all pixels on all would be %.0f MB\n",
           (double)demo_memory(demo) * 1e-6, (double)PIXELS * PIXELS * sizeof(float) * 1e-6);
    TRY(demo_check("memory besides the pixels, as a multiple of theirs",
                   (double)demo_memory(demo) / sizeof my->pixels - 1, 5));
    TRY(demo_check("picture decoded from the latents, mean over pixels", off, 0.027));
    const struct heatmap_panel panels[] = {
        {"50 176 pixels", NULL, SIDE, SIDE, 0, 0, NULL, NULL, image},
        {"what 18 of the 2048 latents read", my->seen, SIDE, SIDE, 0, 0, NULL, NULL, image},
        {"decoded from the latents", NULL, SIDE, SIDE, 0, 0, NULL, NULL, result}};
    return demo_picture(demo,
                        &(struct heatmap){"perceiver-io: a picture through 2048 latents", "y", "x", panels, 3, 3});
}

const struct demo_entry demo_perceiver_io = {
    "perceiver-io", "a picture of 50 176 pixels read into 2048 latents and decoded (Jaegle 2021)", false, run,
    sizeof *my};
