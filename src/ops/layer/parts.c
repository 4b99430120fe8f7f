/* SPDX-License-Identifier: Apache-2.0 */
/* Plans that are made of plans. */
#include "ops/layer/parts.h"
#include "util/error.h"

clattn_status cla_add_part(clattn_plan *plan, const char *name, const struct cla_problem *problem,
                           const struct cla_registry *registry, const char *variant, struct cla_text *lines,
                           struct cla_part **part, clattn_error *error)
{
    clattn_plan *made = NULL;
    clattn_error why = {0};
    clattn_status status = cla_choose(plan->context, problem, registry, variant, &made, &why);
    if (status != CLATTN_SUCCESS)
        return cla_fail_code(error, status, why.cl_code, "%s: %s", name, why.message);
    for (const char *line = made->description; *line != 0; line += strcspn(line, "\n") + 1)
        cla_text_add(lines, "%s: %.*s\n", name, (int)strcspn(line, "\n"), line);
    status = cla_plan_add_part(plan, made, part, error);
    if (status != CLATTN_SUCCESS)
        cla_plan_release(made);
    return status;
}

void cla_link_workspace(struct cla_part *part, int operand, size_t place)
{
    part->link[operand] = (struct cla_link){.in_workspace = true, .place = place};
}

void cla_link(struct cla_part *part, int operand, int of_whole, size_t place)
{
    part->link[operand] = (struct cla_link){.operand = of_whole, .place = place};
}

clattn_status cla_check_places(const clattn_plan *plan, const struct cla_layer_places *places, clattn_error *error)
{
    const size_t largest = (size_t)plan->context->device.info.largest_buffer;
    if (places->end > largest)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                        "the projected tensors have %zu bytes: the device allocates at most %zu at once", places->end,
                        largest);
    return CLATTN_SUCCESS;
}

size_t cla_place_of(const struct cla_layer_places *places, enum cla_projection number)
{
    switch (number) {
    case CLA_PROJECT_QUERY:
        return places->query;
    case CLA_PROJECT_KEY:
        return places->key;
    case CLA_PROJECT_VALUE:
        return places->value;
    default:
        return places->output;
    }
}

clattn_status cla_set_parts_workspace(clattn_plan *plan, size_t end, clattn_error *error)
{
    const size_t largest = (size_t)plan->context->device.info.largest_buffer;
    size_t most = 0;
    for (size_t i = 0; i < plan->num_parts; i++) {
        plan->parts[i].workspace = end;
        if (plan->parts[i].plan->workspace_size > most)
            most = plan->parts[i].plan->workspace_size;
    }
    if (most > largest || end > largest - most)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                        "the projected tensors have %zu bytes and a part needs %zu: the device allocates at most %zu "
                        "at once",
                        end, most, largest);
    plan->workspace_size = end + most;
    return CLATTN_SUCCESS;
}

static void add_problem(const struct cla_problem *problem, const char *before, struct cla_text *text)
{
    char string[400];
    cla_problem_string(problem, string, sizeof string);
    cla_text_add(text, "%s%s", before, string);
}

clattn_status cla_explain_parts(clattn_plan *plan, const struct cla_problem *const inner[], size_t leading,
                                const struct cla_text *lines, clattn_error *error)
{
    const clattn_plan *leader = plan->parts[leading].plan;
    struct cla_text problem = {0}, name = {0}, description = {0};
    add_problem(&plan->problem, "", &problem);
    for (int i = 0; inner[i] != NULL; i++)
        add_problem(inner[i], " ", &problem);
    cla_text_add(&name, "%s/%s", plan->problem.operation->name, leader->name);
    cla_text_add(&description, "%s -> %s\n%s", problem.failed ? "" : problem.data, name.failed ? "" : name.data,
                 lines->failed ? "" : lines->data);
    plan->problem_string = problem.data;
    plan->variant = leader->variant;
    plan->name = name.data;
    plan->description = description.data;
    if (problem.failed || name.failed || description.failed || lines->failed)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the description of a plan");
    return CLATTN_SUCCESS;
}
