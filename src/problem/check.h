/* SPDX-License-Identifier: Apache-2.0 */
/* The checks that descriptors have in common. All fail with INVALID_VALUE. */
#ifndef CLA_PROBLEM_CHECK_H
#define CLA_PROBLEM_CHECK_H

#include "problem/problem.h"

/* The greatest length and head dim: kernels count the elements of a row, and the rows of a head, in int. */
#define CLA_MAX_LENGTH ((int64_t)1 << 30)

/* The greatest batch, number of heads, and product of the two, for the same reason. */
#define CLA_MAX_HEADS ((int64_t)INT32_MAX)

/* Sets of types, as a bit each. */
#define CLA_DTYPES_F32      (1u << CLATTN_F32)
#define CLA_DTYPES_BOOL     (1u << CLATTN_BOOL)
#define CLA_DTYPES_FLOATING (1u << CLATTN_F32 | 1u << CLATTN_F16 | 1u << CLATTN_BF16)

clattn_status cla_check_range(const char *name, int64_t value, int64_t least, int64_t greatest, clattn_error *error);

/* Of sizes that are in their ranges: kv_heads divides q_heads, whose name is `heads`, and batch * q_heads is in range.
 */
clattn_status cla_check_heads(const struct cla_problem *problem, const char *heads, clattn_error *error);

/*
 * Adds an operand: checks that its type is one of `allowed`, and lays it out over `extent`. `layout` is the caller's;
 * see cla_tensor_lay_out for what is wrong with it.
 */
clattn_status cla_set_tensor(struct cla_problem *problem, int operand, const clattn_layout *layout, unsigned allowed,
                             const int64_t extent[4], bool written, clattn_error *error);

/* Adds an operand of `count` integers, such as lengths, whose type is not NONE. */
clattn_status cla_set_integers(struct cla_problem *problem, int operand, clattn_lengths type, int64_t count,
                               clattn_error *error);

#endif
