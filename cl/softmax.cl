/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax of rows, numerically stable: W[b,h,i,j] = e^(S_j - m) / sum over j of e^(S_j - m), m the largest S_j. A score
 * of -inf has weight 0, a row of nothing else weights of 0 and lse -inf. Within attention a sink joins the sum, a batch may
 * have fewer rows, and dropout takes weights out.
 *
 *   scores, weights [b, heads, q_len, kv_len] f32, possibly the same memory   lse [b, heads, q_len] f32
 *
 * A work-group owns one row and passes over it three times: for the largest score; for e^(score - largest), written to
 * the weights, and their sum; for the division by the sum. A work-item takes every CLA_GROUP_SIZE-th vector of CLA_LANES
 * columns, and of the columns left over at the end every CLA_GROUP_SIZE-th.
 *
 *   CLA_GROUP_SIZE   work-items a group, a power of two
 *   CLA_LSE          1: write lse
 *
 * Local memory: 4 CLA_GROUP_SIZE bytes.
 */
#if !defined(CLA_GROUP_SIZE) || !defined(CLA_LSE)
#error "softmax.cl: a parameter is not defined"
#endif

#define LOG2E 1.44269504088896340736f

/* Vectors after which a sum is held: one sum of all would gather an error that grows with kv_len. */
#define PART 64

/* Merges one number a work-item by the maximum or by the sum; every work-item gets the result. */
#define DEFINE_ACROSS_GROUP(name, merge)                                                                               \
    INLINED static float across_group_##name(float mine, __local float *scratch, int item)                             \
    {                                                                                                                  \
        scratch[item] = mine;                                                                                          \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        for (int size = CLA_GROUP_SIZE / 2; size > 0; size /= 2) {                                                     \
            if (item < size) {                                                                                         \
                const float a = scratch[item];                                                                         \
                const float b = scratch[item + size];                                                                  \
                scratch[item] = merge;                                                                                 \
            }                                                                                                          \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
        }                                                                                                              \
        const float all = scratch[0];                                                                                  \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        return all;                                                                                                    \
    }

DEFINE_ACROSS_GROUP(max, fmax(a, b))
DEFINE_ACROSS_GROUP(sum, a + b)

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
softmax(__global const float *scores, long4 scores_view, __global float *weights, long4 weights_view,
        __global float *lse, long4 lse_view, int q_heads, int4 slice, CLA_SEMANTICS_PARAMS)
{
    __local float scratch[CLA_GROUP_SIZE];

    const int item = (int)get_local_id(0);
    const int rows = max(1, min(q_len, slice.y + slice.z) - slice.y);
    const uint2 row = divide((uint)get_group_id(0), (uint)rows);
    const uint2 head = divide((uint)slice.x + row.x, (uint)q_heads);
    const int i = slice.y + (int)row.y;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int exists = i < min(batch.q_len, slice.y + slice.z);
    __global const float *from = scores + view_row(scores_view, batch.index, h, i);
    __global float *to = weights + view_row(weights_view, batch.index, h, i);
    const int end = exists ? kv_len : 0;
    const int vectors_end = end / CLA_LANES * CLA_LANES;
    const int vectors_step = CLA_GROUP_SIZE * CLA_LANES;
    float lane[CLA_LANES];

    /* The least finite number stands for "no score yet": -inf would make -inf - -inf of an empty row. */
    vec_t lane_max = (vec_t)(-FLT_MAX);
    for (int j = item * CLA_LANES; j < vectors_end; j += vectors_step) {
        const vec_t s = vec_load(from + j);
        lane_max = s > lane_max ? s : lane_max;
    }
    vec_store(lane_max, lane);
#if CLA_SINKS
    float largest = sink(h, CLA_SEMANTICS);
    const float sink_logit = largest;
#else
    float largest = -FLT_MAX;
#endif
    for (int n = 0; n < CLA_LANES; n++)
        largest = fmax(largest, lane[n]);
    for (int j = vectors_end + item; j < end; j += CLA_GROUP_SIZE)
        largest = fmax(largest, from[j]);
    largest = across_group_max(largest, scratch, item);

    vec_t lane_sum = (vec_t)(0.0f);
    vec_t part = (vec_t)(0.0f);
    for (int j = item * CLA_LANES; j < vectors_end;) {
        const int part_end = min(vectors_end, j + PART * vectors_step);
        for (; j < part_end; j += vectors_step) {
            const vec_t p = vec_exp2((vec_load(from + j) - largest) * LOG2E);
            part += p;
            vec_store(p, to + j);
        }
        hold_vec(&lane_sum, &part);
    }
    vec_store(lane_sum + part, lane);
    float sum = 0.0f;
    for (int n = 0; n < CLA_LANES; n++)
        sum += lane[n];
    for (int j = vectors_end + item; j < end; j += CLA_GROUP_SIZE) {
        const float p = exp2((from[j] - largest) * LOG2E);
        sum += p;
        to[j] = p;
    }
    sum = across_group_sum(sum, scratch, item);
#if CLA_SINKS
    sum += sink_logit > -FLT_MAX ? exp2((sink_logit - largest) * LOG2E) : 0.0f;
#endif

    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
#if CLA_DROPOUT
    const ulong first = (ulong)view_row(dropout_view, batch.index, h, i);
    for (int j = item * CLA_LANES; j < vectors_end; j += vectors_step) {
        for (int n = j; n < j + CLA_LANES; n += 4) {
            const uint4 words = dropout_words(first + n, dropout_key);
            const float4 p = vload4(0, to + n) * (inverse * dropout_scale);
            vstore4(words >= dropout_threshold ? p : (float4)(0.0f), 0, to + n);
        }
    }
    for (int j = vectors_end + item; j < end; j += CLA_GROUP_SIZE) {
        const int kept = dropout_words(first + j, dropout_key).x >= dropout_threshold;
        to[j] = kept ? to[j] * (inverse * dropout_scale) : 0.0f;
    }
#else
    for (int j = item * CLA_LANES; j < vectors_end; j += vectors_step)
        vec_store(vec_load(to + j) * inverse, to + j);
    for (int j = vectors_end + item; j < end; j += CLA_GROUP_SIZE)
        to[j] *= inverse;
#endif
#if CLA_LSE
    if (item == 0 && exists)
        lse[query_row(lse_view, &batch, h, i)] = largest + log(sum);
#endif
}
