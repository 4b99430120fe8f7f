/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text in pictures. A glyph is a sheet of points, five by nine; neighbouring points are joined by strokes, which are
 * drawn with smooth edges at any size. Letters are as wide as their points.
 */
#include "shared/picture.h"
#include <math.h>
#include <string.h>

#define GLYPH_WIDTH  5
#define GLYPH_HEIGHT 9     /* seven down to the baseline, two below */
#define GAP          2     /* from the last column of a letter to the first of the next */
#define SPACE        3     /* columns of a space */
#define RADIUS       0.45f /* of a stroke, in columns */

/* 16 glyphs a row of the sheet, in the order of ASCII from the space; the last stands for all that is not ASCII. */
static const char *const sheet[] = {
    /* clang-format off */
    /* space ! " # $ % & ' ( ) * + , - . slash */
    "..... ..#.. .#.#. .#.#. ..#.. ##..# .##.. ..#.. ...#. .#... ..... ..... ..... ..... ..... ....#",
    "..... ..#.. .#.#. .#.#. .#### ##..# #..#. ..#.. ..#.. ..#.. ..#.. ..#.. ..... ..... ..... ....#",
    "..... ..#.. ..... ##### #.#.. ...#. #.#.. ..... .#... ...#. #.#.# ..#.. ..... ..... ..... ...#.",
    "..... ..#.. ..... .#.#. .###. ..#.. .#... ..... .#... ...#. .###. ##### ..... .###. ..... ..#..",
    "..... ..#.. ..... ##### ..#.# .#... #.#.# ..... .#... ...#. #.#.# ..#.. ..... ..... ..... .#...",
    "..... ..... ..... .#.#. ####. #..## #..#. ..... ..#.. ..#.. ..#.. ..#.. ..... ..... ..... #....",
    "..... ..#.. ..... .#.#. ..#.. #..## .##.# ..... ...#. .#... ..... ..... ..#.. ..... ..#.. #....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..#.. ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... .....",
    /* 0 1 2 3 4 5 6 7 8 9 : ; < = > ? */
    ".###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###. ..... ..... ...#. ..... .#... .###.",
    "#...# .##.. #...# #...# ..##. #.... #.... ....# #...# #...# ..... ..... ..#.. ..... ..#.. #...#",
    "#...# ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..#.. ..#.. .#... ##### ...#. ....#",
    "#...# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .#### ..... ..... #.... ..... ....# ...#.",
    "#...# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....# ..... ..... .#... ##### ...#. ..#..",
    "#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ....# ..... ..... ..#.. ..... ..#.. .....",
    ".###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .###. ..#.. ..#.. ...#. ..... .#... ..#..",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..#.. ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... ..... .....",
    /* @ A B C D E F G H I J K L M N O */
    ".###. ..#.. ####. .###. ####. ##### ##### .###. #...# .###. ....# #...# #.... #...# #...# .###.",
    "#...# .#.#. #...# #...# #...# #.... #.... #...# #...# ..#.. ....# #..#. #.... ##.## #...# #...#",
    "#.### #...# #...# #.... #...# #.... #.... #.... #...# ..#.. ....# #.#.. #.... #.#.# ##..# #...#",
    "#.#.# #...# ####. #.... #...# ####. ####. #..## ##### ..#.. ....# ##... #.... #...# #.#.# #...#",
    "#.### ##### #...# #.... #...# #.... #.... #...# #...# ..#.. ....# #.#.. #.... #...# #..## #...#",
    "#.... #...# #...# #...# #...# #.... #.... #...# #...# ..#.. #...# #..#. #.... #...# #...# #...#",
    ".###. #...# ####. .###. ####. ##### #.... .###. #...# .###. .###. #...# ##### #...# #...# .###.",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    /* P Q R S T U V W X Y Z [ \ ] ^ _ */
    "####. .###. ####. .#### ##### #...# #...# #...# #...# #...# ##### ..##. #.... .##.. ..#.. .....",
    "#...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....# ..#.. #.... ..#.. .#.#. .....",
    "#...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#. ..#.. .#... ..#.. #...# .....",
    "####. #...# ####. .###. ..#.. #...# #...# #...# ..#.. ..#.. ..#.. ..#.. ..#.. ..#.. ..... .....",
    "#.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#... ..#.. ...#. ..#.. ..... .....",
    "#.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #.... ..#.. ....# ..#.. ..... .....",
    "#.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. ##### ..##. ....# .##.. ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... #####",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    /* ` a b c d e f g h i j k l m n o */
    ".#... ..... #.... ..... ....# ..... ..##. ..... #.... ..#.. ...#. #.... ..#.. ..... ..... .....",
    "..#.. ..... #.... ..... ....# ..... .#... ..... #.... ..... ..... #.... ..#.. ..... ..... .....",
    "..... .###. ####. .###. .#### .###. ###.. .#### ####. ..#.. ...#. #..#. ..#.. ##.#. ####. .###.",
    "..... ....# #...# #...# #...# #...# .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...# #...#",
    "..... .#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.# #...# #...#",
    "..... #...# #...# #...# #...# #.... .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...# #...#",
    "..... .#### ####. .###. .#### .#### .#... .#### #...# ..#.. ...#. #..#. ..#.. #.#.# #...# .###.",
    "..... ..... ..... ..... ..... ..... ..... ....# ..... ..... ...#. ..... ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... ..... ..... .....",
    /* p q r s t u v w x y z { | } ~ other */
    "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ...#. ..#.. .#... ..... #####",
    "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ..#.. ..#.. ..#.. ..... #...#",
    "####. .#### #.##. .#### ###.. #...# #...# #...# #...# #...# ##### ..#.. ..#.. ..#.. .##.. #...#",
    "#...# #...# ##... #.... .#... #...# #...# #.#.# .#.#. #...# ...#. .#... ..#.. ...#. #..## #...#",
    "#...# #...# #.... .###. .#... #...# #...# #.#.# ..#.. #...# ..#.. ..#.. ..#.. ..#.. ..... #...#",
    "#...# #...# #.... ....# .#... #...# .#.#. #.#.# .#.#. #...# .#... ..#.. ..#.. ..#.. ..... #...#",
    "####. .#### #.... ####. ..##. .#### ..#.. .#.#. #...# .#### ##### ...#. ..#.. .#... ..... #####",
    "#.... ....# ..... ..... ..... ..... ..... ..... ..... ....# ..... ..... ..... ..... ..... .....",
    "#.... ....# ..... ..... ..... ..... ..... ..... ..... .###. ..... ..... ..... ..... ..... .....",
    /* clang-format on */
};

