/* SPDX-License-Identifier: Apache-2.0 */
/* Sinusoidal encoding, work-groups that each own a token or a part of one: cl/sinusoidal.cl. */
#include "ops/angle.h"
#include "ops/variant.h"
#include "util/error.h"
#include "util/size.h"

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const size_t size = cla_token_group_size(&plan->context->device);
    const int64_t pairs = problem->head_dim / 2;
    const double scales[2] = {problem->angles.row_scale, problem->angles.column_scale};
    const int dimensions = problem->angles.columns != 0 ? 2 : 1;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cl_mem fractions = NULL;

    CLA_TRY(cla_add_fractions(plan, scales, dimensions, pairs / dimensions, &fractions, error));
    cla_token_options(&options, problem, size);
    cla_option(&options, "CLA_ADD", problem->tensor[CLA_TOKENS_IN].present);
    cla_option(&options, "CLA_GRID", dimensions == 2);
    clattn_status status = cla_plan_add_step(plan, "sinusoidal.cl", &options, "sinusoidal", size, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_TOKENS_IN);
    cla_step_operand(step, problem, CLA_TOKENS_OUT);
    cla_step_operand(step, problem, CLA_POSITIONS);
    cla_step_constant(step, fractions);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->angles.columns);
    cla_step_tokens(step, plan, cla_ceil_div(pairs, cla_pairs_at_a_time(size)));
    cla_text_add(tile, "w%zu", size);
    return CLATTN_SUCCESS;
}

static const struct cla_variant sinusoidal = {"sinusoidal", NULL, add_steps};
static const struct cla_variant *const variants[] = {&sinusoidal};
const struct cla_registry cla_sinusoidal_registry = {variants, sizeof variants / sizeof *variants};
