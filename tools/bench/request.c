/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `clattn bench`, and the request that they add up to. */
#include "bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where nothing else is asked for: about a second of runs, which is enough for a median of those that are short. */
#define DEFAULT_RUNS        1000
#define DEFAULT_SECONDS     1.0
#define DEFAULT_MAX_REGRESS 10.0 /* percent: less is within what machines with other work show from run to run */

const struct poptOption bench_options[] = {
    {"kernel", '\0', POPT_ARG_STRING, NULL, BENCH_KERNEL, "auto (default), all, or some, with commas between them",
     "NAME,..."},
    {"device", '\0', POPT_ARG_STRING, NULL, BENCH_DEVICE, "gpu, cpu, accelerator, any, P:D or name=TEXT", "SPEC"},
    {"roofline", '\0', POPT_ARG_NONE, NULL, BENCH_ROOFLINE,
     "measure what the device can do at most, beside the results", NULL},
    {"repeat", '\0', POPT_ARG_STRING, NULL, BENCH_REPEAT, "runs of each (default: up to 1000 in a second, 3 at least)",
     "N"},
    {"seconds", '\0', POPT_ARG_STRING, NULL, BENCH_SECONDS, "how long to go on with each (default 1)", "S"},
    {"json", '\0', POPT_ARG_NONE, NULL, BENCH_JSON, "the report as JSON", NULL},
    {"csv", '\0', POPT_ARG_NONE, NULL, BENCH_CSV, "the report as comma-separated values", NULL},
    {"markdown", '\0', POPT_ARG_NONE, NULL, BENCH_MARKDOWN, "the report as a Markdown table", NULL},
    {"output", 'o', POPT_ARG_STRING, NULL, BENCH_OUTPUT, "where the report goes (default standard output)", "FILE"},
    {"baseline", '\0', POPT_ARG_STRING, NULL, BENCH_BASELINE, "compare with an earlier report, written with --json",
     "FILE"},
    {"max-regress", '\0', POPT_ARG_STRING, NULL, BENCH_MAX_REGRESS,
     "how much slower than the baseline is allowed (default 10)", "PERCENT"},
    OPTIONS_END,
};

static const struct {
    const char *name, *problem;
} set[] = {
    {"prefill", BENCH_PREFILL}, {"causal", BENCH_CAUSAL}, {"decode", BENCH_DECODE},
    {"grouped", BENCH_GROUPED}, {"odd", BENCH_ODD},
};
#define SET_SIZE ((int)(sizeof set / sizeof *set))

static enum exit_code read_problem(const char *text, struct bench_problem *problem)
{
    clattn_error error;
    const char *given = text;
    for (int i = 0; i < SET_SIZE; i++)
        if (strcmp(text, set[i].name) == 0)
            text = set[i].problem;
    if (text == given && text[strcspn(text, "0123456789:")] == '\0') { /* no problem has such a string */
        char names[128] = "";
        for (int i = 0; i < SET_SIZE; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", set[i].name);
        return fail(EXIT_USAGE, "%s is no name: expected one of these: %s; or a problem, such as " BENCH_DECODE,
                    *given != '\0' ? given : "''", names);
    }
    clattn_attention_desc_init(&problem->desc);
    if (clattn_attention_desc_parse(text, &problem->desc, &error) != CLATTN_SUCCESS)
        return fail(EXIT_USAGE, "%s: %s", *given != '\0' ? given : "''", error.message);
    clattn_attention_desc_format(&problem->desc, problem->text, sizeof problem->text);
    return EXIT_DONE;
}

static enum exit_code read_problems(struct bench_request *request)
{
    int given = request->values.num_arguments, count = given > 0 ? given : SET_SIZE;
    request->problems = calloc((size_t)count, sizeof *request->problems);
    if (request->problems == NULL)
        return fail(EXIT_FAILED, "no memory for %d problems", count);
    request->num_problems = count;
    for (int i = 0; i < count; i++)
        TRY(read_problem(given > 0 ? request->values.arguments[i] : set[i].name, &request->problems[i]));
    return EXIT_DONE;
}

/* A list with commas; its text is cut into names. */
static enum exit_code read_kernels(struct bench_request *request)
{
    char *list = request->values.text[BENCH_KERNEL];
    request->every_kernel = list != NULL && strcmp(list, "all") == 0;
    if (list == NULL || request->every_kernel) {
        request->kernels[0] = "auto";
        request->num_kernels = 1;
        for (int i = 0; request->every_kernel && i < BENCH_MAX_KERNELS; i++) {
            request->kernels[i] = clattn_attention_variant((size_t)i);
            if (request->kernels[i] == NULL)
                break;
            request->num_kernels = i + 1;
        }
        return EXIT_DONE;
    }
    for (char *name = list, *end; name != NULL; name = end) {
        end = strchr(name, ',');
        if (end != NULL)
            *end++ = '\0';
        if (strcmp(name, "auto") != 0)
            TRY(parse_kernel("--kernel", name, "auto, all or some of these, with commas between them"));
        for (int i = 0; i < request->num_kernels; i++)
            if (strcmp(name, request->kernels[i]) == 0)
                return fail(EXIT_USAGE, "--kernel: %s is given twice", name);
        if (request->num_kernels == BENCH_MAX_KERNELS)
            return fail(EXIT_USAGE, "--kernel: expected at most %d names", BENCH_MAX_KERNELS);
        request->kernels[request->num_kernels++] = name;
    }
    return EXIT_DONE;
}

static enum exit_code read_positive(const char *option, const char *text, double *value)
{
    float number;
    TRY(parse_float(option, text, &number));
    if (number <= 0.0f)
        return fail(EXIT_USAGE, "%s is %s: expected more than 0", option, text);
    *value = (double)number;
    return EXIT_DONE;
}

static enum exit_code read_limits(struct bench_request *request)
{
    const char *repeat = request->values.text[BENCH_REPEAT], *seconds = request->values.text[BENCH_SECONDS];
    int64_t runs = DEFAULT_RUNS;
    if (repeat != NULL)
        TRY(parse_integer("--repeat", repeat, 1, 1000000, &runs));
    request->most_runs = (int)runs;
    request->seconds = repeat != NULL ? HUGE_VAL : DEFAULT_SECONDS;
    return seconds != NULL ? read_positive("--seconds", seconds, &request->seconds) : EXIT_DONE;
}

static enum exit_code read_baseline(struct bench_request *request)
{
    const char *text = request->values.text[BENCH_MAX_REGRESS];
    request->max_regress = DEFAULT_MAX_REGRESS / 100;
    if (text == NULL)
        return EXIT_DONE;
    if (!bench_requested(request, BENCH_BASELINE))
        return fail(EXIT_USAGE, "--max-regress is given without --baseline FILE");
    float percent;
    TRY(parse_float("--max-regress", text, &percent));
    if (percent < 0.0f)
        return fail(EXIT_USAGE, "--max-regress is %s: expected a percentage, 0 or more", text);
    request->max_regress = (double)percent / 100;
    return EXIT_DONE;
}

enum exit_code bench_request(struct bench_request *request)
{
    if (bench_requested(request, BENCH_JSON) + bench_requested(request, BENCH_CSV) +
            bench_requested(request, BENCH_MARKDOWN) >
        1)
        return fail(EXIT_USAGE, "expected one of --json, --csv and --markdown");
    TRY(read_kernels(request));
    TRY(read_limits(request));
    TRY(read_baseline(request));
    return read_problems(request);
}

void bench_request_free(struct bench_request *request)
{
    options_free(&request->values);
    free(request->problems);
    memset(request, 0, sizeof *request);
}
