/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions on contexts. */
#include "ocl/context.h"
#include "ocl/process.h"
#include "ops/dot.h"
#include "util/error.h"
#include "util/struct_size.h"

clattn_status clattn_context_create(cl_context cl_ctx, cl_device_id device, const clattn_context_desc *desc,
                                    clattn_context **context, clattn_error *error)
{
    CLA_CHECK(cl_ctx != NULL, error, "cl_ctx is NULL");
    CLA_CHECK(device != NULL, error, "device is NULL");
    CLA_CHECK(context != NULL, error, "context is NULL");
    CLA_TRY(cla_process_check(error));
    return cla_context_create(cl_ctx, device, desc, context, error);
}

clattn_status clattn_context_create_default(const char *selector, const clattn_context_desc *desc,
                                            clattn_context **context, clattn_error *error)
{
    cl_device_id device;
    cl_int code;

    CLA_CHECK(context != NULL, error, "context is NULL");
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_device_select(selector, &device, error));
    cl_context cl_ctx = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    if (cl_ctx == NULL)
        return cla_fail_cl(error, code, "clCreateContext");
    clattn_status status = cla_context_create(cl_ctx, device, desc, context, error);
    clReleaseContext(cl_ctx); /* the context holds its own reference */
    return status;
}

void clattn_context_release(clattn_context *context)
{
    cla_context_release(context);
}

clattn_status clattn_context_matrix_unit(clattn_context *context, clattn_matrix_unit *unit, clattn_error *error)
{
    CLA_CHECK(context != NULL, error, "context is NULL");
    CLA_TRY(cla_struct_check(unit, sizeof *unit, "clattn_matrix_unit", error));
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_dot_find(context, error));
    cla_struct_write(unit, &context->matrix_unit, sizeof context->matrix_unit);
    return CLATTN_SUCCESS;
}

cl_context clattn_context_cl_context(const clattn_context *context)
{
    return context->cl_ctx;
}

cl_device_id clattn_context_cl_device(const clattn_context *context)
{
    return context->device.id;
}
