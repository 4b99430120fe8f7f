/* SPDX-License-Identifier: Apache-2.0 */
/* Append to a key/value cache: attention's key, value and block table, and these. */
#ifndef CLA_PROBLEM_APPEND_H
#define CLA_PROBLEM_APPEND_H

#include "problem/attention.h"
#include <clattn/cache.h>

enum cla_append_operand {
    CLA_KEY_CACHE = CLA_NUM_ATTENTION_OPERANDS,
    CLA_VALUE_CACHE,
    CLA_APPEND_POSITIONS,
    CLA_NUM_APPEND_OPERANDS
};

extern const struct cla_operation cla_append_operation;

clattn_status cla_problem_from_append(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error);

#endif
