/* SPDX-License-Identifier: Apache-2.0 */
/* What a run must satisfy before anything is enqueued: lengths within the plan's, buffers that hold their tensors. */
#include "run/plan.h"
#include "util/error.h"
#include "util/size.h"
#include <string.h>

bool cla_run_is_empty(const struct cla_problem *problem, int64_t q_len)
{
    return problem->batch == 0 || problem->q_heads == 0 || q_len == 0;
}

struct cla_tensor cla_run_tensor(const struct cla_problem *problem, enum cla_operand operand, const struct cla_run *run)
{
    struct cla_tensor tensor = problem->tensor[operand];
    switch (operand) {
    case CLA_QUERY:
    case CLA_INPUT:
    case CLA_OUTPUT:
    case CLA_LSE:
        tensor.extent[2] = problem->q_cu_lengths != CLATTN_LENGTHS_NONE ? run->q_total : run->q_len;
        break;
    case CLA_KEY:
    case CLA_VALUE:
    case CLA_CONTEXT:
        if (problem->operation == CLA_OP_APPEND) /* the new ones */
            tensor.extent[2] = run->q_len;
        else if (problem->kv_cu_lengths != CLATTN_LENGTHS_NONE)
            tensor.extent[2] = run->kv_total;
        else if (problem->kv_storage == CLATTN_STORAGE_LINEAR)
            tensor.extent[2] = run->kv_len;
        break;
    case CLA_BLOCK_TABLE:
        tensor.extent[3] = cla_ceil_div(run->kv_len, problem->page_size);
        break;
    case CLA_MASK: /* extents of 1 are repeated, so they are read even where the lengths are 0 or 1 */
        if (tensor.extent[2] > 1 || run->q_len == 0)
            tensor.extent[2] = run->q_len;
        tensor.extent[3] = cla_min(tensor.extent[3], run->kv_len);
        break;
    case CLA_POSITIONS: /* extents of 1 stay: a position for all of a batch */
        tensor.extent[2] = cla_min(tensor.extent[2], run->q_len);
        break;
    case CLA_SCORES:
    case CLA_WEIGHTS:
        tensor.extent[2] = run->q_len;
        tensor.extent[3] = run->kv_len;
        break;
    case CLA_PARTS:
    case CLA_PART_LSE:
        tensor.extent[0] = run->kv_len;
        tensor.extent[2] = run->q_len;
        break;
    default:
        break;
    }
    tensor.span = 1;
    for (int d = 0; d < 4; d++) {
        if (tensor.extent[d] == 0) {
            tensor.span = 0;
            break;
        }
        tensor.span += (tensor.extent[d] - 1) * tensor.stride[d];
    }
    return tensor;
}

/* An operand where it lies: `start` counts bytes from the beginning of `root`, the memory object behind sub-buffers. */
struct placed {
    struct cla_tensor tensor;
    cl_mem root;
    int64_t start;
};

static clattn_status mem_info(cl_mem mem, cl_mem_info what, size_t size, void *value, const char *name,
                              clattn_error *error)
{
    cl_int code = clGetMemObjectInfo(mem, what, size, value, NULL);
    if (code == CL_INVALID_MEM_OBJECT)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER, "buffer %s is not a valid cl_mem", name);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetMemObjectInfo");
    return CLATTN_SUCCESS;
}

