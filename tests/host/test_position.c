/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of position.h: every refusal with its whole message, defaults, problem strings; and ALiBi's slopes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/position.h"
#include <math.h>
#include <stdio.h>

static clattn_rotary_desc plain_rotary(void)
{
    clattn_rotary_desc d;
    clattn_rotary_desc_init(&d);
    d.batch = 2;
    d.heads = 12;
    d.length = 30;
    d.head_dim = 64;
    return d;
}

static clattn_rotary_desc with_tables(void)
{
    clattn_rotary_desc d = plain_rotary();
    d.tables = 1;
    d.table_length = 100;
    return d;
}

static clattn_sinusoidal_desc plain_sinusoidal(void)
{
    clattn_sinusoidal_desc d;
    clattn_sinusoidal_desc_init(&d);
    d.batch = 2;
    d.length = 30;
    d.width = 64;
    return d;
}

#define ROTARY_REFUSED(text, ...)                                                                                      \
    REFUSED_BY(cla_problem_from_rotary, clattn_rotary_desc, plain_rotary, CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)
#define TABLES_REFUSED(text, ...)                                                                                      \
    REFUSED_BY(cla_problem_from_rotary, clattn_rotary_desc, with_tables, CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)
#define SINUSOIDAL_REFUSED(text, ...)                                                                                  \
    REFUSED_BY(cla_problem_from_sinusoidal, clattn_sinusoidal_desc, plain_sinusoidal, CLATTN_ERROR_INVALID_VALUE,      \
               text, __VA_ARGS__)

static void rotary_is_refused(void **state)
{
    (void)state;
    char text[200];
    snprintf(text, sizeof text,
             "clattn_rotary_desc.struct_size is 8: expected at least %zu, as clattn_rotary_desc_init sets it",
             sizeof(clattn_rotary_desc));
    REFUSED_BY(cla_problem_from_rotary, clattn_rotary_desc, plain_rotary, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 8);
    ROTARY_REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    ROTARY_REFUSED("heads is -1: expected 0 or more", d.heads = -1);
    ROTARY_REFUSED("length is -1: expected 0 or more", d.length = -1);
    ROTARY_REFUSED("length is 1073741825: expected at most 1073741824", d.length = 1073741825);
    ROTARY_REFUSED("head_dim is 0: expected 1 or more", d.head_dim = 0);
    ROTARY_REFUSED("rotary_dim is -2: expected 0 or more", d.rotary_dim = -2);
    ROTARY_REFUSED("rotary_dim is 66: expected at most 64", d.rotary_dim = 66);
    ROTARY_REFUSED("rotary_dim is 7: expected an even number", d.rotary_dim = 7);
    ROTARY_REFUSED("head_dim is 63: expected an even number, or an even rotary_dim below it", d.head_dim = 63);
    ROTARY_REFUSED("heads is 4194304 and head_dim is 512: expected a product of at most 2147483647", d.batch = 1,
                   d.heads = 4194304, d.head_dim = 512);
    ROTARY_REFUSED("batch is 200000000 and heads is 12: expected a product of at most 2147483647", d.batch = 200000000);
    ROTARY_REFUSED("pairs is 2: expected a clattn_rotary_pairs, 0 or 1", d.pairs = (clattn_rotary_pairs)2);
    ROTARY_REFUSED("base is 0.5: expected 1 to 1e+30", d.base = 0.5);
    ROTARY_REFUSED("base is -10000: expected 1 to 1e+30", d.base = -10000.0);
    ROTARY_REFUSED("base is inf: expected 1 to 1e+30", d.base = (double)INFINITY);
    ROTARY_REFUSED("base is nan: expected 1 to 1e+30", d.base = fabs(nan("")));
    ROTARY_REFUSED("positions is 3: expected a clattn_lengths, 0 to 2", d.positions = (clattn_lengths)3);
    ROTARY_REFUSED("input.dtype is 3 (bool): expected f32, f16 or bf16", d.input.dtype = CLATTN_BOOL);
    ROTARY_REFUSED("output.dtype is 9 (?): expected f32, f16 or bf16", d.output.dtype = (clattn_dtype)9);
    ROTARY_REFUSED("input.strides[3] is 2: expected 1, rows are contiguous", SET(d.input, 0, 0, 128, 2));
    ROTARY_REFUSED("output.strides[2] is 63: expected at least 64, so that no two elements share a place",
                   SET(d.output, 64 * 30 * 12, 64 * 30, 63, 1));
    TABLES_REFUSED("table is 3 (bool): expected f32, f16 or bf16", d.table = CLATTN_BOOL);
    TABLES_REFUSED("table_batch is 3: expected 0, 1 or batch (2)", d.table_batch = 3);
    TABLES_REFUSED("table_batch is -1: expected 0, 1 or batch (2)", d.table_batch = -1);
    TABLES_REFUSED("table_length is 0: expected 1 or more", d.table_length = 0);
    TABLES_REFUSED("table_length is 1073741825: expected at most 1073741824", d.table_length = 1073741825);
}

