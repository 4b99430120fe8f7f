/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of linear by its input: dX[b,i,k] = sum over n of dY[b,i,n] * W[n,k]. Tiled.
 *
 *   d_output [b, length, out_features]   weight [out_features, in_features]   d_input [b, length, in_features]
 *
 * A product of rows with columns, as a weighted sum of values is: d_output stands for block.cl's query, the weight for its
 * value, and the output has d_input's type. A work-group makes one tile of CLA_TILE_Q rows by CLA_TILE_KV columns of one batch,
 * a work-item a 4 x 4 block of it, which `accumulate` adds to what is there. Work-groups are numbered with the column tiles
 * innermost, then the row tiles, then the batches.
 *
 *   CLA_HELD   chunks after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 4 (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK bytes.
 */
#if !defined(CLA_HELD)
#error "linear_d_input.cl: CLA_HELD is not defined"
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
linear_d_input(__global const query_t *d_output, long4 d_output_view, __global const value_t *weight, long4 weight_view,
               __global output_t *d_input, long4 d_input_view, int length, int in_features, int out_features,
               int accumulate)
{
    __local float4 rows[CLA_CHUNK * CLA_HEIGHT];
    __local float4 columns[CLA_CHUNK * CLA_WIDTH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = max(1, (length + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int column_tiles = (in_features + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int i0 = (int)row_tile.y * CLA_TILE_Q;
    const int b = (int)row_tile.x;
    const struct batch batch = {b, length, 0, out_features, 0};
    const struct batch one = {0, length, 0, out_features, 0};
    const int depth = length == 0 ? 0 : out_features;

    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
#endif
    for (int n0 = 0; n0 < depth; n0 += CLA_CHUNK) {
#if CLA_HELD
        if (n0 > 0 && n0 % (CLA_HELD * CLA_CHUNK) == 0)
            hold_block(held, &sum, n0 > CLA_HELD * CLA_CHUNK);
#endif
        stage_query(rows, d_output, d_output_view, &batch, 0, i0, length, n0, out_features, item, length, out_features);
        stage_value(columns, weight, weight_view, &one, 0, n0, (int2)(0, out_features), column0, in_features, 0xffffffffu,
                    item, length, out_features);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(&sum, rows, columns, min(CLA_CHUNK, out_features - n0), x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if CLA_HELD
    if (depth > CLA_HELD * CLA_CHUNK)
        block_add_held(&sum, held);
#endif

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int i = i0 + 4 * y + r;
        if (i >= length)
            break;
        const long to = view_row(d_input_view, b, 0, i);
        const int k = column0 + 4 * x;
        float4 row = block_row(&sum, r);
        if (accumulate)
            row += fetch4_output(d_input, to, k, in_features);
        store4_output(d_input, to, k, in_features, row);
    }
}
