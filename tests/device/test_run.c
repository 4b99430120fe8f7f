/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How runs behave around the arithmetic: events in and out, queues of both orders, workspaces, threads, growing
 * lengths, lifetimes and the strings of a plan.
 */
#include "compare.h"
#include "harness.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A case with its plan, arrays and buffers. */
struct scene {
    struct test_case c;
    clattn_plan *plan;
    struct arrays arrays;
    struct harness_buffers buffers;
};

static void open_scene(const struct harness *harness, struct scene *scene, const char *problem, const char *variant)
{
    harness_case(harness, &scene->c, problem, variant);
    scene->plan = harness_plan(harness, &scene->c, variant);
    assert_true(arrays_init(&scene->arrays, &scene->c));
    harness_buffers_create(harness, &scene->arrays, &scene->buffers);
}

static void close_scene(struct scene *scene)
{
    harness_buffers_release(&scene->buffers);
    arrays_free(&scene->arrays);
    clattn_plan_release(scene->plan);
}

/* Reads everything back and compares. */
static void check_scene(const struct harness *harness, struct scene *scene)
{
    harness_read(harness, &scene->buffers, &scene->arrays);
    struct compare_result result = arrays_compare(&scene->arrays, 1, false, false);
    if (!result.passed)
        fail_msg("%s: %s", clattn_plan_name(scene->plan), result.message);
}

/* A run that waits for an event of ours returns at once and completes only after it, on every variant. */
static void a_run_waits_for_its_events(void **state)
{
    const struct harness *harness = *state;

    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct scene scene;
        clattn_error error;
        cl_event event = NULL;
        open_scene(harness, &scene, "b1h2q70k90d20:f32:lse", clattn_attention_variant(n));
        cl_event gates[2] = {harness_gate(harness), harness_gate(harness)};
        clattn_attention_args args = harness_args(scene.plan, &scene.arrays, &scene.buffers);
        harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 2, gates, &event, &error), &error, "run");
        assert_non_null(event);
        assert_int_equal(clFlush(harness->queue), CL_SUCCESS);
        assert_true(harness_event_status(event) > CL_COMPLETE);
        assert_int_equal(clSetUserEventStatus(gates[0], CL_COMPLETE), CL_SUCCESS);
        assert_true(harness_event_status(event) > CL_COMPLETE);
        assert_int_equal(clSetUserEventStatus(gates[1], CL_COMPLETE), CL_SUCCESS);
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        assert_int_equal(harness_event_status(event), CL_COMPLETE);
        check_scene(harness, &scene);
        clReleaseEvent(event);
        clReleaseEvent(gates[0]);
        clReleaseEvent(gates[1]);
        close_scene(&scene);
    }
}

/* A run with nothing to do waits too. */
static void an_empty_run_waits_for_its_events(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    clattn_attention_args args;
    clattn_error error;
    cl_event event = NULL;

    assert_true(case_from_problem("b1h2q0k90d20:f32", &c));
    clattn_plan *plan = harness_plan(harness, &c, NULL);
    cl_event gate = harness_gate(harness);
    clattn_attention_args_init(&args, plan);
    harness_check(clattn_attention_run(plan, harness->queue, &args, 1, &gate, &event, &error), &error, "run");
    assert_int_equal(clFlush(harness->queue), CL_SUCCESS);
    assert_true(harness_event_status(event) > CL_COMPLETE);
    assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
    clReleaseEvent(event);
    clReleaseEvent(gate);
    clattn_plan_release(plan);
}

/*
 * On an out-of-order queue the launches of a run follow one another: many runs at once, each with outputs of its own.
 */
