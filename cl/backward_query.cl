/* SPDX-License-Identifier: Apache-2.0 */
/*
 * d_query of the backward pass (lib/gradient.cl). As in flash.cl, a work-group owns CLA_TILE_Q queries of a head and goes over the
 * keys that they see, and a work-item owns a 4 x 4 block of the pairs. The group makes CLA_TILE_KV columns of d_query; further ones
 * are other groups', which compute the scores once more. Groups are numbered with these innermost, then the tiles of
 * queries, the last of a head first, then the heads.
 *
 *   CLA_HELD   chunks after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 16 CLA_TILE_KV CLA_HEIGHT + 16 CLA_CHUNK (CLA_WIDTH + CLA_HEIGHT) bytes.
 */
#if !defined(CLA_D_OUTPUT_TYPE) || !defined(CLA_HELD)
#error "backward_query.cl: a parameter is not defined"
#endif

/* block.cl turns queries into rows and keys into columns. The same of the others. */
#define turned_value_t      value_t
#define fetch4_turned_value fetch4_value
CLA_DEFINE_STAGE(d_output, CLA_TILE_Q, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE(turned_value, CLA_TILE_KV, value_row(view, batch, h, row0 + row, CLA_PLACES))
CLA_DEFINE_STAGE_AS_IT_LIES(key, key_row(view, batch, h, row0 + row, CLA_PLACES))
CLA_DEFINE_STORE(d_query, CLA_D_QUERY_TYPE)

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

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_query(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
               __global const value_t *value, long4 value_view, __global const d_output_t *d_output, long4 d_output_view,
               __global const float *lse, long4 lse_view, __global const float *delta, long4 delta_view,
               __global d_query_t *d_query, long4 d_query_view, int q_heads, int heads_per_kv, int head_dim, int value_dim,
               CLA_SEMANTICS_PARAMS)
{
    __local float4 pairs_ds[CLA_TILE_KV * CLA_HEIGHT];
    __local float4 scratch[CLA_CHUNK * (CLA_WIDTH + CLA_HEIGHT)];
    __local float4 *rows = scratch;
    __local float4 *columns = scratch + CLA_CHUNK * CLA_HEIGHT;
    __local uint *seen = (__local uint *)(scratch + CLA_CHUNK * CLA_WIDTH); /* behind the keys as they lie */

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = max(1, (q_len + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int column_tiles = (head_dim + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const uint2 head = divide(row_tile.x, (uint)q_heads);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int i0 = (row_tiles - 1 - (int)row_tile.y) * CLA_TILE_Q;
    const int i = i0 + 4 * y;
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);

    const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
    const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, batch.q_len) - 1), CLA_SEMANTICS);
    const int2 some = i0 < batch.q_len ? visible_to_some(first, last) : (int2)(0);
    const int2 all = visible_to_all(first, last);

    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
    int chunks = 0;
    int holds = 0;
#endif
    for (int j0 = some.x / CLA_TILE_KV * CLA_TILE_KV; j0 < some.y; j0 += CLA_TILE_KV) {
        struct block s;
        struct block dp;
        block_clear(&s);
        block_clear(&dp);
        for (int d0 = 0; d0 < head_dim; d0 += CLA_CHUNK) {
            stage_query(rows, query, query_view, &batch, h, i0, batch.q_len, d0, head_dim, item, CLA_PLACES);
            stage_key(columns, key, key_view, &batch, g, j0, some.y, d0, head_dim, item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
            block_product(&s, rows, columns, min(CLA_CHUNK, head_dim - d0), x, y);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (int d0 = 0; d0 < value_dim; d0 += CLA_CHUNK) {
            stage_d_output(rows, d_output, d_output_view, &batch, h, i0, batch.q_len, d0, value_dim, item, CLA_PLACES);
            stage_turned_value(columns, value, value_view, &batch, g, j0, some.y, d0, value_dim, item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
            block_product(&dp, rows, columns, min(CLA_CHUNK, value_dim - d0), x, y);
            barrier(CLK_LOCAL_MEM_FENCE);
        }

        const int j = j0 + 4 * x;
        uint pairs = 0xffff;
        if (classify(&batch, j0, j0 + CLA_TILE_KV, some, all, CLA_PLACES) != CLA_FULL) {
            pairs = 0;
            for (int r = 0; r < 4; r++) {
                const int2 visible = visible_keys(&batch, i + r, CLA_SEMANTICS);
                for (int c = 0; c < 4; c++)
                    pairs |= keep(&batch, h, i + r, j + c, visible, CLA_SEMANTICS) ? 1u << (4 * r + c) : 0;
            }
        }
        const uint kept = pairs_kept(&batch, h, i, j, CLA_SEMANTICS);
        /* Read here, behind the barriers: Intel's runtime 2026.2 lost one of them in front, with dropout. */
        const float4 row_lse = of_rows(lse, query_row(lse_view, &batch, h, i), lse_view.w, i, batch.q_len);
        const float4 row_delta = of_rows(delta, view_row(delta_view, batch.index, h, i), delta_view.w, i, batch.q_len);
        weigh(&s.c0, &dp.c0, row_lse, row_delta, pairs, kept, &batch, h, i, j, 0, CLA_SEMANTICS);
        weigh(&s.c1, &dp.c1, row_lse, row_delta, pairs >> 1, kept >> 1, &batch, h, i, j + 1, 0, CLA_SEMANTICS);
        weigh(&s.c2, &dp.c2, row_lse, row_delta, pairs >> 2, kept >> 2, &batch, h, i, j + 2, 0, CLA_SEMANTICS);
        weigh(&s.c3, &dp.c3, row_lse, row_delta, pairs >> 3, kept >> 3, &batch, h, i, j + 3, 0, CLA_SEMANTICS);
        note_columns(seen, pairs, x, item);
        put_block(pairs_ds + 4 * x * CLA_HEIGHT + y, &dp);
#pragma unroll 1
        for (int k0 = 0; k0 < CLA_TILE_KV; k0 += CLA_CHUNK) {
            stage_as_it_lies_key(scratch, key, key_view, &batch, g, j0 + k0, some.y, column0, head_dim,
                                 seen[k0 >> 5] >> (k0 & 31), item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
            block_product(&sum, pairs_ds + k0 * CLA_HEIGHT, scratch, CLA_CHUNK, x, y);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#if CLA_HELD
        chunks += CLA_TILE_KV / CLA_CHUNK;
        if (chunks >= CLA_HELD) {
            hold_block(held, &sum, holds);
            holds = 1;
            chunks = 0;
        }
#endif
    }
#if CLA_HELD
    if (holds)
        block_add_held(&sum, held);
#endif
    for (int r = 0; r < 4; r++) {
        if (i + r < batch.q_len)
            store4_d_query(d_query, query_row(d_query_view, &batch, h, i + r), column0 + 4 * x, head_dim,
                           scale * block_row(&sum, r));
    }
}
