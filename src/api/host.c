/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run on host arrays: a buffer for every operand, one run, and the outputs read back when everything has succeeded,
 * their elements alone: what lies in the gaps between them may be another thread's.
 */
#include "api/host.h"
#include "api/host_check.h"
#include "util/error.h"
#include <stdlib.h>

struct host_run {
    clattn_context *context;
    const struct cla_problem *problem;
    const struct cla_host_call *call;
    clattn_plan *plan;
    cl_command_queue queue;
    size_t bytes[CLA_MAX_OPERANDS]; /* 0: the operand has no elements */
    struct cla_run run;
};

static const void *array_of(const struct host_run *host, int operand)
{
    return host->problem->tensor[operand].written ? host->call->output[operand] : host->call->input[operand];
}

static clattn_status check_pointers(struct host_run *host, clattn_error *error)
{
    const struct cla_problem *problem = host->problem;
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        const struct cla_tensor *tensor = &problem->tensor[o];
        if (cla_problem_is_empty(problem, problem->q_len) || !tensor->present || tensor->span == 0)
            continue;
        host->bytes[o] = (size_t)tensor->span * tensor->element_size;
        CLA_CHECK(array_of(host, o) != NULL, error, "args.%s is NULL: expected %zu bytes", cla_operand_name(problem, o),
                  host->bytes[o]);
    }
    return CLATTN_SUCCESS;
}

/* Outputs share no bytes with each other, nor with inputs where the call says so. */
static clattn_status check_sharing(const struct host_run *host, clattn_error *error)
{
    const struct cla_problem *problem = host->problem;
    for (int out = 0; out < CLA_MAX_OPERANDS; out++) {
        const struct cla_tensor *output = &problem->tensor[out];
        for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
            const struct cla_tensor *other = &problem->tensor[o];
            if (o == out || !output->written || host->bytes[out] == 0 || host->bytes[o] == 0 ||
                (!other->written && !host->call->apart))
                continue;
            CLA_CHECK(!cla_tensors_overlap(output, (int64_t)(uintptr_t)array_of(host, out), other,
                                           (int64_t)(uintptr_t)array_of(host, o)),
                      error, "args.%s shares bytes with args.%s: expected outputs apart from %s",
                      cla_operand_name(problem, out), cla_operand_name(problem, o),
                      host->call->apart ? "every other operand" : "each other");
        }
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

/* Rows [first, end) of an output: all but those of packed queries or keys that belong to no sequence. */
struct rows {
    int64_t first;
    int64_t end;
};

static struct rows rows_of(const struct host_run *host, int output)
{
    const struct cla_problem *problem = host->problem;
    const enum cla_cut cut = problem->operation->operands[output].cut;
    const int says = cut == CLA_CUT_ROWS ? CLA_Q_CU_LENGTHS : CLA_KV_CU_LENGTHS;
    const void *cu = host->call->input[says];
    if ((cut != CLA_CUT_ROWS && cut != CLA_CUT_KEYS) || host->bytes[says] == 0)
        return (struct rows){0, problem->tensor[output].extent[2]};
    return (struct rows){cla_host_integer(problem, says, cu, 0), cla_host_integer(problem, says, cu, problem->batch)};
}

/* What an output holds, for a run that adds to it. */
static clattn_status upload_output(const struct host_run *host, int o, clattn_error *error)
{
    const struct rows rows = rows_of(host, o);
    unsigned char *staged = calloc(host->bytes[o], 1);
    if (staged == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu bytes of %s", host->bytes[o],
                        cla_operand_name(host->problem, o));
    copy_elements(&host->problem->tensor[o], rows.first, rows.end, staged, host->call->output[o]);
    cl_int code =
        clEnqueueWriteBuffer(host->queue, host->run.buffer[o].mem, CL_TRUE, 0, host->bytes[o], staged, 0, NULL, NULL);
    free(staged);
    return code == CL_SUCCESS ? CLATTN_SUCCESS : cla_fail_cl(error, code, "clEnqueueWriteBuffer");
}

static clattn_status make_buffers(struct host_run *host, clattn_error *error)
{
    const struct clattn_device_info *info = &host->context->device.info;
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (host->bytes[o] == 0)
            continue;
        const bool written = host->problem->tensor[o].written;
        const char *name = cla_operand_name(host->problem, o);
        if (host->bytes[o] > info->largest_buffer)
            return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                            "%s has %zu bytes: the device allocates at most %llu at once", name, host->bytes[o],
                            (unsigned long long)info->largest_buffer);
        cl_mem_flags flags = written ? CL_MEM_READ_WRITE : CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR;
        cl_int code = CL_SUCCESS;
        /* The cast: clCreateBuffer takes a pointer to non-const even where it only copies. */
        host->run.buffer[o].mem = clCreateBuffer(host->context->cl_ctx, flags, host->bytes[o],
                                                 written ? NULL : (void *)(uintptr_t)host->call->input[o], &code);
        if (code != CL_SUCCESS)
            return cla_fail_cl(error, code, "clCreateBuffer");
        if (written && host->problem->accumulate)
            CLA_TRY(upload_output(host, o, error));
    }
    return CLATTN_SUCCESS;
}

