/* SPDX-License-Identifier: Apache-2.0 */
/*
 * d_sinks of the backward pass (lib/gradient.cl): a sink is a key whose value is 0, so that
 * d_sinks_h = - sum over b and i of e^(sinks_h - lse) delta. A work-group takes one head: work-item n sums every CLA_GROUP-th query
 * of a batch, the first one what they have.
 *
 * Local memory: 4 CLA_GROUP bytes.
 */
#if !defined(CLA_D_OUTPUT_TYPE)
#error "backward_sinks.cl: CLA_D_OUTPUT_TYPE is not defined"
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_sinks(__global const float *sinks, long4 sinks_view, __global const float *lse, long4 lse_view,
               __global const float *delta, long4 delta_view, __global float *d_sinks, long4 d_sinks_view, int batches,
               CLA_SEMANTICS_PARAMS)
{
    __local float scratch[CLA_GROUP];
    const int item = (int)get_local_id(0);
    const int h = (int)get_group_id(0);
    float held = 0.0f;
    float sum = 0.0f;
    int terms = 0;
    for (int b = 0; b < batches && q_len > 0; b++) {
        struct batch batch;
        batch_of(&batch, b, CLA_PLACES);
        for (int i = item; i < batch.q_len; i += CLA_GROUP) {
            const float row_lse = lse[query_row(lse_view, &batch, h, i)];
            const float p = exp2((sinks[sinks_view.x + h] - row_lse) * LOG2E);
            /* a row without anything has a logit of -inf, less itself */
            sum -= row_lse == -INFINITY ? 0.0f : p * delta[view_row(delta_view, b, h, i)];
            if (++terms % 64 == 0)
                hold(&held, &sum);
        }
    }
    scratch[item] = held + sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item > 0 || d_sinks == 0) /* the first launch of a plan has no buffers */
        return;
    sum = 0.0f;
    for (int n = 0; n < CLA_GROUP; n++)
        sum += scratch[n];
    const long at = d_sinks_view.x + h;
    d_sinks[at] = CLA_ACCUMULATE ? d_sinks[at] + sum : sum;
}
