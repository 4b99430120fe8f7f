/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan and a run refuse: status, message, and that nothing has changed afterwards, outputs and the event
 * included.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A small problem with every operand there is, a plan for it and buffers for it; a valid run to begin from. */
struct scene {
    struct test_case c;
    clattn_plan *plan;
    struct arrays arrays;
    struct harness_buffers buffers;
    clattn_attention_args args;
};

static void open_scene(const struct harness *harness, struct scene *scene, const char *problem)
{
    assert_true(case_from_problem(problem, &scene->c));
    scene->plan = harness_plan(harness, &scene->c, "unfused");
    assert_true(arrays_init(&scene->arrays, &scene->c));
    harness_buffers_create(harness, &scene->arrays, &scene->buffers);
    scene->args = harness_args(scene->plan, &scene->arrays, &scene->buffers);
}

static void close_scene(struct scene *scene)
{
    harness_buffers_release(&scene->buffers);
    arrays_free(&scene->arrays);
    clattn_plan_release(scene->plan);
}

#define PROBLEM "b2h2q4k6d8:f32:mask=add:lengths:lse:scores=raw:causal@1"

/* Between them these have every operand. */
static const char *const whole_problems[] = {
    "b2h2q4k6d8:f32:causal@1:alibi@1:relative=2@1:mask=add:lengths:paged=2:sinks:lse:scores=weights",
    "b2h2q4k6d8:f32:ragged=qkv:lse",
};

#define NUM_WHOLE (sizeof whole_problems / sizeof *whole_problems)

/* Runs `args` and expects `status` with all of `words` (separated by |) in the message, and no change anywhere. */
static void refuse(const struct harness *harness, const struct scene *scene, const clattn_attention_args *args,
                   clattn_status status, const char *words)
{
    clattn_error error = {.status = CLATTN_SUCCESS, .message = ""};
    cl_event event = (cl_event)(void *)&error; /* must stay */
    struct arrays after;
    char part[80];

    clattn_status found = clattn_attention_run(scene->plan, harness->queue, args, 0, NULL, &event, &error);
    if (found != status)
        fail_msg("status is %s (%s): expected %s for '%s'", clattn_status_string(found), error.message,
                 clattn_status_string(status), words);
    assert_int_equal(error.status, status);
    assert_ptr_equal(event, (cl_event)(void *)&error);
    for (const char *word = words; *word != '\0'; word += strlen(part), word += *word == '|') {
        snprintf(part, sizeof part, "%.*s", (int)strcspn(word, "|"), word);
        if (strstr(error.message, part) == NULL)
            fail_msg("message is '%s': expected '%s' in it", error.message, part);
    }
    assert_null(strchr(error.message, '\n'));
    assert_int_equal(clattn_attention_run(scene->plan, harness->queue, args, 0, NULL, NULL, NULL), status);
    assert_true(arrays_copy(&after, &scene->arrays));
    harness_read(harness, &scene->buffers, &after);
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (after.block[n].bytes != NULL)
            assert_memory_equal(after.block[n].bytes, scene->arrays.block[n].bytes, after.block[n].size);
    arrays_free(&after);
}

static void accept(const struct harness *harness, const struct scene *scene, const clattn_attention_args *args)
{
    clattn_error error;

    harness_check(clattn_attention_run(scene->plan, harness->queue, args, 0, NULL, NULL, &error), &error, "run");
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    harness_write(harness, &scene->buffers, &scene->arrays);
}

static void misuse(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;
    clattn_error error;
    clattn_attention_args args;

    open_scene(harness, &scene, PROBLEM);
    accept(harness, &scene, &scene.args);
    assert_int_equal(clattn_attention_run(NULL, harness->queue, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "plan"));
    assert_int_equal(clattn_attention_run(scene.plan, NULL, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "queue"));
    assert_int_equal(clattn_attention_run(scene.plan, harness->queue, NULL, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "args"));
    args = scene.args;
    args.struct_size = 0;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_ARGUMENT, "struct_size| 0");
    args.struct_size = sizeof args - 1;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_ARGUMENT, "struct_size");
    close_scene(&scene);
}

static void a_plan_of_another_operation(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;
    clattn_softmax_desc desc;
    clattn_softmax_args softmax_args;
    clattn_plan *softmax = NULL;
    clattn_error error;

    open_scene(harness, &scene, PROBLEM);
    clattn_softmax_desc_init(&desc);
    desc.batch = desc.heads = desc.q_len = desc.kv_len = 1;
    harness_check(clattn_softmax_plan_create(harness->context, &desc, &softmax, &error), &error, "softmax");
    assert_int_equal(clattn_attention_run(softmax, harness->queue, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "softmax"));
    clattn_softmax_args_init(&softmax_args, softmax);
    assert_int_equal(clattn_softmax_run(scene.plan, harness->queue, &softmax_args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "attention"));
    clattn_plan_release(softmax);
    close_scene(&scene);
}

