/* SPDX-License-Identifier: Apache-2.0 */
/* Policy: the register block that a kernel for wide vectors takes on a device. Data, first match wins. */
#ifndef CLA_SELECT_VECTOR_BLOCK_H
#define CLA_SELECT_VECTOR_BLOCK_H

#include "ocl/device.h"

/* A block of the kernels built on cl/lib/vector_block.cl, or the vectors alone of those built on cl/lib/lanes.cl. */
struct cla_vector_block {
    int lanes;   /* floats in a vector: 4, 8 or 16 */
    int vectors; /* of rows */
    int block;   /* sums of a row */
};

/* The one for many rows. */
const struct cla_vector_block *cla_vector_block_for(const struct cla_device *device);

#endif
