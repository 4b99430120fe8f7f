/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle: attention in double precision, one query row at a time, written to be read and not to be fast. It works
 * on the public descriptor and on host arrays laid out as that says, shares no code with the library, and is what every
 * variant is measured against, by the tests and by `clattn run --verify`.
 */
#ifndef CLATTN_TESTS_ORACLE_H
#define CLATTN_TESTS_ORACLE_H

#include <clattn/clattn.h>
#include <stdbool.h>

struct oracle_operands {
    const clattn_attention_desc *desc; /* strides are resolved from its greatest lengths, as the library does */
    int64_t q_len;                     /* of this run */
    int64_t kv_len;
    int64_t offset;
    const void *query;
    const void *key;
    const void *value;
    const void *mask;
    const void *kv_lengths;
};

/* Everything about row (b, h, i). Arrays belong to the struct; oracle_row_free gives them back. */
struct oracle_row {
    bool *kept;            /* [kv_len] false where excluded: by band, mask or lengths */
    double *raw;           /* [kv_len] scale * q.k */
    double *softcap;       /* [kv_len] */
    double *masked;        /* [kv_len] -inf where excluded */
    double *weights;       /* [kv_len] 0 where excluded */
    double *raw_amplitude; /* [kv_len] |scale| sum |q_d k_d| */
    double *amplitude;     /* [kv_len] the same + |bias|, a bias of -FLT_MAX counting as 0; 0 where excluded */
    double *output;        /* [value_dim] */
    double *magnitude;     /* [value_dim] sum of p |v| */
    double lse;
    double largest_amplitude; /* A of the accuracy bound: over keys with weight above 2^-30 */
    float *widened;           /* scratch: one row of a tensor */
};

/* False where there is no memory for it; oracle_row_free is right all the same. */
bool oracle_row_init(struct oracle_row *row, const struct oracle_operands *operands);
void oracle_row_free(struct oracle_row *row);
void oracle_row_compute(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i,
                        struct oracle_row *row);

/* Whether query i of (b, h) sees key j: no band, mask or length excludes it. */
bool oracle_visible(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, int64_t j);

/* Element `index` of an array of F32, F16 or BF16, and its nearest-even rounding into one. */
double oracle_load(clattn_dtype dtype, const void *array, int64_t index);
void oracle_store(clattn_dtype dtype, void *array, int64_t index, double value);

/* The double rounded to nearest even in F32, F16 or BF16. */
double oracle_round(clattn_dtype dtype, double value);

/* `count` elements from `index` on as float, exactly: in place where they are F32, otherwise converted into `widened`.
 */
const float *oracle_widen(clattn_dtype dtype, const void *array, int64_t index, int64_t count, float *widened);

/* The strides of a layout over `extent`, dense ones filled in, and the elements from its first to its last. */
void oracle_strides(const clattn_layout *layout, const int64_t extent[4], int64_t strides[4]);
int64_t oracle_span(const int64_t strides[4], const int64_t extent[4]);

/* The tensors of a descriptor, in a fixed order. */
enum oracle_tensor {
    ORACLE_QUERY,
    ORACLE_KEY,
    ORACLE_VALUE,
    ORACLE_OUTPUT,
    ORACLE_MASK,
    ORACLE_SCORES,
    ORACLE_NUM_TENSORS
};

/* Extents, from the greatest lengths, and strides of one of them; false where the descriptor has none. */
bool oracle_tensor_shape(const clattn_attention_desc *desc, enum oracle_tensor tensor, int64_t extent[4],
                         int64_t strides[4]);

/* desc->value_dim with its default, and desc->scale with its own. */
int64_t oracle_value_dim(const clattn_attention_desc *desc);
double oracle_scale(const clattn_attention_desc *desc);

#endif
