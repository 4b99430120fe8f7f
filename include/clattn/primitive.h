/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three stages of attention as operations in their own right. Composed, they are the variant "unfused". And the
 * operation that puts attention over parts of the keys together.
 *
 *   scores        S = scale Q K^T, tiled, with softcap, mask and exclusions     [batch, q_heads, q_len, kv_len]  f32
 *   softmax       W = softmax over the last extent of S, numerically stable     [batch, q_heads, q_len, kv_len]  f32
 *   weighted sum  O = W V, tiled                                                [batch, q_heads, q_len, value_dim]
 *   merge         O of all keys from O and log-sum-exp of each part of them     [batch, heads, q_len, value_dim]
 *
 * Plans, lengths, buffers, events and errors are as in attention.h.
 */
#ifndef CLATTN_PRIMITIVE_H
#define CLATTN_PRIMITIVE_H

#include <clattn/attention.h>
#include <clattn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Scores take attention's descriptor and arguments. scores_stage is RAW, SOFTCAP or MASKED and says what is written;
 * value, output, lse and variant are ignored. The result is bit for bit what attention's unfused variant works on.
 */
CLATTN_API clattn_status clattn_scores_plan_create(clattn_context *context, const clattn_attention_desc *desc,
                                                   clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_scores_run(clattn_plan *plan, cl_command_queue queue, const clattn_attention_args *args,
                                           cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                           clattn_error *error);

/*
 * Softmax of rows: weights[b,h,i,j] = e^(s_j - max) / sum over j of e^(s_j - max), with s = scores[b,h,i]. A score of
 * -inf has weight exactly 0; a row of nothing else has weights of 0 and an lse of -inf. NaN in a row makes the row NaN.
 */
typedef struct clattn_softmax_desc {
    size_t struct_size;
    int64_t batch;
    int64_t heads;
    int64_t q_len;
    int64_t kv_len;        /* the extent that is normalised */
    clattn_layout scores;  /* F32 over [batch, heads, q_len, kv_len] */
    clattn_layout weights; /* the same; the two may be one buffer if offset and strides are the same */
    int lse;               /* not 0: a run also writes lse, [batch, heads, q_len] f32 dense */
} clattn_softmax_desc;

typedef struct clattn_softmax_args {
    size_t struct_size;
    int64_t q_len;
    int64_t kv_len;
    clattn_buffer scores;
    clattn_buffer weights;
    clattn_buffer lse;
} clattn_softmax_args;

static inline void clattn_softmax_desc_init(clattn_softmax_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

static inline void clattn_softmax_args_init(clattn_softmax_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, CLATTN_NULL);
}

CLATTN_API clattn_status clattn_softmax_plan_create(clattn_context *context, const clattn_softmax_desc *desc,
                                                    clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_softmax_run(clattn_plan *plan, cl_command_queue queue, const clattn_softmax_args *args,
                                            cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                            clattn_error *error);

/*
 * Weighted sum of values: output[b,h,i] = sum over j of weights[b,h,i,j] * value[b,g,j], g = h / (q_heads / kv_heads).
 * Plain arithmetic: a weight of 0 times NaN is NaN.
 */
typedef struct clattn_weighted_sum_desc {
    size_t struct_size;
    int64_t batch;
    int64_t q_heads;
    int64_t kv_heads; /* divides q_heads */
    int64_t q_len;
    int64_t kv_len;
    int64_t value_dim;
    clattn_layout weights; /* F32 over [batch, q_heads, q_len, kv_len] */
    clattn_layout value;   /* F32, F16 or BF16 over [batch, kv_heads, kv_len, value_dim] */
    clattn_layout output;  /* F32, F16 or BF16 over [batch, q_heads, q_len, value_dim] */
} clattn_weighted_sum_desc;

typedef struct clattn_weighted_sum_args {
    size_t struct_size;
    int64_t q_len;
    int64_t kv_len;
    clattn_buffer weights;
    clattn_buffer value;
    clattn_buffer output;
} clattn_weighted_sum_args;

static inline void clattn_weighted_sum_desc_init(clattn_weighted_sum_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

static inline void clattn_weighted_sum_args_init(clattn_weighted_sum_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, CLATTN_NULL);
}

CLATTN_API clattn_status clattn_weighted_sum_plan_create(clattn_context *context, const clattn_weighted_sum_desc *desc,
                                                         clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_weighted_sum_run(clattn_plan *plan, cl_command_queue queue,
                                                 const clattn_weighted_sum_args *args, cl_uint num_events,
                                                 const cl_event *wait_list, cl_event *event, clattn_error *error);

/*
 * Merge of partial states: attention over all keys from attention over each of several parts of them, exactly (Milakov
 * and Gimelshein 2018; Ye et al. 2025, "FlashInfer", section 2.2; Dao et al. 2023, "Flash-Decoding").
 *
 *   parts_output  [parts, batch, heads, q_len, value_dim]  the outputs of attention over the parts, dense
 *   part_lse      [parts, batch, heads, q_len]  f32        their lse, natural logarithms, dense
 *   output        [batch, heads, q_len, value_dim]
 *
 *   lse[b,h,i]    = ln(sum over k of e^part_lse[k,b,h,i])
 *   output[b,h,i] = sum over k of e^(part_lse[k,b,h,i] - lse[b,h,i]) * parts_output[k,b,h,i]
 *
 * A part belongs to any set of keys, on any device, as long as no two parts share a key; a sink goes to one part only.
 * A part whose lse is -inf, one that saw no key, is left out whatever its output holds, NaN too. Where all are left
 * out, or there are no parts, the output is 0 and lse -inf. A part whose lse is +inf has all the weight: the output is
 * that part's, and lse +inf; where several parts have it, nothing says how their weights compare, and the output is
 * NaN. Otherwise NaN in an lse reaches the whole row, and NaN or Inf in an output its own column. What was merged can
 * be merged again.
 *
 * To compute the parts: the positions of a part's keys are those in the whole, so give CLATTN_ALIGN_OFFSET and as a
 * run's offset the first query's position less the part's first key; bottom-right fits only the part that ends with the
 * last key. With paged keys the parts of all batches take one plan, in any alignment, if the block table of each has -1
 * in place of the other parts' blocks. Where a plan has sinks, -inf leaves them out of all parts but one.
 *
 * Dense means by the descriptor's parts and q_len, also in a run with fewer of them. What the merge itself adds to the
 * error of the parts is at most (eps_out + 4 eps32 (1 + sqrt(parts) / 16)) sum_k w_k |parts_output[k]|, and for lse
 * 4 eps32 (1 + |lse|); whatever they hold, up to 2^24 of them, (eps_out + 2^-16) sum_k w_k |parts_output[k]|.
 */
typedef struct clattn_merge_desc {
    size_t struct_size;
    int64_t batch;
    int64_t heads;
    int64_t q_len;
    int64_t value_dim;    /* at least 1 */
    int64_t parts;        /* the most that any run has; may be 0 */
    clattn_dtype part;    /* of parts_output: F32, F16 or BF16 */
    clattn_layout output; /* F32, F16 or BF16 over [batch, heads, q_len, value_dim] */
    int lse;              /* not 0: a run also writes lse, [batch, heads, q_len] f32 dense */
} clattn_merge_desc;

typedef struct clattn_merge_args {
    size_t struct_size;
    int64_t q_len; /* at most the plan's; 0: none */
    int64_t parts; /* at most the plan's; 0: none */
    clattn_buffer parts_output;
    clattn_buffer part_lse;
    clattn_buffer output;
    clattn_buffer lse;
} clattn_merge_args;

static inline void clattn_merge_desc_init(clattn_merge_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

static inline void clattn_merge_args_init(clattn_merge_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->parts, CLATTN_NULL);
}

CLATTN_API clattn_status clattn_merge_plan_create(clattn_context *context, const clattn_merge_desc *desc,
                                                  clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_merge_run(clattn_plan *plan, cl_command_queue queue, const clattn_merge_args *args,
                                          cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                          clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
