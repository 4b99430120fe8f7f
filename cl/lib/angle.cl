/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sines and cosines of angles that grow with a position. A frequency comes as the part of a turn that one position takes,
 * in units of 2^-64 of a turn, whole turns being left out. An integer product with it wraps at whole turns, so the
 * reduction is exact however far the position is. The angle is then cut to the nearest quarter turn, which swaps and
 * negates the two functions, and a remainder r of at most pi / 4 in size, whose Taylor series end where the next term is
 * below half a unit in the last place: r^11 / 11! < 2 * 10^-9 and r^10 / 10! < 3 * 10^-8. Absolute error below 3 * 10^-7.
 */

/* 2 pi / 2^32: radians of the upper half of a fraction's lowest bit. */
#define RADIANS 1.46291807926715968e-9f

/* One element of each by turns. */
static inline float16 alternate(float8 even, float8 odd)
{
    float16 both;
    both.even = even;
    both.odd = odd;
    return both;
}

/* The sine (x) and the cosine (y) at `position`. */
static inline float2 sin_cos(long position, ulong fraction)
{
    const uint turn = (uint)(((ulong)position * fraction) >> 32);
    const uint quarter = (turn + 0x20000000u) >> 30;
    const float r = (float)(int)(turn - (quarter << 30)) * RADIANS;
    const float r2 = r * r;
    float s = r2 * (1.0f / 362880) - 1.0f / 5040;
    s = s * r2 + 1.0f / 120;
    s = s * r2 - 1.0f / 6;
    s = s * r2 * r + r;
    float c = r2 * (1.0f / 40320) - 1.0f / 720;
    c = c * r2 + 1.0f / 24;
    c = c * r2 - 0.5f;
    c = c * r2 + 1.0f;
    const float sine = (quarter & 1) != 0 ? c : s;
    const float cosine = (quarter & 1) != 0 ? s : c;
    return (float2)((quarter & 2) != 0 ? -sine : sine, ((quarter + 1) & 2) != 0 ? -cosine : cosine);
}
