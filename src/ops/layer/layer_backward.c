/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of the layer: the parts of the layer in the other direction, each the backward pass of its own.
 * They read what the forward run kept, and pass their gradients on in the workspace.
 */
#include "ocl/process.h"
#include "ops/layer/layer.h"
#include "ops/layer/parts.h"
#include "problem/attention_backward.h"
#include "problem/linear_backward.h"
#include "util/error.h"

/* The gradients of a projection: of its input, which is `input` of the layer, of its weight and its bias. */
static clattn_status add_projection(clattn_plan *plan, const struct cla_layer_backward_problem *problem,
                                    const struct cla_layer_projection *p, struct cla_text *lines,
                                    struct cla_part **part, clattn_error *error)
{
    const int gradient = p->weight + (CLA_D_W_Q - CLA_W_Q);
    CLA_TRY(cla_add_part(plan, cla_operand_name(&problem->forward.whole, p->weight), &problem->projection[p->number],
                         &cla_linear_backward_registry, NULL, lines, part, error));
    (*part)->length = p->input == CLA_CONTEXT ? CLA_PART_KV_LEN : CLA_PART_Q_LEN;
    cla_link(*part, CLA_LINEAR_WEIGHT, p->weight, 0);
    cla_link(*part, CLA_LINEAR_D_WEIGHT, gradient, 0);
    cla_link(*part, CLA_LINEAR_D_BIAS, gradient + (CLA_B_Q - CLA_W_Q), 0);
    return CLATTN_SUCCESS;
}

/* From d_output to the gradient of attention's output. */
static clattn_status add_last_projection(clattn_plan *plan, const struct cla_layer_backward_problem *problem,
                                         struct cla_text *lines, clattn_error *error)
{
    static const struct cla_layer_projection last = {CLA_W_O, CLA_OUTPUT, CLA_PROJECT_OUTPUT};
    struct cla_part *part = NULL;
    if (problem->projection[CLA_PROJECT_OUTPUT].operation == NULL)
        return CLATTN_SUCCESS;
    CLA_TRY(add_projection(plan, problem, &last, lines, &part, error));
    cla_link(part, CLA_LINEAR_INPUT, CLA_KEPT, problem->forward.places.output);
    cla_link(part, CLA_LINEAR_D_OUTPUT, CLA_LAYER_D_OUTPUT, 0);
    cla_link_workspace(part, CLA_LINEAR_D_INPUT, problem->places.output);
    return CLATTN_SUCCESS;
}

static clattn_status add_attention(clattn_plan *plan, const struct cla_layer_backward_problem *problem,
                                   const char *variant, struct cla_text *lines, clattn_error *error)
{
    const struct cla_layer_places *kept = &problem->forward.places;
    struct cla_part *part = NULL;
    if (problem->attention.operation == NULL)
        return CLATTN_SUCCESS;
    CLA_TRY(cla_add_part(plan, "attention", &problem->attention, &cla_attention_backward_registry, variant, lines,
                         &part, error));
    cla_link(part, CLA_QUERY, CLA_KEPT, kept->query);
    cla_link(part, CLA_KEY, CLA_KEPT, kept->key);
    cla_link(part, CLA_VALUE, CLA_KEPT, kept->value);
    cla_link(part, CLA_OUTPUT, CLA_KEPT, kept->output);
    if (!plan->problem.tensor[CLA_LSE].present)
        cla_link(part, CLA_LSE, CLA_KEPT, kept->lse);
    cla_link_workspace(part, CLA_D_OUTPUT, problem->places.output);
    cla_link_workspace(part, CLA_D_QUERY, problem->places.query);
    cla_link_workspace(part, CLA_D_KEY, problem->places.key);
    cla_link_workspace(part, CLA_D_VALUE, problem->places.value);
    cla_link(part, CLA_D_LSE, CLA_LAYER_D_LSE, 0);
    cla_link(part, CLA_D_MASK, CLA_LAYER_D_MASK, 0);
    cla_link(part, CLA_D_SINKS, CLA_LAYER_D_SINKS, 0);
    cla_link(part, CLA_D_ALIBI_SLOPES, CLA_LAYER_D_ALIBI_SLOPES, 0);
    cla_link(part, CLA_D_RELATIVE_BIAS, CLA_LAYER_D_RELATIVE_BIAS, 0);
    return CLATTN_SUCCESS;
}

static clattn_status add_projections(clattn_plan *plan, const struct cla_layer_backward_problem *problem,
                                     struct cla_text *lines, clattn_error *error)
{
    struct cla_layer_projection projections[3];
    const int count = cla_layer_projections(&plan->problem, projections);
    for (int i = 0; i < count; i++) {
        const struct cla_layer_projection *p = &projections[i];
        struct cla_part *part = NULL;
        if (problem->projection[p->number].operation == NULL)
            continue;
        CLA_TRY(add_projection(plan, problem, p, lines, &part, error));
        cla_link(part, CLA_LINEAR_INPUT, p->input, 0);
        cla_link_workspace(part, CLA_LINEAR_D_OUTPUT, cla_place_of(&problem->places, p->number));
        cla_link(part, CLA_LINEAR_D_INPUT, p->input == CLA_CONTEXT ? CLA_LAYER_D_CONTEXT : CLA_LAYER_D_INPUT, 0);
    }
    return CLATTN_SUCCESS;
}

static clattn_status add_parts(clattn_plan *plan, const struct cla_layer_backward_problem *problem, const char *variant,
                               struct cla_text *lines, clattn_error *error)
{
    CLA_TRY(add_last_projection(plan, problem, lines, error));
    CLA_TRY(add_attention(plan, problem, variant, lines, error));
    return add_projections(plan, problem, lines, error);
}

/* The part that the plan is named by: attention, which comes second, or the projection that is all there is. */
static size_t leading_part(const struct cla_layer_backward_problem *problem)
{
    return problem->attention.operation != NULL ? 1 : 0;
}

clattn_status cla_layer_backward_plan(clattn_context *context, const struct cla_layer_backward_problem *problem,
                                      const char *attention_variant, clattn_plan **plan, clattn_error *error)
{
    const struct cla_problem *const inner[] = {&problem->forward.whole, &problem->forward.attention, NULL};
    clattn_plan *made = NULL;
    struct cla_text lines = {0};
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_plan_create(context, &problem->whole, &made, error));
    clattn_status status = cla_check_places(made, &problem->places, error);
    if (status == CLATTN_SUCCESS)
        status = add_parts(made, problem, attention_variant, &lines, error);
    if (status == CLATTN_SUCCESS)
        status = cla_set_parts_workspace(made, problem->places.end, error);
    if (status == CLATTN_SUCCESS)
        status = cla_explain_parts(made, inner, leading_part(problem), &lines, error);
    cla_text_free(&lines);
    if (status != CLATTN_SUCCESS) {
        cla_plan_release(made);
        return status;
    }
    cla_log(context, CLATTN_LOG_INFO, "%s", made->description);
    *plan = made;
    return CLATTN_SUCCESS;
}
