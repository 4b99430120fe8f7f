/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delta of the backward pass (lib/gradient.cl): of each query the product of its output with the gradient of that, less the
 * gradient of its lse. A work-group takes CLA_GROUP queries of a head, a work-item one of them. Groups are numbered
 * with the queries innermost.
 *
 *   has_d_lse   0: there is no d_lse
 *
 * Local memory: none.
 */
#if !defined(CLA_D_OUTPUT_TYPE)
#error "backward_delta.cl: CLA_D_OUTPUT_TYPE is not defined"
#endif

/* An output of exactly 0, as that of a query that sees no key, does not care what its gradient is. */
static inline float times(float output, float d_output)
{
    return output == 0.0f ? 0.0f : output * d_output;
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_delta(__global const output_t *output, long4 output_view, __global const d_output_t *d_output, long4 d_output_view,
               __global const float *d_lse, long4 d_lse_view, __global float *delta, long4 delta_view, int has_d_lse,
               int q_heads, int value_dim, CLA_SEMANTICS_PARAMS)
{
    const int row_groups = max(1, (q_len + CLA_GROUP - 1) / CLA_GROUP);
    const uint2 row_group = divide((uint)get_group_id(0), (uint)row_groups);
    const uint2 head = divide(row_group.x, (uint)q_heads);
    const int h = (int)head.y;
    const int i = (int)row_group.y * CLA_GROUP + (int)get_local_id(0);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    if (i >= batch.q_len)
        return;

    __global const output_t *o = output + query_row(output_view, &batch, h, i);
    __global const d_output_t *d_o = d_output + query_row(d_output_view, &batch, h, i);
    float held = 0.0f;
    float sum = 0.0f;
    for (int d0 = 0; d0 < value_dim; d0 += 64) {
        float part = 0.0f;
        for (int d = d0; d < min(d0 + 64, value_dim); d++)
            part += times(load_output(o, d), load_d_output(d_o, d));
        sum += part;
        hold(&held, &sum);
    }
    const float of_lse = has_d_lse ? d_lse[query_row(d_lse_view, &batch, h, i)] : 0.0f;
    delta[view_row(delta_view, batch.index, h, i)] = held + sum - of_lse;
}
