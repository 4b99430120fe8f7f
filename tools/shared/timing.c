/* SPDX-License-Identifier: Apache-2.0 */
/* The clock, and order statistics. */
#include "shared/timing.h"
#include <stdlib.h>
#include <time.h>

double timing_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

void timing_summarise(double *seconds, int runs, struct timing *timing)
{
    qsort(seconds, (size_t)runs, sizeof *seconds, compare_doubles);
    timing->runs = runs;
    timing->least = seconds[0];
    timing->median = (seconds[(runs - 1) / 2] + seconds[runs / 2]) / 2;
    double middle_half = seconds[runs - 1 - runs / 4] - seconds[runs / 4];
    timing->spread = timing->median > 0 ? middle_half / timing->median : 0;
}
