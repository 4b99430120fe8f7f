/* SPDX-License-Identifier: Apache-2.0 */
/* What lies below problems: error details, public constants as text, growing strings, numbers, struct sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "util/error.h"
#include "util/number.h"
#include "util/struct_size.h"
#include "util/text.h"
#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

static void fail_fills_the_error(void **state)
{
    (void)state;
    clattn_error error;
    memset(&error, 0x55, sizeof error);
    assert_int_equal(cla_fail(&error, CLATTN_ERROR_UNSUPPORTED, "batch is %d", 3), CLATTN_ERROR_UNSUPPORTED);
    assert_int_equal(error.status, CLATTN_ERROR_UNSUPPORTED);
    assert_int_equal(error.cl_code, CL_SUCCESS);
    assert_string_equal(error.message, "batch is 3");
    assert_int_equal(cla_fail(NULL, CLATTN_ERROR_FORKED, "batch is %d", 3), CLATTN_ERROR_FORKED);
}

static void messages_are_one_line_and_cut_visibly(void **state)
{
    (void)state;
    clattn_error error;
    char text[600];
    cla_fail(&error, CLATTN_ERROR_OPENCL, "a\nb\tc\x1b[d");
    assert_string_equal(error.message, "a b c [d");

    memset(text, 'x', sizeof text);
    text[503] = 0; /* the longest that fits */
    cla_fail(&error, CLATTN_ERROR_OPENCL, "%s", text);
    assert_string_equal(error.message, text);

    text[503] = 'x';
    text[599] = 0;
    cla_fail(&error, CLATTN_ERROR_OPENCL, "%s", text);
    assert_int_equal(strlen(error.message), 503);
    assert_string_equal(error.message + 498, "xx...");
}