static void queues_out_of_order(void **state)
{
    enum { RUNS = 8 };
    const struct harness *harness = *state;
    cl_command_queue_properties properties = 0;
    cl_int code = CL_SUCCESS;

    assert_int_equal(clGetDeviceInfo(harness->device, CL_DEVICE_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
                     CL_SUCCESS);
    if ((properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) == 0) {
        print_message("this device has no out-of-order queues\n");
        return;
    }
    cl_command_queue queue =
        clCreateCommandQueue(harness->cl_ctx, harness->device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    assert_int_equal(code, CL_SUCCESS);
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct scene scene[RUNS];
        cl_event event[RUNS];
        clattn_error error;
        for (int r = 0; r < RUNS; ++r) {
            open_scene(harness, &scene[r], "b1h2q70k90d20:f32:causal:lse", clattn_attention_variant(n));
            clattn_attention_args args = harness_args(scene[0].plan, &scene[r].arrays, &scene[r].buffers);
            harness_check(clattn_attention_run(scene[0].plan, queue, &args, 0, NULL, &event[r], &error), &error, "run");
        }
        assert_int_equal(clWaitForEvents(RUNS, event), CL_SUCCESS);
        for (int r = 0; r < RUNS; ++r) {
            check_scene(harness, &scene[r]);
            clReleaseEvent(event[r]);
            close_scene(&scene[r]);
        }
    }
    clReleaseCommandQueue(queue);
}

/* The output of one run is the query of the next, on an in-order queue without events and on both with them. */
static void runs_follow_one_another(void **state)
{
    const struct harness *harness = *state;
    struct scene first;
    struct scene second;
    clattn_error error;
    cl_event event = NULL;

    for (int with_event = 0; with_event < 2; ++with_event) {
        open_scene(harness, &first, "b1h2q33k90d20:f32:lse", NULL);
        open_scene(harness, &second, "b1h2q33k90d20:f32:lse", NULL);
        clattn_attention_args args = harness_args(first.plan, &first.arrays, &first.buffers);
        harness_check(
            clattn_attention_run(first.plan, harness->queue, &args, 0, NULL, with_event ? &event : NULL, &error),
            &error, "first");
        clattn_attention_args next = harness_args(second.plan, &second.arrays, &second.buffers);
        next.query = args.output;
        harness_check(clattn_attention_run(second.plan, harness->queue, &next, with_event ? 1 : 0,
                                           with_event ? &event : NULL, NULL, &error),
                      &error, "second");
        check_scene(harness, &first);
        harness_read(harness, &second.buffers, &second.arrays);
        memcpy(arrays_at(&second.arrays, ARRAY_QUERY), arrays_at(&first.arrays, ARRAY_OUTPUT),
               2 * 33 * 20 * sizeof(float)); /* what the second run has read */
        struct compare_result result = arrays_compare(&second.arrays, 1, false, false);
        if (!result.passed)
            fail_msg("second of two runs: %s", result.message);
        if (with_event)
            clReleaseEvent(event);
        close_scene(&first);
        close_scene(&second);
    }
}

/* The caller's workspace, exactly as large as asked for: the same bits, and nothing written around it. */
static void workspaces_of_the_caller(void **state)
{
    const struct harness *harness = *state;

    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct scene scene;
        struct arrays own;
        clattn_error error;
        open_scene(harness, &scene, "b2h2q70k90d20:f32:lse", clattn_attention_variant(n));
        size_t size = clattn_plan_workspace_size(scene.plan);
        clattn_attention_args args = harness_args(scene.plan, &scene.arrays, &scene.buffers);
        harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
        check_scene(harness, &scene);
        assert_true(arrays_copy(&own, &scene.arrays));
        arrays_fill_outputs(&scene.arrays, ARRAY_FILL);
        harness_write(harness, &scene.buffers, &scene.arrays);
        args.workspace = harness_guarded(harness, size);
        harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
        harness_read(harness, &scene.buffers, &scene.arrays);
        assert_true(arrays_same_outputs(&own, &scene.arrays));
        harness_guarded_release(harness, args.workspace, size);
        arrays_free(&own);
        close_scene(&scene);
    }
}

/* One plan for a cache that grows: a query a step, at the position behind the keys so far. */
static void lengths_grow_from_run_to_run(void **state)
{
    const struct harness *harness = *state;

    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct scene scene;
        clattn_error error;
        open_scene(harness, &scene, "b2h4g2q4k150d20:f32:causal@0:lse", clattn_attention_variant(n));
        for (int64_t length = 1; length <= 150; length += length < 66 ? 13 : 21) {
            struct arrays arrays;
            struct harness_buffers buffers;
            struct test_case step = scene.c;
            step.q_len = length % 4 + 1;
            step.kv_len = length;
            step.offset = length - step.q_len;
            assert_true(arrays_init(&arrays, &step));
            harness_buffers_create(harness, &arrays, &buffers);
            clattn_attention_args args = harness_args(scene.plan, &arrays, &buffers);
            harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error), &error,
                          "step");
            harness_read(harness, &buffers, &arrays);
            struct compare_result result = arrays_compare(&arrays, 1, false, false);
            if (!result.passed)
                fail_msg("%s, %d keys: %s", clattn_plan_name(scene.plan), (int)length, result.message);
            harness_buffers_release(&buffers);
            arrays_free(&arrays);
        }
        close_scene(&scene);
    }
}

