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
 *   CLA_CHUNK               head dims, or keys with their values, that are in local memory at a time: 4, 8, 16 or 32, and
 *                           at most CLA_TILE_KV
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

/*
 * What a work-item has of a product: four rows of each column. Neither an array of them, which some compilers keep in
 * memory, nor a float16, for which others look for sixteen registers in a row.
 */
struct block {
    float4 c0, c1, c2, c3;
};

static inline void block_clear(struct block *sum)
{
    sum->c0 = sum->c1 = sum->c2 = sum->c3 = (float4)(0.0f);
}

/* Multiplies each row of it by an element of `rows`. */
static inline void block_scale(struct block *sum, float4 rows)
{
    sum->c0 *= rows;
    sum->c1 *= rows;
    sum->c2 *= rows;
    sum->c3 *= rows;
}

/*
 * sum += product over `depth` steps of the two tiles, at this work-item's block. Unrolled further, some compilers have so
 * many loads in flight that few work-groups fit.
 */
INLINED static void block_add(struct block *sum, __local const float4 *rows, __local const float4 *columns, int depth, int x,
                              int y)
{
#pragma unroll 2
    for (int k = 0; k < depth; k++) {
        const float4 row = rows[k * CLA_HEIGHT + y];
        const float4 column = columns[k * CLA_WIDTH + x];
        sum->c0 += row * column.x;
        sum->c1 += row * column.y;
        sum->c2 += row * column.z;
        sum->c3 += row * column.w;
    }
}

/* The same, with the steps summed on their own first: the error of a sum in order grows with its length. */
INLINED static void block_product(struct block *sum, __local const float4 *rows, __local const float4 *columns, int depth,
                                  int x, int y)
{
    struct block part;
    block_clear(&part);
    block_add(&part, rows, columns, depth, x, y);
    sum->c0 += part.c0;
    sum->c1 += part.c1;
    sum->c2 += part.c2;
    sum->c3 += part.c3;
}

/* hold4() into memory, since registers are for what every step needs; `held` has nothing yet unless `holds`. */
static inline void hold_rows(volatile float4 *held, float4 *rest, int holds)
{
    float4 sum = holds ? *held : (float4)(0.0f);
    hold4(&sum, rest);
    *held = sum;
}

/* The same of a block, into held[4]. */
static inline void hold_block(volatile float4 *held, struct block *sum, int holds)
{
    hold_rows(held, &sum->c0, holds);
    hold_rows(held + 1, &sum->c1, holds);
    hold_rows(held + 2, &sum->c2, holds);
    hold_rows(held + 3, &sum->c3, holds);
}

/* Multiplies each row of what is held by an element of `rows`. */
static inline void held_scale(volatile float4 *held, float4 rows)
{
    held[0] *= rows;
    held[1] *= rows;
    held[2] *= rows;
    held[3] *= rows;
}

static inline void block_add_held(struct block *sum, const volatile float4 *held)
{
    sum->c0 += held[0];
    sum->c1 += held[1];
    sum->c2 += held[2];
    sum->c3 += held[3];
}

static inline float element_of(float4 v, int n)
{
    return n == 0 ? v.x : n == 1 ? v.y : n == 2 ? v.z : v.w;
}

/* The four columns of row r. */
static inline float4 block_row(const struct block *sum, int r)
{
    return (float4)(element_of(sum->c0, r), element_of(sum->c1, r), element_of(sum->c2, r), element_of(sum->c3, r));
}

/* Stores `row` as elements [d, d + 4) of the row at `at`, as far as they are below `dim`. */
static inline void store4_output(__global output_t *p, long at, int d, int dim, float4 row)
{
#pragma unroll
    for (int n = 0; n < 4; n++) {
        if (d + n < dim)
            store_output(p, at + d + n, element_of(row, n));
    }
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
CLA_DEFINE_FETCH(output)

/*
 * tile[d - d0][row - row0] for CLA_CHUNK dims from d0 and `rows_of_tile` rows from row0, turned so that the dims are
 * outermost. Rows from `end` on and dims from `dim` on are 0.
 */
#define CLA_DEFINE_STAGE(name, rows_of_tile, row_at)                                                                           \
    INLINED static void stage_##name(__local float4 *to, __global const name##_t *p, long4 view, const struct batch *batch,   \
                                     int h, int row0, int end, int d0, int dim, int item, CLA_PLACES_PARAMS)           \
    {                                                                                                                  \
        __local float *tile = (__local float *)to;                                                                     \
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
 * tile[key - j0][column - column0] for CLA_CHUNK keys from j0 and CLA_TILE_KV columns from column0. Keys outside `some` are 0,
 * and so are those whose bit of `seen` is 0, bit n for key j0 + n: what nobody sees must not reach a product, not even
 * multiplied by 0.
 */
INLINED static void stage_value(__local float4 *tile, __global const value_t *p, long4 view, const struct batch *batch, int g,
                                int j0, int2 some, int column0, int dim, uint seen, int item, CLA_PLACES_PARAMS)
{
    for (int e = item; e < CLA_CHUNK * (CLA_TILE_KV / 4); e += CLA_GROUP) {
        const uint2 at = divide((uint)e, CLA_TILE_KV / 4);
        const int j = (int)at.x;
        const int column = 4 * (int)at.y;
        float4 piece = (float4)(0.0f);
        if (j0 + j >= some.x && j0 + j < some.y && (seen >> j & 1) != 0)
            piece = fetch4_value(p, value_row(view, batch, g, j0 + j, CLA_PLACES), column0 + column, dim);
        tile[j * CLA_WIDTH + (int)at.y] = piece;
    }
}