static void lengths_beyond_the_plan(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;

    open_scene(harness, &scene, PROBLEM);
    clattn_attention_args args = scene.args;
    args.q_len = 5;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_len is 5|4");
    args.q_len = -1;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_len is -1");
    args = scene.args;
    args.kv_len = 7;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_len is 7|6");
    args.kv_len = INT64_MIN;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_len is -9223372036854775808");
    args = scene.args;
    args.offset = INT64_MAX; /* any offset is a position */
    accept(harness, &scene, &args);
    args.offset = INT64_MIN;
    accept(harness, &scene, &args);
    close_scene(&scene);
}

static void totals_beyond_the_plan(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;

    open_scene(harness, &scene, "b2h2q4k6d8:f32:ragged=qkv@7,11");
    assert_true(scene.args.q_total == 7 && scene.args.kv_total == 11);
    clattn_attention_args args = scene.args;
    args.q_total = 8;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_total is 8|7");
    args.q_total = -1;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_total is -1");
    args = scene.args;
    args.kv_total = 12;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_total is 12|11");
    args.kv_total = INT64_MIN;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_total is -9223372036854775808");
    args.kv_total = 0; /* no keys at all; there need be no buffers then */
    args.key = args.value = (clattn_buffer){0};
    accept(harness, &scene, &args);
    close_scene(&scene);
    open_scene(harness, &scene, PROBLEM); /* where nothing is packed totals are ignored */
    args = scene.args;
    args.q_total = args.kv_total = 99;
    accept(harness, &scene, &args);
    close_scene(&scene);
}

/* Rows are counted modulo the capacity, which is the plan's. */
static void circular_runs_below_the_capacity(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;

    open_scene(harness, &scene, "b2h2q4k6d8:f32:lengths:circular");
    clattn_attention_args args = scene.args;
    args.kv_len = 5;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_len is 5|6|circular");
    args.kv_len = 0;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_len is 0");
    args.kv_len = 7;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "kv_len is 7");
    args.kv_len = 6;
    args.q_len = 1;
    accept(harness, &scene, &args);
    close_scene(&scene);
}

/* What may be wrong with the buffer of one operand. */
static void refuse_buffers(const struct harness *harness, const struct scene *scene, enum array_operand operand)
{
    const struct array *array = &scene->arrays.array[operand];
    const char *name = array_names[operand];
    size_t size = scene->arrays.block[array->block].size;
    size_t bytes = (size_t)oracle_span(array->strides, array->extent) * array->element;
    clattn_attention_args args = scene->args;
    clattn_buffer *buffer = arrays_slot(&args, operand);
    const clattn_buffer good = *buffer;

    memset(buffer, 0, sizeof *buffer);
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
    *buffer = good;
    buffer->kind = (clattn_buffer_kind)7;
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
    *buffer = good;
    buffer->offset = size - bytes; /* the last place at which it fits */
    accept(harness, scene, &args);
    buffer->offset += array->element;
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
    buffer->offset = size + array->element;
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
    buffer->offset = SIZE_MAX - array->element + 1;
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
    buffer->offset = good.offset + array->element / 2;
    refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, name);
}

static void buffers_that_do_not_hold_their_tensor(void **state)
{
    const struct harness *harness = *state;
    bool seen[NUM_ARRAYS] = {false};

    for (size_t p = 0; p < NUM_WHOLE; ++p) {
        struct scene scene;
        open_scene(harness, &scene, whole_problems[p]);
        for (int n = 0; n < NUM_ARRAYS; ++n)
            if (scene.arrays.array[n].present) {
                refuse_buffers(harness, &scene, (enum array_operand)n);
                seen[n] = true;
            }
        close_scene(&scene);
    }
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (!seen[n])
            fail_msg("no problem has %s", array_names[n]);
}

/* Outputs that share a byte with anything; inputs may share all of theirs. */
static void refuse_overlaps(const struct harness *harness, const struct scene *scene, cl_mem pool)
{
    for (int out = 0; out < NUM_ARRAYS; ++out)
        for (int other = 0; other < NUM_ARRAYS; ++other) {
            const struct array *array = &scene->arrays.array[other];
            size_t bytes = (size_t)oracle_span(array->strides, array->extent) * array->element;
            clattn_attention_args args = scene->args;
            if (other == out || !array->present || !scene->arrays.array[out].written ||
                !scene->arrays.array[out].present)
                continue;
            clattn_buffer *output = arrays_slot(&args, (enum array_operand)out);
            *arrays_slot(&args, (enum array_operand)other) = (clattn_buffer){.mem = pool, .offset = 4096};
            *output = (clattn_buffer){.mem = pool, .offset = 4096};
            refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, "share");
            output->offset = 4096 + bytes - 4; /* its last four bytes */
            refuse(harness, scene, &args, CLATTN_ERROR_INVALID_BUFFER, array_names[out]);
            output->offset = 4096 + bytes;
            accept(harness, scene, &args);
        }
    clattn_attention_args args = scene->args;
    args.value = args.key = args.query = (clattn_buffer){.mem = pool};
    accept(harness, scene, &args);
}

