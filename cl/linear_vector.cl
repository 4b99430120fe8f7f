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
 * A work-item owns `features` output features of `tiles` tiles of ROWS = CLA_VECTORS * CLA_LANES rows of one batch, and
 * keeps, in private memory,
 *
 *   turned [CLA_DEPTH][CLA_VECTORS]             a chunk of the elements of a tile's rows, turned
 *   sums   [tiles][features][CLA_VECTORS]       the sums so far
 *   wide   [features][CLA_DEPTH]                weights in f16 or bf16, widened
 *
 * For each chunk of CLA_DEPTH elements: for each tile: the rows turned; then sums in blocks of CLA_BLOCK features x
 * CLA_VECTORS that stay in registers, the elements innermost. So a chunk of the weights serves all tiles while it is in
 * the cache, and no sum in order is longer than CLA_DEPTH.
 *
 * A last tile of at most ROWS / 2 rows would leave most lanes idle: there the elements are in the lanes, both operands
 * are read as they lie, and the lanes are added up at the end. A single row is then as fast as the weights come.
 *
 * Work-groups are numbered with the features innermost, then the rows, then the batches.
 *
 *   CLA_LANES, CLA_VECTORS       4, 8 or 16; 1 to 3
 *   CLA_BLOCK                    features a register block, a divisor of CLA_LANES
 *   CLA_DEPTH                    elements a chunk, a multiple of CLA_LANES
 *   CLA_FEATURES, CLA_TILES      the greatest `features`, a multiple of CLA_LANES as that is, and `tiles`
 *   CLA_ADD_BIAS                 1: add the bias
 *
 * Local memory: none. Private memory: 4 ROWS (CLA_DEPTH + CLA_TILES CLA_FEATURES) bytes and, for weights in f16 and
 * bf16, 4 CLA_FEATURES CLA_DEPTH.
 */
#if !defined(CLA_VECTORS) || !defined(CLA_BLOCK) || !defined(CLA_DEPTH) || !defined(CLA_FEATURES) ||                   \
    !defined(CLA_TILES) || !defined(CLA_ADD_BIAS)
#error "linear_vector.cl: a parameter is not defined"
#endif

#define ROWS (CLA_VECTORS * CLA_LANES)

/* A block of the few rows: 4 features and as many rows as make a sum for each lane. */
#define FEW_ROWS (CLA_LANES / 4)

/* Vectors that are summed in order there. */
#define RUN 256

#if CLA_KEY_TYPE == 0
#define WEIGHT_SPACE __global
#else
#define WEIGHT_SPACE __private
#endif

/* On compilers that doubt it, says that the widest vectors are worth using. */
#if defined(__has_attribute)
#if __has_attribute(min_vector_width)
#define WIDE __attribute__((min_vector_width(32 * CLA_LANES)))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif

/* A function of its own: inlined into one another, the loops below compete for registers, and the innermost one spills. */
#define APART WIDE __attribute__((noinline))

#define uvec_t CLA_JOIN(uint, CLA_LANES)
#define as_uvec CLA_JOIN(as_uint, CLA_LANES)

#define LOAD_VEC_0(p) CLA_JOIN(vload, CLA_LANES)(0, p)
#define LOAD_VEC_1(p) CLA_JOIN(vload_half, CLA_LANES)(0, p)
#define LOAD_VEC_2(p) as_vec(CLA_JOIN(convert_uint, CLA_LANES)(CLA_JOIN(vload, CLA_LANES)(0, p)) << 16)
#define STORE_VEC_0(p, x) CLA_JOIN(vstore, CLA_LANES)(x, 0, p)
#define STORE_VEC_1(p, x) CLA_JOIN(CLA_JOIN(vstore_half, CLA_LANES), _rte)(x, 0, p)
#define STORE_VEC_2(p, x) CLA_JOIN(vstore, CLA_LANES)(CLA_JOIN(convert_ushort, CLA_LANES)(bf16_vec_bits(x)), 0, p)

#define load_vec_input(p)     CLA_JOIN(LOAD_VEC_, CLA_QUERY_TYPE)(p)
#define load_vec_weight(p)    CLA_JOIN(LOAD_VEC_, CLA_KEY_TYPE)(p)
#define store_vec_output(p, x) CLA_JOIN(STORE_VEC_, CLA_OUTPUT_TYPE)(p, x)

/* bf16_bits() of every lane. */
static inline uvec_t bf16_vec_bits(vec_t x)
{
    const uvec_t bits = as_uvec(x);
    const uvec_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return x != x ? (bits >> 16) | 0x40u : rounded;
}

/* The elements of two half vectors by turns. */
#if CLA_LANES == 16
#define interleave(a, b)                                                                                               \
    (float16)((a).s0, (b).s0, (a).s1, (b).s1, (a).s2, (b).s2, (a).s3, (b).s3, (a).s4, (b).s4, (a).s5, (b).s5, (a).s6,   \
              (b).s6, (a).s7, (b).s7)
