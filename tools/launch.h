/* SPDX-License-Identifier: Apache-2.0 */
/* A plan put to work on a device: buffers for the operands of some arrays, runs, their time. */
#ifndef TOOL_LAUNCH_H
#define TOOL_LAUNCH_H

#include "arrays.h"

struct launch {
    cl_command_queue queue;
    clattn_plan *plan; /* the caller's */
    clattn_attention_args args;
    cl_mem buffer[NUM_OPERANDS];
    bool started; /* the queue may have work */
};

struct launch_time {
    int runs;
    double median; /* seconds from enqueueing a run to its end, everything being on the device */
    double least;
};

/*
 * Takes memory of the device for every operand that `arrays` has, their shapes being set. `launch` is to be released
 * whatever this returns.
 */
enum exit_code launch_create(struct launch *launch, clattn_context *context, const struct arrays *arrays);

/* Says what is to be run on that memory: a plan for the descriptor of the arrays, of the same context. */
void launch_set_plan(struct launch *launch, clattn_plan *plan);

/* Copies the inputs to the device, runs once, and copies the outputs back. */
enum exit_code launch_run(struct launch *launch, struct arrays *arrays);

/* Repeats the run for about a second, after a launch_run. */
enum exit_code launch_measure(struct launch *launch, struct launch_time *time);

void launch_release(struct launch *launch);

/*
 * Multiplications and additions of one run: 2 * q_heads * pairs * (head_dim + value_dim), the pairs of query and key
 * being those that causality, window and lengths leave. A mask takes none away.
 */
double launch_flop(const struct arrays *arrays);

#endif
