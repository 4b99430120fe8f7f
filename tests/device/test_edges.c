/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edges that attention.h promises about, one test each, on every variant that accepts the problem: rows that see
 * nothing, lengths of 0, NaN and Inf seen and hidden, extreme logits and masks. "unfused" accepts them all. What does
 * not depend on it has the same head dim, 20, and many rows, and log-sum-exps, so that tests share programs.
 *
 *   CLATTN_VARIANTS  which variants, as harness.h has it
 *   CLATTN_CASES     "quick": every edge in f32; "more": those that a type may move in f16 or bf16
 */
#include "compare.h"
#include "harness.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const type_names[] = {"f32", "f16", "bf16"};

/* A case of `format`, in which %s stands for the type. */
static struct test_case make_case(const char *format, const char *type)
{
    char problem[160];
    const char *at = strstr(format, "%s");
    struct test_case c;

    assert_non_null(at);
    snprintf(problem, sizeof problem, "%.*s%s%s", (int)(at - format), format, type, at + 2);
    if (!case_from_problem(problem, &c))
        fail_msg("'%s' does not parse", problem);
    return c;
}

/* Variants by number, for loops: the registered ones, then the library's choice. */
static bool next_variant(size_t *number, const char **variant)
{
    static size_t count = 0;

    while (clattn_attention_variant(count) != NULL)
        count++;
    *variant = clattn_attention_variant(*number);
    return (*number)++ <= count;
}

/* The plan, or NULL where a variant of that name refuses the problem, as all but "unfused" may. */
static clattn_plan *plan_or_refusal(const struct harness *harness, const struct test_case *c, const char *variant)
{
    clattn_attention_desc desc = c->desc;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};

    if (!harness_asks_variant(harness, variant != NULL ? variant : "unfused")) /* the library's choice is its own */
        return NULL;
    desc.variant = variant;
    clattn_status status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    if (status == CLATTN_ERROR_UNSUPPORTED && variant != NULL && strcmp(variant, "unfused") != 0)
        return NULL;
    harness_check(status, &error, c->name);
    return plan;
}

/* Runs and fails the test with the names of the case and the variant where the run is not clean. */
static void run(const struct harness *harness, clattn_plan *plan, struct arrays *arrays)
{
    char message[600];

    if (!harness_run(harness, plan, arrays, message))
        fail_msg("%s, %s: %s", arrays->of->name, clattn_plan_name(plan), message);
}

static void compare(clattn_plan *plan, const struct arrays *arrays)
{
    struct compare_result result = arrays_compare(arrays, 1, false, false);

    if (!result.passed)
        fail_msg("%s, %s: %s", arrays->of->name, clattn_plan_name(plan), result.message);
}

/* What a test does to the inputs of a case before they are run. NULL: nothing. */
typedef void change_inputs(struct arrays *arrays);

/* A case that was run, changed, on a variant. All 0 before the first. */
struct trial {
    size_t number;
    clattn_plan *plan;
    struct arrays arrays;
};

/* Frees the trial and runs the next variant that does not refuse the case. False after the last. */
static bool next_trial(const struct harness *harness, const struct test_case *c, change_inputs *change,
                       struct trial *trial)
{
    const char *variant;

    if (trial->plan != NULL)
        arrays_free(&trial->arrays);
    clattn_plan_release(trial->plan);
    do {
        if (!next_variant(&trial->number, &variant))
            return false;
        trial->plan = plan_or_refusal(harness, c, variant);
    } while (trial->plan == NULL);
    assert_true(arrays_init(&trial->arrays, c));
    if (change != NULL)
        change(&trial->arrays);
    run(harness, trial->plan, &trial->arrays);
    return true;
}

static void check_with_type(const struct harness *harness, const char *format, const char *type, change_inputs *change)
{
    struct test_case c = make_case(format, type);

    for (struct trial trial = {0}; next_trial(harness, &c, change, &trial);)
        compare(trial.plan, &trial.arrays);
}

/* Runs the case, changed, on every variant, in f32 and by turns in f16 or bf16, and compares it with the oracle. */
static void check_against_oracle(const struct harness *harness, const char *format, change_inputs *change)
{
    static int turn = 0;

    turn++;
    if (harness_asks("quick"))
        check_with_type(harness, format, "f32", change);
    if (harness_asks("more"))
        check_with_type(harness, format, type_names[1 + turn % 2], change);
}

