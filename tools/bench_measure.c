/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One problem: its arrays are made up once, every kernel is verified on them, and then they are timed in turns, so that
 * what disturbs the machine for a while disturbs all of them.
 */
#include "bench.h"
#include "verify.h"
#include <stdlib.h>
#include <string.h>

#define LEAST_RUNS    3
#define MOST_PRODUCTS 5e8 /* of the reference computation: about a second */

/* A kernel at work on the problem. */
struct candidate {
    clattn_plan *plan;
    struct bench_result *result;
    double *seconds; /* [runs] */
    int runs;
    double used; /* their sum */
};

struct bench {
    const struct bench_request *request;
    const struct bench_problem *problem;
    clattn_context *context;
    struct arrays arrays;
    struct launch launch;
    struct candidate candidates[BENCH_MAX_KERNELS];
    int num_candidates;
    bool failed; /* an output was beyond the bounds */
};

static void show(const struct bench *bench, double share, const char *kernel, const char *what)
{
    char text[BENCH_MAX_PROBLEM + 64];
    snprintf(text, sizeof text, "%s: %s %s", bench->problem->text, what, kernel);
    progress_bar(share, text);
}

static enum exit_code prepare(struct bench *bench)
{
    bench->arrays.desc = bench->problem->desc;
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (arrays_has(&bench->arrays, operand))
            TRY(arrays_set_shape(&bench->arrays, operand));
    TRY(launch_create(&bench->launch, bench->context, &bench->arrays));
    TRY(arrays_fill(&bench->arrays, 0));
    return launch_upload(&bench->launch, &bench->arrays, QUERY, OUTPUT);
}

/* Outputs become NaN, so that none passes for another kernel's. */
static enum exit_code spoil_outputs(struct bench *bench)
{
    for (enum operand operand = OUTPUT; operand < NUM_OPERANDS; operand++)
        if (bench->arrays.array[operand].data != NULL)
            memset(bench->arrays.array[operand].data, 0xff, bench->arrays.array[operand].bytes);
    return launch_upload(&bench->launch, &bench->arrays, OUTPUT, NUM_OPERANDS);
}

static enum exit_code verify(struct bench *bench, struct bench_result *result)
{
    TRY(launch_download(&bench->launch, &bench->arrays));
    struct verification verification = verify_outputs(&bench->arrays, true, MOST_PRODUCTS);
    result->verified = verification.passed;
    if (!verification.passed) {
        fail(EXIT_VERIFICATION, "%s: %s: verification failed: %s", result->problem, result->kernel,
             verification.message);
        bench->failed = true;
    }
    return EXIT_DONE;
}

/* Makes the plan, runs it for the first time, and verifies what it wrote. */
static enum exit_code add_candidate(struct bench *bench, const char *kernel, struct bench_result *result)
{
    struct candidate *candidate = &bench->candidates[bench->num_candidates];
    clattn_attention_desc desc = bench->problem->desc;
    clattn_error error;
    desc.variant = kernel;
    TRY(spoil_outputs(bench));
    double begin = timing_now();
    if (clattn_attention_plan_create(bench->context, &desc, &candidate->plan, &error) != CLATTN_SUCCESS) {
        if (!bench->request->every_kernel || error.status != CLATTN_ERROR_UNSUPPORTED)
            return fail(exit_code_of(&error), "%s: %s", bench->problem->text, error.message);
        note("%s: left out: %s", bench->problem->text, error.message);
        return EXIT_DONE;
    }
    bench->num_candidates++;
    launch_set_plan(&bench->launch, candidate->plan);
    TRY(launch_once(&bench->launch));
    result->first_call = timing_now() - begin;
    result->extra_bytes = clattn_plan_workspace_size(candidate->plan);
    result->work = launch_work(&bench->arrays);
    snprintf(result->problem, sizeof result->problem, "%s", clattn_plan_problem(candidate->plan));
    snprintf(result->kernel, sizeof result->kernel, "%s", clattn_plan_variant(candidate->plan));
    snprintf(result->tile, sizeof result->tile, "%s", launch_tile(candidate->plan));
    candidate->result = result;
    TRY(verify(bench, result));
    candidate->seconds = calloc((size_t)bench->request->most_runs, sizeof *candidate->seconds);
    return candidate->seconds != NULL ? EXIT_DONE : fail(EXIT_FAILED, "no memory for the times");
}

/* Whether another run is due. */
static bool unfinished(const struct bench *bench, const struct candidate *candidate)
{
    return candidate->result->verified && candidate->runs < bench->request->most_runs &&
           (candidate->runs < LEAST_RUNS || candidate->used < bench->request->seconds);
}

static enum exit_code run_once(struct bench *bench, const struct candidate *candidate, double *seconds)
{
    launch_set_plan(&bench->launch, candidate->plan);
    double begin = timing_now();
    TRY(launch_once(&bench->launch));
    *seconds = timing_now() - begin;
    return EXIT_DONE;
}

static enum exit_code time_all(struct bench *bench)
{
    struct candidate *end = bench->candidates + bench->num_candidates;
    for (struct candidate *candidate = bench->candidates; candidate < end; candidate++) {
        double ignored; /* verifying has left the caches cold */
        TRY(run_once(bench, candidate, &ignored));
    }
    for (bool more = true; more;) {
        more = false;
        for (struct candidate *candidate = bench->candidates; candidate < end; candidate++) {
            if (!unfinished(bench, candidate))
                continue;
            double *seconds = &candidate->seconds[candidate->runs++];
            TRY(run_once(bench, candidate, seconds));
            candidate->used += *seconds;
            more = true;
        }
    }
    for (struct candidate *candidate = bench->candidates; candidate < end; candidate++)
        if (candidate->runs > 0)
            timing_summarise(candidate->seconds, candidate->runs, &candidate->result->timing);
    return EXIT_DONE;
}

static enum exit_code measure(struct bench *bench, double progress_begin, double progress_end,
                              struct bench_report *report)
{
    const struct bench_request *request = bench->request;
    double step = (progress_end - progress_begin) / (request->num_kernels + 2);
    show(bench, progress_begin, "arrays", "preparing");
    TRY(prepare(bench));
    struct bench_result *first = report->results + report->num_results;
    for (int i = 0; i < request->num_kernels; i++) {
        show(bench, progress_begin + (i + 1) * step, request->kernels[i], "verifying");
        TRY(add_candidate(bench, request->kernels[i], first + bench->num_candidates));
    }
    report->num_results += bench->num_candidates;
    show(bench, progress_end - step, "", "measuring");
    return time_all(bench);
}

enum exit_code bench_measure(const struct bench_request *request, const struct bench_problem *problem,
                             clattn_context *context, double progress_begin, double progress_end,
                             struct bench_report *report)
{
    struct bench bench = {.request = request, .problem = problem, .context = context};
    enum exit_code code = measure(&bench, progress_begin, progress_end, report);
    launch_release(&bench.launch);
    for (int i = 0; i < bench.num_candidates; i++) {
        clattn_plan_release(bench.candidates[i].plan);
        free(bench.candidates[i].seconds);
    }
    arrays_free(&bench.arrays);
    return code == EXIT_DONE && bench.failed ? EXIT_VERIFICATION : code;
}
