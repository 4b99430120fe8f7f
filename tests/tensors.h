/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single tensors for the tests of operations other than attention: of four extents, in host memory and in a buffer,
 * with a pattern that is NaN around and between their elements.
 */
#ifndef CLATTN_TESTS_TENSORS_H
#define CLATTN_TESTS_TENSORS_H

#include "harness.h"

struct tensor {
    int64_t extent[4];
    clattn_layout layout; /* of F32, F16 or BF16; BOOL where its elements are neither filled nor put or got */
    int64_t strides[4];   /* the layout's, dense ones filled in */
    size_t bytes;         /* with room on both sides */
    unsigned char *data;
    cl_mem mem; /* NULL before the upload */
};

/* Not an even number of elements, so that nothing is aligned beyond its element. */
#define TENSOR_ROOM 33

/* Calls the body for every element, with its indices b, h, i, j. */
#define TENSOR_FOR_EACH(t)                                                                                             \
    for (int64_t b = 0; b < (t)->extent[0]; ++b)                                                                       \
        for (int64_t h = 0; h < (t)->extent[1]; ++h)                                                                   \
            for (int64_t i = 0; i < (t)->extent[2]; ++i)                                                               \
                for (int64_t j = 0; j < (t)->extent[3]; ++j)

/* All bytes ARRAY_FILL. `padding` elements lie between rows, heads and batches; 0: a dense layout, strides left 0. */
struct tensor tensor_make(clattn_dtype dtype, int64_t b, int64_t h, int64_t rows, int64_t columns, int64_t padding);
struct tensor tensor_make_as(const clattn_layout *layout, const int64_t extent[4]);
void tensor_free(struct tensor *t);

size_t tensor_element_size(const struct tensor *t);
double tensor_get(const struct tensor *t, int64_t b, int64_t h, int64_t i, int64_t j);
void tensor_put(struct tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double value);

/* Normal numbers. */
void tensor_fill(struct tensor *t, double deviation, uint64_t seed);

/* Makes the buffer, from all the bytes, and gives the place of the first element in it. */
clattn_buffer tensor_upload(const struct harness *harness, struct tensor *t);

/* Reads the elements within the extents back, which may have shrunk. The test fails if any other byte has changed. */
void tensor_download(const struct harness *harness, struct tensor *t);

#endif