static double element(const struct arrays *arrays, enum array_operand operand, int64_t h, int64_t row, int64_t column)
{
    const struct array *array = &arrays->array[operand];

    return oracle_load(array->dtype, arrays_at(arrays, operand), array_index(array, 0, h, row, column));
}

/* ---- rows that see nothing ------------------------------------------------------------------------------------ */

/* The third query, and the last, see nothing. */
static void hide_from_two_queries(struct arrays *arrays)
{
    const struct array *mask = &arrays->array[ARRAY_MASK];
    unsigned char *keep = arrays_at(arrays, ARRAY_MASK);

    for (int64_t h = 0; h < mask->extent[1]; ++h)
        for (int64_t j = 0; j < mask->extent[3]; ++j)
            keep[array_index(mask, 0, h, 2, j)] = keep[array_index(mask, 0, h, mask->extent[2] - 1, j)] = 0;
}

static void fully_masked_rows_are_zero(void **state)
{
    const struct harness *harness = *state;
    struct test_case c = make_case("b1h2q70k90d20:%s:mask=bool:lse:scores=weights", "f32");

    check_against_oracle(harness, "b1h2q70k90d20:%s:mask=bool:lse", hide_from_two_queries);
    check_against_oracle(harness, "b1h2q70k90d20:%s:mask=bool:lse:scores=weights", hide_from_two_queries);
    check_against_oracle(harness, "b1h2q70k90d20:%s:mask=bool@1x2x70x50:mask_pad:lse", hide_from_two_queries);
    for (struct trial trial = {0}; next_trial(harness, &c, hide_from_two_queries, &trial);)
        for (int64_t h = 0; h < 2; ++h) {
            for (int64_t d = 0; d < 20; ++d)
                assert_true(element(&trial.arrays, ARRAY_OUTPUT, h, 2, d) == 0.0);
            for (int64_t j = 0; j < 90; ++j)
                assert_true(element(&trial.arrays, ARRAY_SCORES, h, 2, j) == 0.0);
            assert_true(element(&trial.arrays, ARRAY_LSE, h, 2, 0) == -HUGE_VAL);
        }
}

/* A row of halves may begin at any even address, for all that a compiler makes of vectors of them. */
static void rows_need_no_alignment(void **state)
{
    if (harness_asks("quick"))
        check_with_type(*state, "b1h4q2k300d33:%s", "f16", NULL);
    if (harness_asks("more"))
        check_with_type(*state, "b1h4q1k300d36:%s", "bf16", NULL);
}

/* By the band: queries before the first key, and behind the last by more than the window. */
static void positions_outside_the_keys_are_zero(void **state)
{
    check_against_oracle(*state, "b1h2q100k60d20:%s:causal@-70:lse", NULL);
    check_against_oracle(*state, "b1h2q100k60d20:%s:causal@-500:lse", NULL);
    check_against_oracle(*state, "b1h2q100k60d20:%s:window=5,5@40:lse", NULL);
    check_against_oracle(*state, "b1h2q20k60d20:%s:window=0,0@1000000:lse", NULL);
    check_against_oracle(*state, "b1h1q90k33d20:%s:causal@bottom-right:lse", NULL);
    check_against_oracle(*state, "b1h1q90k33d20:%s:causal@top-left:lse", NULL);
    check_against_oracle(*state, "b1h1q40k400d20:%s:window=1,2@bottom-right:lse", NULL);
    check_against_oracle(*state, "b1h1q40k400d20:%s:window=-1,3@top-left:causal@top-left:lse", NULL);
}

static void set_lengths(struct arrays *arrays)
{
    static const int32_t lengths[] = {0, 40, 97, 13, 1000, -7};
    int32_t *first = arrays_at(arrays, ARRAY_LENGTHS);

    for (int64_t b = 0; b < arrays->array[ARRAY_LENGTHS].extent[0]; ++b)
        first[b] = lengths[b];
}

/* Each batch has its own bottom right; lengths of 0, of everything, and beyond both ends, which are clamped. */
static void batches_have_lengths_of_their_own(void **state)
{
    check_against_oracle(*state, "b6h2g1q50k97d20:%s:lengths:lse", set_lengths);
    check_against_oracle(*state, "b6h2g1q50k97d20:%s:lengths:lse:causal", set_lengths);
    check_against_oracle(*state, "b6h2g1q50k97d20:%s:lengths:lse:window=9,3@bottom-right", set_lengths);
    check_against_oracle(*state, "b6h2g1q50k97d20:%s:lengths:lse:causal:scores=masked", set_lengths);
}

