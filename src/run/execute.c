/* SPDX-License-Identifier: Apache-2.0 */
/* The executor: sets the arguments of every step, enqueues them one after the other, and gives the last event. */
#include "ocl/process.h"
#include "run/plan.h"
#include "util/error.h"
#include "util/size.h"
#include <stdlib.h>

static clattn_status set_arg(cl_kernel kernel, cl_uint index, size_t size, const void *value, clattn_error *error)
{
    cl_int code = clSetKernelArg(kernel, index, size, value);
    return code == CL_SUCCESS ? CLATTN_SUCCESS : cla_fail_cl(error, code, "clSetKernelArg");
}

static clattn_status set_args(const clattn_plan *plan, const struct cla_step *step, const struct cla_run *run,
                              clattn_error *error)
{
    for (cl_uint i = 0; i < step->num_args; i++) {
        struct cla_arg arg = step->args[i];
        const clattn_buffer *buffer =
            arg.kind == CLA_ARG_WORKSPACE || arg.kind == CLA_ARG_PLACE ? &run->workspace : &run->buffer[arg.operand];
        const void *value = &arg.value;
        size_t size = sizeof(cl_int);
        switch (arg.kind) {
        case CLA_ARG_BUFFER:
        case CLA_ARG_WORKSPACE:
            value = &buffer->mem;
            size = sizeof(cl_mem);
            break;
        case CLA_ARG_VIEW: {
            size_t element_size = plan->problem.tensor[arg.operand].element_size;
            arg.value.view.s[0] += (cl_long)(element_size == 0 ? 0 : buffer->offset / element_size);
            for (int d = 0; d < 3 && buffer->strides[3] != 0; d++) /* the run's, checked */
                arg.value.view.s[d + 1] = buffer->strides[d];
            size = sizeof(cl_long4);
            break;
        }
        case CLA_ARG_CONSTANT:
            size = sizeof(cl_mem);
            break;
        case CLA_ARG_PLACE:
            arg.value.view.s[0] += (cl_long)(buffer->offset / sizeof(cl_float)) -
                                   step->first_head * arg.value.view.s[2] - step->first_row * arg.value.view.s[3];
            size = sizeof(cl_long4);
            break;
        case CLA_ARG_SLICE:
            arg.value.i4.s[0] = (cl_int)step->first_head;
            arg.value.i4.s[1] = (cl_int)step->first_row;
            arg.value.i4.s[2] = (cl_int)step->rows;
            arg.value.i4.s[3] = 0;
            size = sizeof(cl_int4);
            break;
        case CLA_ARG_Q_LEN:
            arg.value.i = (cl_int)run->lengths.q_len;
            break;
        case CLA_ARG_KV_LEN:
            arg.value.i = (cl_int)run->lengths.kv_len;
            break;
        case CLA_ARG_Q_TOTAL:
            arg.value.i = (cl_int)run->lengths.q_total;
            break;
        case CLA_ARG_KV_TOTAL:
            arg.value.i = (cl_int)run->lengths.kv_total;
            break;
        case CLA_ARG_OFFSET:
            arg.value.l = cla_clamp(run->lengths.offset, -CLA_UNBOUNDED / 2, CLA_UNBOUNDED / 2);
            size = sizeof(cl_long);
            break;
        case CLA_ARG_DROPOUT_KEY:
            arg.value.u4.s[0] = (cl_uint)run->dropout.seed;
            arg.value.u4.s[1] = (cl_uint)(run->dropout.seed >> 32);
            arg.value.u4.s[2] = (cl_uint)run->dropout.offset;
            arg.value.u4.s[3] = (cl_uint)(run->dropout.offset >> 32);
            size = sizeof(cl_uint4);
            break;
        case CLA_ARG_DROPOUT_VIEW:
            arg.value.view.s[0] = (cl_long)((cl_ulong)run->dropout.batch * (cl_ulong)arg.value.view.s[1]);
            size = sizeof(cl_long4);
            break;
        case CLA_ARG_INT:
            break;
        case CLA_ARG_INT2:
            size = sizeof(cl_int2);
            break;
        case CLA_ARG_LONG:
            size = sizeof(cl_long);
            break;
        case CLA_ARG_FLOAT:
            size = sizeof(cl_float);
            break;
        }
        CLA_TRY(set_arg(step->kernel, i, size, value, error));
    }
    return CLATTN_SUCCESS;
}

/* Kernels number work-groups in 32 bits. */
#define MOST_GROUPS ((int64_t)UINT32_MAX)

/* Work-groups of the first launch: more than 65 535, where PoCL begins to compile a kernel for large counts anew. */
#define WARM_UP_GROUPS 70000

