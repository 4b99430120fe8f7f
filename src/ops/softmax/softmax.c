/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, one work-group a row: cl/softmax.cl. */
#include "ops/semantics.h"
#include "ops/variant.h"
#include "util/size.h"

#define USES (CLA_USES_PLACES | CLA_USES_SINKS | CLA_USES_DROPOUT)

/* Work-items a row: enough to hide memory latency on a GPU, one on a CPU, where more only share the same vector unit.
 */
static size_t group_size(const struct cla_device *device)
{
    size_t most = device->info.device_class == CLATTN_DEVICE_CLASS_CPU ? 1 : 256;
    size_t size = 1;
    while (2 * size <= most && 2 * size <= device->info.max_work_group && 16 * size <= device->info.local_memory)
        size *= 2;
    return size;
}

static clattn_status add_with_group(clattn_plan *plan, const struct cla_intermediate *from,
                                    const struct cla_intermediate *to, size_t size, clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    const struct cla_vector_block block = {(int)cla_max(4, (int64_t)plan->context->device.vector_lanes), 1, 1};
    struct cla_text options = {0};
    struct cla_step *step = NULL;
    struct cla_build build = cla_semantics_build(problem, USES);
    build.vector_block = &block;
    cla_build_options(&options, &build);
    cla_option(&options, "CLA_GROUP_SIZE", (int64_t)size);
    cla_option(&options, "CLA_LSE", problem->tensor[CLA_LSE].present);
    clattn_status status = cla_plan_add_step(plan, "softmax.cl", &options, "softmax", size, &step, error);
    cla_text_free(&options);
    if (status != CLATTN_SUCCESS)
        return status;
    cla_step_intermediate(step, problem, from);
    cla_step_intermediate(step, problem, to);
    cla_step_operand(step, problem, CLA_LSE);
    cla_step_int(step, problem->q_heads);
    cla_step_slice(step);
    cla_step_semantics(step, problem, USES);
    step->heads = problem->batch * problem->q_heads;
    step->rows = problem->q_len;
    step->tile_rows = 1;
    step->column_groups = 1;
    return CLATTN_SUCCESS;
}

clattn_status cla_add_softmax_step(clattn_plan *plan, const struct cla_intermediate *from,
                                   const struct cla_intermediate *to, struct cla_text *name, clattn_error *error)
{
    clattn_status status = CLATTN_ERROR_UNSUPPORTED;
    for (size_t size = group_size(&plan->context->device); size > 0; size /= 2) {
        status = add_with_group(plan, from, to, size, error);
        if (status == CLATTN_SUCCESS && name != NULL)
            cla_text_add(name, "w%zu", size);
        if (status != CLATTN_ERROR_UNSUPPORTED)
            break;
    }
    return status;
}

static clattn_status add_steps(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    const struct cla_intermediate from = {.operand = CLA_SCORES};
    const struct cla_intermediate to = {.operand = CLA_WEIGHTS};
    return cla_add_softmax_step(plan, &from, &to, tile, error);
}

static const struct cla_variant softmax = {"softmax", NULL, add_steps};
static const struct cla_variant *const variants[] = {&softmax};
const struct cla_registry cla_softmax_registry = {variants, sizeof variants / sizeof *variants};
