/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A convolution as multi-head attention: each head looks at one place beside the pixel, and W_O mixes what they bring.
 *
 *   score_h(q, k) = -a (|d|^2 - 2 <d, D_h>), d = k - q     a quadratic in the distance, the highest at d = D_h
 *   convolution(X)_q = sum_h W_h x(q + D_h) + b            one head for each D_h of a K x K kernel
 *
 * Cordonnier, Loukas and Jaggi 2019, "On the Relationship between Self-Attention and Convolutional Layers", theorem 1
 * and equation 9. To the softmax only what depends on k matters of a score: -a |k|^2 + 2a <k, q + D_h>. That is a dot
 * product of three features, (|k|^2, k) of the key and a (-1, 2 (q + D_h)) of the query, so plain attention does it,
 * and one key head serves all query heads. With a = 32 the weight beside the best one is e^-32. At the border a head
 * finds the nearest pixel: the image is continued by its edges.
 */
#include "demo/common.h"
#include <stdio.h>
#include <string.h>

enum { WIDTH = 80, HEIGHT = 60, PIXELS = WIDTH * HEIGHT, K = 3, HEADS = K * K, COLOURS = 3, FILTERS = 2, AROUND = 7 };

static const float kernels[FILTERS * HEADS] = {-.25f, 0,    .25f,  -.5f, 0, .5f, -.25f, 0,   .25f, /* Sobel's */
                                               -.25f, -.5f, -.25f, 0,    0, 0,   .25f,  .5f, .25f};
static const float grey[COLOURS] = {0.299f, 0.587f, 0.114f}, bias[FILTERS] = {0.5f, 0.5f};
static float image[PIXELS * COLOURS], query[HEADS][PIXELS][3], key[PIXELS][3], w_o[FILTERS * HEADS * COLOURS];
static float output[PIXELS * FILTERS], expected[PIXELS * FILTERS], weights[HEADS][PIXELS];

/* Features of positions, and W_O: filter f takes from head h its kernel's element times the grey of the colours. */
static void fill(void)
{
    const float a = 32;
    for (int p = 0; p < PIXELS; p++) {
        const float x = (float)(p % WIDTH), y = (float)(p / WIDTH); /* whole numbers: the scores are exact */
        const float of_key[3] = {x * x + y * y, x, y};
        memcpy(key[p], of_key, sizeof of_key);
        for (int h = 0; h < HEADS; h++) {
            const float of_query[3] = {-a, 2 * a * (x + (float)(h % K - K / 2)), 2 * a * (y + (float)(h / K - K / 2))};
            memcpy(query[h][p], of_query, sizeof of_query);
        }
    }
    for (int i = 0; i < FILTERS * HEADS * COLOURS; i++)
        w_o[i] = kernels[i / COLOURS] * grey[i % COLOURS];
}

/* The convolution as one writes it down. */
static void convolve(void)
{
    for (int i = 0; i < PIXELS * FILTERS; i++) {
        int p = i / FILTERS, f = i % FILTERS;
        double sum = (double)bias[f];
        for (int h = 0; h < HEADS; h++) {
            int x = p % WIDTH + h % K - K / 2, y = p / WIDTH + h / K - K / 2;
            x = x < 0 ? 0 : x >= WIDTH ? WIDTH - 1 : x;
            y = y < 0 ? 0 : y >= HEIGHT ? HEIGHT - 1 : y;
            for (int c = 0; c < COLOURS; c++)
                sum += (double)kernels[f * HEADS + h] * (double)grey[c] * (double)image[(y * WIDTH + x) * COLOURS + c];
        }
        expected[i] = (float)sum;
    }
}

/* Attention of `length` pixels, and where there is a buffer for them their weights, [HEADS, length, PIXELS]. */
static enum exit_code attend(struct demo *demo, int64_t length, clattn_attention_args args)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.kv_heads = 1;
    desc.q_heads = HEADS;
    desc.q_len = length;
    desc.kv_len = PIXELS;
    desc.head_dim = desc.value_dim = 3;
    desc.scale = 1;
    desc.query = (clattn_layout){CLATTN_F32, {0, PIXELS * 3, 3, 1}};
    desc.output = (clattn_layout){CLATTN_F32, {PIXELS * HEADS * 3, 3, HEADS * 3, 1}}; /* heads beside each other */
    desc.scores_stage = args.scores.mem != NULL ? CLATTN_SCORES_WEIGHTS : CLATTN_SCORES_NONE;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_attention_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_plan_lengths(*plan, &args.q_len, &args.kv_len, &args.offset);
    CALL(clattn_attention_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return EXIT_DONE;
}

