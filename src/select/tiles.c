/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of the work-group kernels. A work-item holds 4 x 4 scores, so a tile has as many queries and keys as 4 times
 * its sides. Large tiles read keys and values less often, as 1 / queries; small ones fit devices with little local
 * memory. The last row needs one work-item and a few hundred bytes, so every device has one.
 */
#include "select/tiles.h"

static const struct cla_tile tiles[] = {
    /* width height chunk   flash's local memory */
    {16, 16, 32}, /* 33 024 bytes */
    {16, 8, 32},  /* 24 832 */
    {8, 8, 32},   /* 12 416 */
    {4, 4, 16},   /*  3 136 */
    {1, 1, 4},    /*    208 */
};

const struct cla_tile *cla_tile_for(const struct cla_device *device, cla_local_bytes *local_bytes, size_t index)
{
    size_t matches = 0;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const struct cla_tile *tile = &tiles[i];
        if ((uint64_t)(tile->width * tile->height) <= device->info.max_work_group &&
            (uint64_t)local_bytes(tile) <= device->info.local_memory && matches++ == index)
            return tile;
    }
    return NULL;
}