static void opencl_codes_become_statuses(void **state)
{
    (void)state;
    static const struct {
        cl_int code;
        clattn_status status;
        const char *message;
    } cases[] = {
        {-4, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "clFoo failed with CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)"},
        {-5, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "clFoo failed with CL_OUT_OF_RESOURCES (-5)"},
        {-6, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "clFoo failed with CL_OUT_OF_HOST_MEMORY (-6)"},
        {-11, CLATTN_ERROR_BUILD_FAILED, "clFoo failed with CL_BUILD_PROGRAM_FAILURE (-11)"},
        {-15, CLATTN_ERROR_BUILD_FAILED, "clFoo failed with CL_COMPILE_PROGRAM_FAILURE (-15)"},
        {-17, CLATTN_ERROR_BUILD_FAILED, "clFoo failed with CL_LINK_PROGRAM_FAILURE (-17)"},
        {-19, CLATTN_ERROR_OPENCL, "clFoo failed with CL_KERNEL_ARG_INFO_NOT_AVAILABLE (-19)"},
        {-20, CLATTN_ERROR_OPENCL, "clFoo failed with an unknown code (-20)"},
        {-29, CLATTN_ERROR_OPENCL, "clFoo failed with an unknown code (-29)"},
        {-30, CLATTN_ERROR_OPENCL, "clFoo failed with CL_INVALID_VALUE (-30)"},
        {-61, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "clFoo failed with CL_INVALID_BUFFER_SIZE (-61)"},
        {-72, CLATTN_ERROR_OPENCL, "clFoo failed with CL_MAX_SIZE_RESTRICTION_EXCEEDED (-72)"},
        {-73, CLATTN_ERROR_OPENCL, "clFoo failed with an unknown code (-73)"},
        {-1001, CLATTN_ERROR_OPENCL, "clFoo failed with CL_PLATFORM_NOT_FOUND_KHR (-1001)"},
        {INT_MIN, CLATTN_ERROR_OPENCL, "clFoo failed with an unknown code (-2147483648)"},
        {7, CLATTN_ERROR_OPENCL, "clFoo failed with an unknown code (7)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clattn_error error;
        assert_int_equal(cla_fail_cl(&error, cases[i].code, "clFoo"), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_int_equal(error.cl_code, cases[i].code);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(cla_fail_cl(NULL, cases[i].code, "clFoo"), cases[i].status);
    }
#define NAMED(code) assert_string_equal(cla_cl_code_string(code), #code)
    NAMED(CL_SUCCESS);
    NAMED(CL_DEVICE_PARTITION_FAILED);
    NAMED(CL_INVALID_EVENT_WAIT_LIST);
    NAMED(CL_INVALID_WORK_GROUP_SIZE);
    NAMED(CL_INVALID_KERNEL_ARGS);
    NAMED(CL_INVALID_DEVICE_PARTITION_COUNT);
}

static void constants_have_names(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", CLATTN_VERSION_MAJOR, CLATTN_VERSION_MINOR, CLATTN_VERSION_PATCH);
    assert_string_equal(clattn_version_string(), version);

    assert_string_equal(clattn_status_string(CLATTN_SUCCESS), "success");
    assert_string_equal(clattn_status_string(CLATTN_ERROR_INVALID_VALUE), "invalid value");
    for (int i = CLATTN_SUCCESS; i <= CLATTN_ERROR_FORKED; i++)
        for (int j = CLATTN_SUCCESS; j <= CLATTN_ERROR_FORKED + 1; j++)
            assert_int_equal(
                i == j, strcmp(clattn_status_string((clattn_status)i), clattn_status_string((clattn_status)j)) == 0);
    assert_string_equal(clattn_status_string((clattn_status)11), "unknown status");
    assert_string_equal(clattn_status_string((clattn_status)-1), "unknown status");

    assert_string_equal(clattn_dtype_string(CLATTN_F32), "f32");
    assert_string_equal(clattn_dtype_string(CLATTN_F16), "f16");
    assert_string_equal(clattn_dtype_string(CLATTN_BF16), "bf16");
    assert_string_equal(clattn_dtype_string(CLATTN_BOOL), "bool");
    assert_string_equal(clattn_dtype_string((clattn_dtype)4), "?");
    assert_string_equal(clattn_dtype_string((clattn_dtype)-1), "?");
    assert_int_equal(clattn_dtype_size(CLATTN_F32), 4);
    assert_int_equal(clattn_dtype_size(CLATTN_F16), 2);
    assert_int_equal(clattn_dtype_size(CLATTN_BF16), 2);
    assert_int_equal(clattn_dtype_size(CLATTN_BOOL), 1);
    assert_int_equal(clattn_dtype_size((clattn_dtype)4), 0);
}

static void text_grows(void **state)
{
    (void)state;
    struct cla_text text = {0};
    char expected[4 * 500 + 1] = "", piece[16];
    for (int i = 0; i < 500; i++) {
        cla_text_add(&text, "%03d ", i);
        snprintf(piece, sizeof piece, "%03d ", i);
        memcpy(expected + 4 * i, piece, 5);
    }
    assert_false(text.failed);
    assert_int_equal(text.length, strlen(expected));
    assert_string_equal(text.data, expected);
    cla_text_free(&text);
    assert_null(text.data);

    struct cla_text failed = {.failed = true};
    cla_text_add(&failed, "more");
    assert_null(failed.data);
}

static void quotes_escape_and_cut(void **state)
{
    (void)state;
    char out[64], tiny[8];
    assert_string_equal(cla_quote(out, sizeof out, "plain text", 10), "\"plain text\"");
    assert_string_equal(cla_quote(out, sizeof out, "", 0), "\"\"");
    assert_string_equal(cla_quote(out, sizeof out, "a\"b\\c\n\x7f\xff\0z", 10), "\"a\\\"b\\\\c\\x0a\\x7f\\xff\\x00z\"");
    assert_string_equal(cla_quote(tiny, sizeof tiny, "abcdefgh", 8), "\"ab...\"");
    assert_string_equal(cla_quote(tiny, sizeof tiny, "\n\n", 2), "\"...\"");
}

static void integers_are_read_strictly(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "9223372036854775808",
                                      "--1",
                                      "1e3",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    int64_t value = 0;
    assert_true(cla_parse_int64("9223372036854775807", 19, &value) && value == INT64_MAX);
    assert_true(cla_parse_int64("-9223372036854775808", 20, &value) && value == INT64_MIN);
    assert_true(cla_parse_int64("12:", 2, &value) && value == 12);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(cla_parse_int64(bad[i], strlen(bad[i]), &value));
}

static void floats_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        float value;
    } good[] = {
        {"0", 0.0f},
        {"-0.0", -0.0f},
        {"1", 1.0f},
        {"+.5", 0.5f},
        {"5.", 5.0f},
        {"-1.5e3", -1500},
        {"1.5E+3", 1500},
        {"0.1", 0.1f},
        {"1e-45", 0x1p-149f},
        {"3.4028235e38", FLT_MAX},
        {"0e999999", 0.0f},
        {"16777217", 16777216.0f},
        {"0.000000000000000000000000000000000000000000000001e48", 1.0f},
    };
    static const char *const bad[] = {"",
                                      ".",
                                      "-",
                                      "e5",
                                      "1e",
                                      "1e+",
                                      "1e+-3",
                                      "1e--3",
                                      "1e3.",
                                      "1.2.3",
                                      "1,5",
                                      " 1",
                                      "1 ",
                                      "inf",
                                      "nan",
                                      "0x1p3",
                                      "1e39",
                                      "-1e39",
                                      "1e-46",
                                      "1f",
                                      "1e999999999999999999999",
                                      "1e-400",
                                      "0000000000000000000000000000000000000000000000000000000000001"};
    float value = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(cla_parse_float(good[i].text, strlen(good[i].text), &value));
        assert_memory_equal(&value, &good[i].value, sizeof value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(cla_parse_float(bad[i], strlen(bad[i]), &value));
}

static void floats_round_trip(void **state)
{
    (void)state;
    char text[CLA_FLOAT_TEXT];
    assert_string_equal(cla_format_float(text, 0.125f), "0.125");
    assert_string_equal(cla_format_float(text, 50.0f), "50");
    assert_string_equal(cla_format_float(text, -123456.0f), "-123456");
    assert_string_equal(cla_format_float(text, 1e9f), "1e+09");
    assert_string_equal(cla_format_float(text, -0.1f), "-0.1");
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t bits = i * 214748u + 1;
        float value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        cla_format_float(text, value);
        assert_true(cla_parse_float(text, strlen(text), &back));
        assert_memory_equal(&value, &back, sizeof value);
    }
}

