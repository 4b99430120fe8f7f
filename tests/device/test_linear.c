/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear on every variant against sums in double: sizes that divide nothing, mixed types, strides, offsets, lengths
 * below the plan's, NaN around and within the operands; and what plans and runs refuse.
 *
 *   CLATTN_CASES   "quick": all, with the fewest mixes of types that have each; "more": the other mixes
 */
#include "linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Calls the body for every variant, `variant`. */
#define FOR_EACH_VARIANT                                                                                               \
    for (size_t number = 0; clattn_linear_variant(number) != NULL; ++number)                                           \
        for (const char *variant = clattn_linear_variant(number); variant != NULL; variant = NULL)

/* ---- right results -------------------------------------------------------------------------------------------- */

/* Every pair of sizes of every two extents. */
static void sizes_are_free(void **state)
{
    static const int64_t sizes[] = {1, 3, 21, 72, 203, 257};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (int n = 0; n < COUNT * COUNT; ++n) {
            const struct linear_setup setup = {.batch = 1 + n % 2,
                                               .length = sizes[n % COUNT],
                                               .in = sizes[n / COUNT],
                                               .out = sizes[(n % COUNT + n / COUNT) % COUNT],
                                               .bias = n % 5 != 0,
                                               .padding = n % 3};
            linear_open_run_and_check(harness, &setup, variant);
        }
    }
}

/* More than a work-group's share of rows, of features, and of elements summed in one go. */
static void large_sizes_are_right(void **state)
{
    static const struct linear_setup setups[] = {
        {.batch = 3, .length = 420, .in = 300, .out = 530, .bias = true},
        {.batch = 1, .length = 3, .in = 9001, .out = 19, .bias = true, .padding = 1},
        {.batch = 1, .length = 50, .in = 9001, .out = 19, .weight = CLATTN_F16},
    };
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (size_t n = 0; n < sizeof setups / sizeof *setups; ++n)
            linear_open_run_and_check(harness, &setups[n], variant);
    }
}

/* Long rows of one number, few of them and many: rounding errors all have one direction. */
static void sums_of_equal_terms_do_not_drift(void **state)
{
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    for (int64_t length = 3; length <= 27; length += 24) {
        const struct linear_setup setup = {.batch = 1, .length = length, .in = 1 << 20, .out = 1};
        struct linear_scene scene;
        linear_open(harness, &setup, variant, &scene);
        TENSOR_FOR_EACH(&scene.input)
        tensor_put(&scene.input, b, h, i, j, 0.1);
        TENSOR_FOR_EACH(&scene.weight)
        tensor_put(&scene.weight, b, h, i, j, 0.7);
        linear_upload(harness, &scene);
        linear_run(harness, &scene);
        tensor_download(harness, &scene.output);
        linear_check(&scene, &scene.output);
        linear_close(&scene);
    }
}

/*
 * Nine mixes in which every pair of types of every pair of operands comes once, of which the quick ones have every type
 * of each; whole tiles of rows, and few.
 */
static void types_mix(void **state)
{
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (int n = 0; n < 9; ++n) {
            if (!harness_asks(n % 4 == 0 ? "quick" : "more"))
                continue;
            struct linear_setup setup = {.batch = 1,
                                         .length = 53,
                                         .in = 203,
                                         .out = 67,
                                         .bias = true,
                                         .padding = n % 2,
                                         .input = (clattn_dtype)(n % 3),
                                         .weight = (clattn_dtype)(n / 3),
                                         .bias_dtype = (clattn_dtype)((n % 3 + n / 3) % 3),
                                         .output = (clattn_dtype)((n % 3 + 2 * (n / 3)) % 3)};
            linear_open_run_and_check(harness, &setup, variant);
            setup.length = 33;
            linear_open_run_and_check(harness, &setup, variant);
        }
    }
}

