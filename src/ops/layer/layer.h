/* SPDX-License-Identifier: Apache-2.0 */
/* The multi-head layer: a plan made of plans, for the projections and for attention. */
#ifndef CLA_OPS_LAYER_LAYER_H
#define CLA_OPS_LAYER_LAYER_H

#include "ops/variant.h"
#include "problem/layer_backward.h"

/* Makes the plan. `attention_variant` is forced on attention unless it is NULL or "auto". */
clattn_status cla_layer_plan(clattn_context *context, const struct cla_layer_problem *problem,
                             const char *attention_variant, clattn_plan **plan, clattn_error *error);

/* The same for its backward pass. */
clattn_status cla_layer_backward_plan(clattn_context *context, const struct cla_layer_backward_problem *problem,
                                      const char *attention_variant, clattn_plan **plan, clattn_error *error);

#endif
