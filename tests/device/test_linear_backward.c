/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of linear on every variant against sums in double: sizes that divide nothing and edges of tiles,
 * mixed types, strides, accumulation, lengths below the plan's, long sums, NaN around and within the operands, the same
 * bits twice; and what plans and runs refuse.
 *
 *   CLATTN_CASES   "quick": all, with the fewest mixes of types that have each; "more": the other mixes
 */
#include "linear_backward.h"

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
    for (size_t number = 0; clattn_linear_backward_variant(number) != NULL; ++number)                                  \
        for (const char *variant = clattn_linear_backward_variant(number); variant != NULL; variant = NULL)

/* ---- right results -------------------------------------------------------------------------------------------- */

/* Around vectors, register blocks, tiles and chunks; none of these sizes is compiled in. */
static void sizes_are_free(void **state)
{
    static const int64_t sizes[] = {1, 3, 7, 8, 16, 17, 33, 47, 48, 49, 64, 65, 96, 97, 127, 128, 129, 257};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (int n = 0; n < 3 * COUNT; ++n) {
            const struct backward_setup setup = {.batch = 1 + n % 3,
                                                 .length = sizes[n % COUNT],
                                                 .in = sizes[(5 * n + 3) % COUNT],
                                                 .out = sizes[(7 * n + n / COUNT) % COUNT],
                                                 .padding = n % 3};
            backward_open_run_and_check(harness, &setup, variant);
        }
    }
}

/* More than a work-group's share of rows, of columns and of tokens, and parts of tokens that are added up. */
static void large_sizes_are_right(void **state)
{
    static const struct backward_setup setups[] = {
        {.batch = 2, .length = 300, .in = 500, .out = 530},
        {.batch = 3, .length = 1700, .in = 21, .out = 35, .padding = 1},
        {.batch = 700, .length = 3, .in = 50, .out = 19},
        {.batch = 1, .length = 5, .in = 9, .out = 9001},
    };
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (size_t n = 0; n < sizeof setups / sizeof *setups; ++n)
            backward_open_run_and_check(harness, &setups[n], variant);
    }
}

/* Millions of terms of one number, in every sum: rounding errors all have one direction. */
static void sums_of_equal_terms_do_not_drift(void **state)
{
    static const struct backward_setup setups[] = {
        {.batch = 4, .length = 1 << 20, .in = 1, .out = 1, .without = NO_D_INPUT},
        {.batch = 1, .length = 2, .in = 1, .out = 1 << 20, .without = NO_D_WEIGHT | NO_D_BIAS},
    };
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    for (size_t n = 0; n < 2; ++n) {
        struct backward_scene s;
        backward_open(harness, &setups[n], variant, &s);
        TENSOR_FOR_EACH(&s.input)
        tensor_put(&s.input, b, h, i, j, 0.1);
        TENSOR_FOR_EACH(&s.weight)
        tensor_put(&s.weight, b, h, i, j, 0.1);
        TENSOR_FOR_EACH(&s.d_output)
        tensor_put(&s.d_output, b, h, i, j, 0.7);
        backward_upload(harness, &s);
        backward_run(harness, &s);
        backward_check(&s);
        backward_close(&s);
    }
}

/*
 * Three mixes in which every operand has every type once; the second, which is the quick one, with parts of tokens, two
 * of them added to.
 */
static void types_mix(void **state)
{
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (int n = 0; n < 3; ++n) {
            if (!harness_asks(n == 1 ? "quick" : "more"))
                continue;
            const struct backward_setup setup = {.batch = 2,
                                                 .length = n == 1 ? 1300 : 53,
                                                 .in = 101,
                                                 .out = 67,
                                                 .padding = n % 2,
                                                 .accumulate = n != 0,
                                                 .accumulate_input = n != 1,
                                                 .input = (clattn_dtype)((n + 1) % 3),
                                                 .weight = (clattn_dtype)((n + 2) % 3),
                                                 .d_output = (clattn_dtype)n,
                                                 .d_input = (clattn_dtype)((n + 1) % 3),
                                                 .d_weight = (clattn_dtype)((n + 2) % 3),
                                                 .d_bias = (clattn_dtype)((n + 1) % 3)};
            backward_open_run_and_check(harness, &setup, variant);
        }
    }
}

/* Each gradient alone, with the buffers that it needs and no other; d_bias of a plan without the others, too. */
static void each_is_had_alone(void **state)
{
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (int without = 1; without < NO_GRADIENT; ++without) {
            const struct backward_setup setup = {.batch = 2, .length = 37, .in = 50, .out = 41, .without = without};
            backward_open_run_and_check(harness, &setup, variant);
        }
    }
}

