/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of cases: every value and every pair of values really occurs in the descriptors, every value in the quick
 * ones; all of them are valid, and those of a program need no other.
 */
#include "cases.h"
#include "ops/attention/registry.h"
#include "problem/attention.h"
#include "util/size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_pair_occurs(void **state)
{
    static bool have[NUM_AXES][16][NUM_AXES][16];
    size_t count;
    struct test_case c;
    int pairs = 0;

    (void)state;
    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        assert_true(case_get(n, &c));
        for (int a = 0; a < NUM_AXES; ++a)
            for (int b = 0; b < NUM_AXES; ++b)
                have[a][c.axes[a]][b][c.axes[b]] = true;
    }
    for (int a = 0; a < NUM_AXES; ++a)
        for (int b = 0; b < a; ++b)
            for (int va = 0; va < case_axis_values((enum case_axis)a); ++va)
                for (int vb = 0; vb < case_axis_values((enum case_axis)b); ++vb, ++pairs)
                    if (have[a][va][b][vb] != case_pair_is_legal((enum case_axis)a, va, (enum case_axis)b, vb))
                        fail_msg("%s %d %s %s %d", case_axis_names[a], va,
                                 have[a][va][b][vb] ? "must not meet" : "never meets", case_axis_names[b], vb);
    print_message("%d pairs of values in %d cases, %d cases in all\n", pairs, (int)count, (int)case_count(NULL));
}

/* The same of the backward's table. */
static void every_pair_of_the_backward_occurs(void **state)
{
    static bool have[NUM_AXES][16][NUM_AXES][16];
    static bool quick[NUM_AXES][16];
    struct test_case c;
    size_t programs = 0;

    (void)state;
    for (size_t n = 0; n < case_backward_count(); ++n) {
        case_backward_get(n, &c);
        programs = c.program >= programs ? c.program + 1 : programs;
        for (int a = 0; a < NUM_AXES; ++a) {
            quick[a][c.axes[a]] = quick[a][c.axes[a]] || c.quick;
            for (int b = 0; b < NUM_AXES; ++b)
                have[a][c.axes[a]][b][c.axes[b]] = true;
        }
        if (!c.desc.lse || c.desc.kv_storage != CLATTN_STORAGE_LINEAR || c.desc.scores_stage != CLATTN_SCORES_NONE ||
            (c.desc.dropout > 0.0F) != (c.axes[AXIS_DROPOUT] != 0))
            fail_msg("%s is no case of the backward", c.name);
    }
    for (int a = 0; a < NUM_AXES; ++a)
        for (int va = 0; va < case_backward_values((enum case_axis)a); ++va) {
            if (!quick[a][va])
                fail_msg("%s %d is in no quick case of the backward", case_axis_names[a], va);
            for (int b = 0; b < a; ++b)
                for (int vb = 0; vb < case_backward_values((enum case_axis)b); ++vb)
                    if (have[a][va][b][vb] != case_pair_is_legal((enum case_axis)a, va, (enum case_axis)b, vb))
                        fail_msg("%s %d %s %s %d", case_axis_names[a], va,
                                 have[a][va][b][vb] ? "must not meet" : "never meets", case_axis_names[b], vb);
        }
    print_message("%d cases of the backward, %d programs a variant\n", (int)case_backward_count(), (int)programs);
}

static void every_value_occurs_in_quick_cases(void **state)
{
    static bool have[NUM_AXES][16];
    size_t count;
    struct test_case c;
    int quick = 0;

    (void)state;
    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        assert_true(case_get(n, &c));
        quick += c.quick;
        for (int a = 0; a < NUM_AXES && c.quick; ++a)
            have[a][c.axes[a]] = true;
    }
    for (int a = 0; a < NUM_AXES; ++a)
        for (int value = 0; value < case_axis_values((enum case_axis)a); ++value)
            if (!have[a][value])
                fail_msg("%s %d is in no quick case", case_axis_names[a], value);
    print_message("%d quick cases of pairs\n", quick);
}

/* What any variant's build options follow from. */
static void name_program(const struct test_case *c, struct cla_text *name)
{
    struct cla_problem problem;
    clattn_error error;
    int64_t rows = 1;

    if (cla_problem_from_attention(&c->desc, &problem, &error) != CLATTN_SUCCESS)
        fail_msg("%s: %s", c->name, error.message);
    while (rows < cla_min(cla_packed_rows(&problem), 16))
        rows *= 2;
    const clattn_scores_stage stage = problem.semantics.scores_stage;
    const struct cla_build build = cla_semantics_build(&problem, CLA_USES_ALL);
    cla_build_options(name, &build);
    cla_flash_options(name, &problem);
    cla_option(name, "CLA_ROWS", rows);
    if (stage == CLATTN_SCORES_RAW || stage == CLATTN_SCORES_SOFTCAP)
        cla_option(name, "CLA_STAGE", (int64_t)stage);
    assert_false(name->failed);
}

static void cases_of_a_program_need_no_other(void **state)
{
    static struct cla_text names[512];
    size_t programs = 0;
    size_t quick = 0;
    size_t count;
    struct test_case c;

    (void)state;
    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        struct cla_text name = {0};
        assert_true(case_get(n, &c));
        assert_true(c.program <= programs && programs < sizeof names / sizeof *names);
        name_program(&c, &name);
        if (c.program < programs) {
            if (strcmp(names[c.program].data, name.data) != 0)
                fail_msg("%s: %s, the first of its program has %s", c.name, name.data, names[c.program].data);
            cla_text_free(&name);
        } else {
            names[programs++] = name;
            quick += c.quick;
        }
    }
    print_message("%d programs a variant, %d of them for quick cases\n", (int)programs, (int)quick);
    while (programs > 0)
        cla_text_free(&names[--programs]);
}

