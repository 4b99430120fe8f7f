/* SPDX-License-Identifier: Apache-2.0 */
/* The clock, waiting, and order statistics. */
#include "timing.h"
#include <sched.h>
#include <stdlib.h>
#include <time.h>

double timing_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

cl_int timing_finish(cl_command_queue queue, cl_event event)
{
    const double end = timing_now() + 30e-6;
    cl_int state = clFlush(queue) == CL_SUCCESS ? CL_QUEUED : CL_COMPLETE;
    while (state > CL_COMPLETE && timing_now() < end) {
        sched_yield(); /* to the threads of a device that is this CPU */
        if (clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) != CL_SUCCESS)
            break;
    }
    const cl_int code = clFinish(queue);
    if (clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) != CL_SUCCESS)
        state = CL_COMPLETE;
    clReleaseEvent(event);
    return code == CL_SUCCESS && state < 0 ? state : code;
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
