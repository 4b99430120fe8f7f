/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel is verified on every problem, and then all of them are timed in turns, each for a short while at a time,
 * so that what disturbs the machine or slows it down for seconds does it to all of them. Problems wait for that in the
 * memory of the device; those that would take too much of it are timed in several groups.
 */
#include "bench/bench.h"
#include "shared/verify.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_RUNS    3
#define MOST_PRODUCTS 5e8  /* of the reference computation: about a second */
#define TURN          0.1  /* seconds: several runs of what fits into caches, and many turns where speed drifts */
#define MEMORY_SHARE  0.25 /* of the device's memory, for the operands of problems that are timed in turns */

/* A kernel on a problem. */
struct candidate {
    clattn_plan *plan;
    enum pass pass;
    struct launch *launch; /* of the problem */
    struct bench_result *result;
    double *seconds; /* [most_runs] */
    int runs;
    double used;             /* their sum */
    double last;             /* of them, 0 where there is none */
    struct roofline *beside; /* [most_runs], where there is a meter: what it measured before each turn */
    int turns;
};

struct bench {
    const struct bench_request *request;
    clattn_context *context;
    struct meter *meter; /* or NULL */
    struct bench_report *report;
    struct launch *launches; /* [num_problems] */
    struct candidate *candidates;
    int num_launches, num_candidates; /* that wait to be timed */
    size_t bytes;                     /* of their operands */
    double progress, step;            /* of everything: what is done, and what a candidate adds with either half */
    bool failed;                      /* an output was beyond the bounds */
};

static void show(const struct bench *bench, const char *what, const char *problem, const char *kernel)
{
    char text[BENCH_MAX_PROBLEM + 128];
    snprintf(text, sizeof text, "%s: %s %s", problem, what, kernel);
    progress_bar(bench->progress, text);
}

/* ---- verifying ---- */

