/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of CLA_LANES floats: what kernels for wide vectors load, store, turn and raise with.
 *
 * load_vec_query(p), of key and value alike, are CLA_LANES elements of an operand as floats, store_vec_output(p, x) rounds to
 * nearest even; the pointers need no alignment beyond the element's. load_some_query(p, count) and store_some_output(p, x,
 * count) are the same but that no element from `count` on, 1 or more, is read or written.
 *
 *   CLA_LANES   floats in vec_t: 4, 8 or 16
 */
#if !defined(CLA_LANES)
#error "lanes.cl: CLA_LANES is not defined"
#endif

#define vec_t  CLA_JOIN(float, CLA_LANES)
#define ivec_t CLA_JOIN(int, CLA_LANES)
#define uvec_t CLA_JOIN(uint, CLA_LANES)
#define as_vec CLA_JOIN(as_float, CLA_LANES)
#define as_ivec CLA_JOIN(as_int, CLA_LANES)
#define as_uvec CLA_JOIN(as_uint, CLA_LANES)
#define vec_load(p) CLA_JOIN(vload, CLA_LANES)(0, p)
#define ivec_load vec_load
#define to_vec CLA_JOIN(convert_float, CLA_LANES)
#define vec_store(x, p) CLA_JOIN(vstore, CLA_LANES)(x, 0, p)

/* On compilers that doubt it, says that the widest vectors are worth using. */
#if defined(__has_attribute)
#if __has_attribute(min_vector_width)
#define WIDE __attribute__((min_vector_width(32 * CLA_LANES)))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif

#if CLA_LANES == 16
#define LANE_NUMBERS (ivec_t)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#elif CLA_LANES == 8
#define LANE_NUMBERS (ivec_t)(0, 1, 2, 3, 4, 5, 6, 7)
#else
#define LANE_NUMBERS (ivec_t)(0, 1, 2, 3)
#endif

/* A function of its own: inlined into one kernel, loops over register blocks compete for registers, and one spills. */
#define APART WIDE __attribute__((noinline))

/*
 * Asks for the cache line at p, in global memory. On PoCL, prefetch() does nothing; Oclgrind has nothing but prefetch(), and
 * the translator to SPIR-V of Mesa ends the process at anything else: so the compiler's own only where it makes a CPU's code.
 */
#if defined(__has_builtin) && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__) || \
                               defined(__riscv) || defined(__powerpc64__))
#if __has_builtin(__builtin_prefetch)
#define prefetch_line(p) __builtin_prefetch((const void *)(size_t)(p))
#endif
#endif
#ifndef prefetch_line
#define prefetch_line(p) prefetch((__global const char *)(p), 64)
#endif

#define LOAD_VEC_0(p) vec_load(p)
#define LOAD_VEC_1(p) CLA_JOIN(load_halves, CLA_LANES)(p)
#define LOAD_VEC_2(p) as_vec(CLA_JOIN(convert_uint, CLA_LANES)(vec_load(p)) << 16)
#define STORE_VEC_0(p, x) vec_store(x, p)
#define STORE_VEC_1(p, x) CLA_JOIN(store_halves, CLA_LANES)(p, x)
#define STORE_VEC_2(p, x) vec_store(CLA_JOIN(convert_ushort, CLA_LANES)(bf16_vec_bits(x)), p)

#define load_vec_query(p)      CLA_JOIN(LOAD_VEC_, CLA_QUERY_TYPE)(p)
#define load_vec_key(p)        CLA_JOIN(LOAD_VEC_, CLA_KEY_TYPE)(p)
#define load_vec_value(p)      CLA_JOIN(LOAD_VEC_, CLA_VALUE_TYPE)(p)
#define load_vec_mask(p)       CLA_JOIN(LOAD_VEC_, CLA_MASK_TYPE)(p)
#define load_vec_output(p)     CLA_JOIN(LOAD_VEC_, CLA_OUTPUT_TYPE)(p)
#define store_vec_output(p, x) CLA_JOIN(STORE_VEC_, CLA_OUTPUT_TYPE)(p, x)

/* bf16_bits() of every lane. */
static inline uvec_t bf16_vec_bits(vec_t x)
{
    const uvec_t bits = as_uvec(x);
    const uvec_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return x != x ? (bits >> 16) | 0x40u : rounded;
}

/* Lanes from `count` on are 0. */
#define DEFINE_LOAD_SOME(name)                                                                                         \
    static inline vec_t load_some_##name(__global const name##_t *p, int count)                                        \
    {                                                                                                                  \
        if (count >= CLA_LANES)                                                                                        \
            return load_vec_##name(p);                                                                                 \
        vec_t some = (vec_t)(0.0f);                                                                                    \
        for (int d = 0; d < count; d++)                                                                                \
            ((float *)&some)[d] = load_##name(p, d);                                                                   \
        return some;                                                                                                   \
    }

