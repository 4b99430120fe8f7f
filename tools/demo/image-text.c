/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text asks, an image answers: queries that are words attend over the patches of an image, whose keys know their place.
 *
 *   weights = softmax(Q (X + P)^T / sqrt(256)),  output = weights X        X: patches, P: their positions, Q: text
 *
 * The positions are the sines and cosines of row and column, 128 elements each, of Carion et al. 2020, "End-to-End
 * Object Detection with Transformers" (DETR; section 3.2 and supplement A.4), who add them to keys and not to values.
 *
 * Embeddings are made by hand: a colour is a random direction, a patch the sum of the colours that its pixels are close
 * to, a text the sum of its words. A word for a place is the half of a position's encoding that it speaks of.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SIDE = 16, ROWS = 15, COLUMNS = 20, PATCHES = ROWS * COLUMNS, WIDTH = 256, HALF = WIDTH / 2, TEXTS = 6 };
enum { COLOURS = 6, PLACES = 4 }; /* of the words, colours come first, then places */

static const char *const texts[TEXTS] = {"yellow", "red", "green left", "green right", "white top", "brown bottom"};
static const char *const words[COLOURS + PLACES] = {"yellow", "red",  "green", "blue", "brown",
                                                    "white",  "left", "right", "top",  "bottom"};
static const float colours[COLOURS][3] = {{1, .85f, .2f},   {.75f, .2f, .15f},  {.25f, .55f, .2f},
                                          {.4f, .7f, .95f}, {.45f, .28f, .15f}, {1, 1, 1}};
static float directions[COLOURS * WIDTH], patches[PATCHES * WIDTH], query[TEXTS * WIDTH], weights[TEXTS * PATCHES];

/* Half of an encoding: of position `at` among `count`, which become 2 pi. In double precision, as the reference. */
static double encoding(double at, int count, int element)
{
    double angle = (at + 1) * 2 * acos(-1) / count * pow(10000, -(double)(element / 2) / (HALF / 2));
    return element % 2 == 0 ? sin(angle) : cos(angle);
}

/* A patch is the sum of the colours' directions, each as long as its pixels are close to that colour. */
static void embed_patches(const struct picture *picture)
{
    for (int y = 0; y < picture->height; y++)
        for (int x = 0; x < picture->width; x++)
            for (int c = 0; c < COLOURS; c++) {
                float away = 0;
                for (int i = 0; i < 3; i++) {
                    float level = (float)picture->pixels[3 * (y * picture->width + x) + i] / 255;
                    away += (level - colours[c][i]) * (level - colours[c][i]);
                }
                float *patch = patches + (y / SIDE * COLUMNS + x / SIDE) * WIDTH;
                const float near = 4 * expf(-away / 0.06f) / (SIDE * SIDE);
                for (int d = 0; d < WIDTH; d++)
                    patch[d] += near * directions[c * WIDTH + d];
            }
}

/*
 * A patch of 4 times the colour that is asked for leads by 4 * 25 / sqrt(256), about 6, and one at the place by some 12
 * * 6 / 16 over one that is half an image away: encodings lose about 12 of 64 over that distance.
 */
static void embed_texts(void)
{
    static const double places[PLACES] = {0.15, 0.85, 0.05, 0.9}; /* of the image's width, of its height */
    for (int t = 0; t < TEXTS; t++)
        for (int w = 0; w < COLOURS + PLACES; w++)
            for (int d = 0; d < WIDTH && strstr(texts[t], words[w]) != NULL; d++) {
                const int across = w < COLOURS + 2, count = across ? COLUMNS : ROWS;
                if (w < COLOURS)
                    query[t * WIDTH + d] += 25 * directions[w * WIDTH + d];
                else if (across == (d >= HALF))
                    query[t * WIDTH + d] += 6 * (float)encoding(places[w - COLOURS] * count, count, d % HALF);
            }
}

