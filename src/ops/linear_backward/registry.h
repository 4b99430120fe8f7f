/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The variants of linear's backward pass, one file each, and what they have in common: gradients by the weight and the
 * bias are sums over all tokens, the rows of all batches, which may be cut into parts. Each part is then summed by
 * other work-groups, into the workspace, and a further step adds the parts in order.
 */
#ifndef CLA_OPS_LINEAR_BACKWARD_REGISTRY_H
#define CLA_OPS_LINEAR_BACKWARD_REGISTRY_H

#include "ops/kernel.h"
#include "ops/variant.h"
#include "problem/linear_backward.h"

extern const struct cla_variant cla_linear_backward_tiled;
extern const struct cla_variant cla_linear_backward_vector;

/* Parts of the tokens, `span` tokens each, the last one fewer; `start` is where they lie, in floats of the workspace.
 */
struct cla_token_parts {
    int64_t count;
    int64_t span;
    int64_t start;
};

/*
 * As many parts as give the device enough work-groups where each part has `groups`; one where a part would be short.
 * Spans are a multiple of 128.
 */
struct cla_token_parts cla_cut_tokens(const clattn_plan *plan, int64_t groups);

/* The build of a kernel that multiplies d_output by `other`, block.cl's value, to `gradient`. */
struct cla_build cla_linear_backward_build(const struct cla_problem *problem, int other, int gradient);

/*
 * Appends to a step that sums d_weight its output, the workspace where there are parts, and the arguments `length`,
 * `batch` and `span`; and sets the geometry but for column_groups. Takes room in the workspace.
 */
void cla_weight_step_output(clattn_plan *plan, struct cla_step *step, struct cla_token_parts *parts);

/* Adds the step that makes d_weight of its parts, where there are several. */
clattn_status cla_add_weight_parts(clattn_plan *plan, const struct cla_token_parts *parts, clattn_error *error);

/* Adds the steps that make d_bias. Takes room in the workspace. */
clattn_status cla_add_bias_steps(clattn_plan *plan, clattn_error *error);

#endif
