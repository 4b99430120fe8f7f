/* SPDX-License-Identifier: Apache-2.0 */
/* What `clattn bench` reports of the matrix unit: its peak where there is one, and nothing where there is none. */
#include "../../tools/bench/report.c"
#include "../../tools/shared/json.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those: */
#include <cmocka.h>

/* The report of no results on a device whose matrix unit has that peak, in the form `option`, which is to be freed. */
static char *report_of(enum bench_option option, bool has_roofline, double matrix_gflops)
{
    struct bench_request request = {.num_problems = 0};
    struct bench_report report = {
        .has_roofline = has_roofline,
        .roofline =
            {.fma_gflops = 60123, .matrix_gflops = matrix_gflops, .read_gbs = 4000, .copy_gbs = 3500, .launch_us = 5},
    };
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    snprintf(report.device.name, sizeof report.device.name, "a device");
    request.values.text[option] = "";
    assert_true(bench_write(&request, &report, stream));
    assert_int_equal(fclose(stream), 0);
    return text;
}

/* `text` has `expected`. */
static void expect(const char *text, const char *expected)
{
    if (strstr(text, expected) == NULL)
        fail_msg("expected '%s' in: %s", expected, text);
}

static void json_has_the_peak_or_null(void **state)
{
    (void)state;
    const struct {
        bool has_roofline;
        double gflops;
        const char *expected;
    } cases[] = {
        {true, 623456.5, "\"matrix_gflops\": 623456.5,"},
        {true, 0, "\"matrix_gflops\": null,"},
        {false, 0, "\"matrix_gflops\": null,"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = report_of(BENCH_JSON, cases[i].has_roofline, cases[i].gflops);
        expect(text, cases[i].expected);
        expect(text, cases[i].has_roofline ? "\"fma_gflops\": 60123.0,\n" : "\"fma_gflops\": null,\n");
        free(text);
    }
}

static void tables_have_the_peak_or_nothing(void **state)
{
    (void)state;
    char *text = report_of(BENCH_MARKDOWN, true, 623456.5);
    expect(text,
           "\nroofline  FMA 60.12 TFLOP/s, matrix unit 623.5 TFLOP/s, read 4000 GB/s, copy 3500 GB/s, launch 5 us\n");
    free(text);
    text = report_of(BENCH_MARKDOWN, true, 9876);
    expect(text, ", matrix unit 9876 GFLOP/s, ");
    free(text);
    text = report_of(BENCH_MARKDOWN, true, 0);
    expect(text, "\nroofline  FMA 60.12 TFLOP/s, read 4000 GB/s, ");
    free(text);
    text = report_of(BENCH_MARKDOWN, false, 0);
    assert_null(strstr(text, "roofline"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_peak_or_null),
        cmocka_unit_test(tables_have_the_peak_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
