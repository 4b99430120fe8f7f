/* SPDX-License-Identifier: Apache-2.0 */
/* The table of register blocks of the kernels for wide vectors. */
#include "select/vector_block.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

static const struct cla_vector_block *block_of(uint32_t lanes)
{
    struct cla_device device;
    memset(&device, 0, sizeof device);
    device.vector_lanes = lanes;
    return cla_vector_block_for(&device);
}

/* No vector is wider than the device's, but on one of scalars, where it is as narrow as lanes.cl can. */
static void lanes_are_those_of_the_device(void **state)
{
    (void)state;
    assert_int_equal(block_of(16)->lanes, 16);
    assert_int_equal(block_of(8)->lanes, 8);
    assert_int_equal(block_of(4)->lanes, 4);
    assert_int_equal(block_of(1)->lanes, 4);
}

/* AVX-512 and NEON have 32 vector registers, AVX2 has 16. */
static void sums_and_operands_fit_the_registers(void **state)
{
    (void)state;
    for (uint32_t lanes = 4; lanes <= 16; lanes *= 2) {
        const struct cla_vector_block *block = block_of(lanes);
        assert_in_range(block->vectors, 1, 3);
        assert_in_range(block->block * block->vectors + block->vectors + 1, 1, lanes == 8 ? 16 : 32);
    }
}

/* A tile of keys and a group of features are whole blocks: 64 of either, at least. */
static void blocks_divide_tiles(void **state)
{
    (void)state;
    for (uint32_t lanes = 4; lanes <= 16; lanes *= 2)
        assert_int_equal(64 % block_of(lanes)->block, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_are_those_of_the_device),
        cmocka_unit_test(sums_and_operands_fit_the_registers),
        cmocka_unit_test(blocks_divide_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
