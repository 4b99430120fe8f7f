/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of what is added to scores (lib/gradient.cl): sums of dx. A work-group adds up tiles of CLA_TILE_Q queries and
 * CLA_TILE_KV keys, one after the other into the same 4 x 4 numbers of each work-item, and then what is summed within the tile.
 * Which tiles follow each other, and what comes out of them:
 *
 *   CLA_SUM   0 pairs      the same tile of several batches and heads: d_mask itself, over queries and keys
 *             1 keys       all queries of some keys    [b, h, kv_len]
 *             2 queries    all keys of some queries    [b, h, q_len]; with CLA_DISTANCE times -|p - j|, the gradient of a slope
 *             3 diagonals  the tiles along a diagonal  [b, h, tiles, CLA_TILE_Q + CLA_TILE_KV]: tile t has keys from
 *                          i + (t - below) CLA_TILE_KV on, element e of it the pairs with e = key - query + CLA_TILE_Q - 1 in the tile
 *
 * Where it is not d_mask itself it lies in the workspace, and backward_bias_sum.cl or backward_relative.cl adds it up. A group goes
 * over sum_batches batches and sum_heads query heads, which is more than one for pairs only. Groups are numbered with the keys innermost, or the diagonals, then the queries, then the heads.
 *
 *   CLA_HELD     not 0: so many tiles are added up that sums are held (types.cl)
 *   CLA_DISTANCE 1: of queries, as above
 *   columns      pairs: the keys that the mask covers; diagonals: how many tiles there are
 *   below        diagonals: how many of them are below that of the first key
 *
 * Local memory: 16 CLA_CHUNK (CLA_WIDTH + CLA_HEIGHT) bytes or 16 CLA_GROUP if that is more, and 16 CLA_TILE_KV CLA_HEIGHT with diagonals.
 */
#if !defined(CLA_D_OUTPUT_TYPE) || !defined(CLA_HELD) || !defined(CLA_SUM) || !defined(CLA_DISTANCE)
#error "backward_bias.cl: a parameter is not defined"
#endif

#define OF_PAIRS     (CLA_SUM == 0)
#define OF_KEYS      (CLA_SUM == 1)
#define OF_QUERIES   (CLA_SUM == 2)
#define OF_DIAGONALS (CLA_SUM == 3)

#define sum_t float
CLA_DEFINE_STORE(sum, 0, CLA_ACCUMULATE)

#define STAGED  (CLA_CHUNK * (CLA_WIDTH + CLA_HEIGHT))
#define TILE    (CLA_TILE_KV * CLA_HEIGHT)
#define SCRATCH (STAGED > CLA_GROUP ? STAGED : CLA_GROUP)

/* Tiles that are added up before their sum is held. */
#define RUN 64

static inline float4 columns_of_block(const struct block *sum)
{
    return block_row(sum, 0) + block_row(sum, 1) + block_row(sum, 2) + block_row(sum, 3);
}

