/* SPDX-License-Identifier: Apache-2.0 */
/* The outputs of a run against the reference computation in double precision. */
#ifndef TOOL_VERIFY_H
#define TOOL_VERIFY_H

#include "oracle.h"
#include "shared/arrays.h"

struct verification {
    bool passed;  /* within the bounds that attention.h and backward.h promise */
    double error; /* largest of the output, or of the gradients */
    double share; /* of the bound, largest of all outputs */
    int64_t rows; /* that there are; of gradients rows of queries and keys, and elements of what is added to scores */
    int64_t compared;
    char message[400]; /* where it is worst */
};

/*
 * Compares the outputs of `arrays`, all of whose data is there. Rows in equal steps where the reference would need more
 * than `most_products` products of an element of key or value: it does some 5e8 a second. `unit_variance` says that the
 * inputs are, so that the closer of the bounds hold. Fails where there is no memory for the reference, not where the
 * outputs are wrong.
 */
enum exit_code verify_outputs(const struct arrays *arrays, bool unit_variance, double most_products,
                              struct verification *verification);

/*
 * The same for the gradients, by the formulas of backward.h from the output and lse that `arrays` has. Of each gradient
 * some of its rows or elements, in equal steps, where all would need more than `most_products`.
 */
enum exit_code verify_gradients(const struct arrays *arrays, double most_products, struct verification *verification);

/* The operands as the reference computation takes them. */
struct oracle_operands verify_operands(const struct arrays *arrays);

#endif
