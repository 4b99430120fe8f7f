/* SPDX-License-Identifier: Apache-2.0 */
/* The tile table, with the local memory that flash asks for: this test takes flash.c's place in the library. */
#include "ops/attention/flash.c"
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

/* A row of the table: a device without limits is offered all of them. */
static const struct cla_tile *row(size_t index)
{
    const struct cla_device device = device_with(UINT64_MAX >> 1, UINT64_MAX >> 1);
    return cla_tile_for(&device, local_bytes, index);
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
        assert_in_range(row(i)->chunk, 4, 512);
        assert_int_equal(row(i)->chunk % 4, 0); /* block.cl stages four dims at a time */
    }
}

/* No row is hidden behind one that is tried first: a device with exactly what the row needs begins with it. */
static void every_row_is_the_best_of_some_device(void **state)
{
    (void)state;
    for (size_t i = 0; row(i) != NULL; i++) {
        struct cla_device device =
            device_with((uint64_t)local_bytes(row(i)), (uint64_t)row(i)->width * (uint64_t)row(i)->height);
        assert_ptr_equal(cla_tile_for(&device, local_bytes, 0), row(i));
        device.info.local_memory--;
        assert_ptr_not_equal(cla_tile_for(&device, local_bytes, 0), row(i));
        device = device_with((uint64_t)local_bytes(row(i)), (uint64_t)row(i)->width * (uint64_t)row(i)->height - 1);
        assert_ptr_not_equal(cla_tile_for(&device, local_bytes, 0), row(i));
    }
}

/* A kernel may be refused at its best tile; then come the rows below, each once, and an end. */
static void the_next_tiles_follow_in_order(void **state)
{
    (void)state;
    size_t rows = 0;
    while (row(rows) != NULL)
        rows++;
    for (size_t best = 0; best < rows; best++) {
        const struct cla_device device =
            device_with((uint64_t)local_bytes(row(best)), (uint64_t)row(best)->width * (uint64_t)row(best)->height);
        for (size_t i = 0; best + i <= rows; i++)
            assert_ptr_equal(cla_tile_for(&device, local_bytes, i), row(best + i));
    }
}

static void known_devices_get_known_tiles(void **state)
{
    (void)state;
    struct cla_device device = device_with(16384, 64); /* the least that counts as ready */
    check_tile(cla_tile_for(&device, local_bytes, 0), 8, 8, 32);
    device = device_with(32768, 256); /* the least that OpenCL 1.2 asks of a full profile */
    check_tile(cla_tile_for(&device, local_bytes, 0), 16, 8, 32);
    device = device_with(65536, 1024);
    check_tile(cla_tile_for(&device, local_bytes, 0), 16, 16, 32);
}

static void one_work_item_is_enough(void **state)
{
    (void)state;
    struct cla_device device = device_with(1024, 1); /* the least of an embedded profile */
    check_tile(cla_tile_for(&device, local_bytes, 0), 1, 1, 4);
    assert_null(cla_tile_for(&device, local_bytes, 1));
    device = device_with(0, 1024);
    assert_null(cla_tile_for(&device, local_bytes, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_legal),
        cmocka_unit_test(every_row_is_the_best_of_some_device),
        cmocka_unit_test(the_next_tiles_follow_in_order),
        cmocka_unit_test(known_devices_get_known_tiles),
        cmocka_unit_test(one_work_item_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
