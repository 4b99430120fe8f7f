/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans put to work on a device: buffers for the operands of some arrays, runs, their time and what is in them. Where
 * gradients are wanted there are two passes, and each has a plan.
 */
#ifndef TOOL_LAUNCH_H
#define TOOL_LAUNCH_H

#include "shared/arrays.h"
#include "shared/timing.h"

enum pass { FORWARD, BACKWARD, NUM_PASSES };

struct launch {
    cl_command_queue queue;
    clattn_plan *plan[NUM_PASSES]; /* the caller's; NULL: no such pass */
    clattn_attention_args args;
    clattn_attention_backward_args backward_args;
    cl_mem buffer[NUM_OPERANDS];
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    bool started; /* the queue may have work */
};

/*
 * Takes memory of the device for every operand that `arrays` has, their shapes being set. `launch` is to be released
 * whatever this returns.
 */
enum exit_code launch_create(struct launch *launch, clattn_context *context, const struct arrays *arrays);

/* Makes the plan of a pass for the descriptor of the arrays; `variant` NULL: the best one. To be released. */
clattn_status launch_plan(clattn_context *context, const struct arrays *arrays, enum pass pass, const char *variant,
                          clattn_plan **plan, clattn_error *error);

/* Says what is to be run on that memory: such a plan, of the same context. */
void launch_set_plan(struct launch *launch, enum pass pass, clattn_plan *plan);

/* Copies operands from `first` to the one before `end` to the device. */
enum exit_code launch_upload(struct launch *launch, const struct arrays *arrays, enum operand first, enum operand end);

/* Runs a pass once and waits; everything is on the device, for the backward pass what the forward wrote, too. */
enum exit_code launch_once(struct launch *launch, enum pass pass);

/* Copies the outputs back. */
enum exit_code launch_download(struct launch *launch, struct arrays *arrays);

/* The three of them, with every pass that has a plan. */
enum exit_code launch_run(struct launch *launch, struct arrays *arrays);

/* Repeats launch_once for about a second, after a launch_run. */
enum exit_code launch_measure(struct launch *launch, enum pass pass, struct timing *timing);

void launch_release(struct launch *launch);

/* What one run cannot do without. */
struct launch_work {
    double flop; /* 2 * q_heads * pairs * (head_dim + value_dim), the pairs of query and key being those that causality,
                    window and lengths leave. A mask takes none away. Of the backward pass 2.5 times that */
    double bytes; /* of query and output, and, once a key/value head, of the keys and values that some query sees. Of
                     the backward pass twice that: each has a gradient */
};

struct launch_work launch_work(const struct arrays *arrays, enum pass pass);

/* The tile in a plan's name, which is algorithm, type, dims and tile; "" where nothing is to be computed. */
const char *launch_tile(const clattn_plan *plan);

#endif
