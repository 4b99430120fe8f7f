/* SPDX-License-Identifier: Apache-2.0 */
/* The process that called OpenCL first. */
#include "ocl/process.h"
#include "util/error.h"
#include "util/os.h"
#include <stdatomic.h>

static atomic_long first_process; /* 0: none yet */

clattn_status cla_process_check(clattn_error *error)
{
    const long process = cla_os_process();
    long first = 0;
    if (atomic_compare_exchange_strong(&first_process, &first, process) || first == process)
        return CLATTN_SUCCESS;
    return cla_fail(error, CLATTN_ERROR_FORKED,
                    "process %ld was forked from %ld after that had used OpenCL, so the driver would hang here: start "
                    "a new process instead (exec, or \"spawn\" in Python's multiprocessing)",
                    process, first);
}