/* Rows past a run's length hold NaN in the input and keep their bytes in the output. */
static void lengths_below_the_plan_s_are_right(void **state)
{
    static const int64_t lengths[] = {0, 1, 5, 24, 25, 48, 49, 73, 100, 192, 200, 210};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; ++n) {
            const struct linear_setup setup = {
                .batch = 2, .length = 210, .in = 72, .out = 40, .bias = true, .padding = 3};
            struct linear_scene scene;
            linear_open(harness, &setup, variant, &scene);
            for (int64_t b = 0; b < setup.batch; ++b)
                for (int64_t i = lengths[n]; i < setup.length; ++i)
                    for (int64_t k = 0; k < setup.in; ++k)
                        tensor_put(&scene.input, b, 0, i, k, (double)NAN);
            linear_upload(harness, &scene);
            scene.args.length = lengths[n];
            linear_run(harness, &scene);
            scene.output.extent[2] = lengths[n];
            tensor_download(harness, &scene.output);
            linear_check(&scene, &scene.output);
            linear_close(&scene);
        }
    }
}

static void nan_stays_in_its_row_and_column(void **state)
{
    const struct linear_setup setup = {
        .batch = 1, .length = 77, .in = 130, .out = 45, .bias = true, .weight = CLATTN_BF16};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct linear_scene scene;
        linear_open(harness, &setup, variant, &scene);
        tensor_put(&scene.input, 0, 0, 7, 129, (double)NAN);
        tensor_put(&scene.input, 0, 0, 70, 0, (double)NAN);
        tensor_put(&scene.input, 0, 0, 71, 3, HUGE_VAL);
        tensor_put(&scene.weight, 0, 0, 44, 5, (double)NAN);
        tensor_put(&scene.bias, 0, 0, 0, 2, (double)NAN);
        linear_upload(harness, &scene);
        linear_run(harness, &scene);
        tensor_download(harness, &scene.output);
        linear_check(&scene, &scene.output);
        for (int64_t j = 0; j < setup.out; ++j)
            assert_true(isnan(tensor_get(&scene.output, 0, 0, 7, j)) && isnan(tensor_get(&scene.output, 0, 0, 70, j)));
        assert_true(isfinite(tensor_get(&scene.output, 0, 0, 69, 3)));
        linear_close(&scene);
    }
}

/* ---- views ---------------------------------------------------------------------------------------------------- */

/*
 * Three projections into the thirds of one [batch, length, 3 * width], and the same with the weights one below the
 * other in one run: the same bits.
 */
static void packed_projections_are_views(void **state)
{
    enum { WIDTH = 24, IN = 50, BATCH = 2, LENGTH = 61 };
    const struct linear_setup setup = {.batch = BATCH, .length = LENGTH, .in = IN, .out = 3 * WIDTH, .bias = true};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct linear_scene whole;
        clattn_plan *third = NULL;
        clattn_error error;
        linear_open(harness, &setup, variant, &whole);
        linear_upload(harness, &whole);

        clattn_linear_desc desc = whole.desc;
        desc.out_features = WIDTH;
        desc.output.strides[0] = LENGTH * 3 * WIDTH;
        desc.output.strides[2] = 3 * WIDTH;
        desc.output.strides[3] = 1;
        harness_check(clattn_linear_plan_create(harness->context, &desc, &third, &error), &error, variant);
        static const size_t order[] = {1, 0, 2};
        for (size_t n = 0; n < 3; ++n) {
            clattn_linear_args args;
            clattn_linear_args_init(&args, third);
            args.input = whole.args.input;
            args.weight = whole.args.weight;
            args.weight.offset += order[n] * WIDTH * IN * clattn_dtype_size(desc.weight.dtype);
            args.bias = whole.args.bias;
            args.bias.offset += order[n] * WIDTH * sizeof(float);
            args.output = whole.args.output;
            args.output.offset += order[n] * WIDTH * sizeof(float);
            harness_check(clattn_linear_run(third, harness->queue, &args, 0, NULL, NULL, &error), &error, variant);
            if (n > 0)
                continue;
            tensor_download(harness, &whole.output); /* the first of the three leaves the places of the others alone */
            TENSOR_FOR_EACH(&whole.output)
            assert_true(isnan(tensor_get(&whole.output, b, h, i, j)) == (j < WIDTH || j >= 2 * WIDTH));
        }
        tensor_download(harness, &whole.output);
        linear_check(&whole, &whole.output);

        unsigned char *parts = malloc(whole.output.bytes);
        assert_non_null(parts);
        memcpy(parts, whole.output.data, whole.output.bytes);
        linear_run(harness, &whole);
        tensor_download(harness, &whole.output);
        assert_memory_equal(parts, whole.output.data, whole.output.bytes);
        free(parts);
        clattn_plan_release(third);
        linear_close(&whole);
    }
}

