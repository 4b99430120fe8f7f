/* SPDX-License-Identifier: Apache-2.0 */
/* Implements internal_forms.h. */
#include "internal_forms.h"

#include "ops/dot.h"
#include "run/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

const uint32_t form_lanes[NUM_FORM_LANES] = {0, 4, 8, 16};

const char *form_lanes_name(uint32_t lanes)
{
    return lanes == 0 ? "as it is" : lanes == 4 ? "4 lanes" : lanes == 8 ? "8 lanes" : "16 lanes";
}

struct form_device form_set_lanes(const struct harness *harness, uint32_t lanes)
{
    struct cla_device *device = &harness->context->device;
    clattn_error error;

    harness_check(cla_dot_find(harness->context, &error), &error, "dot products"); /* which is not asked again */
    const struct form_device before = {device->vector_lanes, device->dot};
    if (lanes != 0) {
        device->vector_lanes = lanes;
        device->dot = CLA_DOT_PLAIN;
    }
    return before;
}

void form_restore(const struct harness *harness, struct form_device before)
{
    harness->context->device.vector_lanes = before.lanes;
    harness->context->device.dot = before.dot;
}

bool form_is_same(const clattn_plan *a, const clattn_plan *b)
{
    bool same = a->num_steps == b->num_steps;

    for (size_t n = 0; same && n < a->num_steps; ++n) {
        cl_program of[2] = {NULL, NULL};
        clGetKernelInfo(a->steps[n].kernel, CL_KERNEL_PROGRAM, sizeof of[0], &of[0], NULL);
        clGetKernelInfo(b->steps[n].kernel, CL_KERNEL_PROGRAM, sizeof of[1], &of[1], NULL);
        same = of[0] == of[1];
    }
    return same;
}

int form_tile(const clattn_plan *plan, char letter, int otherwise)
{
    const char *last = strrchr(clattn_plan_name(plan), '/');
    const char *at = last != NULL ? strchr(last, letter) : NULL;

    return at != NULL && atoi(at + 1) > 0 ? atoi(at + 1) : otherwise;
}

void sizes_add(struct sizes *sizes, int size, int least, int most)
{
    bool known = size < least || size > most;

    for (int n = 0; n < sizes->count; ++n)
        known = known || sizes->at[n] == size;
    if (!known) {
        assert_true(sizes->count < (int)(sizeof sizes->at / sizeof *sizes->at));
        sizes->at[sizes->count++] = size;
    }
}

void sizes_add_around(struct sizes *sizes, int tile, int most)
{
    for (int by = -1; by <= 1; ++by)
        sizes_add(sizes, tile + by, 1, most);
    sizes_add(sizes, 2 * tile + 1, 1, most);
}