/* output = heads W_O^T + b */
static enum exit_code mix(struct demo *demo, clattn_buffer heads)
{
    clattn_linear_desc desc;
    clattn_linear_desc_init(&desc);
    desc.batch = desc.bias = 1;
    desc.length = PIXELS;
    desc.in_features = HEADS * COLOURS;
    desc.out_features = FILTERS;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_linear_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_linear_args args;
    clattn_linear_args_init(&args, *plan);
    args.input = heads;
    TRY(demo_buffer(demo, w_o, sizeof w_o, &args.weight));
    TRY(demo_buffer(demo, bias, sizeof bias, &args.bias));
    TRY(demo_buffer(demo, NULL, sizeof output, &args.output));
    CALL(clattn_linear_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, args.output, output, sizeof output);
}

/* The image and its edges, and around a pixel in the middle the places where its heads looked. */
static enum exit_code draw(struct demo *demo, const struct picture *picture)
{
    static struct heatmap_panel panels[3 + HEADS] = {
        {.caption = "image"}, {.caption = "edges across"}, {.caption = "edges down"}};
    static float near[HEADS][AROUND * AROUND];
    static char captions[HEADS][24];
    const int left = WIDTH / 2 - AROUND / 2, top = HEIGHT / 2 - AROUND / 2;
    panels[0].picture = picture;
    for (int f = 0; f < FILTERS; f++)
        TRY(demo_grey(demo, output + f, FILTERS, WIDTH, HEIGHT, &panels[1 + f].picture));
    for (int h = 0; h < HEADS; h++) {
        for (int i = 0; i < AROUND * AROUND; i++)
            near[h][i] = weights[h][(top + i / AROUND) * WIDTH + left + i % AROUND];
        snprintf(captions[h], sizeof captions[h], "head %d: (%d, %d)", h, h % K - K / 2, h / K - K / 2);
        panels[3 + h] = (struct heatmap_panel){captions[h], near[h], AROUND, AROUND, top, left, NULL, NULL, NULL};
    }
    return demo_picture(demo, &(struct heatmap){"convolution: nine heads are the places of a 3 x 3 kernel", "row",
                                                "column", panels, 3 + HEADS, 3});
}

static enum exit_code run(struct demo *demo)
{
    const struct picture *picture;
    const size_t middle = HEIGHT / 2 * WIDTH + WIDTH / 2;
    clattn_attention_args args = {.struct_size = sizeof args};
    TRY(demo_image(demo, WIDTH, HEIGHT, &picture));
    for (int i = 0; i < PIXELS * COLOURS; i++)
        image[i] = (float)picture->pixels[i] / 255;
    fill();
    TRY(demo_buffer(demo, query, sizeof query, &args.query));
    TRY(demo_buffer(demo, key, sizeof key, &args.key));
    TRY(demo_buffer(demo, image, sizeof image, &args.value));
    TRY(demo_buffer(demo, NULL, HEADS * sizeof image, &args.output));
    TRY(attend(demo, PIXELS, args));
    TRY(mix(demo, args.output));
    convolve();
    printf("shapes    %d pixels, %d heads over 1 key head, W_O [%d, %d]\n", PIXELS, HEADS, FILTERS, HEADS * COLOURS);
    TRY(demo_check("attention against the convolution", demo_difference(output, expected, PIXELS * FILTERS), 1e-4));
    args.query = demo_at(args.query, middle * sizeof query[0][0]); /* once more for one pixel, to see its weights */
    TRY(demo_buffer(demo, NULL, sizeof weights, &args.scores));
    TRY(attend(demo, 1, args));
    TRY(demo_read(demo, args.scores, weights, sizeof weights));
    return draw(demo, picture);
}

const struct demo_entry demo_convolution = {
    "convolution", "nine heads that look at a pixel's neighbours are a 3 x 3 convolution (Cordonnier 2019)", true, run,
    0};
