/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of the layer: the layer's operands, of which none is written now, and these. */
#ifndef CLA_PROBLEM_LAYER_BACKWARD_H
#define CLA_PROBLEM_LAYER_BACKWARD_H

#include "problem/layer.h"
#include <clattn/backward.h>

enum cla_layer_backward_operand {
    CLA_LAYER_D_OUTPUT = CLA_NUM_LAYER_OPERANDS,
    CLA_LAYER_D_LSE,
    CLA_LAYER_D_INPUT,
    CLA_LAYER_D_CONTEXT,
    CLA_D_W_Q, /* weights and biases in the order of the layer's operands */
    CLA_D_W_K,
    CLA_D_W_V,
    CLA_D_W_O,
    CLA_D_W_QKV,
    CLA_D_B_Q,
    CLA_D_B_K,
    CLA_D_B_V,
    CLA_D_B_O,
    CLA_D_B_QKV,
    CLA_LAYER_D_MASK,
    CLA_LAYER_D_SINKS,
    CLA_LAYER_D_ALIBI_SLOPES,
    CLA_LAYER_D_RELATIVE_BIAS,
    CLA_NUM_LAYER_BACKWARD_OPERANDS
};

extern const struct cla_operation cla_layer_backward_operation;

/*
 * The whole and its parts: `attention` is attention's backward pass and `projection` linear's. Those that nothing
 * wanted needs have no operation.
 */
struct cla_layer_backward_problem {
    struct cla_problem whole;
    struct cla_problem attention;
    struct cla_problem projection[CLA_NUM_PROJECTIONS];
    struct cla_layer_places places; /* in the workspace: of the gradients of what the forward kept, f32 */
    struct cla_layer_problem forward;
};

clattn_status cla_problem_from_layer_backward(const clattn_layer_backward_desc *desc,
                                              struct cla_layer_backward_problem *problem, clattn_error *error);

#endif