/* ---- lengths of 0 --------------------------------------------------------------------------------------------- */

static void no_keys_give_zeros(void **state)
{
    for (int of_run = 0; of_run < 2; ++of_run) {
        struct test_case c = make_case(of_run ? "b1h2q20k9d20:%s:lse" : "b1h2q20k0d20:%s:lse", "f32");
        c.kv_len = 0;
        for (struct trial trial = {0}; next_trial(*state, &c, NULL, &trial);)
            for (int64_t r = 0; r < 40; ++r) {
                for (int64_t d = 0; d < 20; ++d)
                    assert_true(element(&trial.arrays, ARRAY_OUTPUT, r / 20, r % 20, d) == 0.0);
                assert_true(element(&trial.arrays, ARRAY_LSE, r / 20, r % 20, 0) == -HUGE_VAL);
            }
    }
}

/* No keys need no buffers of keys, values and masks. */
static void no_keys_need_no_buffers(void **state)
{
    const struct harness *harness = *state;
    struct test_case c = make_case("b1h1q20k4d20:%s:mask=bool:lse", "f32");
    clattn_plan *plan = harness_plan(harness, &c, NULL);
    struct arrays arrays;
    struct harness_buffers buffers;
    clattn_error error;

    assert_true(arrays_init(&arrays, &c));
    harness_buffers_create(harness, &arrays, &buffers);
    clattn_attention_args args = harness_args(plan, &arrays, &buffers);
    args.kv_len = 0;
    memset(&args.key, 0, sizeof args.key);
    memset(&args.value, 0, sizeof args.value);
    memset(&args.mask, 0, sizeof args.mask);
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "kv_len 0");
    harness_read(harness, &buffers, &arrays);
    for (int64_t i = 0; i < 20; ++i)
        assert_true(element(&arrays, ARRAY_OUTPUT, 0, i, 0) == 0.0 && element(&arrays, ARRAY_OUTPUT, 0, i, 19) == 0.0);
    harness_buffers_release(&buffers);
    arrays_free(&arrays);
    clattn_plan_release(plan);
}

static void nothing_to_do_gives_an_event(void **state)
{
    static const char *const problems[] = {"b0h2q20k4d20:f32:lse", "b2h0g0q20k4d20:f32:lse", "b2h2q0k4d20:f32:lse",
                                           "b1h1q0k0d20:f32:lse", "b2h2q20k4d20:f32:lse"};
    const struct harness *harness = *state;
    const char *variant;

    for (size_t p = 0; p < sizeof problems / sizeof *problems; ++p)
        for (size_t n = 0; next_variant(&n, &variant);) {
            struct test_case c;
            clattn_attention_args args;
            clattn_error error;
            cl_event event = NULL;
            if (!case_from_problem(problems[p], &c))
                fail_msg("'%s' does not parse", problems[p]);
            clattn_plan *plan = plan_or_refusal(harness, &c, variant);
            if (plan == NULL)
                continue;
            clattn_attention_args_init(&args, plan);
            args.q_len = c.desc.batch == 2 && c.desc.q_heads == 2 ? 0 : args.q_len;
            harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, &event, &error), &error, c.name);
            assert_non_null(event);
            assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
            assert_int_equal(harness_event_status(event), CL_COMPLETE);
            clReleaseEvent(event);
            harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c.name);
            clattn_plan_release(plan);
        }
}

/* A sink may be any finite number. */
static void set_low_sinks(struct arrays *arrays)
{
    float *sinks = arrays_at(arrays, ARRAY_SINKS);

    hide_from_two_queries(arrays);
    sinks[0] = -3e38f;
    sinks[1] = -2.5e38f;
}

static void rows_of_low_sinks_alone_are_zero(void **state)
{
    struct test_case c = make_case("b1h2q9k30d20:%s:mask=bool:sinks:lse", "f32");

    for (struct trial trial = {0}; next_trial(*state, &c, set_low_sinks, &trial);)
        for (int64_t h = 0; h < 2; ++h) {
            double output = element(&trial.arrays, ARRAY_OUTPUT, h, 2, 0);
            if (output != 0.0)
                fail_msg("%s, %s: output %g", c.name, clattn_plan_name(trial.plan), output);
            assert_true(element(&trial.arrays, ARRAY_LSE, h, 2, 0) == (double)(h == 0 ? -3e38f : -2.5e38f));
        }
}

