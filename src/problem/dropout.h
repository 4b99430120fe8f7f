/* SPDX-License-Identifier: Apache-2.0 */
/* Which weights of a problem dropout keeps: the rule of attention.h, for the host and for what kernels are given. */
#ifndef CLA_PROBLEM_DROPOUT_H
#define CLA_PROBLEM_DROPOUT_H

#include "problem/problem.h"

/* What a run brings for dropout. */
struct cla_dropout {
    bool seeded; /* false: there is no seed, which a problem with dropout refuses */
    uint64_t seed;
    uint64_t offset;
    int64_t batch; /* the number that the run's first batch counts as */
};

/* A weight is kept whose word is at least this: the nearest integer to dropout * 2^32. */
uint32_t cla_dropout_threshold(const struct cla_problem *problem);

/* What weights that are kept are multiplied by: 1 / (1 - dropout). */
float cla_dropout_scale(const struct cla_problem *problem);

/* Elements from one batch, head and query to the next, modulo 2^64. */
struct cla_dropout_strides {
    uint64_t batch;
    uint64_t head;
    uint64_t query;
};

struct cla_dropout_strides cla_dropout_strides(const struct cla_problem *problem);

/* The number of the weight of key 0. */
uint64_t cla_dropout_element(const struct cla_problem *problem, int64_t b, int64_t h, int64_t i);

/* kept[n] = whether element `first` + n is kept, for `count` of them. */
void cla_dropout_mask(const struct cla_problem *problem, const struct cla_dropout *dropout, uint64_t first,
                      int64_t count, unsigned char *kept);

#endif
