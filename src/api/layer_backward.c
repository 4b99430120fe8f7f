/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of the multi-head layer: validate, make the parts, run. */
#include "api/entry.h"
#include "ops/layer/layer.h"
#include "util/error.h"

clattn_status clattn_layer_backward_plan_create(clattn_context *context, const clattn_layer_backward_desc *desc,
                                                clattn_plan **plan, clattn_error *error)
{
    struct cla_layer_backward_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_layer_backward(desc, &problem, error));
    return cla_layer_backward_plan(context, &problem, desc->variant, plan, error);
}

clattn_status clattn_layer_backward_run(clattn_plan *plan, cl_command_queue queue,
                                        const clattn_layer_backward_args *args, cl_uint num_events,
                                        const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_layer_backward_args read;
    CLA_TRY(cla_read_args(plan, &cla_layer_backward_operation, args, &read, sizeof read, "clattn_layer_backward_args",
                          error));
    struct cla_run run = {.lengths = {.q_len = read.q_len, .kv_len = read.kv_len}};
    if (plan->problem.layer_inputs == CLATTN_LAYER_SELF)
        run.lengths.kv_len = read.q_len;
    if (plan->problem.semantics.alignment == CLATTN_ALIGN_OFFSET)
        run.lengths.offset = read.offset;
    run.dropout =
        (struct cla_dropout){read.dropout_seed_set != 0, read.dropout_seed, read.dropout_offset, read.dropout_batch};
    run.buffer[CLA_INPUT] = read.input;
    run.buffer[CLA_CONTEXT] = read.context;
    run.buffer[CLA_W_Q] = read.w_q;
    run.buffer[CLA_W_K] = read.w_k;
    run.buffer[CLA_W_V] = read.w_v;
    run.buffer[CLA_W_O] = read.w_o;
    run.buffer[CLA_W_QKV] = read.w_qkv;
    run.buffer[CLA_KEPT] = read.kept;
    run.buffer[CLA_MASK] = read.mask;
    run.buffer[CLA_KV_LENGTHS] = read.kv_lengths;
    run.buffer[CLA_LSE] = read.lse;
    run.buffer[CLA_SINKS] = read.sinks;
    run.buffer[CLA_ALIBI_SLOPES] = read.alibi_slopes;
    run.buffer[CLA_RELATIVE_BIAS] = read.relative_bias;
    run.buffer[CLA_LAYER_D_OUTPUT] = read.d_output;
    run.buffer[CLA_LAYER_D_LSE] = read.d_lse;
    run.buffer[CLA_LAYER_D_INPUT] = read.d_input;
    run.buffer[CLA_LAYER_D_CONTEXT] = read.d_context;
    run.buffer[CLA_D_W_Q] = read.d_w_q;
    run.buffer[CLA_D_W_K] = read.d_w_k;
    run.buffer[CLA_D_W_V] = read.d_w_v;
    run.buffer[CLA_D_W_O] = read.d_w_o;
    run.buffer[CLA_D_W_QKV] = read.d_w_qkv;
    run.buffer[CLA_D_B_Q] = read.d_b_q;
    run.buffer[CLA_D_B_K] = read.d_b_k;
    run.buffer[CLA_D_B_V] = read.d_b_v;
    run.buffer[CLA_D_B_O] = read.d_b_o;
    run.buffer[CLA_D_B_QKV] = read.d_b_qkv;
    run.buffer[CLA_LAYER_D_MASK] = read.d_mask;
    run.buffer[CLA_LAYER_D_SINKS] = read.d_sinks;
    run.buffer[CLA_LAYER_D_ALIBI_SLOPES] = read.d_alibi_slopes;
    run.buffer[CLA_LAYER_D_RELATIVE_BIAS] = read.d_relative_bias;
    run.workspace = read.workspace;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}
