/* SPDX-License-Identifier: Apache-2.0 */
/* The outputs of a run against the reference computation in double precision. */
#ifndef TOOL_VERIFY_H
#define TOOL_VERIFY_H

#include "shared/arrays.h"

struct verification {
    bool passed;  /* within the bounds that attention.h promises */
    double error; /* largest of the output */
    double share; /* of the bound, largest of all outputs */
    int64_t rows; /* that there are */
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

#endif
