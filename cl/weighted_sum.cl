/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weighted sum of values: O[b,h,i] = sum over j of W[b,h,i,j] * V[b,g,j]. Tiled.
 *
 *   weights [b, q_heads, q_len, kv_len] f32   value [b, kv_heads, kv_len, value_dim]
 *   output [b, q_heads, q_len, value_dim]
 *
 * A work-group makes CLA_TILE_Q rows by CLA_TILE_KV columns of one head, a work-item a 4 x 4 block of it (block.cl),
 * stepping over CLA_CHUNK keys at a time. Within attention, tiles of keys that no row of the tile sees are skipped, and in those
 * that are cut the values that nobody sees count as 0. Work-groups are numbered with the column tiles innermost, then
 * the query tiles of the slice, then the heads.
 *
 *   CLA_HELD   chunks after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 4 (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK bytes.
 */
#if !defined(CLA_HELD)
#error "weighted_sum.cl: CLA_HELD is not defined"
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
weighted_sum(__global const float *weights, long4 weights_view, __global const value_t *value, long4 value_view,
             __global output_t *output, long4 output_view, int q_heads, int heads_per_kv, int value_dim,
             int4 slice, CLA_SEMANTICS_PARAMS)
{
    __local float4 rows[CLA_CHUNK * CLA_HEIGHT];
    __local float4 columns[CLA_CHUNK * CLA_WIDTH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int rows_of_run = min(q_len, slice.y + slice.z) - slice.y;
    const int row_tiles = max(1, (rows_of_run + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int column_tiles = (value_dim + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const uint2 head = divide((uint)slice.x + row_tile.x, (uint)q_heads);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int i0 = slice.y + (int)row_tile.y * CLA_TILE_Q;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    const int row_end = min(batch.q_len, slice.y + slice.z);

    const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
    const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, row_end) - 1), CLA_SEMANTICS);
    const int2 some = i0 < row_end ? visible_to_some(first, last) : (int2)(0);
    const int2 all = visible_to_all(first, last);

    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
    int chunks = 0;
#endif
    for (int j0 = some.x / CLA_CHUNK * CLA_CHUNK; j0 < some.y; j0 += CLA_CHUNK) {
        uint seen = 0xffffffffu;
#if CLA_HIDDEN_KEYS
        const int cut = classify(&batch, j0, min(j0 + CLA_CHUNK, kv_len), some, all, CLA_PLACES) != CLA_FULL;
        __local uint *seen_by_any = (__local uint *)columns; /* until the values come */
        if (item == 0)
            *seen_by_any = cut ? 0 : seen;
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        for (int e = item; e < CLA_CHUNK * CLA_TILE_Q; e += CLA_GROUP) {
            const uint2 at = divide((uint)e, CLA_CHUNK);
            const int r = (int)at.x;
            const int j = (int)at.y;
            float w = 0.0f;
            if (i0 + r < row_end && j0 + j < kv_len) {
                w = weights[view_row(weights_view, batch.index, h, i0 + r) + j0 + j];
#if CLA_HIDDEN_KEYS
                if (cut && keep(&batch, h, i0 + r, j0 + j, visible_keys(&batch, i0 + r, CLA_SEMANTICS), CLA_SEMANTICS))
                    atomic_or(seen_by_any, 1u << j);
#endif
            }
            ((__local float *)rows)[j * CLA_TILE_Q + r] = w;
        }
#if CLA_HIDDEN_KEYS
        barrier(CLK_LOCAL_MEM_FENCE);
        seen = *seen_by_any;
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        stage_value(columns, value, value_view, &batch, g, j0, (int2)(some.x, min(some.y, kv_len)), column0, value_dim,
                    seen, item, CLA_PLACES);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(&sum, rows, columns, CLA_CHUNK, x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
#if CLA_HELD
        if (++chunks % CLA_HELD == 0)
            hold_block(held, &sum, chunks > CLA_HELD);
#endif
    }
#if CLA_HELD
    if (chunks >= CLA_HELD)
        block_add_held(&sum, held);
#endif

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int i = i0 + 4 * y + r;
        if (i >= row_end)
            break;
        store4_output(output, query_row(output_view, &batch, h, i), column0 + 4 * x, value_dim, block_row(&sum, r));
    }
}