/* Checks that `buffer` can hold `bytes` bytes of elements of `element_size` bytes and finds out where it lies. */
static clattn_status check_buffer(const clattn_plan *plan, const clattn_buffer *buffer, const char *name, int64_t bytes,
                                  size_t alignment, struct placed *placed, clattn_error *error)
{
    if (buffer->kind != CLATTN_BUFFER_CL_MEM)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER, "buffer %s has kind %d: expected CLATTN_BUFFER_CL_MEM (0)",
                        name, (int)buffer->kind);
    if (buffer->mem == NULL)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER, "buffer %s is missing: expected at least %lld bytes", name,
                        (long long)bytes);
    cl_mem_object_type type = 0;
    cl_mem_flags flags = 0;
    cl_context context = NULL;
    size_t size = 0;
    size_t sub_offset = 0;
    cl_mem parent = NULL;
    CLA_TRY(mem_info(buffer->mem, CL_MEM_TYPE, sizeof type, &type, name, error));
    CLA_TRY(mem_info(buffer->mem, CL_MEM_FLAGS, sizeof flags, &flags, name, error));
    CLA_TRY(mem_info(buffer->mem, CL_MEM_CONTEXT, sizeof(cl_context), &context, name, error));
    CLA_TRY(mem_info(buffer->mem, CL_MEM_SIZE, sizeof size, &size, name, error));
    CLA_TRY(mem_info(buffer->mem, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(cl_mem), &parent, name, error));
    const cl_mem_flags unfit = placed->tensor.written ? CL_MEM_READ_ONLY : CL_MEM_WRITE_ONLY;
    if ((flags & unfit) != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                        "buffer %s was created %s: expected one that kernels can %s", name,
                        placed->tensor.written ? "CL_MEM_READ_ONLY" : "CL_MEM_WRITE_ONLY",
                        placed->tensor.written ? "write" : "read");
    if (type != CL_MEM_OBJECT_BUFFER)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER, "buffer %s is an image or a pipe: expected a buffer", name);
    if (context != plan->context->cl_ctx)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER, "buffer %s belongs to another cl_context than the plan",
                        name);
    if (parent != NULL)
        CLA_TRY(mem_info(buffer->mem, CL_MEM_OFFSET, sizeof sub_offset, &sub_offset, name, error));
    if (buffer->offset % alignment != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                        "buffer %s has offset %zu: expected a multiple of %zu bytes", name, buffer->offset, alignment);
    if (buffer->offset > size || (uint64_t)bytes > (uint64_t)(size - buffer->offset))
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                        "buffer %s has %zu bytes: expected at least %lld from offset %zu on", name, size,
                        (long long)bytes, buffer->offset);
    placed->root = parent != NULL ? parent : buffer->mem;
    placed->start = (int64_t)(sub_offset + buffer->offset);
    return CLATTN_SUCCESS;
}

/*
 * Working in place is the one way in which an output may share bytes with an operand: these operations read an element
 * before writing it.
 */
static bool is_in_place(enum cla_operation operation, const struct placed *out, enum cla_operand output,
                        const struct placed *in, enum cla_operand input)
{
    const bool pair = operation == CLA_OP_SOFTMAX ? output == CLA_WEIGHTS && input == CLA_SCORES
                      : operation == CLA_OP_ROTARY || operation == CLA_OP_SINUSOIDAL
                          ? output == CLA_OUTPUT && input == CLA_INPUT
                          : false;
    return pair && out->start == in->start && out->tensor.dtype == in->tensor.dtype &&
           memcmp(out->tensor.stride, in->tensor.stride, sizeof in->tensor.stride) == 0 &&
           memcmp(out->tensor.extent, in->tensor.extent, sizeof in->tensor.extent) == 0;
}

static clattn_status check_sharing(const clattn_plan *plan, const struct placed placed[CLA_NUM_OPERANDS],
                                   clattn_error *error)
{
    for (int out = 0; out < CLA_NUM_OPERANDS; out++) {
        if (placed[out].root == NULL || !placed[out].tensor.written)
            continue;
        for (int other = 0; other < CLA_NUM_OPERANDS; other++) {
            const struct placed *a = &placed[out];
            const struct placed *b = &placed[other];
            if (other == out || b->root != a->root ||
                is_in_place(plan->problem.operation, a, (enum cla_operand)out, b, (enum cla_operand)other))
                continue;
            if (cla_tensors_overlap(&a->tensor, a->start, &b->tensor, b->start))
                return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                                "buffer %s shares bytes with %s: expected outputs apart from every other operand",
                                cla_operand_string((enum cla_operand)out), cla_operand_string((enum cla_operand)other));
        }
    }
    return CLATTN_SUCCESS;
}

/* The workspace is written and read during the run, so nothing else may lie in it. */
static clattn_status check_workspace(const clattn_plan *plan, const struct cla_run *run,
                                     const struct placed placed[CLA_NUM_OPERANDS], clattn_error *error)
{
    if (plan->workspace_size == 0 || run->workspace.mem == NULL)
        return CLATTN_SUCCESS;
    struct placed space = {.tensor = {.element_size = 1,
                                      .extent = {1, 1, 1, (int64_t)plan->workspace_size},
                                      .stride = {0, 0, 0, 1},
                                      .span = (int64_t)plan->workspace_size}};
    CLA_TRY(check_buffer(plan, &run->workspace, "workspace", (int64_t)plan->workspace_size, 256, &space, error));
    for (int other = 0; other < CLA_NUM_OPERANDS; other++) {
        if (placed[other].root == space.root &&
            cla_tensors_overlap(&space.tensor, space.start, &placed[other].tensor, placed[other].start))
            return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                            "buffer workspace shares bytes with %s: expected it apart from every operand",
                            cla_operand_string((enum cla_operand)other));
    }
    return CLATTN_SUCCESS;
}

