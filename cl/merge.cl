/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merge of partial states, numerically stable: attention over all keys from attention over parts of them.
 *
 *   O[b,h,i] = sum over k of w_k O_k[b,h,i] / sum over k of w_k   L = m + ln sum over k of w_k   w_k = s_k e^(m_k - m)
 *
 * (m_k, s_k) being the state of the row in part k: a logit not far below its largest and the sum of e^(logit - m_k), or
 * its log-sum-exp and 1. m is the largest m_k. A part with s_k = 0, or whose log-sum-exp is -inf, is left out: its
 * output is not read.
 * One whose log-sum-exp is +inf has all the weight; several such make the output NaN.
 *
 *   parts [parts, b * heads + h, q_len, value_dim]   states [parts, b * heads + h, q_len, 1 or 2] f32
 *   output [b, heads, q_len, value_dim]   lse [b, heads, q_len] f32
 *
 * There are as many parts as kv_len keys cut every split_keys. Within attention a batch may have fewer rows, and rows of
 * output and lse may be packed; those of the parts are not. A work-group owns one row; a work-item takes every
 * CLA_GROUP_SIZE-th vector of CLA_LANES columns, CLA_VECTORS at a time so that a weight is computed once for all, and
 * of the columns left over at the end every CLA_GROUP_SIZE-th. All work-items find the weights for themselves: no local memory,
 * no barrier.
 *
 *   CLA_GROUP_SIZE   work-items a group, 1 or more
 *   CLA_PART_TYPE    what the outputs of the parts are stored in, as in types.cl
 *   CLA_PART_SUMS    1: a state is the largest logit and the sum, which is kept where the logits are so large that a
 *                    log-sum-exp could not tell it; 0: it is the log-sum-exp
 *   CLA_LSE          1: write lse
 */
#if !defined(CLA_GROUP_SIZE) || !defined(CLA_PART_TYPE) || !defined(CLA_PART_SUMS) || !defined(CLA_LSE)
#error "merge.cl: a parameter is not defined"
#endif

#define LOG2E 1.44269504088896340736f

/* Parts after which sums are held: one sum of all would gather an error that grows with their number. */
#define RUN 64

#define part_t CLA_JOIN(CLA_STORE_, CLA_PART_TYPE)
#define load_part(p, i) CLA_JOIN(CLA_LOAD_, CLA_PART_TYPE)(p, i)
#define load_parts(p) CLA_JOIN(LOAD_VEC_, CLA_PART_TYPE)(p)

/* m_k and s_k, which is 0 where the part is left out. */
static inline float2 load_state(__global const float *state)
{
#if CLA_PART_SUMS
    return vload2(0, state);
#else
    return (float2)(*state, *state == -INFINITY ? 0.0f : 1.0f);
#endif
}

/* w_k. The largest has its own, which only a log-sum-exp of +inf needs to be told. */
static inline float weight_of(float2 state, float largest)
{
    const float difference = !CLA_PART_SUMS && state.x == largest ? 0.0f : state.x - largest;
    return state.y == 0.0f ? 0.0f : exp2(difference * LOG2E) * state.y;
}

/* Whether a part has any weight: none has beside one whose log-sum-exp is +inf, whatever its output holds. */
static inline int counts(float2 state, float largest)
{
    return state.y != 0.0f && (CLA_PART_SUMS || largest != INFINITY || !(state.x < INFINITY));
}

