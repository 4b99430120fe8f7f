/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands around attention in a model: the linear projection, and the two together as a multi-head layer.
 *
 *   linear   output = input weight^T + bias     [batch, length, in_features] -> [batch, length, out_features]
 *   layer    projections, attention, projection      [batch, q_len, width] -> [batch, q_len, output_width]
 *
 * Plans, lengths, buffers, events and errors are as in attention.h.
 */
#ifndef CLATTN_LAYER_H
#define CLATTN_LAYER_H

#include <clattn/attention.h>
#include <clattn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- linear --------------------------------------------------------------------------------------------------- */

/*
 * Linear: every row of every batch is multiplied by one matrix, whose rows are the output features, as model files keep
 * projections (W_Q, W_K, W_V and W_O of Vaswani et al. 2017, section 3.2.2; the arguments of PyTorch's linear):
 *
 *   output[b,i,n] = sum over k of input[b,i,k] * weight[n,k] + bias[n]
 *
 *   input   [batch, length, in_features]    weight  [out_features, in_features]
 *   output  [batch, length, out_features]   bias    [out_features]
 *
 * Layouts have four extents; these tensors have 1 in place of the missing ones, whose strides are not used:
 *
 *   input   [batch, 1, length, in_features]    output  [batch, 1, length, out_features]
 *   weight  [1, 1, out_features, in_features]  bias    [out_features], dense
 *
 * Packed projections: with the rows of W_Q, W_K and W_V one below the other in `weight`, one run writes
 * [batch, length, 3 * heads * dim], of which the three are then read where they lie by attention's strides:
 * {length * 3 * heads * dim, dim, 3 * heads * dim, 1} and byte offsets of 0, 1 and 2 times heads * dim elements. The
 * other way round, an output with strides {length * 3 * heads * dim, 0, 3 * heads * dim, 1} is one of the three in such
 * a tensor, and a weight that is a part of a larger one is an offset and a row stride.
 *
 * Promises:
 *
 *   - Arithmetic is in f32 for every storage type. Accuracy, element by element: |error| <= (eps_out + E)
 *     (sum_k |input_k weight_k| + |bias|), eps_out being eps32 = 2^-23 for an output in f32, 2^-10 in f16 and 2^-7 in
 *     bf16. On any inputs of up to 2^24 features E is 2^-16, on random ones also at most 4 eps32 (1 + sqrt(in_features)
 *     / 16). Conversions round to nearest even. Results that are subnormal in
 *     the output's type may be off by the smallest normal number. Where products are made in pairs of bf16 (the variant
 *     dot), elements below 2^-126 count as 0.
 *   - NaN or Inf in a row of the input reaches that row of the output only, in a row of the weight or in an element of
 *     the bias that column only.
 *   - The same plan on the same inputs gives the same bits every time, and a row the same bits whatever the other rows
 *     hold; a run with another length may round differently.
 *   - Every element of the output is written and nothing else is; nothing beyond a view influences a result.
 */
typedef struct clattn_linear_desc {
    size_t struct_size;
    int64_t batch;
    int64_t length;          /* rows a batch, the greatest of any run; may be 0, as batch may */
    int64_t in_features;     /* at least 1 */
    int64_t out_features;    /* at least 1 */
    int bias;                /* not 0: there is one */
    clattn_layout input;     /* dtypes F32, F16 or BF16, each its own */
    clattn_layout weight;    /* strides[0] and strides[1] are not used */
    clattn_dtype bias_dtype; /* F32, F16 or BF16; not read without bias */
    clattn_layout output;    /* no two elements in the same place: each stride covers the extents inside it */
    const char *variant;     /* NULL or "auto": the best one for the device; otherwise this one or UNSUPPORTED. Read
                                during the call only */
} clattn_linear_desc;

/* One run. Buffers may be absent (all zero) where the tensor is not in the plan or has no elements. */
typedef struct clattn_linear_args {
    size_t struct_size;
    int64_t length; /* at most the plan's, 0: none; dense strides stay those of the plan */
    clattn_buffer input;
    clattn_buffer weight;
    clattn_buffer bias;
    clattn_buffer output;
    clattn_buffer workspace; /* as attention's; see clattn_plan_workspace_size */
} clattn_linear_args;

