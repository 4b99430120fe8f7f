/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register blocks over tiles in local memory: the matrix products of every kernel whose work-groups share tiles.
 *
 * A work-group of CLA_WIDTH x CLA_HEIGHT work-items owns CLA_TILE_Q = 4 HEIGHT query rows. Work-item (x, y) owns rows
 * 4 y to 4 y + 3, as one float4, against the four columns 4 x to 4 x + 3 of a tile of CLA_TILE_KV = 4 WIDTH keys, or of
 * 4 WIDTH output columns. Both operands lie in local memory with the summed index outermost, so one step of a product
 * is two float4 loads and four multiply-adds of float4:
 *
 *   rows[k][CLA_TILE_Q]   columns[k][CLA_TILE_KV]   sum[c] (4 rows) += rows[k][4y..] * columns[k][4x + c]
 *
 *   CLA_WIDTH, CLA_HEIGHT   work-items along columns and along rows, 1 or more
 *   CLA_CHUNK               head dims that are in local memory at a time, a multiple of 4
 *
 * stage_... copy a piece of an operand to local memory as floats, with 0 for what lies outside it; barriers are the
 * caller's. A group's work-items run over pieces of four elements of a row.
 */
#if !defined(CLA_WIDTH) || !defined(CLA_HEIGHT) || !defined(CLA_CHUNK)
#error "block.cl: a tile parameter is not defined"
#endif

#define CLA_GROUP   (CLA_WIDTH * CLA_HEIGHT)
#define CLA_TILE_Q  (4 * CLA_HEIGHT)
#define CLA_TILE_KV (4 * CLA_WIDTH)

static inline void multiply_add(float4 sum[4], float4 rows, float4 columns)
{
    sum[0] += rows * columns.x;
    sum[1] += rows * columns.y;
    sum[2] += rows * columns.z;
    sum[3] += rows * columns.w;
}

/*
 * sum += product over `depth` steps of the two tiles, at this work-item's block. The steps are summed on their own first:
 * the error of a sum in order grows with its length.
 */
static inline void block_product(float4 sum[4], __local const float *rows, __local const float *columns, int depth,
                                 int x, int y)
{
    float4 part[4] = {(float4)(0.0f), (float4)(0.0f), (float4)(0.0f), (float4)(0.0f)};
    for (int k = 0; k < depth; k++)
        multiply_add(part, vload4(0, rows + k * CLA_TILE_Q + 4 * y), vload4(0, columns + k * CLA_TILE_KV + 4 * x));
#pragma unroll
    for (int c = 0; c < 4; c++)
        sum[c] += part[c];
}

/* Elements [d, d + 4) of the row at `at`, 0 from `dim` on. */
#define CLA_DEFINE_FETCH(name)                                                                                         \
    static inline float4 fetch4_##name(__global const name##_t *p, long at, int d, int dim)                                   \
    {                                                                                                                  \
        if (d + 4 <= dim)                                                                                              \
            return load4_##name(p, at + d);                                                                            \
        float4 piece = (float4)(0.0f);                                                                                 \
        if (d < dim)                                                                                                   \
            piece.x = load_##name(p, at + d);                                                                          \
        if (d + 1 < dim)                                                                                               \
            piece.y = load_##name(p, at + d + 1);                                                                      \
        if (d + 2 < dim)                                                                                               \
            piece.z = load_##name(p, at + d + 2);                                                                      \
        return piece;                                                                                                  \
    }

CLA_DEFINE_FETCH(query)
CLA_DEFINE_FETCH(key)
CLA_DEFINE_FETCH(value)

/*
 * tile[d - d0][row - row0] for CLA_CHUNK dims from d0 and `rows_of_tile` rows from row0, turned so that the dims are
 * outermost. Rows from `end` on and dims from `dim` on are 0.
 */
#define CLA_DEFINE_STAGE(name, rows_of_tile, row_at)                                                                           \
    static inline void stage_##name(__local float *tile, __global const name##_t *p, long4 view, const struct batch *batch,   \
                                    int h, int row0, int end, int d0, int dim, int item, CLA_PLACES_PARAMS)            \
    {                                                                                                                  \
        for (int e = item; e < rows_of_tile * (CLA_CHUNK / 4); e += CLA_GROUP) {                                       \
            const uint2 at = divide((uint)e, CLA_CHUNK / 4);                                                           \
            const int row = (int)at.x;                                                                                 \
            const int d = 4 * (int)at.y;                                                                               \
            float4 piece = (float4)(0.0f);                                                                             \
            if (row0 + row < end)                                                                                      \
                piece = fetch4_##name(p, row_at, d0 + d, dim);                                                         \
            tile[d * rows_of_tile + row] = piece.x;                                                                    \
            tile[(d + 1) * rows_of_tile + row] = piece.y;                                                              \
            tile[(d + 2) * rows_of_tile + row] = piece.z;                                                              \
            tile[(d + 3) * rows_of_tile + row] = piece.w;                                                              \
        }                                                                                                              \
    }

CLA_DEFINE_STAGE(query, CLA_TILE_Q, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE(key, CLA_TILE_KV, key_row(view, batch, h, row0 + row, CLA_PLACES))

/*
 * tile[key - j0][column - column0] for CLA_TILE_KV keys from j0 and as many columns from column0. Keys from `end` on are
 * 0, and so are those whose `seen` is 0 where `cut` is not 0: what nobody sees must not reach a product, not even
 * multiplied by 0.
 */
static inline void stage_value(__local float *tile, __global const value_t *p, long4 view, const struct batch *batch, int g,
                               int j0, int end, int column0, int dim, int cut, __local const int *seen, int item,
                               CLA_PLACES_PARAMS)
{
    for (int e = item; e < CLA_TILE_KV * (CLA_TILE_KV / 4); e += CLA_GROUP) {
        const uint2 at = divide((uint)e, CLA_TILE_KV / 4);
        const int j = (int)at.x;
        const int column = 4 * (int)at.y;
        float4 piece = (float4)(0.0f);
        if (j0 + j < end && (!cut || seen[j]))
            piece = fetch4_value(p, value_row(view, batch, g, j0 + j, CLA_PLACES), column0 + column, dim);
        vstore4(piece, 0, tile + j * CLA_TILE_KV + column);
    }
}