/* Needs a locale with a decimal comma, whichever the machine has. */
static void floats_ignore_the_locale(void **state)
{
    (void)state;
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "de_AT.UTF-8", "fr_FR.UTF-8"};
    bool found = false;
    char text[CLA_FLOAT_TEXT];
    float value = 0;
    for (size_t i = 0; i < sizeof locales / sizeof locales[0] && !found; i++)
        found = setlocale(LC_NUMERIC, locales[i]) != NULL;
    if (!found)
        skip();
    bool read = cla_parse_float("0.25", 4, &value);
    cla_format_float(text, 0.25f);
    setlocale(LC_NUMERIC, "C");
    assert_true(read);
    assert_true(value == 0.25f);
    assert_string_equal(text, "0.25");
}

struct grown { /* a struct as three versions of a header may know it */
    size_t struct_size;
    int first;
    int second;
    int third;
    int fourth;
};
static const size_t oldest = offsetof(struct grown, second);
static const size_t known = offsetof(struct grown, third);

static void structs_are_read_across_versions(void **state)
{
    (void)state;
    struct grown given = {oldest, 1, 2, 3, 0}, copy;
    clattn_error error;
    memset(&copy, 0x55, sizeof copy);
    assert_int_equal(cla_struct_read(&given, oldest, &copy, known, "grown", &error), CLATTN_SUCCESS);
    assert_int_equal(copy.first, 1);
    assert_int_equal(copy.second, 0); /* the program's header has no such field */

    given.struct_size = sizeof given;
    assert_int_equal(cla_struct_read(&given, oldest, &copy, known, "grown", &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "grown has a field at byte 16 that is set and unknown to clattn 0.1.0: expected "
                                       "at most 16 bytes in use");
    given.third = 0;
    assert_int_equal(cla_struct_read(&given, oldest, &copy, known, "grown", &error), CLATTN_SUCCESS);
    assert_int_equal(copy.second, 2);
    assert_int_equal(copy.struct_size, known); /* reading the copy again does not follow the program's size */
}

static void struct_sizes_are_checked(void **state)
{
    (void)state;
    struct grown given = {oldest - 1, 1, 2, 3, 0}, copy;
    clattn_error error;
    assert_int_equal(cla_struct_read(NULL, oldest, &copy, known, "grown", &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "grown is NULL");
    assert_int_equal(cla_struct_read(&given, oldest, &copy, known, "grown", &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "grown.struct_size is 11: expected at least 12, as grown_init sets it");
    given.struct_size = 4097;
    assert_int_equal(cla_struct_check(&given, oldest, "grown", &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "grown.struct_size is 4097: expected at least 12, as grown_init sets it");
    given.struct_size = oldest;
    assert_int_equal(cla_struct_check(&given, oldest, "grown", NULL), CLATTN_SUCCESS);
}

static void structs_are_written_across_versions(void **state)
{
    (void)state;
    const struct grown filled = {known, 1, 2, 3, 0};
    struct grown given = {oldest, 7, 7, 7, 7};
    cla_struct_write(&given, &filled, known);
    assert_int_equal(given.struct_size, oldest);
    assert_int_equal(given.first, 1);
    assert_int_equal(given.second, 7); /* not the program's header's */

    given = (struct grown){sizeof given, 7, 7, 7, 7};
    cla_struct_write(&given, &filled, known);
    assert_int_equal(given.struct_size, sizeof given);
    assert_int_equal(given.second, 2);
    assert_int_equal(given.third, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_the_error),
        cmocka_unit_test(messages_are_one_line_and_cut_visibly),
        cmocka_unit_test(opencl_codes_become_statuses),
        cmocka_unit_test(constants_have_names),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(quotes_escape_and_cut),
        cmocka_unit_test(integers_are_read_strictly),
        cmocka_unit_test(floats_are_read_strictly),
        cmocka_unit_test(floats_round_trip),
        cmocka_unit_test(floats_ignore_the_locale),
        cmocka_unit_test(structs_are_read_across_versions),
        cmocka_unit_test(struct_sizes_are_checked),
        cmocka_unit_test(structs_are_written_across_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
