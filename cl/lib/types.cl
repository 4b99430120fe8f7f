/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage types. A kernel names operands, never types: query_t is what the query is stored in, load_query(p, i) gives
 * element i as float, load4_query elements i to i + 3, load16_key elements i to i + 15; store_output(p, i, x) and
 * store16_output, of 16 elements, round to nearest even. f16 needs no cl_khr_fp16: vload_half and vstore_half are core.
 * The host defines, for each of QUERY, KEY, VALUE, OUTPUT and MASK,
 *
 *   CLA_name_TYPE   0 f32   1 f16   2 bf16   3 bool (a byte; MASK only); 0 for an operand that the kernel does not have
 */
#if !defined(CLA_QUERY_TYPE) || !defined(CLA_KEY_TYPE) || !defined(CLA_VALUE_TYPE) || !defined(CLA_OUTPUT_TYPE) ||     \
    !defined(CLA_MASK_TYPE)
#error "types.cl: a storage type is not defined"
#endif

#pragma OPENCL FP_CONTRACT ON

#define CLA_JOIN_(a, b) a##b
#define CLA_JOIN(a, b)  CLA_JOIN_(a, b)

#define CLA_STORE_0 float
#define CLA_STORE_1 half
#define CLA_STORE_2 ushort
#define CLA_STORE_3 uchar

#define query_t  CLA_JOIN(CLA_STORE_, CLA_QUERY_TYPE)
#define key_t    CLA_JOIN(CLA_STORE_, CLA_KEY_TYPE)
#define value_t  CLA_JOIN(CLA_STORE_, CLA_VALUE_TYPE)
#define output_t CLA_JOIN(CLA_STORE_, CLA_OUTPUT_TYPE)
#define mask_t   CLA_JOIN(CLA_STORE_, CLA_MASK_TYPE)

#define CLA_LOAD_0(p, i) ((p)[i])
#define CLA_LOAD_1(p, i) vload_half(0, (p) + (i))
#define CLA_LOAD_2(p, i) as_float((uint)(p)[i] << 16)
#define CLA_LOAD_3(p, i) ((p)[i] != 0 ? 1.0f : 0.0f)

#define CLA_LOAD4_0(p, i) vload4(0, (p) + (i))
#define CLA_LOAD4_1(p, i) vload_half4(0, (p) + (i))
#define CLA_LOAD4_2(p, i) as_float4(convert_uint4(vload4(0, (p) + (i))) << 16)

#define CLA_LOAD16_0(p, i) vload16(0, (p) + (i))
#define CLA_LOAD16_1(p, i) load_halves16((p) + (i))
#define CLA_LOAD16_2(p, i) as_float16(convert_uint16(vload16(0, (p) + (i))) << 16)

#define CLA_STORE_AS_0(p, i, x) ((p)[i] = (x))
#define CLA_STORE_AS_1(p, i, x) vstore_half_rte((x), 0, (p) + (i))
#define CLA_STORE_AS_2(p, i, x) ((p)[i] = bf16_bits(x))

#define CLA_STORE16_AS_0(p, i, x) vstore16((x), 0, (p) + (i))
#define CLA_STORE16_AS_1(p, i, x) store_halves16((p) + (i), x)
#define CLA_STORE16_AS_2(p, i, x) vstore16(bf16_bits16(x), 0, (p) + (i))

#define load_query(p, i)      CLA_JOIN(CLA_LOAD_, CLA_QUERY_TYPE)(p, i)
#define load_key(p, i)        CLA_JOIN(CLA_LOAD_, CLA_KEY_TYPE)(p, i)
#define load_value(p, i)      CLA_JOIN(CLA_LOAD_, CLA_VALUE_TYPE)(p, i)
#define load_mask(p, i)       CLA_JOIN(CLA_LOAD_, CLA_MASK_TYPE)(p, i)
#define load_output(p, i)     CLA_JOIN(CLA_LOAD_, CLA_OUTPUT_TYPE)(p, i)
#define load4_query(p, i)     CLA_JOIN(CLA_LOAD4_, CLA_QUERY_TYPE)(p, i)
#define load4_key(p, i)       CLA_JOIN(CLA_LOAD4_, CLA_KEY_TYPE)(p, i)
#define load4_value(p, i)     CLA_JOIN(CLA_LOAD4_, CLA_VALUE_TYPE)(p, i)
#define load4_output(p, i)    CLA_JOIN(CLA_LOAD4_, CLA_OUTPUT_TYPE)(p, i)
#define load16_key(p, i)      CLA_JOIN(CLA_LOAD16_, CLA_KEY_TYPE)(p, i)
#define load16_value(p, i)    CLA_JOIN(CLA_LOAD16_, CLA_VALUE_TYPE)(p, i)
#define store_output(p, i, x) CLA_JOIN(CLA_STORE_AS_, CLA_OUTPUT_TYPE)(p, i, x)
#define store16_output(p, i, x) CLA_JOIN(CLA_STORE16_AS_, CLA_OUTPUT_TYPE)(p, i, x)