/* Rows past a run's length hold NaN, and those of d_input keep their bytes. With none left, sums are 0. */
static void lengths_below_the_plan_s_are_right(void **state)
{
    static const int64_t lengths[] = {0, 1, 5, 48, 127, 128, 129, 600, 1030};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        for (size_t n = 0; n < 2 * sizeof lengths / sizeof *lengths; ++n) {
            const int64_t length = lengths[n / 2];
            const struct backward_setup setup = {.batch = 2,
                                                 .length = 1030,
                                                 .in = 19,
                                                 .out = 21,
                                                 .padding = 3,
                                                 .accumulate = n % 2 != 0,
                                                 .accumulate_input = n % 2 != 0};
            struct backward_scene s;
            backward_open(harness, &setup, variant, &s);
            for (int64_t b = 0; b < setup.batch; ++b)
                for (int64_t i = length; i < setup.length; ++i) {
                    for (int64_t k = 0; k < setup.in; ++k)
                        tensor_put(&s.input, b, 0, i, k, (double)NAN);
                    for (int64_t k = 0; k < setup.out; ++k)
                        tensor_put(&s.d_output, b, 0, i, k, (double)NAN);
                }
            backward_upload(harness, &s);
            s.args.length = length;
            backward_run(harness, &s);
            backward_check(&s);
            if (length == 0)
                assert_true(tensor_get(&s.d_weight, 0, 0, 0, 0) ==
                            (setup.accumulate ? tensor_get(&s.old_weight, 0, 0, 0, 0) : 0.0));
            backward_close(&s);
        }
    }
}

static void a_plan_without_rows_writes_sums_of_none(void **state)
{
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        const struct backward_setup setup = {.batch = 2, .length = 0, .in = 5, .out = 7};
        struct backward_scene s;
        backward_open(harness, &setup, variant, &s);
        s.args.d_weight = tensor_upload(harness, &s.d_weight);
        s.args.weight = tensor_upload(harness, &s.weight);
        s.args.d_bias = tensor_upload(harness, &s.d_bias);
        clattn_error error;
        harness_check(clattn_linear_backward_run(s.plan, harness->queue, &s.args, 0, NULL, NULL, &error), &error,
                      variant);
        tensor_download(harness, &s.d_weight);
        tensor_download(harness, &s.d_bias);
        TENSOR_FOR_EACH(&s.d_weight)
        assert_true(tensor_get(&s.d_weight, b, h, i, j) == 0.0);
        TENSOR_FOR_EACH(&s.d_bias)
        assert_true(tensor_get(&s.d_bias, b, h, i, j) == 0.0);
        backward_close(&s);
    }
}

static void nan_stays_in_its_rows_and_columns(void **state)
{
    const struct backward_setup setup = {.batch = 1, .length = 77, .in = 130, .out = 45};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct backward_scene s;
        backward_open(harness, &setup, variant, &s);
        tensor_put(&s.d_output, 0, 0, 70, 44, (double)NAN);
        tensor_put(&s.input, 0, 0, 71, 3, (double)NAN);
        tensor_put(&s.weight, 0, 0, 5, 129, (double)NAN);
        backward_upload(harness, &s);
        backward_run(harness, &s);
        TENSOR_FOR_EACH(&s.d_input)
        assert_true(isnan(tensor_get(&s.d_input, b, h, i, j)) == (i == 70 || j == 129));
        TENSOR_FOR_EACH(&s.d_weight)
        assert_true(isnan(tensor_get(&s.d_weight, b, h, i, j)) == (i == 44 || j == 3));
        TENSOR_FOR_EACH(&s.d_bias)
        assert_true(isnan(tensor_get(&s.d_bias, b, h, i, j)) == (j == 44));
        backward_check(&s);
        backward_close(&s);
    }
}