static inline void clattn_linear_desc_init(clattn_linear_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the length to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_linear_args_init(clattn_linear_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->length, CLATTN_NULL, CLATTN_NULL);
}

/* The registry names of the variants of linear, `index` from 0; NULL past the last. */
CLATTN_API const char *clattn_linear_variant(size_t index);

/*
 * Makes a plan, and runs it, as attention's functions do and with their errors: INVALID_ARGUMENT for NULL, a wrong
 * struct_size or a plan that is not linear's; INVALID_VALUE for a size, type or stride that is out of its range, and
 * for a length of a run above the plan's or negative; UNSUPPORTED for a variant that there is not or that cannot;
 * INVALID_BUFFER for a buffer that is missing, too small, misaligned, or an output that shares bytes with an operand.
 */
CLATTN_API clattn_status clattn_linear_plan_create(clattn_context *context, const clattn_linear_desc *desc,
                                                   clattn_plan **plan, clattn_error *error);
CLATTN_API clattn_status clattn_linear_run(clattn_plan *plan, cl_command_queue queue, const clattn_linear_args *args,
                                           cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                           clattn_error *error);

/* ---- multi-head layer ----------------------------------------------------------------------------------------- */

/*
 * The multi-head layer (Vaswani et al. 2017, section 3.2.2): projects, splits into heads, attends, merges the heads,
 * projects back, in one run.
 *
 *   query  = x_q w_q^T + b_q     row i of head h is columns h * head_dim to (h + 1) * head_dim - 1 of row i
 *   key    = x_k w_k^T + b_k     the same with kv_heads
 *   value  = x_v w_v^T + b_v     the same with kv_heads and value_dim
 *   o      = attention(query, key, value), all of attention.h: heads in groups, masks, windows, lengths, sinks, biases
 *   output = [o of head 0, o of head 1, ...] w_o^T + b_o
 *
 *   input   [batch, q_len,  width]                    w_q   [q_heads * head_dim, width of x_q]     b_q   [its rows]
 *   context [batch, kv_len, context_width]            w_k   [kv_heads * head_dim, width of x_k]    b_k   [its rows]
 *   output  [batch, q_len,  output_width]             w_v   [kv_heads * value_dim, width of x_v]   b_v   [its rows]
 *                                                     w_o   [output_width, q_heads * value_dim]    b_o   [output_width]
 *   w_qkv   the rows of w_q, then of w_k, then of w_v, all over the input; b_qkv their biases
 *
 * Layouts of input, context and output have four extents, with a 1 in the place of heads. Weights and biases are dense.
 *
 * Projected tensors are stored as attention's descriptor says, each in its type there, in the workspace. Accuracy is
 * that of the parts: each projection is within linear's bound of what it is given, attention within attention's. A row
 * from which every key is excluded, or with kv_len 0, gives an output of b_o in the output's type, or 0 without biases,
 * exactly, where w_o is finite. A row of the context whose keys and values nobody sees may hold anything, NaN too; one
 * of the input then reaches its own row of the output and no other. The same plan on the same inputs gives the same
 * bits every time.
 */
typedef enum clattn_layer_inputs {
    CLATTN_LAYER_SELF = 0,  /* queries, keys and values from input: self-attention */
    CLATTN_LAYER_CROSS = 1, /* queries from input, keys and values from context, of another length and width */
    CLATTN_LAYER_KEY = 2    /* queries and values from input, keys from context, of the same length (SelfDoc, Li et al.
                               2021: value i belongs to key i) */
} clattn_layer_inputs;

typedef struct clattn_layer_desc {
    size_t struct_size;
    const clattn_attention_desc *attention; /* lengths, heads, dims, semantics, types of the projected tensors, variant;
                                               read during the call only. With SELF and KEY its kv_len is its q_len.
                                               query, key, value and output have strides of 0, the layer lays them out;
                                               LINEAR storage, not ragged; q_heads 1 or more */
    clattn_layer_inputs inputs;
    int64_t width;         /* of input, 1 or more */
    int64_t context_width; /* of context; 0: width. Not read with SELF */
    int64_t output_width;  /* 0: width */
    int packed;            /* not 0, with SELF only: w_qkv and b_qkv in place of three of each, and one projection for
                              all; query, key and value are then of one type */
    int bias;              /* not 0: every projection has one */
    int keep;              /* not 0: a run keeps what its backward pass needs, see backward.h */
    clattn_dtype weight;   /* of every weight and bias: F32, F16 or BF16 */
    clattn_layout input;   /* over [batch, 1, q_len, width]; F32, F16 or BF16, each its own */
    clattn_layout context; /* over [batch, 1, kv_len, context_width]; not read with SELF */
    clattn_layout output;  /* over [batch, 1, q_len, output_width]; no two elements in the same place */
} clattn_layer_desc;

