/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of attention: validate, choose, run. */
#include "problem/attention_backward.h"
#include "api/entry.h"
#include "util/error.h"

const char *clattn_attention_backward_variant(size_t index)
{
    return index < cla_attention_backward_registry.count ? cla_attention_backward_registry.variants[index]->name : NULL;
}

clattn_status clattn_attention_backward_plan_create(clattn_context *context, const clattn_attention_backward_desc *desc,
                                                    clattn_plan **plan, clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_attention_backward(desc, &problem, error));
    return cla_choose(context, &problem, &cla_attention_backward_registry, desc->variant, plan, error);
}

clattn_status clattn_attention_backward_run(clattn_plan *plan, cl_command_queue queue,
                                            const clattn_attention_backward_args *args, cl_uint num_events,
                                            const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_attention_backward_args read;
    CLA_TRY(cla_read_args(plan, &cla_attention_backward_operation, args, &read, sizeof read,
                          "clattn_attention_backward_args", error));
    struct cla_run run = {.lengths = {.q_len = read.q_len, .kv_len = read.kv_len}};
    if (plan->problem.semantics.alignment == CLATTN_ALIGN_OFFSET)
        run.lengths.offset = read.offset;
    if (plan->problem.semantics.q_cu_lengths != CLATTN_LENGTHS_NONE)
        run.lengths.q_total = read.q_total;
    if (plan->problem.semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE)
        run.lengths.kv_total = read.kv_total;
    run.dropout =
        (struct cla_dropout){read.dropout_seed_set != 0, read.dropout_seed, read.dropout_offset, read.dropout_batch};
    run.buffer[CLA_QUERY] = read.query;
    run.buffer[CLA_KEY] = read.key;
    run.buffer[CLA_VALUE] = read.value;
    run.buffer[CLA_OUTPUT] = read.output;
    run.buffer[CLA_LSE] = read.lse;
    run.buffer[CLA_MASK] = read.mask;
    run.buffer[CLA_KV_LENGTHS] = read.kv_lengths;
    run.buffer[CLA_Q_CU_LENGTHS] = read.q_cu_lengths;
    run.buffer[CLA_KV_CU_LENGTHS] = read.kv_cu_lengths;
    run.buffer[CLA_SINKS] = read.sinks;
    run.buffer[CLA_ALIBI_SLOPES] = read.alibi_slopes;
    run.buffer[CLA_RELATIVE_BIAS] = read.relative_bias;
    run.buffer[CLA_D_OUTPUT] = read.d_output;
    run.buffer[CLA_D_LSE] = read.d_lse;
    run.buffer[CLA_D_QUERY] = read.d_query;
    run.buffer[CLA_D_KEY] = read.d_key;
    run.buffer[CLA_D_VALUE] = read.d_value;
    run.buffer[CLA_D_MASK] = read.d_mask;
    run.buffer[CLA_D_SINKS] = read.d_sinks;
    run.buffer[CLA_D_ALIBI_SLOPES] = read.d_alibi_slopes;
    run.buffer[CLA_D_RELATIVE_BIAS] = read.d_relative_bias;
    run.workspace = read.workspace;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}
