/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multi-head layer: which plans it is made of, and where what passes between them lies, in the workspace or in what
 * a run keeps. There is nothing to choose here; each part has its own registry.
 */
#include "ops/layer/layer.h"
#include "ocl/process.h"
#include "ops/layer/parts.h"
#include "problem/linear.h"
#include "util/error.h"

/* Says that an operand of a part is one that passes between the parts. */
static void link_between(const clattn_plan *plan, struct cla_part *part, int operand, size_t place)
{
    if (plan->problem.tensor[CLA_KEPT].present)
        cla_link(part, operand, CLA_KEPT, place);
    else
        cla_link_workspace(part, operand, place);
}

/* Adds a projection from an operand of the layer to its output, until the caller moves one of them. */
static clattn_status add_projection(clattn_plan *plan, const struct cla_problem *problem, int weight, int input,
                                    struct cla_text *lines, struct cla_part **part, clattn_error *error)
{
    CLA_TRY(cla_add_part(plan, cla_operand_name(&plan->problem, weight), problem, &cla_linear_registry, NULL, lines,
                         part, error));
    (*part)->length = input == CLA_CONTEXT ? CLA_PART_KV_LEN : CLA_PART_Q_LEN;
    cla_link(*part, CLA_LINEAR_INPUT, input, 0);
    cla_link(*part, CLA_LINEAR_WEIGHT, weight, 0);
    cla_link(*part, CLA_LINEAR_BIAS, weight + (CLA_B_Q - CLA_W_Q), 0);
    cla_link(*part, CLA_LINEAR_OUTPUT, CLA_OUTPUT, 0);
    return CLATTN_SUCCESS;
}

static clattn_status add_parts(clattn_plan *plan, const struct cla_layer_problem *layer, const char *variant,
                               struct cla_text *lines, clattn_error *error)
{
    const struct cla_layer_places *places = &layer->places;
    struct cla_layer_projection projections[3];
    const int count = cla_layer_projections(&plan->problem, projections);
    struct cla_part *part = NULL;

    for (int i = 0; i < count; i++) {
        const struct cla_layer_projection *p = &projections[i];
        CLA_TRY(add_projection(plan, &layer->projection[p->number], p->weight, p->input, lines, &part, error));
        link_between(plan, part, CLA_LINEAR_OUTPUT, cla_place_of(places, p->number));
    }
    CLA_TRY(cla_add_part(plan, "attention", &layer->attention, &cla_attention_registry, variant, lines, &part, error));
    link_between(plan, part, CLA_QUERY, places->query);
    link_between(plan, part, CLA_KEY, places->key);
    link_between(plan, part, CLA_VALUE, places->value);
    link_between(plan, part, CLA_OUTPUT, places->output);
    if (!plan->problem.tensor[CLA_LSE].present)
        link_between(plan, part, CLA_LSE, places->lse);
    CLA_TRY(add_projection(plan, &layer->projection[CLA_PROJECT_OUTPUT], CLA_W_O, CLA_INPUT, lines, &part, error));
    link_between(plan, part, CLA_LINEAR_INPUT, places->output);
    return CLATTN_SUCCESS;
}

clattn_status cla_layer_plan(clattn_context *context, const struct cla_layer_problem *problem,
                             const char *attention_variant, clattn_plan **plan, clattn_error *error)
{
    clattn_plan *made = NULL;
    struct cla_text lines = {0};
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_plan_create(context, &problem->whole, &made, error));
    const bool keeps = problem->whole.tensor[CLA_KEPT].present;
    const struct cla_problem *const inner[] = {&problem->attention, NULL};
    clattn_status status = cla_check_places(made, &problem->places, error);
    if (status == CLATTN_SUCCESS)
        status = add_parts(made, problem, attention_variant, &lines, error);
    if (status == CLATTN_SUCCESS)
        status = cla_set_parts_workspace(made, keeps ? 0 : problem->places.end, error);
    if (status == CLATTN_SUCCESS) /* attention comes before the last projection */
        status = cla_explain_parts(made, inner, made->num_parts - 2, &lines, error);
    cla_text_free(&lines);
    if (status != CLATTN_SUCCESS) {
        cla_plan_release(made);
        return status;
    }
    cla_log(context, CLATTN_LOG_INFO, "%s", made->description);
    *plan = made;
    return CLATTN_SUCCESS;
}
