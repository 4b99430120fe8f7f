/* SPDX-License-Identifier: Apache-2.0 */
/* Seconds, and what is said of several of them. */
#ifndef TOOL_TIMING_H
#define TOOL_TIMING_H

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

#endif
