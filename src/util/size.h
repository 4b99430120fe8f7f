/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on sizes that says when it overflows, and rounding. */
#ifndef CLA_UTIL_SIZE_H
#define CLA_UTIL_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* True and *result = a * b (a + b) where that fits, for a and b not negative. */
static inline bool cla_mul(int64_t a, int64_t b, int64_t *result)
{
    return !__builtin_mul_overflow(a, b, result);
}

static inline bool cla_add(int64_t a, int64_t b, int64_t *result)
{
    return !__builtin_add_overflow(a, b, result);
}

static inline int64_t cla_ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static inline int64_t cla_round_up(int64_t a, int64_t b)
{
    return cla_ceil_div(a, b) * b;
}

static inline int64_t cla_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t cla_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t cla_clamp(int64_t a, int64_t low, int64_t high)
{
    return a < low ? low : a > high ? high : a;
}

#endif
