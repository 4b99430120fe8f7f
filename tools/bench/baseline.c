/* SPDX-License-Identifier: Apache-2.0 */
/* The report of an earlier `clattn bench --json`, which nobody has checked, against this one. */
#include "bench/bench.h"
#include "shared/input.h"
#include <errno.h>
#include <string.h>

#define EXPECTED "expected what clattn bench --json wrote"

/* What `object` has as text, or NULL. */
static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static enum exit_code check_results(const char *path, const json_t *results)
{
    size_t i;
    json_t *result;
    if (!json_is_array(results))
        return fail(EXIT_BAD_FILE, "%s: has no list of results: " EXPECTED, path);
    json_array_foreach(results, i, result)
    {
        const json_t *median = json_object_get(result, "median_s");
        if (text_of(result, "problem") == NULL || text_of(result, "kernel") == NULL ||
            !(json_is_null(median) || (json_is_number(median) && json_number_value(median) > 0)))
            return fail(EXIT_BAD_FILE, "%s: results[%zu] lacks a problem, a kernel or a median_s above 0: " EXPECTED,
                        path, i);
    }
    return EXIT_DONE;
}

enum exit_code baseline_read(const char *path, json_t **baseline)
{
    json_error_t error;
    FILE *file = input_stream(path);
    if (file == NULL || (ungetc(getc(file), file) == EOF && ferror(file))) {
        enum exit_code code = fail(EXIT_BAD_FILE, "%s: cannot be read as a baseline: %s", path, strerror(errno));
        if (file != NULL)
            fclose(file);
        return code;
    }
    *baseline = json_loadf(file, 0, &error);
    fclose(file);
    if (*baseline == NULL)
        return fail(EXIT_BAD_FILE, "%s: cannot be read as a baseline, line %d: %s", path, error.line, error.text);
    if (text_of(*baseline, "device") == NULL)
        return fail(EXIT_BAD_FILE, "%s: names no device: " EXPECTED, path);
    return check_results(path, json_object_get(*baseline, "results"));
}

enum exit_code baseline_check(const char *path, const json_t *baseline, const struct bench_request *request,
                              const clattn_device_info *device)
{
    size_t i;
    json_t *result;
    const char *name = text_of(baseline, "device");
    json_t *here = json_text(device->name); /* as it would be written */
    bool same = here != NULL && strcmp(name, json_string_value(here)) == 0;
    json_decref(here);
    if (!same)
        return fail(EXIT_BAD_FILE, "%s: was measured on %s: expected %s, the device of this run", path, name,
                    device->name);
    json_array_foreach(json_object_get(baseline, "results"), i, result)
    {
        for (int p = 0; p < request->num_problems; p++)
            if (strcmp(text_of(result, "problem"), request->problems[p].text) == 0)
                return EXIT_DONE;
    }
    return fail(EXIT_BAD_FILE, "%s: has none of the problems that are to be measured, such as %s", path,
                request->problems[0].text);
}

/*
 * The earlier median of a result: of the same kernel on the same problem, or, where that kernel was not measured then
 * and only one was, of that one, since what --kernel auto takes may change. 0 where there is none.
 */
static double median_of(const json_t *baseline, const struct bench_result *result)
{
    size_t i;
    int others = 0;
    double other_median = 0;
    json_t *old;
    json_array_foreach(json_object_get(baseline, "results"), i, old)
    {
        double median = json_number_value(json_object_get(old, "median_s"));
        if (strcmp(text_of(old, "problem"), result->problem) != 0)
            continue;
        if (strcmp(text_of(old, "kernel"), result->kernel) == 0)
            return median;
        others++;
        other_median = median;
    }
    return others == 1 ? other_median : 0;
}

enum exit_code baseline_compare(const char *path, const json_t *baseline, const struct bench_request *request,
                                struct bench_report *report)
{
    enum exit_code code = EXIT_DONE;
    for (int i = 0; i < report->num_results; i++) {
        struct bench_result *result = &report->results[i];
        result->baseline = median_of(baseline, result);
        if (result->timing.runs > 0 && result->baseline > 0 &&
            result->timing.median > result->baseline * (1 + request->max_regress))
            code = fail(EXIT_SLOWER, "%s: %s takes %.4g s, %.1f %% more than in %s: expected at most %.4g %% more",
                        result->problem, result->kernel, result->timing.median,
                        100 * (result->timing.median / result->baseline - 1), path, 100 * request->max_regress);
    }
    return code;
}
