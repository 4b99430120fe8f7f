/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding, work-groups that each own a token or a part of one: cl/rotary.cl. */
#include "ops/angle.h"
#include "ops/variant.h"
#include "util/error.h"
#include "util/size.h"

/* Heads of a unit, as in cl/rotary.cl. */
enum { HEADS = 8 };

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    static const double scale = 1.0;
    const struct cla_problem *problem = &plan->problem;
    const size_t size = cla_token_group_size(&plan->context->device);
    const int64_t pairs = problem->angles.rotary_dim / 2;
    const int64_t unit = cla_pairs_at_a_time(size);
    const bool tables = problem->tensor[CLA_COS].present;
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    cl_mem fractions = NULL;

    if (!tables)
        CLA_TRY(cla_add_fractions(plan, &scale, 1, pairs, &fractions, error));
    cla_token_options(&options, problem, size);
    cla_option(&options, "CLA_INTERLEAVED", problem->angles.rotary_pairs == CLATTN_ROTARY_INTERLEAVED);
    cla_option(&options, "CLA_BACKWARD", problem->angles.rotary_backward);
    cla_option(&options, "CLA_TABLES", tables);
    cla_option(&options, "CLA_TABLE_TYPE", tables ? (int64_t)problem->tensor[CLA_COS].dtype : (int64_t)CLATTN_F32);
    clattn_status status = cla_plan_add_step(plan, "rotary.cl", &options, "rotary", size, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_TOKENS_IN);
    cla_step_operand(step, problem, CLA_TOKENS_OUT);
    cla_step_operand(step, problem, CLA_COS);
    cla_step_operand(step, problem, CLA_SIN);
    cla_step_operand(step, problem, CLA_POSITIONS);
    cla_step_constant(step, fractions);
    cla_step_int(step, problem->q_heads);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, pairs);
    cla_step_int(step, problem->tensor[CLA_COS].extent[2]);
    const int64_t chunks =
        cla_ceil_div(pairs, unit) + cla_ceil_div(problem->head_dim - problem->angles.rotary_dim, unit);
    cla_step_tokens(step, plan, cla_ceil_div(problem->q_heads, HEADS) * chunks);
    cla_text_add(tile, "w%zu", size);
    return CLATTN_SUCCESS;
}

static const struct cla_variant rotary = {"rotary", NULL, add_steps};
static const struct cla_variant *const variants[] = {&rotary};
const struct cla_registry cla_rotary_registry = {variants, sizeof variants / sizeof *variants};
