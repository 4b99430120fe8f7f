/* SPDX-License-Identifier: Apache-2.0 */
/* The context: its life, its log. */
#include "ocl/context.h"
#include "ocl/process.h"
#include "util/error.h"
#include "util/struct_size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The first of `devices` that `device` is or is a sub-device of; NULL where there is none. */
static clattn_status find_root(const cl_device_id *devices, cl_uint count, cl_device_id device, cl_device_id *root,
                               clattn_error *error)
{
    for (*root = device; *root != NULL;) {
        for (cl_uint i = 0; i < count; i++)
            if (devices[i] == *root)
                return CLATTN_SUCCESS;
        CLA_TRY(cla_device_parent(*root, root, error));
    }
    return CLATTN_SUCCESS;
}

/* Drivers differ in whether a context that was made of a device takes its parts: a queue tells. */
static clattn_status check_part(cl_context cl_ctx, cl_device_id device, clattn_error *error)
{
    cl_int code = CL_SUCCESS;
    cl_command_queue queue = clCreateCommandQueue(cl_ctx, device, 0, &code);
    if (code != CL_SUCCESS)
        return cla_fail_code(
            error, CLATTN_ERROR_INVALID_ARGUMENT, code,
            "device is a sub-device of one of cl_ctx's, which this driver does not take (%s): expected "
            "a cl_ctx made of sub-devices",
            cla_cl_code_string(code));
    clReleaseCommandQueue(queue);
    return CLATTN_SUCCESS;
}

/*
 * Whether `device` is one of the devices of `cl_ctx`. Drivers differ in what they list where a context was made of
 * sub-devices: these, or the devices that they are parts of.
 */
static clattn_status check_device(cl_context cl_ctx, cl_device_id device, clattn_error *error)
{
    cl_uint count = 0;
    cl_int code = clGetContextInfo(cl_ctx, CL_CONTEXT_NUM_DEVICES, sizeof count, &count, NULL);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetContextInfo(CL_CONTEXT_NUM_DEVICES)");
    cl_device_id *devices = calloc((size_t)count + 1, sizeof *devices);
    if (devices == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory to list %u devices", (unsigned)count);
    code = clGetContextInfo(cl_ctx, CL_CONTEXT_DEVICES, count * sizeof *devices, devices, NULL);
    cl_device_id root = NULL;
    clattn_status status = code == CL_SUCCESS ? find_root(devices, count, device, &root, error)
                                              : cla_fail_cl(error, code, "clGetContextInfo(CL_CONTEXT_DEVICES)");
    free(devices);
    CLA_TRY(status);
    CLA_CHECK(root != NULL, error, "device is %p: expected one of the %u devices of cl_ctx, or a sub-device of one",
              (void *)device, (unsigned)count);
    return root == device ? CLATTN_SUCCESS : check_part(cl_ctx, device, error);
}

/* Takes hold of both OpenCL objects or of none. */
static clattn_status retain(cl_context cl_ctx, cl_device_id device, clattn_error *error)
{
    cl_int code = clRetainContext(cl_ctx);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clRetainContext");
    code = clRetainDevice(device);
    if (code != CL_SUCCESS) {
        clReleaseContext(cl_ctx);
        return cla_fail_cl(error, code, "clRetainDevice");
    }
    return CLATTN_SUCCESS;
}

clattn_status cla_context_create(cl_context cl_ctx, cl_device_id device, const clattn_context_desc *desc,
                                 clattn_context **context, clattn_error *error)
{
    clattn_context_desc settings;
    clattn_context_desc_init(&settings);
    if (desc != NULL)
        CLA_TRY(cla_struct_read(desc, sizeof settings, &settings, sizeof settings, "clattn_context_desc", error));
    CLA_TRY(check_device(cl_ctx, device, error));

    clattn_context *made = calloc(1, sizeof *made);
    if (made == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for a context");
    clattn_status status = cla_device_query(device, &made->device, error);
    if (status == CLATTN_SUCCESS && made->device.info.verdict == CLATTN_VERDICT_UNUSABLE)
        status = cla_fail(error, CLATTN_ERROR_NO_DEVICE, "%s is unusable: %s", made->device.info.name,
                          made->device.info.reason);
    if (status == CLATTN_SUCCESS)
        status = retain(cl_ctx, device, error);
    if (status != CLATTN_SUCCESS) {
        free(made);
        return status;
    }
    const bool locked = cla_lock_init(&made->lock);
    if (!locked || !cla_lock_init(&made->facts_lock)) {
        if (locked)
            cla_lock_destroy(&made->lock);
        clReleaseContext(cl_ctx);
        clReleaseDevice(device);
        free(made);
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the lock of a context");
    }
    atomic_init(&made->references, 1);
    made->cl_ctx = cl_ctx;
    made->log = settings.log;
    made->log_data = settings.log_data;
    *context = made;
    return CLATTN_SUCCESS;
}

clattn_context *cla_context_retain(clattn_context *context)
{
    atomic_fetch_add(&context->references, 1);
    return context;
}

void cla_context_release(clattn_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->references, 1) > 1)
        return;
    const bool ours = cla_process_check(NULL) == CLATTN_SUCCESS;
    struct cla_program *next;
    for (struct cla_program *program = context->programs; program != NULL; program = next) {
        next = program->next;
        if (ours)
            clReleaseProgram(program->program);
        free(program->key);
        free(program);
    }
    if (ours) {
        clReleaseContext(context->cl_ctx);
        if (!context->device.uses_released)
            clReleaseDevice(context->device.id);
        cla_lock_destroy(&context->lock);
        cla_lock_destroy(&context->facts_lock);
    }
    free(context);
}

void cla_log(const clattn_context *context, clattn_log_level level, const char *format, ...)
{
    if (context->log == NULL)
        return;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text != NULL) {
        vsnprintf(text, (size_t)length + 1, format, again);
        context->log(level, text, context->log_data);
        free(text);
    }
    va_end(again);
    va_end(arguments);
}