static void sinusoidal_is_refused(void **state)
{
    (void)state;
    SINUSOIDAL_REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    SINUSOIDAL_REFUSED("length is -1: expected 0 or more", d.length = -1);
    SINUSOIDAL_REFUSED("width is 0: expected 1 or more", d.width = 0);
    SINUSOIDAL_REFUSED("width is 63: expected a multiple of 2", d.width = 63);
    SINUSOIDAL_REFUSED("width is 66: expected a multiple of 4", d.rows = 5, d.columns = 6, d.width = 66);
    SINUSOIDAL_REFUSED("length is 30: expected rows * columns (28)", d.rows = 4, d.columns = 7);
    SINUSOIDAL_REFUSED("length is 30: expected rows * columns (0)", d.columns = 7);
    SINUSOIDAL_REFUSED("rows is 4 and columns is 0: expected both or neither", d.rows = 4);
    SINUSOIDAL_REFUSED("rows is -4: expected 0 or more", d.rows = -4, d.columns = 7);
    SINUSOIDAL_REFUSED("columns is -7: expected 0 or more", d.rows = 4, d.columns = -7);
    SINUSOIDAL_REFUSED("positions is 1 and columns is 6: expected no positions in two dimensions", d.rows = 5,
                       d.columns = 6, d.positions = CLATTN_LENGTHS_I32);
    SINUSOIDAL_REFUSED("positions is -1: expected a clattn_lengths, 0 to 2", d.positions = (clattn_lengths)-1);
    SINUSOIDAL_REFUSED("row_scale is inf: expected a finite number", d.row_scale = (double)INFINITY);
    SINUSOIDAL_REFUSED("column_scale is -inf: expected a finite number", d.rows = 5, d.columns = 6,
                       d.column_scale = -(double)INFINITY);
    SINUSOIDAL_REFUSED("base is 0.999: expected 1 to 1e+30", d.base = 0.999);
    SINUSOIDAL_REFUSED("input.dtype is 3 (bool): expected f32, f16 or bf16", d.add = 1, d.input.dtype = CLATTN_BOOL);
    SINUSOIDAL_REFUSED("output.dtype is 3 (bool): expected f32, f16 or bf16", d.output.dtype = CLATTN_BOOL);
}

/* What is not read may be anything. */
static void what_is_not_asked_for_is_not_read(void **state)
{
    (void)state;
    struct cla_problem problem;
    clattn_rotary_desc rotary = with_tables();
    rotary.base = -1.0;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    rotary = plain_rotary();
    rotary.table_batch = rotary.table_length = -1;
    rotary.table = CLATTN_BOOL;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    assert_false(problem.tensor[CLA_COS].present || problem.tensor[CLA_SIN].present);
    clattn_sinusoidal_desc sinusoidal = plain_sinusoidal();
    sinusoidal.input.dtype = CLATTN_BOOL;
    sinusoidal.column_scale = (double)INFINITY;
    assert_int_equal(cla_problem_from_sinusoidal(&sinusoidal, &problem, NULL), CLATTN_SUCCESS);
    assert_false(problem.tensor[CLA_TOKENS_IN].present);
}

static void defaults_are_filled_in(void **state)
{
    (void)state;
    struct cla_problem problem;
    clattn_rotary_desc rotary = plain_rotary();
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    assert_int_equal(problem.angles.rotary_dim, 64);
    assert_true(problem.angles.base == 10000.0);
    rotary = with_tables();
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    assert_int_equal(problem.tensor[CLA_COS].stride[0], 0); /* one table for all */
    assert_int_equal(problem.tensor[CLA_COS].span, 100 * 32);
    assert_int_equal(problem.tensor[CLA_SIN].element_size, 4);
    rotary.table_batch = 2;
    rotary.table = CLATTN_BF16;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    assert_int_equal(problem.tensor[CLA_COS].element_size, 2);
    assert_int_equal(problem.tensor[CLA_SIN].stride[0], 100 * 32);
    clattn_sinusoidal_desc sinusoidal = plain_sinusoidal();
    sinusoidal.rows = 5;
    sinusoidal.columns = 6;
    assert_int_equal(cla_problem_from_sinusoidal(&sinusoidal, &problem, NULL), CLATTN_SUCCESS);
    assert_true(problem.angles.row_scale == 1.0 && problem.angles.column_scale == 1.0);
    sinusoidal.column_scale = 0.5;
    sinusoidal.scales_set = 1;
    assert_int_equal(cla_problem_from_sinusoidal(&sinusoidal, &problem, NULL), CLATTN_SUCCESS);
    assert_true(problem.angles.row_scale == 0.0 && problem.angles.column_scale == 0.5);
}

