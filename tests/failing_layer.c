/* SPDX-License-Identifier: Apache-2.0 */
/* Implements failing_layer.h for the functions that tests ask for: one more is a function here and a line at the end.
 */
#include "failing_layer.h"
#include <CL/cl_layer.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) struct failing_layer failing_layer;

static const struct _cl_icd_dispatch *next;
static struct _cl_icd_dispatch ours;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What this call of the function `name` must return in place of doing its work; CL_SUCCESS: it may do it. */
static cl_int failure(const char *name)
{
    cl_int code = CL_SUCCESS;
    pthread_mutex_lock(&lock);
    failing_layer.calls++;
    if (strcmp(failing_layer.name, name) == 0) {
        const long number = failing_layer.number;
        if (number <= 1)
            code = failing_layer.code;
        if (number == 1)
            failing_layer.name[0] = '\0';
        if (number > 1)
            failing_layer.number--;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static void hold_kernel(long references)
{
    pthread_mutex_lock(&lock);
    failing_layer.kernels += references;
    pthread_mutex_unlock(&lock);
}

static cl_int CL_API_CALL get_platform_ids(cl_uint size, cl_platform_id *platforms, cl_uint *count)
{
    cl_int code = failure("clGetPlatformIDs");
    return code != CL_SUCCESS ? code : next->clGetPlatformIDs(size, platforms, count);
}

static cl_int CL_API_CALL get_platform_info(cl_platform_id platform, cl_platform_info what, size_t size, void *value,
                                            size_t *used)
{
    cl_int code = failure("clGetPlatformInfo");
    return code != CL_SUCCESS ? code : next->clGetPlatformInfo(platform, what, size, value, used);
}

static cl_int CL_API_CALL get_device_ids(cl_platform_id platform, cl_device_type type, cl_uint size,
                                         cl_device_id *devices, cl_uint *count)
{
    cl_int code = failure("clGetDeviceIDs");
    return code != CL_SUCCESS ? code : next->clGetDeviceIDs(platform, type, size, devices, count);
}

static cl_int CL_API_CALL get_device_info(cl_device_id device, cl_device_info what, size_t size, void *value,
                                          size_t *used)
{
    cl_int code = failure("clGetDeviceInfo");
    return code != CL_SUCCESS ? code : next->clGetDeviceInfo(device, what, size, value, used);
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *code)
{
    cl_int own = failure("clCreateKernel");
    cl_kernel kernel = own != CL_SUCCESS ? NULL : next->clCreateKernel(program, name, &own);
    if (kernel != NULL)
        hold_kernel(1);
    if (code != NULL)
        *code = own;
    return kernel;
}

static cl_int CL_API_CALL retain_kernel(cl_kernel kernel)
{
    cl_int code = failure("clRetainKernel");
    if (code == CL_SUCCESS)
        code = next->clRetainKernel(kernel);
    if (code == CL_SUCCESS)
        hold_kernel(1);
    return code;
}

static cl_int CL_API_CALL release_kernel(cl_kernel kernel)
{
    hold_kernel(-1);
    return next->clReleaseKernel(kernel);
}

static cl_int CL_API_CALL enqueue_kernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions,
                                         const size_t *offset, const size_t *global, const size_t *local,
                                         cl_uint num_events, const cl_event *wait_list, cl_event *event)
{
    cl_int code = failure("clEnqueueNDRangeKernel");
    return code != CL_SUCCESS ? code
                              : next->clEnqueueNDRangeKernel(queue, kernel, dimensions, offset, global, local,
                                                             num_events, wait_list, event);
}

/* ---- what the loader calls ------------------------------------------------------------------------------------ */

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *used)
{
    (void)size;
    if (what != CL_LAYER_API_VERSION)
        return CL_INVALID_VALUE;
    if (value != NULL)
        *(cl_layer_api_version *)value = CL_LAYER_API_VERSION_100;
    if (used != NULL)
        *used = sizeof(cl_layer_api_version);
    return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint count, const struct _cl_icd_dispatch *target, cl_uint *our_count,
                                            const struct _cl_icd_dispatch **our_target)
{
    const char *asked = getenv("FAILING_CALL");
    (void)count;
    if (asked != NULL &&
        sscanf(asked, "%47[^:]:%ld:%d", failing_layer.name, &failing_layer.number, &failing_layer.code) != 3)
        return CL_INVALID_VALUE;
    next = target;
    ours.clGetPlatformIDs = get_platform_ids;
    ours.clGetPlatformInfo = get_platform_info;
    ours.clGetDeviceIDs = get_device_ids;
    ours.clGetDeviceInfo = get_device_info;
    ours.clCreateKernel = create_kernel;
    ours.clRetainKernel = retain_kernel;
    ours.clReleaseKernel = release_kernel;
    ours.clEnqueueNDRangeKernel = enqueue_kernel;
    *our_target = &ours;
    *our_count = (cl_uint)(sizeof ours / sizeof(void *));
    return CL_SUCCESS;
}
