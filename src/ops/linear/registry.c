/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/linear/registry.h"

static const struct cla_variant *const variants[] = {
    &cla_linear_vector,
    &cla_linear_dot,
    &cla_linear_tiled,
};

const struct cla_registry cla_linear_registry = {variants, sizeof variants / sizeof *variants};

/* A product of rows with rows, as scores are. */
struct cla_build cla_linear_build(const struct cla_problem *problem)
{
    const struct cla_tensor *tensor = problem->tensor;
    return (struct cla_build){
        .query = tensor[CLA_LINEAR_INPUT].dtype,
        .key = tensor[CLA_LINEAR_WEIGHT].dtype,
        .value = tensor[CLA_LINEAR_BIAS].dtype,
        .output = tensor[CLA_LINEAR_OUTPUT].dtype,
    };
}

void cla_linear_options(struct cla_text *options, const struct cla_problem *problem)
{
    cla_option(options, "CLA_ADD_BIAS", problem->tensor[CLA_LINEAR_BIAS].present);
}

void cla_linear_args(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_LINEAR_INPUT);
    cla_step_operand(step, problem, CLA_LINEAR_WEIGHT);
    cla_step_operand(step, problem, CLA_LINEAR_BIAS);
    cla_step_operand(step, problem, CLA_LINEAR_OUTPUT);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
}
