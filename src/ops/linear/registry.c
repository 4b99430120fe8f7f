/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/linear/registry.h"
#include "ops/kernel.h"

static const struct cla_variant *const variants[] = {
    &cla_linear_vector,
    &cla_linear_tiled,
};

const struct cla_registry cla_linear_registry = {variants, sizeof variants / sizeof *variants};

void cla_linear_options(struct cla_text *options, const struct cla_problem *problem)
{
    cla_option(options, "CLA_ADD_BIAS", problem->tensor[CLA_BIAS].present);
}

void cla_linear_args(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_INPUT);
    cla_step_operand(step, problem, CLA_WEIGHT);
    cla_step_operand(step, problem, CLA_BIAS);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
}
