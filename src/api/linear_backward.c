/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of linear: validate, choose, run. */
#include "problem/linear_backward.h"
#include "api/entry.h"
#include "util/error.h"

const char *clattn_linear_backward_variant(size_t index)
{
    const struct cla_registry *registry = &cla_linear_backward_registry;
    return index < registry->count ? registry->variants[index]->name : NULL;
}

clattn_status clattn_linear_backward_plan_create(clattn_context *context, const clattn_linear_backward_desc *desc,
                                                 clattn_plan **plan, clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_linear_backward(desc, &problem, error));
    return cla_choose(context, &problem, &cla_linear_backward_registry, desc->variant, plan, error);
}

clattn_status clattn_linear_backward_run(clattn_plan *plan, cl_command_queue queue,
                                         const clattn_linear_backward_args *args, cl_uint num_events,
                                         const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_linear_backward_args read;
    CLA_TRY(cla_read_args(plan, &cla_linear_backward_operation, args, &read, sizeof read, "clattn_linear_backward_args",
                          error));
    struct cla_run run = {.lengths.q_len = read.length};
    run.buffer[CLA_LINEAR_INPUT] = read.input;
    run.buffer[CLA_LINEAR_WEIGHT] = read.weight;
    run.buffer[CLA_LINEAR_D_OUTPUT] = read.d_output;
    run.buffer[CLA_LINEAR_D_INPUT] = read.d_input;
    run.buffer[CLA_LINEAR_D_WEIGHT] = read.d_weight;
    run.buffer[CLA_LINEAR_D_BIAS] = read.d_bias;
    run.workspace = read.workspace;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}
