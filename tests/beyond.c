/* SPDX-License-Identifier: Apache-2.0 */
/* Implements beyond.h. */
#include "beyond.h"

#include "compare.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum far { FAR_HEAD, FAR_ROW, FAR_BEGINNING, NUM_FAR };

/* Bytes for all that lies near the place of one tensor; tensors have their places one after the other. */
#define ROOM ((int64_t)8192)

struct distance {
    const char *problem;
    int64_t bytes;
    cl_mem mem;
};

static struct distance distance; /* set before the tests run */

/* Strides that put the last head or the last row `bytes` away; heads lie next to each other where rows are far. */
static void spread(clattn_layout *layout, const int64_t extent[4], size_t element, enum far far)
{
    int64_t elements = distance.bytes / (int64_t)element;

    layout->strides[3] = 1;
    layout->strides[2] = far == FAR_ROW ? elements / (extent[2] - 1) + 64 : extent[3];
    layout->strides[1] =
        far == FAR_HEAD ? elements / (extent[1] - 1) + 64 : extent[3] * (far == FAR_ROW ? 1 : extent[2]);
    layout->strides[0] = extent[3];
}

static clattn_layout *layout_of(clattn_attention_desc *desc, int operand)
{
    clattn_layout *layouts[NUM_ARRAYS] = {
        [ARRAY_QUERY] = &desc->query,   [ARRAY_KEY] = &desc->key,       [ARRAY_VALUE] = &desc->value,
        [ARRAY_OUTPUT] = &desc->output, [ARRAY_SCORES] = &desc->scores,
    };

    return layouts[operand];
}

static size_t place_of(int operand, enum far far)
{
    return (size_t)(operand * ROOM + (far == FAR_BEGINNING ? distance.bytes : 0));
}

/* Copies every row of an operand between the dense array on the host and the buffer. */
static void transfer(const struct harness *harness, struct arrays *arrays, clattn_attention_desc *desc, int operand,
                     enum far far, bool read)
{
    const struct array *array = &arrays->array[operand];
    const int64_t *strides = layout_of(desc, operand)->strides;

    for (int64_t h = 0; h < array->extent[1]; ++h)
        for (int64_t i = 0; i < array->extent[2]; ++i) {
            unsigned char *row = (unsigned char *)arrays_at(arrays, (enum array_operand)operand) +
                                 (size_t)array_index(array, 0, h, i, 0) * array->element;
            size_t size = (size_t)array->extent[3] * array->element;
            size_t offset = place_of(operand, far) + (size_t)(h * strides[1] + i * strides[2]) * array->element;
            assert_int_equal(
                read ? clEnqueueReadBuffer(harness->queue, distance.mem, CL_TRUE, offset, size, row, 0, NULL, NULL)
                     : clEnqueueWriteBuffer(harness->queue, distance.mem, CL_TRUE, offset, size, row, 0, NULL, NULL),
                CL_SUCCESS);
        }
}

/* One variant (NULL: the library's choice), with the scores out if it gives them. */
static void run_far(const struct harness *harness, const char *variant, enum far far)
{
    struct test_case c;
    struct arrays arrays;
    clattn_plan *plan = NULL;
    clattn_error error;

    harness_case(harness, &c, distance.problem, variant);
    assert_true(arrays_init(&arrays, &c));
    clattn_attention_desc desc = c.desc;
    desc.variant = variant;
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (layout_of(&desc, n) != NULL && arrays.array[n].present)
            spread(layout_of(&desc, n), arrays.array[n].extent, arrays.array[n].element, far);
    clattn_status status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    if (status == CLATTN_ERROR_UNSUPPORTED && variant != NULL && strcmp(variant, "unfused") != 0) {
        desc.scores_stage = CLATTN_SCORES_NONE;
        status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    }
    harness_check(status, &error, c.name);
    clattn_attention_args args;
    clattn_attention_args_init(&args, plan);
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (layout_of(&desc, n) != NULL && arrays.array[n].present && (n != ARRAY_SCORES || desc.scores_stage != 0)) {
            *arrays_slot(&args, (enum array_operand)n) =
                (clattn_buffer){.mem = distance.mem, .offset = place_of(n, far)};
            transfer(harness, &arrays, &desc, n, far, false);
        }
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c.name);
    transfer(harness, &arrays, &desc, ARRAY_OUTPUT, far, true);
    if (desc.scores_stage != 0)
        transfer(harness, &arrays, &desc, ARRAY_SCORES, far, true);
    struct oracle_operands operands = arrays_operands(&arrays);
    struct compare_result result =
        compare_attention(&operands, arrays_at(&arrays, ARRAY_OUTPUT), NULL,
                          desc.scores_stage != 0 ? arrays_at(&arrays, ARRAY_SCORES) : NULL, 1, false, false, false);
    if (!result.passed)
        fail_msg("%s: %s", clattn_plan_name(plan), result.message);
    clattn_plan_release(plan);
    arrays_free(&arrays);
}

static void run_all(void **state, enum far far)
{
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n)
        run_far(*state, clattn_attention_variant(n), far);
    run_far(*state, NULL, far);
}

static void the_last_head_is_far(void **state)
{
    run_all(state, FAR_HEAD);
}

static void the_last_row_is_far(void **state)
{
    run_all(state, FAR_ROW);
}

static void the_beginning_is_far(void **state)
{
    run_all(state, FAR_BEGINNING);
}

/* The buffer, or false and why not. Some drivers allocate only when a buffer is used, so it is: its last byte. */
static bool allocate(const struct harness *harness)
{
    size_t size = (size_t)(distance.bytes + (NUM_ARRAYS + 1) * ROOM);
    unsigned char last = 0;
    cl_int code = CL_SUCCESS;

    if (harness->info.largest_buffer < size) {
        printf("skipped: the device allocates %llu bytes at once, this test needs %zu\n",
               (unsigned long long)harness->info.largest_buffer, size);
        return false;
    }
    distance.mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, size, NULL, &code);
    if (code == CL_SUCCESS)
        code = clEnqueueWriteBuffer(harness->queue, distance.mem, CL_TRUE, size - 1, 1, &last, 0, NULL, NULL);
    if (code != CL_SUCCESS)
        printf("skipped: the device says %d to a buffer of %zu bytes\n", code, size);
    return code == CL_SUCCESS;
}

static int share(void **state)
{
    (void)state; /* the harness, made before the group began */
    return 0;
}

int beyond_main(const char *problem, int64_t bytes)
{
    void *state = NULL;
    int failed = 77;

    distance = (struct distance){.problem = problem, .bytes = bytes};
    if (harness_setup(&state) != 0)
        return 1;
    if (allocate(state)) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(the_last_head_is_far, state),
            cmocka_unit_test_prestate(the_last_row_is_far, state),
            cmocka_unit_test_prestate(the_beginning_is_far, state),
        };
        failed = cmocka_run_group_tests(tests, share, NULL);
    }
    if (distance.mem != NULL)
        clReleaseMemObject(distance.mem);
    harness_teardown(&state);
    return failed;
}
