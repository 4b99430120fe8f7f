/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan tells about itself. */
#include "run/plan.h"

void clattn_plan_release(clattn_plan *plan)
{
    cla_plan_release(plan);
}

size_t clattn_plan_workspace_size(const clattn_plan *plan)
{
    return plan->workspace_size;
}

void clattn_plan_lengths(const clattn_plan *plan, int64_t *q_len, int64_t *kv_len, int64_t *offset)
{
    if (q_len != NULL)
        *q_len = plan != NULL ? plan->problem.q_len : 0;
    if (kv_len != NULL)
        *kv_len = plan != NULL ? plan->problem.kv_len : 0;
    if (offset != NULL)
        *offset = plan != NULL ? plan->problem.semantics.offset : 0;
}

void clattn_plan_totals(const clattn_plan *plan, int64_t *q_total, int64_t *kv_total)
{
    if (q_total != NULL)
        *q_total = plan != NULL ? plan->problem.semantics.q_total : 0;
    if (kv_total != NULL)
        *kv_total = plan != NULL ? plan->problem.semantics.kv_total : 0;
}

const char *clattn_plan_problem(const clattn_plan *plan)
{
    return plan->problem_string;
}

const char *clattn_plan_variant(const clattn_plan *plan)
{
    return plan->variant;
}

const char *clattn_plan_name(const clattn_plan *plan)
{
    return plan->name;
}

const char *clattn_plan_describe(const clattn_plan *plan)
{
    return plan->description;
}
