/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding and sinusoidal encoding. */
#ifndef CLA_PROBLEM_POSITION_H
#define CLA_PROBLEM_POSITION_H

#include "problem/problem.h"

enum cla_position_operand {
    CLA_TOKENS_IN,
    CLA_TOKENS_OUT,
    CLA_POSITIONS,
    CLA_COS, /* rotary */
    CLA_SIN, /* rotary */
    CLA_NUM_POSITION_OPERANDS
};

extern const struct cla_operation cla_rotary_operation;
extern const struct cla_operation cla_sinusoidal_operation;

/* q_len is the length, and head_dim the width of sinusoidal encoding, whose q_heads is 1. There are no keys. */
clattn_status cla_problem_from_rotary(const clattn_rotary_desc *desc, struct cla_problem *problem, clattn_error *error);
clattn_status cla_problem_from_sinusoidal(const clattn_sinusoidal_desc *desc, struct cla_problem *problem,
                                          clattn_error *error);

#endif
