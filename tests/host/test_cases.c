/* SPDX-License-Identifier: Apache-2.0 */
/* The table of cases: every value and every pair of values really occurs in the descriptors, and all of them are valid.
 */
#include "cases.h"

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
                found += strncmp(c.name, "small/", 6) == 0 && c.axes[axes[a]] == value;
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
    assert_true(case_matches(&c, 3, "1/2") && !case_matches(&c, 3, "0/2") && case_matches(&c, 3, "0/3"));
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
        cmocka_unit_test(values_differ),
        cmocka_unit_test(small_cases_have_every_storage),
        cmocka_unit_test(ragged_cases_are_hard),
        cmocka_unit_test(the_table_is_always_the_same),
        cmocka_unit_test(filters_select),
        cmocka_unit_test(names_are_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
