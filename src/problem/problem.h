/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The normalised problem: what is asked, with every default filled in and every rule checked. Plain data, padding
 * zeroed, so two problems are the same if their bytes are. Nothing behind this header reads a public descriptor. Knows
 * no OpenCL object and no device.
 *
 * What an operation is lies in files of its own: its header here (attention.h, linear.h, ...) numbers its operands and
 * declares its struct cla_operation, and its ..._desc.c checks its descriptor. This header has what all of them share.
 */
#ifndef CLA_PROBLEM_PROBLEM_H
#define CLA_PROBLEM_PROBLEM_H

#include "problem/angles.h"
#include "problem/semantics.h"
#include "problem/tensor.h"
#include "util/text.h"
#include <clattn/layer.h>

struct cla_problem;

/* The lengths of a run: what it has of what the problem allows. */
struct cla_lengths {
    int64_t q_len;
    int64_t kv_len;
    int64_t offset;
    int64_t q_total;  /* packed queries */
    int64_t kv_total; /* packed keys */
};

/* How the lengths of a run cut an operand. */
enum cla_cut {
    CLA_CUT_NONE,
    CLA_CUT_ROWS,     /* rows are queries or tokens */
    CLA_CUT_KEYS,     /* rows are keys: packed, paged and circular ones lie as their storage says */
    CLA_CUT_SCORES,   /* rows are queries, columns keys */
    CLA_CUT_MASK,     /* the same, where extents of 1 are repeated */
    CLA_CUT_SUMMED,   /* the same, where extents of 1 are sums, which are there even where the lengths are 0 */
    CLA_CUT_PAGES,    /* columns are blocks of keys */
    CLA_CUT_REPEATED, /* the same, but one row is for all where there is one */
    CLA_CUT_PARTS,    /* [kv_len, ., q_len, .] */
};

enum cla_operand_flag {
    CLA_STRIDED = 1 << 0,   /* its layout is the caller's, so a run may bring another */
    CLA_READ_BACK = 1 << 1, /* an output that kernels also read */
};

struct cla_operand {
    const char *name; /* as the arguments of a run call it */
    enum cla_cut cut;
    unsigned flags; /* of cla_operand_flag */
};

#define CLA_MAX_OPERANDS 48
#define CLA_MAX_TYPED    6

/* One for each operation, static. */
struct cla_operation {
    const char *name;                   /* "weighted_sum" */
    const struct cla_operand *operands; /* by their numbers */
    int num_typed;
    int typed[CLA_MAX_TYPED]; /* those whose type the caller chooses, as the problem string has them */
    const char *q_len;        /* what the arguments of a run call the two lengths */
    const char *kv_len;
    struct {
        int output, input; /* may be one buffer if they lie alike: an element is read before it is written; or 0, 0 */
    } in_place;
    bool writes_without_queries; /* a run with a q_len of 0 has something to write */
    void (*format)(const struct cla_problem *problem, struct cla_line *line); /* all of the problem string */
    /* What lengths within the problem's must satisfy besides; may be NULL. Fails with INVALID_VALUE. */
    clattn_status (*check_lengths)(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                   clattn_error *error);
};

struct cla_problem {
    const struct cla_operation *operation;
    int64_t batch;
    int64_t q_heads; /* softmax, merge: heads; append: kv_heads */
    int64_t kv_heads;
    int64_t q_len;     /* append: length */
    int64_t kv_len;    /* merge: parts; append: capacity */
    int64_t head_dim;  /* 0 where the operation has none */
    int64_t value_dim; /* 0 where the operation has none */
    struct cla_tensor tensor[CLA_MAX_OPERANDS];

    struct cla_semantics semantics;   /* attention and its stages, append: of the rest neutral, which is all zero */
    struct cla_angles angles;         /* rotary, sinusoidal */
    clattn_layer_inputs layer_inputs; /* layer */
    bool layer_packed;
    bool accumulate;       /* backward: gradients of weights, biases, what is added to scores are added to
                              what is there */
    bool accumulate_input; /* so are those of inputs; of attention, those of query, key and value */
};

static inline const char *cla_operand_name(const struct cla_problem *problem, int operand)
{
    return problem->operation->operands[operand].name;
}

/* Whether a run of these lengths has nothing to compute. */
bool cla_problem_is_empty(const struct cla_problem *problem, int64_t q_len);

/* An operand with its extents cut to the lengths of a run, and the span that goes with them. */
struct cla_tensor cla_problem_cut(const struct cla_problem *problem, int operand, const struct cla_lengths *lengths);

/* The problem string of attention.h, for any operation ("softmax b1h8q512k512", ...). As snprintf. */
size_t cla_problem_string(const struct cla_problem *problem, char *text, size_t size);

/* The type by which the operation is known: that of the first operand that has a choice; "f32" where none has. */
const char *cla_problem_type(const struct cla_problem *problem);

/* Parts of problem strings that several operations have: "b1h8g2q512k512d64", ":f16" or ":f32-f16-f16-f32". */
void cla_format_sizes(const struct cla_problem *problem, struct cla_line *line);
void cla_format_types(const struct cla_problem *problem, struct cla_line *line);

#endif
