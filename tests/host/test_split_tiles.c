/* SPDX-License-Identifier: Apache-2.0 */
/* The tile table of split_kv, with what it needs: this test takes split_kv.c's place in the library. */
#include "ops/attention/split_kv.c"
#include "problem/attention.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

static struct cla_device device_with(uint64_t local_memory, uint64_t work_group)
{
    struct cla_device device;
    memset(&device, 0, sizeof device);
    device.info.local_memory = local_memory;
    device.info.max_work_group = work_group;
    return device;
}

static struct cla_problem problem_with(int64_t dim, clattn_dtype type)
{
    struct cla_problem problem;
    memset(&problem, 0, sizeof problem);
    problem.head_dim = problem.value_dim = dim;
    problem.tensor[CLA_KEY].dtype = problem.tensor[CLA_VALUE].dtype = type;
    return problem;
}

static const struct cla_split_tile *tile_for(uint64_t local_memory, uint64_t work_group, int64_t dim, int64_t rows,
                                             size_t index)
{
    const struct cla_device device = device_with(local_memory, work_group);
    const struct cla_problem problem = problem_with(dim, CLATTN_F32);
    return cla_split_tile_for(&device, &problem, rows, needs, index);
}

/* A row of the table: a device without limits is offered all of them for many query rows. */
static const struct cla_split_tile *row(size_t index)
{
    return tile_for(INT64_MAX - 1, INT64_MAX, 1, 1000, index);
}

static void check_tile(const struct cla_split_tile *tile, int rows, int group)
{
    assert_non_null(tile);
    assert_int_equal(tile->rows, rows);
    assert_int_equal(tile->group, group);
}

static bool is_power_of_two(int number)
{
    return number > 0 && (number & (number - 1)) == 0;
}

/* What split_kv.cl asks of its parameters. */
static void every_row_is_legal(void **state)
{
    (void)state;
    assert_non_null(row(0));
    for (size_t i = 0; row(i) != NULL; i++) {
        const struct cla_split_tile *tile = row(i);
        assert_true(is_power_of_two(tile->rows) && is_power_of_two(tile->group) && is_power_of_two(tile->sharers));
        assert_in_range(tile->sharers, cla_min(tile->rows, 4), 32);
        assert_in_range(tile->group, tile->sharers * row_groups(tile), 256);
        assert_in_range(row_groups(tile), 1, 32);
        if (i > 0)
            assert_true(tile->rows < row(i - 1)->rows || tile->group < row(i - 1)->group);
    }
}

/* The bytes of the kernel's arrays, one by one. */
static void local_memory_is_what_the_kernel_declares(void **state)
{
    (void)state;
    const struct cla_problem f32 = problem_with(128, CLATTN_F32);
    const struct cla_problem f16 = problem_with(128, CLATTN_F16);
    const struct cla_problem odd = problem_with(65, CLATTN_F16);
    const struct cla_split_tile most = {16, 128, 4, 0};
    const struct cla_split_tile few = {4, 128, 4, 0};
    const struct cla_split_tile least = {1, 1, 1, 0};
    const int64_t softmax = 4 * 16 * 32 + 4 * 16 * 8 + 4 * 16 + 8 * 32; /* 32 keys, 8 work-items a row */
    assert_int_equal(local_bytes(&most, &f32), 16 * (16 * 32 + 3 * 4) + 16 * (128 * 4 + 3 * 2) + softmax);
    assert_int_equal(local_bytes(&most, &f16), 16 * (16 * 32 + 3 * 1) + 16 * (128 * 4 + 3 * 2) + softmax);
    assert_int_equal(local_bytes(&few, &f32), 16 * 4 * 32 + 16 * 128 * 4 + 4 * 4 * (128 + 32 + 1) + 8 * 128);
    assert_int_equal(local_bytes(&least, &odd), 16 * 18 + 16 + 4 * (4 + 1 + 1) + 8 * 4); /* 9 pieces of 8 dims */
}

static void no_more_rows_than_there_are(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows <= 16; rows++) {
        const struct cla_split_tile *tile = tile_for(65536, 1024, 128, rows, 0);
        assert_non_null(tile);
        assert_in_range(tile->rows, rows, 2 * rows - 1);
    }
    check_tile(tile_for(65536, 1024, 128, 1000, 0), 16, 128);
}

static void known_devices_get_known_tiles(void **state)
{
    (void)state;
    check_tile(tile_for(16384, 64, 128, 16, 0), 16, 64); /* the least that counts as ready */
    check_tile(tile_for(16384, 64, 256, 16, 0), 8, 64);
    check_tile(tile_for(16384, 64, 128, 1, 0), 1, 64);
    check_tile(tile_for(32768, 256, 256, 16, 0), 16, 128); /* the least that OpenCL 1.2 asks of a full profile */
    check_tile(tile_for(49152, 1024, 576, 16, 0), 8, 128); /* sums for 16 would be too many */
}

static void one_work_item_is_enough(void **state)
{
    (void)state;
    check_tile(tile_for(1024, 1, 128, 16, 0), 1, 1); /* the least of an embedded profile */
    assert_null(tile_for(1024, 1, 128, 16, 1));
    assert_null(tile_for(1024, 1, 1024, 16, 0));
    check_tile(tile_for(8192, 1, 1024, 16, 0), 1, 1); /* local memory was all that lacked */
}

/* Sums of many columns do not fit the registers of few work-items, but for the last, which keeps them in memory. */
static void columns_share_the_registers(void **state)
{
    (void)state;
    for (size_t i = 0; tile_for(65536, 1024, 1024, 16, i) != NULL; i++) {
        const struct cla_split_tile *tile = tile_for(65536, 1024, 1024, 16, i);
        const struct cla_problem problem = problem_with(1024, CLATTN_F32);
        assert_in_range(sums(tile, &problem), 1024 * tile->rows / tile->group, tile->most_sums);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_legal),          cmocka_unit_test(local_memory_is_what_the_kernel_declares),
        cmocka_unit_test(no_more_rows_than_there_are), cmocka_unit_test(known_devices_get_known_tiles),
        cmocka_unit_test(one_work_item_is_enough),     cmocka_unit_test(columns_share_the_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
