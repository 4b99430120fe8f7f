/* SPDX-License-Identifier: Apache-2.0 */
/* The backward pass of attention: its operands, of which output and lse are read now, and these. */
#ifndef CLA_PROBLEM_ATTENTION_BACKWARD_H
#define CLA_PROBLEM_ATTENTION_BACKWARD_H

#include "problem/attention.h"
#include <clattn/backward.h>

enum cla_attention_backward_operand {
    CLA_D_OUTPUT = CLA_NUM_ATTENTION_OPERANDS,
    CLA_D_LSE,
    CLA_D_QUERY,
    CLA_D_KEY,
    CLA_D_VALUE,
    CLA_D_MASK,
    CLA_D_SINKS,
    CLA_D_ALIBI_SLOPES,
    CLA_D_RELATIVE_BIAS,
    CLA_NUM_ATTENTION_BACKWARD_OPERANDS
};

/* The gradients as problem strings name them; `backward` alone asks for the first three. */
enum { CLA_NUM_USUAL_GRADIENTS = 3, CLA_NUM_GRADIENTS = 7 };
struct cla_gradient {
    const char *name;
    int operand;
    size_t wanted; /* byte of the int in the descriptor that says so */
};
extern const struct cla_gradient cla_gradients[CLA_NUM_GRADIENTS];

extern const struct cla_operation cla_attention_backward_operation;

/* Of the gradients those that are wanted are present, and sinks only where theirs is. */
clattn_status cla_problem_from_attention_backward(const clattn_attention_backward_desc *desc,
                                                  struct cla_problem *problem, clattn_error *error);

#endif
