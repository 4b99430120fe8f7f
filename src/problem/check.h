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

clattn_status cla_check_dtype(enum cla_operand operand, clattn_dtype dtype, unsigned allowed, clattn_error *error);

/* Adds an operand of `count` integers, such as lengths, whose type is not NONE. */
clattn_status cla_set_integers(struct cla_problem *problem, enum cla_operand operand, clattn_lengths type,
                               int64_t count, clattn_error *error);

/* Checks the fields of paged storage for sequences of up to `length` keys, takes them over, and adds the block table.
 */
clattn_status cla_set_pages(struct cla_problem *problem, int64_t page_size, int64_t num_blocks,
                            int64_t block_table_stride, int64_t length, clattn_error *error);

/* 1 / sqrt(head_dim), the scale that 0 stands for. */
float cla_default_scale(int64_t head_dim);

/* What a problem string that does not say otherwise means: blocks that hold every key of every batch, 1 at least, and
 * rows of as many full sequences. Where that does not fit 63 bits, INT64_MAX. */
int64_t cla_default_blocks(int64_t batch, int64_t kv_len, int64_t page_size);
int64_t cla_default_total(int64_t batch, int64_t length);

#endif
