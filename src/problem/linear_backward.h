/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of linear: its operands but bias and output, of which none is written now, and these. */
#ifndef CLA_PROBLEM_LINEAR_BACKWARD_H
#define CLA_PROBLEM_LINEAR_BACKWARD_H

#include "problem/linear.h"
#include <clattn/backward.h>

enum cla_linear_backward_operand {
    CLA_LINEAR_D_OUTPUT = CLA_NUM_LINEAR_OPERANDS,
    CLA_LINEAR_D_INPUT,
    CLA_LINEAR_D_WEIGHT,
    CLA_LINEAR_D_BIAS, /* [1, 1, 1, out_features] */
    CLA_NUM_LINEAR_BACKWARD_OPERANDS
};

extern const struct cla_operation cla_linear_backward_operation;

/* Sizes are as in linear's problem. The gradients that are wanted are present, and of the inputs those they need. */
clattn_status cla_problem_from_linear_backward(const clattn_linear_backward_desc *desc, struct cla_problem *problem,
                                               clattn_error *error);

#endif