/* Twice the same bits; a workspace of the caller's makes no difference. */
static void the_same_bits_come_twice(void **state)
{
    const struct backward_setup setup = {.batch = 3, .length = 1500, .in = 60, .out = 50};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct backward_scene s;
        backward_open(harness, &setup, variant, &s);
        backward_upload(harness, &s);
        backward_run(harness, &s);
        unsigned char *first = malloc(s.d_weight.bytes);
        unsigned char *first_bias = malloc(s.d_bias.bytes);
        assert_true(first != NULL && first_bias != NULL);
        memcpy(first, s.d_weight.data, s.d_weight.bytes);
        memcpy(first_bias, s.d_bias.data, s.d_bias.bytes);
        const size_t size = clattn_plan_workspace_size(s.plan);
        clattn_buffer workspace = {.mem = NULL};
        if (size > 0)
            s.args.workspace = workspace = harness_guarded(harness, size);
        backward_run(harness, &s);
        assert_memory_equal(first, s.d_weight.data, s.d_weight.bytes);
        assert_memory_equal(first_bias, s.d_bias.data, s.d_bias.bytes);
        if (size > 0)
            harness_guarded_release(harness, workspace, size);
        free(first);
        free(first_bias);
        backward_close(&s);
    }
}

/* One token for all: strides of 0, as what is broadcast has. */
static void what_is_broadcast_is_read_with_strides_of_0(void **state)
{
    const struct backward_setup setup = {.batch = 2, .length = 55, .in = 40, .out = 33};
    const struct harness *harness = *state;

    FOR_EACH_VARIANT
    {
        struct backward_scene s, other;
        backward_open(harness, &setup, variant, &s);
        TENSOR_FOR_EACH(&s.d_output)
        tensor_put(&s.d_output, b, h, i, j, tensor_get(&s.d_output, 0, 0, 0, j));
        backward_upload(harness, &s);
        backward_run(harness, &s);
        backward_check(&s);
        backward_open(harness, &setup, variant, &other);
        backward_upload(harness, &other);
        other.args.d_output.strides[3] = 1;
        backward_run(harness, &other);
        assert_memory_equal(s.d_weight.data, other.d_weight.data, s.d_weight.bytes);
        assert_memory_equal(s.d_input.data, other.d_input.data, s.d_input.bytes);
        backward_close(&other);
        backward_close(&s);
    }
}

/* ---- plans and runs ------------------------------------------------------------------------------------------- */

static void a_plan_tells_what_it_is(void **state)
{
    const struct backward_setup setup = {.batch = 2, .length = 30, .in = 50, .out = 70, .accumulate = true};
    const struct harness *harness = *state;
    struct backward_scene s;

    backward_open(harness, &setup, NULL, &s);
    assert_string_equal(clattn_plan_problem(s.plan),
                        "linear_backward b2l30i50o70:f32:d_input:d_weight:d_bias:accumulate");
    assert_non_null(strstr(clattn_plan_name(s.plan), "/f32/d50v70/r"));
    backward_close(&s);
}

static void nothing_is_done_without_a_batch(void **state)
{
    const struct backward_setup setup = {.batch = 0, .length = 30, .in = 5, .out = 7};
    const struct harness *harness = *state;
    struct backward_scene s;
    clattn_error error;
    cl_event event = NULL;

    backward_open(harness, &setup, NULL, &s);
    s.args.d_weight = tensor_upload(harness, &s.d_weight);
    s.args.weight = tensor_upload(harness, &s.weight);
    s.args.d_bias = tensor_upload(harness, &s.d_bias);
    harness_check(clattn_linear_backward_run(s.plan, harness->queue, &s.args, 0, NULL, &event, &error), &error,
                  "empty");
    assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
    clReleaseEvent(event);
    backward_close(&s);
}

