/* SPDX-License-Identifier: Apache-2.0 */
/* The multi-head layer: attention's operands but query, key and value, and these. */
#ifndef CLA_PROBLEM_LAYER_H
#define CLA_PROBLEM_LAYER_H

#include "problem/attention.h"

enum cla_layer_operand {
    CLA_INPUT = CLA_NUM_ATTENTION_OPERANDS,
    CLA_CONTEXT,
    CLA_W_Q,
    CLA_W_K,
    CLA_W_V,
    CLA_W_O,
    CLA_W_QKV,
    CLA_B_Q,
    CLA_B_K,
    CLA_B_V,
    CLA_B_O,
    CLA_B_QKV,
    CLA_KEPT, /* [1, 1, 1, floats] */
    CLA_NUM_LAYER_OPERANDS
};

/* The rows of an operand table of them, in which an operation that goes on with operands of its own begins. */
/* clang-format off */
#define CLA_LAYER_OPERANDS \
    CLA_ATTENTION_OPERANDS, \
    [CLA_INPUT] = {"input", CLA_CUT_ROWS, CLA_STRIDED}, \
    [CLA_CONTEXT] = {"context", CLA_CUT_KEYS, CLA_STRIDED}, \
    [CLA_W_Q] = {"w_q", CLA_CUT_NONE, 0}, \
    [CLA_W_K] = {"w_k", CLA_CUT_NONE, 0}, \
    [CLA_W_V] = {"w_v", CLA_CUT_NONE, 0}, \
    [CLA_W_O] = {"w_o", CLA_CUT_NONE, 0}, \
    [CLA_W_QKV] = {"w_qkv", CLA_CUT_NONE, 0}, \
    [CLA_B_Q] = {"b_q", CLA_CUT_NONE, 0}, \
    [CLA_B_K] = {"b_k", CLA_CUT_NONE, 0}, \
    [CLA_B_V] = {"b_v", CLA_CUT_NONE, 0}, \
    [CLA_B_O] = {"b_o", CLA_CUT_NONE, 0}, \
    [CLA_B_QKV] = {"b_qkv", CLA_CUT_NONE, 0}, \
    [CLA_KEPT] = {"kept", CLA_CUT_NONE, CLA_READ_BACK}
/* clang-format on */

extern const struct cla_operation cla_layer_operation;

/* The projections of a layer. With packed weights the first one is for query, key and value, and the next two are not.
 */
enum cla_projection { CLA_PROJECT_QUERY, CLA_PROJECT_KEY, CLA_PROJECT_VALUE, CLA_PROJECT_OUTPUT, CLA_NUM_PROJECTIONS };

/* Where query, key, value, attention's output and lse lie in what holds them, in bytes. With packed weights query, key
 * and value are side by side in each row. */
struct cla_layer_places {
    size_t query;
    size_t key;
    size_t value;
    size_t output;
    size_t lse;
    size_t end; /* more than any memory has where it is out of range */
};

/*
 * A layer and its parts. `whole` is attention's problem with the layer's operands in place of query, key, value and
 * output. The parts pass to one another: what the projections of query, key and value write, attention reads, and what
 * it writes, the last one reads.
 */
struct cla_layer_problem {
    struct cla_problem whole;
    struct cla_problem attention;
    struct cla_problem projection[CLA_NUM_PROJECTIONS]; /* linear; zero where there is none */

    clattn_attention_desc attention_desc; /* what the parts are made of, for their backward pass */
    clattn_linear_desc projection_desc[CLA_NUM_PROJECTIONS];
    struct cla_layer_places places; /* in the workspace, or in what is kept */
};

/* The projections that a run of the layer has, and the operands that they are made of. */
struct cla_layer_projection {
    int weight; /* its bias and the gradients of both are numbered alike */
    int input;
    enum cla_projection number;
};

/* The operation's check of lengths. */
clattn_status cla_check_layer_lengths(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                      clattn_error *error);

/* Writes up to three, in the order of query, key and value, and returns how many; the output's is not among them. */
int cla_layer_projections(const struct cla_problem *whole, struct cla_layer_projection projections[3]);

/* Places for all of them, of elements of `element_size` bytes, or of their own sizes where that is 0; for lse only if
 * `lse`. */
struct cla_layer_places cla_layer_places(const struct cla_layer_problem *layer, size_t element_size, bool lse);

clattn_status cla_problem_from_layer(const clattn_layer_desc *desc, struct cla_layer_problem *problem,
                                     clattn_error *error);

#endif
