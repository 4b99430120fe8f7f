/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_block.cl for operands in bf16 on devices that multiply pairs of them: one instruction adds two products to a sum in f32,
 * where a multiply-add of floats adds one. A pair is two elements that lie side by side along the innermost index, the first
 * in the lower half of 32 bits. Of the rows in lanes each lane has a pair of its own row; a pair of the other operand is
 * broadcast from where it lies.
 *
 *   CLA_DOT   0: this file is empty   1: in arithmetic that all devices have   2: by the instruction vdpbf16ps of x86 CPUs
 *
 * Products of bf16 are exact in f32, so a sum of dot products is as accurate as one of multiply-adds. The instruction takes
 * elements below 2^-126 for 0, and so do we.
 */
#if CLA_DOT

/* Steps of the innermost loops that are written out: LLVM does not unroll what has an assembler's instruction in it. */
#define UNROLLED 2

/* A bf16 pair of ones. */
#define ONES 0x3f803f80u

/* Whether the instruction may be written: other compilers than a CPU's know no assembler, and some end the process. */
#if CLA_DOT == 2 && defined(__x86_64__) && defined(__AVX512F__)
#define HAS_DOT
#endif

/* sum + a.low * b.low + a.high * b.high, of bf16 pairs. */
static inline vec_t dot_pair(vec_t sum, uvec_t a, uvec_t b)
{
#ifdef HAS_DOT
    /* Not the compiler's own function, which needs a target attribute that PoCL 3.1 loses: its compiler then ends the process. */
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    sum += as_vec(a & 0xffff0000u) * as_vec(b & 0xffff0000u);
    return sum + as_vec(a << 16) * as_vec(b << 16);
#endif
}

/* Two numbers a lane, rounded to nearest even, as a pair. */
static inline uvec_t pair_of(vec_t low, vec_t high)
{
#ifdef HAS_DOT
    /* The instruction puts all of one vector below all of the other; a lane's two halves are CLA_LANES 16-bit words apart. */
    const uvec_t words = as_uvec(LANE_NUMBERS) * 0x10001u + ((uint)CLA_LANES << 16);
    uvec_t pairs;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(pairs) : "v"(high), "v"(low));
    __asm__("vpermw %0, %1, %0" : "+v"(pairs) : "v"(words));
    return pairs;
#else
    return bf16_vec_bits(low) | bf16_vec_bits(high) << 16;
#endif
}

#if CLA_LANES == 16
#define as_half_vec as_float8
#elif CLA_LANES == 8
#define as_half_vec as_float4
#else
#define as_half_vec as_float2
#endif

/* The pair at p, which is aligned as an element is. */
static inline uint pair_at(__global const ushort *p)
{
    return as_uint(vload2(0, p));
}

/* The pairs of CLA_LANES elements of one row with those of another; from `count` on, 1 or more, they are 0. */
static inline uvec_t load_some_pairs(__global const ushort *low, __global const ushort *high, int count)
{
    if (count >= CLA_LANES)
        return CLA_JOIN(convert_uint, CLA_LANES)(vec_load(low)) | CLA_JOIN(convert_uint, CLA_LANES)(vec_load(high)) << 16;
    uvec_t some = (uvec_t)(0u);
    for (int c = 0; c < count; c++)
        ((uint *)&some)[c] = (uint)low[c] | (uint)high[c] << 16;
    return some;
}

/* The first `count` of CLA_LANES pairs that lie side by side, 1 or more; the rest is 0. */
static inline vec_t load_some_beside(__global const ushort *row, int count)
{
    vec_t some = (vec_t)(0.0f);
    if (count >= CLA_LANES) {
        some.lo = as_half_vec(vec_load(row));
        some.hi = as_half_vec(vec_load(row + CLA_LANES));
        return some;
    }
    for (int p = 0; p < count; p++)
        ((uint *)&some)[p] = pair_at(row + 2 * p);
    return some;
}

/* turned[WHOLE_VECTORS(pairs)][CLA_VECTORS] = `pairs` pairs of ROWS rows, row r from at[r] on. */
APART static void turn_pairs(uvec_t *turned, __global const ushort *rows, const long *at, int pairs)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        for (int p = 0; p < pairs; p += CLA_LANES) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                square[r] = load_some_beside(rows + at[v * CLA_LANES + r] + 2 * p, pairs - p);
            turn_square(square);
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                turned[(p + r) * CLA_VECTORS + v] = as_uvec(square[r]);
        }
    }
}

/* Adds the products of pair p to sum[CLA_BLOCK][CLA_VECTORS]. */
static INLINED void dot_step(vec_t sum[CLA_BLOCK][CLA_VECTORS], const uvec_t *turned, __global const ushort *const *row, int p)
{
#pragma unroll
    for (int n = 0; n < CLA_BLOCK; n++) {
        const uvec_t pair = (uvec_t)(pair_at(row[n] + 2 * p));
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            sum[n][v] = dot_pair(sum[n][v], pair, turned[p * CLA_VECTORS + v]);
    }
}

