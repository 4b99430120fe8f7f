/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers by counter: SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators"), whose
 * n-th output is a mix of the seed plus n times a constant, and the transform of Box and Muller (1958).
 */
#include "shared/random.h"
#include <math.h>

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* 2^64 divided by the golden ratio */

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint64_t start = mix(seed * GOLDEN + mix(stream + 1)); /* streams are sequences that begin far apart */
    return mix(start + (index + 1) * GOLDEN);
}

/* Each pair of uniform numbers gives two normal ones; an element computes its pair and takes its own. */
double random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    const double two_pi = 6.283185307179586;
    double u = ((double)(random_bits(seed, stream, index & ~UINT64_C(1)) >> 11) + 1) * 0x1p-53; /* (0, 1] */
    double v = (double)(random_bits(seed, stream, index | 1) >> 11) * 0x1p-53;                  /* [0, 1) */
    double radius = sqrt(-2 * log(u));
    return (index & 1) == 0 ? radius * cos(two_pi * v) : radius * sin(two_pi * v);
}
