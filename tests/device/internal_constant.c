/* SPDX-License-Identifier: Apache-2.0 */
/* The constant buffers of a plan: steps that are repeated share them, and they go when the steps go. */
#include "harness.h"
#include "run/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static cl_uint references(cl_mem mem)
{
    cl_uint count = 0;
    assert_int_equal(clGetMemObjectInfo(mem, CL_MEM_REFERENCE_COUNT, sizeof count, &count, NULL), CL_SUCCESS);
    return count;
}

static cl_mem constant_of(const struct cla_step *step)
{
    for (unsigned i = 0; i < step->num_args; ++i)
        if (step->args[i].kind == CLA_ARG_CONSTANT)
            return step->args[i].value.constant;
    return NULL;
}

static void constants_live_as_long_as_the_steps(void **state)
{
    const struct harness *harness = *state;
    clattn_plan *plan = NULL;
    clattn_rotary_desc desc;
    clattn_error error;

    clattn_rotary_desc_init(&desc);
    desc.batch = desc.heads = 2;
    desc.length = 3;
    desc.head_dim = 8;
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "rotary");
    assert_int_equal(plan->num_constants, 1);
    cl_mem constant = plan->constants[0];
    assert_non_null(constant);
    assert_ptr_equal(constant_of(&plan->steps[0]), constant);
    harness_check(cla_plan_repeat_steps(plan, 1, 2, 1, 0, 3, &error), &error, "repeat");
    assert_ptr_equal(constant_of(&plan->steps[1]), constant);
    assert_int_equal(plan->num_constants, 1);

    static const int data[2] = {17, 4};
    int read[2] = {0};
    cl_mem another = NULL;
    harness_check(cla_plan_constant(plan, sizeof data, data, &another, &error), &error, "constant");
    assert_int_equal(clEnqueueReadBuffer(harness->queue, another, CL_TRUE, 0, sizeof read, read, 0, NULL, NULL),
                     CL_SUCCESS);
    assert_memory_equal(read, data, sizeof data);

    clRetainMemObject(constant);
    clRetainMemObject(another);
    cl_uint before = references(another);
    cla_plan_clear(plan);
    assert_int_equal(plan->num_constants, 0);
    assert_null(plan->constants);
    assert_int_equal(references(another), before - 1);
    clattn_plan_release(plan);
    assert_int_equal(references(another), 1);
    clReleaseMemObject(constant);
    clReleaseMemObject(another);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(constants_live_as_long_as_the_steps)};
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