/* Cumulative lengths whose difference does not fit 64 bits: no row of the sequence is written, none outside is read. */
static void set_hostile_lengths(struct arrays *arrays)
{
    static const int64_t q_cu[] = {12, INT64_MIN}, kv_cu[] = {9, INT64_MIN};

    memcpy(arrays_at(arrays, ARRAY_Q_CU_LENGTHS), q_cu, sizeof q_cu);
    memcpy(arrays_at(arrays, ARRAY_KV_CU_LENGTHS), kv_cu, sizeof kv_cu);
}

static void hostile_cumulative_lengths_stay_inside(void **state)
{
    struct test_case c = make_case("b1h2q8k6d20:%s:ragged=qkv@16,12:lse", "f32");

    c.desc.q_cu_lengths = c.desc.kv_cu_lengths = CLATTN_LENGTHS_I64;
    for (struct trial trial = {0}; next_trial(*state, &c, set_hostile_lengths, &trial);)
        continue; /* a run that writes elsewhere is not clean */
}

/* ---- NaN and Inf ---------------------------------------------------------------------------------------------- */

/* Each way of hiding keys: results have the same bits whatever the hidden keys and values hold. */
static void hidden_keys_and_values_have_no_effect(void **state)
{
    static const char *const hiding[] = {
        "b2h4g2q40k150d20:%s:lengths:lse",          "b2h4g2q40k150d20:%s:causal@20:lse",
        "b2h4g2q40k150d20:%s:window=10,4@70:lse",   "b2h4g2q40k150d20:%s:mask=bool:lse:causal@65",
        "b2h4g2q40k150d20:%s:mask=add:lengths:lse", "b2h4g2q40k150d20:%s:lengths:lse:scores=weights",
    };
    const struct harness *harness = *state;

    for (size_t p = 0; p < sizeof hiding / sizeof *hiding; ++p) {
        struct test_case clean = make_case(hiding[p], type_names[harness_asks("more") ? p % 3 : 0]);
        clean.lengths[0] = 70;
        clean.lengths[1] = 3;
        struct test_case poisoned = clean;
        poisoned.input = INPUT_POISON;
        for (struct trial trial = {0}; next_trial(harness, &clean, NULL, &trial);) {
            const struct array_block *key = &trial.arrays.block[ARRAY_KEY];
            struct arrays other;
            assert_true(arrays_init(&other, &poisoned));
            assert_memory_not_equal(key->bytes, other.block[ARRAY_KEY].bytes, key->size);
            run(harness, trial.plan, &other);
            if (!arrays_same_outputs(&trial.arrays, &other))
                fail_msg("%s, %s: hidden NaN changes the result", clean.name, clattn_plan_name(trial.plan));
            compare(trial.plan, &trial.arrays);
            arrays_free(&other);
        }
    }
}

/* The value of key 140 is NaN, and query 140 alone sees it. Tiles have up to 64 queries: those farther away are in
   another. */
static void poison_value(struct arrays *arrays)
{
    arrays_set_row(arrays, ARRAY_VALUE, 0, 0, 140, (double)NAN);
}

static void nan_in_a_value_stays_in_its_tile(void **state)
{
    struct test_case c = make_case("b1h2g1q200k200d20:%s:window=0,0@top-left:lse", "f32");

    for (struct trial trial = {0}; next_trial(*state, &c, poison_value, &trial);)
        for (int64_t h = 0; h < 2; ++h) {
            assert_true(isnan(element(&trial.arrays, ARRAY_OUTPUT, h, 140, 0)));
            for (int64_t i = 0; i < 200; ++i)
                if ((i < 140 - 64 || i > 140 + 64) && isnan(element(&trial.arrays, ARRAY_OUTPUT, h, i, 0)))
                    fail_msg("%s, %s: head %d, query %d", c.name, clattn_plan_name(trial.plan), (int)h, (int)i);
        }
}

static void poison_query(struct arrays *arrays)
{
    arrays_set_row(arrays, ARRAY_QUERY, 0, 1, 7, (double)NAN);
}