static clattn_status check_length(const char *name, int64_t length, int64_t most, clattn_error *error)
{
    if (length < 0 || length > most)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %lld: expected 0 to the plan's %lld", name,
                        (long long)length, (long long)most);
    return CLATTN_SUCCESS;
}

/* What the arguments of an operation call the q_len and the kv_len of a run. */
static const struct {
    const char *q_len, *kv_len;
} length_names[] = {
    [CLA_OP_ATTENTION] = {"q_len", "kv_len"}, [CLA_OP_SCORES] = {"q_len", "kv_len"},
    [CLA_OP_SOFTMAX] = {"q_len", "kv_len"},   [CLA_OP_WEIGHTED_SUM] = {"q_len", "kv_len"},
    [CLA_OP_MERGE] = {"q_len", "parts"},      [CLA_OP_APPEND] = {"length", "capacity"},
    [CLA_OP_ROTARY] = {"length", "kv_len"},   [CLA_OP_SINUSOIDAL] = {"length", "kv_len"},
    [CLA_OP_LINEAR] = {"length", "kv_len"},   [CLA_OP_LAYER] = {"q_len", "kv_len"},
};

/* Where tokens stand at offset + i, far from overflow and, with tables, in these. */
static clattn_status check_offset(const struct cla_problem *problem, const struct cla_run *run, clattn_error *error)
{
    const struct cla_tensor *table = &problem->tensor[CLA_COS];
    const bool uniform = problem->operation == CLA_OP_ROTARY || problem->operation == CLA_OP_SINUSOIDAL;
    if (!uniform || problem->tensor[CLA_POSITIONS].present)
        return CLATTN_SUCCESS;
    const int64_t least = table->present ? 0 : -CLA_UNBOUNDED / 2;
    const int64_t greatest = table->present ? table->extent[2] - run->q_len : CLA_UNBOUNDED / 2;
    if (table->present && greatest < 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "length is %lld: expected at most table_length (%lld)",
                        (long long)run->q_len, (long long)table->extent[2]);
    if (run->offset < least || run->offset > greatest)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "offset is %lld: expected %lld to %lld%s",
                        (long long)run->offset, (long long)least, (long long)greatest,
                        table->present ? ", table_length less the length" : "");
    return CLATTN_SUCCESS;
}

clattn_status cla_run_check(const clattn_plan *plan, struct cla_run *run, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    CLA_TRY(check_length(length_names[problem->operation].q_len, run->q_len, problem->q_len, error));
    CLA_TRY(check_length(length_names[problem->operation].kv_len, run->kv_len, problem->kv_len, error));
    CLA_TRY(check_length("q_total", run->q_total, problem->q_total, error));
    CLA_TRY(check_length("kv_total", run->kv_total, problem->kv_total, error));
    if (problem->kv_storage == CLATTN_STORAGE_CIRCULAR && run->kv_len != problem->kv_len)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "kv_len is %lld: expected the plan's %lld, the capacity of the circular cache",
                        (long long)run->kv_len, (long long)problem->kv_len);
    CLA_TRY(check_offset(problem, run, error));
    if (cla_run_is_empty(problem, run->q_len))
        return CLATTN_SUCCESS;
    struct placed placed[CLA_NUM_OPERANDS];
    memset(placed, 0, sizeof placed);
    for (int o = 0; o < CLA_NUM_OPERANDS; o++) {
        enum cla_operand operand = (enum cla_operand)o;
        struct placed *p = &placed[o];
        if (problem->tensor[o].present)
            p->tensor = cla_run_tensor(problem, operand, run);
        if (p->tensor.span == 0) {
            run->buffer[o] = (clattn_buffer){0};
            continue;
        }
        CLA_TRY(check_buffer(plan, &run->buffer[o], cla_operand_string(operand),
                             p->tensor.span * p->tensor.element_size, p->tensor.element_size, p, error));
    }
    CLA_TRY(check_sharing(plan, placed, error));
    return check_workspace(plan, run, placed, error);
}
