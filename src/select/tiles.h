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
    int most_sums; /* value dims that the registers of a row's work-items have sums for: where sums are kept, no more */
};

/* A tile of cl/split_kv.cl. */
struct cla_split_tile {
    int rows;    /* query rows, a power of two */
    int group;   /* work-items */
    int sharers; /* work-items that share a key */
};

/* Bytes of local memory that a kernel needs for a problem with a tile; INT64_MAX where registers would be too few. */
typedef int64_t cla_local_bytes(const struct cla_tile *tile, const struct cla_problem *problem);

/*
 * The `index`-th tile, best first, whose work-group and local memory the device allows; NULL past the last. A tile may
 * still be refused by the compiled kernel, whose own limit can be lower; then the next is tried.
 */
const struct cla_tile *cla_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                    cla_local_bytes *local_bytes, size_t index);

/* The same for that kernel. */
typedef int64_t cla_split_local_bytes(const struct cla_split_tile *tile, const struct cla_problem *problem);

/*
 * The same for `rows` query rows that share keys. A tile that would be half empty or more is passed over; one that
 * takes fewer rows than there are comes after those that take more.
 */
const struct cla_split_tile *cla_split_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                                int64_t rows, cla_split_local_bytes *local_bytes, size_t index);

#endif
