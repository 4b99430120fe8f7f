/* SPDX-License-Identifier: Apache-2.0 */
/* Options and arguments that every kernel has. Their names and order are those of cl/lib. */
#include "ops/kernel.h"
#include "util/error.h"

void cla_option(struct cla_text *options, const char *name, int64_t value)
{
    cla_text_add(options, "%s-D %s=%lld", options->length > 0 ? " " : "", name, (long long)value);
}

/* The storage types of types.cl are numbered as clattn_dtype is. */
static int64_t type_of(const struct cla_problem *problem, enum cla_operand operand, bool used)
{
    return used && problem->tensor[operand].present ? (int64_t)problem->tensor[operand].dtype : (int64_t)CLATTN_F32;
}

void cla_common_options(struct cla_text *options, const struct cla_problem *problem, unsigned uses,
                        const struct cla_tile *tile, int lanes)
{
    static const struct cla_tile smallest = {1, 1, 4};
    const struct cla_tile *block = tile != NULL ? tile : &smallest;
    const bool query_key = (uses & CLA_USES_QUERY_KEY) != 0;
    const bool value_output = (uses & CLA_USES_VALUE_OUTPUT) != 0;
    const bool exclusions = (uses & CLA_USES_EXCLUSIONS) != 0;
    cla_option(options, "CLA_QUERY_TYPE", type_of(problem, CLA_QUERY, query_key));
    cla_option(options, "CLA_KEY_TYPE", type_of(problem, CLA_KEY, query_key));
    cla_option(options, "CLA_VALUE_TYPE", type_of(problem, CLA_VALUE, value_output));
    cla_option(options, "CLA_OUTPUT_TYPE", type_of(problem, CLA_OUTPUT, value_output));
    cla_option(options, "CLA_MASK_TYPE", type_of(problem, CLA_MASK, exclusions));
    cla_option(options, "CLA_BAND", exclusions && problem->band);
    cla_option(options, "CLA_BOTTOM_RIGHT", exclusions && problem->alignment == CLATTN_ALIGN_BOTTOM_RIGHT);
    cla_option(options, "CLA_LENGTHS", exclusions ? (int64_t)problem->kv_lengths : 0);
    cla_option(options, "CLA_MASK", exclusions ? (int64_t)problem->mask_kind : 0);
    cla_option(options, "CLA_SOFTCAP", (uses & CLA_USES_SOFTCAP) != 0 && problem->softcap > 0.0f);
    cla_option(options, "CLA_WIDTH", block->width);
    cla_option(options, "CLA_HEIGHT", block->height);
    cla_option(options, "CLA_CHUNK", block->chunk);
    cla_option(options, "CLA_LANES", lanes);
}

clattn_status cla_add_tiled_step(clattn_plan *plan, const struct cla_tiled_kernel *kernel, const char *extra,
                                 struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                                 clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    clattn_status status =
        cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "no tile of kernel %s fits the device", kernel->name);
    /* Some compilers refuse a tile that is too large for them by failing to build it. */
    for (size_t i = 0; status == CLATTN_ERROR_UNSUPPORTED || status == CLATTN_ERROR_BUILD_FAILED; i++) {
        *tile = cla_tile_for(&plan->context->device, kernel->local_bytes, i);
        if (*tile == NULL)
            break;
        struct cla_text options = {0};
        cla_common_options(&options, problem, kernel->uses, *tile, 4);
        if (extra != NULL)
            cla_text_add(&options, " %s", extra);
        status = cla_plan_add_step(plan, kernel->file, options.data, kernel->name,
                                   (size_t)((*tile)->width * (*tile)->height), step, error);
        cla_text_free(&options);
    }
    if (status != CLATTN_SUCCESS)
        return status;
    (*step)->heads = problem->batch * problem->q_heads;
    (*step)->rows = problem->q_len;
    (*step)->tile_rows = 4 * (*tile)->height;
    if (name != NULL)
        cla_text_add(name, "q%dk%d", 4 * (*tile)->height, 4 * (*tile)->width);
    return CLATTN_SUCCESS;
}

void cla_step_semantics(struct cla_step *step, const struct cla_problem *problem)
{
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_run_value(step, CLA_ARG_KV_LEN);
    cla_step_float(step, problem->scale);
    cla_step_float(step, problem->softcap);
    cla_step_run_value(step, CLA_ARG_OFFSET);
    cla_step_long(step, problem->left);
    cla_step_long(step, problem->right);
    cla_step_operand(step, problem, CLA_MASK);
    cla_step_int2(step, problem->tensor[CLA_MASK].stride[3], problem->mask_keys);
    cla_step_operand(step, problem, CLA_KV_LENGTHS);
}

int64_t cla_heads_per_kv(const struct cla_problem *problem)
{
    return problem->kv_heads == 0 ? 1 : problem->q_heads / problem->kv_heads;
}

void cla_step_intermediate(struct cla_step *step, const struct cla_problem *problem, const struct cla_intermediate *at)
{
    if (at->in_workspace)
        cla_step_workspace(step, at->batch_stride, at->head_stride, at->row_stride);
    else
        cla_step_operand(step, problem, at->operand);
}
