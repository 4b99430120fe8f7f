/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The context: one device of one cl_context, its log, and the programs built for it so far. Programs are shared: asking
 * twice for the same file and options builds once. Reference-counted, since plans keep their context.
 */
#ifndef CLA_OCL_CONTEXT_H
#define CLA_OCL_CONTEXT_H

#include "ocl/device.h"
#include "util/os.h"
#include "util/text.h"
#include <stdatomic.h>

struct cla_program {
    char *key; /* file name, a space, options */
    cl_program program;
    struct cla_program *next;
};

struct clattn_context {
    atomic_int references;
    cl_context cl_ctx;
    struct cla_device device;
    clattn_log_function log;
    void *log_data;
    struct cla_lock facts_lock; /* guards what is found out about the device when it is first needed: device.dot and */
    clattn_matrix_unit matrix_unit; /* not initialised until then */
    struct cla_lock lock;           /* guards `programs`, held while a program is built */
    struct cla_program *programs;
};

/* Both retain what they are given. `desc` may be NULL. */
clattn_status cla_context_create(cl_context cl_ctx, cl_device_id device, const clattn_context_desc *desc,
                                 clattn_context **context, clattn_error *error);
clattn_context *cla_context_retain(clattn_context *context);
void cla_context_release(clattn_context *context); /* accepts NULL */

CLA_PRINTF(3, 4) void cla_log(const clattn_context *context, clattn_log_level level, const char *format, ...);

/*
 * The kernel `kernel_name` of the program made of every file of cl/lib, in their order, and then cl/`file`, built with
 * `options`: "-D NAME=integer" parts only, separated by single spaces, in an order that is always the same for the same
 * meaning. A new kernel object each time, the caller's to release. Fails with BUILD_FAILED, the log being handed to the
 * log callback and its first line to the error; with what the driver says otherwise.
 */
clattn_status cla_context_kernel(clattn_context *context, const char *file, const char *options,
                                 const char *kernel_name, cl_kernel *kernel, clattn_error *error);

#endif