#elif CLA_LANES == 8
#define interleave(a, b) (float8)((a).s0, (b).s0, (a).s1, (b).s1, (a).s2, (b).s2, (a).s3, (b).s3)
#else
#define interleave(a, b) (float4)((a).s0, (b).s0, (a).s1, (b).s1)
#endif

/* Turns a square of CLA_LANES x CLA_LANES: each round moves one bit of the row's number to the column's and back. */
WIDE static inline void turn(vec_t square[CLA_LANES])
{
#pragma unroll
    for (int round = 1; round < CLA_LANES; round *= 2) {
        vec_t next[CLA_LANES];
#pragma unroll
        for (int i = 0; i < CLA_LANES / 2; i++) {
            next[2 * i] = interleave(square[i].lo, square[i + CLA_LANES / 2].lo);
            next[2 * i + 1] = interleave(square[i].hi, square[i + CLA_LANES / 2].hi);
        }
#pragma unroll
        for (int i = 0; i < CLA_LANES; i++)
            square[i] = next[i];
    }
}

/* Up to CLA_LANES elements of an operand from p on, 0 behind `count`. */
#define DEFINE_LOAD_SOME(name, operand)                                                                                \
    static inline vec_t load_some_##name(__global const operand##_t *p, int count)                                     \
    {                                                                                                                  \
        if (count >= CLA_LANES)                                                                                        \
            return load_vec_##name(p);                                                                                 \
        vec_t some = (vec_t)(0.0f);                                                                                    \
        for (int d = 0; d < count; d++)                                                                                \
            ((float *)&some)[d] = load_##operand(p, d);                                                                \
        return some;                                                                                                   \
    }

DEFINE_LOAD_SOME(input, query)
DEFINE_LOAD_SOME(weight, key)

/*
 * turned[depth][CLA_VECTORS] of `rows` rows (1 to ROWS) from row i0, and of their elements from k0. Lanes past `rows` repeat the
 * last one, and are not stored later.
 */
APART static void turn_input(vec_t *turned, __global const query_t *input, long4 view, int b, int i0, int rows, int k0, int depth)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        for (int d = 0; d < depth; d += CLA_LANES) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++) {
                const int row = min(v * CLA_LANES + r, rows - 1);
                square[r] = load_some_input(input + view_row(view, b, 0, i0 + row) + k0 + d, depth - d);
            }
            turn(square);
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                turned[(d + r) * CLA_VECTORS + v] = square[r];
        }
    }
}

#if CLA_KEY_TYPE != 0
/* wide[count][CLA_DEPTH]: `depth` elements of as many features, which lie `stride` apart. */
APART static void widen(float *wide, __global const key_t *weight, long stride, int depth, int count)
{
    for (int n = 0; n < count; n++) {
        int d = 0;
        for (; d + CLA_LANES <= depth; d += CLA_LANES)
            vec_store(load_vec_weight(weight + n * stride + d), wide + n * CLA_DEPTH + d);
        if (d < depth)
            vec_store(load_some_weight(weight + n * stride + d, depth - d), wide + n * CLA_DEPTH + d);
    }
}
#endif

/*
 * sums[CLA_BLOCK][CLA_VECTORS] += weights . turned over `depth` elements, for `count` features (1 to CLA_BLOCK) whose
 * weights lie `stride` floats apart. Those past `count` repeat the last one, and are not stored later.
 */
APART static void add_block(vec_t *sums, const vec_t *turned, WEIGHT_SPACE const float *weights, long stride, int depth,
                                  int count)
{
    vec_t sum[CLA_BLOCK][CLA_VECTORS];
    WEIGHT_SPACE const float *row[CLA_BLOCK];
#pragma unroll
    for (int n = 0; n < CLA_BLOCK; n++) {
        row[n] = weights + min(n, count - 1) * stride;
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            sum[n][v] = (vec_t)(0.0f);
    }
    for (int d = 0; d < depth; d++) {
#pragma unroll
        for (int n = 0; n < CLA_BLOCK; n++) {
            const vec_t element = (vec_t)(row[n][d]);
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++)
                sum[n][v] += element * turned[d * CLA_VECTORS + v];
        }
    }
#pragma unroll
    for (int n = 0; n < CLA_BLOCK; n++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            sums[n * CLA_VECTORS + v] += sum[n][v];
    }
}

static inline float bias_of(__global const value_t *bias, long4 view, int n)
{
#if CLA_ADD_BIAS
    return load_value(bias, view.x + n);
#else
    return 0.0f;
#endif
}

