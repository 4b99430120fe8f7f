/* SPDX-License-Identifier: Apache-2.0 */
/* Making and unmaking plans, and the arguments of their steps. */
#include "run/plan.h"
#include "ocl/process.h"
#include "util/error.h"
#include <stdlib.h>
#include <string.h>

clattn_status cla_plan_create(clattn_context *context, const struct cla_problem *problem, clattn_plan **plan,
                              clattn_error *error)
{
    clattn_plan *made = calloc(1, sizeof *made);
    if (made == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    if (!cla_lock_init(&made->lock)) {
        free(made);
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the lock of a plan");
    }
    made->context = cla_context_retain(context);
    made->problem = *problem;
    *plan = made;
    return CLATTN_SUCCESS;
}

void cla_plan_clear(clattn_plan *plan)
{
    const bool own = cla_process_check(NULL) == CLATTN_SUCCESS;
    for (size_t i = 0; own && i < plan->num_steps; i++)
        clReleaseKernel(plan->steps[i].kernel);
    for (size_t i = 0; own && i < plan->num_constants; i++)
        clReleaseMemObject(plan->constants[i]);
    free(plan->steps);
    free(plan->constants);
    plan->steps = NULL;
    plan->num_steps = 0;
    plan->constants = NULL;
    plan->num_constants = 0;
    for (size_t i = 0; i < plan->num_parts; i++)
        cla_plan_release(plan->parts[i].plan);
    free(plan->parts);
    plan->parts = NULL;
    plan->num_parts = 0;
    plan->workspace_size = 0;
    plan->fixed_strides = 0;
}

void cla_plan_release(clattn_plan *plan)
{
    if (plan == NULL)
        return;
    cla_plan_clear(plan);
    if (cla_process_check(NULL) == CLATTN_SUCCESS) /* in a forked child a thread that is not there may hold it */
        cla_lock_destroy(&plan->lock);
    cla_context_release(plan->context);
    free(plan->problem_string);
    free(plan->name);
    free(plan->description);
    free(plan);
}

/* What the compiled kernel allows is known only now, and may be less than what the device allows. */
static clattn_status check_kernel(const clattn_plan *plan, cl_kernel kernel, const char *kernel_name, size_t group_size,
                                  clattn_error *error)
{
    cl_device_id device = plan->context->device.id;
    size_t most = 0;
    cl_ulong local = 0;
    cl_int code = clGetKernelWorkGroupInfo(kernel, device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetKernelWorkGroupInfo");
    if (most < group_size)
        return cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "kernel %s needs work-groups of %zu, the device allows it %zu",
                        kernel_name, group_size, most);
    code = clGetKernelWorkGroupInfo(kernel, device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetKernelWorkGroupInfo");
    if (local > plan->context->device.info.local_memory)
        return cla_fail(error, CLATTN_ERROR_UNSUPPORTED,
                        "kernel %s needs %llu bytes of local memory, the device has %llu", kernel_name,
                        (unsigned long long)local, (unsigned long long)plan->context->device.info.local_memory);
    return CLATTN_SUCCESS;
}

static clattn_status reserve_steps(clattn_plan *plan, size_t more, clattn_error *error)
{
    struct cla_step *steps = realloc(plan->steps, (plan->num_steps + more) * sizeof *steps);
    if (steps == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the steps of a plan");
    plan->steps = steps;
    return CLATTN_SUCCESS;
}

clattn_status cla_plan_add_step(clattn_plan *plan, const char *file, const struct cla_text *options,
                                const char *kernel_name, size_t group_size, struct cla_step **step, clattn_error *error)
{
    cl_kernel kernel = NULL;
    if (options->failed)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for build options");
    CLA_TRY(cla_context_kernel(plan->context, file, options->data, kernel_name, &kernel, error));
    clattn_status status = check_kernel(plan, kernel, kernel_name, group_size, error);
    if (status == CLATTN_SUCCESS)
        status = reserve_steps(plan, 1, error);
    if (status != CLATTN_SUCCESS) {
        clReleaseKernel(kernel);
        return status;
    }
    *step = &plan->steps[plan->num_steps++];
    memset(*step, 0, sizeof **step);
    (*step)->kernel = kernel;
    (*step)->group_size = group_size;
    return CLATTN_SUCCESS;
}

clattn_status cla_plan_repeat_steps(clattn_plan *plan, size_t count, int64_t first_head, int64_t heads,
                                    int64_t first_row, int64_t rows, clattn_error *error)
{
    CLA_TRY(reserve_steps(plan, count, error));
    for (size_t i = 0; i < count; i++) {
        struct cla_step *step = &plan->steps[plan->num_steps];
        cl_int code = clRetainKernel(plan->steps[i].kernel);
        if (code != CL_SUCCESS)
            return cla_fail_cl(error, code, "clRetainKernel");
        plan->num_steps++;
        *step = plan->steps[i];
        step->first_head = first_head;
        step->heads = heads;
        step->first_row = first_row;
        step->rows = rows;
    }
    return CLATTN_SUCCESS;
}

clattn_status cla_plan_constant(clattn_plan *plan, size_t bytes, const void *data, cl_mem *constant,
                                clattn_error *error)
{
    cl_int code = CL_SUCCESS;
    cl_mem *constants = realloc(plan->constants, (plan->num_constants + 1) * sizeof *constants);
    if (constants == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the constants of a plan");
    plan->constants = constants;
    *constant =
        clCreateBuffer(plan->context->cl_ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, (void *)data, &code);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clCreateBuffer (constant)");
    plan->constants[plan->num_constants++] = *constant;
    return CLATTN_SUCCESS;
}

clattn_status cla_plan_add_part(clattn_plan *plan, clattn_plan *made, struct cla_part **part, clattn_error *error)
{
    struct cla_part *parts = realloc(plan->parts, (plan->num_parts + 1) * sizeof *parts);
    if (parts == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the parts of a plan");
    plan->parts = parts;
    *part = &parts[plan->num_parts++];
    memset(*part, 0, sizeof **part);
    (*part)->plan = made;
    for (int o = 0; o < CLA_MAX_OPERANDS; o++)
        (*part)->link[o].operand = o;
    return CLATTN_SUCCESS;
}

void cla_plan_fix_strides(clattn_plan *plan, int operand)
{
    plan->fixed_strides |= (uint64_t)1 << operand;
}

bool cla_plan_strides_are_fixed(const clattn_plan *plan, int operand)
{
    bool fixed = (plan->fixed_strides >> operand & 1) != 0;
    for (size_t i = 0; i < plan->num_parts; i++) {
        const struct cla_part *part = &plan->parts[i];
        for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
            const struct cla_link *link = &part->link[o];
            fixed = fixed || (!link->in_workspace && link->operand == operand &&
                              part->plan->problem.tensor[o].present && cla_plan_strides_are_fixed(part->plan, o));
        }
    }
    return fixed;
}

static struct cla_arg *next_arg(struct cla_step *step, enum cla_arg_kind kind)
{
    struct cla_arg *arg = &step->args[step->num_args++];
    arg->kind = kind;
    return arg;
}

static cl_long4 view4(int64_t x, int64_t y, int64_t z, int64_t w)
{
    cl_long4 view;
    view.s[0] = x;
    view.s[1] = y;
    view.s[2] = z;
    view.s[3] = w;
    return view;
}

void cla_step_operand(struct cla_step *step, const struct cla_problem *problem, int operand)
{
    const struct cla_tensor *tensor = &problem->tensor[operand];
    next_arg(step, CLA_ARG_BUFFER)->operand = operand;
    struct cla_arg *arg = next_arg(step, CLA_ARG_VIEW);
    arg->operand = operand;
    arg->value.view = view4(0, tensor->stride[0], tensor->stride[1], tensor->stride[2]);
}

void cla_step_workspace(struct cla_step *step, int64_t batch_stride, int64_t head_stride, int64_t row_stride)
{
    cla_step_workspace_from(step, 0, batch_stride, head_stride, row_stride);
}

void cla_step_workspace_from(struct cla_step *step, int64_t start, int64_t batch_stride, int64_t head_stride,
                             int64_t row_stride)
{
    next_arg(step, CLA_ARG_WORKSPACE);
    next_arg(step, CLA_ARG_PLACE)->value.view = view4(start, batch_stride, head_stride, row_stride);
}

void cla_step_constant(struct cla_step *step, cl_mem constant)
{
    next_arg(step, CLA_ARG_CONSTANT)->value.constant = constant;
}

void cla_step_slice(struct cla_step *step)
{
    next_arg(step, CLA_ARG_SLICE);
}

void cla_step_run_value(struct cla_step *step, enum cla_arg_kind kind)
{
    next_arg(step, kind);
}

void cla_step_dropout(struct cla_step *step, const struct cla_problem *problem)
{
    const struct cla_dropout_strides strides = cla_dropout_strides(problem);
    next_arg(step, CLA_ARG_DROPOUT_KEY);
    next_arg(step, CLA_ARG_DROPOUT_VIEW)->value.view =
        view4(0, (int64_t)strides.batch, (int64_t)strides.head, (int64_t)strides.query);
    cla_step_int(step, cla_dropout_threshold(problem));
    cla_step_float(step, cla_dropout_scale(problem));
}

void cla_step_int(struct cla_step *step, int64_t value)
{
    next_arg(step, CLA_ARG_INT)->value.i = (cl_int)value;
}

void cla_step_int2(struct cla_step *step, int64_t x, int64_t y)
{
    struct cla_arg *arg = next_arg(step, CLA_ARG_INT2);
    arg->value.i2.s[0] = (cl_int)x;
    arg->value.i2.s[1] = (cl_int)y;
}

void cla_step_long(struct cla_step *step, int64_t value)
{
    next_arg(step, CLA_ARG_LONG)->value.l = value;
}

void cla_step_float(struct cla_step *step, float value)
{
    next_arg(step, CLA_ARG_FLOAT)->value.f = value;
}
