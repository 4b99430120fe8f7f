/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of attention's backward pass, one file each, and the steps and arguments that they have in common. */
#ifndef CLA_OPS_ATTENTION_BACKWARD_REGISTRY_H
#define CLA_OPS_ATTENTION_BACKWARD_REGISTRY_H

#include "ops/semantics.h"
#include "ops/variant.h"
#include "problem/attention_backward.h"

extern const struct cla_variant cla_attention_backward_tiled;
extern const struct cla_variant cla_attention_backward_vector;

/* What the kernels that make scores and weights again depend on: sinks are in the lse. */
#define CLA_BACKWARD_USES (CLA_USES_ALL & ~CLA_USES_SINKS)

/* Appends the options of cl/lib/gradient.cl. */
void cla_backward_options(struct cla_text *options, const struct cla_problem *problem);

/* Appends what such kernels read: query, key, value, d_output, lse and delta. */
void cla_backward_inputs(struct cla_step *step, const struct cla_problem *problem);

/*
 * What a gradient is a sum over besides its queries and keys: of its `batches` and `heads` each is for that many
 * batches, and query heads, that follow one another. More than one are heads of a group, and what shares an operand by
 * strides or extents: batches where `batches` is 1, all query heads where `heads` is 1.
 */
struct cla_backward_shares {
    int64_t batches, heads;
    int64_t sum_batches, sum_heads;
};

struct cla_backward_shares cla_backward_shares(const struct cla_problem *problem, int gradient);

/* A step of a kernel built on cl/lib/block.cl and gradient.cl, whose sums have up to `terms`; see cla_add_tiled_step.
 */
clattn_status cla_backward_tiled_step(clattn_plan *plan, const char *file, const char *kernel_name, unsigned uses,
                                      int64_t terms, struct cla_text *name, struct cla_step **step,
                                      const struct cla_tile **tile, clattn_error *error);

/* The start of the workspace becomes delta's: what a plan begins with. */
clattn_status cla_backward_take_delta(clattn_plan *plan, clattn_error *error);

/* Appends the arguments of a kernel that fills delta. */
void cla_backward_delta_args(struct cla_step *step, const struct cla_problem *problem);

/* The step that makes d_sinks of lse and delta, if it is wanted. */
clattn_status cla_backward_add_sinks(clattn_plan *plan, clattn_error *error);

/* The steps that make d_mask, d_alibi_slopes and d_relative_bias, as far as they are wanted, of delta as well. */
clattn_status cla_backward_add_biases(clattn_plan *plan, clattn_error *error);

#endif
