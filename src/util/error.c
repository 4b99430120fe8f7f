/* SPDX-License-Identifier: Apache-2.0 */
/* Error details: the text of messages, and what OpenCL's codes are called and mean. */
#include "util/error.h"
#include <stdarg.h>
#include <stdio.h>

/* Control bytes become spaces, so that a message stays one line whatever was printed into it; what is cut shows it. */
static void write_message(char *message, size_t size, const char *format, va_list arguments)
{
    int length = vsnprintf(message, size, format, arguments);
    if (length < 0)
        message[0] = 0;
    if (length >= (int)size)
        memcpy(message + size - 4, "...", 4);
    for (char *c = message; *c != 0; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

static void fill(clattn_error *error, clattn_status status, cl_int code, const char *format, va_list arguments)
{
    if (error != NULL) {
        error->status = status;
        error->cl_code = code;
        write_message(error->message, sizeof error->message, format, arguments);
    }
}

clattn_status cla_fail(clattn_error *error, clattn_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, CL_SUCCESS, format, arguments);
    va_end(arguments);
    return status;
}

clattn_status cla_fail_code(clattn_error *error, clattn_status status, cl_int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, code, format, arguments);
    va_end(arguments);
    return status;
}

clattn_status cla_fail_cl(clattn_error *error, cl_int code, const char *call)
{
    clattn_status status;
    switch (code) {
    case CL_OUT_OF_HOST_MEMORY:
        status = CLATTN_ERROR_OUT_OF_HOST_MEMORY;
        break;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_RESOURCES:
    case CL_INVALID_BUFFER_SIZE: /* more than one allocation may have: no size that we ask for is 0 */
        status = CLATTN_ERROR_OUT_OF_DEVICE_MEMORY;
        break;
    case CL_BUILD_PROGRAM_FAILURE:
    case CL_COMPILE_PROGRAM_FAILURE:
    case CL_LINK_PROGRAM_FAILURE:
        status = CLATTN_ERROR_BUILD_FAILED;
        break;
    default:
        status = CLATTN_ERROR_OPENCL;
        break;
    }
    return cla_fail_code(error, status, code, "%s failed with %s (%d)", call, cla_cl_code_string(code), (int)code);
}

/* Names are those of cl.h and cl_ext.h. Numbers, since the headers hide what is newer than the version they target. */
const char *cla_cl_code_string(cl_int code)
{
    static const char *const environment[] = {
        "CL_SUCCESS",
        "CL_DEVICE_NOT_FOUND",
        "CL_DEVICE_NOT_AVAILABLE",
        "CL_COMPILER_NOT_AVAILABLE",
        "CL_MEM_OBJECT_ALLOCATION_FAILURE",
        "CL_OUT_OF_RESOURCES",
        "CL_OUT_OF_HOST_MEMORY",
        "CL_PROFILING_INFO_NOT_AVAILABLE",
        "CL_MEM_COPY_OVERLAP",
        "CL_IMAGE_FORMAT_MISMATCH",
        "CL_IMAGE_FORMAT_NOT_SUPPORTED",
        "CL_BUILD_PROGRAM_FAILURE",
        "CL_MAP_FAILURE",
        "CL_MISALIGNED_SUB_BUFFER_OFFSET",
        "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST",
        "CL_COMPILE_PROGRAM_FAILURE",
        "CL_LINKER_NOT_AVAILABLE",
        "CL_LINK_PROGRAM_FAILURE",
        "CL_DEVICE_PARTITION_FAILED",
        "CL_KERNEL_ARG_INFO_NOT_AVAILABLE",
    };
    static const char *const misuse[] = {
        "CL_INVALID_VALUE",
        "CL_INVALID_DEVICE_TYPE",
        "CL_INVALID_PLATFORM",
        "CL_INVALID_DEVICE",
        "CL_INVALID_CONTEXT",
        "CL_INVALID_QUEUE_PROPERTIES",
        "CL_INVALID_COMMAND_QUEUE",
        "CL_INVALID_HOST_PTR",
        "CL_INVALID_MEM_OBJECT",
        "CL_INVALID_IMAGE_FORMAT_DESCRIPTOR",
        "CL_INVALID_IMAGE_SIZE",
        "CL_INVALID_SAMPLER",
        "CL_INVALID_BINARY",
        "CL_INVALID_BUILD_OPTIONS",
        "CL_INVALID_PROGRAM",
        "CL_INVALID_PROGRAM_EXECUTABLE",
        "CL_INVALID_KERNEL_NAME",
        "CL_INVALID_KERNEL_DEFINITION",
        "CL_INVALID_KERNEL",
        "CL_INVALID_ARG_INDEX",
        "CL_INVALID_ARG_VALUE",
        "CL_INVALID_ARG_SIZE",
        "CL_INVALID_KERNEL_ARGS",
        "CL_INVALID_WORK_DIMENSION",
        "CL_INVALID_WORK_GROUP_SIZE",
        "CL_INVALID_WORK_ITEM_SIZE",
        "CL_INVALID_GLOBAL_OFFSET",
        "CL_INVALID_EVENT_WAIT_LIST",
        "CL_INVALID_EVENT",
        "CL_INVALID_OPERATION",
        "CL_INVALID_GL_OBJECT",
        "CL_INVALID_BUFFER_SIZE",
        "CL_INVALID_MIP_LEVEL",
        "CL_INVALID_GLOBAL_WORK_SIZE",
        "CL_INVALID_PROPERTY",
        "CL_INVALID_IMAGE_DESCRIPTOR",
        "CL_INVALID_COMPILER_OPTIONS",
        "CL_INVALID_LINKER_OPTIONS",
        "CL_INVALID_DEVICE_PARTITION_COUNT",
        "CL_INVALID_PIPE_SIZE",
        "CL_INVALID_DEVICE_QUEUE",
        "CL_INVALID_SPEC_ID",
        "CL_MAX_SIZE_RESTRICTION_EXCEEDED",
    };
    const int num_environment = (int)(sizeof environment / sizeof environment[0]); /* from 0 down */
    const int num_misuse = (int)(sizeof misuse / sizeof misuse[0]);                /* from -30 down */

    if (code <= 0 && code > -num_environment)
        return environment[-code];
    if (code <= -30 && code > -30 - num_misuse)
        return misuse[-30 - code];
    if (code == -1001)
        return "CL_PLATFORM_NOT_FOUND_KHR";
    return "an unknown code";
}
