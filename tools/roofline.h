/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device can do at most, measured with OpenCL kernels of the tool's own: what the times of attention are held
 * against.
 */
#ifndef TOOL_ROOFLINE_H
#define TOOL_ROOFLINE_H

#include "message.h"

struct roofline {
    double fma_gflops; /* f32 multiply-adds out of registers, two operations each */
    double read_gbs;   /* 10^9 bytes a second out of memory, far beyond the caches */
    double copy_gbs;   /* bytes read plus bytes written, of a copy */
    double launch_us;  /* an empty kernel, from its enqueueing to the end of waiting for it */
};

/* Measures all of it on the device of `context`, in about two seconds. */
enum exit_code roofline_measure(clattn_context *context, struct roofline *roofline);

#endif
