/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of a device: queried facts, the class that follows from them, the verdict. No attention here. */
#ifndef CLA_OCL_DEVICE_H
#define CLA_OCL_DEVICE_H

#include <clattn/base.h>
#include <stdbool.h>

/* Dot products of pairs in bf16, numbered as cl/lib/dot_block.cl does. */
enum cla_dot {
    CLA_DOT_NONE,
    CLA_DOT_PLAIN,       /* made of other arithmetic */
    CLA_DOT_INSTRUCTION, /* vdpbf16ps of x86 CPUs */
};

struct cla_device {
    cl_device_id id;
    cl_platform_id platform;
    clattn_device_info info; /* complete, struct_size included */
    bool has_fma;            /* CL_FP_FMA: fma() is a single instruction */
    bool uses_released;      /* the driver may go on with a sub-device after the last one that held it has let go */
    enum cla_dot dot;        /* what products of bf16 are to be made of: PLAIN where no instruction is known to help */
    uint32_t vector_lanes;   /* float lanes of the widest vector that one work-item should use: 1, 4, 8 or 16 */
};

/* Reads the facts of `id`, decides class and verdict. Fails with OPENCL where the driver does not answer. */
clattn_status cla_device_query(cl_device_id id, struct cla_device *device, clattn_error *error);

/* The device that `id` is a sub-device of; NULL where it is none. */
clattn_status cla_device_parent(cl_device_id id, cl_device_id *parent, clattn_error *error);

/* The device that a selector names, see clattn_device_select. */
clattn_status cla_device_select(const char *selector, cl_device_id *id, clattn_error *error);

#endif
