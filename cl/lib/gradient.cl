/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels of the backward pass share, and nothing in the programs of others. With p = e^(s - lse) the weight of a pair, s
 * its score after everything that is added to it and c the same after the softcap alone (Dao et al. 2022,
 * "FlashAttention", appendix B.4):
 *
 *   delta_i = d_output_i . output_i - d_lse_i          dp = z d_output_i . value_j
 *   dx      = p (dp - delta_i)                         ds = dx (1 - (c / softcap)^2)
 *   d_query_i = scale sum over j of ds key_j
 *   d_key_j   = scale sum over i of ds query_i         d_value_j = sum over i of p z d_output_i
 *   d_bias    = sum of dx                              of whatever is added to scores, over the pairs to which it is
 *
 * z being 1 or what dropout makes of a weight of 1, over the pairs that are seen, and of a key over all query heads of its group.
 * Scores and weights are computed again, tile by tile; each element of a gradient is summed by one work-item, in one order.
 * What is in no pair of a tile counts as 0 in its products, whatever it holds: keys that are hidden, queries that see nothing.
 *
 *   query, d_query [b, q_heads, q_len, head_dim]   output, d_output [b, q_heads, q_len, value_dim]
 *   key, d_key [b, kv_heads, kv_len, head_dim]     value, d_value [b, kv_heads, kv_len, value_dim]
 *   lse, d_lse [b, q_heads, q_len] f32             delta [b, q_heads, q_len] f32, by sequences where queries are packed
 *
 *   CLA_D_OUTPUT_TYPE   the type of d_output, as types.cl numbers them; where it is not defined, this file is empty
 *   CLA_D_QUERY_TYPE, CLA_D_KEY_TYPE, CLA_D_VALUE_TYPE   those of the gradients
 *   CLA_ACCUMULATE_INPUT   1: these are added to what is there
 *   CLA_ACCUMULATE         1: so are the other gradients, of what is added to scores
 */
#ifdef CLA_D_OUTPUT_TYPE
#if !defined(CLA_D_QUERY_TYPE) || !defined(CLA_D_KEY_TYPE) || !defined(CLA_D_VALUE_TYPE) || \
    !defined(CLA_ACCUMULATE_INPUT) || !defined(CLA_ACCUMULATE)
#error "gradient.cl: a parameter is not defined"
#endif

#define LOG2E 1.44269504088896340736f

#define d_output_t CLA_JOIN(CLA_STORE_, CLA_D_OUTPUT_TYPE)
#define d_query_t  CLA_JOIN(CLA_STORE_, CLA_D_QUERY_TYPE)
#define d_key_t    CLA_JOIN(CLA_STORE_, CLA_D_KEY_TYPE)
#define d_value_t  CLA_JOIN(CLA_STORE_, CLA_D_VALUE_TYPE)

#define load_d_output(p, i)  CLA_JOIN(CLA_LOAD_, CLA_D_OUTPUT_TYPE)(p, i)
#define load4_d_output(p, i) CLA_JOIN(CLA_LOAD4_, CLA_D_OUTPUT_TYPE)(p, i)

CLA_DEFINE_FETCH(d_output)

/*
 * tile[row - row0][column - column0] for CLA_CHUNK rows from row0, as stage_value does for values: 0 from `end` on and where
 * the bit of `seen` is 0.
 */
#define CLA_DEFINE_STAGE_AS_IT_LIES(name, row_at)                                                                          \
    INLINED static void stage_as_it_lies_##name(__local float4 *tile, __global const name##_t *p, long4 view,          \
                                                const struct batch *batch, int h, int row0, int end, int column0,      \
                                                int dim, uint seen, int item, CLA_PLACES_PARAMS)                       \
    {                                                                                                                  \
        for (int e = item; e < CLA_CHUNK * (CLA_TILE_KV / 4); e += CLA_GROUP) {                                        \
            const uint2 at = divide((uint)e, CLA_TILE_KV / 4);                                                         \
            const int row = (int)at.x;                                                                                 \
            const int column = 4 * (int)at.y;                                                                          \
            float4 piece = (float4)(0.0f);                                                                             \
            if (row0 + row < end && (seen >> row & 1) != 0)                                                            \
                piece = fetch4_##name(p, row_at, column0 + column, dim);                                               \
            tile[row * CLA_WIDTH + (int)at.y] = piece;                                                                 \
        }                                                                                                              \
    }

/* Columns [d, d + 4) of a row of a gradient, as far as they are below `dim`; with `adds` they are added to. */
#define CLA_DEFINE_STORE(name, type, adds)                                                                             \
    static inline void store4_##name(__global name##_t *p, long at, int d, int dim, float4 row)                        \
    {                                                                                                                  \
        EACH(4, n,                                                                                                     \
             if (d + n < dim) {                                                                                        \
                 float sum = element_of(row, n);                                                                       \
                 if (adds)                                                                                             \
                     sum += CLA_JOIN(CLA_LOAD_, type)(p, at + d + n);                                                  \
                 CLA_JOIN(CLA_STORE_AS_, type)(p, at + d + n, sum);                                                    \
             })                                                                                                        \
    }

