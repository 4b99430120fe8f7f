/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures for demos, first of all that which they look at where the user gives none: a house and two trees. */
#include "demo/common.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>

/* The colour at (x, y), both from 0 to 1, y downwards. What is nearest comes first. */
static colour scene(float x, float y)
{
    float hill = 0.66f + 0.03f * sinf(5 * x);
    if (x > 0.44f && x < 0.52f && y > 0.58f && y < 0.75f)
        return 0x6b4226; /* the door */
    if (((x > 0.36f && x < 0.42f) || (x > 0.56f && x < 0.62f)) && y > 0.54f && y < 0.61f)
        return 0xbfe3f5; /* windows */
    if (x > 0.32f && x < 0.66f && y > 0.48f && y < 0.75f)
        return 0xf3e3c3; /* walls */
    if (y > 0.32f && y <= 0.48f && fabsf(x - 0.49f) < 0.22f * (y - 0.32f) / 0.16f)
        return 0xb5322b; /* the roof */
    if (hypotf(x - 0.15f, y - 0.46f) < 0.115f || hypotf(x - 0.86f, y - 0.50f) < 0.095f)
        return 0x2e7d32; /* leaves */
    if ((fabsf(x - 0.15f) < 0.022f && y > 0.5f && y < 0.74f) || (fabsf(x - 0.86f) < 0.018f && y > 0.5f && y < 0.76f))
        return 0x6b4226; /* trunks */
    if (hypotf(x - 0.82f, y - 0.17f) < 0.085f)
        return 0xffd93b; /* the sun */
    if (hypotf((x - 0.24f) / 1.9f, y - 0.17f) < 0.05f || hypotf((x - 0.32f) / 1.6f, y - 0.145f) < 0.055f)
        return 0xffffff; /* a cloud */
    if (y > hill && fabsf(x - 0.48f) < 0.04f + 0.35f * (y - 0.75f) && y > 0.75f)
        return 0xcdb38b; /* the path */
    if (y > hill)
        return 0x8bc34a; /* grass */
    return 0x64b5f6;     /* sky */
}

enum exit_code demo_image(struct demo *demo, int width, int height, const struct picture **picture)
{
    assert(demo->num_pictures < DEMO_MOST);
    struct picture *made = &demo->pictures[demo->num_pictures++], fine;
    *picture = made;
    if (demo->image.pixels != NULL)
        return picture_resize(&demo->image, width, height, made);
    TRY(picture_create(&fine, 4 * width, 4 * height, COLOUR_WHITE)); /* the means of 4 x 4 pixels have smooth edges */
    for (int y = 0; y < fine.height; y++)
        for (int x = 0; x < fine.width; x++)
            picture_blend(&fine, x, y,
                          scene(((float)x + 0.5f) / (float)fine.width, ((float)y + 0.5f) / (float)fine.height), 1);
    enum exit_code code = picture_resize(&fine, width, height, made);
    picture_free(&fine);
    return code;
}

enum exit_code demo_colours(struct demo *demo, const float *levels, int width, int height,
                            const struct picture **picture)
{
    assert(demo->num_pictures < DEMO_MOST);
    struct picture *made = &demo->pictures[demo->num_pictures++];
    *picture = made;
    TRY(picture_create(made, width, height, COLOUR_BLACK));
    for (int i = 0; i < 3 * width * height; i++)
        made->pixels[i] = (unsigned char)(255 * fminf(fmaxf(levels[i], 0), 1) + 0.5f);
    return EXIT_DONE;
}

enum exit_code demo_grey(struct demo *demo, const float *levels, int stride, int width, int height,
                         const struct picture **picture)
{
    assert(demo->num_pictures < DEMO_MOST);
    struct picture *made = &demo->pictures[demo->num_pictures++];
    *picture = made;
    TRY(picture_create(made, width, height, COLOUR_BLACK));
    for (int i = 0; i < width * height; i++)
        picture_blend(made, i % width, i / width, COLOUR_WHITE, fminf(fmaxf(levels[i * stride], 0), 1));
    return EXIT_DONE;
}

enum exit_code demo_curve(struct demo *demo, const float *numbers, int count, const struct picture **picture)
{
    enum { SIDE = 360, LINE = 2 };
    const colour ink = 0x21618cu, grid = 0xdddddd;
    float largest = 0;
    char text[64];
    assert(demo->num_pictures < DEMO_MOST);
    struct picture *made = &demo->pictures[demo->num_pictures++];
    *picture = made;
    TRY(picture_create(made, SIDE, SIDE, COLOUR_WHITE));
    for (int i = 0; i < count; i++)
        largest = fmaxf(largest, numbers[i]);
    for (int quarter = 1; quarter < 4; quarter++)
        picture_rectangle(made, 0, SIDE * quarter / 4, SIDE, 1, grid);
    int above = 0;
    for (int x = 0; x < SIDE; x++) { /* a column from the height of the one before to its own */
        const float share = largest > 0 ? numbers[(int64_t)x * count / SIDE] / largest : 0;
        const int y = (int)((1 - share) * (SIDE - LINE) + 0.5f);
        const int from = x == 0 ? y : above;
        picture_rectangle(made, x, from < y ? from : y, 1, LINE + (from < y ? y - from : from - y), ink);
        above = y;
    }
    snprintf(text, sizeof text, "%.3g at most, %.3g in the end", (double)largest, (double)numbers[count - 1]);
    picture_text(made, SIDE - 8, 16, 1.5f, PICTURE_RIGHT, false, COLOUR_BLACK, text);
    return EXIT_DONE;
}
