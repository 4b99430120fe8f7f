/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of linear by its weight for devices with wide vectors and caches: one work-item is a work-group, and a vector
 * holds CLA_LANES columns of the input and of d_weight, as they lie. The elements of d_output are broadcast.
 *
 *   dW[n,k] = sum over b and i of dY[b,i,n] * X[b,i,k], or what dW holds and that
 *
 *   d_output [b, length, out_features]   input [b, length, in_features]   d_weight [parts, out_features, in_features]
 *
 * Tokens are the rows of all batches, one after the other. A work-item owns `features` rows and `tiles` tiles of ROWS columns, of
 * what `span` tokens add up to, and keeps, in private memory,
 *
 *   packed  [features / PANEL][CLA_DEPTH][PANEL]   d_output of a chunk of tokens, so that a block's elements are neighbours
 *   panel   [CLA_DEPTH][CLA_VECTORS]               the input of the same tokens, at a tile's columns
 *   sums    [tiles][features][CLA_VECTORS]         the sums so far
 *   held    [tiles][features][CLA_VECTORS]         what they are added to every HELD_CHUNKS chunks, with what that loses left
 *
 * No sum in order is longer than CLA_DEPTH. Work-groups are numbered with the columns innermost, then the rows, then the parts.
 *
 *   CLA_DEPTH                 tokens a chunk
 *   CLA_FEATURES, CLA_TILES   the greatest `features`, a multiple of PANEL as that is, and `tiles`
 *   CLA_ACCUMULATE            1: sums are added to what d_weight holds
 *
 * d_output has the type of types.cl's key, the input that of its value. Without a d_weight nothing is done. Local memory: none.
 * Private memory: 4 CLA_DEPTH (ROWS + CLA_FEATURES) + 4 ROWS CLA_TILES CLA_FEATURES bytes; for sums of more than HELD_CHUNKS
 * chunks, 4 ROWS CLA_TILES CLA_FEATURES more.
 */
#if !defined(CLA_DEPTH) || !defined(CLA_FEATURES) || !defined(CLA_TILES) || !defined(CLA_ACCUMULATE)
#error "linear_d_weight_vector.cl: a parameter is not defined"
#endif

/* A cache line. A multiple of every CLA_BLOCK and CLA_LANES. */
#define PANEL 16

/* Chunks after which sums are held. */
#define HELD_CHUNKS 32

DEFINE_ADD_PRODUCTS(add_products, n0 / PANEL * PANEL * CLA_DEPTH + n0 % PANEL, 1, PANEL)

/* packed[features / PANEL][CLA_DEPTH][PANEL]: columns from n on of `count` tokens from row i of batch b on. */
APART static void pack_tokens(float *packed, __global const key_t *p, long4 view, int b, int i, int length, int n, int count,
                              int features)
{
    for (int t = 0; t < count; t++, packed += PANEL) {
        __global const key_t *row = p + view_row(view, b, 0, i) + n;
        for (int d = 0; d < (features + PANEL - 1) / PANEL * PANEL; d += CLA_LANES)
            vec_store(load_some_key(row + d, features - d), packed + d / PANEL * PANEL * CLA_DEPTH + d % PANEL);
        if (++i == length) {
            i = 0;
            b++;
        }
    }
}

/* panel[count][CLA_VECTORS]: `columns` columns, 1 to ROWS, from c on of `count` tokens from row i of batch b on. */
APART static void load_panel(vec_t *panel, __global const value_t *p, long4 view, int b, int i, int length, int c, int count,
                             int columns)
{
    for (int t = 0; t < count; t++, panel += CLA_VECTORS) {
        __global const value_t *row = p + view_row(view, b, 0, i) + c;
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            panel[v] = load_some_value(row + v * CLA_LANES, columns - v * CLA_LANES);
        if (++i == length) {
            i = 0;
            b++;
        }
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
linear_d_weight_vector(__global const key_t *d_output, long4 d_output_view, __global const value_t *input, long4 input_view,
                       int in_features, int out_features, __global output_t *d_weight, long4 d_weight_view, int length,
                       int batch, long span, int features, int tiles)
{
    float packed[CLA_FEATURES * CLA_DEPTH];
    vec_t panel[CLA_DEPTH * CLA_VECTORS];
    vec_t sums[CLA_TILES * CLA_FEATURES * CLA_VECTORS];
    vec_t held[CLA_TILES * CLA_FEATURES * CLA_VECTORS];

    const int group_columns = tiles * ROWS;
    const int column_groups = (in_features + group_columns - 1) / group_columns;
    const int feature_groups = (out_features + features - 1) / features;
    const uint2 column_group = divide((uint)get_group_id(0), (uint)column_groups);
    const uint2 feature_group = divide(column_group.x, (uint)feature_groups);
    const int column0 = (int)column_group.y * group_columns;
    const int columns = min(group_columns, in_features - column0);
    const int n0 = (int)feature_group.y * features;
    const int count = min(features, out_features - n0);
    const int part = (int)feature_group.x;
    const long first = part * span;
    const long tokens = min(span, (long)batch * length - first);
    if (d_weight == 0)
        return;
    int b = tokens > 0 ? (int)(first / length) : 0;
    int i = tokens > 0 ? (int)(first - (long)b * length) : 0;
    int chunks = 0;

    for (long t = 0; t < tokens; t += CLA_DEPTH, chunks++) {
        const int depth = (int)min((long)CLA_DEPTH, tokens - t);
        pack_tokens(packed, d_output, d_output_view, b, i, length, n0, depth, count);
        for (int c = 0; c < columns; c += ROWS) {
            const int at = c / ROWS * features * CLA_VECTORS;
            if (chunks > 0 && chunks % HELD_CHUNKS == 0)
                hold_sums(held + at, sums + at, count * CLA_VECTORS, chunks > HELD_CHUNKS);
            load_panel(panel, input, input_view, b, i, length, column0 + c, depth, columns - c);
            add_products(sums + at, packed, panel, depth, count, (columns - c + CLA_LANES - 1) / CLA_LANES, chunks > 0);
        }
        const uint2 next = divide((uint)(i + depth), (uint)length);
        b += (int)next.x;
        i = (int)next.y;
    }
    for (int n = 0; n < count; n++) {
        __global output_t *to = d_weight + view_row(d_weight_view, part, 0, n0 + n) + column0;
        for (int c = 0; c < columns; c += CLA_LANES) {
            const uint2 tile = divide((uint)c, ROWS);
            const int at = ((int)tile.x * features + n) * CLA_VECTORS + (int)tile.y / CLA_LANES;
            vec_t sum = chunks == 0 ? (vec_t)(0.0f) : chunks > HELD_CHUNKS ? held[at] + sums[at] : sums[at];
            if (CLA_ACCUMULATE)
                sum += load_some_output(to + c, columns - c);
            store_some_output(to + c, sum, columns - c);
        }
    }
}