static void poison_key(struct arrays *arrays)
{
    const struct array *key = &arrays->array[ARRAY_KEY];

    oracle_store(key->dtype, arrays_at(arrays, ARRAY_KEY), array_index(key, 0, 0, 5, 3), (double)NAN);
}

static void nan_that_is_seen_reaches_the_row(void **state)
{
    check_against_oracle(*state, "b1h2q30k40d20:%s:lse", poison_query);
    check_against_oracle(*state, "b1h2q30k40d20:%s:lse:scores=weights", poison_query);
    check_against_oracle(*state, "b1h2q30k40d20:%s:lse:causal@top-left", poison_key);
    check_against_oracle(*state, "b1h2q30k40d20:%s:lse:causal@top-left:scores=masked", poison_key);
    check_against_oracle(*state, "b1h2q30k40d20:%s:lse:causal@top-left:scores=weights", poison_key);
    check_against_oracle(*state, "b1h2q9k1100d20:%s:lse:window=1090,0@1095", poison_key); /* in one part of the keys */
}

/* A key that makes every score -Inf: weight 0 and nothing else. Queries are positive. */
static void key_of_minus_infinity(struct arrays *arrays)
{
    for (int64_t i = 0; i < 20; ++i)
        arrays_set_row(arrays, ARRAY_QUERY, 0, 0, i, 0.25 + (double)i / 32.0);
    arrays_set_row(arrays, ARRAY_KEY, 0, 0, 3, -HUGE_VAL);
}

/* All of them: a row without weight, like one that sees nothing. */
static void keys_of_minus_infinity(struct arrays *arrays)
{
    for (int64_t j = 0; j < 70; ++j) {
        key_of_minus_infinity(arrays);
        arrays_set_row(arrays, ARRAY_KEY, 0, 0, j, -HUGE_VAL);
    }
}

static void key_of_plus_infinity(struct arrays *arrays)
{
    key_of_minus_infinity(arrays);
    arrays_set_row(arrays, ARRAY_KEY, 0, 0, 68, HUGE_VAL);
}

static void infinite_scores_are_arithmetic(void **state)
{
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse", key_of_minus_infinity);
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse:scores=weights", key_of_minus_infinity);
    check_against_oracle(*state, "b1h1q20k1100d20:%s:lse", key_of_minus_infinity);
    check_against_oracle(*state, "b1h1q20k1100d20:%s:lse", key_of_plus_infinity);
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse", keys_of_minus_infinity);
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse:scores=weights", keys_of_minus_infinity);
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse", key_of_plus_infinity);
    check_against_oracle(*state, "b1h1q20k70d20:%s:lse:softcap=20", key_of_plus_infinity);
}

/*
 * A value that is NaN in column 2, seen by queries from 10 on: NaN in that column of those rows; other columns are
 * untouched, and other heads. Earlier rows of column 2 may be NaN where they share a tile, so they are not looked at.
 */
static void poison_column(struct arrays *arrays)
{
    float *value = arrays_at(arrays, ARRAY_VALUE);

    value[array_index(&arrays->array[ARRAY_VALUE], 0, 1, 10, 2)] = NAN;
}

static void nan_in_a_value_stays_in_its_column(void **state)
{
    const struct harness *harness = *state;
    struct test_case c = make_case("b1h2q200k200d20:%s:causal@top-left:lse", "f32");

    for (struct trial poisoned = {0}; next_trial(harness, &c, poison_column, &poisoned);) {
        struct arrays clean;
        assert_true(arrays_init(&clean, &c));
        run(harness, poisoned.plan, &clean);
        for (int64_t h = 0; h < 2; ++h)
            for (int64_t i = 0; i < 200; ++i)
                for (int64_t d = 0; d < 20; ++d) {
                    double found = element(&poisoned.arrays, ARRAY_OUTPUT, h, i, d);
                    if (h == 1 && d == 2 && i >= 10)
                        assert_true(isnan(found));
                    else if (h != 1 || d != 2)
                        assert_true(found == element(&clean, ARRAY_OUTPUT, h, i, d));
                }
        arrays_free(&clean);
    }
}

/* ---- extreme numbers ------------------------------------------------------------------------------------------ */

