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

/* Problems by their names, those of one name together; they are measured where none is given, but for `train`. */
#define TRAIN(rest)                                                                                                    \
    {"train", BENCH_TRAIN rest ":lse"},                                                                                \
    {                                                                                                                  \
        "train", BENCH_TRAIN rest ":backward"                                                                          \
    }
static const struct {
    const char *name, *problem;
} set[] = {
    {"prefill", BENCH_PREFILL}, {"causal", BENCH_CAUSAL}, {"decode", BENCH_DECODE}, {"grouped", BENCH_GROUPED},
    {"odd", BENCH_ODD},         TRAIN("d64:f32"),         TRAIN("d64:f32:causal"),  TRAIN("d64:bf16"),
    TRAIN("d64:bf16:causal"),   TRAIN("d128:f32"),        TRAIN("d128:f32:causal"), TRAIN("d128:bf16"),
    TRAIN("d128:bf16:causal"),
};
#define SET_SIZE     ((int)(sizeof set / sizeof *set))
#define DEFAULT_SIZE 5 /* those in front */

static enum exit_code unknown_name(const char *given)
{
    char names[128] = "";
    for (int i = 0; i < SET_SIZE; i++)
        if (i == 0 || strcmp(set[i].name, set[i - 1].name) != 0)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", set[i].name);
    return fail(EXIT_USAGE, "%s is no name: expected one of these: %s; or a problem, such as " BENCH_DECODE,
                *given != '\0' ? given : "''", names);
}

static enum exit_code read_problem(const char *text, struct bench_problem *problem)
{
    clattn_error error;
    const clattn_attention_backward_desc *backward = &problem->backward;
    if (text[strcspn(text, "0123456789:")] == '\0') /* no problem has such a string */
        return unknown_name(text);
    clattn_attention_desc_init(&problem->desc);
    clattn_attention_backward_desc_init(&problem->backward);
    if (clattn_attention_backward_desc_parse(text, &problem->desc, &problem->backward, &error) != CLATTN_SUCCESS)
        return fail(EXIT_USAGE, "%s: %s", text, error.message);
    const bool wanted = clattn_attention_backward_desc_format(backward, problem->text, sizeof problem->text) > 0;
    problem->pass = wanted ? BACKWARD : FORWARD;
    if (!wanted)
        clattn_attention_desc_format(&problem->desc, problem->text, sizeof problem->text);
    return EXIT_DONE;
}

/* Adds the problems that `text` names, or the one that it is. */
static enum exit_code add_problems(struct bench_request *request, const char *text)
{
    bool named = false;
    for (int i = 0; i < SET_SIZE; i++)
        if (strcmp(text, set[i].name) == 0) {
            named = true;
            TRY(read_problem(set[i].problem, &request->problems[request->num_problems++]));
        }
    return named ? EXIT_DONE : read_problem(text, &request->problems[request->num_problems++]);
}

static enum exit_code read_problems(struct bench_request *request)
{
    int given = request->values.num_arguments;
    request->problems = calloc((size_t)(given > 0 ? given : 1) * SET_SIZE, sizeof *request->problems);
    if (request->problems == NULL)
        return fail(EXIT_FAILED, "no memory for %d problems", given);
    for (int i = 0; i < given; i++)
        TRY(add_problems(request, request->values.arguments[i]));
    for (int i = 0; i < DEFAULT_SIZE && given == 0; i++)
        TRY(add_problems(request, set[i].name));
    for (int i = 0; i < request->num_problems; i++)
        if (request->kernels[request->problems[i].pass].count == 0)
            return fail(EXIT_USAGE, "%s: --kernel names none that computes %s: expected auto, all or another",
                        request->problems[i].text, request->problems[i].pass == BACKWARD ? "gradients" : "attention");
    return EXIT_DONE;
}

int bench_most_results(const struct bench_request *request)
{
    int count = 0;
    for (int i = 0; i < request->num_problems; i++)
        count += request->kernels[request->problems[i].pass].count;
    return count;
}

static const char *(*const variants[NUM_PASSES])(size_t index) = {clattn_attention_variant,
                                                                  clattn_attention_backward_variant};

/* The kernels of both passes, one list after the other. */
static const char *any_variant(size_t index)
{
    size_t count = 0;
    while (variants[FORWARD](count) != NULL)
        count++;
    return index < count ? variants[FORWARD](index) : variants[BACKWARD](index - count);
}

/* Adds a name to the kernels of a pass where that has such a one; false where it is there already. */
static bool add_kernel(struct bench_kernels *kernels, enum pass pass, const char *name)
{
    bool known = strcmp(name, "auto") == 0;
    for (size_t i = 0; variants[pass](i) != NULL; i++)
        known = known || strcmp(name, variants[pass](i)) == 0;
    for (int i = 0; i < kernels->count; i++)
        if (strcmp(name, kernels->names[i]) == 0)
            return false;
    if (known && kernels->count < BENCH_MAX_KERNELS)
        kernels->names[kernels->count++] = name;
    return true;
}

/* A list with commas; its text is cut into names. */
static enum exit_code read_kernels(struct bench_request *request)
{
    char *list = request->values.text[BENCH_KERNEL];
    request->every_kernel = list != NULL && strcmp(list, "all") == 0;
    for (enum pass pass = FORWARD; pass < NUM_PASSES; pass++) {
        if (list == NULL)
            add_kernel(&request->kernels[pass], pass, "auto");
        for (size_t i = 0; request->every_kernel && variants[pass](i) != NULL; i++)
            add_kernel(&request->kernels[pass], pass, variants[pass](i));
    }
    if (list == NULL || request->every_kernel)
        return EXIT_DONE;
    for (char *name = list, *end; name != NULL; name = end) {
        end = strchr(name, ',');
        if (end != NULL)
            *end++ = '\0';
        if (strcmp(name, "auto") != 0)
            TRY(parse_kernel("--kernel", name, "auto, all or some of these, with commas between them", any_variant));
        for (enum pass pass = FORWARD; pass < NUM_PASSES; pass++)
            if (!add_kernel(&request->kernels[pass], pass, name))
                return fail(EXIT_USAGE, "--kernel: %s is given twice", name);
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
