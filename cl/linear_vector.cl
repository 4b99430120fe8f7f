/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear for devices with wide vectors and caches: one work-item is a work-group, and a vector holds the same element of
 * CLA_LANES rows of the input. The weights' elements are broadcast to all lanes, so no lane ever meets another.
 *
 *   O[b,i,n] = sum over k of X[b,i,k] * W[n,k] + B[n]
 *
 *   input [b, length, in_features]   weight [out_features, in_features]   bias [out_features]
 *   output [b, length, out_features]
 *
 * A work-item owns `features` output features of `tiles` tiles of ROWS rows of one batch, and keeps, in private
 * memory,
 *
 *   turned [CLA_DEPTH][CLA_VECTORS]             a chunk of the elements of a tile's rows, turned
 *   sums   [tiles][features][CLA_VECTORS]       the sums so far
 *   held   [tiles][features][CLA_VECTORS]       what they are added to every HELD_CHUNKS chunks, with what that loses left
 *   wide   [features][CLA_DEPTH]                weights in f16 or bf16, widened
 *
 * For each chunk of CLA_DEPTH elements: for each tile: the rows turned; then sums in blocks of CLA_BLOCK features x
 * CLA_VECTORS that stay in registers, the elements innermost. So a chunk of the weights serves all tiles while it is in
 * the cache, and no sum in order is longer than CLA_DEPTH.
 *
 * A last tile of at most ROWS / 2 rows would leave most lanes idle: there the elements are in the lanes, both operands
 * are read as they lie, and the lanes are added up at the end. A single row is then as fast as the weights come.
 *
 * With CLA_DOT input and weights are in bf16, a row of them has an even number of elements, and products are those of dot_block.cl:
 * `turned` holds pairs, and nothing is widened.
 *
 * Work-groups are numbered with the features innermost, then the rows, then the batches.
 *
 *   CLA_DEPTH                    elements a chunk, a multiple of CLA_LANES
 *   CLA_FEATURES, CLA_TILES      the greatest `features`, a multiple of CLA_LANES as that is, and `tiles`
 *   CLA_ADD_BIAS                 1: add the bias
 *
 * Local memory: none. Private memory: 4 ROWS (CLA_DEPTH + CLA_TILES CLA_FEATURES) bytes and, for weights in f16 and
 * bf16, 4 CLA_FEATURES CLA_DEPTH; for rows of more than HELD_CHUNKS chunks, 4 ROWS CLA_TILES CLA_FEATURES more.
 */
#if !defined(CLA_DEPTH) || !defined(CLA_FEATURES) || !defined(CLA_TILES) || !defined(CLA_ADD_BIAS)
#error "linear_vector.cl: a parameter is not defined"
#endif

/* A block of the few rows: 4 features and as many rows as make a sum for each lane. */
#define FEW_ROWS (CLA_LANES / 4)

/* Vectors that are summed in order there. */
#define RUN 128

/* Chunks after which sums are held. */
#define HELD_CHUNKS 32
#define HELD_DEPTH  (HELD_CHUNKS * CLA_DEPTH)

#if COPY_KEYS
/* wide[count][CLA_DEPTH]: `depth` elements of as many features, which lie `stride` apart. */
APART static void widen(float *wide, __global const key_t *weight, long stride, int depth, int count)
{
    for (int n = 0; n < count; n++) {
        int d = 0;
        for (; d + CLA_LANES <= depth; d += CLA_LANES)
            vec_store(load_vec_key(weight + n * stride + d), wide + n * CLA_DEPTH + d);
        if (d < depth)
            vec_store(load_some_key(weight + n * stride + d, depth - d), wide + n * CLA_DEPTH + d);
    }
}
#endif

static inline float bias_of(__global const value_t *bias, long4 view, int n)
{
#if CLA_ADD_BIAS
    return load_value(bias, view.x + n);
#else
    return 0.0f;
#endif
}