/* Logits of exactly +-60000 and 0: query i is 200 in one place, keys 300, -300 or 0 there. */
static void set_extreme_logits(struct arrays *arrays)
{
    const struct array *query = &arrays->array[ARRAY_QUERY];
    const struct array *key = &arrays->array[ARRAY_KEY];

    for (int64_t i = 0; i < query->extent[2]; ++i) {
        arrays_set_row(arrays, ARRAY_QUERY, 0, 0, i, 0.0);
        oracle_store(query->dtype, arrays_at(arrays, ARRAY_QUERY), array_index(query, 0, 0, i, i % 5), 200.0);
    }
    for (int64_t j = 0; j < key->extent[2]; ++j)
        for (int64_t d = 0; d < key->extent[3]; ++d)
            oracle_store(key->dtype, arrays_at(arrays, ARRAY_KEY), array_index(key, 0, 0, j, d),
                         300.0 * (double)((j * 7 + d * 3) % 3 - 1));
}

static void extreme_logits_do_not_overflow(void **state)
{
    check_against_oracle(*state, "b1h1q40k150d20:%s:scale=1:lse", set_extreme_logits);
    check_against_oracle(*state, "b1h1q40k150d20:%s:scale=-1:lse:causal", set_extreme_logits);
    check_against_oracle(*state, "b1h1q40k150d20:%s:scale=1:lse:softcap=50", set_extreme_logits);
    check_against_oracle(*state, "b1h1q40k150d20:%s:scale=1:lse:scores=weights", set_extreme_logits);
    check_against_oracle(*state, "b1h1q40k150d20:%s:scale=1:lse:scores=raw", set_extreme_logits);
}

/* Scores near a twentieth of the cap, where e^2x - 1 loses most; key 0 leads by far, so the lse is its capped score. */
static void set_scores_far_below_the_cap(struct arrays *arrays)
{
    for (int64_t i = 0; i < arrays->array[ARRAY_QUERY].extent[2]; ++i)
        arrays_set_row(arrays, ARRAY_QUERY, 0, 0, i, 44.0 + 0.25 * (double)i);
    for (int64_t j = 0; j < arrays->array[ARRAY_KEY].extent[2]; ++j)
        arrays_set_row(arrays, ARRAY_KEY, 0, 0, j, j == 0 ? 1.0 : -1.0);
}

static void a_softcap_far_above_the_scores_is_exact(void **state)
{
    check_against_oracle(*state, "b1h1q20k2d20:%s:scale=0.05:lse:softcap=1000", set_scores_far_below_the_cap);
}

/* Query i meets key (7 i) % 128 with a logit of 112, all others with 0: the output is that key's value row. */
static void set_leading_logits(struct arrays *arrays)
{
    const struct array *query = &arrays->array[ARRAY_QUERY];
    const struct array *key = &arrays->array[ARRAY_KEY];

    for (int64_t i = 0; i < 100; ++i)
        for (int64_t d = 0; d < 128; ++d)
            oracle_store(query->dtype, arrays_at(arrays, ARRAY_QUERY), array_index(query, 0, 0, i, d),
                         d == 7 * i % 128 ? 4.0 : 0.0);
    for (int64_t j = 0; j < 128; ++j)
        for (int64_t d = 0; d < 128; ++d)
            oracle_store(key->dtype, arrays_at(arrays, ARRAY_KEY), array_index(key, 0, 0, j, d), d == j ? 4.0 : 0.0);
}

static void a_leading_logit_gives_its_value(void **state)
{
    for (size_t t = 0; t < 3; ++t) {
        if (!harness_asks(t == 0 ? "quick" : "more"))
            continue;
        struct test_case c = make_case("b1h1q100k128d128v33:%s:scale=7", type_names[t]);
        for (struct trial trial = {0}; next_trial(*state, &c, set_leading_logits, &trial);)
            for (int64_t i = 0; i < 100; ++i)
                for (int64_t d = 0; d < 33; ++d) {
                    double found = element(&trial.arrays, ARRAY_OUTPUT, 0, i, d);
                    double expected = element(&trial.arrays, ARRAY_VALUE, 0, 7 * i % 128, d);
                    if (found != expected)
                        fail_msg("%s, %s: output[%d,%d] is %.9g: expected %.9g", c.name, clattn_plan_name(trial.plan),
                                 (int)i, (int)d, found, expected);
                }
    }
}

