/* SPDX-License-Identifier: Apache-2.0 */
/* Append to a key/value cache: validate, choose, run. */
#include "api/entry.h"
#include "problem/append.h"
#include "util/error.h"

clattn_status clattn_append_plan_create(clattn_context *context, const clattn_append_desc *desc, clattn_plan **plan,
                                        clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_append(desc, &problem, error));
    return cla_choose(context, &problem, &cla_append_registry, NULL, plan, error);
}

/* Where all batches append at one position, that of the arguments; lengths are checked with the buffers. */
static clattn_status check_position(const struct cla_problem *problem, const clattn_append_args *args,
                                    clattn_error *error)
{
    if (args->position < 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "position is %lld: expected 0 or more",
                        (long long)args->position);
    const bool ring = problem->semantics.kv_storage == CLATTN_STORAGE_CIRCULAR;
    const bool refused =
        args->capacity < 0 || args->length < 0 || args->length > problem->q_len || args->capacity > problem->kv_len;
    if (!ring && !refused && args->position > args->capacity - args->length)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "position is %lld and length is %lld: expected a sum of at most the capacity, %lld",
                        (long long)args->position, (long long)args->length, (long long)args->capacity);
    return CLATTN_SUCCESS;
}

clattn_status clattn_append_run(clattn_plan *plan, cl_command_queue queue, const clattn_append_args *args,
                                cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_append_args read;
    CLA_TRY(cla_read_args(plan, &cla_append_operation, args, &read, sizeof read, "clattn_append_args", error));
    const struct cla_problem *problem = &plan->problem;
    struct cla_run run = {.lengths = {.q_len = read.length, .kv_len = read.capacity}};
    if (!problem->tensor[CLA_APPEND_POSITIONS].present) {
        CLA_TRY(check_position(problem, &read, error));
        /* The row is what matters, and an executor may clamp offsets that no tensor can have. */
        run.lengths.offset = problem->semantics.kv_storage == CLATTN_STORAGE_CIRCULAR && problem->kv_len > 0
                                 ? read.position % problem->kv_len
                                 : read.position;
    }
    run.buffer[CLA_KEY] = read.key;
    run.buffer[CLA_VALUE] = read.value;
    run.buffer[CLA_KEY_CACHE] = read.key_cache;
    run.buffer[CLA_VALUE_CACHE] = read.value_cache;
    run.buffer[CLA_APPEND_POSITIONS] = read.positions;
    run.buffer[CLA_BLOCK_TABLE] = read.block_table;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}
