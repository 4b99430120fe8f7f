/* SPDX-License-Identifier: Apache-2.0 */
/* A tensor as the kernels see it: how it lies in its buffer, what it spans, whether it meets another one. */
#ifndef CLA_PROBLEM_TENSOR_H
#define CLA_PROBLEM_TENSOR_H

#include <clattn/base.h>
#include <stdbool.h>

/*
 * Over [batch, heads, rows, columns]. `present` is false where the problem has none. Strides count elements. Those of
 * extents of 1 are 0, dense ones are filled in.
 */
struct cla_tensor {
    bool present;
    bool written;
    uint8_t element_size; /* bytes */
    clattn_dtype dtype;   /* not for integers, such as lengths */
    int64_t extent[4];
    int64_t stride[4];
    int64_t span; /* elements from the first to the last, both included; 0 where an extent is 0 */
};

/*
 * Lays out a tensor whose extents, element size and `written` are set: four strides of 0 are filled in as dense ones,
 * those of extents of 1 made 0, the span computed. A tensor without elements has strides of 0. Fails with INVALID_VALUE
 * for a negative stride, rows that are not contiguous, a size in bytes that does not fit 63 bits, and, where it is
 * written, strides that put two elements in one place. `name` is what messages call it.
 */
clattn_status cla_tensor_lay_out(struct cla_tensor *tensor, const int64_t strides[4], const char *name,
                                 clattn_error *error);

/* Sets the span from extents and strides that are known to fit. */
void cla_tensor_set_span(struct cla_tensor *tensor);

/*
 * Whether two placed tensors have a byte in common. `start` is the byte of the first element in the memory object that
 * both are in. Exact but for strides so tangled that comparing them row by row would take too long; then true.
 */
bool cla_tensors_overlap(const struct cla_tensor *a, int64_t start_a, const struct cla_tensor *b, int64_t start_b);

#endif