/* Rows of -FLT_MAX throughout are not empty; where a single key has 0 instead, it alone counts; -inf excludes. */
static void set_lowest_masks(struct arrays *arrays)
{
    const struct array *mask = &arrays->array[ARRAY_MASK];
    float *bias = arrays_at(arrays, ARRAY_MASK);

    for (int64_t h = 0; h < mask->extent[1]; ++h)
        for (int64_t i = 0; i < mask->extent[2]; ++i)
            for (int64_t j = 0; j < mask->extent[3]; ++j) {
                float value = -FLT_MAX;
                if (i % 4 == 1)
                    value = j == 70 ? 0.0F : -FLT_MAX;
                if (i % 4 == 2)
                    value = j % 2 == 0 ? -INFINITY : -FLT_MAX;
                if (i % 4 == 3)
                    value = -INFINITY;
                bias[array_index(mask, 0, h, i, j)] = value;
            }
}

static void lowest_masks_are_arithmetic(void **state)
{
    check_against_oracle(*state, "b1h2q9k130d20:%s:mask=add:lse", set_lowest_masks);
    check_against_oracle(*state, "b1h2q9k130d20:%s:mask=add:lse:causal:softcap=3", set_lowest_masks);
    check_against_oracle(*state, "b1h2q9k130d20:%s:mask=add:lse:scores=weights", set_lowest_masks);
    check_against_oracle(*state, "b1h2q9k130d20:%s:mask=add:lse:scores=masked", set_lowest_masks);
}

/*
 * All keys of a row at -FLT_MAX weigh alike, however a kernel cuts them: more than a log-sum-exp of a part can tell,
 * since -FLT_MAX + ln n is -FLT_MAX.
 */
static void set_lowest_rows(struct arrays *arrays)
{
    const struct array *mask = &arrays->array[ARRAY_MASK];
    float *bias = arrays_at(arrays, ARRAY_MASK);

    for (int64_t j = 0; j < mask->extent[3]; ++j) {
        for (int64_t i = 0; i < mask->extent[2]; ++i)
            bias[array_index(mask, 0, 0, i, j)] = -FLT_MAX;
        arrays_set_row(arrays, ARRAY_VALUE, 0, 0, j, (double)j);
    }
}

static void rows_of_the_lowest_mask_give_the_mean(void **state)
{
    struct test_case c = make_case("b1h1q20k1100d20:%s:mask=add:lse", "f32");
    const double mean = 1099.0 / 2;

    for (struct trial trial = {0}; next_trial(*state, &c, set_lowest_rows, &trial);)
        for (int64_t i = 0; i < 20; ++i)
            for (int64_t d = 0; d < 20; ++d) {
                const double found = element(&trial.arrays, ARRAY_OUTPUT, 0, i, d);
                if (!(fabs(found - mean) < 1e-4 * mean))
                    fail_msg("%s, %s: output[%d,%d] is %.9g: expected %.9g", c.name, clattn_plan_name(trial.plan),
                             (int)i, (int)d, found, mean);
            }
}

/* A mask value of +inf or NaN is arithmetic too: the row becomes NaN. */
static void set_nan_masks(struct arrays *arrays)
{
    const struct array *mask = &arrays->array[ARRAY_MASK];
    float *bias = arrays_at(arrays, ARRAY_MASK);

    bias[array_index(mask, 0, 0, 1, 3)] = INFINITY;
    bias[array_index(mask, 0, 1, 2, 69)] = NAN;
}

static void infinite_masks_are_arithmetic(void **state)
{
    check_against_oracle(*state, "b1h2q9k80d20:%s:mask=add:lse", set_nan_masks);
    check_against_oracle(*state, "b1h2q9k80d20:%s:mask=add:lse:scores=weights", set_nan_masks);
}

/* All of an operand [1, 1, rows, dims]: row 0 is `first`, row 1 `second`, and every further row `step` more. */
static void set_rows(struct arrays *arrays, enum array_operand operand, double first, double second, double step)
{
    const struct array *array = &arrays->array[operand];

    for (int64_t i = 0; i < array->extent[2]; ++i)
        for (int64_t d = 0; d < array->extent[3]; ++d)
            oracle_store(array->dtype, arrays_at(arrays, operand), array_index(array, 0, 0, i, d),
                         i == 0 ? first : second + (double)(i - 1) * step);
}

/* One key leads a little, all others are equal, as their values are: every sum is one of equal numbers that are not
 * round. */
