/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn bench` in parts: the command line becomes a request, its problems become results, results become a report. */
#ifndef TOOL_BENCH_H
#define TOOL_BENCH_H

#include "meter/roofline.h"
#include "shared/json.h"
#include "shared/launch.h"
#include "shared/options.h"
#include <stdio.h>

enum bench_option {
    BENCH_KERNEL = OPTION_HELP + 1,
    BENCH_DEVICE,
    BENCH_ROOFLINE,
    BENCH_REPEAT,
    BENCH_SECONDS,
    BENCH_JSON,
    BENCH_CSV,
    BENCH_MARKDOWN,
    BENCH_OUTPUT,
    BENCH_BASELINE,
    BENCH_MAX_REGRESS
};

extern const struct poptOption bench_options[];

/* The problems that have names, and are measured where none is given. */
#define BENCH_PREFILL "b1h8q2048k2048d128:f32"
#define BENCH_CAUSAL  "b1h8q2048k2048d128:f32:causal"
#define BENCH_DECODE  "b1h32g8q1k8192d128:f16"
#define BENCH_GROUPED "b1h32g8q512k512d128:f32"
#define BENCH_ODD     "b2h5q203k1021d72v80:f32"

/* What the problems of the set `train` begin with; dim, type and causality vary, and both passes are there. */
#define BENCH_TRAIN "b1h8q2048k2048"

#define BENCH_MAX_KERNELS 16
#define BENCH_MAX_PROBLEM 512

struct bench_problem {
    char text[BENCH_MAX_PROBLEM]; /* in its one form, whatever was given */
    enum pass pass;
    clattn_attention_desc desc;
    clattn_attention_backward_desc backward;
};

/* What the command line asks for. */
struct bench_request {
    struct option_values values; /* file names and flags stay as they were given */
    struct bench_problem *problems;
    int num_problems;
    struct bench_kernels {
        const char *names[BENCH_MAX_KERNELS]; /* or "auto" */
        int count;
    } kernels[NUM_PASSES];
    bool every_kernel; /* all that there are: those that refuse a problem are left out */
    int most_runs;     /* of each kernel on each problem, and for how long at most, where three runs take less */
    double seconds;
    double max_regress; /* a fraction */
};

/* Whether an option was given. */
static inline bool bench_requested(const struct bench_request *request, enum bench_option option)
{
    return request->values.text[option] != NULL;
}

/* Results that there may be. */
int bench_most_results(const struct bench_request *request);

/* From values to all the rest; what contradicts itself is EXIT_USAGE. To be freed in any case. */
enum exit_code bench_request(struct bench_request *request);
void bench_request_free(struct bench_request *request);

/* A kernel on a problem. */
struct bench_result {
    char problem[BENCH_MAX_PROBLEM];
    char kernel[64];
    char tile[64];
    bool verified; /* compared and within the bounds; what is not has no time */
    struct timing timing;
    struct roofline beside; /* medians of what was measured in turns with it; what no share needs is 0 */
    struct launch_work work;
    size_t extra_bytes; /* workspace */
    double first_call;  /* seconds to make the plan and run it once */
    double baseline;    /* seconds, 0 where the baseline has none */
};

struct bench_report {
    clattn_device_info device;
    bool has_roofline;
    struct roofline roofline; /* rates are the best of the whole run, the launch is a median beside the results */
    bool has_baseline;
    struct bench_result *results;
    int num_results;
};

/*
 * Measures every kernel that `request` names on each of its problems and fills `report`. Results that are beyond the
 * bounds of accuracy are said to be so, and reported without a time; EXIT_VERIFICATION, then, having measured the rest.
 * `meter`, where it is not NULL, measures the device beside them. What is done already is `progress` of everything.
 */
enum exit_code bench_measure(const struct bench_request *request, clattn_context *context, struct meter *meter,
                             double progress, struct bench_report *report);

/* Reads what an earlier `clattn bench --json` wrote; what is not that is EXIT_BAD_FILE. *baseline is to be released. */
enum exit_code baseline_read(const char *path, json_t **baseline);

/* Whether there is anything to compare: the device is the same, and a problem occurs in both. */
enum exit_code baseline_check(const char *path, const json_t *baseline, const struct bench_request *request,
                              const clattn_device_info *device);

/* Fills in the baseline of each result; EXIT_SLOWER, having said which, where one exceeds it by more than allowed. */
enum exit_code baseline_compare(const char *path, const json_t *baseline, const struct bench_request *request,
                                struct bench_report *report);

/* Writes the report in the form that is asked for; false where that fails. */
bool bench_write(const struct bench_request *request, const struct bench_report *report, FILE *stream);

#endif
