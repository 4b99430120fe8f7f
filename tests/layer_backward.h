/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of a multi-head layer for tests: a scene of layers.h whose forward run keeps what is needed, what
 * goes into the backward run and what comes out, and the comparison with a composition in double precision.
 */
#ifndef CLATTN_TESTS_LAYER_BACKWARD_H
#define CLATTN_TESTS_LAYER_BACKWARD_H

#include "layers.h"

enum layer_gradient {
    D_INPUT,
    D_CONTEXT,
    D_W_Q,
    D_W_K,
    D_W_V,
    D_W_O,
    D_W_QKV,
    D_B_Q,
    D_B_K,
    D_B_V,
    D_B_O,
    D_B_QKV,
    D_MASK,
    D_SINKS,
    D_ALIBI_SLOPES,
    D_RELATIVE_BIAS,
    NUM_LAYER_GRADIENTS
};

extern const char *const layer_gradient_names[NUM_LAYER_GRADIENTS];

struct layer_backward_case {
    struct layer_case layer;
    unsigned without; /* a bit each: gradients that are not wanted though the layer has what they are of */
    int d_lse;
    int accumulate;
    int accumulate_inputs;
    clattn_dtype d_output;
    clattn_dtype d_input; /* and of d_context */
    clattn_dtype d_weight;
};

struct layer_backward_scene {
    const struct layer_backward_case *of;
    struct layer_scene layer;
    clattn_layer_backward_desc desc;
    clattn_layer_backward_args args;
    clattn_plan *plan;
    struct tensor d_output, d_lse;
    struct tensor d[NUM_LAYER_GRADIENTS];   /* zero where it is not wanted */
    struct tensor old[NUM_LAYER_GRADIENTS]; /* what those that are added to hold before */
    size_t kept_bytes;
};

/* The fields of the descriptor and of the arguments that a gradient has. */
int *layer_gradient_flag(clattn_layer_backward_desc *desc, enum layer_gradient gradient);
clattn_buffer *layer_gradient_slot(clattn_layer_backward_args *args, enum layer_gradient gradient);

/* Descriptors, to change as a test likes; then all plans and operands; then the end. These functions fail the test. */
void layer_backward_describe(struct layer_backward_scene *scene, const struct layer_backward_case *c);
void layer_backward_open(const struct harness *harness, struct layer_backward_scene *scene);
void layer_backward_close(const struct harness *harness, struct layer_backward_scene *scene);

/* The forward run, the backward run, and everything read back; the reading checks that nothing else has changed. */
void layer_backward_run(const struct harness *harness, struct layer_backward_scene *scene);

/* The backward run alone, again. */
void layer_backward_run_again(const struct harness *harness, struct layer_backward_scene *scene);

/*
 * Compares every gradient with the oracle's, composed in double of projections, attention and their backward passes, on
 * projected tensors rounded to their types. Each of the parts on the way may be off by its own bound, so an element is
 * held to some of them together, times the sum of its terms' absolute values, and all of a gradient, whose errors have
 * both signs, to the root of their mean square.
 */
void layer_backward_check(const struct layer_backward_scene *scene);

#endif