/* One sequence for both batches: a stride of 0. Both get the same bits. */
static void an_input_is_repeated_by_a_stride_of_0(void **state)
{
    const struct linear_setup setup = {.batch = 1, .length = 55, .in = 40, .out = 33, .bias = true};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct linear_scene scene;
        clattn_plan *plan = NULL;
        clattn_error error;
        linear_open(harness, &setup, variant, &scene);
        linear_upload(harness, &scene);
        clattn_linear_desc desc = scene.desc;
        desc.batch = 2;
        desc.input.strides[2] = setup.in;
        desc.input.strides[3] = 1;
        harness_check(clattn_linear_plan_create(harness->context, &desc, &plan, &error), &error, variant);
        struct tensor both = tensor_make(CLATTN_F32, 2, 1, setup.length, setup.out, 0);
        clattn_linear_args args = scene.args;
        args.output = tensor_upload(harness, &both);
        harness_check(clattn_linear_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, variant);
        linear_run(harness, &scene);
        tensor_download(harness, &both);
        tensor_download(harness, &scene.output);
        TENSOR_FOR_EACH(&both)
        assert_true(tensor_get(&both, b, h, i, j) == tensor_get(&scene.output, 0, h, i, j));
        tensor_free(&both);
        clattn_plan_release(plan);
        linear_close(&scene);
    }
}

/* ---- plans and runs ------------------------------------------------------------------------------------------- */

static void a_plan_tells_what_it_is(void **state)
{
    struct linear_setup setup = {.batch = 2, .length = 30, .in = 50, .out = 70, .bias = true};
    const struct harness *harness = *state;
    struct linear_scene scene;
    int64_t length = 0;
    int64_t kv_len = -1;

    linear_open(harness, &setup, NULL, &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "linear b2l30i50o70:f32:bias");
    assert_non_null(strstr(clattn_plan_name(scene.plan), "/f32/d50v70/"));
    assert_int_equal(clattn_plan_workspace_size(scene.plan), 0);
    clattn_plan_lengths(scene.plan, &length, &kv_len, NULL);
    assert_int_equal(length, 30);
    assert_int_equal(kv_len, 0);
    linear_close(&scene);

    setup.bias = false;
    setup.weight = CLATTN_F16;
    setup.output = CLATTN_BF16;
    linear_open(harness, &setup, "auto", &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "linear b2l30i50o70:f32-f16-bf16");
    linear_close(&scene);
}

static void nothing_is_computed_for_nothing(void **state)
{
    static const struct linear_setup setups[] = {{.batch = 0, .length = 30, .in = 5, .out = 7},
                                                 {.batch = 2, .length = 0, .in = 5, .out = 7}};
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof setups / sizeof *setups; ++n) {
        struct linear_scene scene;
        clattn_error error;
        cl_event event = NULL;
        linear_open(harness, &setups[n], NULL, &scene);
        harness_check(clattn_linear_run(scene.plan, harness->queue, &scene.args, 0, NULL, &event, &error), &error,
                      "empty");
        assert_non_null(event);
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        clReleaseEvent(event);
        linear_close(&scene);
    }
}

