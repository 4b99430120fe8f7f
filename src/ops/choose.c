/* SPDX-License-Identifier: Apache-2.0 */
/* From problem to plan: walks a registry in the ranking's order and keeps the reason of each variant that is passed
 * over. */
#include "ocl/process.h"
#include "ops/dot.h"
#include "ops/variant.h"
#include "select/rank.h"
#include "util/error.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_VARIANTS = 16 };

static clattn_status no_memory(clattn_error *error)
{
    return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the description of a plan");
}

/* A line for each operand whose strides a run cannot change, though its layout is the caller's. */
static void add_fixed_strides(struct cla_text *text, const clattn_plan *plan)
{
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (cla_plan_strides_are_fixed(plan, o))
            cla_text_add(text, "%s.strides: the descriptor's in every run\n", cla_operand_name(&plan->problem, o));
    }
}

/* Freezes the strings that explain the choice. `refusals` has a line for each variant passed over. */
static clattn_status explain(clattn_plan *plan, const struct cla_variant *variant, const struct cla_text *tile,
                             const struct cla_text *refusals, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    int64_t dim = problem->head_dim != 0 ? problem->head_dim : problem->value_dim;
    struct cla_text name = {0};
    cla_text_add(&name, "%s/%s", variant->name, cla_problem_type(problem));
    if (dim != 0)
        cla_text_add(&name, "/d%lld", (long long)dim);
    if (problem->head_dim != 0 && problem->value_dim != 0 && problem->value_dim != problem->head_dim)
        cla_text_add(&name, "v%lld", (long long)problem->value_dim);
    if (tile->length > 0)
        cla_text_add(&name, "/%s", tile->data);
    struct cla_text description = {0};
    cla_text_add(&description, "%s -> %s\n%s", plan->problem_string, name.data != NULL ? name.data : "",
                 refusals->data != NULL ? refusals->data : "");
    add_fixed_strides(&description, plan);
    plan->variant = variant->name;
    plan->name = name.data;
    plan->description = description.data;
    const bool failed = tile->failed || refusals->failed || name.failed || description.failed;
    return failed ? no_memory(error) : CLATTN_SUCCESS;
}

/*
 * What the failure of a variant tells of the problem. Where all of them fail, the one that tells most is reported, of
 * equals the best-ranked: a refusal says what a variant is not made for; one that took the problem on and then found no
 * tile or too many work-groups says what is wrong with the problem; and where one ran out of memory or the driver
 * failed it, the problem may well be supported.
 */
enum telling { NOTHING, NOT_MADE_FOR_IT, TOO_MUCH_FOR_IT, BROUGHT_DOWN };

/* Tries one variant. A status other than success comes with the reason in `why`. */
static clattn_status try_variant(clattn_plan *plan, const struct cla_variant *variant, struct cla_text *tile,
                                 enum telling *telling, clattn_error *why)
{
    *telling = NOT_MADE_FOR_IT;
    if (variant->accepts != NULL)
        CLA_TRY(variant->accepts(&plan->problem, &plan->context->device, why));
    if (cla_problem_is_empty(&plan->problem, plan->problem.q_len))
        return CLATTN_SUCCESS; /* with nothing to compute whatever the lengths, no kernel is needed */
    clattn_status status = variant->add_steps(plan, tile, why);
    if (status == CLATTN_SUCCESS)
        status = cla_plan_warm_up(plan, why);
    if (status != CLATTN_SUCCESS) {
        cla_plan_clear(plan);
        *telling = status == CLATTN_ERROR_UNSUPPORTED ? TOO_MUCH_FOR_IT : BROUGHT_DOWN;
        if (*telling == BROUGHT_DOWN)
            cla_log(plan->context, CLATTN_LOG_WARNING, "%s: %s: %s", plan->problem_string, variant->name, why->message);
    }
    return status;
}

static clattn_status set_problem_string(clattn_plan *plan, clattn_error *error)
{
    const size_t size = cla_problem_string(&plan->problem, NULL, 0) + 1;
    plan->problem_string = malloc(size);
    if (plan->problem_string == NULL)
        return no_memory(error);
    cla_problem_string(&plan->problem, plan->problem_string, size);
    return CLATTN_SUCCESS;
}

static clattn_status unknown_variant(const struct cla_registry *registry, const char *name, clattn_error *error)
{
    struct cla_text names = {0};
    for (size_t i = 0; i < registry->count; i++)
        cla_text_add(&names, "%s%s", i > 0 ? ", " : "", registry->variants[i]->name);
    clattn_status status = cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "variant is \"%s\": expected auto or one of: %s",
                                    name, names.failed ? "?" : names.data);
    cla_text_free(&names);
    return status;
}

static bool uses_bf16(const struct cla_problem *problem)
{
    for (int o = 0; o < CLA_MAX_OPERANDS; o++) {
        if (problem->tensor[o].present && problem->tensor[o].dtype == CLATTN_BF16)
            return true;
    }
    return false;
}

static clattn_status choose(clattn_plan *plan, const struct cla_registry *registry, const char *forced,
                            clattn_error *error)
{
    const struct cla_variant *candidates[MAX_VARIANTS];
    const char *names[MAX_VARIANTS];
    size_t order[MAX_VARIANTS];
    size_t count = 0;
    for (size_t i = 0; i < registry->count; i++) {
        if (forced != NULL && strcmp(forced, registry->variants[i]->name) != 0)
            continue;
        candidates[count] = registry->variants[i];
        names[count++] = registry->variants[i]->name;
    }
    if (count == 0)
        return unknown_variant(registry, forced, error);
    if (uses_bf16(&plan->problem))
        CLA_TRY(cla_dot_find(plan->context, error));
    cla_rank(&plan->problem, &plan->context->device, names, count, order);

    struct cla_text refusals = {0};
    struct cla_text tile = {0};
    enum telling told = NOTHING;
    clattn_status status = CLATTN_ERROR_UNSUPPORTED; /* what is in `error` */
    for (size_t rank = 0; rank < count; rank++) {
        const struct cla_variant *variant = candidates[order[rank]];
        enum telling telling;
        clattn_error why = {0};
        if (try_variant(plan, variant, &tile, &telling, &why) == CLATTN_SUCCESS) {
            status = explain(plan, variant, &tile, &refusals, error);
            break;
        }
        cla_text_free(&tile);
        cla_text_add(&refusals, "%s: %s\n", variant->name, why.message);
        if (telling > told) {
            told = telling;
            status = cla_fail_code(error, why.status, why.cl_code, "%s: %s", variant->name, why.message);
        }
        if (why.status == CLATTN_ERROR_OUT_OF_HOST_MEMORY && why.cl_code == CL_SUCCESS)
            break; /* of our own, so that the next one would get no further, or be chosen by chance */
    }
    cla_text_free(&refusals);
    cla_text_free(&tile);
    return status;
}

clattn_status cla_choose(clattn_context *context, const struct cla_problem *problem,
                         const struct cla_registry *registry, const char *forced, clattn_plan **plan,
                         clattn_error *error)
{
    clattn_plan *made = NULL;
    CLA_TRY(cla_process_check(error));
    CLA_TRY(cla_plan_create(context, problem, &made, error));
    clattn_status status = set_problem_string(made, error);
    if (status == CLATTN_SUCCESS)
        status = choose(made, registry, forced != NULL && strcmp(forced, "auto") == 0 ? NULL : forced, error);
    if (status != CLATTN_SUCCESS) {
        cla_plan_release(made);
        return status;
    }
    cla_log(context, CLATTN_LOG_INFO, "%s", made->description);
    *plan = made;
    return CLATTN_SUCCESS;
}
