/* SPDX-License-Identifier: Apache-2.0 */
/* Flash attention in bf16 by dot products of pairs: cl/flash_vector.cl on cl/lib/dot_block.cl. One launch, no
 * workspace. */
#include "ops/attention/registry.h"
#include "util/error.h"

static clattn_status accepts(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why)
{
    static const int operands[] = {CLA_QUERY, CLA_KEY, CLA_VALUE, CLA_OUTPUT};
    CLA_TRY(cla_flash_vector_accepts(problem, device, why));
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) {
        if (problem->tensor[operands[i]].dtype != CLATTN_BF16)
            return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "takes query, key, value and output in bf16 alone");
    }
    if (problem->head_dim % 2 != 0)
        return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "head_dim %lld does not consist of pairs",
                        (long long)problem->head_dim);
    return CLATTN_SUCCESS;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    return cla_flash_vector_add(plan, plan->context->device.dot, name, error);
}

const struct cla_variant cla_attention_flash_dot = {"flash_dot", accepts, add_steps};