static void a_plan_that_cannot_be_is_refused(void **state)
{
    const struct harness *harness = *state;
    clattn_linear_desc linear;
    clattn_linear_backward_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_linear_desc_init(&linear);
    clattn_linear_backward_desc_init(&desc);
#define PLAN_REFUSED(status, text)                                                                                     \
    do {                                                                                                               \
        assert_int_equal(clattn_linear_backward_plan_create(harness->context, &desc, &plan, &error), status);          \
        assert_string_equal(error.message, text);                                                                      \
    } while (0)
    PLAN_REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "linear is NULL: expected a clattn_linear_desc");
    desc.linear = &linear;
    linear.batch = linear.length = linear.in_features = linear.out_features = 2;
    PLAN_REFUSED(CLATTN_ERROR_INVALID_VALUE,
                 "d_input, d_weight and d_bias are 0: expected one that is not, nothing is wanted");
    desc.d_input = 1;
    desc.variant = "flash";
    PLAN_REFUSED(CLATTN_ERROR_UNSUPPORTED, "variant is \"flash\": expected auto or one of: vector, tiled");
    assert_int_equal(clattn_linear_backward_plan_create(NULL, &desc, &plan, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_linear_backward_plan_create(harness->context, NULL, &plan, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_linear_backward_plan_create(harness->context, &desc, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_null(plan);
}

/* Expects the status and the message, and gradients that keep their bytes. */
static void refuse(const struct harness *harness, struct backward_scene *s, const clattn_linear_backward_args *args,
                   clattn_status status, const char *message)
{
    clattn_error error = {.status = CLATTN_SUCCESS, .message = ""};

    assert_int_equal(clattn_linear_backward_run(s->plan, harness->queue, args, 0, NULL, NULL, &error), status);
    assert_string_equal(error.message, message);
    struct tensor *written[] = {&s->d_input, &s->d_weight, &s->d_bias};
    for (int n = 0; n < 3; ++n) {
        const int64_t batch = written[n]->extent[0];
        written[n]->extent[0] = 0;
        tensor_download(harness, written[n]);
        written[n]->extent[0] = batch;
    }
}

static void runs_are_refused(void **state)
{
    const struct backward_setup setup = {.batch = 2, .length = 4, .in = 6, .out = 5};
    const struct harness *harness = *state;
    clattn_linear_backward_args args;
    clattn_linear_args forward;
    clattn_error error;
    struct backward_scene s;
    char message[200];

    backward_open(harness, &setup, NULL, &s);
    backward_upload(harness, &s);
#define REFUSED(status, text, ...)                                                                                     \
    do {                                                                                                               \
        args = s.args;                                                                                                 \
        __VA_ARGS__;                                                                                                   \
        refuse(harness, &s, &args, status, text);                                                                      \
    } while (0)
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is 5: expected 0 to the plan's 4", args.length = 5);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is -1: expected 0 to the plan's 4", args.length = -1);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer input is missing: expected at least 192 bytes", args.input.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer weight is missing: expected at least 120 bytes",
            args.weight.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_output is missing: expected at least 160 bytes",
            args.d_output.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_input is missing: expected at least 192 bytes",
            args.d_input.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_weight is missing: expected at least 120 bytes",
            args.d_weight.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_bias is missing: expected at least 20 bytes",
            args.d_bias.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_weight has offset 6: expected a multiple of 4 bytes",
            args.d_weight.offset = 6);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER,
            "buffer d_input shares bytes with input: expected outputs apart from every other operand",
            args.d_input = args.input);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER,
            "buffer d_weight shares bytes with weight: expected outputs apart from every other operand",
            args.d_weight = args.weight);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER,
            "buffer d_weight shares bytes with d_bias: expected outputs apart from every other operand",
            args.d_bias = args.d_weight);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "d_bias.strides are given: expected 0, this operand is dense in every run",
            args.d_bias.strides[3] = 1);
    REFUSED(CLATTN_ERROR_INVALID_VALUE,
            "d_weight.strides[2] is 5: expected at least 6, so that no two elements share a place",
            args.d_weight.strides[2] = 5;
            args.d_weight.strides[3] = 1);
    snprintf(message, sizeof message,
             "clattn_linear_backward_args.struct_size is 8: expected at least %zu, as clattn_linear_backward_args_init "
             "sets it",
             sizeof args);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, message, args.struct_size = 8);
    clattn_linear_args_init(&forward, s.plan);
    assert_int_equal(clattn_linear_run(s.plan, harness->queue, &forward, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "plan is one of linear_backward: expected one of linear");
    backward_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_free),
        cmocka_unit_test(large_sizes_are_right),
        cmocka_unit_test(sums_of_equal_terms_do_not_drift),
        cmocka_unit_test(types_mix),
        cmocka_unit_test(each_is_had_alone),
        cmocka_unit_test(lengths_below_the_plan_s_are_right),
        cmocka_unit_test(a_plan_without_rows_writes_sums_of_none),
        cmocka_unit_test(nan_stays_in_its_rows_and_columns),
        cmocka_unit_test(the_same_bits_come_twice),
        cmocka_unit_test(what_is_broadcast_is_read_with_strides_of_0),
        cmocka_unit_test(a_plan_tells_what_it_is),
        cmocka_unit_test(nothing_is_done_without_a_batch),
        cmocka_unit_test(a_plan_that_cannot_be_is_refused),
        cmocka_unit_test(runs_are_refused),
    };
    const struct CMUnitTest more[] = {cmocka_unit_test(types_mix)};
    return harness_asks("quick") ? cmocka_run_group_tests(tests, harness_setup, harness_teardown)
                                 : cmocka_run_group_tests(more, harness_setup, harness_teardown);
}
