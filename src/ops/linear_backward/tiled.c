/* SPDX-License-Identifier: Apache-2.0 */
/* Linear's backward pass with tiles in local memory: cl/linear_d_input.cl, cl/linear_d_weight.cl. Takes every problem.
 */
#include "ops/linear_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

static clattn_status add_input_step(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"linear_d_input.cl", "linear_d_input", cla_product_needs};
    const struct cla_problem *problem = &plan->problem;
    const struct cla_build build = cla_linear_backward_build(problem, CLA_LINEAR_WEIGHT, CLA_LINEAR_D_INPUT);
    const struct cla_tile *tile = NULL;
    struct cla_step *step = NULL;
    CLA_TRY(cla_add_tiled_step(plan, &kernel, &build, problem->value_dim, NULL, NULL, &step, &tile, error));
    cla_step_operand(step, problem, CLA_LINEAR_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LINEAR_WEIGHT);
    cla_step_operand(step, problem, CLA_LINEAR_D_INPUT);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_step_int(step, problem->accumulate_input);
    step->column_groups = cla_ceil_div(problem->head_dim, 4 * tile->width);
    cla_text_add(name, "r%dn%d", 4 * tile->height, 4 * tile->width);
    return CLATTN_SUCCESS;
}

static int64_t weight_tiles(const struct cla_problem *problem, const struct cla_tile *tile)
{
    return cla_ceil_div(problem->value_dim, 4 * tile->height) * cla_ceil_div(problem->head_dim, 4 * tile->width);
}

static clattn_status add_weight_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    static const struct cla_tiled_kernel kernel = {"linear_d_weight.cl", "linear_d_weight", cla_product_needs};
    const struct cla_problem *problem = &plan->problem;
    struct cla_build build = cla_linear_backward_build(problem, CLA_LINEAR_INPUT, CLA_LINEAR_D_WEIGHT);
    const struct cla_tile *tile = cla_tile_for(&plan->context->device, problem, cla_product_needs, 0);
    struct cla_token_parts parts = cla_cut_tokens(plan, tile != NULL ? weight_tiles(problem, tile) : 1);
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    if (parts.count > 1)
        build.output = CLATTN_F32;
    cla_option(&options, "CLA_ACCUMULATE", parts.count == 1 && problem->accumulate);
    clattn_status status = cla_add_tiled_step(plan, &kernel, &build, parts.span, &options, NULL, &step, &tile, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_operand(step, problem, CLA_LINEAR_D_OUTPUT);
    cla_step_operand(step, problem, CLA_LINEAR_INPUT);
    cla_step_int(step, problem->head_dim);
    cla_step_int(step, problem->value_dim);
    cla_weight_step_output(plan, step, &parts);
    step->column_groups = weight_tiles(problem, tile);
    cla_text_add(name, "%so%di%d", name->length > 0 ? "-" : "", 4 * tile->height, 4 * tile->width);
    if (parts.count > 1)
        cla_text_add(name, "s%lld", (long long)parts.span);
    return cla_add_weight_parts(plan, &parts, error);
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *name, clattn_error *error)
{
    const struct cla_tensor *tensor = plan->problem.tensor;
    if (tensor[CLA_LINEAR_D_INPUT].present)
        CLA_TRY(add_input_step(plan, name, error));
    if (tensor[CLA_LINEAR_D_WEIGHT].present)
        CLA_TRY(add_weight_steps(plan, name, error));
    return cla_add_bias_steps(plan, error);
}

const struct cla_variant cla_linear_backward_tiled = {"tiled", NULL, add_steps};
