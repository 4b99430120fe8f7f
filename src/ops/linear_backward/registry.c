/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/linear_backward/registry.h"
#include "util/error.h"
#include "util/size.h"

static const struct cla_variant *const variants[] = {
    &cla_linear_backward_vector,
    &cla_linear_backward_tiled,
};

const struct cla_registry cla_linear_backward_registry = {variants, sizeof variants / sizeof *variants};

/* Groups a compute unit, so that all of them are busy to the end. */
enum { GROUPS_A_UNIT = 4 };

/* Tokens a part: adding a part up is then little beside making it. */
enum { LEAST_SPAN = 1024 };

/* What the kernels sum in one go: parts begin where a sum does. */
enum { SPAN_UNIT = 128 };

struct cla_token_parts cla_cut_tokens(const clattn_plan *plan, int64_t groups)
{
    const int64_t tokens = plan->problem.batch * plan->problem.q_len;
    const int64_t wanted = GROUPS_A_UNIT * (int64_t)plan->context->device.info.compute_units;
    const int64_t parts = cla_clamp(cla_ceil_div(wanted, groups), 1, cla_max(tokens / LEAST_SPAN, 1));
    struct cla_token_parts cut = {1, cla_max(cla_round_up(cla_ceil_div(tokens, parts), SPAN_UNIT), SPAN_UNIT), 0};
    cut.count = cla_max(cla_ceil_div(tokens, cut.span), 1);
    return cut;
}

struct cla_build cla_linear_backward_build(const struct cla_problem *problem, int other, int gradient)
{
    const struct cla_tensor *tensor = problem->tensor;
    return (struct cla_build){
        .query = tensor[CLA_LINEAR_D_OUTPUT].dtype,
        .key = tensor[CLA_LINEAR_D_OUTPUT].dtype,
        .value = tensor[other].dtype,
        .output = tensor[gradient].dtype,
    };
}

/* Takes room for `floats` floats a part, if they are to be added up. */
static void place_parts(clattn_plan *plan, struct cla_token_parts *parts, int64_t floats)
{
    parts->start = (int64_t)(plan->workspace_size / sizeof(float));
    if (parts->count > 1)
        plan->workspace_size += (size_t)(parts->count * floats) * sizeof(float);
}

void cla_weight_step_output(clattn_plan *plan, struct cla_step *step, struct cla_token_parts *parts)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t floats = problem->value_dim * problem->head_dim;
    place_parts(plan, parts, floats);
    if (parts->count > 1)
        cla_step_workspace_from(step, parts->start, floats, 0, problem->head_dim);
    else
        cla_step_operand(step, problem, CLA_LINEAR_D_WEIGHT);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->batch);
    cla_step_long(step, parts->span);
    step->heads = parts->count;
    step->rows = problem->q_len;
    step->tile_rows = 0;
}

/* What a step of cl/column_sums.cl sums and to where. The type of what lies in the workspace is F32. */
struct sums {
    clattn_dtype input;
    clattn_dtype output;
    bool accumulate;
};

/* Adds a step with `rows` rows; operands and values are the caller's. */
static clattn_status add_sums(clattn_plan *plan, const struct sums *sums, int64_t rows, struct cla_step **step,
                              clattn_error *error)
{
    const struct cla_device *device = &plan->context->device;
    const struct cla_vector_block *vector = cla_vector_block_for(device);
    const bool alone = device->info.device_class == CLATTN_DEVICE_CLASS_CPU;
    const size_t size = alone ? 1 : (size_t)cla_min(64, (int64_t)device->info.max_work_group);
    const struct cla_build build = {.key = sums->input, .output = sums->output, .vector_block = vector};
    struct cla_text options = {0};
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_GROUP_SIZE", (int64_t)size);
    cla_option(&options, "CLA_ACCUMULATE", sums->accumulate);
    clattn_status status = cla_plan_add_step(plan, "column_sums.cl", &options, "column_sums", size, step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    (*step)->heads = rows;
    (*step)->rows = plan->problem.q_len;
    (*step)->column_groups = 1;
    return CLATTN_SUCCESS;
}

/* Adds the step that adds up [parts, rows, columns] to the gradient. */
static clattn_status add_parts(clattn_plan *plan, const struct cla_token_parts *parts, int gradient, int64_t rows,
                               int64_t columns, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct sums sums = {CLATTN_F32, problem->tensor[gradient].dtype, problem->accumulate};
    struct cla_step *step = NULL;
    CLA_TRY(add_sums(plan, &sums, rows, &step, error));
    cla_step_workspace_from(step, parts->start, rows * columns, columns, 0);
    cla_step_operand(step, problem, gradient);
    cla_step_int(step, 1);
    cla_step_int(step, parts->count);
    cla_step_int(step, columns);
    cla_step_long(step, parts->count);
    cla_step_long(step, 0);
    return CLATTN_SUCCESS;
}

clattn_status cla_add_weight_parts(clattn_plan *plan, const struct cla_token_parts *parts, clattn_error *error)
{
    if (parts->count == 1)
        return CLATTN_SUCCESS;
    return add_parts(plan, parts, CLA_LINEAR_D_WEIGHT, plan->problem.value_dim, plan->problem.head_dim, error);
}

clattn_status cla_add_bias_steps(clattn_plan *plan, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const int64_t features = problem->value_dim;
    struct cla_token_parts parts = cla_cut_tokens(plan, 1);
    const bool whole = parts.count == 1;
    const struct sums sums = {problem->tensor[CLA_LINEAR_D_OUTPUT].dtype,
                              whole ? problem->tensor[CLA_LINEAR_D_BIAS].dtype : CLATTN_F32,
                              whole && problem->accumulate};
    struct cla_step *step = NULL;
    if (!problem->tensor[CLA_LINEAR_D_BIAS].present)
        return CLATTN_SUCCESS;
    CLA_TRY(add_sums(plan, &sums, parts.count, &step, error));
    place_parts(plan, &parts, features);
    cla_step_operand(step, problem, CLA_LINEAR_D_OUTPUT);
    if (whole)
        cla_step_operand(step, problem, CLA_LINEAR_D_BIAS);
    else
        cla_step_workspace_from(step, parts.start, 0, 0, features);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_int(step, problem->batch);
    cla_step_int(step, features);
    cla_step_long(step, parts.span);
    cla_step_long(step, parts.span);
    return whole ? CLATTN_SUCCESS : add_parts(plan, &parts, CLA_LINEAR_D_BIAS, 1, features, error);
}
