/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register blocks for wide vectors: the matrix products of every kernel that has one work-item a group and rows in lanes.
 *
 * A work-item owns ROWS = CLA_VECTORS * CLA_LANES rows. Arrays of them are turned: element d of all rows is CLA_VECTORS
 * vectors, at [d * CLA_VECTORS]. The other operand is rows of floats in their own layout, each element broadcast to all lanes, so
 * no lane ever meets another. A block is CLA_BLOCK x CLA_VECTORS sums, which stay in registers over the innermost loop.
 *
 *   CLA_VECTORS   1 to 3
 *   CLA_BLOCK     sums a row in a block
 *
 * Float keys and values at an even stride are used where they lie, in KEY_SPACE and VALUE_SPACE; others (COPY_KEYS,
 * COPY_VALUES) from a copy of a tile in private memory, as all are in the backward pass (gradient.cl). With CLA_DOT the blocks
 * of dot_block.cl take their place.
 */
#if !defined(CLA_VECTORS) || !defined(CLA_BLOCK) || !defined(CLA_DOT)
#error "vector_block.cl: a parameter is not defined"
#endif

#define ROWS (CLA_VECTORS * CLA_LANES)

/* Elements of an array that is turned by whole vectors. */
#define WHOLE_VECTORS(n) (((n) + CLA_LANES - 1) / CLA_LANES * CLA_LANES)

#ifdef CLA_D_OUTPUT_TYPE
#define COPY_KEYS   1
#define COPY_VALUES 1
#else
#define COPY_KEYS   (CLA_DOT == 0 && (CLA_KEY_TYPE != 0 || CLA_STORAGE == 2))
#define COPY_VALUES (CLA_DOT == 0 && (CLA_VALUE_TYPE != 0 || CLA_STORAGE == 2))
#endif
#if COPY_KEYS
#define KEY_SPACE __private
#else
#define KEY_SPACE __global
#endif
#if COPY_VALUES
#define VALUE_SPACE __private
#else
#define VALUE_SPACE __global
#endif

/*
 * turned[WHOLE_VECTORS(depth)][CLA_VECTORS] = factor times `depth` elements of ROWS rows of the query, row r from at[r] on.
 */
APART static void turn_rows(vec_t *turned, __global const query_t *query, const long *at, int depth, float factor)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        for (int d = 0; d < depth; d += CLA_LANES) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                square[r] = factor * load_some_query(query + at[v * CLA_LANES + r] + d, depth - d);
            turn_square(square);
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                turned[(d + r) * CLA_VECTORS + v] = square[r];
        }
    }
}

/* Writes turned[width][CLA_VECTORS] to `count` rows of the output, row r from at[r] on. */
APART static void store_rows(__global output_t *output, const long *at, int count, const vec_t *turned, int width)
{
    for (int v = 0; v * CLA_LANES < count; v++) {
        for (int d = 0; d < width; d += CLA_LANES) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int c = 0; c < CLA_LANES; c++)
                square[c] = d + c < width ? turned[(d + c) * CLA_VECTORS + v] : (vec_t)(0.0f);
            turn_square(square);
            for (int r = 0; r < min(CLA_LANES, count - v * CLA_LANES); r++)
                store_some_output(output + at[v * CLA_LANES + r] + d, square[r], width - d);
        }
    }
}

/* sums[CLA_BLOCK][CLA_VECTORS] = a block's sums, or += them where `add` is set; raises most[CLA_VECTORS], unless NULL, to the largest. */
static INLINED void keep_block(vec_t *sums, vec_t sum[CLA_BLOCK][CLA_VECTORS], int add, vec_t *most)
{
#pragma unroll
    for (int n = 0; n < CLA_BLOCK; n++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            sum[n][v] = add ? sums[n * CLA_VECTORS + v] + sum[n][v] : sum[n][v];
            sums[n * CLA_VECTORS + v] = sum[n][v];
        }
    }
    if (most != NULL) {
#pragma unroll
        for (int n = 0; n < CLA_BLOCK; n++) {
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++)
                most[v] = sum[n][v] > most[v] ? sum[n][v] : most[v];
        }
    }
}

/*
 * sums[count][CLA_VECTORS] = keys . turned over `depth` elements, for `count` keys that lie `stride` floats apart; added to
 * what `sums` holds where `add` is set. most[CLA_VECTORS], unless NULL, is raised to the largest. `sums` has room for whole
 * blocks: what follows the last key is undefined.
 */
