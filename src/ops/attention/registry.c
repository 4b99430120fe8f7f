/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/attention/registry.h"
#include "ops/kernel.h"

static const struct cla_variant *const variants[] = {
    &cla_attention_flash,
    &cla_attention_flash_vector,
    &cla_attention_unfused,
};

const struct cla_registry cla_attention_registry = {variants, sizeof variants / sizeof *variants};

void cla_flash_options(struct cla_text *options, const struct cla_problem *problem)
{
    cla_option(options, "CLA_HEAD_DIM", problem->head_dim);
    cla_option(options, "CLA_VALUE_DIM", problem->value_dim);
    cla_option(options, "CLA_LSE", problem->tensor[CLA_LSE].present);
}

void cla_flash_args(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_operand(step, problem, CLA_QUERY);
    cla_step_operand(step, problem, CLA_KEY);
    cla_step_operand(step, problem, CLA_VALUE);
    cla_step_operand(step, problem, CLA_OUTPUT);
    cla_step_operand(step, problem, CLA_LSE);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, cla_heads_per_kv(problem));
    cla_step_semantics(step, problem, CLA_USES_ALL);
    step->column_groups = 1;
}
