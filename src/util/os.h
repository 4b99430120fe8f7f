/* SPDX-License-Identifier: Apache-2.0 */
/* What only the operating system knows, and its locks: all that is POSIX, or Windows, is behind this header. */
#ifndef CLA_UTIL_OS_H
#define CLA_UTIL_OS_H

#include <stdbool.h>
#ifndef _WIN32
#include <pthread.h>
#endif

/* The number of this process. */
long cla_os_process(void);

/* Seconds since some moment in the past, by a clock that never goes back. */
double cla_os_seconds(void);

/* A lock that one thread holds at a time, and does not take twice. */
struct cla_lock {
#ifdef _WIN32
    void *word; /* an SRWLOCK, whose header is best kept out of ours */
#else
    pthread_mutex_t mutex;
#endif
};

bool cla_lock_init(struct cla_lock *lock); /* false where there is no memory for it */
void cla_lock_destroy(struct cla_lock *lock);
void cla_lock_take(struct cla_lock *lock);
void cla_lock_give(struct cla_lock *lock);

#endif
