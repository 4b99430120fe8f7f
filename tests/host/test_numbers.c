/* SPDX-License-Identifier: Apache-2.0 */
/* The tool's conversions between number types, against the oracle's, which know nothing of each other; made-up numbers.
 */
#include "../../tools/shared/convert.c"
#include "../../tools/shared/random.c"
#include "oracle.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* after those: */
#include <cmocka.h>

/* Room for a number of any type. */
union number {
    float f32;
    uint16_t bits;
};

static bool is_nan16(clattn_dtype dtype, uint16_t bits)
{
    return (bits & 0x7fff) > (dtype == CLATTN_F16 ? 0x7c00 : 0x7f80);
}

static void test_every_small_number(void **state)
{
    (void)state;
    static const clattn_dtype dtypes[] = {CLATTN_F16, CLATTN_BF16};
    for (int t = 0; t < 2; t++)
        for (uint32_t i = 0; i < 65536; i++) {
            union number small = {.bits = (uint16_t)i}, back;
            float value = convert_load(dtypes[t], &small, 0);
            convert_store(dtypes[t], &back, 0, value);
            assert_int_equal(isnan(value) != 0, is_nan16(dtypes[t], small.bits));
            if (isnan(value)) {
                assert_true(is_nan16(dtypes[t], back.bits));
                continue;
            }
            assert_int_equal(small.bits, back.bits);
            assert_true((double)value == oracle_load(dtypes[t], &small, 0));
        }
}

static void check_rounding(uint32_t bits)
{
    static const clattn_dtype dtypes[] = {CLATTN_F16, CLATTN_BF16};
    float value = float_of(bits);
    for (int t = 0; t < 2; t++) {
        union number found, expected;
        convert_store(dtypes[t], &found, 0, value);
        oracle_store(dtypes[t], &expected, 0, (double)value);
        if (isnan(value))
            assert_true(is_nan16(dtypes[t], found.bits));
        else if (found.bits != expected.bits)
            fail_msg("%a as %s: %#x, expected %#x", (double)value, clattn_dtype_string(dtypes[t]), found.bits,
                     expected.bits);
    }
}

/* Where rounding changes its mind: halfway between neighbours, and a bit to either side; then a sweep over all. */
static void test_rounding(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++)
        for (uint32_t d = 0; d < 3; d++) {
            check_rounding((i << 16) + 0x7fff + d);               /* bf16 */
            check_rounding((i << 13) + 0x0fff + d);               /* f16, small exponents */
            check_rounding((i << 13) + 0x0fff + d + 0x38000000);  /* f16, its own range */
            check_rounding((i << 16) + d + UINT32_C(0xffffffff)); /* around what is exact */
        }
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 7919)
        check_rounding((uint32_t)bits);
}

static void test_arrays(void **state)
{
    (void)state;
    const float from[3] = {1.0f, -2.5f, 65504.0f};
    uint16_t half[3];
    float back[3];
    convert_array(CLATTN_F16, half, CLATTN_F32, from, 3);
    assert_int_equal(half[0], 0x3c00);
    assert_int_equal(half[1], 0xc100);
    assert_int_equal(half[2], 0x7bff);
    convert_array(CLATTN_F32, back, CLATTN_F16, half, 3);
    assert_memory_equal(back, from, sizeof from);
    convert_array(CLATTN_F32, back, CLATTN_F32, from, 3);
    assert_memory_equal(back, from, sizeof from);
}

/* Moments of a million: standard errors are 0.001, 0.0014, 0.0024, 0.01; six of them are allowed. */
static void test_normal(void **state)
{
    (void)state;
    const uint64_t count = 1000000;
    double sum[5] = {0};
    for (uint64_t i = 0; i < count; i++) {
        double x = random_normal(3, 1, i), power = x;
        for (int m = 1; m <= 4; m++, power *= x)
            sum[m] += power / (double)count;
    }
    assert_true(fabs(sum[1]) < 0.006);
    assert_true(fabs(sum[2] - 1) < 0.0085);
    assert_true(fabs(sum[3]) < 0.025);
    assert_true(fabs(sum[4] - 3) < 0.06);
}

/* Streams, seeds and neighbours are not related: products of them average to nothing. */
static void test_independence(void **state)
{
    (void)state;
    const uint64_t count = 100000;
    double seeds = 0, streams = 0, neighbours = 0, both = 0;
    for (uint64_t i = 0; i < count; i++) {
        double x = random_normal(0, 0, i) / (double)count;
        seeds += x * random_normal(1, 0, i);
        streams += x * random_normal(0, 1, i);
        both += x * random_normal(1, 1, i);
        neighbours += x * random_normal(0, 0, i + 1);
    }
    assert_true(fabs(seeds) < 0.02 && fabs(streams) < 0.02 && fabs(both) < 0.02 && fabs(neighbours) < 0.02);
    assert_true(random_bits(5, 6, 7) == random_bits(5, 6, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_small_number),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_independence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
