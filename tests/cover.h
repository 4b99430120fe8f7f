/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows with a value for each axis of cases.h, in few of which every legal pair of values of any two axes occurs, and
 * which need few programs: to build one takes a thousand times as long as to run it. Rows whose values are of the same
 * classes share a program. So the pairs of classes are what programs are planned for, and all
 * other pairs are laid over these programs.
 *
 * Greedy, after Cohen et al. 1997 ("The AETG system"): a row begins with a pair that no row has yet; then the other
 * axes, in random order, take the value that brings most that is new with those already set. The best of several such
 * candidates is kept.
 */
#ifndef CLATTN_TESTS_COVER_H
#define CLATTN_TESTS_COVER_H

#include "cases.h"

#define COVER_MAX_VALUES 16
#define COVER_MAX_ROWS   400

/* What its table is about; with the rest zeroed, it has no rows. Axes from `axes` on have the value 0. */
struct cover {
    int axes;
    int (*class_of)(enum case_axis axis, int value);
    bool have[NUM_AXES][COVER_MAX_VALUES][NUM_AXES][COVER_MAX_VALUES];  /* pairs of values; of one with itself too */
    bool built[NUM_AXES][COVER_MAX_VALUES][NUM_AXES][COVER_MAX_VALUES]; /* pairs of classes */
    unsigned char rows[COVER_MAX_ROWS][NUM_AXES];
    size_t program[COVER_MAX_ROWS]; /* of each row, numbered as they come */
    size_t count;
    size_t programs;
};

/* What each further row is to bring. */
enum cover_aim {
    COVER_VALUES,   /* a value that no row has */
    COVER_PROGRAMS, /* a pair of classes that no row has: a program of its own */
    COVER_RUNS,     /* a pair of values that no row has, on a program that there is */
    COVER_PAIRS     /* a pair of values that no row has */
};

/* Adds rows, of each axis the first limit[axis] values only, until there are `count` or none brings what it is to. */
void cover_add_rows(struct cover *cover, enum cover_aim aim, const unsigned char *limit, size_t count, uint64_t *state);

#endif
