/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gradient of a mask or of slopes from the sums of backward_bias.cl, [b, h, length]: those of the batches and heads that share an
 * element added up, and where CLA_WHOLE is 1 those of all queries as well. A work-group takes one of `heads` query heads of a batch and
 * the `sum_batches` and `sum_heads` from these on; CLA_GROUP elements of it, each a work-item's, or the only one, of whose terms work-item n sums
 * every CLA_GROUP-th. Groups are numbered with the elements innermost.
 *
 *   by_key     1: sums are of keys, and elements follow each other; 0: of queries, and they are the view's rows
 *   elements   of the gradient along queries or keys; a run has fewer where its length is less
 *
 * Local memory: 4 CLA_GROUP bytes.
 */
#if !defined(CLA_WHOLE) || !defined(CLA_ACCUMULATE)
#error "backward_bias_sum.cl: a parameter is not defined"
#endif

/* Terms that are added up before their sum is held. */
#define RUN 64

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_bias_sum(__global const float *sums, long4 sums_view, __global float *gradient, long4 gradient_view, int heads,
                  int sum_batches, int sum_heads, int by_key, int elements, int q_len, int kv_len)
{
    __local float scratch[CLA_GROUP];
    const int item = (int)get_local_id(0);
    const int length = by_key ? kv_len : q_len;
    const int end = CLA_WHOLE ? 1 : min(elements, length);
    const int groups = CLA_WHOLE ? 1 : (elements + CLA_GROUP - 1) / CLA_GROUP;
    const uint2 group = divide((uint)get_group_id(0), (uint)groups);
    const uint2 head = divide(group.x, (uint)heads);
    const int n = (int)group.y * CLA_GROUP + item;
    const int first = CLA_WHOLE ? item : n;
    const int last = CLA_WHOLE ? length : min(n + 1, end);
    float held = 0.0f;
    float sum = 0.0f;
    int terms = 0;
    for (int k = 0; k < sum_batches * sum_heads; k++) {
        const uint2 next = divide((uint)k, (uint)sum_heads);
        const long at = view_row(sums_view, (int)(head.x + next.x), (int)(head.y + next.y), 0);
        for (int m = first; m < last; m += CLA_GROUP) {
            sum += sums[at + m];
            if (++terms % RUN == 0)
                hold(&held, &sum);
        }
    }
    sum += held;
    if (CLA_WHOLE) {
        scratch[item] = sum;
        barrier(CLK_LOCAL_MEM_FENCE);
        sum = 0.0f;
        for (int m = 0; m < CLA_GROUP && item == 0; m++)
            sum += scratch[m];
    }
    if (n >= end || gradient == 0) /* the first launch of a plan has no buffers */
        return;
    const long at = view_row(gradient_view, (int)head.x, (int)head.y, by_key ? 0 : n) + (by_key ? n : 0);
    gradient[at] = CLA_ACCUMULATE ? gradient[at] + sum : sum;
}
