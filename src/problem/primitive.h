/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, weighted sum and merge: attention's operands as far as they have them, and these. */
#ifndef CLA_PROBLEM_PRIMITIVE_H
#define CLA_PROBLEM_PRIMITIVE_H

#include "problem/attention.h"
#include <clattn/primitive.h>

enum cla_primitive_operand {
    CLA_WEIGHTS = CLA_NUM_ATTENTION_OPERANDS, /* written by softmax, read by weighted sum */
    CLA_PARTS,    /* merge: outputs of the parts, [parts, batch * heads, q_len, value_dim] */
    CLA_PART_LSE, /* merge: [parts, batch * heads, q_len, 1] */
    CLA_NUM_PRIMITIVE_OPERANDS
};

extern const struct cla_operation cla_softmax_operation;
extern const struct cla_operation cla_weighted_sum_operation;
extern const struct cla_operation cla_merge_operation;

clattn_status cla_problem_from_softmax(const clattn_softmax_desc *desc, struct cla_problem *problem,
                                       clattn_error *error);
clattn_status cla_problem_from_weighted_sum(const clattn_weighted_sum_desc *desc, struct cla_problem *problem,
                                            clattn_error *error);
clattn_status cla_problem_from_merge(const clattn_merge_desc *desc, struct cla_problem *problem, clattn_error *error);

#endif
