/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures of 8-bit red, green and blue: PNG files in and out by libpng, scaling, rectangles, text. */
#ifndef TOOL_PICTURE_H
#define TOOL_PICTURE_H

#include "shared/message.h"

/* Of any picture, read or drawn: 192 MiB. */
#define PICTURE_MAX_PIXELS (INT64_C(1) << 26)

/* Zeroed, it holds nothing. */
struct picture {
    int width, height;
    unsigned char *pixels; /* [height, width, 3], the top row first; malloc'ed */
};

typedef uint32_t colour; /* 0xRRGGBB */

#define COLOUR_WHITE 0xffffffu
#define COLOUR_BLACK 0x000000u

/* Makes a picture of one colour. EXIT_FAILED where it would have more than PICTURE_MAX_PIXELS or memory is short. */
enum exit_code picture_create(struct picture *picture, int64_t width, int64_t height, colour background);
void picture_free(struct picture *picture);

/*
 * Reads a PNG file of any kind: grey and palettes become colours, what is transparent lies on white. Files are not
 * trusted; what is no PNG, is damaged or has more than PICTURE_MAX_PIXELS is EXIT_BAD_FILE.
 */
enum exit_code picture_read(const char *path, struct picture *picture);

/* Writes a PNG to the open file of `path`. The descriptor stays open. */
enum exit_code picture_write(const struct picture *picture, const char *path, int descriptor);

/* Makes `to` a copy of another size: each pixel is the mean of the area that it covers. */
enum exit_code picture_resize(const struct picture *picture, int width, int height, struct picture *to);

/* Drawing. What lies outside is left out. `share` of 0 to 1 is how much of the colour there is over what was there. */
void picture_blend(struct picture *picture, int64_t x, int64_t y, colour ink, float share);
void picture_rectangle(struct picture *picture, int64_t x, int64_t y, int64_t width, int64_t height, colour ink);
void picture_paste(struct picture *picture, int64_t x, int64_t y, const struct picture *other);

/* Where text lies at a point: its left, middle or right in the direction of reading. */
enum picture_align { PICTURE_LEFT, PICTURE_CENTRE, PICTURE_RIGHT };

/*
 * Writes a line of ASCII with capitals 7 * size pixels high, their middle at y. `upward` turns it a quarter, to be read
 * from below; x is then their middle.
 */
void picture_text(struct picture *picture, float x, float y, float size, enum picture_align align, bool upward,
                  colour ink, const char *text);

/* Pixels along the line. */
float picture_text_width(const char *text, float size);

#endif