/* sum[CLA_BLOCK][CLA_VECTORS] = rows . turned over `pairs` pairs, row n from row[n] on. */
static INLINED void dot_block(vec_t sum[CLA_BLOCK][CLA_VECTORS], const uvec_t *turned, __global const ushort *const *row, int pairs)
{
#pragma unroll
    for (int n = 0; n < CLA_BLOCK; n++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            sum[n][v] = (vec_t)(0.0f);
    }
    int p = 0;
    for (; p + UNROLLED <= pairs; p += UNROLLED) {
#pragma unroll
        for (int u = 0; u < UNROLLED; u++)
            dot_step(sum, turned, row, p + u);
    }
    for (; p < pairs; p++)
        dot_step(sum, turned, row, p);
}

/*
 * sums[count][CLA_VECTORS] = rows . turned over `pairs` pairs of `count` rows, row n from at[n] on; added to what `sums` holds where
 * `add` is set. most[CLA_VECTORS], unless NULL, is raised to the largest. `sums` has room for whole blocks: what follows the last
 * row is undefined.
 */
APART static void dot_rows(vec_t *sums, const uvec_t *turned, __global const ushort *rows, const long *at, int pairs, int count,
                           int add, vec_t *most)
{
    for (int n0 = 0; n0 < count; n0 += CLA_BLOCK, sums += CLA_BLOCK * CLA_VECTORS) {
        vec_t sum[CLA_BLOCK][CLA_VECTORS];
        __global const ushort *row[CLA_BLOCK];
#pragma unroll
        for (int n = 0; n < CLA_BLOCK; n++)
            row[n] = rows + at[min(n0 + n, count - 1)];
        dot_block(sum, turned, row, pairs);
        keep_block(sums, sum, add, most);
    }
}

/*
 * Makes pairs of keys of weights[count][CLA_VECTORS], in place: those of keys 2 k and 2 k + 1 become vector k. The weight that an
 * odd last one lacks is 0.
 */
APART static void pair_weights(vec_t *weights, int count)
{
    uvec_t *const pairs = (uvec_t *)weights;
    for (int v = 0; v < CLA_VECTORS && count % 2 != 0; v++)
        weights[count * CLA_VECTORS + v] = (vec_t)(0.0f);
    for (int k = 0; k < count; k += 2) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            pairs[k / 2 * CLA_VECTORS + v] = pair_of(weights[k * CLA_VECTORS + v], weights[(k + 1) * CLA_VECTORS + v]);
    }
}

/*
 * tile[(count + 1) / 2][stride] = `width` columns, at most the stride, of the values of pairs of keys, key k from at[k] on. Those
 * of keys whose bit of `seen` is not set, and the one that an odd last key lacks, are 0.
 */
APART static void pair_values(uvec_t *tile, int stride, __global const ushort *values, const long *at, int count, ulong seen, int width)
{
    for (int k = 0; k < count; k += 2) {
        const int k1 = min(k + 1, count - 1);
        const uint kept = (seen >> k & 1 ? 0xffffu : 0u) | (k + 1 < count && (seen >> k1 & 1) ? 0xffff0000u : 0u);
        for (int c = 0; c < width; c += CLA_LANES)
            tile[(k / 2 * stride + c) / CLA_LANES] = kept & load_some_pairs(values + at[k] + c, values + at[k1] + c, width - c);
    }
}

#define SUM_STEP(width, k, row)                                                                                          \
    _Pragma("unroll") for (int c = 0; c < width; c++)                                                                  \
    {                                                                                                                  \
        const uvec_t pair = (uvec_t)((row)[c]);                                                                        \
        _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[c][v] =                                            \
            dot_pair(sum[c][v], pair, weights[(k) * CLA_VECTORS + v]);                                                 \
    }

/* sums[width][CLA_VECTORS] += weights[pairs][CLA_VECTORS] x tile[pairs][stride]. */
#define DEFINE_SUM_PAIRS(name, width)                                                                                   \
    WIDE static inline void name(vec_t *sums, const uvec_t *weights, const uint *tile, int stride, int pairs)          \
    {                                                                                                                  \
        vec_t sum[width][CLA_VECTORS];                                                                                 \
        _Pragma("unroll") for (int c = 0; c < width; c++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[c][v] = (vec_t)(0.0f);                         \
        }                                                                                                              \
        int k = 0;                                                                                                     \
        for (; k + UNROLLED <= pairs; k += UNROLLED, tile += UNROLLED * stride) {                                      \
            _Pragma("unroll") for (int u = 0; u < UNROLLED; u++)                                                       \
                SUM_STEP(width, k + u, tile + u * stride)                                                              \
        }                                                                                                              \
        for (; k < pairs; k++, tile += stride)                                                                         \
            SUM_STEP(width, k, tile)                                                                                   \
        _Pragma("unroll") for (int c = 0; c < width; c++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sums[c * CLA_VECTORS + v] += sum[c][v];            \
        }                                                                                                              \
    }

DEFINE_SUM_PAIRS(sum_pair_block, CLA_BLOCK)
DEFINE_SUM_PAIRS(sum_pair_column, 1)

/* The same for any width. */
APART static void add_pairs(vec_t *sums, const uvec_t *weights, const uint *tile, int stride, int pairs, int width)
{
    int c = 0;
    for (; c + CLA_BLOCK <= width; c += CLA_BLOCK)
        sum_pair_block(sums + c * CLA_VECTORS, weights, tile + c, stride, pairs);
    for (; c < width; c++)
        sum_pair_column(sums + c * CLA_VECTORS, weights, tile + c, stride, pairs);
}

#endif
