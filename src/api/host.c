/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention on host arrays: a buffer for every operand, one run, and the outputs read back when everything has
 * succeeded, their elements alone: what lies in the gaps between them may be another thread's.
 */
#include "api/entry.h"
#include "api/host_check.h"
#include "problem/attention.h"
#include "util/error.h"
#include "util/struct_size.h"
#include <stdlib.h>

struct host_run {
    clattn_context *context;
    clattn_plan *plan;
    cl_command_queue queue;
    const void *input[CLA_MAX_OPERANDS];
    void *output[CLA_MAX_OPERANDS];
    size_t bytes[CLA_MAX_OPERANDS]; /* 0: the operand has no elements */
    struct cla_run run;
};

static clattn_status check_pointers(const struct cla_problem *problem, struct host_run *host, clattn_error *error)
{
    bool empty = problem->batch == 0 || problem->q_heads == 0 || problem->q_len == 0;
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        const struct cla_tensor *tensor = &problem->tensor[o];
        if (empty || !tensor->present || tensor->span == 0)
            continue;
        host->bytes[o] = (size_t)tensor->span * tensor->element_size;
        const void *pointer = tensor->written ? host->output[o] : host->input[o];
        CLA_CHECK(pointer != NULL, error, "args.%s is NULL: expected %zu bytes", cla_operand_name(problem, o),
                  host->bytes[o]);
    }
    return CLATTN_SUCCESS;
}

static clattn_status make_buffers(struct host_run *host, clattn_error *error)
{
    const struct clattn_device_info *info = &host->context->device.info;
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (host->bytes[o] == 0)
            continue;
        const bool written = host->plan->problem.tensor[o].written;
        const char *name = cla_operand_name(&host->plan->problem, o);
        if (host->bytes[o] > info->largest_buffer)
            return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                            "%s has %zu bytes: the device allocates at most %llu at once", name, host->bytes[o],
                            (unsigned long long)info->largest_buffer);
        cl_mem_flags flags = written ? CL_MEM_READ_WRITE : CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR;
        cl_int code = CL_SUCCESS;
        /* The cast: clCreateBuffer takes a pointer to non-const even where it only copies. */
        host->run.buffer[o].mem = clCreateBuffer(host->context->cl_ctx, flags, host->bytes[o],
                                                 written ? NULL : (void *)(uintptr_t)host->input[o], &code);
        if (code != CL_SUCCESS)
            return cla_fail_cl(error, code, "clCreateBuffer");
    }
    return CLATTN_SUCCESS;
}

/* The elements of rows first to end - 1. */
static void copy_elements(const struct cla_tensor *tensor, int64_t first, int64_t end, unsigned char *to,
                          const unsigned char *from)
{
    const int64_t *extent = tensor->extent, *stride = tensor->stride;
    for (int64_t b = 0; b < extent[0]; b++)
        for (int64_t h = 0; h < extent[1]; h++)
            for (int64_t i = first; i < end; i++) {
                size_t at = (size_t)(b * stride[0] + h * stride[1] + i * stride[2]) * tensor->element_size;
                memcpy(to + at, from + at, (size_t)extent[3] * tensor->element_size);
            }
}

/* Rows [first, end) of every output: all but those of packed queries that belong to no sequence. */
struct rows {
    int64_t first;
    int64_t end;
};

static struct rows rows_of(const struct host_run *host)
{
    const struct cla_problem *problem = &host->plan->problem;
    const void *cu = host->input[CLA_Q_CU_LENGTHS];
    if (problem->semantics.q_cu_lengths == CLATTN_LENGTHS_NONE || cu == NULL)
        return (struct rows){0, problem->q_len};
    return (struct rows){cla_host_integer(problem, CLA_Q_CU_LENGTHS, cu, 0),
                         cla_host_integer(problem, CLA_Q_CU_LENGTHS, cu, problem->batch)};
}