static void strings_say_what_is_asked(void **state)
{
    (void)state;
    struct cla_problem problem;
    char text[100];
    clattn_rotary_desc rotary = plain_rotary();
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "rotary b2h12l30d64:f32");
    rotary.rotary_dim = 32;
    rotary.pairs = CLATTN_ROTARY_INTERLEAVED;
    rotary.base = 500000.0;
    rotary.positions = CLATTN_LENGTHS_I64;
    rotary.input.dtype = CLATTN_BF16;
    rotary.backward = 2;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "rotary b2h12l30d64r32:bf16-f32:interleaved:backward:base=500000:positions");
    rotary = with_tables();
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "rotary b2h12l30d64:f32:tables");
    rotary.table = CLATTN_F16;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "rotary b2h12l30d64:f32:tables=f16");
    rotary.table = CLATTN_BF16;
    assert_int_equal(cla_problem_from_rotary(&rotary, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "rotary b2h12l30d64:f32:tables=bf16");
    clattn_sinusoidal_desc sinusoidal = plain_sinusoidal();
    sinusoidal.rows = 5;
    sinusoidal.columns = 6;
    sinusoidal.add = 1;
    assert_int_equal(cla_problem_from_sinusoidal(&sinusoidal, &problem, NULL), CLATTN_SUCCESS);
    cla_problem_string(&problem, text, sizeof text);
    assert_string_equal(text, "sinusoidal b2l30w64:f32:grid=5x6:add");
}

/* The lists that the authors' program gives. */
static void slopes_are_those_of_the_paper(void **state)
{
    static const double of_12[] = {-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5}; /* exponents */
    float slopes[16] = {0};
    clattn_error error = {0};
    (void)state;
    assert_int_equal(clattn_alibi_slopes(8, slopes, &error), CLATTN_SUCCESS);
    for (int h = 0; h < 8; h++)
        assert_true(slopes[h] == ldexpf(1.0f, -(h + 1)));
    assert_true(slopes[8] == 0.0f);
    assert_int_equal(clattn_alibi_slopes(12, slopes, &error), CLATTN_SUCCESS);
    for (int h = 0; h < 12; h++)
        assert_true(fabs(slopes[h] - pow(2.0, of_12[h])) <= 0x1p-23 * pow(2.0, of_12[h]));
    assert_true(slopes[12] == 0.0f);
    assert_int_equal(clattn_alibi_slopes(16, slopes, &error), CLATTN_SUCCESS);
    for (int h = 0; h < 16; h++)
        assert_true(fabs(slopes[h] - pow(2.0, -0.5 * (h + 1))) <= 0x1p-23 * pow(2.0, -0.5 * (h + 1)));
    assert_int_equal(clattn_alibi_slopes(1, slopes, &error), CLATTN_SUCCESS);
    assert_true(slopes[0] == 0x1p-8f);
    assert_int_equal(clattn_alibi_slopes(3, slopes, &error), CLATTN_SUCCESS);
    assert_true(slopes[0] == 0x1p-4f && slopes[1] == 0x1p-8f && slopes[2] == 0x1p-2f);
    assert_int_equal(clattn_alibi_slopes(0, NULL, &error), CLATTN_SUCCESS);
    assert_int_equal(clattn_alibi_slopes(-1, slopes, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "heads is -1: expected 0 to 2147483647");
    assert_int_equal(clattn_alibi_slopes(4, NULL, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "slopes is NULL: expected room for 4 floats");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_is_refused),
        cmocka_unit_test(sinusoidal_is_refused),
        cmocka_unit_test(what_is_not_asked_for_is_not_read),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(strings_say_what_is_asked),
        cmocka_unit_test(slopes_are_those_of_the_paper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