/* Work-groups of a step for these lengths; 0 where it has nothing to do, MOST_GROUPS + 1 where they are too many. */
static int64_t count_groups(const struct cla_step *step, int64_t q_len, int64_t kv_len)
{
    int64_t rows = cla_clamp(q_len - step->first_row, 0, step->rows);
    if (step->packed_heads != 0 && !cla_mul(rows, step->packed_heads, &rows))
        return MOST_GROUPS + 1;
    int64_t key_tiles = step->tile_keys != 0 ? cla_ceil_div(kv_len, step->tile_keys) : 1;
    int64_t groups = step->tile_rows != 0 ? cla_ceil_div(rows, step->tile_rows) : 1;
    if (!cla_mul(groups, key_tiles, &groups) || !cla_mul(groups, step->column_groups, &groups) ||
        !cla_mul(groups, step->heads, &groups))
        return MOST_GROUPS + 1;
    return cla_min(groups, MOST_GROUPS + 1);
}

/* The events that one launch waits for, and whether the launches of a run must be chained by events. */
struct chain {
    bool out_of_order;
    cl_uint num_events;
    const cl_event *wait_list;
    cl_event last; /* owned; NULL before the first launch */
};

/* Enqueues one launch, or a marker where `kernel` is NULL, behind everything before it. */
static clattn_status enqueue(cl_command_queue queue, cl_kernel kernel, size_t groups, size_t group_size,
                             struct chain *chain, bool want_event, clattn_error *error)
{
    cl_event event = NULL;
    bool make_event = want_event || chain->out_of_order;
    cl_uint num_events = chain->last != NULL ? 1 : chain->num_events;
    const cl_event *wait_list = chain->last != NULL ? &chain->last : chain->wait_list;
    size_t global = groups * group_size;
    cl_int code;
    if (kernel != NULL)
        code = clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &group_size, num_events, wait_list,
                                      make_event ? &event : NULL);
    else
        code = clEnqueueMarkerWithWaitList(queue, num_events, wait_list, &event);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, kernel != NULL ? "clEnqueueNDRangeKernel" : "clEnqueueMarkerWithWaitList");
    if (chain->last != NULL)
        clReleaseEvent(chain->last);
    chain->last = event;
    chain->num_events = 0;
    chain->wait_list = NULL;
    return CLATTN_SUCCESS;
}

static clattn_status enqueue_steps(clattn_plan *plan, cl_command_queue queue, const struct cla_run *run,
                                   struct chain *chain, bool want_event, clattn_error *error)
{
    size_t end = plan->num_steps; /* behind the last step that has something to do */
    while (end > 0 && count_groups(&plan->steps[end - 1], run->lengths.q_len, run->lengths.kv_len) == 0)
        end--;
    for (size_t i = 0; i < end; i++) {
        const struct cla_step *step = &plan->steps[i];
        int64_t groups = count_groups(step, run->lengths.q_len, run->lengths.kv_len);
        bool last = i + 1 == end;
        if (groups == 0)
            continue;
        CLA_TRY(set_args(plan, step, run, error));
        CLA_TRY(enqueue(queue, step->kernel, (size_t)groups, step->group_size, chain, want_event && last, error));
    }
    if (end == 0 && want_event)
        return enqueue(queue, NULL, 0, 0, chain, true, error);
    return CLATTN_SUCCESS;
}

static clattn_buffer place_in(clattn_buffer buffer, size_t bytes)
{
    buffer.offset += bytes;
    return buffer;
}

/* The run of a part that goes with a checked run of the whole. */
static struct cla_run run_of_part(const struct cla_part *part, const struct cla_run *whole)
{
    struct cla_run run = *whole;
    if (part->length != CLA_PART_AS_WHOLE) {
        run.lengths.q_len = part->length == CLA_PART_Q_LEN ? whole->lengths.q_len : whole->lengths.kv_len;
        run.lengths.kv_len = 0;
    }
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        const struct cla_link *link = &part->link[o];
        if (!part->plan->problem.tensor[o].present)
            run.buffer[o] = (clattn_buffer){0};
        else
            run.buffer[o] = place_in(link->in_workspace ? whole->workspace : whole->buffer[link->operand], link->place);
    }
    run.workspace = place_in(whole->workspace, part->workspace);
    return run;
}

/* The steps of a plan, or of its parts. The parts are this plan's alone, so its lock is theirs. */
static clattn_status enqueue_plan(clattn_plan *plan, cl_command_queue queue, const struct cla_run *run,
                                  struct chain *chain, bool want_event, clattn_error *error)
{
    if (plan->parts == NULL || cla_problem_is_empty(&plan->problem, run->lengths.q_len))
        return enqueue_steps(plan, queue, run, chain, want_event, error);
    for (size_t i = 0; i < plan->num_parts; i++) {
        const struct cla_part *part = &plan->parts[i];
        const struct cla_run part_run = run_of_part(part, run);
        bool last = i + 1 == plan->num_parts;
        CLA_TRY(enqueue_steps(part->plan, queue, &part_run, chain, want_event && last, error));
    }
    return CLATTN_SUCCESS;
}

