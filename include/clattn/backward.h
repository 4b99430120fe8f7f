/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass: gradients with respect to the inputs of an operation, from the gradient of its output.
 *
 *   attention   d_query, d_key, d_value, d_mask, d_sinks, d_alibi_slopes, d_relative_bias
 *   linear      d_input = d_output weight    d_weight = d_output^T input    d_bias = column sums of d_output
 *   layer       both, through all of a multi-head layer
 *
 * The gradient of rotary embedding is rotary embedding with `backward`, see position.h. Plans, lengths, buffers, events
 * and errors are as in attention.h.
 */
#ifndef CLATTN_BACKWARD_H
#define CLATTN_BACKWARD_H

#include <clattn/attention.h>
#include <clattn/layer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- attention ------------------------------------------------------------------------------------------------ */

/*
 * The gradients of attention (Dao et al. 2022, "FlashAttention", appendix B.4). Shapes and semantics are attention.h's;
 * x below is the score of a pair after everything that is added to it, c the same after the softcap and before that.
 *
 *   z                = 1, or with dropout 1 / (1 - dropout) where the weight is kept and 0 where it is not
 *   delta[b,h,i]     = d_output[b,h,i] . output[b,h,i] - d_lse[b,h,i]
 *   w                = e^(x - lse[b,h,i]) where query i sees key j, else 0
 *   dx               = w * (z * d_output[b,h,i] . value[b,g,j] - delta[b,h,i])
 *   ds               = dx * (1 - (c / softcap)^2)
 *   d_query[b,h,i]   = scale * sum over j of ds * key[b,g,j]
 *   d_key[b,g,j]     = scale * sum over the h of group g and over i of ds * query[b,h,i]
 *   d_value[b,g,j]   = sum over the h of group g and over i of w * z * d_output[b,h,i]
 *   d_mask[n]        = sum of dx over the pairs (b,h,i,j) to whose scores element n of the mask is added
 *   d_sinks[h]       = - sum over b and i of e^(sinks[h] - lse[b,h,i]) * delta[b,h,i]
 *   d_alibi_slopes[h]     = - sum over b, i and j of |p - j| * dx, p being the query's position; [b,h] by batch
 *   d_relative_bias[h][r] = sum over b, and over i and j with clamp(j - p, -R, R) + R = r, of dx
 *
 * Promises:
 *
 *   - Nothing is added to by two work-items at a time: the same plan on the same inputs gives the same bits every time.
 *   - A query that sees no key has a d_query of exactly 0 and adds nothing to the others, whatever query and d_output
 *     hold there, NaN too. A key that no query of its batch and key/value head sees has a d_key and d_value of
 *     exactly 0, and it and its value may hold anything.
 *   - NaN or Inf in a query that sees some key, or in its d_output, reaches its d_query and what it sees, and may reach
 *     d_key and d_value of other keys of the head, seen or not; in a key that some query sees, or in its value, what
 *     sees it, and may reach d_query of other queries of the head, whatever they see.
 *   - The memory needed beyond the operands is that of delta, 4 bytes a query and head; with the variant `vector` that
 *     of sums of d_query in f32, once where the keys are many, or once for each work-group that shares a head's keys
 *     where heads are few, each for whole tiles of 12 to 48 queries, and twice that where more than 32 sums of at most
 *     512 keys are added up; and that of sums for each head of a batch: 4 bytes a key for a d_mask that has one element
 *     for all queries, 4 bytes a query for one that has one for all keys, as many for d_alibi_slopes, and for
 *     d_relative_bias at most 8 bytes a query, 8 a key, and 3 KiB. It never grows with both lengths.
 *     clattn_plan_workspace_size tells it.
 *   - Accuracy: an element of a gradient is a sum of n terms, whose absolute values add up to M, a term's being the
 *     product of those of its factors, with w (|d_output| . |value| + |d_output| . |output| + |d_lse|) in place of dx.
 *     With A as in attention.h, the largest of the problem, |error| <= (eps + 4 eps32 (2 + A + sqrt(n) / 16)) M on
 *     random inputs, eps being 2^-23 for a gradient in f32, 2^-10 in f16 and 2^-7 in bf16, plus what the rounding of
 *     the forward's stored output does to delta: eps_out w |d_output| . |output| in place of dx.
 *     Elements that are subnormal in their type may be off by its smallest normal number, and weights by 2^-126. Where
 *     all that a query sees has a bias near the least finite number, A is as large, and lse no longer tells between how
 *     many keys the weight is shared: what such a row adds is meaningless, unless its d_output and d_lse are 0, when it
 *     adds 0.
 *   - Every element of a gradient is written, but for rows of no packed sequence, and nothing else is.
 *
 * Which gradients are wanted; at least one. The lengths of a run, what is absent in it, strides and alignment are as in
 * the forward run. An extent of 0 in batch or q_heads makes a run do nothing; with a q_len of 0 all gradients are 0.
 *
 * What lies in one place has one gradient, the sum of all: along an extent that query, key, value or mask repeat by a
 * stride of 0, its gradient has an extent of 1. A key [batch, heads, kv_len, dim] with a head stride of 0 has a d_key
 * [batch, 1, kv_len, dim]. The descriptor says so for every run, whatever strides that brings. Rows of queries, keys or
 * values that lie in one place are refused.
 */
