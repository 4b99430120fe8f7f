/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matrix_peak: keeps the matrix units of a device busy, and shows that they compute what they should.
 *
 *   x = x + A B     4 times an iteration in each of 4 chains, whose steps wait for one another; chains do not
 *
 * A is ROWS x DEPTH in f16, every element a; B is DEPTH x COLUMNS in f16, every element b; x is ROWS x COLUMNS in f32. LANES
 * work-items, side by side, hold them together. Chain n starts with n everywhere, and every step adds DEPTH * a * b everywhere,
 * whichever work-item has which element; whole numbers up to 2^24 are exact. A step is 2 ROWS COLUMNS DEPTH operations, of
 * which a work-item has its share.
 *
 *   out[i]   of work-item i: what was added to its first element; 1 where the same was to its others, in all chains, else 0;
 *            its operations and its products for an element, in an iteration. All of it 0 where no form is for the device
 *   a, b     as bits of f16
 *   zero     0, which the compiler does not know: operands that are the same in all work-items it might keep as one number, and
 *            spread for every step, which Intel's does
 *
 *   CLA_GROUP      work-items of a group: a multiple of LANES
 *   CLA_SUB_GROUP  the smallest sub-group of the device, 0 where that is not known
 *   CLA_REQUIRED   1: that no form is for the device is an error; 0: it is not
 *
 * The device's compiler says which form is for it. A form has ROWS, COLUMNS, DEPTH, LANES, sums_t, the elements of x that are
 * one work-item's, and multiply_add, a step. No local memory.
 */
#if !defined(CLA_GROUP) || !defined(CLA_SUB_GROUP) || !defined(CLA_REQUIRED)
#error "CLA_GROUP, CLA_SUB_GROUP or CLA_REQUIRED is not defined"
#endif

/*
 * NVIDIA, from compute capability 8.0 on. Its own compiler refuses the instruction on older ones; clang does not, and the PTX is
 * refused when it is loaded, which may end the process.
 */
#if defined(__NV_CL_C_VERSION) || (defined(__NVPTX__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
#define FORM
#define ROWS 16
#define COLUMNS 8
#define DEPTH 16
#define LANES 32
#ifndef __NV_CL_C_VERSION /* clang has the keyword by another name alone */
#define asm __asm__
#endif
typedef float4 sums_t;
float4 multiply_add(uint a, uint b, float4 x)
{
    const uint aa = a << 16 | a, bb = b << 16 | b;
    float x0 = x.s0, x1 = x.s1, x2 = x.s2, x3 = x.s3;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, {%5, %5}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(x0), "+f"(x1), "+f"(x2), "+f"(x3)
                 : "r"(aa), "r"(bb));
    return (float4)(x0, x1, x2, x3);
}

/*
 * AMD, RDNA 3 and 4. Processors are named: a built-in that is known and cannot be had, as that of one on the other, ends LLVM's
 * process.
 */
#elif defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__) || defined(__gfx1103__) || \
    defined(__gfx1150__) || defined(__gfx1151__) || defined(__gfx1152__) || defined(__gfx1153__) ||     \
    defined(__gfx1200__) || defined(__gfx1201__)
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define FORM
#define ROWS 16
#define COLUMNS 16
#define DEPTH 16
#define LANES 32
typedef float8 sums_t;
float8 multiply_add(uint a, uint b, float8 x)
{
#if defined(__gfx1200__) || defined(__gfx1201__)
    return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(as_half8((ushort8)(a)), as_half8((ushort8)(b)), x);
#else /* both halves of the lanes have all of A and B */
    return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16((ushort16)(a)), as_half16((ushort16)(b)), x);
#endif
}

/* AMD, CDNA */
#elif defined(__gfx908__) || defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define FORM
#define ROWS 32
#define COLUMNS 32
#define DEPTH 8
#define LANES 64
typedef float16 sums_t;
float16 multiply_add(uint a, uint b, float16 x)
{
    return __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4((ushort4)(a)), as_half4((ushort4)(b)), x, 0, 0, 0);
}

/* Intel */
#elif defined(cl_intel_subgroup_matrix_multiply_accumulate) && CLA_SUB_GROUP > 0
#define FORM __attribute__((intel_reqd_sub_group_size(CLA_SUB_GROUP)))
#define ROWS 8
#define COLUMNS CLA_SUB_GROUP
#define DEPTH 16
#define LANES CLA_SUB_GROUP
typedef float8 sums_t;
float8 multiply_add(uint a, uint b, float8 x)
{
#if CLA_SUB_GROUP == 8 /* two elements of A in an int, so that a sub-group has a row of it */
    const int8 aa = (int8)((int)(a << 16 | a));
#else
    const short8 aa = (short8)((short)a);
#endif
    return intel_sub_group_f16_f16_matrix_mad_k16(aa, (int8)((int)(b << 16 | b)), x);
}
#endif

#define KERNEL __kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
#ifdef FORM
#define STEP                                                                                                           \
    x0 = multiply_add(a, b, x0);                                                                                       \
    x1 = multiply_add(a, b, x1);                                                                                       \
    x2 = multiply_add(a, b, x2);                                                                                       \
    x3 = multiply_add(a, b, x3);
FORM KERNEL matrix_peak(__global float4 *out, int count, uint a, uint b, uint zero)
{
    const uint own = zero * (uint)get_local_id(0);
    a += own;
    b += own;
    sums_t x0 = (sums_t)(0.0f), x1 = (sums_t)(1.0f), x2 = (sums_t)(2.0f), x3 = (sums_t)(3.0f);
    for (int i = 0; i < count; i++) {
        STEP STEP STEP STEP
    }
    const float added = x0.s0;
    const int same = all(x0 == added) && all(x1 - 1.0f == added) && all(x2 - 2.0f == added) && all(x3 - 3.0f == added);
    out[get_global_id(0)] = (float4)(added, same, 4 * 4 * 2 * ROWS * COLUMNS * DEPTH / LANES, 4 * DEPTH);
}
#else
#if CLA_REQUIRED
#error "no form for this device"
#endif
KERNEL matrix_peak(__global float4 *out, int count, uint a, uint b, uint zero)
{
    out[get_global_id(0)] = (float4)(0.0f);
}
#endif
