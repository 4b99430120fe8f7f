/* SPDX-License-Identifier: Apache-2.0 */
/* Policy: which tile a kernel takes on a device. Data, first match wins. */
#ifndef CLA_SELECT_TILES_H
#define CLA_SELECT_TILES_H

#include "ocl/device.h"
#include "problem/problem.h"

/* A tile of the kernels built on cl/lib/block.cl: 4 height query rows by 4 width keys. */
struct cla_tile {
    int width;     /* work-items along keys */
    int height;    /* work-items along query rows */
    int chunk;     /* head dims of queries and keys, or keys with their values, that are in local memory at a time */
    int most_sums; /* value dims that a row's work-items have sums for */
};

/* A tile of cl/split_kv.cl. */
struct cla_split_tile {
    int rows;      /* query rows, a power of two */
    int group;     /* work-items */
    int sharers;   /* work-items that share a key */
    int most_sums; /* that a work-item has */
};

/* What a kernel needs for a problem with a tile. */
struct cla_needs {
    int64_t local_bytes;
    int64_t sums; /* as the tile counts its most_sums; 0 where none are kept */
};

typedef struct cla_needs cla_tile_needs(const struct cla_tile *tile, const struct cla_problem *problem);
typedef struct cla_needs cla_split_tile_needs(const struct cla_split_tile *tile, const struct cla_problem *problem);

/* For the kernels that have a chunk of both operands in local memory and no more: products. */
struct cla_needs cla_product_needs(const struct cla_tile *tile, const struct cla_problem *problem);

/*
 * The `index`-th tile, best first, whose work-group and local memory the device allows and whose sums are enough; NULL
 * past the last. A tile may still be refused by the compiled kernel, whose own limit can be lower; then the next is
 * tried. Where there is none at all, local memory is what lacks: the smallest tile takes any number of sums.
 */
const struct cla_tile *cla_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                    cla_tile_needs *needs, size_t index);

/*
 * The same for `rows` query rows that share keys. A tile that would be half empty or more is passed over; one that
 * takes fewer rows than there are comes after those that take more.
 */
const struct cla_split_tile *cla_split_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                                int64_t rows, cla_split_tile_needs *needs, size_t index);

#endif