DEFINE_LOAD_SOME(query)
DEFINE_LOAD_SOME(key)
DEFINE_LOAD_SOME(value)
DEFINE_LOAD_SOME(output)

static inline void store_some_output(__global output_t *p, vec_t x, int count)
{
    if (count >= CLA_LANES) {
        store_vec_output(p, x);
        return;
    }
    for (int d = 0; d < count; d++)
        store_output(p, d, ((const float *)&x)[d]);
}

CLA_DEFINE_HOLD(hold_vec, vec_t)

/* hold_vec() of `count` vectors; `held` has nothing yet unless `holds`. */
APART static void hold_sums(vec_t *held, vec_t *sums, int count, int holds)
{
    for (int n = 0; n < count; n++) {
        if (!holds)
            held[n] = (vec_t)(0.0f);
        hold_vec(held + n, sums + n);
    }
}

/* The bits that are set in some lane. */
static inline uint or_lanes(uvec_t x)
{
#if CLA_LANES == 16
    const uint8 half_8 = x.lo | x.hi;
    const uint4 half_4 = half_8.lo | half_8.hi;
#elif CLA_LANES == 8
    const uint4 half_4 = x.lo | x.hi;
#else
    const uint4 half_4 = x;
#endif
    const ulong pair = as_ulong(half_4.lo | half_4.hi);
    return (uint)(pair | pair >> 32);
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
WIDE static inline void turn_square(vec_t square[CLA_LANES])
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

/*
 * 2^x for x <= 16, for devices whose own exp2 is a call. x = n + r with n an integer, and 2^r is a polynomial of degree 5,
 * the minimax one in relative error with its first coefficient held at 1, so that 2^0 is exact. Relative error below 1.9e-7
 * from -126 on. Below -126.5 the result is exactly 0, between them it may be: subnormal weights slow down the products
 * that they enter. NaN stays NaN.
 */
#if CLA_LANES == 16 && defined(__AVX512DQ__) && defined(__has_builtin)
#if __has_builtin(__builtin_ia32_reduceps512_mask) && __has_builtin(__builtin_ia32_scalefps512_mask)
#define HAS_SCALE
#endif
#endif
#ifdef HAS_SCALE
/* AVX-512 takes off n, the floor of x, in one instruction and multiplies by 2^n in another; r is on [0, 1). */
static inline vec_t vec_exp2(vec_t x)
{
    const vec_t r = __builtin_ia32_reduceps512_mask(x, 9, x, (ushort)-1, 4);
    vec_t p = r * 1.86713015e-3f + 9.01703016e-3f;
    p = p * r + 5.57999132e-2f;
    p = p * r + 2.4016445e-1f;
    p = p * r + 6.93151312e-1f;
    p = p * r + 1.0f;
    return x < -126.0f ? (vec_t)(0.0f) : __builtin_ia32_scalefps512_mask(p, x, p, (ushort)-1, 4);
}

/* The same with a relative error below 9e-5, for what is then rounded to bf16. */
static inline vec_t vec_exp2_bf16(vec_t x)
{
    const vec_t r = __builtin_ia32_reduceps512_mask(x, 9, x, (ushort)-1, 4);
    vec_t p = r * 7.70672411e-2f + 2.2764498e-1f;
    p = p * r + 6.95116639e-1f;
    p = p * r + 1.0f;
    return x < -126.0f ? (vec_t)(0.0f) : __builtin_ia32_scalefps512_mask(p, x, p, (ushort)-1, 4);
}
#else
#define vec_exp2_bf16 vec_exp2

/*
 * n is the nearest integer, found by adding 1.5 * 2^23, whose last bit stands for 1, and 127, so that the last bits are the
 * exponent of 2^n, which for n = -127 means 0; r is on [-1/2, 1/2].
 */
static inline vec_t vec_exp2(vec_t x)
{
    x = x < -127.0f ? (vec_t)(-127.0f) : x;
    const vec_t shifted = x + 12583039.0f;
    const vec_t r = x - (shifted - 12583039.0f);
    vec_t p = r * 1.32647273e-3f + 9.67151299e-3f;
    p = p * r + 5.55073358e-2f;
    p = p * r + 2.40222424e-1f;
    p = p * r + 6.93147004e-1f;
    p = p * r + 1.0f;
    return p * as_vec(as_ivec(shifted) << 23);
}
#endif