/*
 * n halves from p on, by way of integers: PoCL 3.1 takes vload_half8 and its like to be given what is aligned as a vector of
 * them, and may make an instruction that ends the process where it is not.
 */
#define CLA_DEFINE_HALVES(n)                                                                                           \
    static inline CLA_JOIN(float, n) load_halves##n(__global const half *p)                                            \
    {                                                                                                                  \
        const CLA_JOIN(ushort, n) bits = vload##n(0, (__global const ushort *)p);                                      \
        return vload_half##n(0, (const half *)&bits);                                                                  \
    }                                                                                                                  \
    static inline void store_halves##n(__global half *p, CLA_JOIN(float, n) x)                                         \
    {                                                                                                                  \
        CLA_JOIN(ushort, n) bits;                                                                                      \
        vstore_half##n##_rte(x, 0, (half *)&bits);                                                                     \
        vstore##n(bits, 0, (__global ushort *)p);                                                                      \
    }

CLA_DEFINE_HALVES(4)
CLA_DEFINE_HALVES(8)

/* PoCL makes twice as many instructions of the sixteen at once. */
static inline float16 load_halves16(__global const half *p)
{
    return (float16)(load_halves8(p), load_halves8(p + 8));
}

static inline void store_halves16(__global half *p, float16 x)
{
    store_halves8(p, x.lo);
    store_halves8(p + 8, x.hi);
}

/* The upper half of x, rounded to nearest even; NaN stays NaN, made quiet. */
static inline ushort bf16_bits(float x)
{
    uint bits = as_uint(x);
    uint rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (ushort)(x != x ? (bits >> 16) | 0x40u : rounded);
}

static inline ushort16 bf16_bits16(float16 x)
{
    uint16 bits = as_uint16(x);
    uint16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return convert_ushort16(x != x ? (bits >> 16) | 0x40u : rounded);
}

/*
 * A view of an operand, as the host passes it beside the pointer: x the element offset of the first element, y, z, w
 * the strides in elements of batch, head and row. Columns are contiguous.
 */
static inline long view_row(long4 view, int b, int h, int row)
{
    return view.x + b * view.y + h * view.z + row * view.w;
}

/*
 * Kernels whose result passes through memory work on a slice of the problem, an int4: x the first pair of batch and head
 * (batch * q_heads + head), y the first query row, z how many rows of each head at most; w is not used.
 */

/*
 * What every function begins with that is given local memory. PoCL 3.1 replaces a kernel's local arrays by buffers of the
 * work-group, but only where the kernel itself names them: LLVM writes the address of one that is always the same into the
 * function, which then, unless it was inlined, has an array that no kernel sees.
 */
#define INLINED inline __attribute__((always_inline))

/*
 * The statements for each n from 0 to count - 1, in order; `count` is a digit from 1 to 4. Written out and with a constant for n,
 * since ocloc moves arrays to memory that a loop indexes, also where it unrolls the loop.
 */
#define EACH(count, n, statements)                                                                                     \
    {                                                                                                                  \
        CLA_JOIN(CLA_EACH_, count)(n, statements)                                                                      \
    }
#define CLA_EACH_1(n, statements)  CLA_EACH_NEXT(n, 0, statements)
#define CLA_EACH_2(n, statements)  CLA_EACH_1(n, statements) CLA_EACH_NEXT(n, 1, statements)
#define CLA_EACH_3(n, statements)  CLA_EACH_2(n, statements) CLA_EACH_NEXT(n, 2, statements)
#define CLA_EACH_4(n, statements)  CLA_EACH_3(n, statements) CLA_EACH_NEXT(n, 3, statements)
#define CLA_EACH_NEXT(n, number, statements)                                                                           \
    {                                                                                                                  \
        const int n = number;                                                                                          \
        statements                                                                                                     \
    }

/*
 * Sums of sums: every so many terms, *rest is added to *held, and what the rounding of that lost is left in *rest (Knuth's
 * two-sum). However many terms there are, the error of the two together is that of the terms between two of these, which would
 * else grow with their number where rounding errors have one direction, as those of equal terms do. Infinities and NaN stay.
 */
#define CLA_DEFINE_HOLD(name, type)                                                                                    \
    static inline void name(type *held, type *rest)                                                                    \
    {                                                                                                                  \
        const type sum = *held + *rest;                                                                                \
        const type added = sum - *held;                                                                                \
        const type lost = (*held - (sum - added)) + (*rest - added);                                                   \
        *held = sum;                                                                                                   \
        *rest = lost == lost ? lost : (type)(0.0f);                                                                    \
    }

CLA_DEFINE_HOLD(hold, float)
CLA_DEFINE_HOLD(hold4, float4)

/* a / b and a % b. In this form since some compilers make of the two operators an instruction that Oclgrind lacks. */
static inline uint2 divide(uint a, uint b)
{
    const uint quotient = a / b;
    return (uint2)(quotient, a - quotient * b);
}
