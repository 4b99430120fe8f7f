/* SPDX-License-Identifier: Apache-2.0 */
/* Linear in bf16 by dot products of pairs: cl/linear_vector.cl on cl/lib/dot_block.cl. One launch, no workspace. */
#include "ops/linear/registry.h"
#include "util/error.h"

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    (void)device;
    if (problem->tensor[CLA_LINEAR_INPUT].dtype != CLATTN_BF16 ||
        problem->tensor[CLA_LINEAR_WEIGHT].dtype != CLATTN_BF16)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "takes input and weight in bf16 alone");
    if (problem->head_dim % 2 != 0)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "in_features %lld do not consist of pairs",
                        (long long)problem->head_dim);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    return cla_linear_vector_add(plan, plan->context->device.dot, name, error);
}

const struct cla_variant cla_linear_dot = {"dot", accepts, add_steps};