/* A number for each of four rows from i on, 0 for those that are not there. */
static inline float4 of_rows(__global const float *p, long at, long row_stride, int i, int end)
{
    float4 rows = (float4)(0.0f);
    if (i < end)
        rows.x = p[at];
    if (i + 1 < end)
        rows.y = p[at + row_stride];
    if (i + 2 < end)
        rows.z = p[at + 2 * row_stride];
    if (i + 3 < end)
        rows.w = p[at + 3 * row_stride];
    return rows;
}

/* Every fourth bit, as a vector to choose by. */
static inline int4 four_of(uint bits)
{
    return (int4)(bits & 1, bits >> 4 & 1, bits >> 8 & 1, bits >> 12 & 1) != 0;
}

/* Bit 0, 4, 8 and 12: whether dropout keeps the weights of query i and the keys from j on. */
static inline uint kept_of_query(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
#if CLA_DROPOUT
    const uint keeps = dropout_keeps((ulong)(view_row(dropout_view, batch->index, h, i) + j), dropout_key, dropout_threshold);
    return (keeps & 1) | (keeps & 2) << 3 | (keeps & 4) << 6 | (keeps & 8) << 9;
#else
    return 0;
#endif
}

/*
 * Of the four pairs of query i and key j with what follows them in a block, which are the next keys where `by_key` is 1, else the
 * next queries: from the products of queries and keys their weights after dropout, and from those of d_output and values ds, or dx
 * where `biased` is 1, 0 where they are not `seen`. Of that and of `kept`, by dropout, every fourth bit counts.
 */
INLINED static float4 weigh(float4 product, float4 *dp, int biased, float4 lse, float4 delta, uint seen, uint kept,
                          const struct batch *batch, int h, int i, int j, int by_key, CLA_SEMANTICS_PARAMS)
{
    const float4 s = scale * product;
    float4 x = capped(s);
#if CLA_MASK == 2 || CLA_ALIBI || CLA_RELATIVE
    const int di = 1 - by_key;
    const int dj = by_key;
    if (seen & 1)
        x.x += bias(batch, h, i, j, CLA_SEMANTICS);
    if (seen & 0x10)
        x.y += bias(batch, h, i + di, j + dj, CLA_SEMANTICS);
    if (seen & 0x100)
        x.z += bias(batch, h, i + 2 * di, j + 2 * dj, CLA_SEMANTICS);
    if (seen & 0x1000)
        x.w += bias(batch, h, i + 3 * di, j + 3 * dj, CLA_SEMANTICS);
#endif
    float4 p = exp2((x - lse) * LOG2E);
#if CLA_DROPOUT
    const float4 z = four_of(kept) ? (float4)(dropout_scale) : (float4)(0.0f);
    float4 ds = p * (z * *dp - delta);
    p *= z;
#else
    float4 ds = p * (*dp - delta);
#endif
#if CLA_SOFTCAP
    const float4 e = exp2(-2.0f * LOG2E * fabs(s / softcap)); /* 1 - tanh^2 would cancel */
    if (!biased)
        ds *= 4.0f * e / ((1.0f + e) * (1.0f + e));
#endif
    *dp = four_of(seen) ? ds : (float4)(0.0f);
    return four_of(seen) ? p : (float4)(0.0f);
}

/* What kernels read that make scores and weights again. */
#define CLA_INPUTS_PARAMS                                                                                              \
    __global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,                        \
        __global const value_t *value, long4 value_view, __global const d_output_t *d_output, long4 d_output_view,     \
        __global const float *lse, long4 lse_view, __global const float *delta, long4 delta_view
#define CLA_INPUTS                                                                                                     \
    query, query_view, key, key_view, value, value_view, d_output, d_output_view, lse, lse_view, delta, delta_view

/* Bit 4 r + c: whether dropout keeps the weight of query i + r and key j + c. */
static inline uint pairs_kept(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    uint kept = 0;
#if CLA_DROPOUT
    for (int r = 0; r < 4; r++)
        kept |= dropout_keeps((ulong)(view_row(dropout_view, batch->index, h, i + r) + j), dropout_key, dropout_threshold)
                << 4 * r;
#endif
    return kept;
}

