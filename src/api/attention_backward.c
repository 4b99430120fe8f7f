/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of attention: validate, choose, run. */
#include "problem/attention_backward.h"
#include "api/attention_args.h"
#include "api/entry.h"
#include "api/host.h"
#include "util/error.h"
#include "util/struct_size.h"

const char *clattn_attention_backward_variant(size_t index)
{
    return index < cla_attention_backward_registry.count ? cla_attention_backward_registry.variants[index]->name : NULL;
}

size_t clattn_attention_backward_desc_format(const clattn_attention_backward_desc *desc, char *text, size_t size)
{
    struct cla_problem problem;
    if (cla_problem_from_attention_backward(desc, &problem, NULL) == CLATTN_SUCCESS)
        return cla_problem_string(&problem, text, size);
    if (size > 0)
        text[0] = 0;
    return 0;
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
    struct cla_run run = {.lengths = CLA_TAKE_LENGTHS(&plan->problem, &read),
                          .dropout = CLA_TAKE_DROPOUT(&read),
                          .workspace = read.workspace};
    CLA_TAKE_INPUTS(run.buffer, &read);
    run.buffer[CLA_OUTPUT] = read.output;
    run.buffer[CLA_LSE] = read.lse;
    run.buffer[CLA_D_OUTPUT] = read.d_output;
    run.buffer[CLA_D_LSE] = read.d_lse;
    run.buffer[CLA_D_QUERY] = read.d_query;
    run.buffer[CLA_D_KEY] = read.d_key;
    run.buffer[CLA_D_VALUE] = read.d_value;
    run.buffer[CLA_D_MASK] = read.d_mask;
    run.buffer[CLA_D_SINKS] = read.d_sinks;
    run.buffer[CLA_D_ALIBI_SLOPES] = read.d_alibi_slopes;
    run.buffer[CLA_D_RELATIVE_BIAS] = read.d_relative_bias;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}

clattn_status clattn_attention_backward_host(clattn_context *context, const clattn_attention_backward_desc *desc,
                                             const clattn_attention_backward_host_args *args, clattn_error *error)
{
    struct cla_problem problem;
    clattn_attention_backward_host_args read;
    CLA_CHECK(desc != NULL, error, "desc is NULL");
    CLA_TRY(cla_struct_read(args, sizeof read, &read, sizeof read, "clattn_attention_backward_host_args", error));
    CLA_TRY(cla_problem_from_attention_backward(desc, &problem, error));
    struct cla_host_call call = {.dropout = CLA_TAKE_DROPOUT(&read), .apart = true};
    CLA_TAKE_INPUTS(call.input, &read);
    call.input[CLA_OUTPUT] = read.output;
    call.input[CLA_LSE] = read.lse;
    call.input[CLA_D_OUTPUT] = read.d_output;
    call.input[CLA_D_LSE] = read.d_lse;
    call.output[CLA_D_QUERY] = read.d_query;
    call.output[CLA_D_KEY] = read.d_key;
    call.output[CLA_D_VALUE] = read.d_value;
    call.output[CLA_D_MASK] = read.d_mask;
    call.output[CLA_D_SINKS] = read.d_sinks;
    call.output[CLA_D_ALIBI_SLOPES] = read.d_alibi_slopes;
    call.output[CLA_D_RELATIVE_BIAS] = read.d_relative_bias;
    return cla_host_run(context, &problem, &cla_attention_backward_registry, desc->variant, &call, error);
}
