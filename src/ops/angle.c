/* SPDX-License-Identifier: Apache-2.0 */
/* Angles as parts of a turn, and the launch of one work-group or more a token. */
#include "ops/angle.h"
#include "util/error.h"
#include "util/size.h"
#include <math.h>
#include <stdlib.h>

/* The angle in units of 2^-64 of a turn, whole turns left out. A double would do for far positions but just. */
static uint64_t fraction_of_turn(long double angle)
{
    const long double turns = angle / 6.283185307179586476925286766559L;
    const long double fraction = roundl(ldexpl(turns - floorl(turns), 64));
    return fraction < 0x1p64L ? (uint64_t)fraction : 0;
}

clattn_status cla_add_fractions(clattn_plan *plan, const double *scales, int num_scales, int64_t count,
                                cl_mem *constant, clattn_error *error)
{
    const size_t total = (size_t)num_scales * (size_t)count;
    uint64_t *fractions = malloc(total * sizeof *fractions);
    if (fractions == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu frequencies", total);
    for (int64_t k = 0; k < count; k++) {
        const long double frequency = powl(plan->problem.angles.base, -(long double)k / (long double)count);
        for (int s = 0; s < num_scales; s++)
            fractions[s * count + k] = fraction_of_turn(frequency * scales[s]);
    }
    clattn_status status = cla_plan_constant(plan, total * sizeof *fractions, fractions, constant, error);
    free(fractions);
    return status;
}

void cla_token_options(struct cla_text *options, const struct cla_problem *problem, size_t group_size)
{
    const struct cla_tensor *input = &problem->tensor[CLA_TOKENS_IN];
    const struct cla_tensor *positions = &problem->tensor[CLA_POSITIONS];
    const struct cla_build build = {.output = problem->tensor[CLA_TOKENS_OUT].dtype};
    cla_build_options(options, &build);
    cla_option(options, "CLA_INPUT_TYPE", (int64_t)input->dtype);
    cla_option(options, "CLA_POSITIONS", positions->present ? positions->element_size / 4 : 0);
    cla_option(options, "CLA_PAIRS", cla_pairs_at_a_time(group_size));
    cla_option(options, "CLA_GROUP_SIZE", (int64_t)group_size);
}

size_t cla_token_group_size(const struct cla_device *device)
{
    if (device->info.device_class == CLATTN_DEVICE_CLASS_CPU)
        return 1;
    return device->info.max_work_group < 64 ? (size_t)device->info.max_work_group : 64;
}

int64_t cla_pairs_at_a_time(size_t group_size)
{
    return group_size > 1 ? 1 : 16;
}

void cla_step_tokens(struct cla_step *step, const clattn_plan *plan, int64_t units)
{
    const bool many = step->group_size > 1;
    step->heads = plan->problem.batch;
    step->rows = plan->problem.q_len;
    step->tile_rows = 1;
    step->column_groups = many ? cla_ceil_div(units, (int64_t)step->group_size) : 1;
    cla_step_int(step, step->column_groups);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_run_value(step, CLA_ARG_OFFSET);
}
