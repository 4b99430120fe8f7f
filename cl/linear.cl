/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear: O[b,i,n] = sum over k of X[b,i,k] * W[n,k] + B[n]. Tiled.
 *
 *   input [b, length, in_features]   weight [out_features, in_features]   bias [out_features]
 *   output [b, length, out_features]
 *
 * A product of rows with rows, as scores are: the input stands for block.cl's query, the weight for its key, and the
 * bias has the value's type. A work-group makes one tile of CLA_TILE_Q rows by CLA_TILE_KV features of one batch, a
 * work-item a 4 x 4 block of it. Work-groups are numbered with the feature tiles innermost, then the row tiles, then
 * the batches.
 *
 *   CLA_ADD_BIAS   1: add the bias
 *   CLA_HELD       chunks after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 4 (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK bytes.
 */
#if !defined(CLA_ADD_BIAS) || !defined(CLA_HELD)
#error "linear.cl: a parameter is not defined"
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
linear(__global const query_t *input, long4 input_view, __global const key_t *weight, long4 weight_view,
       __global const value_t *bias, long4 bias_view, __global output_t *output, long4 output_view, int length,
       int in_features, int out_features)
{
    __local float4 rows[CLA_CHUNK * CLA_HEIGHT];
    __local float4 columns[CLA_CHUNK * CLA_WIDTH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = max(1, (length + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const int feature_tiles = (out_features + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 feature_tile = divide((uint)get_group_id(0), (uint)feature_tiles);
    const uint2 row_tile = divide(feature_tile.x, (uint)row_tiles);
    const int n0 = (int)feature_tile.y * CLA_TILE_KV;
    const int i0 = (int)row_tile.y * CLA_TILE_Q;
    const int b = (int)row_tile.x;
    const struct batch batch = {b, length, 0, out_features, 0};
    const struct batch one = {0, length, 0, out_features, 0};
    const int depth = length == 0 ? 0 : in_features;

    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
#endif
    for (int k0 = 0; k0 < depth; k0 += CLA_CHUNK) {
#if CLA_HELD
        if (k0 > 0 && k0 % (CLA_HELD * CLA_CHUNK) == 0)
            hold_block(held, &sum, k0 > CLA_HELD * CLA_CHUNK);
#endif
        stage_query(rows, input, input_view, &batch, 0, i0, length, k0, in_features, item, length, out_features);
        stage_key(columns, weight, weight_view, &one, 0, n0, out_features, k0, in_features, item, length, out_features);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(&sum, rows, columns, min(CLA_CHUNK, in_features - k0), x, y);
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
        const int n = n0 + 4 * x;
        float4 row = block_row(&sum, r);
#if CLA_ADD_BIAS
        row += fetch4_value(bias, bias_view.x, n, out_features);
#endif
        store4_output(output, view_row(output_view, b, 0, i), n, out_features, row);
    }
}