/* The run's offset is read with ALIGN_OFFSET only. */
static void other_alignments_ignore_the_offset(void **state)
{
    static const char *const problems[] = {"b1h1q20k30d20:f32:causal@top-left:lse",
                                           "b1h1q20k30d20:f32:causal@bottom-right:lse",
                                           "b1h1q20k30d20:f32:window=3,3@top-left:lse", "b1h1q20k30d20:f32:lse"};
    const struct harness *harness = *state;

    for (size_t p = 0; p < sizeof problems / sizeof *problems; ++p)
        for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
            struct scene scene;
            clattn_error error;
            open_scene(harness, &scene, problems[p], clattn_attention_variant(n));
            clattn_attention_args args = harness_args(scene.plan, &scene.arrays, &scene.buffers);
            args.offset = 7;
            harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error), &error,
                          "run");
            check_scene(harness, &scene);
            close_scene(&scene);
        }
}

/* ---- threads and lifetimes ------------------------------------------------------------------------------------ */

enum { THREAD_RUNS = 12 };

struct worker {
    const struct harness *harness;
    clattn_plan *plan; /* shared; NULL: a plan of its own each time */
    clattn_attention_args args;
    cl_mem output;
    size_t size;
    unsigned char *found; /* THREAD_RUNS results */
    const char *problem;
    bool failed;
};

/* No cmocka here: assertions belong to the main thread. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    cl_int code = CL_SUCCESS;
    cl_command_queue queue = clCreateCommandQueue(worker->harness->cl_ctx, worker->harness->device, 0, &code);

    worker->failed = code != CL_SUCCESS;
    for (int r = 0; r < THREAD_RUNS && !worker->failed; ++r) {
        clattn_plan *plan = worker->plan;
        struct test_case c;
        if (plan == NULL)
            worker->failed =
                !case_from_problem(worker->problem, &c) ||
                clattn_attention_plan_create(worker->harness->context, &c.desc, &plan, NULL) != CLATTN_SUCCESS;
        worker->failed = worker->failed ||
                         clattn_attention_run(plan, queue, &worker->args, 0, NULL, NULL, NULL) != CLATTN_SUCCESS ||
                         clEnqueueReadBuffer(queue, worker->output, CL_TRUE, 0, worker->size,
                                             worker->found + (size_t)r * worker->size, 0, NULL, NULL) != CL_SUCCESS;
        if (worker->plan == NULL)
            clattn_plan_release(plan);
    }
    clReleaseCommandQueue(queue);
    return NULL;
}

/* Two threads, each with inputs of its own, on one plan, then each on plans of its own in one context. */
static void threads_share(const struct harness *harness, const char *variant, bool share_plan)
{
    struct scene scene[2];
    struct worker worker[2];
    pthread_t thread[2];

    for (int t = 0; t < 2; ++t) {
        const char *problem = share_plan ? "b1h2q70k90d20:f32:lse"
                              : t == 0   ? "b1h2q70k90d20:f32"
                                         : "b1h2q70k90d20:f32:lse";
        open_scene(harness, &scene[t], problem, variant);
        for (int64_t i = 0; t == 1 && i < 70; ++i)
            arrays_set_row(&scene[t].arrays, ARRAY_QUERY, 0, 0, i, 0.01 * (double)i);
        harness_write(harness, &scene[t].buffers, &scene[t].arrays);
        worker[t] = (struct worker){.harness = harness, .plan = share_plan ? scene[0].plan : NULL, .problem = problem};
        worker[t].args = harness_args(scene[t].plan, &scene[t].arrays, &scene[t].buffers);
        worker[t].output = scene[t].buffers.mem[ARRAY_OUTPUT];
        worker[t].size = scene[t].arrays.block[ARRAY_OUTPUT].size;
        worker[t].found = malloc(THREAD_RUNS * worker[t].size);
        assert_non_null(worker[t].found);
    }
    for (int t = 0; t < 2; ++t)
        assert_int_equal(pthread_create(&thread[t], NULL, work, &worker[t]), 0);
    for (int t = 0; t < 2; ++t)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    for (int t = 0; t < 2; ++t) {
        assert_false(worker[t].failed);
        check_scene(harness, &scene[t]);
        for (int r = 0; r < THREAD_RUNS; ++r)
            assert_memory_equal(worker[t].found + (size_t)r * worker[t].size, scene[t].arrays.block[ARRAY_OUTPUT].bytes,
                                worker[t].size);
        free(worker[t].found);
        close_scene(&scene[t]);
    }
}

static void threads_share_a_plan(void **state)
{
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n)
        threads_share(*state, clattn_attention_variant(n), true);
}

static void threads_share_a_context(void **state)
{
    threads_share(*state, NULL, false);
}

