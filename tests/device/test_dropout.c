/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropout on every variant that accepts it, each forced: against the oracle, and its mask, read out of the outputs
 * weight by weight, against clattn_dropout_mask. Problems are few, since each is programs to build.
 *
 *   CLATTN_CASES     "quick": what dropout does in f32 and with packed sequences; "more": with everything else
 */
#include "compare.h"
#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED   UINT64_C(0x9876543210fedcba)
#define OFFSET UINT64_C(0x100000002)

static struct test_case make_case(const char *problem)
{
    struct test_case c;

    if (!case_from_problem(problem, &c))
        fail_msg("'%s' does not parse", problem);
    c.dropout_seed = SEED;
    c.dropout_offset = OFFSET;
    return c;
}

/* A plan of variant number `n`, NULL where it refuses; `unfused`, the last, takes everything. */
static clattn_plan *plan_of(const struct harness *harness, const struct test_case *c, size_t n)
{
    clattn_attention_desc desc = c->desc;
    clattn_plan *plan = NULL;
    clattn_error error;

    desc.variant = clattn_attention_variant(n);
    clattn_status status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    if (status == CLATTN_ERROR_UNSUPPORTED && strcmp(desc.variant, "unfused") != 0)
        return NULL;
    harness_check(status, &error, c->name);
    return plan;
}

static void run(const struct harness *harness, clattn_plan *plan, struct arrays *arrays)
{
    char message[600];

    if (!harness_run(harness, plan, arrays, message))
        fail_msg("%s, %s: %s", arrays->of->name, clattn_plan_name(plan), message);
}

/* ---- against the oracle --------------------------------------------------------------------------------------- */

static void check(const struct harness *harness, const struct test_case *c)
{
    int accepted = 0;

    for (size_t n = 0; clattn_attention_variant(n) != NULL; n++) {
        clattn_plan *plan = plan_of(harness, c, n);
        struct arrays arrays;
        if (plan == NULL)
            continue;
        assert_true(arrays_init(&arrays, c));
        run(harness, plan, &arrays);
        struct compare_result result = arrays_compare(&arrays, 1, false, false);
        if (!result.passed)
            fail_msg("%s, %s: %s", c->name, clattn_plan_name(plan), result.message);
        arrays_free(&arrays);
        clattn_plan_release(plan);
        accepted++;
    }
    assert_true(accepted >= (c->desc.scores_stage == CLATTN_SCORES_NONE ? 3 : 1));
}

/* Rows of 53 weights begin at any number modulo 4, and 2^32 is crossed within a batch. */
static void outputs_are_the_oracle_s(void **state)
{
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");

    check(*state, &c);
    c.dropout_batch = ((int64_t)1 << 32) / (4 * 37 * 130) - 1;
    check(*state, &c);
    c.dropout_batch = INT64_MAX;
    check(*state, &c);
}

/* The numbers of weights are those of the plan's lengths. */
static void shorter_runs_drop_the_same(void **state)
{
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");

    c.q_len = 30;
    c.kv_len = 101;
    check(*state, &c);
}

static void weights_are_given_out_after_dropout(void **state)
{
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse:scores=weights");

    check(*state, &c);
}

static void packed_queries_count_from_their_sequence(void **state)
{
    struct test_case c = make_case("b3h2q20k70d20:f16:ragged=qkv:causal:dropout=0.5:lse");
    const int64_t rows[] = {7, 20, 13}, keys[] = {70, 33, 21};

    for (int b = 0; b < 3; b++) {
        c.q_rows.length[b] = rows[b];
        c.kv_rows.length[b] = keys[b];
    }
    check(*state, &c);
}

static void dropout_meets_everything_else(void **state)
{
    static const char *const problems[] = {
        "b1h4g1q5k150d20:f32:mask=bool:sinks:dropout=0.9:lse",
        "b1h2q70k90d64:bf16:mask=add:softcap=5:dropout=0.1",
        "b2h2q1k200d64:f16:alibi@bottom-right:window=50,0@bottom-right:lengths:dropout=0.2:lse",
        "b2h2q17k64d80v48:f32-f16-f16-f32:relative=4@3:paged=8:dropout=0.25",
        "b1h2q300k300d16:f32:causal:dropout=1e-9:lse",
    };

    for (size_t n = 0; n < sizeof problems / sizeof *problems; n++) {
        struct test_case c = make_case(problems[n]);
        c.lengths[0] = 77;
        check(*state, &c);
    }
}

/* ---- the mask, read out --------------------------------------------------------------------------------------- */

enum { KEYS = 130, DIM = 20 };

/* Weights all alike, and values that show those of keys first to first + DIM - 1, one a column. */
static void show_keys(struct arrays *arrays, int first)
{
    const clattn_attention_desc *desc = &arrays->of->desc;
    const struct array *value = &arrays->array[ARRAY_VALUE];
    float *values = arrays_at(arrays, ARRAY_VALUE);

    for (int64_t b = 0; b < desc->batch; b++)
        for (int64_t g = 0; g < desc->kv_heads; g++)
            for (int64_t j = 0; j < KEYS; j++) {
                arrays_set_row(arrays, ARRAY_KEY, b, g, j, 0.0);
                arrays_set_row(arrays, ARRAY_VALUE, b, g, j, 0.0);
                if (j >= first && j < first + DIM)
                    values[array_index(value, b, g, j, j - first)] = 1.0F;
            }
}

