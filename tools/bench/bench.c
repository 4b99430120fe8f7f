/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn bench`: how fast each kernel is on each problem, and how far that is from what the device can do. */
#include "bench/bench.h"
#include "meter/matrix_unit.h"
#include "shared/output.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOFLINE_SHARE 0.1 /* of the progress bar */

/* The device, and whether the baseline is of any use with it, before anything takes time. */
static enum exit_code prepare(const struct bench_request *request, const json_t *baseline, clattn_context **context,
                              struct bench_report *report)
{
    clattn_error error;
    if (clattn_context_create_default(request->values.text[BENCH_DEVICE], NULL, context, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    clattn_device_info_init(&report->device);
    if (clattn_device_query(clattn_context_cl_device(*context), &report->device, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    report->has_baseline = baseline != NULL;
    if (baseline != NULL)
        TRY(baseline_check(request->values.text[BENCH_BASELINE], baseline, request, &report->device));
    report->results = calloc((size_t)bench_most_results(request), sizeof *report->results);
    return report->results != NULL ? EXIT_DONE : fail(EXIT_FAILED, "no memory for the results");
}

/* EXIT_VERIFICATION, having measured everything, where some result was wrong. */
static enum exit_code measure(const struct bench_request *request, clattn_context *context, struct meter **meter,
                              struct bench_report *report)
{
    double done = 0;
    if (bench_requested(request, BENCH_ROOFLINE)) {
        progress_bar(0, "measuring the device");
        TRY(meter_create(context, matrix_unit_source, meter));
        TRY(meter_measure(*meter, &report->roofline));
        report->has_roofline = true;
        done = ROOFLINE_SHARE;
    }
    enum exit_code code = bench_measure(request, context, *meter, done, report);
    progress(NULL);
    if (report->num_results == 0 && code == EXIT_DONE)
        return fail(EXIT_UNSUPPORTED, "no kernel computes any of the problems on %s", report->device.name);
    return code;
}

/* `descriptor` is that of the output file, or of standard output. */
static enum exit_code print(const struct bench_request *request, const struct bench_report *report, int descriptor)
{
    const char *path = request->values.text[BENCH_OUTPUT];
    int copy = dup(descriptor);
    FILE *stream = copy < 0 ? NULL : fdopen(copy, "w");
    if (stream == NULL && copy >= 0)
        close(copy);
    bool good = stream != NULL && bench_write(request, report, stream) && !ferror(stream);
    if (stream != NULL && fclose(stream) != 0)
        good = false;
    return good ? EXIT_DONE : fail(EXIT_FAILED, "%s cannot be written", path != NULL ? path : "standard output");
}

static enum exit_code do_bench(struct bench_request *request, json_t **baseline, struct outputs *outputs,
                               clattn_context **context, struct meter **meter, struct bench_report *report)
{
    int descriptor = STDOUT_FILENO;
    const char *baseline_path = request->values.text[BENCH_BASELINE], *path = request->values.text[BENCH_OUTPUT];
    TRY(bench_request(request));
    if (baseline_path != NULL)
        TRY(baseline_read(baseline_path, baseline));
    if (path != NULL)
        TRY(outputs_open(outputs, path, &descriptor));
    TRY(prepare(request, *baseline, context, report));
    enum exit_code verdict = measure(request, *context, meter, report);
    if (verdict != EXIT_DONE && verdict != EXIT_VERIFICATION)
        return verdict;
    enum exit_code slower = *baseline != NULL ? baseline_compare(baseline_path, *baseline, request, report) : EXIT_DONE;
    TRY(print(request, report, descriptor));
    TRY(outputs_commit(outputs));
    return verdict != EXIT_DONE ? verdict : slower;
}

static enum exit_code bench_main(const struct command *command, int argc, const char **argv)
{
    struct bench_request request;
    struct bench_report report;
    struct outputs outputs = {.count = 0};
    json_t *baseline = NULL;
    clattn_context *context = NULL;
    struct meter *meter = NULL;
    bool answered;
    memset(&request, 0, sizeof request);
    memset(&report, 0, sizeof report);
    enum exit_code code = options_parse(command, argc, argv, &request.values, &answered);
    if (code == EXIT_DONE && !answered)
        code = do_bench(&request, &baseline, &outputs, &context, &meter, &report);
    progress(NULL);
    meter_release(meter);
    clattn_context_release(context);
    outputs_close(&outputs);
    json_decref(baseline);
    free(report.results);
    bench_request_free(&request);
    return code;
}

const struct command bench_command = {
    .name = "bench",
    .summary = "measure how fast attention is, against what the device can do and against an earlier time",
    .details =
        "PROBLEM is as for clattn run --random, or the name of one of these, which, but for those of train, are "
        "measured\n"
        "where none is given:\n"
        "\n"
        "  prefill  " BENCH_PREFILL "\n"
        "  causal   " BENCH_CAUSAL "\n"
        "  decode   " BENCH_DECODE "\n"
        "  grouped  " BENCH_GROUPED "\n"
        "  odd      " BENCH_ODD "\n"
        "  train    " BENCH_TRAIN " with d64 and d128, f32 and bf16, full and causal, each forward and backward\n"
        "\n"
        "A backward pass is measured by itself: the forward has left what it reads.\n"
        "\n"
        "Each kernel is verified on each problem, then all of them are timed in turns, so that ratios hold where the\n"
        "machine's speed does not. A time is that of a run and the wait for it, everything being on the device; FIRST\n"
        "that of making a plan and running it once. EXTRA is memory beyond inputs and outputs.\n"
        "\n"
        "GFLOP/s count a multiplication and an addition for every element of key and value in every pair of query and\n"
        "key that causality, window and lengths leave; GB/s count queries, keys, values and outputs once. Of a\n"
        "backward pass 2.5 times the operations count and twice the bytes, whatever its kernels spend. With\n"
        "--roofline the device is measured, once before and then in every turn of a result. FMA is the share of the\n"
        "multiply-adds that it did beside the result, and FLOOR that of the least time a run could take: its\n"
        "multiply-adds, or its bytes at the speed of reading, whichever takes longer, and one launch. What stays in\n"
        "caches can take less. The peak of a matrix unit is stated where there is one; no kernel uses it.\n"
        "\n"
        "With --baseline, medians are compared with those of an earlier report on the same device; one that is\n"
        "slower by more than --max-regress makes the exit code 7.\n",
    .examples = "  clattn bench --roofline\n"
                "  clattn bench decode b1h32g8q1k8192d128:bf16 --kernel all\n"
                "  clattn bench train --roofline\n"
                "  clattn bench --json -o before.json\n"
                "  clattn bench --baseline before.json --max-regress 5\n",
    .argument = "[PROBLEM...]",
    .most_arguments = INT_MAX,
    .options = bench_options,
    .run = bench_main,
};
