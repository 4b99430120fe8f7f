/* SPDX-License-Identifier: Apache-2.0 */
/* Seconds, and what is said of several of them. */
#ifndef TOOL_TIMING_H
#define TOOL_TIMING_H

#include <CL/cl.h>

struct timing {
    int runs;
    double median; /* seconds */
    double least;
    double spread; /* of the middle half of the runs, from its least to its greatest, as a fraction of the median */
};

/* Seconds since some moment in the past; never goes back. */
double timing_now(void);

/* Sorts `seconds`, of which there is at least one, and says what there is to say of them. */
void timing_summarise(double *seconds, int runs, struct timing *timing);

/*
 * clFinish, of a queue whose last command gave `event`, which is released; its failure is one too. Asks for 30
 * microseconds whether it is done before it sleeps: waking a thread takes about as long, and more than small problems.
 */
cl_int timing_finish(cl_command_queue queue, cl_event event);

#endif