/* Writes the sums of `rows` rows from row i0 and `count` features from n0, turned back, with the bias. */
APART static void store_tile(const vec_t *sums, __global const value_t *bias, long4 bias_view, __global output_t *output,
                            long4 output_view, int b, int i0, int rows, int n0, int count)
{
    for (int n = 0; n < count; n += CLA_LANES) {
        for (int v = 0; v * CLA_LANES < rows; v++) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int c = 0; c < CLA_LANES; c++)
                square[c] = n + c < count ? sums[(n + c) * CLA_VECTORS + v] + bias_of(bias, bias_view, n0 + n + c)
                                          : (vec_t)(0.0f);
            turn(square);
            for (int r = 0; r < min(CLA_LANES, rows - v * CLA_LANES); r++) {
                __global output_t *to = output + view_row(output_view, b, 0, i0 + v * CLA_LANES + r) + n0 + n;
                if (n + CLA_LANES <= count) {
                    store_vec_output(to, square[r]);
                    continue;
                }
                for (int c = 0; n + c < count; c++)
                    store_output(to, c, ((const float *)square)[r * CLA_LANES + c]);
            }
        }
    }
}

/* sum[FEW_ROWS][4] += elements [k, k + count) of the rows times those of the features, count being 1 to CLA_LANES. */
WIDE static inline __attribute__((always_inline)) void add_elements(vec_t *sum, __global const key_t *const *feature, __global const query_t *const *row,
                                     int k, int count)
{
    vec_t elements[FEW_ROWS];
#pragma unroll
    for (int r = 0; r < FEW_ROWS; r++)
        elements[r] = load_some_input(row[r] + k, count);
#pragma unroll
    for (int c = 0; c < 4; c++) {
        const vec_t w = load_some_weight(feature[c] + k, count);
#pragma unroll
        for (int r = 0; r < FEW_ROWS; r++)
            sum[r * 4 + c] += w * elements[r];
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
#pragma unroll
            for (int c = 0; c < 4; c++)
                feature[c] = weight + view_row(weight_view, 0, 0, n0 + min(n + c, count - 1));
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++)
                row[r] = input + view_row(input_view, b, 0, i0 + min(r0 + r, rows - 1));
#pragma unroll
            for (int s = 0; s < CLA_LANES; s++)
                total[s] = (vec_t)(0.0f);
            for (int k0 = 0; k0 < in_features; k0 += RUN * CLA_LANES) {
                vec_t sum[CLA_LANES];
#pragma unroll
                for (int s = 0; s < CLA_LANES; s++)
                    sum[s] = (vec_t)(0.0f);
                const int k1 = min(k0 + RUN * CLA_LANES, in_features);
                int k = k0;
                for (; k + CLA_LANES <= k1; k += CLA_LANES)
                    add_elements(sum, feature, row, k, CLA_LANES);
                if (k < k1)
                    add_elements(sum, feature, row, k, k1 - k);
#pragma unroll
                for (int s = 0; s < CLA_LANES; s++)
                    total[s] += sum[s];
            }
            turn(total);
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
    vec_t turned[CLA_DEPTH * CLA_VECTORS];
    vec_t sums[CLA_TILES * CLA_FEATURES * CLA_VECTORS];
#if CLA_KEY_TYPE != 0
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

    for (int s = 0; s < (many + ROWS - 1) / ROWS * features * CLA_VECTORS; s++)
        sums[s] = (vec_t)(0.0f);
    for (int k0 = 0; k0 < in_features && many > 0; k0 += CLA_DEPTH) {
        const int depth = min(CLA_DEPTH, in_features - k0);
        __global const key_t *first_weight = weight + view_row(weight_view, 0, 0, n0) + k0;
#if CLA_KEY_TYPE == 0
        __global const float *weights = first_weight;
        const long stride = weight_view.w;
#else
        widen(wide, first_weight, weight_view.w, depth, count);
        const float *weights = wide;
        const long stride = CLA_DEPTH;
#endif
        for (int i = 0; i < many; i += ROWS) {
            vec_t *tile_sums = sums + i / ROWS * features * CLA_VECTORS;
            turn_input(turned, input, input_view, b, i0 + i, min(ROWS, many - i), k0, depth);
            for (int n = 0; n < count; n += CLA_BLOCK)
                add_block(tile_sums + n * CLA_VECTORS, turned, weights + n * stride, stride, depth,
                          min(CLA_BLOCK, count - n));
        }
    }
    for (int i = 0; i < many; i += ROWS)
        store_tile(sums + i / ROWS * features * CLA_VECTORS, bias, bias_view, output, output_view, b, i0 + i,
                   min(ROWS, many - i), n0, count);
    if (few > 0)
        few_rows(input, input_view, weight, weight_view, bias, bias_view, output, output_view, b, i0 + many, few, n0, count,
                 in_features);
}
