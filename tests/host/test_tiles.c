/* SPDX-License-Identifier: Apache-2.0 */
/* The tile table, with what flash needs: this test takes flash.c's place in the library. */
#include "ops/attention/flash.c"
#include "problem/attention.h"
#include <limits.h>
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

static struct cla_problem problem_with(int64_t value_dim)
{
    struct cla_problem problem;
    memset(&problem, 0, sizeof problem);
    problem.value_dim = value_dim;
    return problem;
}

static const struct cla_tile *tile_for(uint64_t local_memory, uint64_t work_group, int64_t value_dim, size_t index)
{
    const struct cla_device device = device_with(local_memory, work_group);
    const struct cla_problem problem = problem_with(value_dim);
    return cla_tile_for(&device, &problem, needs, index);
}

/* A row of the table: a device without limits is offered all of them where sums are few. */
static const struct cla_tile *row(size_t index)
{
    return tile_for(UINT64_MAX >> 1, UINT64_MAX >> 1, 1, index);
}

static uint64_t items_of(const struct cla_tile *tile)
{
    return (uint64_t)tile->width * (uint64_t)tile->height;
}

static uint64_t bytes_of(const struct cla_tile *tile)
{
    const struct cla_problem problem = problem_with(1);
    return (uint64_t)needs(tile, &problem).local_bytes;
}

static void check_tile(const struct cla_tile *tile, int width, int height, int chunk)
{
    assert_non_null(tile);
    assert_int_equal(tile->width, width);
    assert_int_equal(tile->height, height);
    assert_int_equal(tile->chunk, chunk);
}

static void every_row_is_legal(void **state)
{
    (void)state;
    assert_non_null(row(0));
    for (size_t i = 0; row(i) != NULL; i++) {
        assert_in_range(row(i)->width, 1, 64);
        assert_in_range(row(i)->height, 1, 64);
        assert_in_range(row(i)->chunk, 4, 32);
        assert_int_equal(32 % row(i)->chunk, 0);              /* the keys of a chunk are bits of one word */
        assert_in_range(row(i)->chunk, 4, 4 * row(i)->width); /* and a part of a tile of them */
        assert_in_range(row(i)->most_sums, 1, INT_MAX);
        assert_int_equal(4 * row(i)->width % row(i)->chunk, 0);
        /* flash.cl: row maxima, and behind a chunk of values what is seen of its tile, fit the scratch */
        assert_true(row(i)->width * row(i)->height <= (row(i)->width + row(i)->height) * row(i)->chunk);
        assert_true((4 * row(i)->width + 31) / 32 <= 4 * row(i)->height * row(i)->chunk);
    }
}

/* No row is hidden behind one that is tried first: a device with exactly what the row needs begins with it. */
static void every_row_is_the_best_of_some_device(void **state)
{
    (void)state;
    for (size_t i = 0; row(i) != NULL; i++) {
        const uint64_t bytes = bytes_of(row(i));
        const uint64_t items = items_of(row(i));
        const int64_t dim = row(i)->most_sums;
        assert_ptr_equal(tile_for(bytes, items, dim, 0), row(i));
        assert_ptr_not_equal(tile_for(bytes - 1, items, dim, 0), row(i));
        assert_ptr_not_equal(tile_for(bytes, items - 1, dim, 0), row(i));
        assert_ptr_not_equal(tile_for(bytes, items, dim + 1, 0), row(i));
    }
}

/* A kernel may be refused at its best tile; then come the rows below that the device allows, each once, and an end. */
static void the_next_tiles_follow_in_order(void **state)
{
    (void)state;
    for (size_t best = 0; row(best) != NULL; best++) {
        const uint64_t bytes = bytes_of(row(best));
        const uint64_t items = items_of(row(best));
        size_t index = 0;
        for (size_t i = 0; row(i) != NULL; i++) {
            if (bytes_of(row(i)) <= bytes && items_of(row(i)) <= items)
                assert_ptr_equal(tile_for(bytes, items, 1, index++), row(i));
        }
        assert_null(tile_for(bytes, items, 1, index));
    }
}

static void known_devices_get_known_tiles(void **state)
{
    (void)state;
    check_tile(tile_for(16384, 64, 128, 0), 8, 8, 32);    /* the least that counts as ready */
    check_tile(tile_for(32768, 256, 128, 0), 16, 16, 32); /* the least that OpenCL 1.2 asks of a full profile */
    check_tile(tile_for(32767, 256, 128, 0), 16, 8, 32);
    check_tile(tile_for(65536, 1024, 128, 0), 16, 16, 32);
}

static void sums_that_are_many_take_wider_tiles(void **state)
{
    (void)state;
    check_tile(tile_for(65536, 256, 129, 0), 32, 8, 16);
    check_tile(tile_for(65536, 256, 256, 0), 32, 8, 16);
    check_tile(tile_for(65536, 256, 257, 0), 64, 4, 8);
    check_tile(tile_for(65536, 256, 1024, 0), 64, 4, 8);
    check_tile(tile_for(16384, 64, 1024, 0), 8, 8, 32);
}

static void one_work_item_is_enough(void **state)
{
    (void)state;
    check_tile(tile_for(1024, 1, 1024, 0), 1, 1, 4); /* the least of an embedded profile */
    assert_null(tile_for(1024, 1, 1024, 1));
    assert_null(tile_for(0, 1024, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_legal),
        cmocka_unit_test(every_row_is_the_best_of_some_device),
        cmocka_unit_test(the_next_tiles_follow_in_order),
        cmocka_unit_test(known_devices_get_known_tiles),
        cmocka_unit_test(sums_that_are_many_take_wider_tiles),
        cmocka_unit_test(one_work_item_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