/* Where `rows` rows (1 to ROWS) from row i0 begin, at column c0. Those past the last repeat it, and are not stored. */
static void rows_at(long *at, long4 view, int b, int i0, int rows, int c0)
{
    for (int r = 0; r < ROWS; r++)
        at[r] = view_row(view, b, 0, i0 + min(r, rows - 1)) + c0;
}

/* A step of the few rows: so many elements side by side, and the product of those of a feature and of a row. */
#if CLA_DOT
#define STEP                         (2 * CLA_LANES)
#define ELEMENTS_OF_ROW(p, count)     load_some_beside(p, (count) / 2)
#define ELEMENTS_OF_FEATURE(p, count) load_some_beside(p, (count) / 2)
#define ADD_PRODUCT(sum, a, b)        dot_pair(sum, as_uvec(a), as_uvec(b))
#else
#define STEP                         CLA_LANES
#define ELEMENTS_OF_ROW(p, count)     load_some_query(p, count)
#define ELEMENTS_OF_FEATURE(p, count) load_some_key(p, count)
#define ADD_PRODUCT(sum, a, b)        ((sum) + (a) * (b))
#endif

/* sum[FEW_ROWS][4] += elements [k, k + count) of the rows times those of the features, count being 1 to STEP. */
WIDE static INLINED void add_elements(vec_t *sum, __global const key_t *const *feature, __global const query_t *const *row,
                                      int k, int count)
{
    vec_t elements[FEW_ROWS];
#pragma unroll
    for (int r = 0; r < FEW_ROWS; r++)
        elements[r] = ELEMENTS_OF_ROW(row[r] + k, count);
#pragma unroll
    for (int c = 0; c < 4; c++) {
        const vec_t w = ELEMENTS_OF_FEATURE(feature[c] + k, count);
#pragma unroll
        for (int r = 0; r < FEW_ROWS; r++)
            sum[r * 4 + c] = ADD_PRODUCT(sum[r * 4 + c], w, elements[r]);
    }
}

