/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows with a value for each axis of cases.h, in few of which every legal pair of values of any two axes occurs.
 *
 * Greedy, after Cohen et al. 1997 ("The AETG system"): a row begins with a pair that no row has yet; then the other
 * axes, in random order, take the value that brings most new pairs with those already set. The best of several such
 * candidates is kept.
 */
#ifndef CLATTN_TESTS_COVER_H
#define CLATTN_TESTS_COVER_H

#include "cases.h"

#define COVER_MAX_VALUES 12
#define COVER_MAX_ROWS   400

/* Zeroed, it has no rows. */
struct cover {
    bool have[NUM_AXES][COVER_MAX_VALUES][NUM_AXES][COVER_MAX_VALUES];
    unsigned char rows[COVER_MAX_ROWS][NUM_AXES];
    size_t count;
};

/* Adds rows, of each axis the first limit[axis] values only, until there are `count` or all these pairs are had. */
void cover_add_rows(struct cover *cover, const unsigned char *limit, size_t count, uint64_t *state);

#endif
