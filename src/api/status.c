/* SPDX-License-Identifier: Apache-2.0 */
/* The public constants as text and sizes: version, statuses, types. */
#include <clattn/base.h>

#define TEXT_(token) #token
#define TEXT(token)  TEXT_(token)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const char *clattn_version_string(void)
{
    return TEXT(CLATTN_VERSION_MAJOR) "." TEXT(CLATTN_VERSION_MINOR) "." TEXT(CLATTN_VERSION_PATCH);
}

const char *clattn_status_string(clattn_status status)
{
    static const char *const names[] = {
        [CLATTN_SUCCESS] = "success",
        [CLATTN_ERROR_INVALID_ARGUMENT] = "invalid argument",
        [CLATTN_ERROR_INVALID_VALUE] = "invalid value",
        [CLATTN_ERROR_INVALID_BUFFER] = "invalid buffer",
        [CLATTN_ERROR_UNSUPPORTED] = "unsupported",
        [CLATTN_ERROR_NO_DEVICE] = "no device",
        [CLATTN_ERROR_OUT_OF_HOST_MEMORY] = "out of host memory",
        [CLATTN_ERROR_OUT_OF_DEVICE_MEMORY] = "out of device memory",
        [CLATTN_ERROR_BUILD_FAILED] = "build failed",
        [CLATTN_ERROR_OPENCL] = "OpenCL error",
        [CLATTN_ERROR_FORKED] = "used after fork",
    };
    return (size_t)status < COUNT(names) ? names[status] : "unknown status";
}

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [CLATTN_F32] = {"f32", 4},
    [CLATTN_F16] = {"f16", 2},
    [CLATTN_BF16] = {"bf16", 2},
    [CLATTN_BOOL] = {"bool", 1},
};

size_t clattn_dtype_size(clattn_dtype dtype)
{
    return (size_t)dtype < COUNT(dtypes) ? dtypes[dtype].size : 0;
}

const char *clattn_dtype_string(clattn_dtype dtype)
{
    return (size_t)dtype < COUNT(dtypes) ? dtypes[dtype].name : "?";
}