static void a_plan_that_cannot_be_is_refused(void **state)
{
    const struct harness *harness = *state;
    clattn_linear_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_linear_desc_init(&desc);
    desc.batch = desc.length = desc.in_features = 2;
    assert_int_equal(clattn_linear_plan_create(harness->context, &desc, &plan, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "out_features is 0: expected 1 or more");
    desc.out_features = 2;
    desc.variant = "flash";
    assert_int_equal(clattn_linear_plan_create(harness->context, &desc, &plan, &error), CLATTN_ERROR_UNSUPPORTED);
    assert_string_equal(error.message, "variant is \"flash\": expected auto or one of: vector, dot, tiled");
    assert_int_equal(clattn_linear_plan_create(NULL, &desc, &plan, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "context is NULL");
    assert_int_equal(clattn_linear_plan_create(harness->context, NULL, &plan, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "desc is NULL");
    assert_int_equal(clattn_linear_plan_create(harness->context, &desc, NULL, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_null(plan);
}

/* Runs with `args` and expects the status and the message, and an output that keeps its bytes. */
static void refuse(const struct harness *harness, struct linear_scene *scene, const clattn_linear_args *args,
                   clattn_status status, const char *message)
{
    clattn_error error = {.status = CLATTN_SUCCESS, .message = ""};
    const int64_t length = scene->output.extent[2];

    assert_int_equal(clattn_linear_run(scene->plan, harness->queue, args, 0, NULL, NULL, &error), status);
    assert_int_equal(error.status, status);
    assert_string_equal(error.message, message);
    scene->output.extent[2] = 0;
    tensor_download(harness, &scene->output);
    scene->output.extent[2] = length;
}

static void runs_are_refused(void **state)
{
    const struct linear_setup setup = {.batch = 2, .length = 4, .in = 6, .out = 5, .bias = true};
    const struct harness *harness = *state;
    struct linear_scene scene;
    clattn_linear_args args;
    char message[200];

    linear_open(harness, &setup, NULL, &scene);
    linear_upload(harness, &scene);
    refuse(harness, &scene, NULL, CLATTN_ERROR_INVALID_ARGUMENT, "clattn_linear_args is NULL");
#define REFUSED(status, text, ...)                                                                                     \
    do {                                                                                                               \
        args = scene.args;                                                                                             \
        __VA_ARGS__;                                                                                                   \
        refuse(harness, &scene, &args, status, text);                                                                  \
    } while (0)
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is 5: expected 0 to the plan's 4", args.length = 5);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is -1: expected 0 to the plan's 4", args.length = -1);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer input is missing: expected at least 192 bytes", args.input.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer weight is missing: expected at least 120 bytes",
            args.weight.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer bias is missing: expected at least 20 bytes", args.bias.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer output is missing: expected at least 160 bytes",
            args.output.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer weight has offset 6: expected a multiple of 4 bytes",
            args.weight.offset = 6);
    snprintf(message, sizeof message, "buffer bias has %zu bytes: expected at least 20 from offset %zu on",
             scene.bias.bytes, scene.bias.bytes - 16);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, message, args.bias.offset = scene.bias.bytes - 16);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER,
            "buffer output shares bytes with input: expected outputs apart from every other operand",
            args.input = args.output;
            args.input.offset = 0);
    snprintf(message, sizeof message,
             "clattn_linear_args.struct_size is 8: expected at least %zu, as clattn_linear_args_init sets it",
             sizeof args);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, message, args.struct_size = 8);
    linear_close(&scene);
}

static void a_plan_of_another_operation_is_refused(void **state)
{
    const struct linear_setup setup = {.batch = 1, .length = 2, .in = 3, .out = 4};
    const struct harness *harness = *state;
    struct linear_scene scene;
    clattn_softmax_args args;
    clattn_error error;

    linear_open(harness, &setup, NULL, &scene);
    clattn_softmax_args_init(&args, scene.plan);
    assert_int_equal(clattn_softmax_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "plan is one of linear: expected one of softmax");
    assert_int_equal(clattn_linear_run(NULL, harness->queue, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "plan is NULL");
    linear_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_free),
        cmocka_unit_test(large_sizes_are_right),
        cmocka_unit_test(sums_of_equal_terms_do_not_drift),
        cmocka_unit_test(types_mix),
        cmocka_unit_test(lengths_below_the_plan_s_are_right),
        cmocka_unit_test(nan_stays_in_its_row_and_column),
        cmocka_unit_test(packed_projections_are_views),
        cmocka_unit_test(an_input_is_repeated_by_a_stride_of_0),
        cmocka_unit_test(a_plan_tells_what_it_is),
        cmocka_unit_test(nothing_is_computed_for_nothing),
        cmocka_unit_test(a_plan_that_cannot_be_is_refused),
        cmocka_unit_test(runs_are_refused),
        cmocka_unit_test(a_plan_of_another_operation_is_refused),
    };
    const struct CMUnitTest more[] = {cmocka_unit_test(types_mix)};
    return harness_asks("quick") ? cmocka_run_group_tests(tests, harness_setup, harness_teardown)
                                 : cmocka_run_group_tests(more, harness_setup, harness_teardown);
}
