/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os.h on Windows. Its own locks instead of winpthreads': a DLL that needs nothing but the system and the ICD loader
 * can be put beside any program.
 */
#include "util/os.h"
#include <windows.h>

_Static_assert(sizeof(SRWLOCK) == sizeof(struct cla_lock), "a lock is an SRWLOCK");

static SRWLOCK *srw(struct cla_lock *lock)
{
    return (SRWLOCK *)(void *)&lock->word;
}

long cla_os_process(void)
{
    return (long)GetCurrentProcessId();
}

double cla_os_seconds(void)
{
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    return (double)now.QuadPart / (double)per_second.QuadPart;
}

bool cla_lock_init(struct cla_lock *lock)
{
    InitializeSRWLock(srw(lock));
    return true;
}

void cla_lock_destroy(struct cla_lock *lock)
{
    (void)lock; /* an SRWLOCK owns nothing */
}

void cla_lock_take(struct cla_lock *lock)
{
    AcquireSRWLockExclusive(srw(lock));
}

void cla_lock_give(struct cla_lock *lock)
{
    ReleaseSRWLockExclusive(srw(lock));
}
