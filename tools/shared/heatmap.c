/* SPDX-License-Identifier: Apache-2.0 */
/* Where everything of a figure lies, in pixels, and its drawing. */
#include "shared/heatmap.h"
#include <float.h>
#include <math.h>
#include <stdio.h>

#define MARGIN       24
#define TITLE_SIZE   2.25f /* of text: see picture_text */
#define CAPTION_SIZE 1.9f
#define LABEL_SIZE   1.6f
#define TITLE_HEIGHT 46
#define LABEL_HEIGHT 22  /* of a line of labels, and the least distance of one row's label from the next */
#define BETWEEN      16  /* from the cells of a panel to the labels of the next */
#define TICK         5   /* length of a tick */
#define MOST_CELL    56  /* pixels; the least is 1 */
#define LEAST_SIDE   40  /* of a panel: a single row is as high as this */
#define BAR_WIDTH    20  /* the colour scale's */
#define BAR_SPACE    110 /* with its numbers and what is before it */
#define LEAST_BAR    120 /* its height */
#define MOST_BAR     420

#define INK      0x262626u
#define EXCLUDED 0xc4c4c4u /* minus infinity: taken out */
#define NO_VALUE 0x787878u /* NaN and plus infinity */

#define VEIL      0x14102eu /* over a picture, where values are small */
#define VEIL_MOST 0.80f     /* what is hidden can be made out still */

/*
 * Every 17th of the 256 colours of viridis, which is in the public domain (CC0); between them it is straight to within
 * 2 of 255.
 */
static colour viridis(float share)
{
    static const colour keys[] = {0x440154, 0x481a6c, 0x472f7d, 0x414487, 0x39568c, 0x31688e, 0x2a788e, 0x23888e,
                                  0x1f988b, 0x22a884, 0x35b779, 0x54c568, 0x7ad151, 0xa5db36, 0xd2e21b, 0xfde725};
    const int last = (int)(sizeof keys / sizeof *keys) - 1;
    float place = (share < 0 ? 0 : share > 1 ? 1 : share) * (float)last;
    int key = (int)place < last ? (int)place : last - 1;
    colour mixed = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        float from = (float)(keys[key] >> shift & 255), to = (float)(keys[key + 1] >> shift & 255);
        mixed |= (colour)(from + (to - from) * (place - (float)key) + 0.5f) << shift;
    }
    return mixed;
}

/* ---- where things lie ---- */