/* keys = X + P, then attention, both on the device. */
static enum exit_code attend(struct demo *demo)
{
    clattn_sinusoidal_desc position = {sizeof position, .batch = 1, .length = PATCHES, .width = WIDTH, .add = 1};
    position.rows = ROWS;
    position.columns = COLUMNS;
    position.row_scale = 2 * acos(-1) / ROWS;
    position.column_scale = 2 * acos(-1) / COLUMNS;
    clattn_attention_desc desc = {sizeof desc, .batch = 1, .q_len = TEXTS, .kv_len = PATCHES, .head_dim = WIDTH};
    desc.q_heads = desc.kv_heads = 1;
    desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    clattn_plan **encode = demo_plan(demo), **plan = demo_plan(demo);
    CALL(clattn_sinusoidal_plan_create(demo->context, &position, encode, &demo->error));
    CALL(clattn_attention_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_sinusoidal_args places;
    clattn_sinusoidal_args_init(&places, *encode);
    clattn_attention_args args;
    clattn_attention_args_init(&args, *plan);
    places.offset = 1; /* DETR counts from 1 */
    TRY(demo_buffer(demo, patches, sizeof patches, &args.value));
    TRY(demo_buffer(demo, NULL, sizeof patches, &args.key));
    TRY(demo_buffer(demo, query, sizeof query, &args.query));
    TRY(demo_buffer(demo, NULL, sizeof query, &args.output));
    TRY(demo_buffer(demo, NULL, sizeof weights, &args.scores));
    places.input = args.value;
    places.output = args.key;
    CALL(clattn_sinusoidal_run(*encode, demo->queue, &places, 0, NULL, NULL, &demo->error));
    CALL(clattn_attention_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, args.scores, weights, sizeof weights);
}

/* The weights of text t in double precision. */
static void reference(int t, float *expected)
{
    double sum = 0, e[PATCHES];
    for (int p = 0; p < PATCHES; p++) {
        double score = 0;
        for (int d = 0; d < WIDTH; d++) {
            double place = d < HALF ? encoding(p / COLUMNS, ROWS, d) : encoding(p % COLUMNS, COLUMNS, d % HALF);
            score += (double)query[t * WIDTH + d] * ((double)patches[p * WIDTH + d] + place);
        }
        sum += e[p] = exp(score / sqrt(WIDTH));
    }
    for (int p = 0; p < PATCHES; p++)
        expected[p] = (float)(e[p] / sum);
}

static enum exit_code run(struct demo *demo)
{
    static struct heatmap_panel panels[TEXTS];
    static float expected[PATCHES];
    const struct picture *picture;
    double worst = 0, across[TEXTS] = {0};
    TRY(demo_image(demo, COLUMNS * SIDE, ROWS * SIDE, &picture));
    demo_normal(directions, COLOURS * WIDTH, 1 / sqrtf(WIDTH), 1);
    embed_patches(picture);
    embed_texts();
    TRY(attend(demo));
    for (int t = 0; t < TEXTS; t++) {
        int most = 0;
        for (int p = 0; p < PATCHES; p++) {
            most = weights[t * PATCHES + p] > weights[t * PATCHES + most] ? p : most;
            across[t] += (double)weights[t * PATCHES + p] * (p % COLUMNS);
        }
        printf("text      %-12s looks most at row %d, column %d\n", texts[t], most / COLUMNS, most % COLUMNS);
        reference(t, expected);
        worst = fmax(worst, demo_difference(weights + t * PATCHES, expected, PATCHES));
        panels[t] = (struct heatmap_panel){texts[t], weights + t * PATCHES, ROWS, COLUMNS, 0, 0, NULL, NULL, picture};
    }
    TRY(demo_check("weights of all texts", worst, 1e-5));
    TRY(demo_check("columns by which 'green left' lies right of 'green right'", across[2] - across[3], 0));
    return demo_picture(demo, &(struct heatmap){"image-text: where in the picture a text looks", "row of patches",
                                                "column of patches", panels, TEXTS, 3});
}

const struct demo_entry demo_image_text = {
    "image-text", "words look for colours and places among the patches of an image (DETR, Carion 2020)", true, run, 0};
