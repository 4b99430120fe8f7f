/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays in NumPy's .npy format (numpy.lib.format, versions 1.0, 2.0 and 3.0). Files are not trusted: every length in a
 * header is checked, and the size of the file compared with it, before memory for the data is taken. What is read comes
 * out in C order and in the byte order of the machine, whatever the file has.
 */
#ifndef TOOL_NPY_H
#define TOOL_NPY_H

#include "shared/input.h"
#include <stdint.h>

#define NPY_MAX_RANK 8
#define NPY_MESSAGE  INPUT_MESSAGE

/* Bits, so that a caller can say which types it takes. */
enum npy_type {
    NPY_BOOL = 1 << 0, /* a byte each */
    NPY_I8 = 1 << 1,
    NPY_I16 = 1 << 2,
    NPY_I32 = 1 << 3,
    NPY_I64 = 1 << 4,
    NPY_U8 = 1 << 5,
    NPY_U16 = 1 << 6,
    NPY_U32 = 1 << 7,
    NPY_U64 = 1 << 8,
    NPY_F16 = 1 << 9,
    NPY_BF16 = 1 << 10, /* what NumPy has no name for: it writes two bytes of no type */
    NPY_F32 = 1 << 11,
    NPY_F64 = 1 << 12
};

/* Sets of them. */
#define NPY_FLOATS   ((unsigned)(NPY_F16 | NPY_BF16 | NPY_F32 | NPY_F64))
#define NPY_INTEGERS ((unsigned)(NPY_I8 | NPY_I16 | NPY_I32 | NPY_I64 | NPY_U8 | NPY_U16 | NPY_U32 | NPY_U64))

struct npy {
    enum npy_type type;
    int rank; /* 0 to NPY_MAX_RANK */
    int64_t shape[NPY_MAX_RANK];
    int64_t count; /* elements: the product of the shape */
    void *data;    /* malloc'ed, never NULL after a read */
};

/* Bytes of an element. */
size_t npy_type_size(enum npy_type type);

/* "float32", as NumPy says it. */
const char *npy_type_string(enum npy_type type);

/*
 * Reads the array in the file `path`, which is what input_open takes. `types` has the bits of the types that are taken.
 * Where it fails, false, `array` is untouched and `message` says what is wrong with the file (without its name).
 */
bool npy_read(const char *path, unsigned types, struct npy *array, char message[NPY_MESSAGE]);

/*
 * Turns whole numbers into `to`: NPY_BOOL, which is true where they are not 0, NPY_I32 or NPY_I64; and NPY_F64 into
 * NPY_F32, rounded to nearest. A number that `to` does not have is refused; but a finite one beyond the largest float
 * becomes that with `saturate`. Where it fails, false, the array is as it was and `message` says which element it is.
 */
bool npy_convert(struct npy *array, enum npy_type to, bool saturate, char message[NPY_MESSAGE]);

/* Frees the data. */
void npy_free(struct npy *array);

/* Writes a dense array in C order to a file descriptor. Where it fails, false, and errno says why. */
bool npy_write(int descriptor, enum npy_type type, int rank, const int64_t *shape, const void *data);

/* "float32 [1, 8, 512, 64]". As snprintf. */
size_t npy_describe(enum npy_type type, int rank, const int64_t *shape, char *text, size_t size);

#endif
