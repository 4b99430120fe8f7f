/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention and its scores: their operands, which the operations around them share (primitive.h, append.h, layer.h go
 * on where these end), and their descriptor.
 */
#ifndef CLA_PROBLEM_ATTENTION_H
#define CLA_PROBLEM_ATTENTION_H

#include "problem/problem.h"

enum cla_attention_operand {
    CLA_QUERY,
    CLA_KEY,
    CLA_VALUE,
    CLA_OUTPUT,
    CLA_MASK,
    CLA_KV_LENGTHS,
    CLA_LSE,
    CLA_SCORES,
    CLA_SINKS,
    CLA_ALIBI_SLOPES,
    CLA_RELATIVE_BIAS,
    CLA_BLOCK_TABLE,
    CLA_Q_CU_LENGTHS,
    CLA_KV_CU_LENGTHS,
    CLA_NUM_ATTENTION_OPERANDS
};

/* Their rows of an operand table, in which an operation that goes on with operands of its own begins. */
/* clang-format off */
#define CLA_ATTENTION_OPERANDS \
    [CLA_QUERY] = {"query", CLA_CUT_ROWS, CLA_STRIDED}, \
    [CLA_KEY] = {"key", CLA_CUT_KEYS, CLA_STRIDED}, \
    [CLA_VALUE] = {"value", CLA_CUT_KEYS, CLA_STRIDED}, \
    [CLA_OUTPUT] = {"output", CLA_CUT_ROWS, CLA_STRIDED}, \
    [CLA_MASK] = {"mask", CLA_CUT_MASK, CLA_STRIDED}, \
    [CLA_KV_LENGTHS] = {"kv_lengths", CLA_CUT_NONE, 0}, \
    [CLA_LSE] = {"lse", CLA_CUT_ROWS, 0}, \
    [CLA_SCORES] = {"scores", CLA_CUT_SCORES, CLA_STRIDED | CLA_READ_BACK}, \
    [CLA_SINKS] = {"sinks", CLA_CUT_NONE, 0}, \
    [CLA_ALIBI_SLOPES] = {"alibi_slopes", CLA_CUT_NONE, 0}, \
    [CLA_RELATIVE_BIAS] = {"relative_bias", CLA_CUT_NONE, 0}, \
    [CLA_BLOCK_TABLE] = {"block_table", CLA_CUT_PAGES, CLA_STRIDED}, \
    [CLA_Q_CU_LENGTHS] = {"q_cu_lengths", CLA_CUT_NONE, 0}, \
    [CLA_KV_CU_LENGTHS] = {"kv_cu_lengths", CLA_CUT_NONE, 0}
/* clang-format on */

extern const struct cla_operation cla_attention_operation;
extern const struct cla_operation cla_scores_operation;

/*
 * Check a public descriptor and normalise it, here and in the headers of the other operations. Fail with
 * INVALID_ARGUMENT for a wrong struct_size and INVALID_VALUE for anything else, with the field, its value and what was
 * expected.
 */
clattn_status cla_problem_from_attention(const clattn_attention_desc *desc, struct cla_problem *problem,
                                         clattn_error *error);
clattn_status cla_problem_from_scores(const clattn_attention_desc *desc, struct cla_problem *problem,
                                      clattn_error *error);

/* Checks the fields of paged storage for sequences of up to `length` keys, takes them over, and adds the block table.
 */
clattn_status cla_set_pages(struct cla_problem *problem, int64_t page_size, int64_t num_blocks,
                            int64_t block_table_stride, int64_t length, clattn_error *error);

/* The problem string: all of attention's, and with a name before it that of operations that work on the same sizes. */
void cla_format_attention(const struct cla_problem *problem, struct cla_line *line);
void cla_format_stage(const struct cla_problem *problem, struct cla_line *line);

/* 1 / sqrt(head_dim), the scale that 0 stands for. */
float cla_default_scale(int64_t head_dim);

/* What a problem string that does not say otherwise means: blocks that hold every key of every batch, 1 at least, and
 * rows of as many full sequences. Where that does not fit 63 bits, INT64_MAX. */
int64_t cla_default_blocks(int64_t batch, int64_t kv_len, int64_t page_size);
int64_t cla_default_total(int64_t batch, int64_t length);

#endif