/* The outputs, read to memory of our own first: the caller's change all or none. */
static clattn_status read_outputs(struct host_run *host, clattn_error *error)
{
    void *staged[CLA_MAX_OPERANDS] = {0};
    struct rows rows[CLA_MAX_OPERANDS] = {{0, 0}};
    clattn_status status = CLATTN_SUCCESS;
    for (int o = 0; o < CLA_MAX_OPERANDS && status == CLATTN_SUCCESS; o++) {
        if (!host->problem->tensor[o].written || host->bytes[o] == 0)
            continue;
        rows[o] = rows_of(host, o); /* now: an output may be the array that says it */
        staged[o] = malloc(host->bytes[o]);
        if (staged[o] == NULL) {
            status = cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu bytes of %s", host->bytes[o],
                              cla_operand_name(host->problem, o));
            break;
        }
        cl_int code = clEnqueueReadBuffer(host->queue, host->run.buffer[o].mem, CL_TRUE, 0, host->bytes[o], staged[o],
                                          0, NULL, NULL);
        if (code != CL_SUCCESS)
            status = cla_fail_cl(error, code, "clEnqueueReadBuffer");
    }
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (status == CLATTN_SUCCESS && staged[o] != NULL)
            copy_elements(&host->problem->tensor[o], rows[o].first, rows[o].end, host->call->output[o], staged[o]);
        free(staged[o]);
    }
    return status;
}

static clattn_status run_on_device(struct host_run *host, const struct cla_registry *registry, const char *variant,
                                   clattn_error *error)
{
    cl_int code = CL_SUCCESS;
    cl_event event = NULL;
    cl_int outcome = CL_COMPLETE;
    struct cla_lengths *lengths = &host->run.lengths;
    CLA_TRY(cla_choose(host->context, host->problem, registry, variant, &host->plan, error));
    host->queue = clCreateCommandQueue(host->context->cl_ctx, host->context->device.id, 0, &code);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clCreateCommandQueue");
    CLA_TRY(make_buffers(host, error));
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

clattn_status cla_host_run(clattn_context *context, const struct cla_problem *problem,
                           const struct cla_registry *registry, const char *variant, const struct cla_host_call *call,
                           clattn_error *error)
{
    struct host_run host = {.context = context, .problem = problem, .call = call};
    host.run.dropout = call->dropout;
    CLA_TRY(check_pointers(&host, error));
    CLA_TRY(check_sharing(&host, error));
    CLA_TRY(cla_check_host_integers(problem, call->input, error));
    clattn_context *own = NULL;
    if (context == NULL) {
        CLA_TRY(clattn_context_create_default(NULL, NULL, &own, error));
        host.context = own;
    }
    clattn_status status = run_on_device(&host, registry, variant, error);

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
