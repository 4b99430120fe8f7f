/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of linear by its input for devices with wide vectors and caches: one work-item is a work-group, and a vector
 * holds CLA_LANES columns of the weight and of d_input, as they lie. The elements of d_output are broadcast.
 *
 *   dX[b,i,k] = sum over n of dY[b,i,n] * W[n,k]
 *
 *   d_output [b, length, out_features]   weight [out_features, in_features]   d_input [b, length, in_features]
 *
 * Tokens are the rows of all batches, one after the other. A work-item owns `rows` tokens and `tiles` tiles of ROWS columns, and
 * keeps, in private memory,
 *
 *   wide   [rows][CLA_DEPTH]              a chunk of the elements of its tokens
 *   panel  [CLA_DEPTH][CLA_VECTORS]       the rows of the weight that go with them, at a tile's columns
 *   sums   [tiles][rows][CLA_VECTORS]     the sums so far
 *   held   [tiles][rows][CLA_VECTORS]     what they are added to every HELD_CHUNKS chunks, with what that loses left in them
 *
 * No sum in order is longer than CLA_DEPTH; `accumulate` adds all to what d_input holds. Work-groups are
 * numbered with the columns innermost.
 *
 *   CLA_DEPTH             elements a chunk, a multiple of CLA_LANES
 *   CLA_ROWS, CLA_TILES   the greatest `rows`, a multiple of CLA_BLOCK as that is, and `tiles`
 *
 * d_output has the type of types.cl's key, the weight that of its value. Local memory: none. Private memory: 4 CLA_DEPTH (ROWS +
 * CLA_ROWS) + 4 ROWS CLA_TILES CLA_ROWS bytes; for sums of more than HELD_CHUNKS chunks, 4 ROWS CLA_TILES CLA_ROWS more.
 */
#if !defined(CLA_DEPTH) || !defined(CLA_ROWS) || !defined(CLA_TILES)
#error "linear_d_input_vector.cl: a parameter is not defined"
#endif

/* Chunks after which sums are held. */
#define HELD_CHUNKS 32
#define HELD_DEPTH  (HELD_CHUNKS * CLA_DEPTH)

DEFINE_ADD_PRODUCTS(add_products, n0 * CLA_DEPTH, CLA_DEPTH, 1)

/* wide[count][CLA_DEPTH]: `depth` elements of `count` tokens from row i of batch b on, from column n on. */
APART static void widen_tokens(float *wide, __global const key_t *p, long4 view, int b, int i, int length, int n, int depth,
                               int count)
{
    for (int r = 0; r < count; r++, wide += CLA_DEPTH) {
        __global const key_t *row = p + view_row(view, b, 0, i) + n;
        for (int d = 0; d < depth; d += CLA_LANES)
            vec_store(load_some_key(row + d, depth - d), wide + d);
        if (++i == length) {
            i = 0;
            b++;
        }
    }
}

/* panel[depth][CLA_VECTORS]: `count` columns, 1 to ROWS, of rows that lie `stride` apart. */
APART static void load_panel(vec_t *panel, __global const value_t *row, long stride, int depth, int count)
{
    for (int d = 0; d < depth; d++, row += stride) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            panel[d * CLA_VECTORS + v] = load_some_value(row + v * CLA_LANES, count - v * CLA_LANES);
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
linear_d_input_vector(__global const key_t *d_output, long4 d_output_view, __global const value_t *weight, long4 weight_view,
                      __global output_t *d_input, long4 d_input_view, int length, int batch, int in_features,
                      int out_features, int accumulate, int rows, int tiles)
{
    float wide[CLA_ROWS * CLA_DEPTH];
    vec_t panel[CLA_DEPTH * CLA_VECTORS];
    vec_t sums[CLA_TILES * CLA_ROWS * CLA_VECTORS];
    vec_t held[CLA_TILES * CLA_ROWS * CLA_VECTORS];

    const int group_columns = tiles * ROWS;
    const int column_groups = (in_features + group_columns - 1) / group_columns;
    const uint2 group = divide((uint)get_group_id(0), (uint)column_groups);
    const int column0 = (int)group.y * group_columns;
    const int columns = min(group_columns, in_features - column0);
    const long first = (long)group.x * rows;
    const int count = (int)min((long)rows, (long)batch * length - first);
    if (count <= 0)
        return;
    const int b = (int)(first / length);
    const int i = (int)(first - (long)b * length);

    for (int n = 0; n < out_features; n += CLA_DEPTH) {
        const int depth = min(CLA_DEPTH, out_features - n);
        widen_tokens(wide, d_output, d_output_view, b, i, length, n, depth, count);
        for (int c = 0; c < columns; c += ROWS) {
            const int at = c / ROWS * rows * CLA_VECTORS;
            if (n > 0 && n % HELD_DEPTH == 0)
                hold_sums(held + at, sums + at, count * CLA_VECTORS, n > HELD_DEPTH);
            load_panel(panel, weight + view_row(weight_view, 0, 0, n) + column0 + c, weight_view.w, depth, columns - c);
            add_products(sums + at, wide, panel, depth, count, (columns - c + CLA_LANES - 1) / CLA_LANES, n > 0);
        }
    }
    int batch_of_row = b;
    int row = i;
    for (int r = 0; r < count; r++) {
        __global output_t *to = d_input + view_row(d_input_view, batch_of_row, 0, row) + column0;
        for (int c = 0; c < columns; c += CLA_LANES) {
            const uint2 tile = divide((uint)c, ROWS);
            const int at = ((int)tile.x * rows + r) * CLA_VECTORS + (int)tile.y / CLA_LANES;
            vec_t sum = out_features > HELD_DEPTH ? held[at] + sums[at] : sums[at];
            if (accumulate)
                sum += load_some_output(to + c, columns - c);
            store_some_output(to + c, sum, columns - c);
        }
        if (++row == length) {
            row = 0;
            batch_of_row++;
        }
    }
}
