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

bool cla_lock_init(struct cla_lock *lock)
{
    return pthread_mutex_init(&lock->mutex, NULL) == 0;
}

void cla_lock_destroy(struct cla_lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

void cla_lock_take(struct cla_lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

void cla_lock_give(struct cla_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}
