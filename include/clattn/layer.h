/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands around attention in a model: the linear projection.
 *
 *   linear   output = input weight^T + bias     [batch, length, in_features] -> [batch, length, out_features]
 *
 * Plans, lengths, buffers, events and errors are as in attention.h.
 */
#ifndef CLATTN_LAYER_H
#define CLATTN_LAYER_H

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
 *   - Arithmetic is in f32 for every storage type. Accuracy, element by element, on random inputs: |error| <=
 *     (eps_out + 4 eps32 (1 + sqrt(in_features) / 16)) (sum_k |input_k weight_k| + |bias|), eps_out being 2^-23 for an
 *     output in f32, 2^-10 in f16 and 2^-7 in bf16. Conversions round to nearest even. Results that are subnormal in
 *     the output's type may be off by the smallest normal number.
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
    int64_t length; /* 0 to the plan's; strides stay those of the plan */
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
    clattn_plan_lengths(plan, &args->length, NULL, NULL);
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

#ifdef __cplusplus
}
#endif

#endif
