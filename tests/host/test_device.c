/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the facts of devices that are not here: drivers with faults of their own. The answers are made up.
 */
#include "ocl/device.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

cl_int __wrap_clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *value, size_t *used);

static const char *opencl, *driver;
static cl_ulong device_type;

static cl_int give(const void *answer, size_t length, size_t size, void *value, size_t *used)
{
    if (used != NULL)
        *used = length;
    if (value != NULL)
        memcpy(value, answer, length < size ? length : size);
    return CL_SUCCESS;
}

/* In the place of OpenCL's: a device with vectors of 16 floats. */
cl_int __wrap_clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *value, size_t *used)
{
    const char *text = what == CL_DEVICE_VERSION      ? opencl
                       : what == CL_DRIVER_VERSION    ? driver
                       : what == CL_DEVICE_PROFILE    ? "FULL_PROFILE"
                       : what == CL_DEVICE_EXTENSIONS ? ""
                                                      : "a name";
    cl_ulong number = 1 << 20; /* memory and work-groups that are no reason for a verdict */
    (void)device;
    switch (what) {
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
    case CL_DRIVER_VERSION:
    case CL_DEVICE_VERSION:
    case CL_DEVICE_OPENCL_C_VERSION:
    case CL_DEVICE_PROFILE:
    case CL_DEVICE_EXTENSIONS:
        return give(text, strlen(text) + 1, size, value, used);
    case CL_DEVICE_TYPE:
        number = device_type;
        break;
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT:
        number = 16;
        break;
    case CL_DEVICE_SINGLE_FP_CONFIG:
        number = CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST;
        break;
    case CL_DEVICE_PLATFORM:
        number = 0;
        break;
    default: /* yes, or a size */
        break;
    }
    return give(&number, size, size, value, used); /* little-endian, as all of clattn's hosts are */
}

static void drivers_with_faults_are_told(void **state)
{
    static const struct {
        const char *opencl, *driver;
        cl_ulong type;
        uint32_t lanes;
        clattn_verdict verdict;
    } cases[] = {
        {"OpenCL 3.0 PoCL HSTR: pthread-znver3", "3.0-rc2", CL_DEVICE_TYPE_CPU, 8, CLATTN_VERDICT_READY},
        {"OpenCL 3.0 PoCL HSTR: pthread-znver3", "3.1+debian", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_READY},
        {"OpenCL 3.0 PoCL HSTR: cpu-znver3", "5.0", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_LIMITED},
        {"OpenCL 3.0 PoCL HSTR: cpu-znver3", "6.0+debian", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_LIMITED},
        {"OpenCL 3.0 PoCL HSTR: cpu-znver3", "7.1", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_READY},
        {"OpenCL 3.0 PoCL HSTR: CUDA", "6.0", CL_DEVICE_TYPE_GPU, 1, CLATTN_VERDICT_READY},
        {"OpenCL 3.0 (Build 0)", "3.0", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_READY},
        {"OpenCL 3.0 PoCL", "a version", CL_DEVICE_TYPE_CPU, 16, CLATTN_VERDICT_READY},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cla_device device;
        clattn_error error;
        opencl = cases[i].opencl;
        driver = cases[i].driver;
        device_type = cases[i].type;
        if (cla_device_query(NULL, &device, &error) != CLATTN_SUCCESS)
            fail_msg("%s", error.message);
        assert_int_equal(device.vector_lanes, cases[i].lanes);
        assert_int_equal(device.info.verdict, cases[i].verdict);
        assert_int_equal(device.info.reason[0] != 0, cases[i].verdict == CLATTN_VERDICT_LIMITED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(drivers_with_faults_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
