/* SPDX-License-Identifier: Apache-2.0 */
/* Whether two views in one memory object have a byte in common: against marking the bytes, and where sizes forbid that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "problem/problem.h"
#include <stdio.h>

static struct cla_tensor view(uint8_t element_size, const int64_t extent[4], const int64_t stride[4])
{
    struct cla_tensor tensor = {.present = true, .element_size = element_size, .span = 1};
    for (int d = 0; d < 4; d++) {
        tensor.extent[d] = extent[d];
        tensor.stride[d] = extent[d] == 1 ? 0 : stride[d];
        tensor.span += (extent[d] - 1) * tensor.stride[d];
    }
    return tensor;
}
#define INTS(...) ((const int64_t[4]){__VA_ARGS__})

static uint32_t random_below(uint32_t bound)
{
    static uint64_t seed = 1; /* a linear congruential generator (Knuth, MMIX) */
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % bound;
}

static struct cla_tensor random_view(void)
{
    int64_t extent[4], stride[4];
    for (int d = 0; d < 4; d++) {
        extent[d] = 1 + random_below(4);
        stride[d] = random_below(3) == 0 ? 6 * random_below(4) : random_below(24);
    }
    if (random_below(2) == 0)
        stride[3] = 1;
    return view((uint8_t)(1u << random_below(4)), extent, stride);
}

enum { MEMORY = 4096 };

static void mark(const struct cla_tensor *t, int64_t start, unsigned char bytes[MEMORY])
{
    memset(bytes, 0, MEMORY);
    for (int64_t a = 0; a < t->extent[0]; a++)
        for (int64_t b = 0; b < t->extent[1]; b++)
            for (int64_t c = 0; c < t->extent[2]; c++)
                for (int64_t d = 0; d < t->extent[3]; d++) {
                    int64_t at = a * t->stride[0] + b * t->stride[1] + c * t->stride[2] + d * t->stride[3];
                    memset(bytes + start + at * t->element_size, 1, t->element_size);
                }
}

static void agrees_with_marked_bytes(void **state)
{
    (void)state;
    static unsigned char bytes_a[MEMORY], bytes_b[MEMORY];
    int met = 0, nested_apart = 0;
    for (int i = 0; i < 20000; i++) {
        struct cla_tensor a = random_view(), b = random_view();
        if (random_below(2) == 0) /* the same strides, as tensors packed into one another have */
            b = view(a.element_size, b.extent, a.stride);
        int64_t start_a = random_below(300), start_b = random_below(300);
        bool expected = false;
        mark(&a, start_a, bytes_a);
        mark(&b, start_b, bytes_b);
        for (int at = 0; at < MEMORY && !expected; at++)
            expected = bytes_a[at] && bytes_b[at];
        bool found = cla_tensors_overlap(&a, start_a, &b, start_b);
        if (found != expected)
            fail_msg("pair %d: found %d, expected %d", i, found, expected);
        assert_int_equal(cla_tensors_overlap(&b, start_b, &a, start_a), expected);
        bool ranges_meet = start_a < start_b + b.span * b.element_size && start_b < start_a + a.span * a.element_size;
        met += expected;
        nested_apart += ranges_meet && !expected;
    }
    assert_true(met > 2000 && nested_apart > 2000); /* both answers were really asked for */
}

static void nothing_overlaps_nothing(void **state)
{
    (void)state;
    struct cla_tensor a = view(4, INTS(1, 1, 1, 8), INTS(0, 0, 0, 1)), empty = a;
    empty.extent[3] = 0;
    empty.span = 0;
    assert_true(cla_tensors_overlap(&a, 0, &a, 28));
    assert_false(cla_tensors_overlap(&a, 0, &a, 32));
    assert_false(cla_tensors_overlap(&a, 0, &empty, 0));
    assert_false(cla_tensors_overlap(&empty, 0, &a, 0));
}

/* Query, key, value and output in one array [batch, length, 4, heads, dim]: far more rows than steps are allowed. */
static void packed_tensors_are_told_apart_at_any_size(void **state)
{
    (void)state;
    const int64_t heads = 16, dim = 64, row = 4 * heads * dim, length = 1000000;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            struct cla_tensor a = view(2, INTS(32, heads, length, dim), INTS(length * row, dim, row, 1));
            struct cla_tensor b = view(2, INTS(32, heads, length - 7, dim), INTS(length * row, dim, row, 1));
            assert_int_equal(cla_tensors_overlap(&a, 2 * i * heads * dim, &b, 2 * j * heads * dim), i == j);
            if (i < j) /* one byte into the next */
                assert_int_equal(cla_tensors_overlap(&a, 2 * i * heads * dim + 1, &b, 2 * j * heads * dim), j == i + 1);
        }
    }
}

/* Even bytes against odd ones with strides that differ: exact while it is small, then on the safe side. */
static void tangles_are_given_up_as_overlap(void **state)
{
    (void)state;
    for (int64_t rows = 1000; rows <= 1000000; rows *= 1000) {
        struct cla_tensor a = view(1, INTS(1, 1, rows, 1), INTS(0, 0, 6, 0));
        struct cla_tensor b = view(1, INTS(1, 1, rows, 1), INTS(0, 0, 4, 0));
        assert_int_equal(cla_tensors_overlap(&a, 0, &b, 1), rows > 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_marked_bytes),
        cmocka_unit_test(nothing_overlaps_nothing),
        cmocka_unit_test(packed_tensors_are_told_apart_at_any_size),
        cmocka_unit_test(tangles_are_given_up_as_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