static void a_plan_outlives_its_context(void **state)
{
    const struct harness *harness = *state;
    clattn_context *context = NULL;
    clattn_error error;
    struct scene scene;

    open_scene(harness, &scene, "b1h2q30k30d20:f32:lse", NULL);
    clattn_plan_release(scene.plan);
    harness_check(clattn_context_create(harness->cl_ctx, harness->device, NULL, &context, &error), &error, "context");
    harness_check(clattn_attention_plan_create(context, &scene.c.desc, &scene.plan, &error), &error, "plan");
    clattn_context_release(context);
    clattn_attention_args args = harness_args(scene.plan, &scene.arrays, &scene.buffers);
    harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
    check_scene(harness, &scene);
    close_scene(&scene);
}

/* A plan may go while its run is still waiting: what the queue needs stays. */
static void a_run_outlives_its_plan(void **state)
{
    const struct harness *harness = *state;

    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct scene scene;
        clattn_error error;
        open_scene(harness, &scene, "b1h2q70k90d20:f32:lse", clattn_attention_variant(n));
        cl_event gate = harness_gate(harness);
        clattn_attention_args args = harness_args(scene.plan, &scene.arrays, &scene.buffers);
        harness_check(clattn_attention_run(scene.plan, harness->queue, &args, 1, &gate, NULL, &error), &error, "run");
        clattn_plan_release(scene.plan);
        assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
        assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
        scene.plan = harness_plan(harness, &scene.c, clattn_attention_variant(n));
        check_scene(harness, &scene);
        clReleaseEvent(gate);
        close_scene(&scene);
    }
    clattn_plan_release(NULL);
    clattn_context_release(NULL);
}

/* ---- what a plan says ----------------------------------------------------------------------------------------- */

static void plans_explain_themselves(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    int64_t q_len = 0;
    int64_t kv_len = 0;
    int64_t offset = 0;
    clattn_attention_args args;
    char start[600];
    clattn_error error;
    static const char longest[] =
        "b0h1024g512q1073741823k1073741823d123v124:f32-f16-bf16-f32:window=549755813887,"
        "549755813886@-549755813887:alibi@-549755813887:relative=536870911@-549755813887:softcap=1.1754944e-38:"
        "scale=1.1754944e-38:lengths:paged=1073741823x21474:ragged=q@1073741823:sinks:lse";

    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        const char *variant = clattn_attention_variant(n);
        harness_case(harness, &c, "b1h4g2q33k65d20:bf16:causal@5:lse", variant);
        clattn_plan *plan = harness_plan(harness, &c, variant);
        assert_string_equal(clattn_plan_variant(plan), variant);
        assert_string_equal(clattn_plan_problem(plan), c.name);
        assert_true(strncmp(clattn_plan_name(plan), variant, strlen(variant)) == 0);
        assert_int_equal(clattn_plan_name(plan)[strlen(variant)], '/');
        snprintf(start, sizeof start, "%s -> %s", c.name, clattn_plan_name(plan));
        assert_true(strncmp(clattn_plan_describe(plan), start, strlen(start)) == 0);
        clattn_plan_lengths(plan, &q_len, &kv_len, &offset);
        assert_true(q_len == 33 && kv_len == 65 && offset == 5);
        clattn_plan_lengths(plan, NULL, NULL, NULL);
        clattn_attention_args_init(&args, plan);
        assert_true(args.q_len == 33 && args.kv_len == 65 && args.offset == 5 && args.struct_size == sizeof args);
        clattn_plan_release(plan);
    }
    assert_true(case_from_problem("b1h4g2q33k65d20:f32:lse:scores=weights", &c));
    clattn_plan *plan = harness_plan(harness, &c, "auto");
    assert_string_equal(clattn_plan_variant(plan), "unfused");
    assert_non_null(strchr(clattn_plan_describe(plan), '\n')); /* the others, with their reasons */
    clattn_plan_release(plan);
    assert_true(clattn_attention_variant(0) != NULL && clattn_attention_variant(1000) == NULL);
    harness_check(clattn_attention_desc_parse(longest, &c.desc, &error), &error, longest);
    harness_check(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error), &error, longest);
    assert_string_equal(clattn_plan_problem(plan), longest);
    clattn_plan_release(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_waits_for_its_events),
        cmocka_unit_test(an_empty_run_waits_for_its_events),
        cmocka_unit_test(queues_out_of_order),
        cmocka_unit_test(runs_follow_one_another),
        cmocka_unit_test(workspaces_of_the_caller),
        cmocka_unit_test(lengths_grow_from_run_to_run),
        cmocka_unit_test(other_alignments_ignore_the_offset),
        cmocka_unit_test(threads_share_a_plan),
        cmocka_unit_test(threads_share_a_context),
        cmocka_unit_test(a_plan_outlives_its_context),
        cmocka_unit_test(a_run_outlives_its_plan),
        cmocka_unit_test(plans_explain_themselves),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