static void check_keys(const struct arrays *arrays, const char *plan, int first)
{
    const clattn_attention_desc *desc = &arrays->of->desc;
    const struct array *output = &arrays->array[ARRAY_OUTPUT];
    const float *found = arrays_at(arrays, ARRAY_OUTPUT);
    const double weight = 1.0 / KEYS / (1.0 - (double)desc->dropout);
    const int count = first + DIM < KEYS ? DIM : KEYS - first;

    for (int64_t b = 0; b < desc->batch; b++)
        for (int64_t h = 0; h < desc->q_heads; h++)
            for (int64_t i = 0; i < desc->q_len; i++) {
                unsigned char kept[DIM];
                assert_int_equal(clattn_dropout_mask(desc, SEED, OFFSET, arrays->of->dropout_batch + b, h, i, first,
                                                     count, kept, NULL),
                                 CLATTN_SUCCESS);
                for (int n = 0; n < count; n++) {
                    double element = (double)found[array_index(output, b, h, i, n)];
                    if (kept[n] ? fabs(element / weight - 1.0) > 1e-5 : element != 0.0)
                        fail_msg("%s: weight %d of row %d is %g, kept is %d", plan, first + n, (int)i, element,
                                 kept[n]);
                }
            }
}

static void every_variant_has_the_public_mask(void **state)
{
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");

    c.dropout_batch = 5;
    for (size_t n = 0; clattn_attention_variant(n) != NULL; n++) {
        clattn_plan *plan = plan_of(*state, &c, n);
        for (int first = 0; plan != NULL && first < KEYS; first += DIM) {
            struct arrays arrays;
            assert_true(arrays_init(&arrays, &c));
            show_keys(&arrays, first);
            run(*state, plan, &arrays);
            check_keys(&arrays, clattn_plan_name(plan), first);
            arrays_free(&arrays);
        }
        clattn_plan_release(plan);
    }
}

/* ---- runs ----------------------------------------------------------------------------------------------------- */

static void runs_without_a_seed_are_refused(void **state)
{
    const struct harness *harness = *state;
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");
    clattn_plan *plan = harness_plan(harness, &c, "unfused");
    struct harness_buffers buffers;
    struct arrays arrays;
    clattn_error error;

    assert_true(arrays_init(&arrays, &c));
    harness_buffers_create(harness, &arrays, &buffers);
    clattn_attention_args args = harness_args(plan, &arrays, &buffers);
    args.dropout_seed_set = 0;
    assert_int_equal(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message,
                        "dropout_seed is missing, dropout_seed_set is 0: expected a seed, the plan has dropout 0.3");
    args.dropout_seed_set = 1;
    args.dropout_batch = -1;
    assert_int_equal(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "dropout_batch is -1: expected 0 or more");
    harness_buffers_release(&buffers);
    clattn_plan_release(plan);
    arrays_free(&arrays);
}

/* The seed is the run's: one plan drops other weights with another one, and the same with the same. */
static void a_plan_takes_another_seed_in_every_run(void **state)
{
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");
    clattn_plan *plan = harness_plan(*state, &c, NULL);
    struct arrays arrays[3];

    for (int n = 0; n < 3; n++) {
        c.dropout_seed = SEED + (n == 1);
        assert_true(arrays_init(&arrays[n], &c));
        run(*state, plan, &arrays[n]);
    }
    assert_true(arrays_same_outputs(&arrays[0], &arrays[2]));
    assert_false(arrays_same_outputs(&arrays[0], &arrays[1]));
    for (int n = 0; n < 3; n++)
        arrays_free(&arrays[n]);
    clattn_plan_release(plan);
}

static void the_host_call_drops_the_same(void **state)
{
    const struct harness *harness = *state;
    struct test_case c = make_case("b2h4g2q37k130d20:f32:dropout=0.3:lse");
    clattn_attention_host_args args;
    struct arrays arrays;
    clattn_error error;

    assert_true(arrays_init(&arrays, &c));
    clattn_attention_host_args_init(&args);
    args.query = arrays_at(&arrays, ARRAY_QUERY);
    args.key = arrays_at(&arrays, ARRAY_KEY);
    args.value = arrays_at(&arrays, ARRAY_VALUE);
    args.output = arrays_at(&arrays, ARRAY_OUTPUT);
    args.lse = arrays_at(&arrays, ARRAY_LSE);
    args.dropout_seed = SEED;
    args.dropout_offset = OFFSET;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message,
                        "dropout_seed is missing, dropout_seed_set is 0: expected a seed, the plan has dropout 0.3");
    args.dropout_seed_set = 1;
    harness_check(clattn_attention_host(harness->context, &c.desc, &args, &error), &error, c.name);
    struct compare_result result = arrays_compare(&arrays, 1, false, false);
    if (!result.passed)
        fail_msg("%s", result.message);
    arrays_free(&arrays);
}

int main(void)
{
    const struct CMUnitTest quick[] = {
        cmocka_unit_test(outputs_are_the_oracle_s),
        cmocka_unit_test(shorter_runs_drop_the_same),
        cmocka_unit_test(weights_are_given_out_after_dropout),
        cmocka_unit_test(packed_queries_count_from_their_sequence),
        cmocka_unit_test(every_variant_has_the_public_mask),
        cmocka_unit_test(runs_without_a_seed_are_refused),
        cmocka_unit_test(a_plan_takes_another_seed_in_every_run),
        cmocka_unit_test(the_host_call_drops_the_same),
    };
    const struct CMUnitTest more[] = {cmocka_unit_test(dropout_meets_everything_else)};
    int failed = 0;

    if (harness_asks("quick"))
        failed += cmocka_run_group_tests(quick, harness_setup, harness_teardown);
    if (harness_asks("more"))
        failed += cmocka_run_group_tests(more, harness_setup, harness_teardown);
    return failed;
}
