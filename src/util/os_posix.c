/* SPDX-License-Identifier: Apache-2.0 */
/* os.h on POSIX. */
#include "util/os.h"
#include <time.h>
#include <unistd.h>

long cla_os_process(void)
{
    return (long)getpid();
}

double cla_os_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
