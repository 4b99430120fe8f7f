/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of linear, one file each, and what their kernels have in common. */
#ifndef CLA_OPS_LINEAR_REGISTRY_H
#define CLA_OPS_LINEAR_REGISTRY_H

#include "ops/kernel.h"
#include "ops/variant.h"
#include "problem/linear.h"

extern const struct cla_variant cla_linear_dot;
extern const struct cla_variant cla_linear_tiled;
extern const struct cla_variant cla_linear_vector;

/* The build of its kernels, which take the input for block.cl's query, the weight for its key, the bias for its value.
 */
struct cla_build cla_linear_build(const struct cla_problem *problem);

/* Appends CLA_ADD_BIAS. */
void cla_linear_options(struct cla_text *options, const struct cla_problem *problem);

/* The arguments that both kernels begin with. */
void cla_linear_args(struct cla_step *step, const struct cla_problem *problem);

/* The steps of cl/linear_vector.cl, with products as `dot` says. */
clattn_status cla_linear_vector_add(clattn_plan *plan, enum cla_dot dot, struct cla_text *name, clattn_error *error);

#endif
