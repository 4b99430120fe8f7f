/* SPDX-License-Identifier: Apache-2.0 */
/* Implements the part of oracle.h about storage types. */
#include "oracle.h"

#include <math.h>

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * binary16 to binary32: the exponent and mantissa bits moved into place and multiplied by the difference of the
 * exponent biases, 2^(127 - 15), which normalises subnormals as well; exponent 31 stands for Inf and NaN.
 */
static float float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(half & 0x7fffu) << 13;
    float finite = float_of_bits(rest) * 0x1p112f;
    uint32_t bits;

    memcpy(&bits, &finite, sizeof bits);
    bits = rest >= 0x7c00u << 13 ? (rest | 0x7f800000u) : bits;
    return float_of_bits(bits | sign);
}

const float *oracle_widen(clattn_dtype dtype, const void *array, int64_t index, int64_t count, float *widened)
{
    const uint16_t *narrow = (const uint16_t *)array + index;

    if (dtype == CLATTN_F32)
        return (const float *)array + index;
    if (dtype == CLATTN_F16)
        for (int64_t n = 0; n < count; ++n)
            widened[n] = float_of_half(narrow[n]);
    else
        for (int64_t n = 0; n < count; ++n)
            widened[n] = float_of_bits((uint32_t)narrow[n] << 16);
    return widened;
}

double oracle_load(clattn_dtype dtype, const void *array, int64_t index)
{
    float widened;

    return (double)*oracle_widen(dtype, array, index, 1, &widened);
}

double oracle_round(clattn_dtype dtype, double value)
{
    int precision = dtype == CLATTN_F16 ? 11 : 8; /* bits of the significand, the leading one included */
    int lowest = dtype == CLATTN_F16 ? -14 : -126;
    double largest = dtype == CLATTN_F16 ? 65504.0 : 0x1.fep127;

    if (dtype == CLATTN_F32)
        return (double)(float)value;
    if (!isfinite(value) || value == 0.0)
        return value;
    int exponent = ilogb(value);
    int last_bit = (exponent < lowest ? lowest : exponent) - (precision - 1);
    double rounded = ldexp(nearbyint(ldexp(value, -last_bit)), last_bit);
    return fabs(rounded) > largest ? copysign(HUGE_VAL, value) : rounded;
}

static uint16_t half_of_rounded(double value)
{
    uint16_t sign = signbit(value) ? 0x8000u : 0;
    double magnitude = fabs(value);

    if (isnan(value))
        return sign | 0x7e00u;
    if (isinf(value))
        return sign | 0x7c00u;
    if (magnitude < 0x1p-14)
        return (uint16_t)(sign | (unsigned)ldexp(magnitude, 24));
    int exponent = ilogb(magnitude);
    unsigned mantissa = (unsigned)ldexp(magnitude, 10 - exponent) & 0x3ffu;
    return (uint16_t)(sign | (unsigned)(exponent + 15) << 10 | mantissa);
}

void oracle_store(clattn_dtype dtype, void *array, int64_t index, double value)
{
    double rounded = oracle_round(dtype, value);

    if (dtype == CLATTN_F32) {
        ((float *)array)[index] = (float)rounded;
    } else if (dtype == CLATTN_F16) {
        ((uint16_t *)array)[index] = half_of_rounded(rounded);
    } else {
        float exact = (float)rounded;
        uint32_t bits;
        memcpy(&bits, &exact, sizeof bits);
        ((uint16_t *)array)[index] = (uint16_t)(bits >> 16);
    }
}