static void outputs_that_overlap(void **state)
{
    const struct harness *harness = *state;
    cl_int code = CL_SUCCESS;
    cl_mem pool = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, 1 << 16, NULL, &code);

    assert_int_equal(code, CL_SUCCESS);
    for (size_t p = 0; p < NUM_WHOLE; ++p) {
        struct scene scene;
        open_scene(harness, &scene, whole_problems[p]);
        refuse_overlaps(harness, &scene, pool);
        close_scene(&scene);
    }
    clReleaseMemObject(pool);
}

/* Sub-buffers of one memory object are looked through. */
static void overlap_through_sub_buffers(void **state)
{
    const struct harness *harness = *state;
    cl_buffer_region front = {.origin = 0, .size = 8192};
    cl_buffer_region back = {.origin = 4096, .size = 8192};
    struct scene scene;
    cl_int code[3];

    open_scene(harness, &scene, PROBLEM);
    cl_mem pool = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, 1 << 16, NULL, &code[0]);
    cl_mem first = clCreateSubBuffer(pool, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &front, &code[1]);
    cl_mem second = clCreateSubBuffer(pool, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &back, &code[2]);
    assert_true(code[0] == CL_SUCCESS && code[1] == CL_SUCCESS && code[2] == CL_SUCCESS);
    clattn_attention_args args = scene.args;
    args.query = (clattn_buffer){.mem = first, .offset = 4096};
    args.output = (clattn_buffer){.mem = second, .offset = 0};
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "output|query");
    args.query.mem = pool;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "output|query");
    args.output.offset = 4096;
    accept(harness, &scene, &args);
    clReleaseMemObject(second);
    clReleaseMemObject(first);
    clReleaseMemObject(pool);
    close_scene(&scene);
}

/* [batch, length, heads, dim] with two heads in one buffer: what lies between the elements of an output is free. */
static void outputs_between_other_tensors(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    struct arrays arrays;
    struct harness_buffers buffers;
    clattn_error error;

    assert_true(case_from_problem("b1h1q4k4d8:f32", &c));
    c.desc.query.strides[0] = c.desc.output.strides[0] = 64;
    c.desc.query.strides[1] = c.desc.output.strides[1] = 8;
    c.desc.query.strides[2] = c.desc.output.strides[2] = 16; /* query and output take turns, row by row */
    c.desc.query.strides[3] = c.desc.output.strides[3] = 1;
    clattn_plan *plan = harness_plan(harness, &c, NULL);
    assert_true(arrays_init(&arrays, &c));
    harness_buffers_create(harness, &arrays, &buffers);
    clattn_attention_args args = harness_args(plan, &arrays, &buffers);
    args.output = args.query;
    assert_int_equal(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    args.output.offset += 4;
    assert_int_equal(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    args.output.offset = args.query.offset + 32;
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "interleaved");
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    harness_buffers_release(&buffers);
    arrays_free(&arrays);
    clattn_plan_release(plan);
}

static void workspaces_that_do_not_fit(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;

    open_scene(harness, &scene, PROBLEM);
    size_t size = clattn_plan_workspace_size(scene.plan);
    assert_true(size > 0);
    cl_int code = CL_SUCCESS;
    cl_mem space = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, 256 + size, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    clattn_attention_args args = scene.args;
    args.workspace = (clattn_buffer){.mem = space, .offset = 256};
    accept(harness, &scene, &args);
    args.workspace.offset = 128;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "workspace|256");
    args.workspace.offset = 512;
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "workspace");
    args.workspace = (clattn_buffer){.mem = args.query.mem, .offset = 0};
    refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "workspace");
    clReleaseMemObject(space);
    close_scene(&scene);
}

static void objects_of_another_context(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;
    clattn_error error;
    cl_int code[3];

    open_scene(harness, &scene, whole_problems[0]);
    cl_context other = clCreateContext(NULL, 1, &harness->device, NULL, NULL, &code[0]);
    cl_command_queue queue = clCreateCommandQueue(other, harness->device, 0, &code[1]);
    cl_mem mem = clCreateBuffer(other, CL_MEM_READ_WRITE, 1 << 16, NULL, &code[2]);
    assert_true(code[0] == CL_SUCCESS && code[1] == CL_SUCCESS && code[2] == CL_SUCCESS);
    assert_int_equal(clattn_attention_run(scene.plan, queue, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "queue"));
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        clattn_attention_args args = scene.args;
        if (!scene.arrays.array[n].present)
            continue;
        arrays_slot(&args, (enum array_operand)n)->mem = mem;
        arrays_slot(&args, (enum array_operand)n)->offset = 0;
        refuse(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, array_names[n]);
    }
    clReleaseMemObject(mem);
    clReleaseCommandQueue(queue);
    clReleaseContext(other);
    close_scene(&scene);
}

