/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions on devices. */
#include "ocl/device.h"
#include "ocl/process.h"
#include "util/error.h"
#include "util/struct_size.h"

clattn_status clattn_device_query(cl_device_id device, clattn_device_info *info, clattn_error *error)
{
    struct cla_device facts;
    CLA_CHECK(device != NULL, error, "device is NULL");
    CLA_TRY(cla_struct_check(info, sizeof *info, "clattn_device_info", error));
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_device_query(device, &facts, error));
    cla_struct_write(info, &facts.info, sizeof facts.info);
    return CLATTN_SUCCESS;
}

clattn_status clattn_device_select(const char *selector, cl_device_id *device, clattn_error *error)
{
    CLA_CHECK(device != NULL, error, "device is NULL");
    CLA_TRY(cla_process_check(error));
    return cla_device_select(selector, device, error);
}