/*
 * One run. Buffers may be absent (all zero) where the tensor is not in the plan or has no elements. A buffer must reach
 * the last element that the run's lengths address.
 */
typedef struct clattn_layer_args {
    size_t struct_size;
    int64_t q_len;  /* at most the plan's; 0: none */
    int64_t kv_len; /* at most the plan's, 0: none. KEY: q_len. Not read with SELF, where it is q_len */
    int64_t offset; /* read with CLATTN_ALIGN_OFFSET: the position of the first query among the keys */
    clattn_buffer input;
    clattn_buffer context;
    clattn_buffer w_q;
    clattn_buffer w_k;
    clattn_buffer w_v;
    clattn_buffer w_o;
    clattn_buffer w_qkv;
    clattn_buffer b_q;
    clattn_buffer b_k;
    clattn_buffer b_v;
    clattn_buffer b_o;
    clattn_buffer b_qkv;
    clattn_buffer output;
    clattn_buffer kept; /* with keep, clattn_layer_kept_size bytes that a run writes and reads; the caller's to hold,
                           one for each run whose backward pass is to come */
    clattn_buffer mask; /* from here on as in clattn_attention_args */
    clattn_buffer kv_lengths;
    clattn_buffer lse;
    clattn_buffer scores;
    clattn_buffer sinks;
    clattn_buffer alibi_slopes;
    clattn_buffer relative_bias;
    clattn_buffer workspace; /* for what is projected and not kept, and the parts; absent: a run allocates it */
    int dropout_seed_set;    /* these four as in clattn_attention_args */
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    int64_t dropout_batch;
} clattn_layer_args;

static inline void clattn_layer_desc_init(clattn_layer_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the lengths and the offset to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_layer_args_init(clattn_layer_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, &args->offset);
}

/*
 * Makes plans for the projections and for attention and joins them into one. On failure *plan is left as it was.
 *
 *   INVALID_ARGUMENT   a NULL pointer, desc->attention too, a wrong struct_size
 *   INVALID_VALUE      a field that is out of its range or contradicts another; what is wrong with the attention
 *                      descriptor is said after "attention: "
 *   UNSUPPORTED        no variant, or not the one that desc->attention->variant names, can compute a part
 *   OUT_OF_DEVICE_MEMORY   the workspace is larger than the device can allocate
 *   BUILD_FAILED, OPENCL, OUT_OF_HOST_MEMORY   as their names say
 *
 * clattn_plan_problem is "layer", the inputs, the widths and the types, then attention's problem string, such as
 * "layer cross 512,768->512:f32:bias b1h8q20k50d64:f16"; clattn_plan_variant is attention's, clattn_plan_name "layer/"
 * and attention's; clattn_plan_describe has after the first line those of the parts, each behind the part's name.
 */
CLATTN_API clattn_status clattn_layer_plan_create(clattn_context *context, const clattn_layer_desc *desc,
                                                  clattn_plan **plan, clattn_error *error);

/*
 * Bytes that a run keeps: the projected query, key and value and attention's output, in their types, and lse in f32
 * unless attention->lse is set, for then the caller has it. 0 without keep, and for a plan that is no layer's or NULL.
 * A plan of the layer's backward pass tells the same.
 */
CLATTN_API size_t clattn_layer_kept_size(const clattn_plan *plan);

/*
 * Enqueues one run as clattn_attention_run does and fails as that does, before anything is enqueued; with KEY also with
 * INVALID_VALUE where kv_len is not q_len. The output, kept, lse and scores share no bytes with any other operand.
 */
CLATTN_API clattn_status clattn_layer_run(clattn_plan *plan, cl_command_queue queue, const clattn_layer_args *args,
                                          cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                          clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
