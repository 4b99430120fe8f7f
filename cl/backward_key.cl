/* SPDX-License-Identifier: Apache-2.0 */
/*
 * d_key and d_value of the backward pass (lib/gradient.cl). A work-group owns CLA_TILE_Q keys of a key/value head, which are the rows of
 * its blocks (block.cl), and goes over the queries that see them, which are the columns: those of the sum_heads query heads of a group, or of all and of
 * sum_batches batches where keys or values are shared by strides of 0. It makes
 * CLA_TILE_KV columns of both gradients; further ones are other groups', which compute the scores once more. Groups
 * are numbered with these innermost, then the tiles of keys, then the heads.
 *
 *   CLA_HELD        chunks after which sums are held (types.cl); 0: there are no more
 *   head_columns    head_dim, or 0 where d_key is not wanted; value_columns the same of d_value
 *
 * Local memory: 16 CLA_TILE_KV CLA_HEIGHT + 16 CLA_CHUNK (CLA_WIDTH + CLA_HEIGHT) bytes.
 */
#if !defined(CLA_D_OUTPUT_TYPE) || !defined(CLA_HELD)
#error "backward_key.cl: a parameter is not defined"
#endif

/* block.cl turns queries into rows and keys into columns: here it is the other way round. */
#define own_key_t             key_t
#define own_value_t           value_t
#define their_query_t         query_t
#define their_d_output_t      d_output_t
#define fetch4_own_key        fetch4_key
#define fetch4_own_value      fetch4_value
#define fetch4_their_query    fetch4_query
#define fetch4_their_d_output fetch4_d_output
CLA_DEFINE_STAGE(own_key, CLA_TILE_Q, key_row(view, batch, h, row0 + row, CLA_PLACES))
CLA_DEFINE_STAGE(own_value, CLA_TILE_Q, value_row(view, batch, h, row0 + row, CLA_PLACES))
CLA_DEFINE_STAGE(their_query, CLA_TILE_KV, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE(their_d_output, CLA_TILE_KV, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE_AS_IT_LIES(query, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STAGE_AS_IT_LIES(d_output, query_row(view, batch, h, row0 + row))
CLA_DEFINE_STORE(d_key, CLA_D_KEY_TYPE, CLA_ACCUMULATE_INPUT)
CLA_DEFINE_STORE(d_value, CLA_D_VALUE_TYPE, CLA_ACCUMULATE_INPUT)

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_key(CLA_INPUTS_PARAMS, __global d_key_t *d_key, long4 d_key_view, __global d_value_t *d_value,
             long4 d_value_view, int heads, int sum_batches, int sum_heads, int heads_per_kv, int head_dim,
             int value_dim, int head_columns, int value_columns, CLA_SEMANTICS_PARAMS)
{
    __local float4 weights[CLA_TILE_KV * CLA_HEIGHT]; /* and then ds */
    __local float4 scratch[CLA_CHUNK * (CLA_WIDTH + CLA_HEIGHT)];
    __local float4 *rows = scratch;
    __local float4 *columns = scratch + CLA_CHUNK * CLA_HEIGHT;
    __local uint *seen = (__local uint *)(scratch + CLA_CHUNK * CLA_WIDTH); /* behind what is staged as it lies */

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int key_tiles = max(1, (kv_len + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int column_tiles = (max(head_columns, value_columns) + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 key_tile = divide(column_tile.x, (uint)key_tiles);
    const uint2 head = divide(key_tile.x, (uint)heads);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int j0 = (int)key_tile.y * CLA_TILE_Q;
    const int j = j0 + 4 * y;

    /* Queries of a tile that the sums go over: none where these columns are of the other gradient alone. */
    const int head_end = column0 < head_columns ? CLA_TILE_KV : 0;
    const int value_end = column0 < value_columns ? CLA_TILE_KV : 0;
    struct block sum_key;
    struct block sum_value;
    block_clear(&sum_key);
    block_clear(&sum_value);
#if CLA_HELD
    volatile float4 held[8];
    int chunks = 0;
    int holds = 0;
#endif
    for (int m = 0; m < sum_batches; m++) {
        struct batch batch;
        batch_of(&batch, (int)head.x + m, CLA_PLACES);
        /* The tiles of queries some of which may see one of these keys: they follow one another, as the intervals do. */
        const int j_end = min(j0 + CLA_TILE_Q, batch.kv_len);
        int first_tile = 0;
        int tiles = 0;
        for (int i = 0; i < batch.q_len && j0 < j_end; i += CLA_TILE_KV) {
            const int2 first = visible_keys(&batch, i, CLA_SEMANTICS);
            const int2 last = visible_keys(&batch, min(i + CLA_TILE_KV, batch.q_len) - 1, CLA_SEMANTICS);
            const int2 some = visible_to_some(first, last);
            const int meets = j0 < some.y && j_end > some.x;
            first_tile += !meets && tiles == 0;
            tiles += meets;
        }
        for (int n = 0; n < sum_heads * tiles; n++) {
            const uint2 tile = divide((uint)n, (uint)tiles);
            const int h = (int)head.y * sum_heads + (int)tile.x;
            const int g = h / heads_per_kv;
            const int i0 = (first_tile + (int)tile.y) * CLA_TILE_KV;
            const int end = min(i0 + CLA_TILE_KV, batch.q_len);
            const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
            const int2 last = visible_keys(&batch, end - 1, CLA_SEMANTICS);
            const int cut = i0 + CLA_TILE_KV > end || j0 + CLA_TILE_Q > j_end ||
                            classify(&batch, j0, j_end, visible_to_some(first, last), visible_to_all(first, last),
                                     CLA_PLACES) != CLA_FULL;

            struct block s;
            struct block dp;
            block_clear(&s);
            block_clear(&dp);
            for (int d0 = 0; d0 < head_dim; d0 += CLA_CHUNK) {
                stage_own_key(rows, key, key_view, &batch, g, j0, batch.kv_len, d0, head_dim, item, CLA_PLACES);
                stage_their_query(columns, query, query_view, &batch, h, i0, end, d0, head_dim, item, CLA_PLACES);
                barrier(CLK_LOCAL_MEM_FENCE);
                block_product(&s, rows, columns, min(CLA_CHUNK, head_dim - d0), x, y);
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            /* Out of the way: with the other products and both sums they are more than some GPUs have registers for. */
            __local float4 *own = weights + 4 * x * CLA_HEIGHT + y;
            put_block(own, &s);
            for (int d0 = 0; d0 < value_dim; d0 += CLA_CHUNK) {
                stage_own_value(rows, value, value_view, &batch, g, j0, batch.kv_len, d0, value_dim, item, CLA_PLACES);
                stage_their_d_output(columns, d_output, d_output_view, &batch, h, i0, end, d0, value_dim, item, CLA_PLACES);
                barrier(CLK_LOCAL_MEM_FENCE);
                block_product(&dp, rows, columns, min(CLA_CHUNK, value_dim - d0), x, y);
                barrier(CLK_LOCAL_MEM_FENCE);
            }

            const int i = i0 + 4 * x;
            uint pairs = 0xffff;
            if (cut) {
                pairs = 0;
                for (int c = 0; c < 4; c++) {
                    const int2 visible = visible_keys(&batch, i + c, CLA_SEMANTICS);
                    for (int r = 0; r < 4; r++)
                        pairs |= keep(&batch, h, i + c, j + r, visible, CLA_SEMANTICS) ? 1u << (4 * r + c) : 0;
                }
            }
            const float4 row_lse = of_rows(lse, query_row(lse_view, &batch, h, i), lse_view.w, i, end);
            const float4 row_delta = of_rows(delta, view_row(delta_view, batch.index, h, i), delta_view.w, i, end);
            own[0] = weigh(own[0], &dp.c0, 0, (float4)(row_lse.x), (float4)(row_delta.x), pairs,
                   kept_of_query(&batch, h, i, j, CLA_SEMANTICS), &batch, h, i, j, 1, CLA_SEMANTICS);
            own[CLA_HEIGHT] = weigh(own[CLA_HEIGHT], &dp.c1, 0, (float4)(row_lse.y), (float4)(row_delta.y), pairs >> 1,
                   kept_of_query(&batch, h, i + 1, j, CLA_SEMANTICS), &batch, h, i + 1, j, 1, CLA_SEMANTICS);
            own[2 * CLA_HEIGHT] = weigh(own[2 * CLA_HEIGHT], &dp.c2, 0, (float4)(row_lse.z), (float4)(row_delta.z), pairs >> 2,
                   kept_of_query(&batch, h, i + 2, j, CLA_SEMANTICS), &batch, h, i + 2, j, 1, CLA_SEMANTICS);
            own[3 * CLA_HEIGHT] = weigh(own[3 * CLA_HEIGHT], &dp.c3, 0, (float4)(row_lse.w), (float4)(row_delta.w), pairs >> 3,
                   kept_of_query(&batch, h, i + 3, j, CLA_SEMANTICS), &batch, h, i + 3, j, 1, CLA_SEMANTICS);
            note_columns(seen, pairs, x, item);
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
            for (int k0 = 0; k0 < value_end; k0 += CLA_CHUNK) {
                stage_as_it_lies_d_output(scratch, d_output, d_output_view, &batch, h, i0 + k0, end, column0, value_dim,
                                          seen[k0 >> 5] >> (k0 & 31), item, CLA_PLACES);
                barrier(CLK_LOCAL_MEM_FENCE);
                block_product(&sum_value, weights + k0 * CLA_HEIGHT, scratch, CLA_CHUNK, x, y);
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            put_block(own, &dp);
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
            for (int k0 = 0; k0 < head_end; k0 += CLA_CHUNK) {
                stage_as_it_lies_query(scratch, query, query_view, &batch, h, i0 + k0, end, column0, head_dim,
                                       seen[k0 >> 5] >> (k0 & 31), item, CLA_PLACES);
                barrier(CLK_LOCAL_MEM_FENCE);
                block_product(&sum_key, weights + k0 * CLA_HEIGHT, scratch, CLA_CHUNK, x, y);
                barrier(CLK_LOCAL_MEM_FENCE);
            }
#if CLA_HELD
            chunks += CLA_TILE_KV / CLA_CHUNK;
            if (chunks >= CLA_HELD) {
                hold_block(held, &sum_key, holds);
                hold_block(held + 4, &sum_value, holds);
                holds = 1;
                chunks = 0;
            }
#endif
        }
    }
#if CLA_HELD
    if (holds) {
        block_add_held(&sum_key, held);
        block_add_held(&sum_value, held + 4);
    }
#endif
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    /* Rows of packed sequences only, else all: those past a batch's length have gradients of 0. */
    const int rows_end = CLA_KV_CU_LENGTHS ? batch.kv_len : kv_len;
    for (int r = 0; r < 4; r++) {
        if (j + r >= rows_end)
            break;
        if (value_end > 0)
            store4_d_value(d_value, value_row(d_value_view, &batch, (int)head.y, j + r, CLA_PLACES), column0 + 4 * x, value_columns,
                           block_row(&sum_value, r));
        if (head_end > 0)
            store4_d_key(d_key, key_row(d_key_view, &batch, (int)head.y, j + r, CLA_PLACES), column0 + 4 * x, head_columns,
                         scale * block_row(&sum_key, r));
    }
}
