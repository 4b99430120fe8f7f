/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One problem of linear's backward pass for tests: tensors made up, the plan, a run, and the comparison with sums in
 * double.
 */
#ifndef CLATTN_TESTS_LINEAR_BACKWARD_H
#define CLATTN_TESTS_LINEAR_BACKWARD_H

#include "tensors.h"

enum { NO_D_INPUT = 1, NO_D_WEIGHT = 2, NO_D_BIAS = 4, NO_GRADIENT = 7 };

/* What a test varies; 0 is a plain value of everything but sizes. */
struct backward_setup {
    int64_t batch, length, in, out;
    int64_t padding; /* elements between rows */
    int without;     /* gradients that are not wanted */
    bool accumulate;
    bool accumulate_input;
    clattn_dtype input, weight, d_output, d_input, d_weight, d_bias;
};

struct backward_scene {
    struct backward_setup setup;
    clattn_linear_desc linear;
    clattn_linear_backward_desc desc;
    clattn_linear_backward_args args;
    struct tensor input, weight, d_output, d_input, d_weight, d_bias;
    struct tensor old_input, old_weight, old_bias; /* what d_input, d_weight and d_bias hold before */
    clattn_plan *plan;
};

/*
 * The tensors and a plan on `variant` (NULL: the library's choice); what is written is NaN before, unless it is added
 * to. These functions fail the test where they fail.
 */
void backward_open(const struct harness *harness, const struct backward_setup *setup, const char *variant,
                   struct backward_scene *s);
void backward_close(struct backward_scene *s);

/* Makes the buffers that the plan needs, of what the tensors hold now. */
void backward_upload(const struct harness *harness, struct backward_scene *s);

/* Runs, and reads what is written back; the reading checks that nothing else is. */
void backward_run(const struct harness *harness, struct backward_scene *s);

/* Every element of every gradient, of as many rows as the run has. */
void backward_check(const struct backward_scene *s);

/* All of it, once. */
void backward_open_run_and_check(const struct harness *harness, const struct backward_setup *setup,
                                 const char *variant);

#endif
