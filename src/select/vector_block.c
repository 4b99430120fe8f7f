/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register blocks of the kernels for wide vectors. `block` x `vectors` sums, with `vectors` operands and a broadcast
 * one, must fit the vector registers: 32 of 16 lanes (AVX-512), 16 of 8 (AVX2), 32 of 4 (NEON).
 */
#include "select/vector_block.h"

static const struct cla_vector_block blocks[] = {
    /* lanes vectors block */
    {16, 3, 8},
    {8, 2, 4},
    {4, 3, 8},
};

const struct cla_vector_block *cla_vector_block_for(const struct cla_device *device)
{
    size_t i = 0;
    while (i + 1 < sizeof blocks / sizeof *blocks && device->vector_lanes < (uint32_t)blocks[i].lanes)
        i++;
    return &blocks[i];
}
