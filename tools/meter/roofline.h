/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device can do at most, measured with OpenCL kernels of the tool's own: what the times of attention are held
 * against.
 */
#ifndef TOOL_ROOFLINE_H
#define TOOL_ROOFLINE_H

#include "shared/message.h"

struct roofline {
    double fma_gflops;    /* f32 multiply-adds out of registers, two operations each */
    double matrix_gflops; /* the same of the matrix unit, f16 added up in f32; 0 where there is none to measure */
    double read_gbs;      /* 10^9 bytes a second out of memory, far beyond the caches */
    double copy_gbs;      /* bytes read plus bytes written, of a copy */
    double launch_us;     /* an empty kernel, from its enqueueing to the end of waiting for it */
};

struct meter;

/*
 * Makes ready to measure the device of `context`, its matrix unit by a kernel such as that of matrix_unit_source.
 * *meter is to be released whatever this returns.
 */
enum exit_code meter_create(clattn_context *context, const char *matrix_source, struct meter **meter);

/* Measures all of it, in about two seconds, and one more for a matrix unit. */
enum exit_code meter_measure(struct meter *meter, struct roofline *roofline);

/*
 * Measures all but copy_gbs and matrix_gflops, which stay as they are, in some 20 milliseconds; after a meter_measure.
 * Machines that others use too are faster now and slower then: this is what holds beside a time that is taken at once.
 */
enum exit_code meter_burst(struct meter *meter, struct roofline *roofline);

void meter_release(struct meter *meter);

#endif
