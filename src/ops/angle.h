/* SPDX-License-Identifier: Apache-2.0 */
/* What rotary embedding and sinusoidal encoding share: angles that grow with a position, and a work-group a token. */
#ifndef CLA_OPS_ANGLE_H
#define CLA_OPS_ANGLE_H

#include "ops/kernel.h"
#include "problem/position.h"

/*
 * Makes the constant that cl/lib/angle.cl calls fractions: for each of `num_scales` scales, one after the other,
 * `count` pairs, pair k growing by scale * problem's base^(-k / count) radians a position.
 */
clattn_status cla_add_fractions(clattn_plan *plan, const double *scales, int num_scales, int64_t count,
                                cl_mem *constant, clattn_error *error);

/* The options of types.cl, CLA_INPUT_TYPE, CLA_POSITIONS, CLA_PAIRS and CLA_GROUP_SIZE. */
void cla_token_options(struct cla_text *options, const struct cla_problem *problem, size_t group_size);

/* Work-items of a group: many on a GPU, one on a CPU, where it takes all of a token. */
size_t cla_token_group_size(const struct cla_device *device);

/* Pairs that a work-item takes at a time: one, so that neighbours share a cache line, or where it is alone a vector. */
int64_t cla_pairs_at_a_time(size_t group_size);

/*
 * Sets the geometry of a step in which work-groups share a token's `units` units of work, one a work-item and pass, and
 * appends the last arguments: columns, length, offset.
 */
void cla_step_tokens(struct cla_step *step, const clattn_plan *plan, int64_t units);

#endif
