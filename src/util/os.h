/* SPDX-License-Identifier: Apache-2.0 */
/* What only the operating system knows. Threads aside, all that is POSIX is behind this header. */
#ifndef CLA_UTIL_OS_H
#define CLA_UTIL_OS_H

/* The number of this process. */
long cla_os_process(void);

/* Seconds since some moment in the past, by a clock that never goes back. */
double cla_os_seconds(void);

#endif