typedef struct clattn_attention_backward_desc {
    size_t struct_size;
    const clattn_attention_desc *attention; /* the forward's, read during the call only. Its lse is set; LINEAR storage.
                                               scores_stage and variant are not read */
    int d_query;                            /* not 0: wanted. So with the next six; at least one */
    int d_key;
    int d_value;
    int d_mask;                    /* needs an additive mask */
    int d_sinks;                   /* f32 [q_heads]; needs sinks */
    int d_alibi_slopes;            /* f32, as alibi_slopes lie: [q_heads] or [batch, q_heads]; needs alibi */
    int d_relative_bias;           /* f32 [q_heads, 2 relative_extent + 1]; needs relative_extent */
    int d_lse;                     /* not 0: a run has d_lse, f32, as lse lies */
    int accumulate;                /* not 0: gradients are added to what their buffers hold, in f32, and rounded once */
    clattn_layout d_output_layout; /* over the extents of output; F32, which _init sets whatever the forward's types
                                      are, F16 or BF16, as the next three */
    clattn_layout d_query_layout;  /* over those of query, but for what repeats, see above; so the next three. Of each
                                      no two elements in the same place */
    clattn_layout d_key_layout;
    clattn_layout d_value_layout;
    clattn_layout d_mask_layout; /* F32 */
    const char *variant; /* NULL or "auto": the best one for the device; otherwise this one or UNSUPPORTED. Read during
                            the call only */
} clattn_attention_backward_desc;