/* The outputs, read to memory of our own first: the caller's change all or none. */
static clattn_status read_outputs(struct host_run *host, clattn_error *error)
{
    void *staged[CLA_MAX_OPERANDS] = {0};
    const struct rows rows = rows_of(host); /* now: an output may be the array that says it */
    clattn_status status = CLATTN_SUCCESS;
    for (int o = 0; o < CLA_MAX_OPERANDS && status == CLATTN_SUCCESS; o++) {
        if (host->output[o] == NULL || host->bytes[o] == 0)
            continue;
        staged[o] = malloc(host->bytes[o]);
        if (staged[o] == NULL) {
            status = cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu bytes of %s", host->bytes[o],
                              cla_operand_name(&host->plan->problem, o));
            break;
        }
        cl_int code = clEnqueueReadBuffer(host->queue, host->run.buffer[o].mem, CL_TRUE, 0, host->bytes[o], staged[o],
                                          0, NULL, NULL);
        if (code != CL_SUCCESS)
            status = cla_fail_cl(error, code, "clEnqueueReadBuffer");
    }
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (status == CLATTN_SUCCESS && staged[o] != NULL)
            copy_elements(&host->plan->problem.tensor[o], rows.first, rows.end, host->output[o], staged[o]);
        free(staged[o]);
    }
    return status;
}

static clattn_status run_on_device(struct host_run *host, const clattn_attention_desc *desc, clattn_error *error)
{
    cl_int code = CL_SUCCESS;
    cl_event event = NULL;
    cl_int outcome = CL_COMPLETE;
    struct cla_lengths *lengths = &host->run.lengths;
    CLA_TRY(clattn_attention_plan_create(host->context, desc, &host->plan, error));
    CLA_TRY(make_buffers(host, error));
    host->queue = clCreateCommandQueue(host->context->cl_ctx, host->context->device.id, 0, &code);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clCreateCommandQueue");
    clattn_plan_lengths(host->plan, &lengths->q_len, &lengths->kv_len, &lengths->offset);
    clattn_plan_totals(host->plan, &lengths->q_total, &lengths->kv_total);
    CLA_TRY(cla_plan_run(host->plan, host->queue, &host->run, 0, NULL, &event, error));
    code = clWaitForEvents(1, &event);
    clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof outcome, &outcome, NULL);
    clReleaseEvent(event);
    if (code == CL_SUCCESS && outcome < 0)
        code = outcome;
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clWaitForEvents (the run of the plan)");
    return read_outputs(host, error);
}

clattn_status clattn_attention_host(clattn_context *context, const clattn_attention_desc *desc,
                                    const clattn_attention_host_args *args, clattn_error *error)
{
    CLA_CHECK(desc != NULL, error, "desc is NULL");
    clattn_attention_host_args read;
    CLA_TRY(cla_struct_read(args, sizeof read, &read, sizeof read, "clattn_attention_host_args", error));
    struct host_run host = {.context = context};
    host.run.dropout =
        (struct cla_dropout){read.dropout_seed_set != 0, read.dropout_seed, read.dropout_offset, read.dropout_batch};
    host.input[CLA_QUERY] = read.query;
    host.input[CLA_KEY] = read.key;
    host.input[CLA_VALUE] = read.value;
    host.input[CLA_MASK] = read.mask;
    host.input[CLA_KV_LENGTHS] = read.kv_lengths;
    host.input[CLA_BLOCK_TABLE] = read.block_table;
    host.input[CLA_Q_CU_LENGTHS] = read.q_cu_lengths;
    host.input[CLA_KV_CU_LENGTHS] = read.kv_cu_lengths;
    host.input[CLA_SINKS] = read.sinks;
    host.input[CLA_ALIBI_SLOPES] = read.alibi_slopes;
    host.input[CLA_RELATIVE_BIAS] = read.relative_bias;
    host.output[CLA_OUTPUT] = read.output;
    host.output[CLA_LSE] = read.lse;
    host.output[CLA_SCORES] = read.scores;

    struct cla_problem problem;
    CLA_TRY(cla_problem_from_attention(desc, &problem, error));
    CLA_TRY(check_pointers(&problem, &host, error));
    CLA_TRY(cla_check_host_integers(&problem, host.input, error));
    clattn_context *own = NULL;
    if (context == NULL) {
        CLA_TRY(clattn_context_create_default(NULL, NULL, &own, error));
        host.context = own;
    }
    clattn_status status = run_on_device(&host, desc, error);

    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (host.run.buffer[o].mem != NULL)
            clReleaseMemObject(host.run.buffer[o].mem);
    }
    if (host.queue != NULL)
        clReleaseCommandQueue(host.queue);
    clattn_plan_release(host.plan);
    clattn_context_release(own);
    return status;
}
