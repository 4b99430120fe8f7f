/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scores: S[b,h,i,j] = scale * (Q[b,h,i] . K[b,g,j]), then softcap, mask and exclusions as the stage says. Tiled.
 *
 *   query [b, q_heads, q_len, head_dim]   key [b, kv_heads, kv_len, head_dim]   scores [b, q_heads, q_len, kv_len] f32
 *
 * A work-group makes one tile of CLA_TILE_Q x CLA_TILE_KV scores of one head, a work-item a 4 x 4 block of it (block.cl).
 * Work-groups are numbered with the key tiles innermost, then the query tiles of the slice, then the heads.
 *
 *   CLA_STAGE   1 raw   2 softcap   3 masked: -inf where excluded; tiles that nobody sees are not computed
 *   CLA_HELD    chunks after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 4 (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK bytes.
 */
#if !defined(CLA_STAGE) || !defined(CLA_HELD)
#error "scores.cl: a parameter is not defined"
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
scores(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
       __global float *scores, long4 scores_view, int q_heads, int heads_per_kv, int head_dim, int4 slice, CLA_SEMANTICS_PARAMS)
{
    __local float4 rows[CLA_CHUNK * CLA_HEIGHT];
    __local float4 columns[CLA_CHUNK * CLA_WIDTH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int rows_of_run = min(q_len, slice.y + slice.z) - slice.y;
    const int row_tiles = max(1, (rows_of_run + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int key_tiles = max(1, (kv_len + CLA_TILE_KV - 1) / CLA_TILE_KV);
    const uint2 key_tile = divide((uint)get_group_id(0), (uint)key_tiles);
    const uint2 row_tile = divide(key_tile.x, (uint)row_tiles);
    const uint2 head = divide((uint)slice.x + row_tile.x, (uint)q_heads);
    const int j0 = (int)key_tile.y * CLA_TILE_KV;
    const int i0 = slice.y + (int)row_tile.y * CLA_TILE_Q;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    const int row_end = min(batch.q_len, slice.y + slice.z);

    int needed = i0 < row_end;
#if CLA_STAGE == 3
    const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
    const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, row_end) - 1), CLA_SEMANTICS);
    needed = needed && classify(&batch, j0, min(j0 + CLA_TILE_KV, kv_len), visible_to_some(first, last),
                                visible_to_all(first, last), CLA_PLACES) != CLA_EMPTY;
#endif

    const int keys_end = CLA_KV_CU_LENGTHS ? batch.kv_len : kv_len;
    struct block sum;
    block_clear(&sum);
    /* A product, as PoCL 7.1 dies compiling what branches here. The same for the whole group. */
    const int dims = needed * head_dim;
#if CLA_HELD
    volatile float4 held[4];
#endif
    for (int d0 = 0; d0 < dims; d0 += CLA_CHUNK) {
#if CLA_HELD
        if (d0 > 0 && d0 % (CLA_HELD * CLA_CHUNK) == 0)
            hold_block(held, &sum, d0 > CLA_HELD * CLA_CHUNK);
#endif
        stage_query(rows, query, query_view, &batch, h, i0, row_end, d0, head_dim, item, CLA_PLACES);
        stage_key(columns, key, key_view, &batch, g, j0, keys_end, d0, head_dim, item, CLA_PLACES);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(&sum, rows, columns, min(CLA_CHUNK, head_dim - d0), x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if CLA_HELD
    if (dims > CLA_HELD * CLA_CHUNK)
        block_add_held(&sum, held);
#endif

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int i = i0 + 4 * y + r;
        if (i >= row_end)
            break;
#if CLA_STAGE == 3
        const int2 visible = visible_keys(&batch, i, CLA_SEMANTICS);
#endif
        float4 row = scale * block_row(&sum, r);
#if CLA_STAGE >= 2
        row = capped(row);
#endif
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int j = j0 + 4 * x + c;
            if (j >= kv_len)
                break;
            float s = element_of(row, c);
#if CLA_STAGE == 3
            s = keep(&batch, h, i, j, visible, CLA_SEMANTICS) ? s + bias(&batch, h, i, j, CLA_SEMANTICS) : -INFINITY;
#endif
            scores[view_row(scores_view, batch.index, h, i) + j] = s;
        }
    }
}
