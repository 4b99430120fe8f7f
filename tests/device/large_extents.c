/* SPDX-License-Identifier: Apache-2.0 */
/* More than 65 535 heads, queries or keys, which is what two of the three dimensions of some devices' grids end at. */
#include "compare.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Every variant on the problem, with its inputs changed unless that is NULL; every `step`-th row is compared. */
static void check_changed(const struct harness *harness, const char *problem, void (*change)(struct arrays *),
                          int64_t step)
{
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct test_case c;
        struct arrays arrays;
        char message[600];
        harness_case(harness, &c, problem, clattn_attention_variant(n));
        clattn_plan *plan = harness_plan(harness, &c, clattn_attention_variant(n));
        assert_true(arrays_init(&arrays, &c));
        if (change != NULL)
            change(&arrays);
        if (!harness_run(harness, plan, &arrays, message))
            fail_msg("%s, %s: %s", problem, clattn_plan_name(plan), message);
        struct compare_result result = arrays_compare(&arrays, step, false, false);
        if (!result.passed)
            fail_msg("%s, %s: %s", problem, clattn_plan_name(plan), result.message);
        arrays_free(&arrays);
        clattn_plan_release(plan);
    }
}

static void check(const struct harness *harness, const char *problem, int64_t step)
{
    check_changed(harness, problem, NULL, step);
}

static void many_heads(void **state)
{
    check(*state, "b300h250g50q2k3d20:f32:lse", 97);
    check(*state, "b1h70000g1q1k5d20:f32:lse", 97);
}

static void many_batches(void **state)
{
    check(*state, "b70000h1q3k2d20:f32:causal:lse", 97);
}

static void many_queries(void **state)
{
    check(*state, "b1h1q65537k40d20:f32:lse", 89);
    check(*state, "b1h1q65537k2049d8:f16:window=2000,5@-63488:lse", 997);
}

static void many_keys(void **state)
{
    check(*state, "b1h2q5k65537d20:f32:causal:lse", 1);
}

/* One key leads a little and all others are equal, as all values are: rounding errors all have one direction. */
static void set_equal_keys(struct arrays *arrays)
{
    arrays_set_row(arrays, ARRAY_QUERY, 0, 0, 0, 0.1);
    for (int64_t j = 0; j < arrays->array[ARRAY_KEY].extent[2]; ++j) {
        arrays_set_row(arrays, ARRAY_KEY, 0, 0, j, j == 0 ? 0.7 : 0.1);
        arrays_set_row(arrays, ARRAY_VALUE, 0, 0, j, 0.1);
    }
}

static void many_equal_keys(void **state)
{
    check_changed(*state, "b1h1q1k16777216d4:f32:lse", set_equal_keys, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_equal_keys), cmocka_unit_test(many_heads), cmocka_unit_test(many_batches),
        cmocka_unit_test(many_queries),    cmocka_unit_test(many_keys),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