static clattn_status check_queue(const clattn_plan *plan, cl_command_queue queue, bool *out_of_order,
                                 clattn_error *error)
{
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_command_queue_properties properties = 0;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof(cl_context), &context, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof(cl_device_id), &device, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (code == CL_INVALID_COMMAND_QUEUE)
        return cla_fail(error, CLATTN_ERROR_INVALID_ARGUMENT, "queue is not a valid cl_command_queue");
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetCommandQueueInfo");
    if (context != plan->context->cl_ctx)
        return cla_fail(error, CLATTN_ERROR_INVALID_ARGUMENT, "queue belongs to another cl_context than the plan");
    while (device != NULL && device != plan->context->device.id)
        CLA_TRY(cla_device_parent(device, &device, error));
    if (device == NULL)
        return cla_fail(error, CLATTN_ERROR_INVALID_ARGUMENT, "queue belongs to another device than the plan");
    *out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    return CLATTN_SUCCESS;
}

/* A workspace of the library's own: released at once after the enqueue, freed by OpenCL when the commands are done. */
static clattn_status make_workspace(const clattn_plan *plan, struct cla_run *run, cl_mem *owned, clattn_error *error)
{
    const bool idle = cla_problem_is_empty(&plan->problem, run->lengths.q_len);
    if (plan->workspace_size == 0 || run->workspace.mem != NULL || idle)
        return CLATTN_SUCCESS;
    cl_int code = CL_SUCCESS;
    *owned = clCreateBuffer(plan->context->cl_ctx, CL_MEM_READ_WRITE, plan->workspace_size, NULL, &code);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clCreateBuffer (workspace)");
    run->workspace = (clattn_buffer){.mem = *owned};
    return CLATTN_SUCCESS;
}

clattn_status cla_plan_run(clattn_plan *plan, cl_command_queue queue, const struct cla_run *given, cl_uint num_events,
                           const cl_event *wait_list, cl_event *event, clattn_error *error)
{
    struct cla_run run = *given;
    struct chain chain = {.num_events = num_events, .wait_list = wait_list};
    cl_mem owned = NULL;
    CLA_TRY(cla_process_check(error));
    CLA_CHECK(queue != NULL, error, "queue is NULL");
    CLA_CHECK((num_events == 0) == (wait_list == NULL), error,
              "wait_list is %s with num_events %u: expected both or none", wait_list == NULL ? "NULL" : "given",
              (unsigned)num_events);
    for (cl_uint i = 0; i < num_events; i++)
        CLA_CHECK(wait_list[i] != NULL, error, "wait_list[%u] is NULL", (unsigned)i);
    CLA_TRY(check_queue(plan, queue, &chain.out_of_order, error));
    CLA_TRY(cla_run_check(plan, &run, error));
    CLA_TRY(make_workspace(plan, &run, &owned, error));

    cla_lock_take(&plan->lock);
    clattn_status status = enqueue_plan(plan, queue, &run, &chain, event != NULL, error);
    cla_lock_give(&plan->lock);

    if (owned != NULL)
        clReleaseMemObject(owned);
    if (status == CLATTN_SUCCESS && event != NULL)
        *event = chain.last;
    else if (chain.last != NULL)
        clReleaseEvent(chain.last);
    return status;
}

clattn_status cla_plan_warm_up(clattn_plan *plan, clattn_error *error)
{
    struct cla_run nothing = {0};
    cl_int code = CL_SUCCESS;
    cl_command_queue queue = clCreateCommandQueue(plan->context->cl_ctx, plan->context->device.id, 0, &code);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clCreateCommandQueue");
    clattn_status status = CLATTN_SUCCESS;
    for (size_t i = 0; i < plan->num_steps && status == CLATTN_SUCCESS; i++) {
        const struct cla_step *step = &plan->steps[i];
        int64_t groups = count_groups(step, plan->problem.q_len, plan->problem.kv_len);
        struct chain chain = {0};
        if (groups > MOST_GROUPS) {
            status = cla_fail(error, CLATTN_ERROR_UNSUPPORTED,
                              "the problem is too large: it takes more than %lld work-groups", (long long)MOST_GROUPS);
            break;
        }
        groups = cla_min(groups, WARM_UP_GROUPS);
        bool again = step->first_head != 0 || step->first_row != 0; /* a further slice: the kernels of the first */
        if (groups == 0 || again)
            continue;
        status = set_args(plan, step, &nothing, error);
        if (status == CLATTN_SUCCESS)
            status = enqueue(queue, step->kernel, (size_t)groups, step->group_size, &chain, false, error);
    }
    code = clFinish(queue);
    if (status == CLATTN_SUCCESS && code != CL_SUCCESS)
        status = cla_fail_cl(error, code, "clFinish (first launch of the kernels)");
    clReleaseCommandQueue(queue);
    return status;
}
