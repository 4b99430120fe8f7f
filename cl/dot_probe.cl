/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What dot products of bf16 pairs give, and how long they take beside multiply-adds of floats.
 *
 *   dot_answers   out[0] = in[0] + in[2] . in[3] as pairs   out[1] = in[0] and in[1] as pairs: vectors of CLA_LANES
 *   dot_rate      `count` rounds of CHAINS sums that do not wait for each other: dot products, or multiply-adds where `floats` is
 *                 set. Twelve fill a pipeline of six cycles twice over
 *
 * One work-item a group.
 */
#define CHAINS 12

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dot_answers(__global float *out, __global const float *in)
{
    const vec_t sum = vec_load(in);
    const uvec_t a = as_uvec(vec_load(in + 2 * CLA_LANES));
    const uvec_t b = as_uvec(vec_load(in + 3 * CLA_LANES));
    vec_store(dot_pair(sum, a, b), out);
    vec_store(as_vec(pair_of(sum, vec_load(in + CLA_LANES))), out + CLA_LANES);
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dot_rate(__global float *out, int floats, int count, float x)
{
    const uvec_t pair = pair_of((vec_t)(x), (vec_t)(x));
    vec_t sum[CHAINS];
#pragma unroll
    for (int n = 0; n < CHAINS; n++)
        sum[n] = (vec_t)((float)n);
    if (floats) {
        for (int i = 0; i < count; i++) {
#pragma unroll
            for (int n = 0; n < CHAINS; n++)
                sum[n] = sum[n] * x + x;
        }
    } else {
        for (int i = 0; i < count; i++) {
#pragma unroll
            for (int n = 0; n < CHAINS; n++)
                sum[n] = dot_pair(sum[n], pair, pair);
        }
    }
#pragma unroll
    for (int n = 1; n < CHAINS; n++)
        sum[0] += sum[n];
    vec_store(sum[0], out);
}
