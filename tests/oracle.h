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
    int64_t q_total; /* rows of query and output in this run, where queries are ragged */
    int64_t kv_total;
    const int32_t *block_table;
    const void *q_cu_lengths;
    const void *kv_cu_lengths;
    const float *sinks;
    const float *alibi_slopes;
    const float *relative_bias;
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    int64_t dropout_batch; /* number of the run's first batch */
};

/* The queries and keys that one batch has in a run. */
struct oracle_sequence {
    int64_t q_first; /* row of its first query: 0 unless queries are ragged */
    int64_t q_len;
    int64_t kv_first; /* of key 0, the row where keys are ragged, the number where they lie in a circle; otherwise 0 */
    int64_t kv_len;
};

/* Everything about row (b, h, i). Arrays belong to the struct; oracle_row_free gives them back. */
struct oracle_row {
    bool *kept;            /* [kv_len] false where excluded: by band, mask, lengths, or because there is no such key */
    double *raw;           /* [kv_len] scale * q.k, 0 where there is no such key */
    double *softcap;       /* [kv_len] */
    double *masked;        /* [kv_len] -inf where excluded */
    double *weights;       /* [kv_len] 0 where excluded; before dropout */
    double *dropped;       /* [kv_len] weights after dropout: 0, or divided by 1 - dropout */
    double *raw_amplitude; /* [kv_len] |scale| sum |q_d k_d| */
    double *amplitude;     /* [kv_len] the same + |each number that is added|, a mask of -FLT_MAX counting as 0; 0 where
                              excluded */
    double *output;        /* [value_dim] */
    double *magnitude;     /* [value_dim] sum of p |v| */
    double *unweighted;    /* [value_dim] sum of |v| over the keys that are kept */
    double lse;            /* with the sink */
    double largest_amplitude; /* A of the accuracy bound: over keys with more than 2^-30 of the weight of all keys, and
                                 the sink if it has more than that of all there is */
    float *widened;           /* scratch: one row of a tensor */
};

/* False where there is no memory for it; oracle_row_free is right all the same. */
bool oracle_row_init(struct oracle_row *row, const struct oracle_operands *operands);
void oracle_row_free(struct oracle_row *row);
void oracle_row_compute(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i,
                        struct oracle_row *row);

struct oracle_sequence oracle_sequence(const struct oracle_operands *operands, int64_t b);

/* Where query i of batch b stands among the keys: i + the offset of the alignment. */
int64_t oracle_position(const struct oracle_operands *operands, int64_t b, int64_t i);

/* Whether query i of (b, h) sees key j: there is one, and no band, mask or length excludes it. */
bool oracle_visible(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, int64_t j);

/* Whether dropout, of which the descriptor has some, keeps the weight of query i of (b, h) and key j. */
bool oracle_dropout_keeps(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, int64_t j);

/* Element `index` of an array of F32, F16 or BF16, and its nearest-even rounding into one. */
double oracle_load(clattn_dtype dtype, const void *array, int64_t index);
void oracle_store(clattn_dtype dtype, void *array, int64_t index, double value);

/* The double rounded to nearest even in F32, F16 or BF16. */
double oracle_round(clattn_dtype dtype, double value);

/* `count` elements from `index` on as float, exactly: in place where they are F32, otherwise converted into `widened`.
 */
const float *oracle_widen(clattn_dtype dtype, const void *array, int64_t index, int64_t count, float *widened);

/* sum q_d k_d and sum |q_d k_d|. */
void oracle_dot(const float *query, const float *key, int64_t dim, double *sum, double *amplitude);

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

/* The first element of row i of batch b and head h in query or output. */
int64_t oracle_query_at(const struct oracle_operands *operands, enum oracle_tensor tensor, int64_t b, int64_t h,
                        int64_t i);

/* Where the keys or the values of one batch and key/value head lie. */
struct oracle_keys {
    int64_t start; /* element of row 0; of block 0 where they are paged */
    int64_t row_stride;
    int64_t first; /* key j is row first + j, modulo `circle` unless that is 0; rows from `end` on are nowhere */
    int64_t end;
    int64_t circle;
    int64_t page_size; /* 0: not paged */
    int64_t num_blocks;
    int64_t block_stride;
    const int32_t *blocks; /* of this batch */
};

struct oracle_keys oracle_keys(const struct oracle_operands *operands, enum oracle_tensor tensor, int64_t b, int64_t g);

/* The first element of key j, less than the kv_len of the run; -1 where there is none, because its block is not in the
 * pool or the packed sequence is shorter. */
int64_t oracle_key_at(const struct oracle_keys *keys, int64_t j);

/* Element of (h, row i) in lse. */
int64_t oracle_lse_at(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i);

/* Elements between the rows of the block table. */
int64_t oracle_table_stride(const clattn_attention_desc *desc);

/* desc->value_dim with its default, and desc->scale with its own. */
int64_t oracle_value_dim(const clattn_attention_desc *desc);
double oracle_scale(const clattn_attention_desc *desc);

#endif