/* Whether a point of a glyph is set; none is outside. */
static bool point(int glyph, int x, int y)
{
    if (x < 0 || y < 0 || x >= GLYPH_WIDTH || y >= GLYPH_HEIGHT)
        return false;
    return sheet[glyph / 16 * GLYPH_HEIGHT + y][glyph % 16 * (GLYPH_WIDTH + 1) + x] == '#';
}

static int glyph_of(char character)
{
    return character >= ' ' && character <= '~' ? character - ' ' : '~' + 1 - ' ';
}

/* The first and last columns with a point. */
static void columns_of(int glyph, int *first, int *last)
{
    *first = GLYPH_WIDTH;
    *last = -1;
    for (int x = 0; x < GLYPH_WIDTH; x++)
        for (int y = 0; y < GLYPH_HEIGHT; y++)
            if (point(glyph, x, y)) {
                *first = x < *first ? x : *first;
                *last = x;
            }
}

/* Columns from the beginning of a letter to that of the next. */
static int advance(int glyph)
{
    int first, last;
    columns_of(glyph, &first, &last);
    return last < 0 ? SPACE : last - first + GAP;
}

float picture_text_width(const char *text, float size)
{
    int columns = 0;
    for (const char *c = text; *c != '\0'; c++)
        columns += advance(glyph_of(*c));
    return columns > 0 ? (float)(columns - GAP + 1) * size : 0;
}

/* The distance from (x, y) to the stroke from (x0, y0) to its neighbour (x0 + dx, y0 + dy), or to the point alone. */
static float distance(float x, float y, int x0, int y0, int dx, int dy)
{
    float u = x - (float)x0, v = y - (float)y0, length = (float)(dx * dx + dy * dy);
    float along = length > 0 ? (u * (float)dx + v * (float)dy) / length : 0;
    along = along < 0 ? 0 : along > 1 ? 1 : along;
    return hypotf(u - along * (float)dx, v - along * (float)dy);
}

/* The distance from (x, y), in columns and rows, to the nearest stroke of a glyph. */
static float distance_to_glyph(int glyph, float x, float y)
{
    static const int steps[5][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}, {-1, 1}};
    float least = GLYPH_HEIGHT;
    for (int y0 = (int)y - 2; y0 <= (int)y + 2; y0++)
        for (int x0 = (int)x - 2; x0 <= (int)x + 2; x0++)
            for (int i = 0; i < 5; i++) {
                int dx = steps[i][0], dy = steps[i][1];
                /* a diagonal joins what nothing straight joins */
                bool joined = point(glyph, x0, y0) && point(glyph, x0 + dx, y0 + dy) &&
                              (dx * dy == 0 || (!point(glyph, x0 + dx, y0) && !point(glyph, x0, y0 + dy)));
                if (joined)
                    least = fminf(least, distance(x, y, x0, y0, dx, dy));
            }
    return least;
}

void picture_text(struct picture *picture, float x, float y, float size, enum picture_align align, bool upward,
                  colour ink, const char *text)
{
    /* along and across the line, from the middle of the first capital's left edge, in pixels */
    float start = align == PICTURE_LEFT ? 0 : -picture_text_width(text, size) / (align == PICTURE_CENTRE ? 2 : 1);
    start += size / 2;
    for (; *text != '\0'; text++) {
        int glyph = glyph_of(*text), first, last;
        columns_of(glyph, &first, &last);
        int from = (int)floorf(start - size), to = (int)ceilf(start + (float)(last - first + 1) * size);
        int up = (int)floorf(-4 * size), down = (int)ceilf((GLYPH_HEIGHT - 3) * size);
        for (int a = from; a <= to && last >= 0; a++)
            for (int b = up; b <= down; b++) {
                float column = ((float)a - start) / size + (float)first, row = (float)b / size + 3;
                float share = 0.5f + (RADIUS - distance_to_glyph(glyph, column, row)) * size;
                share = share < 0 ? 0 : share > 1 ? 1 : share;
                int64_t px = (int64_t)floorf(x) + (upward ? b : a), py = (int64_t)floorf(y) + (upward ? -a : b);
                picture_blend(picture, px, py, ink, share);
            }
        start += (float)advance(glyph) * size;
    }
}
