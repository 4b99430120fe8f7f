/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 2^x for x <= 16 on vectors of floats, for devices whose own exp2 is a call. x = n + r with n the nearest integer, found
 * by adding 1.5 * 2^23, whose last bit stands for 1; 2^r is a polynomial on [-1/2, 1/2], the minimax one of degree 5
 * in relative error with its first coefficient held at 1; n goes into the exponent. Relative error below 1.7e-7. Below
 * -126 the result is exactly 0. NaN stays NaN.
 *
 *   CLA_LANES   floats in vec_t: 4, 8 or 16
 */
#if !defined(CLA_LANES)
#error "exp2.cl: CLA_LANES is not defined"
#endif

#define vec_t  CLA_JOIN(float, CLA_LANES)
#define ivec_t CLA_JOIN(int, CLA_LANES)
#define as_vec CLA_JOIN(as_float, CLA_LANES)
#define as_ivec CLA_JOIN(as_int, CLA_LANES)
#define vec_load(p) CLA_JOIN(vload, CLA_LANES)(0, p)
#define ivec_load vec_load
#define to_vec CLA_JOIN(convert_float, CLA_LANES)
#define vec_store(x, p) CLA_JOIN(vstore, CLA_LANES)(x, 0, p)

static inline vec_t vec_exp2(vec_t x)
{
    const vec_t shifted = x + 12582912.0f;
    const vec_t r = x - (shifted - 12582912.0f);
    vec_t p = r * 1.32647273e-3f + 9.67151299e-3f;
    p = p * r + 5.55073358e-2f;
    p = p * r + 2.40222424e-1f;
    p = p * r + 6.93147004e-1f;
    p = p * r + 1.0f;
    const vec_t power = as_vec((as_ivec(shifted) << 23) + 0x3f800000);
    return x < -126.0f ? (vec_t)(0.0f) : p * power;
}