static void wait_lists_that_do_not_match(void **state)
{
    const struct harness *harness = *state;
    struct scene scene;
    clattn_error error;
    cl_event marker = NULL;

    open_scene(harness, &scene, PROBLEM);
    assert_int_equal(clEnqueueMarkerWithWaitList(harness->queue, 0, NULL, &marker), CL_SUCCESS);
    assert_int_equal(clattn_attention_run(scene.plan, harness->queue, &scene.args, 1, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "wait_list"));
    assert_int_equal(clattn_attention_run(scene.plan, harness->queue, &scene.args, 0, &marker, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "wait_list"));
    clReleaseEvent(marker);
    close_scene(&scene);
}

static void plans_that_cannot_be(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    clattn_plan *plan = (clattn_plan *)(void *)&c; /* must stay */
    clattn_error error;

    assert_true(case_from_problem("b1h2q4k6d8:f32", &c));
    assert_int_equal(clattn_attention_plan_create(NULL, &c.desc, &plan, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_attention_plan_create(harness->context, NULL, &plan, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    c.desc.struct_size = 8;
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "struct_size"));
    c.desc.struct_size = sizeof c.desc;
    c.desc.kv_heads = 3;
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error),
                     CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "kv_heads is 3"));
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, NULL), CLATTN_ERROR_INVALID_VALUE);
    c.desc.kv_heads = 2;
    c.desc.variant = "no_such_variant";
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error), CLATTN_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no_such_variant"));
    assert_ptr_equal(plan, (clattn_plan *)(void *)&c);
}

/* Refusals of the problem come with the field for every way to ask. More of them in the test of the problem layer. */
static void a_problem_beyond_memory(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};

    /* One row of scores of 4 GiB: less than no device can hold, more than most allocate at once. */
    assert_true(case_from_problem("b1h1q1k1073741824d1:f32", &c));
    c.desc.variant = "unfused";
    clattn_status status = clattn_attention_plan_create(harness->context, &c.desc, &plan, &error);
    if (harness->info.largest_buffer < UINT64_C(4) << 30) {
        assert_int_equal(status, CLATTN_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_true(error.message[0] != '\0');
    }
    clattn_plan_release(plan);
}

/* Variants that number the rows of many heads together leave those that an int cannot number to others. */
static void rows_beyond_int(void **state)
{
    static const char *const packing[] = {"split_kv", "split_kv_vector"};
    const struct harness *harness = *state;
    struct test_case c;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};

    assert_true(case_from_problem("b1h1073741824g1q2k1d1:f16", &c));
    for (size_t n = 0; n < sizeof packing / sizeof *packing; ++n) {
        c.desc.variant = packing[n];
        assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error),
                         CLATTN_ERROR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "2147483648 rows"));
    }
    c.desc.variant = NULL;
    harness_check(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error), &error, c.name);
    clattn_plan_release(plan);
}

/* Of all variants' reasons the one that says what is wrong with the problem, not what another is not made for. */
static void the_reason_is_of_the_variant_that_matters(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};

    assert_true(case_from_problem("b1h1q33554432k33554432d8:f32:scores=weights", &c));
    assert_int_equal(clattn_attention_plan_create(harness->context, &c.desc, &plan, &error), CLATTN_ERROR_UNSUPPORTED);
    assert_string_equal(error.message, "unfused: the problem is too large: it takes more than 4294967295 work-groups");
    assert_null(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misuse),
        cmocka_unit_test(a_plan_of_another_operation),
        cmocka_unit_test(lengths_beyond_the_plan),
        cmocka_unit_test(totals_beyond_the_plan),
        cmocka_unit_test(circular_runs_below_the_capacity),
        cmocka_unit_test(buffers_that_do_not_hold_their_tensor),
        cmocka_unit_test(outputs_that_overlap),
        cmocka_unit_test(overlap_through_sub_buffers),
        cmocka_unit_test(outputs_between_other_tensors),
        cmocka_unit_test(workspaces_that_do_not_fit),
        cmocka_unit_test(objects_of_another_context),
        cmocka_unit_test(wait_lists_that_do_not_match),
        cmocka_unit_test(plans_that_cannot_be),
        cmocka_unit_test(a_problem_beyond_memory),
        cmocka_unit_test(rows_beyond_int),
        cmocka_unit_test(the_reason_is_of_the_variant_that_matters),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
