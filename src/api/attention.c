/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, and scores, which share its descriptor and arguments: validate, choose, run. */
#include "api/attention_args.h"
#include "api/entry.h"
#include "api/host.h"
#include "problem/check.h"
#include "problem/dropout.h"
#include "problem/primitive.h"
#include "util/error.h"
#include "util/struct_size.h"

const char *clattn_attention_variant(size_t index)
{
    return index < cla_attention_registry.count ? cla_attention_registry.variants[index]->name : NULL;
}

size_t clattn_attention_desc_format(const clattn_attention_desc *desc, char *text, size_t size)
{
    struct cla_problem problem;
    if (cla_problem_from_attention(desc, &problem, NULL) == CLATTN_SUCCESS)
        return cla_problem_string(&problem, text, size);
    if (size > 0)
        text[0] = 0;
    return 0;
}

clattn_status clattn_dropout_mask(const clattn_attention_desc *desc, uint64_t seed, uint64_t offset, int64_t batch,
                                  int64_t head, int64_t query, int64_t first_key, int64_t count, unsigned char *kept,
                                  clattn_error *error)
{
    struct cla_problem problem;
    const struct cla_dropout dropout = {true, seed, offset, batch};
    CLA_TRY(cla_problem_from_attention(desc, &problem, error));
    CLA_TRY(cla_check_range("batch", batch, 0, INT64_MAX, error));
    CLA_TRY(cla_check_range("head", head, 0, problem.q_heads - 1, error));
    CLA_TRY(cla_check_range("query", query, 0, problem.q_len - 1, error));
    CLA_TRY(cla_check_range("first_key", first_key, 0, problem.kv_len, error));
    CLA_TRY(cla_check_range("count", count, 0, problem.kv_len - first_key, error));
    CLA_CHECK(kept != NULL || count == 0, error, "kept is NULL: expected %lld bytes", (long long)count);
    cla_dropout_mask(&problem, &dropout, cla_dropout_element(&problem, batch, head, query) + (uint64_t)first_key, count,
                     kept);
    return CLATTN_SUCCESS;
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

static clattn_status run(clattn_plan *plan, const struct cla_operation *operation, cl_command_queue queue,
                         const clattn_attention_args *args, cl_uint num_events, const cl_event *wait_list,
                         cl_event *event, clattn_error *error)
{
    clattn_attention_args read;
    CLA_TRY(cla_read_args(plan, operation, args, &read, sizeof read, "clattn_attention_args", error));
    struct cla_run this_run = {.lengths = CLA_TAKE_LENGTHS(&plan->problem, &read),
                               .dropout = CLA_TAKE_DROPOUT(&read),
                               .workspace = read.workspace};
    CLA_TAKE_INPUTS(this_run.buffer, &read);
    this_run.buffer[CLA_BLOCK_TABLE] = read.block_table;
    this_run.buffer[CLA_OUTPUT] = read.output;
    this_run.buffer[CLA_LSE] = read.lse;
    this_run.buffer[CLA_SCORES] = read.scores;
    return cla_plan_run(plan, queue, &this_run, num_events, wait_list, event, error);
}

clattn_status clattn_attention_run(clattn_plan *plan, cl_command_queue queue, const clattn_attention_args *args,
                                   cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    return run(plan, &cla_attention_operation, queue, args, num_events, wait_list, event, error);
}

clattn_status clattn_scores_run(clattn_plan *plan, cl_command_queue queue, const clattn_attention_args *args,
                                cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    return run(plan, &cla_scores_operation, queue, args, num_events, wait_list, event, error);
}

clattn_status clattn_attention_host(clattn_context *context, const clattn_attention_desc *desc,
                                    const clattn_attention_host_args *args, clattn_error *error)
{
    struct cla_problem problem;
    clattn_attention_host_args read;
    CLA_CHECK(desc != NULL, error, "desc is NULL");
    CLA_TRY(cla_struct_read(args, sizeof read, &read, sizeof read, "clattn_attention_host_args", error));
    CLA_TRY(cla_problem_from_attention(desc, &problem, error));
    struct cla_host_call call = {.dropout = CLA_TAKE_DROPOUT(&read)};
    CLA_TAKE_INPUTS(call.input, &read);
    call.input[CLA_BLOCK_TABLE] = read.block_table;
    call.output[CLA_OUTPUT] = read.output;
    call.output[CLA_LSE] = read.lse;
    call.output[CLA_SCORES] = read.scores;
    return cla_host_run(context, &problem, &cla_attention_registry, desc->variant, &call, error);
}
