/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device for tests, and one run of attention on it: buffers made from host arrays, the run, everything read back.
 * Which device: that of the environment variable CLATTN_DEVICE, by the library's own rules.
 */
#ifndef CLATTN_TESTS_HARNESS_H
#define CLATTN_TESTS_HARNESS_H

#include "arrays.h"

struct harness {
    clattn_context *context;
    cl_context cl_ctx;
    cl_device_id device;
    cl_command_queue queue;
    clattn_device_info info;
};

/* For cmocka's group setup and teardown: *state is a struct harness *. Fails where there is no usable device. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* Whether CLATTN_CASES asks for what is called so, "quick" or "more". Where it is not set, it asks for all. */
bool harness_asks(const char *share);

/* The buffers of a run, one for each block of the arrays. */
struct harness_buffers {
    cl_mem mem[NUM_ARRAYS];
};

/* Every function below fails the current test where OpenCL does not do what it should. */
void harness_buffers_create(const struct harness *harness, const struct arrays *arrays,
                            struct harness_buffers *buffers);
void harness_buffers_release(struct harness_buffers *buffers);
void harness_write(const struct harness *harness, const struct harness_buffers *buffers, const struct arrays *arrays);
void harness_read(const struct harness *harness, const struct harness_buffers *buffers, struct arrays *arrays);

/* The arguments of a run of `plan` on these buffers with the lengths and the offset of the case. */
clattn_attention_args harness_args(const clattn_plan *plan, const struct arrays *arrays,
                                   const struct harness_buffers *buffers);

/*
 * Whether CLATTN_VARIANTS asks for a variant: "own", those that devices of this class are given, and "unfused";
 * "others"; all, where it is not set.
 */
bool harness_asks_variant(const struct harness *harness, const char *variant);

/* The case of a problem string; in bf16 where `variant` takes nothing else. */
void harness_case(const struct harness *harness, struct test_case *c, const char *problem, const char *variant);

/* A plan for the case on `variant` (NULL: the library's choice). Fails the test unless it succeeds. */
clattn_plan *harness_plan(const struct harness *harness, const struct test_case *c, const char *variant);

/*
 * All of it: buffers, one run, waiting, reading back into `arrays`. The run must succeed, and change nothing but
 * outputs; then true. Otherwise false and a message.
 */
bool harness_run(const struct harness *harness, clattn_plan *plan, struct arrays *arrays, char message[600]);

/* An event that completes when the test says so. */
cl_event harness_gate(const struct harness *harness);

cl_int harness_event_status(cl_event event);

/*
 * A buffer of these bytes with others in front of it and behind. Releasing it fails the test where those have changed.
 */
clattn_buffer harness_guarded(const struct harness *harness, size_t bytes);
void harness_guarded_release(const struct harness *harness, clattn_buffer buffer, size_t bytes);

/* The test ends here, with `format`, unless `status` is CLATTN_SUCCESS. */
void harness_check(clattn_status status, const clattn_error *error, const char *what);

#endif