/* The whole of `rows` rows from row i0 on and `count` features from n0 on, with the elements in lanes. */
APART static void few_rows(__global const query_t *input, long4 input_view, __global const key_t *weight, long4 weight_view,
                          __global const value_t *bias, long4 bias_view, __global output_t *output, long4 output_view, int b,
                          int i0, int rows, int n0, int count, int in_features)
{
    for (int n = 0; n < count; n += 4) {
        for (int r0 = 0; r0 < rows; r0 += FEW_ROWS) {
            __global const key_t *feature[4];
            __global const query_t *row[FEW_ROWS];
            vec_t total[CLA_LANES];
            vec_t sum[CLA_LANES];
#pragma unroll
            for (int c = 0; c < 4; c++)
                feature[c] = weight + view_row(weight_view, 0, 0, n0 + min(n + c, count - 1));
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++)
                row[r] = input + view_row(input_view, b, 0, i0 + min(r0 + r, rows - 1));
#pragma unroll
            for (int s = 0; s < CLA_LANES; s++)
                total[s] = sum[s] = (vec_t)(0.0f);
            for (int k0 = 0; k0 < in_features; k0 += RUN * CLA_LANES) {
                if (k0 > 0) {
#pragma unroll
                    for (int s = 0; s < CLA_LANES; s++)
                        hold_vec(&total[s], &sum[s]);
                }
                const int k1 = min(k0 + RUN * CLA_LANES, in_features);
                int k = k0;
                for (; k + STEP <= k1; k += STEP)
                    add_elements(sum, feature, row, k, STEP);
                if (k < k1)
                    add_elements(sum, feature, row, k, k1 - k);
            }
#pragma unroll
            for (int s = 0; s < CLA_LANES; s++)
                total[s] += sum[s];
            turn_square(total);
            vec_t all = total[0];
#pragma unroll
            for (int s = 1; s < CLA_LANES; s++)
                all += total[s];
            for (int r = 0; r < min(FEW_ROWS, rows - r0); r++) {
                const long to = view_row(output_view, b, 0, i0 + r0 + r) + n0 + n;
                for (int c = 0; c < min(4, count - n); c++)
                    store_output(output, to + c, ((const float *)&all)[r * 4 + c] + bias_of(bias, bias_view, n0 + n + c));
            }
        }
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
linear_vector(__global const query_t *input, long4 input_view, __global const key_t *weight, long4 weight_view,
              __global const value_t *bias, long4 bias_view, __global output_t *output, long4 output_view, int length,
              int in_features, int out_features, int features, int tiles)
{
#if CLA_DOT
    uvec_t turned[CLA_DEPTH / 2 * CLA_VECTORS];
    long weight_at[CLA_FEATURES];
#else
    vec_t turned[CLA_DEPTH * CLA_VECTORS];
#endif
    vec_t sums[CLA_TILES * CLA_FEATURES * CLA_VECTORS];
    vec_t held[CLA_TILES * CLA_FEATURES * CLA_VECTORS];
#if COPY_KEYS
    float wide[CLA_FEATURES * CLA_DEPTH];
#endif

    const int group_rows = tiles * ROWS;
    const int row_groups = max(1, (length + group_rows - 1) / group_rows);
    const int feature_groups = (out_features + features - 1) / features;
    const uint2 feature_group = divide((uint)get_group_id(0), (uint)feature_groups);
    const uint2 row_group = divide(feature_group.x, (uint)row_groups);
    const int n0 = (int)feature_group.y * features;
    const int count = min(features, out_features - n0);
    const int i0 = (int)row_group.y * group_rows;
    const int rows = min(group_rows, length - i0);
    const int b = (int)row_group.x;

    const int rest = rows - rows / ROWS * ROWS;
    const int few = rest <= ROWS / 2 ? rest : 0;
    const int many = rows - few;

#if CLA_DOT
    for (int n = 0; n < count; n++)
        weight_at[n] = n * weight_view.w;
#endif
    long at[ROWS];
    for (int k0 = 0; k0 < in_features && many > 0; k0 += CLA_DEPTH) {
        const int depth = min(CLA_DEPTH, in_features - k0);
        __global const key_t *first_weight = weight + view_row(weight_view, 0, 0, n0) + k0;
#if COPY_KEYS
        widen(wide, first_weight, weight_view.w, depth, count);
        const float *weights = wide;
        const long stride = CLA_DEPTH;
#elif !CLA_DOT
        __global const float *weights = first_weight;
        const long stride = weight_view.w;
#endif
        for (int i = 0; i < many; i += ROWS) {
            const int first = i / ROWS * features * CLA_VECTORS;
            if (k0 > 0 && k0 % HELD_DEPTH == 0)
                hold_sums(held + first, sums + first, count * CLA_VECTORS, k0 > HELD_DEPTH);
            rows_at(at, input_view, b, i0 + i, min(ROWS, many - i), k0);
#if CLA_DOT
            turn_pairs(turned, input, at, depth / 2);
            dot_rows(sums + first, turned, first_weight, weight_at, depth / 2, count, k0 > 0, NULL);
#else
            turn_rows(turned, input, at, depth, 1.0f);
            dot_keys(sums + first, turned, weights, stride, depth, count, k0 > 0, NULL);
#endif
        }
    }
    for (int i = 0; i < many; i += ROWS) {
        vec_t *tile_sums = sums + i / ROWS * features * CLA_VECTORS;
        for (int n = 0; n < count * CLA_VECTORS && in_features > HELD_DEPTH; n++)
            tile_sums[n] += held[i / ROWS * features * CLA_VECTORS + n];
        for (int n = 0; n < count; n++) {
            for (int v = 0; v < CLA_VECTORS; v++)
                tile_sums[n * CLA_VECTORS + v] += bias_of(bias, bias_view, n0 + n);
        }
        rows_at(at, output_view, b, i0 + i, min(ROWS, many - i), n0);
        store_rows(output, at, min(ROWS, many - i), tile_sums, count);
    }
    if (few > 0)
        few_rows(input, input_view, weight, weight_view, bias, bias_view, output, output_view, b, i0 + many, few, n0, count,
                 in_features);
}
