/* SPDX-License-Identifier: Apache-2.0 */
/* What a run must satisfy before anything is enqueued: lengths within the plan's, buffers that hold their tensors. */
#include "run/plan.h"
#include "util/error.h"
#include <string.h>

/* An operand where it lies: `start` counts bytes from the beginning of `root`, the memory object behind sub-buffers. */
struct placed {
    struct cla_tensor tensor;
    cl_mem_flags unfit; /* that its memory object must not have */
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
    if ((flags & placed->unfit & CL_MEM_READ_ONLY) != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                        "buffer %s was created CL_MEM_READ_ONLY: expected one that kernels can write", name);
    if ((flags & placed->unfit & CL_MEM_WRITE_ONLY) != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                        "buffer %s was created CL_MEM_WRITE_ONLY: expected one that kernels can read", name);
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

/* Strides along extents of 1 are not used. */
static bool lie_alike(const struct cla_tensor *a, const struct cla_tensor *b)
{
    for (int d = 0; d < 4; d++) {
        if (a->extent[d] != b->extent[d] || (a->extent[d] > 1 && a->stride[d] != b->stride[d]))
            return false;
    }
    return true;
}

/* Working in place is the one way in which an output may share bytes with an operand. */
static bool is_in_place(const struct cla_operation *operation, int output, const struct placed *out, int input,
                        const struct placed *in)
{
    const bool pair = output != input && output == operation->in_place.output && input == operation->in_place.input;
    return pair && out->start == in->start && out->tensor.dtype == in->tensor.dtype &&
           lie_alike(&out->tensor, &in->tensor);
}

static clattn_status check_sharing(const clattn_plan *plan, const struct placed placed[CLA_MAX_OPERANDS],
                                   clattn_error *error)
{
    for (int out = 0; out < CLA_MAX_OPERANDS; out++) {
        if (placed[out].root == NULL || !placed[out].tensor.written)
            continue;
        for (int other = 0; other < CLA_MAX_OPERANDS; other++) {
            const struct placed *a = &placed[out];
            const struct placed *b = &placed[other];
            if (other == out || b->root != a->root || is_in_place(plan->problem.operation, out, a, other, b))
                continue;
            if (cla_tensors_overlap(&a->tensor, a->start, &b->tensor, b->start))
                return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                                "buffer %s shares bytes with %s: expected outputs apart from every other operand",
                                cla_operand_name(&plan->problem, out), cla_operand_name(&plan->problem, other));
        }
    }
    return CLATTN_SUCCESS;
}

/* The workspace is written and read during the run, so nothing else may lie in it. */
static clattn_status check_workspace(const clattn_plan *plan, const struct cla_run *run,
                                     const struct placed placed[CLA_MAX_OPERANDS], clattn_error *error)
{
    static const int64_t none[4] = {0};
    if (memcmp(run->workspace.strides, none, sizeof none) != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "workspace.strides are given: expected 0, it is no tensor");
    if (plan->workspace_size == 0 || run->workspace.mem == NULL)
        return CLATTN_SUCCESS;
    struct placed space = {.tensor = {.element_size = 1,
                                      .extent = {1, 1, 1, (int64_t)plan->workspace_size},
                                      .stride = {0, 0, 0, 1},
                                      .span = (int64_t)plan->workspace_size},
                           .unfit = CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY};
    CLA_TRY(check_buffer(plan, &run->workspace, "workspace", (int64_t)plan->workspace_size, 256, &space, error));
    for (int other = 0; other < CLA_MAX_OPERANDS; other++) {
        if (placed[other].root == space.root &&
            cla_tensors_overlap(&space.tensor, space.start, &placed[other].tensor, placed[other].start))
            return cla_fail(error, CLATTN_ERROR_INVALID_BUFFER,
                            "buffer workspace shares bytes with %s: expected it apart from every operand",
                            cla_operand_name(&plan->problem, other));
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

/*
 * Lays an operand out as the run's strides say, where it has some, and leaves in them what kernels are given: those of
 * extents of 1 are 0.
 */
static clattn_status take_strides(const clattn_plan *plan, int operand, clattn_buffer *buffer,
                                  struct cla_tensor *tensor, clattn_error *error)
{
    static const int64_t none[4] = {0};
    const char *name = cla_operand_name(&plan->problem, operand);
    if (memcmp(buffer->strides, none, sizeof none) == 0)
        return CLATTN_SUCCESS;
    if ((plan->problem.operation->operands[operand].flags & CLA_STRIDED) == 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "%s.strides are given: expected 0, this operand is dense in every run", name);
    if (cla_plan_strides_are_fixed(plan, operand))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "%s.strides are given: expected 0, the kernels of this plan are built for the descriptor's",
                        name);
    CLA_TRY(cla_tensor_lay_out(tensor, buffer->strides, name, error));
    memcpy(buffer->strides, tensor->stride, sizeof tensor->stride);
    buffer->strides[3] = 1; /* they are given, whatever the others are */
    return CLATTN_SUCCESS;
}

static clattn_status check_dropout(const struct cla_problem *problem, const struct cla_dropout *dropout,
                                   clattn_error *error)
{
    if (problem->semantics.dropout == 0.0f)
        return CLATTN_SUCCESS;
    if (!dropout->seeded)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "dropout_seed is missing, dropout_seed_set is 0: expected a seed, the plan has dropout %g",
                        (double)problem->semantics.dropout);
    if (dropout->batch < 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "dropout_batch is %lld: expected 0 or more",
                        (long long)dropout->batch);
    return CLATTN_SUCCESS;
}

clattn_status cla_run_check(const clattn_plan *plan, struct cla_run *run, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_operation *operation = problem->operation;
    const struct cla_lengths *lengths = &run->lengths;
    CLA_TRY(check_length(operation->q_len, lengths->q_len, problem->q_len, error));
    CLA_TRY(check_length(operation->kv_len, lengths->kv_len, problem->kv_len, error));
    CLA_TRY(check_length("q_total", lengths->q_total, problem->semantics.q_total, error));
    CLA_TRY(check_length("kv_total", lengths->kv_total, problem->semantics.kv_total, error));
    if (operation->check_lengths != NULL)
        CLA_TRY(operation->check_lengths(problem, lengths, error));
    CLA_TRY(check_dropout(problem, &run->dropout, error));
    if (cla_problem_is_empty(problem, lengths->q_len))
        return CLATTN_SUCCESS;
    struct placed placed[CLA_MAX_OPERANDS];
    memset(placed, 0, sizeof placed);
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        struct placed *p = &placed[o];
        if (problem->tensor[o].present) {
            p->tensor = cla_problem_cut(problem, o, lengths);
            CLA_TRY(take_strides(plan, o, &run->buffer[o], &p->tensor, error));
        }
        if (p->tensor.span == 0) {
            run->buffer[o] = (clattn_buffer){0};
            continue;
        }
        p->unfit = p->tensor.written ? CL_MEM_READ_ONLY : CL_MEM_WRITE_ONLY;
        if ((operation->operands[o].flags & CLA_READ_BACK) != 0)
            p->unfit |= CL_MEM_WRITE_ONLY;
        CLA_TRY(check_buffer(plan, &run->buffer[o], cla_operand_name(problem, o),
                             p->tensor.span * p->tensor.element_size, p->tensor.element_size, p, error));
    }
    CLA_TRY(check_sharing(plan, placed, error));
    return check_workspace(plan, run, placed, error);
}
