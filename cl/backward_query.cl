/* SPDX-License-Identifier: Apache-2.0 */
/*
 * d_query of the backward pass (lib/gradient.cl). As in flash.cl, a work-group owns CLA_TILE_Q queries of a head and goes over the
 * keys that they see, and a work-item owns a 4 x 4 block of the pairs. Where queries are shared, by strides of 0, it goes over
 * all sum_batches batches and sum_heads query heads that have them. The group makes CLA_TILE_KV columns of d_query; further ones
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

CLA_DEFINE_STAGE_AS_IT_LIES(key, key_row(view, batch, h, row0 + row, CLA_PLACES))
CLA_DEFINE_STORE(d_query, CLA_D_QUERY_TYPE, CLA_ACCUMULATE_INPUT)

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_query(CLA_INPUTS_PARAMS, __global d_query_t *d_query, long4 d_query_view, int heads, int sum_batches, int sum_heads,
               int heads_per_kv, int head_dim, int value_dim, CLA_SEMANTICS_PARAMS)
{
    __local float4 pairs_ds[CLA_TILE_KV * CLA_HEIGHT];
    __local float4 scratch[CLA_CHUNK * (CLA_WIDTH + CLA_HEIGHT)];
    __local uint *seen = (__local uint *)(scratch + CLA_CHUNK * CLA_WIDTH); /* behind the keys as they lie */

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = max(1, (q_len + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int column_tiles = (head_dim + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const uint2 head = divide(row_tile.x, (uint)heads);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int i0 = (row_tiles - 1 - (int)row_tile.y) * CLA_TILE_Q;
    const int i = i0 + 4 * y;
    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
    int chunks = 0;
    int holds = 0;
#endif
    for (int n = 0; n < sum_batches * sum_heads; n++) {
        const uint2 next = divide((uint)n, (uint)sum_heads);
        const int h = (int)head.y * sum_heads + (int)next.y;
        const int g = h / heads_per_kv;
        struct batch batch;
        batch_of(&batch, (int)(head.x + next.x), CLA_PLACES);
        const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
        const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, batch.q_len) - 1), CLA_SEMANTICS);
        const int2 some = i0 < batch.q_len ? visible_to_some(first, last) : (int2)(0);
        const int2 all = visible_to_all(first, last);
        for (int j0 = some.x / CLA_TILE_KV * CLA_TILE_KV; j0 < some.y; j0 += CLA_TILE_KV) {
            struct block weights;
            struct block ds;
            const uint pairs = weigh_tile(&weights, &ds, 0, 1, scratch, &batch, h, g, i0, j0, some, all, head_dim,
                                          value_dim, item, CLA_INPUTS, CLA_SEMANTICS);
            note_columns(seen, pairs, x, item);
            put_block(pairs_ds + 4 * x * CLA_HEIGHT + y, &ds);
            barrier(CLK_LOCAL_MEM_FENCE);
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
    }
#if CLA_HELD
    if (holds)
        block_add_held(&sum, held);
#endif
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    for (int r = 0; r < 4; r++) {
        if (i + r < batch.q_len)
            store4_d_query(d_query, query_row(d_query_view, &batch, (int)head.y, i + r), column0 + 4 * x, head_dim,
                           scale * block_row(&sum, r));
    }
}
