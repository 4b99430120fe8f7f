/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel that keeps the matrix units of a device busy, where it has some that OpenCL C reaches. */
#ifndef TOOL_MATRIX_UNIT_H
#define TOOL_MATRIX_UNIT_H

#include <clattn/base.h>

struct matrix_unit {
    cl_program program;
    cl_kernel kernel;  /* NULL where there is nothing to measure; its second argument is a number of iterations */
    double flop;       /* of a work-item in each iteration */
    char refusal[128]; /* why there is nothing to measure, "" where the source has nothing for the device */
};

/* The text of matrix_unit.cl, which says what the kernel does. */
extern const char matrix_unit_source[];

/*
 * Builds the kernel of `source` for the device of `queue`, whose smallest sub-group is `sub_group`, and runs it on
 * `work_items`, in groups of `group`, each of which writes four floats to `out`. Where it does not build or run, or
 * where a single sum is not exact, there is nothing to measure. `unit` is to be released.
 */
void matrix_unit_create(struct matrix_unit *unit, cl_command_queue queue, const char *source, unsigned sub_group,
                        size_t group, size_t work_items, cl_mem out);

void matrix_unit_release(struct matrix_unit *unit);

#endif
