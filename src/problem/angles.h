/* SPDX-License-Identifier: Apache-2.0 */
/* What positions are turned by: rotary embedding and sinusoidal encoding. */
#ifndef CLA_PROBLEM_ANGLES_H
#define CLA_PROBLEM_ANGLES_H

#include <clattn/position.h>
#include <stdbool.h>

/* Positions, tables and additions are there where their tensors are. */
struct cla_angles {
    int64_t rotary_dim;
    clattn_rotary_pairs rotary_pairs;
    bool rotary_backward;
    double base;         /* 0 with tables */
    int64_t columns;     /* of the grid of tokens; 0: one dimension */
    double row_scale;    /* of positions, in two dimensions of rows */
    double column_scale; /* 0 in one dimension */
};

#endif
