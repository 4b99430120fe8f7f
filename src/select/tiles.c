/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of the work-group kernels. A work-item holds 4 x 4 scores, so a tile has as many queries and keys as 4 times
 * its sides. Large tiles read keys and values less often, as 1 / queries; small ones fit devices with little local
 * memory. The last row of each table needs one work-item and a few hundred bytes, so every device has one: it keeps
 * sums in memory, as many as there are.
 *
 * On a GPU at least two work-groups should share a compute unit, so that one computes while the other waits for memory
 * or at a barrier: 64 KiB of local memory are two times 32, and 65 536 registers two times 256 work-items with 128.
 * Flash's work-items have 16 sums for each 4 width of the value dims, and about 90 other numbers: two times 16 fit,
 * which for larger value dims makes a tile wider and less high. cl/README.md has what compilers take.
 */
#include "select/tiles.h"
#include <limits.h>

static const struct cla_tile tiles[] = {
    /* width height chunk sums   flash's local memory */
    {16, 16, 32, 128},   /* 32 768 bytes */
    {16, 8, 32, 128},    /* 20 480 */
    {32, 8, 16, 256},    /* 26 624 */
    {64, 4, 8, 1024},    /* 25 088; from 513 value dims on, sums are up to four times 16 */
    {8, 8, 32, INT_MAX}, /* 12 288; from 129 value dims on, sums are in memory */
    {4, 4, 16, INT_MAX}, /*  3 072 */
    {1, 1, 4, INT_MAX},  /*    192 */
};

struct cla_needs cla_product_needs(const struct cla_tile *tile, const struct cla_problem *problem)
{
    (void)problem;
    return (struct cla_needs){.local_bytes = 4 * (4 * tile->width + 4 * tile->height) * tile->chunk};
}

static bool fits(struct cla_needs needs, int work_items, int most_sums, const struct cla_device *device)
{
    return (uint64_t)work_items <= device->info.max_work_group &&
           (uint64_t)needs.local_bytes <= device->info.local_memory && needs.sums <= most_sums;
}

const struct cla_tile *cla_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                    cla_tile_needs *needs, size_t index)
{
    size_t matches = 0;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const struct cla_tile *tile = &tiles[i];
        if (fits(needs(tile, problem), tile->width * tile->height, tile->most_sums, device) && matches++ == index)
            return tile;
    }
    return NULL;
}

/*
 * For few queries. More rows a work-group read keys and values less often, as long as there are so many; more
 * work-items have more loads in flight between barriers. More than 48 sums leave GPUs room for too few work-groups.
 */
static const struct cla_split_tile split_tiles[] = {
    /* rows group sharers sums   keys, local memory at 128 dims in f32 */
    {16, 128, 4, 48},   /*  32, 19 552 bytes */
    {16, 64, 4, 48},    /*  16, 14 048 */
    {8, 128, 4, 48},    /*  64, 15 520 */
    {8, 64, 4, 48},     /*  32,  9 888 */
    {4, 128, 4, 48},    /* 128, 13 840 */
    {4, 64, 4, 48},     /*  64,  7 952 */
    {4, 16, 4, 48},     /*  16,  3 536 */
    {2, 128, 4, 48},    /* 128,  7 432 */
    {2, 64, 4, 48},     /*  64,  4 232 */
    {2, 16, 4, 48},     /*  16,  1 832 */
    {1, 128, 4, 48},    /* 128,  4 228 */
    {1, 64, 4, 48},     /*  64,  2 372 */
    {1, 16, 4, 48},     /*  16,    980 */
    {1, 1, 1, INT_MAX}, /*   4,    584 */
};

const struct cla_split_tile *cla_split_tile_for(const struct cla_device *device, const struct cla_problem *problem,
                                                int64_t rows, cla_split_tile_needs *needs, size_t index)
{
    size_t matches = 0;
    for (size_t i = 0; i < sizeof split_tiles / sizeof *split_tiles; i++) {
        const struct cla_split_tile *tile = &split_tiles[i];
        if (tile->rows < 2 * rows && fits(needs(tile, problem), tile->group, tile->most_sums, device) &&
            matches++ == index)
            return tile;
    }
    return NULL;
}