/* The state of all parts together. */
static inline float2 join_states(__global const float *states, long stride, int parts)
{
    /* The least finite number stands for "no part yet": -inf would make -inf - -inf where all are left out. */
    float largest = -FLT_MAX;
    for (int k = 0; k < parts; k++) {
        const float2 state = load_state(states + k * stride);
        largest = state.y == 0.0f ? largest : fmax(largest, state.x);
    }
    float sum = 0.0f;
    float run = 0.0f;
    for (int k0 = 0; k0 < parts; k0 += RUN) {
        const int end = min(parts, k0 + RUN);
        if (k0 > 0)
            hold(&sum, &run);
        for (int k = k0; k < end; k++)
            run += weight_of(load_state(states + k * stride), largest);
    }
    return (float2)(largest, sum + run);
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
merge(__global const part_t *parts_output, long4 parts_view, __global const float *states, long4 states_view,
      __global output_t *output, long4 output_view, __global float *lse, long4 lse_view, int q_heads, int value_dim,
      int split_keys, int4 slice, CLA_SEMANTICS_PARAMS)
{
    const int item = (int)get_local_id(0);
    const int rows = max(1, min(q_len, slice.y + slice.z) - slice.y);
    const uint2 row = divide((uint)get_group_id(0), (uint)rows);
    const int b_h = slice.x + (int)row.x;
    const uint2 head = divide((uint)b_h, (uint)q_heads);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int i = slice.y + (int)row.y;
    const int exists = i < min(batch.q_len, slice.y + slice.z);
    const int parts = exists ? (kv_len + split_keys - 1) / split_keys : 0;
    const int columns = exists ? value_dim : 0;
    const int vectors_end = columns / CLA_LANES * CLA_LANES;
    const int step = CLA_GROUP_SIZE * CLA_LANES;
    __global const part_t *from = parts_output + view_row(parts_view, 0, b_h, i);
    __global const float *state_of = states + view_row(states_view, 0, b_h, i);
    const long to = query_row(output_view, &batch, h, i);

    float2 all = join_states(state_of, states_view.y, parts);
#if CLA_SINKS /* one of the parts has the sink in it, unless there is none */
    if (exists && parts == 0) {
        all.x = sink(h, CLA_SEMANTICS);
        all.y = all.x > -FLT_MAX ? 1.0f : 0.0f;
    }
#endif
    float inverse = all.y == 0.0f ? 0.0f : 1.0f / all.y;
    if (!CLA_PART_SUMS && all.x == INFINITY && all.y > 1.0f)
        inverse = NAN; /* nothing says how the weights of several such parts compare */

    for (int c0 = item * CLA_LANES; c0 < vectors_end; c0 += CLA_VECTORS * step) {
        vec_t total[CLA_VECTORS];
        vec_t run[CLA_VECTORS];
#pragma unroll
        for (int n = 0; n < CLA_VECTORS; n++)
            total[n] = run[n] = (vec_t)(0.0f);
        for (int k0 = 0; k0 < parts; k0 += RUN) {
            const int end = min(parts, k0 + RUN);
            if (k0 > 0) {
#pragma unroll
                for (int n = 0; n < CLA_VECTORS; n++)
                    hold_vec(&total[n], &run[n]);
            }
            for (int k = k0; k < end; k++) {
                const float2 state = load_state(state_of + k * states_view.y);
                if (!counts(state, all.x))
                    continue;
                const vec_t weight = (vec_t)(weight_of(state, all.x));
#pragma unroll
                for (int n = 0; n < CLA_VECTORS; n++) {
                    if (c0 + n * step < vectors_end)
                        run[n] += weight * load_parts(from + k * parts_view.y + c0 + n * step);
                }
            }
        }
#pragma unroll
        for (int n = 0; n < CLA_VECTORS; n++) {
            float lane[CLA_LANES];
            vec_store((total[n] + run[n]) * inverse, lane);
            for (int c = 0; c < CLA_LANES && c0 + n * step < vectors_end; c++)
                store_output(output, to + c0 + n * step + c, lane[c]);
        }
    }
    for (int c = vectors_end + item; c < columns; c += CLA_GROUP_SIZE) {
        float total = 0.0f;
        float run = 0.0f;
        for (int k0 = 0; k0 < parts; k0 += RUN) {
            const int end = min(parts, k0 + RUN);
            if (k0 > 0)
                hold(&total, &run);
            for (int k = k0; k < end; k++) {
                const float2 state = load_state(state_of + k * states_view.y);
                if (counts(state, all.x))
                    run += weight_of(state, all.x) * load_part(from, k * parts_view.y + c);
            }
        }
        store_output(output, to + c, (total + run) * inverse);
    }
#if CLA_LSE
    if (item == 0 && exists)
        lse[query_row(lse_view, &batch, h, i)] = all.x + log(all.y);
#endif
}
