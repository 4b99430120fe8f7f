/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tool measures of a matrix unit. CPUs have none for OpenCL C, so one is emulated on them: the kernel takes
 * its form for Intel's GPUs, whose instruction is a function of the test, which multiplies right or wrong. On other
 * devices these tests are skipped.
 */
#include "../../tools/meter/matrix_unit.h"
#include "../../tools/meter/roofline.h"
#include "harness.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

#define GROUPS 3

/*
 * Eight rows of x: each work-item is one of 8 lanes and has a column. A has two elements in an int, each row the same
 * in all lanes; B has two rows in an int. EMULATED_END, where it is defined, changes x afterwards.
 */
static const char emulated[] = "#undef CLA_SUB_GROUP\n"
                               "#define CLA_SUB_GROUP 8\n"
                               "#define intel_reqd_sub_group_size(n)\n"
                               "#define cl_intel_subgroup_matrix_multiply_accumulate\n"
                               "#define intel_sub_group_f16_f16_matrix_mad_k16 emulated_mad\n"
                               "#ifndef EMULATED_END\n"
                               "#define EMULATED_END\n"
                               "#endif\n"
                               "float2 pair_of(int bits)\n"
                               "{\n"
                               "    ushort2 pair = as_ushort2(bits);\n"
                               "    return vload_half2(0, (const half *)&pair);\n"
                               "}\n"
                               "float8 emulated_mad(int8 a, int8 b, float8 x)\n"
                               "{\n"
                               "    int rows[8], columns[8];\n"
                               "    float sums[8];\n"
                               "    vstore8(a, 0, rows);\n"
                               "    vstore8(b, 0, columns);\n"
                               "    for (int i = 0; i < 8; i++) {\n"
                               "        sums[i] = 0.0f;\n"
                               "        for (int k = 0; k < 8; k++)\n"
                               "            sums[i] += dot(pair_of(rows[i]), pair_of(columns[k]));\n"
                               "    }\n"
                               "    x += vload8(0, sums);\n"
                               "    EMULATED_END;\n"
                               "    return x;\n"
                               "}\n";

/* The kernel behind `beginning` and, where it is to have an instruction, the emulation of that. To be freed. */
static char *source_of(const struct harness *harness, const char *beginning, bool emulate)
{
    const size_t size = strlen(beginning) + sizeof emulated + strlen(matrix_unit_source) + 1;
    if (harness->info.device_class != CLATTN_DEVICE_CLASS_CPU)
        skip();
    char *source = malloc(size);
    assert_non_null(source);
    snprintf(source, size, "%s\n%s%s", beginning, emulate ? emulated : "", matrix_unit_source);
    return source;
}

/* What becomes of that source. */
static struct matrix_unit try_source(const struct harness *harness, const char *beginning, bool emulate)
{
    struct matrix_unit unit;
    char *source = source_of(harness, beginning, emulate);
    cl_int code;
    cl_mem out = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, GROUPS * 4 * sizeof(cl_float), NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    matrix_unit_create(&unit, harness->queue, source, 0, 1, GROUPS, out);
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    clReleaseMemObject(out);
    free(source);
    return unit;
}

/* There is nothing to measure, since `why`. */
static void expect_refusal(const struct harness *harness, const char *beginning, const char *why)
{
    struct matrix_unit unit = try_source(harness, beginning, true);
    assert_null(unit.kernel);
    if (strstr(unit.refusal, why) == NULL)
        fail_msg("%s: expected '%s', found '%s'", beginning, why, unit.refusal);
    matrix_unit_release(&unit);
}

static void right_sums_are_measured(void **state)
{
    struct matrix_unit unit = try_source(*state, "", true);
    assert_string_equal(unit.refusal, "");
    assert_non_null(unit.kernel);
    assert_true(unit.flop == 4 * 4 * 2.0 * 8 * 8 * 16 / 8); /* of one lane of 8: 4 steps of 4 chains */
    matrix_unit_release(&unit);
    assert_null(unit.kernel);
}

static void devices_without_a_form_have_none(void **state)
{
    struct matrix_unit unit = try_source(*state, "", false);
    assert_string_equal(unit.refusal, "");
    assert_null(unit.kernel);
    matrix_unit_release(&unit);
}

static void wrong_sums_are_refused(void **state)
{
    static const char all[] = "its sums are wrong: -38000, expected -38400 everywhere";
    static const char one[] = "its sums are wrong: -38400 and others, expected -38400 everywhere";
    expect_refusal(*state, "#define EMULATED_END x += 1.0f", all);
    expect_refusal(*state, "#define EMULATED_END x.s7 += 1.0f", one);
    expect_refusal(*state, "#define EMULATED_END x.s3 = NAN", one);
    expect_refusal(*state, "#define EMULATED_END x = NAN", "its sums are wrong: ");
    expect_refusal(*state, "#define EMULATED_END if (get_group_id(0) == 2) x += 1.0f", all);
    /* in the last chain alone, which starts with 3 */
    expect_refusal(*state, "#define EMULATED_END if (x.s0 == -93.0f) x.s0 = -92.0f", one);
    expect_refusal(*state, "#define EMULATED_END x = 0.0f", "its sums are wrong: 0 and others, ");
}

static void what_does_not_build_or_run_is_refused(void **state)
{
    expect_refusal(*state, "#define matrix_peak another_name", "its kernel does not build: OpenCL error ");
    expect_refusal(*state, "#error \"no such instruction\"", "its kernel does not build: OpenCL error ");
}

/* All of the meter, with the emulated instruction. */
static void measure(const struct harness *harness, const char *beginning, struct roofline *roofline,
                    struct roofline *burst)
{
    struct meter *meter = NULL;
    char *source = source_of(harness, beginning, true);
    assert_int_equal(meter_create(harness->context, source, &meter), EXIT_DONE);
    free(source);
    assert_int_equal(meter_measure(meter, roofline), EXIT_DONE);
    assert_int_equal(meter_burst(meter, burst), EXIT_DONE);
    meter_release(meter);
    assert_true(roofline->fma_gflops > 0 && roofline->read_gbs > 0 && roofline->copy_gbs > 0 &&
                roofline->launch_us > 0);
    assert_true(burst->fma_gflops > 0 && burst->read_gbs > 0 && burst->launch_us > 0);
}

static void an_emulated_unit_has_a_rate(void **state)
{
    struct roofline roofline, burst;
    measure(*state, "", &roofline, &burst);
    assert_true(isfinite(roofline.matrix_gflops) && roofline.matrix_gflops > 0);
}

/* What is wrong with a matrix unit keeps nothing else from being measured. */
static void a_wrong_unit_has_none(void **state)
{
    struct roofline roofline, burst;
    measure(*state, "#define EMULATED_END x += 1.0f", &roofline, &burst);
    assert_true(roofline.matrix_gflops == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_sums_are_measured),     cmocka_unit_test(devices_without_a_form_have_none),
        cmocka_unit_test(wrong_sums_are_refused),      cmocka_unit_test(what_does_not_build_or_run_is_refused),
        cmocka_unit_test(an_emulated_unit_has_a_rate), cmocka_unit_test(a_wrong_unit_has_none),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
