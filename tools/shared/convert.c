/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between f32, f16 and bf16, by their bits, since C11 has neither of the small types. */
#include "shared/convert.h"
#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* `bits` without its lowest `drop` bits (1 to 31), rounded to nearest even. A carry runs on into the exponent. */
static uint32_t round_off(uint32_t bits, uint32_t drop)
{
    uint32_t half = UINT32_C(1) << (drop - 1);
    return (bits + (half - 1) + ((bits >> drop) & 1)) >> drop;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN whichever of its bits are dropped */
    return (uint16_t)round_off(bits, 16);
}

static uint16_t to_f16(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff, half;
    if (magnitude > 0x7f800000)
        half = 0x7e00;
    else if (magnitude >= 0x47800000) /* 2^16: beyond the last step, infinity too */
        half = 0x7c00;
    else if (magnitude >= 0x38800000) /* 2^-14: normal; the exponent's bias goes from 127 to 15 */
        half = round_off(magnitude - (UINT32_C(112) << 23), 13);
    else if (magnitude >= 0x33000000) /* 2^-25: subnormal, in units of 2^-24 */
        half = round_off((magnitude & 0x7fffff) | 0x800000, 126 - (magnitude >> 23));
    else
        half = 0;
    return (uint16_t)(sign | half);
}

static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00)
        return float_of(sign | 0x7f800000 | magnitude << 13);
    if (magnitude >= 0x400)
        return float_of(sign | (magnitude + 0x1c000) << 13);
    float value = (float)magnitude * 0x1p-24f;
    return sign != 0 ? -value : value;
}

float convert_load(clattn_dtype dtype, const void *array, int64_t index)
{
    if (dtype == CLATTN_F32)
        return ((const float *)array)[index];
    uint16_t half = ((const uint16_t *)array)[index];
    return dtype == CLATTN_F16 ? from_f16(half) : float_of((uint32_t)half << 16);
}

void convert_store(clattn_dtype dtype, void *array, int64_t index, float value)
{
    if (dtype == CLATTN_F32)
        ((float *)array)[index] = value;
    else
        ((uint16_t *)array)[index] = dtype == CLATTN_F16 ? to_f16(value) : to_bf16(value);
}

void convert_array(clattn_dtype to_dtype, void *to, clattn_dtype from_dtype, const void *from, int64_t count)
{
    if (to_dtype == from_dtype && count > 0)
        memcpy(to, from, (size_t)count * clattn_dtype_size(to_dtype));
    else
        for (int64_t i = 0; i < count; i++)
            convert_store(to_dtype, to, i, convert_load(from_dtype, from, i));
}