struct plan {
    int columns;           /* of panels */
    int64_t width;         /* of the widest panel's cells */
    int64_t before, above; /* room for the row labels and the caption of each panel */
    int64_t left, top;     /* of the first panel, its room included */
    int64_t grid_width, grid_height;
    bool bar;  /* whether there are values, and so a scale */
    bool veil; /* whether those lie over pictures: the scale is of the veil then */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The side that a panel should have: the more there are, the smaller. */
static int64_t wanted_side(const struct heatmap *heatmap)
{
    return heatmap->count == 1 ? 560 : heatmap->count <= 4 ? 360 : 240;
}

static void label_of(const char *const *names, int64_t first, int64_t position, char text[32])
{
    if (names != NULL)
        snprintf(text, 32, "%s", names[position]);
    else
        snprintf(text, 32, "%lld", (long long)(first + position));
}

/* The width of the widest label of an axis. */
static int64_t label_width(const char *const *names, int64_t first, int64_t count)
{
    char text[32];
    float widest = 0;
    for (int64_t i = names != NULL || count == 0 ? 0 : count - 1; i < count; i++) {
        label_of(names, first, i, text);
        widest = fmaxf(widest, picture_text_width(text, LABEL_SIZE));
    }
    return (int64_t)ceilf(widest);
}

static bool has_cells(const struct heatmap_panel *panel)
{
    return panel->rows > 0 || panel->columns > 0;
}

/* Pixels of a cell in either direction; of a picture alone, those of all of it. */
static void cell_size(const struct heatmap *heatmap, const struct heatmap_panel *panel, int64_t *width, int64_t *height)
{
    int64_t side = wanted_side(heatmap);
    if (!has_cells(panel)) {
        int64_t longest = larger(panel->picture->width, panel->picture->height);
        *width = larger(1, panel->picture->width * side / longest);
        *height = larger(1, panel->picture->height * side / longest);
        return;
    }
    int64_t cell = side / larger(1, larger(panel->rows, panel->columns));
    cell = cell < 1 ? 1 : cell > MOST_CELL ? MOST_CELL : cell;
    *width = *height = cell;
    if (panel->columns > 0 && cell * panel->columns < LEAST_SIDE)
        *width = LEAST_SIDE / panel->columns;
    if (panel->rows > 0 && cell * panel->rows < LEAST_SIDE)
        *height = LEAST_SIDE / panel->rows;
    if (panel->column_names != NULL)
        *width = larger(*width, label_width(panel->column_names, 0, panel->columns) + 10);
    if (panel->row_names != NULL)
        *height = larger(*height, LABEL_HEIGHT);
}

/* A panel's size without its labels. */
static void panel_size(const struct heatmap *heatmap, const struct heatmap_panel *panel, int64_t *width,
                       int64_t *height)
{
    cell_size(heatmap, panel, width, height);
    if (has_cells(panel)) {
        *width = larger(1, *width * panel->columns);
        *height = larger(1, *height * panel->rows);
    }
}

/* From the top of a row of panels, which begins with panel `first`, to the next: captions, cells, labels. */
static int64_t row_height(const struct heatmap *heatmap, const struct plan *plan, int first)
{
    int64_t highest = 0, below = 14;
    for (int i = first; i < heatmap->count && i < first + plan->columns; i++) {
        int64_t width, height;
        panel_size(heatmap, &heatmap->panels[i], &width, &height);
        highest = larger(highest, height);
        below = has_cells(&heatmap->panels[i]) ? TICK + LABEL_HEIGHT + 14 : below;
    }
    return plan->above + highest + below;
}

/* The fewest panels beside each other that make a grid wider than high, of panels of these sizes. */
static int wide_enough(int count, int64_t width, int64_t height)
{
    int columns = 1;
    while (columns < count && columns * width < (count + columns - 1) / columns * height)
        columns++;
    return columns;
}

static struct plan lay_out(const struct heatmap *heatmap)
{
    struct plan plan = {.columns = heatmap->columns, .top = MARGIN + TITLE_HEIGHT - 10};
    int64_t labels = 0, highest = 0;
    for (int i = 0; i < heatmap->count; i++) {
        const struct heatmap_panel *panel = &heatmap->panels[i];
        int64_t width, height;
        panel_size(heatmap, panel, &width, &height);
        if (panel->caption != NULL) {
            width = larger(width, (int64_t)picture_text_width(panel->caption, CAPTION_SIZE));
            plan.above = LABEL_HEIGHT + 6;
        }
        plan.width = larger(plan.width, width);
        highest = larger(highest, height);
        labels = larger(labels, label_width(panel->row_names, panel->first_row, panel->rows));
        plan.bar = plan.bar || has_cells(panel);
        plan.veil = plan.veil || (has_cells(panel) && panel->picture != NULL);
    }
    plan.before = plan.bar ? labels + TICK + 8 : 0;
    plan.left = MARGIN + (plan.bar ? LABEL_HEIGHT : 0);
    if (plan.columns == 0)
        plan.columns = wide_enough(heatmap->count, plan.before + plan.width + BETWEEN, plan.above + highest);
    plan.grid_width = plan.columns * (plan.before + plan.width + BETWEEN) - BETWEEN;
    for (int i = 0; i < heatmap->count; i += plan.columns)
        plan.grid_height += row_height(heatmap, &plan, i);
    return plan;
}

/* Of the cells of all rows of panels. */
static int64_t cells_height(const struct plan *plan)
{
    return plan->grid_height - plan->above - LABEL_HEIGHT - TICK - 14;
}

void heatmap_size(const struct heatmap *heatmap, int64_t *width, int64_t *height)
{
    struct plan plan = lay_out(heatmap);
    *width = plan.left + plan.grid_width + (plan.bar ? BAR_SPACE : 0) + MARGIN;
    *width = larger(*width, (int64_t)picture_text_width(heatmap->title, TITLE_SIZE) + 2 * MARGIN);
    *height = plan.top + plan.grid_height + (plan.bar ? LABEL_HEIGHT : 0) + MARGIN / 2;
    if (plan.bar)
        *height += larger(0, LEAST_BAR - cells_height(&plan));
}

/* ---- values ---- */

struct range {
    float least, most;       /* the ends of the colour scale */
    bool excluded, no_value; /* what else there is */
};

/* From 0, unless there are negative numbers, to the largest. */
static struct range range_of(const struct heatmap *heatmap)
{
    struct range range = {.least = 0, .most = -FLT_MAX};
    for (int i = 0; i < heatmap->count; i++) {
        const struct heatmap_panel *panel = &heatmap->panels[i];
        for (int64_t j = 0; j < panel->rows * panel->columns && panel->values != NULL; j++) {
            float value = panel->values[j];
            range.excluded = range.excluded || value == -INFINITY;
            range.no_value = range.no_value || isnan(value) || value == INFINITY;
            if (isfinite(value)) {
                range.least = fminf(range.least, value);
                range.most = fmaxf(range.most, value);
            }
        }
    }
    if (!(range.most > range.least))
        range.most = range.least + 1;
    return range;
}

/* A share of 0 to 1 for a finite value: halves first, since the difference may overflow. */
static float share_of(const struct range *range, float value)
{
    return (value / 2 - range->least / 2) / (range->most / 2 - range->least / 2);
}

/* 1, 2 or 5 times a power of ten, no less than `least`. */
static double round_step(double least)
{
    double power = pow(10, floor(log10(least)));
    double ratio = least / power * (1 - 1e-9);
    return power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
}

/* ---- drawing ---- */

/* A finite value's colour, or over a picture a veil, which is the thinner the larger the value. */
static void draw_share(struct picture *picture, float share, const int64_t area[4], bool veil)
{
    if (!veil) {
        picture_rectangle(picture, area[0], area[1], area[2], area[3], viridis(share));
        return;
    }
    for (int64_t y = area[1]; y < area[1] + area[3]; y++)
        for (int64_t x = area[0]; x < area[0] + area[2]; x++)
            picture_blend(picture, x, y, VEIL, VEIL_MOST * (1 - sqrtf(share)));
}

static void draw_cell(struct picture *picture, const struct range *range, float value, const int64_t area[4], bool veil)
{
    if (isfinite(value))
        draw_share(picture, share_of(range, value), area, veil);
    else
        picture_rectangle(picture, area[0], area[1], area[2], area[3], value == -INFINITY ? EXCLUDED : NO_VALUE);
}

/* Ticks with labels along the lower edge (across) or the left one. */
static void draw_axis(struct picture *picture, int64_t left, int64_t edge, int64_t cell, int64_t count, int64_t first,
                      const char *const *names, bool across)
{
    char text[32];
    double room = (double)(across ? label_width(names, first, count) + 12 : LABEL_HEIGHT);
    int64_t step = names != NULL ? 1 : (int64_t)round_step(fmax(1, room / (double)cell));
    for (int64_t i = names != NULL ? 0 : (step - first % step) % step; i < count; i += step) {
        int64_t middle = left + i * cell + cell / 2;
        label_of(names, first, i, text);
        if (across) {
            picture_rectangle(picture, middle, edge, 1, TICK, INK);
            picture_text(picture, (float)middle, (float)(edge + TICK + 11), LABEL_SIZE, PICTURE_CENTRE, false, INK,
                         text);
        } else {
            picture_rectangle(picture, edge - TICK, middle, TICK, 1, INK);
            picture_text(picture, (float)(edge - TICK - 4), (float)middle, LABEL_SIZE, PICTURE_RIGHT, false, INK, text);
        }
    }
}

static void draw_frame(struct picture *picture, int64_t x, int64_t y, int64_t width, int64_t height)
{
    picture_rectangle(picture, x - 1, y - 1, width + 2, 1, INK);
    picture_rectangle(picture, x - 1, y + height, width + 2, 1, INK);
    picture_rectangle(picture, x - 1, y - 1, 1, height + 2, INK);
    picture_rectangle(picture, x + width, y - 1, 1, height + 2, INK);
}

/* A panel whose cells begin at (x, y). */
static enum exit_code draw_panel(struct picture *picture, const struct heatmap *heatmap,
                                 const struct heatmap_panel *panel, const struct range *range, int64_t x, int64_t y)
{
    int64_t width, height, cell_width, cell_height;
    panel_size(heatmap, panel, &width, &height);
    cell_size(heatmap, panel, &cell_width, &cell_height);
    if (panel->picture != NULL) {
        struct picture fitted;
        TRY(picture_resize(panel->picture, (int)width, (int)height, &fitted));
        picture_paste(picture, x, y, &fitted);
        picture_free(&fitted);
    }
    for (int64_t i = 0; i < panel->rows && panel->values != NULL; i++)
        for (int64_t j = 0; j < panel->columns; j++) {
            const int64_t area[4] = {x + j * cell_width, y + i * cell_height, cell_width, cell_height};
            draw_cell(picture, range, panel->values[i * panel->columns + j], area, panel->picture != NULL);
        }
    draw_frame(picture, x, y, width, height);
    if (panel->caption != NULL)
        picture_text(picture, (float)x + (float)width / 2, (float)(y - 15), CAPTION_SIZE, PICTURE_CENTRE, false, INK,
                     panel->caption);
    if (panel->values != NULL) {
        draw_axis(picture, x, y + height, cell_width, panel->columns, panel->first_column, panel->column_names, true);
        draw_axis(picture, y, x, cell_height, panel->rows, panel->first_row, panel->row_names, false);
    }
    return EXIT_DONE;
}

/* The scale with its numbers, and what grey means where there is any. */
static void draw_bar(struct picture *picture, const struct range *range, bool veil, int64_t x, int64_t y,
                     int64_t height)
{
    for (int64_t i = 0; i < height; i++) {
        const int64_t line[4] = {x, y + height - 1 - i, BAR_WIDTH, 1};
        draw_share(picture, (float)i / (float)(height - 1), line, veil);
    }
    draw_frame(picture, x, y, BAR_WIDTH, height);
    double least = (double)range->least, span = (double)range->most - least;
    double step = round_step(fmax(span / 6, span * LABEL_HEIGHT / (double)height));
    for (double n = ceil(least / step); n * step <= least + span * (1 + 1e-6); n++) {
        char text[32];
        int64_t at = y + height - 1 - (int64_t)((n * step - least) / span * (double)(height - 1));
        snprintf(text, sizeof text, "%.3g", n * step);
        picture_rectangle(picture, x + BAR_WIDTH, at, TICK, 1, INK);
        picture_text(picture, (float)(x + BAR_WIDTH + TICK + 4), (float)at, LABEL_SIZE, PICTURE_LEFT, false, INK, text);
    }
    y += height;
    const struct {
        bool shown;
        colour ink;
        const char *name;
    } greys[] = {{range->excluded, EXCLUDED, "-inf"}, {range->no_value, NO_VALUE, "NaN, inf"}};
    for (int i = 0; i < 2; i++)
        if (greys[i].shown) {
            y += 12;
            picture_rectangle(picture, x, y, BAR_WIDTH, BAR_WIDTH / 2 + 4, greys[i].ink);
            draw_frame(picture, x, y, BAR_WIDTH, BAR_WIDTH / 2 + 4);
            picture_text(picture, (float)(x + BAR_WIDTH + TICK + 4), (float)(y + 7), LABEL_SIZE, PICTURE_LEFT, false,
                         INK, greys[i].name);
            y += BAR_WIDTH / 2 + 4;
        }
}

enum exit_code heatmap_draw(const struct heatmap *heatmap, struct picture *picture)
{
    struct plan plan = lay_out(heatmap);
    struct range range = range_of(heatmap);
    int64_t width, height;
    heatmap_size(heatmap, &width, &height);
    TRY(picture_create(picture, width, height, COLOUR_WHITE));
    picture_text(picture, MARGIN, MARGIN + 4, TITLE_SIZE, PICTURE_LEFT, false, INK, heatmap->title);
    int64_t y = plan.top + plan.above;
    for (int i = 0; i < heatmap->count; i++) {
        int64_t x = plan.left + plan.before + i % plan.columns * (plan.before + plan.width + BETWEEN);
        y += i > 0 && i % plan.columns == 0 ? row_height(heatmap, &plan, i - plan.columns) : 0;
        enum exit_code code = draw_panel(picture, heatmap, &heatmap->panels[i], &range, x, y);
        if (code != EXIT_DONE) {
            picture_free(picture);
            return code;
        }
    }
    if (!plan.bar)
        return EXIT_DONE;
    int64_t cells = cells_height(&plan), bar = cells < LEAST_BAR ? LEAST_BAR : cells > MOST_BAR ? MOST_BAR : cells;
    draw_bar(picture, &range, plan.veil, plan.left + plan.grid_width + 28, plan.top + plan.above, bar);
    picture_text(picture, (float)plan.left + (float)(plan.grid_width + plan.before) / 2,
                 (float)(plan.top + plan.grid_height + 4), CAPTION_SIZE, PICTURE_CENTRE, false, INK,
                 heatmap->column_axis);
    picture_text(picture, MARGIN + 2, (float)(plan.top + plan.above) + (float)cells / 2, CAPTION_SIZE, PICTURE_CENTRE,
                 true, INK, heatmap->row_axis);
    return EXIT_DONE;
}