/* Multiplies what belongs to key j by -|p - j|, for queries i to i + 3. */
static inline void times_distance(float4 *column, const struct batch *batch, int i, int j, CLA_SEMANTICS_PARAMS)
{
#if CLA_DISTANCE
    *column *= -fabs((float4)((float)(j - near_position(batch, i, CLA_SEMANTICS)),
                              (float)(j - near_position(batch, i + 1, CLA_SEMANTICS)),
                              (float)(j - near_position(batch, i + 2, CLA_SEMANTICS)),
                              (float)(j - near_position(batch, i + 3, CLA_SEMANTICS))));
#endif
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_bias(CLA_INPUTS_PARAMS, __global float *sums, long4 sums_view, int heads, int heads_per_kv, int head_dim,
              int value_dim, int sum_batches, int sum_heads, int columns, int below, CLA_SEMANTICS_PARAMS)
{
    __local float4 scratch[SCRATCH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = OF_PAIRS || OF_QUERIES ? max(1, (q_len + CLA_TILE_Q - 1) / CLA_TILE_Q) : 1;
    const int column_tiles = OF_DIAGONALS               ? columns
                             : OF_PAIRS || OF_KEYS ? max(1, (kv_len + CLA_TILE_KV - 1) / CLA_TILE_KV)
                                                        : 1;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const uint2 head = divide(row_tile.x, (uint)heads);

    struct block sum;
    block_clear(&sum);
#if OF_DIAGONALS /* kept where it ends up: with all that a bias can be, registers do not last for it on some GPUs */
    __local float4 tile[TILE];
    __local float4 *own = tile + 4 * x * CLA_HEIGHT + y;
    put_block(own, &sum);
#endif
#if CLA_HELD
    volatile float4 held[4];
    int added = 0;
    int holds = 0;
#endif
    for (int n = 0; n < sum_batches * sum_heads; n++) {
        const uint2 next = divide((uint)n, (uint)sum_heads);
        const int h = (int)head.y * sum_heads + (int)next.y;
        struct batch batch;
        batch_of(&batch, (int)(head.x + next.x), CLA_PLACES);
        const int tiles = OF_PAIRS     ? 1
                          : OF_QUERIES ? (batch.kv_len + CLA_TILE_KV - 1) / CLA_TILE_KV
                                       : (batch.q_len + CLA_TILE_Q - 1) / CLA_TILE_Q;
        for (int m = 0; m < tiles; m++) {
            const int i0 = (OF_KEYS || OF_DIAGONALS ? m : (int)row_tile.y) * CLA_TILE_Q;
            const int j0 = OF_DIAGONALS ? i0 + ((int)column_tile.y - below) * CLA_TILE_KV
                                        : (OF_QUERIES ? m : (int)column_tile.y) * CLA_TILE_KV;
            const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
            const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, batch.q_len) - 1), CLA_SEMANTICS);
            const int2 some = visible_to_some(first, last);
            const int meets = i0 < batch.q_len && j0 < some.y && j0 + CLA_TILE_KV > some.x && some.x < some.y;
            struct block weights;
            struct block dx;
            weigh_tile(&weights, &dx, 1, meets, scratch, &batch, h, h / heads_per_kv, i0, j0, some,
                       visible_to_all(first, last), head_dim, value_dim, item, CLA_INPUTS, CLA_SEMANTICS);
            times_distance(&dx.c0, &batch, i0 + 4 * y, j0 + 4 * x, CLA_SEMANTICS);
            times_distance(&dx.c1, &batch, i0 + 4 * y, j0 + 4 * x + 1, CLA_SEMANTICS);
            times_distance(&dx.c2, &batch, i0 + 4 * y, j0 + 4 * x + 2, CLA_SEMANTICS);
            times_distance(&dx.c3, &batch, i0 + 4 * y, j0 + 4 * x + 3, CLA_SEMANTICS);
#if OF_DIAGONALS
            get_block(&sum, own);
#endif
            sum.c0 += dx.c0;
            sum.c1 += dx.c1;
            sum.c2 += dx.c2;
            sum.c3 += dx.c3;
#if CLA_HELD
            if (++added == RUN) {
                hold_block(held, &sum, holds);
                holds = 1;
                added = 0;
            }
#endif
#if OF_DIAGONALS
            put_block(own, &sum);
#endif
        }
    }
#if OF_DIAGONALS
    get_block(&sum, own);
#endif
#if CLA_HELD
    if (holds)
        block_add_held(&sum, held);
#endif

    const int b = (int)head.x;
    const int h = (int)head.y;
#if OF_PAIRS
    const int i = (int)row_tile.y * CLA_TILE_Q + 4 * y;
    const int j = (int)column_tile.y * CLA_TILE_KV + 4 * x;
    for (int r = 0; r < 4; r++) {
        if (i + r >= q_len)
            break;
        store4_sum(sums, view_row(sums_view, b, h, i + r), j, min(columns, kv_len), block_row(&sum, r));
    }
#elif OF_DIAGONALS
    __local const float *pairs = (__local const float *)tile;
    put_block(own, &sum);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = item; e < CLA_TILE_Q + CLA_TILE_KV - 1 && sums != 0; e += CLA_GROUP) {
        const int ahead = e - (CLA_TILE_Q - 1);
        float total = 0.0f;
        for (int r = max(0, -ahead); r < min(CLA_TILE_Q, CLA_TILE_KV - ahead); r++)
            total += pairs[(r + ahead) * CLA_TILE_Q + r];
        sums[view_row(sums_view, b, h, (int)column_tile.y) + e] = total;
    }
#else
    const int owners = OF_KEYS ? CLA_WIDTH : CLA_HEIGHT; /* of four sums each */
    scratch[OF_KEYS ? item : x * CLA_HEIGHT + y] =
        OF_KEYS ? columns_of_block(&sum) : sum.c0 + sum.c1 + sum.c2 + sum.c3;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item >= owners)
        return;
    float4 total = (float4)(0.0f);
    for (int k = item; k < CLA_GROUP; k += owners)
        total += scratch[k];
    const int n0 = OF_KEYS ? (int)column_tile.y * CLA_TILE_KV : (int)row_tile.y * CLA_TILE_Q;
    store4_sum(sums, view_row(sums_view, b, h, 0), n0 + 4 * item, OF_KEYS ? kv_len : q_len, total);
#endif
}
