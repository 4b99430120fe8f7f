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
    CLA_NUM_LAYER_OPERANDS
};

extern const struct cla_operation cla_layer_operation;

/* The projections of a layer. With packed weights the first one is for query, key and value, and the next two are not.
 */
enum cla_projection { CLA_PROJECT_QUERY, CLA_PROJECT_KEY, CLA_PROJECT_VALUE, CLA_PROJECT_OUTPUT, CLA_NUM_PROJECTIONS };

/*
 * A layer and its parts. `whole` is attention's problem with the layer's operands in place of query, key, value and
 * output. The parts pass to one another: what the projections of query, key and value write, attention reads, and what
 * it writes, the last one reads.
 */
struct cla_layer_problem {
    struct cla_problem whole;
    struct cla_problem attention;
    struct cla_problem projection[CLA_NUM_PROJECTIONS]; /* linear; zero where there is none */
};

clattn_status cla_problem_from_layer(const clattn_layer_desc *desc, struct cla_layer_problem *problem,
                                     clattn_error *error);

#endif
