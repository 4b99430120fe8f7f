/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of linear by its weight: dW[n,k] = sum over b and i of dY[b,i,n] * X[b,i,k], or what dW holds and that. Tiled.
 *
 *   d_output [b, length, out_features]   input [b, length, in_features]   d_weight [parts, out_features, in_features]
 *
 * Tokens are the rows of all batches, one after the other. Both operands have them outermost, as block.cl's tiles have the
 * index that is summed: d_output has the type of its query, the input that of its value, and the output that of
 * d_weight. A work-group makes one tile of CLA_TILE_Q rows by CLA_TILE_KV columns from `span` tokens, a work-item a 4 x 4 block of
 * it. Work-groups are numbered with the column tiles innermost, then the row tiles, then the parts.
 *
 *   CLA_HELD         chunks after which sums are held (types.cl); 0: there are no more
 *   CLA_ACCUMULATE   1: sums are added to what d_weight holds
 *
 * Without a d_weight nothing is done. Local memory: 4 (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK bytes.
 */
#if !defined(CLA_HELD) || !defined(CLA_ACCUMULATE)
#error "linear_d_weight.cl: a parameter is not defined"
#endif

/* tile[token][column - column0] for `count` tokens from row i of batch b on, and `width` columns; 0 from `dim` on. */
#define DEFINE_STAGE_TOKENS(name, width)                                                                               \
    INLINED static void stage_tokens_##name(__local float4 *tile, __global const name##_t *p, long4 view, int b, int i, \
                                            int count, int length, int column0, int dim, int item)                     \
    {                                                                                                                  \
        for (int e = item; e < count * (width / 4); e += CLA_GROUP) {                                                  \
            const uint2 at = divide((uint)e, width / 4);                                                               \
            const uint2 token = divide((uint)i + at.x, (uint)length);                                                  \
            tile[e] = fetch4_##name(p, view_row(view, b + (int)token.x, 0, (int)token.y), column0 + 4 * (int)at.y, dim); \
        }                                                                                                              \
    }

DEFINE_STAGE_TOKENS(query, CLA_TILE_Q)
DEFINE_STAGE_TOKENS(value, CLA_TILE_KV)

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
linear_d_weight(__global const query_t *d_output, long4 d_output_view, __global const value_t *input, long4 input_view,
                int in_features, int out_features, __global output_t *d_weight, long4 d_weight_view, int length, int batch,
                long span)
{
    __local float4 rows[CLA_CHUNK * CLA_HEIGHT];
    __local float4 columns[CLA_CHUNK * CLA_WIDTH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = (out_features + CLA_TILE_Q - 1) / CLA_TILE_Q;
    const int column_tiles = (in_features + CLA_TILE_KV - 1) / CLA_TILE_KV;
    const uint2 column_tile = divide((uint)get_group_id(0), (uint)column_tiles);
    const uint2 row_tile = divide(column_tile.x, (uint)row_tiles);
    const int column0 = (int)column_tile.y * CLA_TILE_KV;
    const int n0 = (int)row_tile.y * CLA_TILE_Q;
    const int part = (int)row_tile.x;
    const long first = part * span;
    const long tokens = d_weight == 0 ? 0 : min(span, (long)batch * length - first);
    int b = tokens > 0 ? (int)(first / length) : 0;
    int i = tokens > 0 ? (int)(first - (long)b * length) : 0;

    struct block sum;
    block_clear(&sum);
#if CLA_HELD
    volatile float4 held[4];
#endif
    for (long t = 0; t < tokens; t += CLA_CHUNK) {
        const int count = (int)min((long)CLA_CHUNK, tokens - t);
#if CLA_HELD
        if (t > 0 && t % (CLA_HELD * CLA_CHUNK) == 0)
            hold_block(held, &sum, t > CLA_HELD * CLA_CHUNK);
#endif
        stage_tokens_query(rows, d_output, d_output_view, b, i, count, length, n0, out_features, item);
        stage_tokens_value(columns, input, input_view, b, i, count, length, column0, in_features, item);
        barrier(CLK_LOCAL_MEM_FENCE);
        block_product(&sum, rows, columns, count, x, y);
        barrier(CLK_LOCAL_MEM_FENCE);
        const uint2 next = divide((uint)(i + count), (uint)length);
        b += (int)next.x;
        i = (int)next.y;
    }
#if CLA_HELD
    if (tokens > CLA_HELD * CLA_CHUNK)
        block_add_held(&sum, held);
#endif

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int n = n0 + 4 * y + r;
        const int k = column0 + 4 * x;
        if (d_weight == 0 || n >= out_features)
            break;
        const long to = view_row(d_weight_view, part, 0, n);
        float4 row = block_row(&sum, r);
#if CLA_ACCUMULATE
        row += fetch4_output(d_weight, to, k, in_features);
#endif
        store4_output(d_weight, to, k, in_features, row);
    }
}