/* What a backward pass reads of the forward. */
static enum exit_code run_forward(struct bench *bench, struct launch *launch, struct arrays *arrays)
{
    clattn_plan *plan = NULL;
    clattn_error error;
    if (launch_plan(bench->context, arrays, FORWARD, NULL, &plan, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    launch_set_plan(launch, FORWARD, plan);
    enum exit_code code = launch_run(launch, arrays);
    launch->plan[FORWARD] = NULL;
    clattn_plan_release(plan);
    return code;
}

static enum exit_code prepare(struct bench *bench, struct launch *launch, struct arrays *arrays)
{
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (arrays_has(arrays, operand)) {
            TRY(arrays_set_shape(arrays, operand));
            bench->bytes += arrays->array[operand].bytes;
        }
    TRY(launch_create(launch, bench->context, arrays));
    TRY(arrays_fill(arrays, 0));
    return arrays_have_gradients(arrays) ? run_forward(bench, launch, arrays)
                                         : launch_upload(launch, arrays, QUERY, OUTPUT);
}

/* Outputs become NaN, so that none passes for another kernel's; those that are added to, 0. */
static enum exit_code spoil_outputs(struct launch *launch, struct arrays *arrays, enum pass pass)
{
    const enum operand first = pass == BACKWARD ? D_QUERY : OUTPUT;
    for (enum operand operand = first; operand < NUM_OPERANDS; operand++)
        if (arrays->array[operand].data != NULL)
            memset(arrays->array[operand].data, arrays->backward.accumulate ? 0 : 0xff, arrays->array[operand].bytes);
    return launch_upload(launch, arrays, first, NUM_OPERANDS);
}

static enum exit_code verify(struct bench *bench, struct launch *launch, struct arrays *arrays,
                             struct bench_result *result)
{
    TRY(launch_download(launch, arrays));
    struct verification verification;
    TRY(arrays_have_gradients(arrays) ? verify_gradients(arrays, MOST_PRODUCTS, &verification)
                                      : verify_outputs(arrays, true, MOST_PRODUCTS, &verification));
    result->verified = verification.passed;
    if (!verification.passed) {
        fail(EXIT_VERIFICATION, "%s: %s: verification failed: %s", result->problem, result->kernel,
             verification.message);
        bench->failed = true;
    }
    return EXIT_DONE;
}

/* Makes the plan, runs it for the first time, and verifies what it wrote. */
static enum exit_code add_candidate(struct bench *bench, const char *problem, const char *kernel, struct launch *launch,
                                    struct arrays *arrays)
{
    struct candidate *candidate = &bench->candidates[bench->num_candidates];
    struct bench_result *result = &bench->report->results[bench->report->num_results];
    const enum pass pass = arrays_have_gradients(arrays) ? BACKWARD : FORWARD;
    clattn_error error;
    TRY(spoil_outputs(launch, arrays, pass));
    double begin = timing_now();
    if (launch_plan(bench->context, arrays, pass, kernel, &candidate->plan, &error) != CLATTN_SUCCESS) {
        if (!bench->request->every_kernel || error.status != CLATTN_ERROR_UNSUPPORTED)
            return fail(exit_code_of(&error), "%s: %s", problem, error.message);
        note("%s: left out: %s", problem, error.message);
        bench->progress += bench->step; /* it will not be timed */
        return EXIT_DONE;
    }
    bench->num_candidates++;
    bench->report->num_results++;
    launch_set_plan(launch, pass, candidate->plan);
    TRY(launch_once(launch, pass));
    result->first_call = timing_now() - begin;
    result->extra_bytes = clattn_plan_workspace_size(candidate->plan);
    result->work = launch_work(arrays, pass);
    snprintf(result->problem, sizeof result->problem, "%s", clattn_plan_problem(candidate->plan));
    snprintf(result->kernel, sizeof result->kernel, "%s", clattn_plan_variant(candidate->plan));
    snprintf(result->tile, sizeof result->tile, "%s", launch_tile(candidate->plan));
    candidate->result = result;
    candidate->launch = launch;
    candidate->pass = pass;
    candidate->seconds = calloc((size_t)bench->request->most_runs, sizeof *candidate->seconds);
    candidate->beside = calloc(bench->meter != NULL ? (size_t)bench->request->most_runs : 1, sizeof *candidate->beside);
    if (candidate->seconds == NULL || candidate->beside == NULL)
        return fail(EXIT_FAILED, "no memory for the times");
    return verify(bench, launch, arrays, result);
}

static enum exit_code add_candidates(struct bench *bench, const struct bench_problem *problem, struct arrays *arrays)
{
    struct launch *launch = &bench->launches[bench->num_launches++];
    const struct bench_kernels *kernels = &bench->request->kernels[problem->pass];
    arrays->desc = problem->desc;
    arrays->backward = problem->backward;
    show(bench, "preparing", problem->text, "arrays");
    TRY(prepare(bench, launch, arrays));
    for (int i = 0; i < kernels->count; i++) {
        show(bench, "verifying", problem->text, kernels->names[i]);
        TRY(add_candidate(bench, problem->text, kernels->names[i], launch, arrays));
        bench->progress += bench->step;
    }
    return EXIT_DONE;
}

/* ---- timing ---- */

/* Whether another run is due. */
static bool unfinished(const struct bench *bench, const struct candidate *candidate)
{
    return candidate->result->verified && candidate->runs < bench->request->most_runs &&
           (candidate->runs < LEAST_RUNS || candidate->used < bench->request->seconds);
}

/* How much of what is due is done, as a fraction. */
static double finished(const struct bench *bench, const struct candidate *candidate)
{
    double runs = (double)candidate->runs / bench->request->most_runs;
    double seconds = fmin((double)candidate->runs / LEAST_RUNS, candidate->used / bench->request->seconds);
    return unfinished(bench, candidate) ? fmin(fmax(runs, seconds), 1) : 1;
}

static enum exit_code run_once(const struct candidate *candidate, double *seconds)
{
    launch_set_plan(candidate->launch, candidate->pass, candidate->plan);
    double begin = timing_now();
    TRY(launch_once(candidate->launch, candidate->pass));
    *seconds = timing_now() - begin;
    return EXIT_DONE;
}

static enum exit_code take_turn(struct bench *bench, struct candidate *candidate)
{
    double end = candidate->used + TURN, ignored;
    if (bench->meter != NULL)
        TRY(meter_burst(bench->meter, &candidate->beside[candidate->turns++]));
    if (candidate->last < TURN) /* others have left the caches cold, which is nothing to a longer run */
        TRY(run_once(candidate, &ignored));
    do {
        TRY(run_once(candidate, &candidate->last));
        candidate->seconds[candidate->runs++] = candidate->last;
        candidate->used += candidate->last;
    } while (unfinished(bench, candidate) && candidate->used < end);
    return EXIT_DONE;
}

static double median(double values[], int count)
{
    struct timing timing;
    timing_summarise(values, count, &timing);
    return timing.median;
}

static void summarise(const struct candidate *candidate, struct roofline *most)
{
    struct roofline *medians = &candidate->result->beside;
    const struct roofline *beside = candidate->beside;
    double *values = candidate->seconds; /* once they are summarised themselves */
    int turns = candidate->turns;
    if (candidate->runs == 0)
        return;
    timing_summarise(candidate->seconds, candidate->runs, &candidate->result->timing);
    if (turns == 0)
        return;
    for (int i = 0; i < turns; i++) {
        values[i] = beside[i].fma_gflops;
        most->fma_gflops = fmax(most->fma_gflops, values[i]);
    }
    medians->fma_gflops = median(values, turns);
    for (int i = 0; i < turns; i++) {
        values[i] = beside[i].read_gbs;
        most->read_gbs = fmax(most->read_gbs, values[i]);
    }
    medians->read_gbs = median(values, turns);
    for (int i = 0; i < turns; i++)
        values[i] = beside[i].launch_us;
    medians->launch_us = median(values, turns);
}

static enum exit_code time_all(struct bench *bench)
{
    struct candidate *end = bench->candidates + bench->num_candidates;
    for (bool more = true; more;) {
        more = false;
        for (struct candidate *candidate = bench->candidates; candidate < end; candidate++) {
            if (!unfinished(bench, candidate))
                continue;
            double before = finished(bench, candidate);
            show(bench, "measuring", candidate->result->problem, candidate->result->kernel);
            TRY(take_turn(bench, candidate));
            bench->progress += (finished(bench, candidate) - before) * bench->step;
            more = true;
        }
    }
    for (struct candidate *candidate = bench->candidates; candidate < end; candidate++)
        summarise(candidate, &bench->report->roofline);
    return EXIT_DONE;
}

/* The cost of a launch, beside the results, in the place of what was measured before them. */
static enum exit_code summarise_launches(struct bench_report *report)
{
    int count = 0;
    double *microseconds = calloc((size_t)report->num_results + 1, sizeof *microseconds);
    if (microseconds == NULL)
        return fail(EXIT_FAILED, "no memory for the times");
    for (int i = 0; i < report->num_results; i++)
        if (report->results[i].beside.launch_us > 0)
            microseconds[count++] = report->results[i].beside.launch_us;
    if (count > 0)
        report->roofline.launch_us = median(microseconds, count);
    free(microseconds);
    return EXIT_DONE;
}

/* Frees what waited to be timed. */
static void clear(struct bench *bench)
{
    for (int i = 0; i < bench->num_launches; i++)
        launch_release(&bench->launches[i]);
    for (int i = 0; i < bench->num_candidates; i++) {
        clattn_plan_release(bench->candidates[i].plan);
        free(bench->candidates[i].seconds);
        free(bench->candidates[i].beside);
    }
    memset(bench->candidates, 0, (size_t)bench->num_candidates * sizeof *bench->candidates);
    bench->num_launches = bench->num_candidates = 0;
    bench->bytes = 0;
}

static enum exit_code measure(struct bench *bench)
{
    const struct bench_request *request = bench->request;
    for (int i = 0; i < request->num_problems; i++) {
        struct arrays arrays = {.form = FORM_BHSD};
        enum exit_code code = add_candidates(bench, &request->problems[i], &arrays);
        arrays_free(&arrays);
        if (code != EXIT_DONE)
            return code;
        if (i + 1 < request->num_problems &&
            (double)bench->bytes < MEMORY_SHARE * (double)bench->report->device.global_memory)
            continue;
        TRY(time_all(bench));
        clear(bench);
    }
    return summarise_launches(bench->report);
}

enum exit_code bench_measure(const struct bench_request *request, clattn_context *context, struct meter *meter,
                             double progress, struct bench_report *report)
{
    int num_candidates = bench_most_results(request);
    struct bench bench = {
        .request = request,
        .context = context,
        .meter = meter,
        .report = report,
        .launches = calloc((size_t)request->num_problems, sizeof *bench.launches),
        .candidates = calloc((size_t)num_candidates, sizeof *bench.candidates),
        .progress = progress,
        .step = (1 - progress) / (2 * num_candidates),
    };
    enum exit_code code = bench.launches != NULL && bench.candidates != NULL
                              ? measure(&bench)
                              : fail(EXIT_FAILED, "no memory for %d problems", request->num_problems);
    if (bench.launches != NULL && bench.candidates != NULL)
        clear(&bench);
    free(bench.launches);
    free(bench.candidates);
    return code == EXIT_DONE && bench.failed ? EXIT_VERIFICATION : code;
}
