/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of matrices: cells coloured by value, one scale with its numbers for all panels, axes in positions. In the
 * colour map viridis (Smith and van der Walt 2015); over a picture, which is seen the better the larger the value. What
 * is no finite number is grey.
 */
#ifndef TOOL_HEATMAP_H
#define TOOL_HEATMAP_H

#include "shared/picture.h"

/* One matrix, or a picture, or a matrix over a picture. */
struct heatmap_panel {
    const char *caption;                                /* above it; NULL: none */
    const float *values;                                /* [rows, columns]; NULL: the picture alone */
    int64_t rows, columns;                              /* of values: rows go down, columns across */
    int64_t first_row, first_column;                    /* what the axes count from */
    const char *const *row_names, *const *column_names; /* in place of numbers; NULL: numbers */
    const struct picture *picture; /* what the values are laid over, stretched to their cells, or NULL */
};

struct heatmap {
    const char *title;
    const char *row_axis, *column_axis; /* what the positions are of, such as "query" and "key" */
    const struct heatmap_panel *panels;
    int count;   /* of panels, at least 1 */
    int columns; /* panels beside each other; 0: chosen by their shape */
};

/* Pixels of the figure, from everything but the values and pixels, which need not be there. */
void heatmap_size(const struct heatmap *heatmap, int64_t *width, int64_t *height);

/* Draws it into a new picture. Fails as picture_create does. */
enum exit_code heatmap_draw(const struct heatmap *heatmap, struct picture *picture);

#endif
