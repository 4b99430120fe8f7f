/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multi-head layer: which plans it is made of, and where what passes between them lies in the workspace. There is
 * nothing to choose here; each part has its own registry.
 */
#include "ops/layer/layer.h"
#include "ocl/process.h"
#include "problem/linear.h"
#include "util/error.h"
#include "util/size.h"

/* The workspace: what is projected, what attention makes of it, then what the parts need, which is one part's at a
 * time. Every place begins at a multiple of 256 bytes, as a workspace does. */
enum { ALIGNMENT = 256 };

static size_t align(size_t bytes)
{
    return (size_t)cla_round_up((int64_t)bytes, ALIGNMENT);
}

/* Makes the plan of a part and adds it. `name` is how messages and the description call it. */
static clattn_status add_part(clattn_plan *plan, const char *name, const struct cla_problem *problem,
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

/* Adds a projection from an operand of the layer to its output, until the caller moves one of them to the workspace. */
static clattn_status add_projection(clattn_plan *plan, const struct cla_problem *problem, int weight, int bias,
                                    int input, struct cla_text *lines, struct cla_part **part, clattn_error *error)
{
    CLA_TRY(add_part(plan, cla_operand_name(&plan->problem, weight), problem, &cla_linear_registry, NULL, lines, part,
                     error));
    (*part)->length = input == CLA_CONTEXT ? CLA_PART_KV_LEN : CLA_PART_Q_LEN;
    (*part)->link[CLA_LINEAR_INPUT].operand = input;
    (*part)->link[CLA_LINEAR_WEIGHT].operand = weight;
    (*part)->link[CLA_LINEAR_BIAS].operand = bias;
    (*part)->link[CLA_LINEAR_OUTPUT].operand = CLA_OUTPUT;
    return CLATTN_SUCCESS;
}

/* Where query, key, value and attention's output lie, in bytes. */
struct places {
    size_t query;
    size_t key;
    size_t value;
    size_t output;
    size_t end;
};

static size_t bytes_of(const struct cla_problem *problem, int operand)
{
    return (size_t)problem->tensor[operand].span * problem->tensor[operand].element_size;
}

/* Sizes in bytes fit 63 bits each, so the sum of three is checked before it is trusted. */
static clattn_status find_places(const clattn_plan *plan, const struct cla_layer_problem *layer, struct places *places,
                                 clattn_error *error)
{
    const struct cla_problem *attention = &layer->attention;
    const size_t largest = (size_t)plan->context->device.info.largest_buffer;
    const bool packed = layer->whole.tensor[CLA_W_QKV].present;
    const size_t sizes[4] = {
        bytes_of(&layer->projection[CLA_PROJECT_QUERY], CLA_LINEAR_OUTPUT),
        packed ? 0 : bytes_of(attention, CLA_KEY),
        packed ? 0 : bytes_of(attention, CLA_VALUE),
        bytes_of(attention, CLA_OUTPUT),
    };
    size_t *const starts[4] = {&places->query, &places->key, &places->value, &places->output};
    places->end = 0;
    for (int i = 0; i < 4; i++) {
        *starts[i] = places->end;
        if (sizes[i] > largest || places->end > largest - sizes[i])
            return cla_fail(error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
                            "the projected tensors have %zu bytes and more: the device allocates at most %zu at once",
                            places->end > sizes[i] ? places->end : sizes[i], largest);
        places->end = align(places->end + sizes[i]);
    }
    if (packed) { /* the three side by side in each row */
        const size_t element = attention->tensor[CLA_QUERY].element_size;
        places->key = (size_t)(attention->q_heads * attention->head_dim) * element;
        places->value = places->key + (size_t)(attention->kv_heads * attention->head_dim) * element;
    }
    return CLATTN_SUCCESS;
}

static void link_to(struct cla_part *part, int operand, size_t place)
{
    part->link[operand].in_workspace = true;
    part->link[operand].place = place;
}

static clattn_status add_parts(clattn_plan *plan, const struct cla_layer_problem *layer, const struct places *places,
                               const char *variant, struct cla_text *lines, clattn_error *error)
{
    const struct cla_problem *projection = layer->projection;
    const bool packed = plan->problem.tensor[CLA_W_QKV].present;
    const int keys_from = plan->problem.layer_inputs == CLATTN_LAYER_SELF ? CLA_INPUT : CLA_CONTEXT;
    const int values_from = plan->problem.layer_inputs == CLATTN_LAYER_CROSS ? CLA_CONTEXT : CLA_INPUT;
    struct cla_part *part = NULL;

    CLA_TRY(add_projection(plan, &projection[CLA_PROJECT_QUERY], packed ? CLA_W_QKV : CLA_W_Q,
                           packed ? CLA_B_QKV : CLA_B_Q, CLA_INPUT, lines, &part, error));
    link_to(part, CLA_LINEAR_OUTPUT, places->query);
    if (!packed) {
        CLA_TRY(add_projection(plan, &projection[CLA_PROJECT_KEY], CLA_W_K, CLA_B_K, keys_from, lines, &part, error));
        link_to(part, CLA_LINEAR_OUTPUT, places->key);
        CLA_TRY(
            add_projection(plan, &projection[CLA_PROJECT_VALUE], CLA_W_V, CLA_B_V, values_from, lines, &part, error));
        link_to(part, CLA_LINEAR_OUTPUT, places->value);
    }
    CLA_TRY(add_part(plan, "attention", &layer->attention, &cla_attention_registry, variant, lines, &part, error));
    link_to(part, CLA_QUERY, places->query);
    link_to(part, CLA_KEY, places->key);
    link_to(part, CLA_VALUE, places->value);
    link_to(part, CLA_OUTPUT, places->output);
    CLA_TRY(add_projection(plan, &projection[CLA_PROJECT_OUTPUT], CLA_W_O, CLA_B_O, CLA_INPUT, lines, &part, error));
    link_to(part, CLA_LINEAR_INPUT, places->output);
    return CLATTN_SUCCESS;
}

/* The parts run one after the other, so one place serves what they need themselves. */
static clattn_status set_workspace(clattn_plan *plan, size_t end, clattn_error *error)
{
    const size_t largest = (size_t)plan->context->device.info.largest_buffer;
    size_t most = 0;
    for (size_t i = 0; i < plan->num_parts; i++) {
        plan->parts[i].workspace = end;
        if (plan->parts[i].plan->workspace_size > most)
            most = plan->parts[i].plan->workspace_size;
    }
    if (most > largest || end > largest - most)
        return cla_fail(
            error, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
            "the projected tensors have %zu bytes and a part needs %zu: the device allocates at most %zu at "
            "once",
            end, most, largest);
    plan->workspace_size = end + most;
    return CLATTN_SUCCESS;
}

/* Its own problem string and attention's. */
static void format_problem(const struct cla_problem *whole, const char *attention, struct cla_text *text)
{
    char own[160];
    cla_problem_string(whole, own, sizeof own);
    cla_text_add(text, "%s %s", own, attention);
}

/* Freezes the strings. `lines` are those of the parts. */
static clattn_status explain(clattn_plan *plan, const struct cla_text *lines, clattn_error *error)
{
    const clattn_plan *attention = plan->parts[plan->num_parts - 2].plan; /* before the last projection */
    struct cla_text problem = {0}, name = {0}, description = {0};
    format_problem(&plan->problem, attention->problem_string, &problem);
    cla_text_add(&name, "layer/%s", attention->name);
    cla_text_add(&description, "%s -> %s\n%s", problem.failed ? "" : problem.data, name.failed ? "" : name.data,
                 lines->failed ? "" : lines->data);
    plan->problem_string = problem.data;
    plan->variant = attention->variant;
    plan->name = name.data;
    plan->description = description.data;
    if (problem.failed || name.failed || description.failed || lines->failed)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the description of a plan");
    return CLATTN_SUCCESS;
}

clattn_status cla_layer_plan(clattn_context *context, const struct cla_layer_problem *problem,
                             const char *attention_variant, clattn_plan **plan, clattn_error *error)
{
    clattn_plan *made = NULL;
    struct places places;
    struct cla_text lines = {0};
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_plan_create(context, &problem->whole, &made, error));
    clattn_status status = find_places(made, problem, &places, error);
    if (status == CLATTN_SUCCESS)
        status = add_parts(made, problem, &places, attention_variant, &lines, error);
    if (status == CLATTN_SUCCESS)
        status = set_workspace(made, places.end, error);
    if (status == CLATTN_SUCCESS)
        status = explain(made, &lines, error);
    cla_text_free(&lines);
    if (status != CLATTN_SUCCESS) {
        cla_plan_release(made);
        return status;
    }
    cla_log(context, CLATTN_LOG_INFO, "%s", made->description);
    *plan = made;
    return CLATTN_SUCCESS;
}
