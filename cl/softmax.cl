/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax of rows, numerically stable: W[b,h,i,j] = e^(S_j - m) / sum over j of e^(S_j - m), m the largest S_j. A score
 * of -inf has weight 0, a row of nothing else weights of 0 and lse -inf.
 *
 *   scores, weights [b, heads, q_len, kv_len] f32, possibly the same memory   lse [b, heads, q_len] f32
 *
 * A work-group owns one row. A work-item reads every CLA_GROUP_SIZE-th score once, keeping a running maximum and a sum
 * relative to it (Milakov and Gimelshein 2018); the group's pairs are merged in local memory; a second pass writes.
 *
 *   CLA_GROUP_SIZE   work-items a group, a power of two
 *   CLA_LSE          1: write lse
 *
 * Local memory: 8 CLA_GROUP_SIZE bytes.
 */
#if !defined(CLA_GROUP_SIZE) || !defined(CLA_LSE)
#error "softmax.cl: a parameter is not defined"
#endif

#define LOG2E 1.44269504088896340736f

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
softmax(__global const float *scores, long4 scores_view, __global float *weights, long4 weights_view,
        __global float *lse, long4 lse_view, int q_heads, int4 slice, int q_len,
        int kv_len)
{
    __local float group_max[CLA_GROUP_SIZE];
    __local float group_sum[CLA_GROUP_SIZE];

    const int item = (int)get_local_id(0);
    const int row_end = min(q_len, slice.y + slice.z);
    const int rows = max(1, row_end - slice.y);
    const int i = slice.y + (int)(get_group_id(0) % rows);
    const int bh = slice.x + (int)(get_group_id(0) / rows);
    const int b = bh / q_heads;
    const int h = bh % q_heads;
    const long from = view_row(scores_view, b, h, i);
    const long to = view_row(weights_view, b, h, i);

    /* The least finite number stands for "no score yet": -inf would make -inf - -inf of an empty row. */
    float largest = -FLT_MAX;
    float sum = 0.0f;
    for (int j = item; j < kv_len; j += CLA_GROUP_SIZE) {
        const float s = scores[from + j];
        const float m = fmax(largest, s);
        sum = sum * exp2((largest - m) * LOG2E) + exp2((s - m) * LOG2E);
        largest = m;
    }
    group_max[item] = largest;
    group_sum[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_size = CLA_GROUP_SIZE / 2; half_size > 0; half_size /= 2) {
        if (item < half_size) {
            const float m = fmax(group_max[item], group_max[item + half_size]);
            group_sum[item] = group_sum[item] * exp2((group_max[item] - m) * LOG2E) +
                              group_sum[item + half_size] * exp2((group_max[item + half_size] - m) * LOG2E);
            group_max[item] = m;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    largest = group_max[0];
    sum = group_sum[0];

    if (i < row_end) {
        const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
        for (int j = item; j < kv_len; j += CLA_GROUP_SIZE)
            weights[to + j] = exp2((scores[from + j] - largest) * LOG2E) * inverse;
#if CLA_LSE
        if (item == 0)
            lse[view_row(lse_view, b, h, i)] = largest + log(sum);
#endif
    }
}