static void set_equal_keys(struct arrays *arrays)
{
    set_rows(arrays, ARRAY_QUERY, 0.1, 0.1, 0.0);
    set_rows(arrays, ARRAY_KEY, 0.7, 0.1, 0.0);
    set_rows(arrays, ARRAY_VALUE, 0.1, 0.1, 0.0);
}

/* Scores that rise by less than a tile's rounding: a maximum that is followed at every step rounds as often. */
static void set_rising_keys(struct arrays *arrays)
{
    const double keys = (double)arrays->array[ARRAY_KEY].extent[2];

    set_rows(arrays, ARRAY_QUERY, 1.0, 1.0, 0.0);
    set_rows(arrays, ARRAY_KEY, 0.0, 0.0, 0.2 / keys);
    set_rows(arrays, ARRAY_VALUE, 0.0, 0.0, 1.0 / keys);
}

/* Scores that leap by more than kernels let a maximum lag, and fall again, with many keys before each: what was summed
 * is rescaled, wherever it is held. */
static void set_leaping_keys(struct arrays *arrays)
{
    static const double scores[4] = {0.0, 7.0, 14.0, 9.0};
    const struct array *key = &arrays->array[ARRAY_KEY], *value = &arrays->array[ARRAY_VALUE];
    const int64_t keys = key->extent[2], dims = key->extent[3];

    set_rows(arrays, ARRAY_QUERY, 1.0, 1.1, 0.0);
    for (int64_t j = 0; j < keys; ++j)
        for (int64_t d = 0; d < dims; ++d) {
            oracle_store(key->dtype, arrays_at(arrays, ARRAY_KEY), array_index(key, 0, 0, j, d),
                         scores[4 * j / keys] / sqrt((double)dims));
            oracle_store(value->dtype, arrays_at(arrays, ARRAY_VALUE), array_index(value, 0, 0, j, d),
                         j % 2 != 0 ? 0.3 : (double)(4 * j / keys) - 0.7);
        }
}

/* Rounding errors that all have one direction stay below the bound of random ones, however many keys there are. */
static void sums_do_not_drift(void **state)
{
    static const struct {
        const char *problem;
        change_inputs *change;
    } trials[] = {
        {"b1h1q2k50176d20:%s:lse", set_equal_keys},
        {"b1h1q2k50176d20:%s:lse", set_leaping_keys},
        {"b1h1q2k262144d20:%s:lse", set_equal_keys},
        {"b1h1q2k262144d20:%s:lse", set_rising_keys},
    };

    for (size_t n = 0; n < sizeof trials / sizeof *trials; ++n) {
        if (!harness_asks(n < 2 ? "quick" : "more"))
            continue;
        struct test_case c = make_case(trials[n].problem, "f32");
        for (struct trial trial = {0}; next_trial(*state, &c, trials[n].change, &trial);)
            compare(trial.plan, &trial.arrays);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_do_not_drift),
        cmocka_unit_test(rows_need_no_alignment),
        cmocka_unit_test(rows_of_low_sinks_alone_are_zero),
        cmocka_unit_test(nan_in_a_value_stays_in_its_tile),
        cmocka_unit_test(hostile_cumulative_lengths_stay_inside),
        cmocka_unit_test(fully_masked_rows_are_zero),
        cmocka_unit_test(positions_outside_the_keys_are_zero),
        cmocka_unit_test(batches_have_lengths_of_their_own),
        cmocka_unit_test(no_keys_give_zeros),
        cmocka_unit_test(no_keys_need_no_buffers),
        cmocka_unit_test(nothing_to_do_gives_an_event),
        cmocka_unit_test(hidden_keys_and_values_have_no_effect),
        cmocka_unit_test(nan_that_is_seen_reaches_the_row),
        cmocka_unit_test(infinite_scores_are_arithmetic),
        cmocka_unit_test(nan_in_a_value_stays_in_its_column),
        cmocka_unit_test(extreme_logits_do_not_overflow),
        cmocka_unit_test(a_softcap_far_above_the_scores_is_exact),
        cmocka_unit_test(a_leading_logit_gives_its_value),
        cmocka_unit_test(lowest_masks_are_arithmetic),
        cmocka_unit_test(rows_of_the_lowest_mask_give_the_mean),
        cmocka_unit_test(infinite_masks_are_arithmetic),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