/* block.cl turns queries into rows and keys into columns. The same of the others; a tile of keys may begin before the first. */
#define turned_key_t        key_t
#define turned_value_t      value_t
#define fetch4_turned_key   fetch4_key
#define fetch4_turned_value fetch4_value
CLA_DEFINE_STAGE(d_output, CLA_TILE_Q, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE(turned_key, CLA_TILE_KV, key_row(view, batch, h, max(row0 + row, 0), CLA_PLACES))
CLA_DEFINE_STAGE(turned_value, CLA_TILE_KV, value_row(view, batch, h, max(row0 + row, 0), CLA_PLACES))

/*
 * This work-item's block of the tile of queries from i0 and keys from j0: its weights, and ds or dx as weigh() has them. Returns
 * which of the pairs are seen, bit 4 r + c for row r and column c. With `tiles` 0 instead of 1 nothing is: the tile is not looked at.
 * `scratch` is CLA_CHUNK * (CLA_WIDTH + CLA_HEIGHT) long, and free behind it. `some` and `all` are those of classify().
 */
INLINED static uint weigh_tile(struct block *weights, struct block *ds, int biased, int tiles, __local float4 *scratch,
                               const struct batch *batch, int h, int g, int i0, int j0, int2 some, int2 all, int head_dim,
                               int value_dim, int item, CLA_INPUTS_PARAMS, CLA_SEMANTICS_PARAMS)
{
    __local float4 *rows = scratch;
    __local float4 *columns = scratch + CLA_CHUNK * CLA_HEIGHT;
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    block_clear(weights);
    block_clear(ds);
    for (int d0 = 0; d0 < tiles * head_dim; d0 += CLA_CHUNK) {
        stage_query(rows, query, query_view, batch, h, i0, batch->q_len, d0, head_dim, item, CLA_PLACES);
        stage_turned_key(columns, key, key_view, batch, g, j0, some.y, d0, head_dim, item, CLA_PLACES);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(weights, rows, columns, min(CLA_CHUNK, head_dim - d0), x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int d0 = 0; d0 < tiles * value_dim; d0 += CLA_CHUNK) {
        stage_d_output(rows, d_output, d_output_view, batch, h, i0, batch->q_len, d0, value_dim, item, CLA_PLACES);
        stage_turned_value(columns, value, value_view, batch, g, j0, some.y, d0, value_dim, item, CLA_PLACES);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(ds, rows, columns, min(CLA_CHUNK, value_dim - d0), x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (tiles == 0)
        return 0;

    const int i = i0 + 4 * y;
    const int j = j0 + 4 * x;
    uint pairs = 0xffff;
    if (i0 + CLA_TILE_Q > batch->q_len || classify(batch, j0, j0 + CLA_TILE_KV, some, all, CLA_PLACES) != CLA_FULL) {
        pairs = 0;
        for (int r = 0; r < 4; r++) {
            const int2 visible = visible_keys(batch, i + r, CLA_SEMANTICS);
            for (int c = 0; c < 4; c++)
                pairs |= keep(batch, h, i + r, j + c, visible, CLA_SEMANTICS) ? 1u << (4 * r + c) : 0;
        }
    }
    const uint kept = pairs_kept(batch, h, i, j, CLA_SEMANTICS);
    /* Read here, behind the barriers: Intel's runtime 2026.2 lost one of them in front, with dropout. */
    const float4 row_lse = of_rows(lse, query_row(lse_view, batch, h, i), lse_view.w, i, batch->q_len);
    const float4 row_delta = of_rows(delta, view_row(delta_view, batch->index, h, i), delta_view.w, i, batch->q_len);
    weights->c0 = weigh(weights->c0, &ds->c0, biased, row_lse, row_delta, pairs, kept, batch, h, i, j, 0, CLA_SEMANTICS);
    weights->c1 = weigh(weights->c1, &ds->c1, biased, row_lse, row_delta, pairs >> 1, kept >> 1, batch, h, i, j + 1, 0, CLA_SEMANTICS);
    weights->c2 = weigh(weights->c2, &ds->c2, biased, row_lse, row_delta, pairs >> 2, kept >> 2, batch, h, i, j + 2, 0, CLA_SEMANTICS);
    weights->c3 = weigh(weights->c3, &ds->c3, biased, row_lse, row_delta, pairs >> 3, kept >> 3, batch, h, i, j + 3, 0, CLA_SEMANTICS);
    return pairs;
}

/* Notes in `seen`, bit n of the m-th for column 32 m + n, which columns of the tile are in a pair; all are before the barrier. */
INLINED static void note_columns(__local uint *seen, uint pairs, int x, int item)
{
    if (item < (CLA_TILE_KV + 31) / 32)
        seen[item] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    atomic_or(&seen[x >> 3], ((pairs | pairs >> 4 | pairs >> 8 | pairs >> 12) & 0xf) << 4 * (x & 7));
}

/* The block that put_block() left here. */
static inline void get_block(struct block *block, __local const float4 *from)
{
    block->c0 = from[0];
    block->c1 = from[CLA_HEIGHT];
    block->c2 = from[2 * CLA_HEIGHT];
    block->c3 = from[3 * CLA_HEIGHT];
}

/* The block's columns, for a product with them as the summed index, once there was a barrier. */
INLINED static void put_block(__local float4 *to, const struct block *block)
{
    to[0] = block->c0;
    to[CLA_HEIGHT] = block->c1;
    to[2 * CLA_HEIGHT] = block->c2;
    to[3 * CLA_HEIGHT] = block->c3;
}
#endif
