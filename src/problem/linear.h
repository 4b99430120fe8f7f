/* SPDX-License-Identifier: Apache-2.0 */
/* Linear: a projection. */
#ifndef CLA_PROBLEM_LINEAR_H
#define CLA_PROBLEM_LINEAR_H

#include "problem/problem.h"

enum cla_linear_operand {
    CLA_LINEAR_INPUT,
    CLA_LINEAR_WEIGHT,
    CLA_LINEAR_BIAS, /* [1, 1, 1, out_features], where there is one */
    CLA_LINEAR_OUTPUT,
    CLA_NUM_LINEAR_OPERANDS
};

extern const struct cla_operation cla_linear_operation;

/* q_len is the length, head_dim in_features and value_dim out_features; q_heads and kv_heads are 1, kv_len is 0. */
clattn_status cla_problem_from_linear(const clattn_linear_desc *desc, struct cla_problem *problem, clattn_error *error);

#endif
