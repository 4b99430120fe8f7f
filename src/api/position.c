/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding and sinusoidal encoding: validate, choose, run. And the slopes of ALiBi, which need no device. */
#include "problem/position.h"
#include "api/entry.h"
#include "util/error.h"
#include <math.h>

clattn_status clattn_rotary_plan_create(clattn_context *context, const clattn_rotary_desc *desc, clattn_plan **plan,
                                        clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_rotary(desc, &problem, error));
    return cla_choose(context, &problem, &cla_rotary_registry, NULL, plan, error);
}

clattn_status clattn_rotary_run(clattn_plan *plan, cl_command_queue queue, const clattn_rotary_args *args,
                                cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_rotary_args read;
    CLA_TRY(cla_read_args(plan, &cla_rotary_operation, args, &read, sizeof read, "clattn_rotary_args", error));
    struct cla_run run = {.lengths = {.q_len = read.length, .offset = read.offset}};
    run.buffer[CLA_TOKENS_IN] = read.input;
    run.buffer[CLA_TOKENS_OUT] = read.output;
    run.buffer[CLA_COS] = read.cos;
    run.buffer[CLA_SIN] = read.sin;
    run.buffer[CLA_POSITIONS] = read.positions;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}

clattn_status clattn_sinusoidal_plan_create(clattn_context *context, const clattn_sinusoidal_desc *desc,
                                            clattn_plan **plan, clattn_error *error)
{
    struct cla_problem problem;
    CLA_TRY(cla_check_plan_create(context, desc, plan, error));
    CLA_TRY(cla_problem_from_sinusoidal(desc, &problem, error));
    return cla_choose(context, &problem, &cla_sinusoidal_registry, NULL, plan, error);
}

clattn_status clattn_sinusoidal_run(clattn_plan *plan, cl_command_queue queue, const clattn_sinusoidal_args *args,
                                    cl_uint num_events, const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    clattn_sinusoidal_args read;
    CLA_TRY(cla_read_args(plan, &cla_sinusoidal_operation, args, &read, sizeof read, "clattn_sinusoidal_args", error));
    struct cla_run run = {.lengths = {.q_len = read.length, .offset = read.offset}};
    run.buffer[CLA_TOKENS_IN] = read.input;
    run.buffer[CLA_TOKENS_OUT] = read.output;
    run.buffer[CLA_POSITIONS] = read.positions;
    return cla_plan_run(plan, queue, &run, num_events, wait_list, event, error);
}

clattn_status clattn_alibi_slopes(int64_t heads, float *slopes, clattn_error *error)
{
    int64_t power = 1; /* of two, the greatest up to heads */
    if (heads < 0 || heads > INT32_MAX)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "heads is %lld: expected 0 to %lld", (long long)heads,
                        (long long)INT32_MAX);
    CLA_CHECK(slopes != NULL || heads == 0, error, "slopes is NULL: expected room for %lld floats", (long long)heads);
    while (2 * power <= heads)
        power *= 2;
    for (int64_t h = 0; h < heads; h++) {
        /* those of 2 * power heads are the halves: 0.5, 1, 1.5, ... of which the first, third, ... follow */
        double step = h < power ? (double)(h + 1) : (double)(h - power) + 0.5;
        slopes[h] = (float)exp2(-8.0 * step / (double)power);
    }
    return CLATTN_SUCCESS;
}
