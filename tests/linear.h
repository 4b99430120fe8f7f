/* SPDX-License-Identifier: Apache-2.0 */
/* One problem of linear for tests: tensors made up, the plan, a run, and the comparison with sums in double. */
#ifndef CLATTN_TESTS_LINEAR_H
#define CLATTN_TESTS_LINEAR_H

#include "tensors.h"

struct linear_scene {
    clattn_linear_desc desc;
    struct tensor input;
    struct tensor weight;
    struct tensor bias;
    struct tensor output;
    clattn_plan *plan;
    clattn_linear_args args;
};

/* What a test varies; 0 is a plain value of everything but sizes. */
struct linear_setup {
    int64_t batch;
    int64_t length;
    int64_t in;
    int64_t out;
    bool bias;
    int64_t padding; /* elements between rows */
    clattn_dtype input;
    clattn_dtype weight;
    clattn_dtype bias_dtype;
    clattn_dtype output;
};

/* The tensors and a plan on `variant` (NULL: the library's choice), in bf16 where that takes nothing else. These
 * functions fail the test where they fail. */
void linear_open(const struct harness *harness, const struct linear_setup *setup, const char *variant,
                 struct linear_scene *scene);
void linear_close(struct linear_scene *scene);

/* Makes the buffers, of what the tensors hold now. */
void linear_upload(const struct harness *harness, struct linear_scene *scene);

void linear_run(const struct harness *harness, const struct linear_scene *scene);

/* Every element of `output` within its extents. */
void linear_check(const struct linear_scene *scene, const struct tensor *output);

/* All of it, once. */
void linear_open_run_and_check(const struct harness *harness, const struct linear_setup *setup, const char *variant);

#endif
