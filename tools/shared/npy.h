/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays in NumPy's .npy format (numpy.lib.format, versions 1.0, 2.0 and 3.0). Files are not trusted: every length in a
 * header is checked, and the size of the file compared with it, before memory for the data is taken. What is read comes
 * out in C order and in the byte order of the machine, whatever the file has.
 */
#ifndef TOOL_NPY_H
#define TOOL_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_RANK 8
#define NPY_MESSAGE  256

/* Bits, so that a caller can say which types it takes. */
enum npy_type {
    NPY_BOOL = 1 << 0, /* a byte each */
    NPY_I32 = 1 << 1,
    NPY_I64 = 1 << 2,
    NPY_F16 = 1 << 3,
    NPY_F32 = 1 << 4
};

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
 * Reads the array in the file `path`, a pipe too. `types` has the bits of the types that are taken. Where it fails,
 * false, `array` is untouched and `message` says what is wrong with the file (without its name).
 */
bool npy_read(const char *path, unsigned types, struct npy *array, char message[NPY_MESSAGE]);

/* Frees the data. */
void npy_free(struct npy *array);

/* Writes a dense array in C order to a file descriptor. Where it fails, false, and errno says why. */
bool npy_write(int descriptor, enum npy_type type, int rank, const int64_t *shape, const void *data);

/* "float32 [1, 8, 512, 64]". As snprintf. */
size_t npy_describe(enum npy_type type, int rank, const int64_t *shape, char *text, size_t size);

#endif