static inline void clattn_attention_backward_desc_init(clattn_attention_backward_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/*
 * The problem string of attention.h, which may say these too, each once:
 *
 *   backward               the gradients of query, key and value
 *   backward=query,sinks   these alone, of query, key, value, mask, sinks, alibi and relative
 *   d_lse    accumulate    with backward
 *
 * parse takes initialised descriptors, resets them and sets what the string says: all tensors dense, gradients in the
 * types of what they are gradients of, lse set, desc->attention pointing to `attention`. A string without `backward`
 * asks for no gradient. format writes as clattn_attention_desc_format does; types of gradients have no place in it.
 */
CLATTN_API clattn_status clattn_attention_backward_desc_parse(const char *problem, clattn_attention_desc *attention,
                                                              clattn_attention_backward_desc *desc,
                                                              clattn_error *error);
CLATTN_API size_t clattn_attention_backward_desc_format(const clattn_attention_backward_desc *desc, char *text,
                                                        size_t size);

/* The registry names of the variants, `index` from 0; NULL past the last. */
CLATTN_API const char *clattn_attention_backward_variant(size_t index);

/*
 * One run: the forward's operands, with what it wrote to output and lse, then those of the backward pass. lse may be
 * that of attention over more keys, of which these are a part, with the output over all of them (clattn_merge gives
 * both): then these are the gradients of the part, and those of all parts add up.
 */
typedef struct clattn_attention_backward_args {
    size_t struct_size;
    int64_t q_len;  /* at most the plan's; 0: none */
    int64_t kv_len; /* at most the plan's; 0: none */
    int64_t offset; /* read with CLATTN_ALIGN_OFFSET */
    int64_t q_total;
    int64_t kv_total;
    clattn_buffer query;
    clattn_buffer key;
    clattn_buffer value;
    clattn_buffer output;
    clattn_buffer lse;
    clattn_buffer mask;
    clattn_buffer kv_lengths;
    clattn_buffer q_cu_lengths;
    clattn_buffer kv_cu_lengths;
    clattn_buffer sinks; /* with d_sinks only */
    clattn_buffer alibi_slopes;
    clattn_buffer relative_bias;
    clattn_buffer d_output;
    clattn_buffer d_lse;
    clattn_buffer d_query;
    clattn_buffer d_key;
    clattn_buffer d_value;
    clattn_buffer d_mask;
    clattn_buffer d_sinks;
    clattn_buffer d_alibi_slopes;
    clattn_buffer d_relative_bias;
    clattn_buffer workspace; /* as attention's */
    uint64_t dropout_seed;   /* the forward run's, as the next three */
    uint64_t dropout_offset;
    int64_t dropout_batch;
    int dropout_seed_set;
} clattn_attention_backward_args;

/* Sets the lengths and the offset to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_attention_backward_args_init(clattn_attention_backward_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, &args->offset);
    clattn_plan_totals(plan, &args->q_total, &args->kv_total);
}

/*
 * Makes a plan, and runs it, as attention's functions do and with their errors. INVALID_VALUE too where nothing is
 * wanted, where the gradient of something is wanted that is not there (a boolean mask has none either), where the
 * forward writes no lse, and for CIRCULAR and PAGED storage: caches are not trained on.
 */
CLATTN_API clattn_status clattn_attention_backward_plan_create(clattn_context *context,
                                                               const clattn_attention_backward_desc *desc,
                                                               clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_attention_backward_run(clattn_plan *plan, cl_command_queue queue,
                                                       const clattn_attention_backward_args *args, cl_uint num_events,
                                                       const cl_event *wait_list, cl_event *event, clattn_error *error);

/* The same operands on the host. Pointers may be NULL where the tensor is not in the plan or has no elements. */
typedef struct clattn_attention_backward_host_args {
    size_t struct_size;
    const void *query;
    const void *key;
    const void *value;
    const void *output; /* what the forward wrote, as lse */
    const float *lse;
    const void *mask;
    const void *kv_lengths;
    const void *q_cu_lengths;
    const void *kv_cu_lengths;
    const float *sinks;
    const float *alibi_slopes;
    const float *relative_bias;
    const void *d_output;
    const float *d_lse;
    void *d_query;
    void *d_key;
    void *d_value;
    float *d_mask;
    float *d_sinks;
    float *d_alibi_slopes;
    float *d_relative_bias;
    uint64_t dropout_seed; /* the forward's, as the next three */
    uint64_t dropout_offset;
    int64_t dropout_batch;
    int dropout_seed_set;
} clattn_attention_backward_host_args;

static inline void clattn_attention_backward_host_args_init(clattn_attention_backward_host_args *args)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
}

/*
 * Does the whole thing on host arrays, as clattn_attention_host does the forward, and refuses the same elements of
 * lengths and cumulative lengths. `context` may be NULL. Gradients change only on success, their elements alone; with
 * `accumulate` they are added to what the arrays hold. Fails as plan_create and run do, but with INVALID_ARGUMENT where
 * a pointer is missing or a gradient shares bytes with any other operand.
 */
CLATTN_API clattn_status clattn_attention_backward_host(clattn_context *context,
                                                        const clattn_attention_backward_desc *desc,
                                                        const clattn_attention_backward_host_args *args,
                                                        clattn_error *error);

/* ---- linear --------------------------------------------------------------------------------------------------- */

/*
 * The gradients of linear as layer.h has it, whose shapes are those of what they are gradients of:
 *
 *   d_input[b,i,k]  = sum over n of d_output[b,i,n] * weight[n,k]
 *   d_weight[n,k]   = sum over b and i of d_output[b,i,n] * input[b,i,k]
 *   d_bias[n]       = sum over b and i of d_output[b,i,n]
 *
 * Promises:
 *
 *   - Arithmetic is in f32 for every storage type. Accuracy, element by element, of a sum of `terms` terms: |error| <=
 *     (eps + E) M, M being the sum of the terms' absolute values, with what is added to. eps is eps32 = 2^-23 for a
 *     gradient in f32, 2^-10 in f16 and 2^-7 in bf16; of up to 2^24 terms E is 2^-16 on any inputs, and on random ones
 *     also at most 4 eps32 (1 + sqrt(terms) / 16). Conversions round to nearest even. Results that are subnormal in the
 *     gradient's type may be off by the smallest normal number.
 *   - NaN or Inf in a row of d_output reaches that row of d_input, in a column of it that row of d_weight and element
 *     of d_bias, in a column of the input or the weight that column of d_weight or d_input, and no other.
 *   - Nothing is added to by two work-items at a time: the same plan on the same inputs gives the same bits every time.
 *     A run with another length may round differently.
 *   - Rows past a run's length count for nothing, whatever they hold. Every element of a gradient is written, of
 *     d_input as far as the length, and nothing else is.
 */
typedef struct clattn_linear_backward_desc {
    size_t struct_size;
    const clattn_linear_desc *linear; /* the forward's, read during the call only. Its sizes, bias, input and weight
                                         count; bias_dtype, output and variant are not read */
    int d_input;                      /* not 0: wanted. So with the next two; at least one */
    int d_weight;
    int d_bias;     /* needs a bias */
    int accumulate; /* not 0: d_weight and d_bias are added to what their buffers hold, in f32, and rounded once */
    int accumulate_input;          /* not 0: so is d_input, as where an input serves several projections */
    clattn_layout d_output_layout; /* over the extents of output; F32, which _init sets, F16 or BF16, as the others */
    clattn_layout d_input_layout;  /* over those of input; of this and the next no two elements in the same place */
    clattn_layout d_weight_layout; /* over those of weight */
    clattn_dtype d_bias_dtype;
    const char *variant; /* NULL or "auto": the best one for the device; otherwise this one or UNSUPPORTED. Read during
                            the call only */
} clattn_linear_backward_desc;

/*
 * One run. Buffers may be absent (all zero) where the tensor is not in the plan or has no elements. With a length of 0,
 * d_weight and d_bias are 0, or what they were; a plan whose batch is 0 does nothing at all.
 */
typedef struct clattn_linear_backward_args {
    size_t struct_size;
    int64_t length;       /* at most the plan's, 0: none; dense strides stay those of the plan */
    clattn_buffer input;  /* with d_weight only */
    clattn_buffer weight; /* with d_input only */
    clattn_buffer d_output;
    clattn_buffer d_input; /* kernels may read it, as the next two: not created CL_MEM_WRITE_ONLY */
    clattn_buffer d_weight;
    clattn_buffer d_bias;
    clattn_buffer workspace; /* as attention's; see clattn_plan_workspace_size */
} clattn_linear_backward_args;

static inline void clattn_linear_backward_desc_init(clattn_linear_backward_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the length to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_linear_backward_args_init(clattn_linear_backward_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->length, CLATTN_NULL, CLATTN_NULL);
}

/* The registry names of the variants, `index` from 0; NULL past the last. */
CLATTN_API const char *clattn_linear_backward_variant(size_t index);

/*
 * Makes a plan, and runs it, as linear's functions do and with their errors. INVALID_ARGUMENT too where desc->linear is
 * NULL, INVALID_VALUE where nothing is wanted or d_bias is and there is no bias; what is wrong with the forward's
 * descriptor is said after "linear: ". A gradient shares no bytes with any other operand.
 */
CLATTN_API clattn_status clattn_linear_backward_plan_create(clattn_context *context,
                                                            const clattn_linear_backward_desc *desc, clattn_plan **plan,
                                                            clattn_error *error);
CLATTN_API clattn_status clattn_linear_backward_run(clattn_plan *plan, cl_command_queue queue,
                                                    const clattn_linear_backward_args *args, cl_uint num_events,
                                                    const cl_event *wait_list, cl_event *event, clattn_error *error);

/* ---- multi-head layer ----------------------------------------------------------------------------------------- */

/*
 * The gradients of the layer of layer.h, by the chain of its parts: the last projection's, attention's, and those of
 * the projections of query, key and value.
 *
 *   d_input     summed over what is projected from input: query with all inputs, key with SELF, value with SELF and KEY
 *   d_context   the same of context: key with CROSS and KEY, value with CROSS
 *   d_w_q ... d_b_qkv              in the shapes of the weights and biases, dense
 *   d_mask, d_sinks, d_alibi_slopes, d_relative_bias    attention's, in its shapes, f32
 *
 * The forward's descriptor has `keep`, and each of its runs leaves in a buffer of clattn_layer_kept_size bytes what the
 * backward run reads: that is for the descriptor's sizes, and not to be looked into. Inputs, weights and what attention
 * reads must be as they were in the forward run, biases of projections are not read.
 *
 * Gradients pass between the parts in f32. Accuracy is that of the parts: each is within its own bound of what it is
 * given. Where d_input or d_context is a sum over several projections, all but the first add to what is there, rounded
 * to its type each time. Rows of input and context, seen or not, must hold finite numbers where a gradient of a weight
 * is wanted, for each takes part in it, if only times 0. The same plan on the same inputs gives the same bits every
 * time. Every element of a gradient is written, of d_input and d_context as far as the run's lengths, and nothing else
 * is.
 */
typedef struct clattn_layer_backward_desc {
    size_t struct_size;
    const clattn_layer_desc *layer; /* the forward's, read during the call only. Its keep is set. Its output's layout
                                       and attention's scores_stage and variant do not count */
    int d_input;                    /* not 0: wanted. So with all up to d_relative_bias; at least one */
    int d_context;                  /* not with SELF */
    int d_w_q;                      /* this and the next two not with packed weights */
    int d_w_k;
    int d_w_v;
    int d_w_o;
    int d_w_qkv; /* with packed weights only */
    int d_b_q;   /* biases: as their weights, and with bias only */
    int d_b_k;
    int d_b_v;
    int d_b_o;
    int d_b_qkv;
    int d_mask; /* these four as in clattn_attention_backward_desc */
    int d_sinks;
    int d_alibi_slopes;
    int d_relative_bias;
    int d_lse;                     /* not 0: a run has d_lse, f32, as lse lies, which the forward gives out */
    int accumulate;                /* not 0: all but the next two are added to what their buffers hold, in f32, and
                                      rounded once */
    int accumulate_inputs;         /* not 0: so are d_input and d_context */
    clattn_dtype d_weight;         /* of the gradients of weights and biases: F32, F16 or BF16 */
    clattn_layout d_output_layout; /* over the extents of output; F32, which _init sets whatever the forward's types
                                      are, F16 or BF16, as the next two */
    clattn_layout d_input_layout;  /* over those of input; of this and the next no two elements in the same place */
    clattn_layout d_context_layout;
    clattn_layout d_mask_layout; /* as in clattn_attention_backward_desc */
    const char *variant;         /* of attention's backward pass. NULL or "auto": the best one for the device; otherwise
                                    this one or UNSUPPORTED. Read during the call only */
} clattn_layer_backward_desc;

/*
 * One run: what the forward run had, kept included, then gradients. Buffers may be absent (all zero) where the tensor
 * is not in the plan, has no elements, or is not read: input and context are, for gradients of the weights over them;
 * weights, for what comes before them; sinks, with d_sinks. With a q_len of 0, gradients of weights and what is added
 * to scores are 0, or what they were; a plan whose batch is 0 does nothing at all.
 */
typedef struct clattn_layer_backward_args {
    size_t struct_size;
    int64_t q_len; /* the forward run's, as the next two */
    int64_t kv_len;
    int64_t offset;
    clattn_buffer input;
    clattn_buffer context;
    clattn_buffer w_q;
    clattn_buffer w_k;
    clattn_buffer w_v;
    clattn_buffer w_o;
    clattn_buffer w_qkv;
    clattn_buffer kept;
    clattn_buffer mask;
    clattn_buffer kv_lengths;
    clattn_buffer lse; /* where the forward gave it out */
    clattn_buffer sinks;
    clattn_buffer alibi_slopes;
    clattn_buffer relative_bias;
    clattn_buffer d_output;
    clattn_buffer d_lse;
    clattn_buffer d_input; /* kernels may read the gradients: none was created CL_MEM_WRITE_ONLY */
    clattn_buffer d_context;
    clattn_buffer d_w_q;
    clattn_buffer d_w_k;
    clattn_buffer d_w_v;
    clattn_buffer d_w_o;
    clattn_buffer d_w_qkv;
    clattn_buffer d_b_q;
    clattn_buffer d_b_k;
    clattn_buffer d_b_v;
    clattn_buffer d_b_o;
    clattn_buffer d_b_qkv;
    clattn_buffer d_mask;
    clattn_buffer d_sinks;
    clattn_buffer d_alibi_slopes;
    clattn_buffer d_relative_bias;
    clattn_buffer workspace; /* as the layer's */
    int dropout_seed_set;    /* the forward run's, as the next three */
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    int64_t dropout_batch;
} clattn_layer_backward_args;

static inline void clattn_layer_backward_desc_init(clattn_layer_backward_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the lengths and the offset to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_layer_backward_args_init(clattn_layer_backward_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, &args->offset);
}

/*
 * Makes a plan, and runs it, as the layer's functions do and with their errors. INVALID_ARGUMENT too where desc->layer
 * is NULL, INVALID_VALUE where its keep is 0, where nothing is wanted, and where the gradient of something is that the
 * layer does not have; what is wrong with the forward's descriptor is said after "layer: ". A gradient shares no bytes
 * with any other operand.
 *
 * clattn_plan_problem is "layer_backward", types and gradients, then the layer's problem string; clattn_plan_variant is
 * that of attention's backward pass, clattn_plan_name "layer_backward/" and its name; where only gradients by w_o and
 * b_o are wanted, those of the last projection.
 */
CLATTN_API clattn_status clattn_layer_backward_plan_create(clattn_context *context,
                                                           const clattn_layer_backward_desc *desc, clattn_plan **plan,
                                                           clattn_error *error);
CLATTN_API clattn_status clattn_layer_backward_run(clattn_plan *plan, cl_command_queue queue,
                                                   const clattn_layer_backward_args *args, cl_uint num_events,
                                                   const cl_event *wait_list, cl_event *event, clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