APART static void dot_keys(vec_t *sums, const vec_t *turned, KEY_SPACE const float *keys, long stride, int depth, int count,
                           int add, vec_t *most)
{
    for (int n0 = 0; n0 < count; n0 += CLA_BLOCK, sums += CLA_BLOCK * CLA_VECTORS) {
        vec_t sum[CLA_BLOCK][CLA_VECTORS];
        KEY_SPACE const float *row[CLA_BLOCK];
#pragma unroll
        for (int n = 0; n < CLA_BLOCK; n++) {
            row[n] = keys + min(n0 + n, count - 1) * stride;
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++)
                sum[n][v] = (vec_t)(0.0f);
        }
#pragma unroll 4
        for (int d = 0; d < depth; d++) {
#pragma unroll
            for (int n = 0; n < CLA_BLOCK; n++) {
                const vec_t element = (vec_t)(row[n][d]);
#pragma unroll
                for (int v = 0; v < CLA_VECTORS; v++)
                    sum[n][v] += element * turned[d * CLA_VECTORS + v];
            }
        }
        keep_block(sums, sum, add, most);
    }
}

/* sums[width][CLA_VECTORS] += weights[count][CLA_VECTORS] x values[count][width], the values `stride` floats apart. */
#define DEFINE_SUM_COLUMNS(name, width)                                                                                \
    WIDE static inline void name(vec_t *sums, const vec_t *weights, VALUE_SPACE const float *values, long stride, int count)   \
    {                                                                                                                  \
        vec_t sum[width][CLA_VECTORS];                                                                                 \
        _Pragma("unroll") for (int d = 0; d < width; d++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[d][v] = (vec_t)(0.0f);                         \
        }                                                                                                              \
        _Pragma("unroll 4") for (int k = 0; k < count; k++, values += stride)                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int d = 0; d < width; d++)                                                          \
            {                                                                                                          \
                const vec_t element = (vec_t)(values[d]);                                                              \
                _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[d][v] +=                                   \
                    element * weights[k * CLA_VECTORS + v];                                                            \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (int d = 0; d < width; d++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sums[d * CLA_VECTORS + v] += sum[d][v];            \
        }                                                                                                              \
    }

DEFINE_SUM_COLUMNS(sum_block, CLA_BLOCK)
DEFINE_SUM_COLUMNS(sum_column, 1)

/* The same for any width. */
APART static void add_values(vec_t *sums, const vec_t *weights, VALUE_SPACE const float *values, long stride, int count, int width)
{
    int d = 0;
    for (; d + CLA_BLOCK <= width; d += CLA_BLOCK)
        sum_block(sums + d * CLA_VECTORS, weights, values + d, stride, count);
    for (; d < width; d++)
        sum_column(sums + d * CLA_VECTORS, weights, values + d, stride, count);
}

/*
 * Defines name(sums, elements, rows, depth, count, vectors, add): sums[count][CLA_VECTORS] = elements . rows over `depth` of the
 * index that both have, of the first `vectors` vectors; added to what `sums` holds where `add` is set. rows[depth][CLA_VECTORS]
 * are turned. A block of the elements begins at block_at, which depends on n0, the number of its first; from there its term k of
 * number n is at k * next_term + n * next_row. Sums and elements have room for whole blocks.
 */
#define DEFINE_ADD_PRODUCTS(name, block_at, next_row, next_term)                                                       \
    DEFINE_ADD_PRODUCTS_OF(name##_1, 1, block_at, next_row, next_term)                                                 \
    DEFINE_ADD_PRODUCTS_OF(name##_2, 2, block_at, next_row, next_term)                               \
    DEFINE_ADD_PRODUCTS_OF(name##_all, CLA_VECTORS, block_at, next_row, next_term)                                     \
    static inline void name(vec_t *sums, const float *elements, const vec_t *rows, int depth, int count, int vectors,  \
                            int add)                                                                                   \
    {                                                                                                                  \
        if (vectors >= CLA_VECTORS)                                                                                    \
            name##_all(sums, elements, rows, depth, count, add);                                                       \
        else if (vectors == 2)                                                                                         \
            name##_2(sums, elements, rows, depth, count, add);                                                         \
        else                                                                                                           \
            name##_1(sums, elements, rows, depth, count, add);                                                         \
    }

#define DEFINE_ADD_PRODUCTS_OF(name, width, block_at, next_row, next_term)                                             \
    APART static void name(vec_t *sums, const float *elements, const vec_t *rows, int depth, int count, int add)       \
    {                                                                                                                  \
        for (int n0 = 0; n0 < count; n0 += CLA_BLOCK, sums += CLA_BLOCK * CLA_VECTORS) {                               \
            const float *element = elements + (block_at);                                                              \
            vec_t sum[CLA_BLOCK][width];                                                                               \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] = (vec_t)(0.0f);                           \
            }                                                                                                          \
            _Pragma("unroll 4") for (int k = 0; k < depth; k++)                                                        \
            {                                                                                                          \
                _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                  \
                {                                                                                                      \
                    const vec_t factor = (vec_t)(element[k * next_term + n * next_row]);                               \
                    _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] += factor * rows[k * CLA_VECTORS + v]; \
                }                                                                                                      \
            }                                                                                                          \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sums[n * CLA_VECTORS + v] =                          \
                    add ? sums[n * CLA_VECTORS + v] + sum[n][v] : sum[n][v];                                           \
            }                                                                                                          \
        }                                                                                                              \
    }
