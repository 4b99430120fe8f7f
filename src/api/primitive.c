/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, weighted sum and merge: validate, choose, run. */
#include "problem/primitive.h"
#include "api/entry.h"
#include "util/error.h"

clattn_status clattn_softmax_plan_create(clattn_context *context, const clattn_softmax_desc *desc, clattn_plan **plan,
                                         clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_softmax(desc, &problem, error));
    return cla_choose(context, &problem, &cla_softmax_registry, NULL, plan, error);
}

clattn_status clattn_softmax_run(clattn_plan *plan, cl_command_queue queue, const clattn_softmax_args *args,
                                 cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_softmax_args read;
    CLA_TRY(cla_read_args(plan, &cla_softmax_operation, args, &read, sizeof read, "clattn_softmax_args", error));
    struct cla_run run = {.lengths = {.q_len = read.q_len, .kv_len = read.kv_len}};
    run.buffer[CLA_SCORES] = read.scores;
    run.buffer[CLA_WEIGHTS] = read.weights;
    run.buffer[CLA_LSE] = read.lse;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}

clattn_status clattn_weighted_sum_plan_create(clattn_context *context, const clattn_weighted_sum_desc *desc,
                                              clattn_plan **plan, clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_weighted_sum(desc, &problem, error));
    return cla_choose(context, &problem, &cla_weighted_sum_registry, NULL, plan, error);
}

clattn_status clattn_weighted_sum_run(clattn_plan *plan, cl_command_queue queue, const clattn_weighted_sum_args *args,
                                      cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                      clattn_error *error)
{
    clattn_weighted_sum_args read;
    CLA_TRY(
        cla_read_args(plan, &cla_weighted_sum_operation, args, &read, sizeof read, "clattn_weighted_sum_args", error));
    struct cla_run run = {.lengths = {.q_len = read.q_len, .kv_len = read.kv_len}};
    run.buffer[CLA_WEIGHTS] = read.weights;
    run.buffer[CLA_VALUE] = read.value;
    run.buffer[CLA_OUTPUT] = read.output;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}

clattn_status clattn_merge_plan_create(clattn_context *context, const clattn_merge_desc *desc, clattn_plan **plan,
                                       clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_merge(desc, &problem, error));
    return cla_choose(context, &problem, &cla_merge_registry, NULL, plan, error);
}

clattn_status clattn_merge_run(clattn_plan *plan, cl_command_queue queue, const clattn_merge_args *args,
                               cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_merge_args read;
    CLA_TRY(cla_read_args(plan, &cla_merge_operation, args, &read, sizeof read, "clattn_merge_args", error));
    struct cla_run run = {.lengths = {.q_len = read.q_len, .kv_len = read.parts}};
    run.buffer[CLA_PARTS] = read.parts_output;
    run.buffer[CLA_PART_LSE] = read.part_lse;
    run.buffer[CLA_OUTPUT] = read.output;
    run.buffer[CLA_LSE] = read.lse;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}
