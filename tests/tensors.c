/* SPDX-License-Identifier: Apache-2.0 */
/* Implements tensors.h. */
#include "tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

size_t tensor_element_size(const struct tensor *t)
{
    return clattn_dtype_size(t->layout.dtype);
}

struct tensor tensor_make_as(const clattn_layout *layout, const int64_t extent[4])
{
    struct tensor t = {.layout = *layout};

    memcpy(t.extent, extent, sizeof t.extent);
    oracle_strides(&t.layout, t.extent, t.strides);
    t.bytes = (size_t)(oracle_span(t.strides, t.extent) + 2 * TENSOR_ROOM) * tensor_element_size(&t);
    t.data = malloc(t.bytes);
    assert_non_null(t.data);
    memset(t.data, ARRAY_FILL, t.bytes);
    return t;
}

struct tensor tensor_make(clattn_dtype dtype, int64_t b, int64_t h, int64_t rows, int64_t columns, int64_t padding)
{
    const int64_t extent[4] = {b, h, rows, columns};
    clattn_layout layout = {.dtype = dtype};

    if (padding != 0) {
        layout.strides[3] = 1;
        layout.strides[2] = columns + padding;
        layout.strides[1] = rows * layout.strides[2] + padding;
        layout.strides[0] = h * layout.strides[1] + padding;
    }
    return tensor_make_as(&layout, extent);
}

void tensor_free(struct tensor *t)
{
    if (t->mem != NULL)
        clReleaseMemObject(t->mem);
    free(t->data);
}

static int64_t at(const struct tensor *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return TENSOR_ROOM + b * t->strides[0] + h * t->strides[1] + i * t->strides[2] + j * t->strides[3];
}

double tensor_get(const struct tensor *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return oracle_load(t->layout.dtype, t->data, at(t, b, h, i, j));
}

void tensor_put(struct tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double value)
{
    oracle_store(t->layout.dtype, t->data, at(t, b, h, i, j), value);
}

void tensor_fill(struct tensor *t, double deviation, uint64_t seed)
{
    TENSOR_FOR_EACH(t)
    tensor_put(t, b, h, i, j, deviation * case_normal(&seed));
}

clattn_buffer tensor_upload(const struct harness *harness, struct tensor *t)
{
    cl_int code = CL_SUCCESS;

    t->mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, t->bytes, t->data, &code);
    assert_int_equal(code, CL_SUCCESS);
    return (clattn_buffer){.mem = t->mem, .offset = TENSOR_ROOM * tensor_element_size(t)};
}

void tensor_download(const struct harness *harness, struct tensor *t)
{
    unsigned char *found = malloc(t->bytes);
    size_t size = tensor_element_size(t);

    assert_non_null(found);
    assert_int_equal(clEnqueueReadBuffer(harness->queue, t->mem, CL_TRUE, 0, t->bytes, found, 0, NULL, NULL),
                     CL_SUCCESS);
    TENSOR_FOR_EACH(t)
    memcpy(t->data + (size_t)at(t, b, h, i, j) * size, found + (size_t)at(t, b, h, i, j) * size, size);
    assert_memory_equal(t->data, found, t->bytes);
    free(found);
}
