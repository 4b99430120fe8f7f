/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, and scores, which share its descriptor and arguments: validate, choose, run. */
#include "api/entry.h"
#include "util/error.h"

const char *clattn_attention_variant(size_t index)
{
    return index < cla_attention_registry.count ? cla_attention_registry.variants[index]->name : NULL;
}

clattn_status clattn_attention_plan_create(clattn_context *context, const clattn_attention_desc *desc,
                                           clattn_plan **plan, clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_attention(desc, &problem, error));
    return cla_choose(context, &problem, &cla_attention_registry, desc->variant, plan, error);
}

clattn_status clattn_scores_plan_create(clattn_context *context, const clattn_attention_desc *desc, clattn_plan **plan,
                                        clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_scores(desc, &problem, error));
    return cla_choose(context, &problem, &cla_scores_registry, NULL, plan, error);
}

static clattn_status run(clattn_plan *plan, enum cla_operation operation, cl_command_queue queue,
                         const clattn_attention_args *args, cl_uint num_events, const cl_event *wait_list,
                         cl_event *event, clattn_error *error)
{
    CLA_TRY(cla_check_run(plan, operation, args, sizeof *args, error));
    struct cla_run this_run = {.q_len = args->q_len, .kv_len = args->kv_len, .offset = args->offset};
    this_run.buffer[CLA_QUERY] = args->query;
    this_run.buffer[CLA_KEY] = args->key;
    this_run.buffer[CLA_VALUE] = args->value;
    this_run.buffer[CLA_OUTPUT] = args->output;
    this_run.buffer[CLA_MASK] = args->mask;
    this_run.buffer[CLA_KV_LENGTHS] = args->kv_lengths;
    this_run.buffer[CLA_LSE] = args->lse;
    this_run.buffer[CLA_SCORES] = args->scores;
    this_run.workspace = args->workspace;
    return cla_plan_run(plan, queue, &this_run, num_events, wait_list, event, error);
}

clattn_status clattn_attention_run(clattn_plan *plan, cl_command_queue queue, const clattn_attention_args *args,
                                   cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    return run(plan, CLA_OP_ATTENTION, queue, args, num_events, wait_list, event, error);
}

clattn_status clattn_scores_run(clattn_plan *plan, cl_command_queue queue, const clattn_attention_args *args,
                                cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    return run(plan, CLA_OP_SCORES, queue, args, num_events, wait_list, event, error);
}