/* Values of an axis are told apart by what the library is given, not by their index. */
static void values_differ(void **state)
{
    static struct test_case of_value[NUM_AXES][16];
    static bool seen[NUM_AXES][16];
    size_t count;
    struct test_case c;

    (void)state;
    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        assert_true(case_get(n, &c));
        for (int a = 0; a < NUM_AXES; ++a) {
            of_value[a][c.axes[a]] = c;
            seen[a][c.axes[a]] = true;
        }
        assert_true(c.q_len >= 1 && c.q_len <= c.desc.q_len && c.kv_len >= 1 && c.kv_len <= c.desc.kv_len);
        assert_int_equal(c.desc.q_heads % c.desc.kv_heads, 0);
        assert_true(c.desc.batch <= CASE_MAX_BATCH);
    }
    for (int d = 0; d < case_axis_values(AXIS_HEAD_DIM); ++d) {
        assert_true(seen[AXIS_HEAD_DIM][d]);
        for (int e = 0; e < d; ++e)
            assert_true(of_value[AXIS_HEAD_DIM][d].desc.head_dim != of_value[AXIS_HEAD_DIM][e].desc.head_dim);
    }
    for (int s = 0; s < case_axis_values(AXIS_SCORES); ++s)
        assert_int_equal(of_value[AXIS_SCORES][s].desc.scores_stage, s);
    for (int s = 0; s < case_axis_values(AXIS_LENGTHS); ++s)
        assert_int_equal(of_value[AXIS_LENGTHS][s].desc.kv_lengths, s);
}

/* The small ones are all that an interpreter sees: what is stored, packed or added in every way is among them. */
static void small_cases_have_every_storage(void **state)
{
    static const enum case_axis axes[] = {AXIS_STORAGE, AXIS_RAGGED, AXIS_BIAS, AXIS_SINKS, AXIS_LENGTHS, AXIS_SCORES};
    struct test_case c;

    (void)state;
    for (size_t a = 0; a < sizeof axes / sizeof *axes; ++a)
        for (int value = 0; value < case_axis_values(axes[a]); ++value) {
            int found = 0;
            for (size_t n = 0; n < case_count(NULL); ++n) {
                assert_true(case_get(n, &c));
                found += strstr(c.name, "/small/") != NULL && c.axes[axes[a]] == value;
            }
            if (found < 2)
                fail_msg("%s %d is in %d small cases", case_axis_names[axes[a]], value, found);
        }
}

/* Every way of lying about lengths is there: sequences that are empty, cut by the length, cut by the total. */
static void ragged_cases_are_hard(void **state)
{
    int empty = 0;
    int longer = 0;
    int past_the_total = 0;
    int with_rows_of_nobody = 0;
    size_t count;
    struct test_case c;

    (void)state;
    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        assert_true(case_get(n, &c));
        if (c.desc.q_cu_lengths == CLATTN_LENGTHS_NONE)
            continue;
        int64_t end = c.q_rows.first;
        for (int64_t b = 0; b < c.desc.batch; ++b) {
            end += c.q_rows.length[b];
            empty += c.q_rows.length[b] == 0;
            longer += c.q_rows.length[b] > c.q_len;
        }
        past_the_total += end > c.q_rows.total;
        with_rows_of_nobody += c.q_rows.first > 0 || end < c.q_rows.total;
        assert_true(c.q_rows.total <= c.desc.q_total);
    }
    assert_true(empty > 3 && longer > 3 && past_the_total > 3 && with_rows_of_nobody > 3);
}

static void the_table_is_always_the_same(void **state)
{
    struct test_case first;
    struct test_case again;

    (void)state;
    for (size_t n = 0; n < case_count(NULL); ++n) {
        assert_true(case_get(n, &first));
        assert_true(case_get(n, &again));
        assert_memory_equal(&first, &again, sizeof first);
    }
}

static void filters_select(void **state)
{
    struct test_case c;

    (void)state;
    assert_true(case_get(3, &c));
    assert_true(case_matches(&c, 3, NULL) && case_matches(&c, 3, "") && case_matches(&c, 3, "small/003"));
    assert_true(case_matches(&c, 3, "3-3") && case_matches(&c, 3, "0-10") && case_matches(&c, 3, "small"));
    c.program = 5;
    assert_true(case_matches(&c, 3, "1/2") && !case_matches(&c, 3, "0/2") && case_matches(&c, 3, "2/3"));
    assert_true(case_matches(&c, 3, "quick 1/2") && case_matches(&c, 3, "0-10 quick small 1/2"));
    assert_false(case_matches(&c, 3, "quick 0/2") || case_matches(&c, 3, "more 1/2"));
    assert_false(case_matches(&c, 3, "4-9") || case_matches(&c, 3, "pair") || case_matches(&c, 3, "0-2"));
}

static void names_are_whole(void **state)
{
    struct test_case c;

    (void)state;
    for (size_t n = 0; n < case_count(NULL); ++n) {
        assert_true(case_get(n, &c));
        assert_true(strlen(c.name) < sizeof c.name - 1);
        assert_non_null(strstr(c.name, c.types));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_occurs),
        cmocka_unit_test(every_pair_of_the_backward_occurs),
        cmocka_unit_test(every_value_occurs_in_quick_cases),
        cmocka_unit_test(cases_of_a_program_need_no_other),
        cmocka_unit_test(values_differ),
        cmocka_unit_test(small_cases_have_every_storage),
        cmocka_unit_test(ragged_cases_are_hard),
        cmocka_unit_test(the_table_is_always_the_same),
        cmocka_unit_test(filters_select),
        cmocka_unit_test(names_are_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
