/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How runs of a layer behave around the arithmetic: queues, events, workspaces, threads, lifetimes, the strings of its
 * plan; and what plans and runs refuse.
 */
#include "layers.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SELF  CLATTN_LAYER_SELF
#define CROSS CLATTN_LAYER_CROSS
#define KEY   CLATTN_LAYER_KEY

/* Lengths of the run are the plan's. */
#define WHOLE .q_len = -1, .kv_len = -1

static const struct layer_case busy = {"b2h4g2q33k70d16:f32:lengths", CROSS, 40, 28, .bias = 1, WHOLE};

/* On queues of both orders: a run returns at once, begins after its wait list and ends with its event. */
static void runs_wait_for_events(void **state)
{
    const struct harness *harness = *state;
    cl_command_queue_properties properties = 0;

    assert_int_equal(clGetDeviceInfo(harness->device, CL_DEVICE_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
                     CL_SUCCESS);
    for (int out_of_order = 0; out_of_order < 2; ++out_of_order) {
        struct layer_scene scene[3];
        cl_event event[3];
        clattn_error error;
        cl_int code = CL_SUCCESS;
        if (out_of_order && (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) == 0) {
            print_message("this device has no out-of-order queues\n");
            break;
        }
        cl_command_queue queue = clCreateCommandQueue(harness->cl_ctx, harness->device,
                                                      out_of_order ? CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE : 0, &code);
        assert_int_equal(code, CL_SUCCESS);
        cl_event gate = harness_gate(harness);
        for (int r = 0; r < 3; ++r) {
            layer_describe(&scene[r], &busy);
            layer_open(harness, &scene[r]);
            harness_check(clattn_layer_run(scene[0].plan, queue, &scene[r].args, 1, &gate, &event[r], &error), &error,
                          "run");
        }
        assert_int_equal(clFlush(queue), CL_SUCCESS);
        for (int r = 0; r < 3; ++r)
            assert_true(harness_event_status(event[r]) > CL_COMPLETE);
        assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
        assert_int_equal(clWaitForEvents(3, event), CL_SUCCESS);
        for (int r = 0; r < 3; ++r) {
            assert_int_equal(harness_event_status(event[r]), CL_COMPLETE);
            layer_read(harness, &scene[r]);
            layer_check(&scene[r]);
            clReleaseEvent(event[r]);
        }
        clReleaseEvent(gate);
        for (int r = 0; r < 3; ++r)
            layer_close(&scene[r]);
        clReleaseCommandQueue(queue);
    }
}

/* The caller's workspace, exactly as large as asked for: the same bits, and nothing written around it. */
static void workspaces_of_the_caller(void **state)
{
    static const char *const variants[] = {NULL, "unfused"}; /* the second has a workspace of its own */
    const struct harness *harness = *state;

    for (size_t v = 0; v < sizeof variants / sizeof *variants; ++v) {
        struct layer_scene scene;
        layer_describe(&scene, &busy);
        scene.attention.variant = variants[v];
        layer_open(harness, &scene);
        size_t size = clattn_plan_workspace_size(scene.plan);
        assert_true(size >= 4 * 2 * (33 * 4 + 2 * 70 * 2 + 33 * 4) * 16);
        layer_run(harness, &scene);
        layer_check(&scene);
        struct tensor *output = &scene.t[LAYER_OUTPUT];
        unsigned char *first = malloc(output->bytes);
        assert_non_null(first);
        memcpy(first, output->data, output->bytes);
        memset(output->data, ARRAY_FILL, output->bytes);
        assert_int_equal(
            clEnqueueWriteBuffer(harness->queue, output->mem, CL_TRUE, 0, output->bytes, output->data, 0, NULL, NULL),
            CL_SUCCESS);
        scene.args.workspace = harness_guarded(harness, size);
        layer_run(harness, &scene);
        assert_memory_equal(first, output->data, output->bytes);
        free(first);
        harness_guarded_release(harness, scene.args.workspace, size);
        layer_close(&scene);
    }
}

enum { THREAD_RUNS = 12 };

struct worker {
    const struct harness *harness;
    clattn_plan *plan;
    clattn_layer_args args;
    const struct tensor *output;
    unsigned char *found; /* THREAD_RUNS results */
    bool failed;
};

/* No cmocka here: assertions belong to the main thread. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    const size_t bytes = worker->output->bytes;
    cl_int code = CL_SUCCESS;
    cl_command_queue queue = clCreateCommandQueue(worker->harness->cl_ctx, worker->harness->device, 0, &code);

    worker->failed = code != CL_SUCCESS;
    for (int r = 0; r < THREAD_RUNS && !worker->failed; ++r)
        worker->failed = clattn_layer_run(worker->plan, queue, &worker->args, 0, NULL, NULL, NULL) != CLATTN_SUCCESS ||
                         clEnqueueReadBuffer(queue, worker->output->mem, CL_TRUE, 0, bytes,
                                             worker->found + (size_t)r * bytes, 0, NULL, NULL) != CL_SUCCESS;
    if (code == CL_SUCCESS)
        clReleaseCommandQueue(queue);
    return NULL;
}

/* Two threads on one plan, with operands, lengths and queues of their own. */
static void threads_share_a_plan(void **state)
{
    const struct harness *harness = *state;
    struct layer_scene scene[2];
    struct worker worker[2];
    pthread_t thread[2];

    for (int t = 0; t < 2; ++t) {
        struct layer_case c = busy;
        c.q_len = t == 0 ? 33 : 20;
        c.kv_len = t == 0 ? 70 : 41;
        layer_describe(&scene[t], &c);
        layer_open(harness, &scene[t]);
        worker[t] = (struct worker){harness, scene[0].plan, scene[t].args, &scene[t].t[LAYER_OUTPUT], NULL, false};
        worker[t].found = malloc(THREAD_RUNS * worker[t].output->bytes);
        assert_non_null(worker[t].found);
    }
    for (int t = 0; t < 2; ++t)
        assert_int_equal(pthread_create(&thread[t], NULL, work, &worker[t]), 0);
    for (int t = 0; t < 2; ++t)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    for (int t = 0; t < 2; ++t) {
        assert_false(worker[t].failed);
        layer_read(harness, &scene[t]);
        layer_check(&scene[t]);
        for (int r = 0; r < THREAD_RUNS; ++r)
            assert_memory_equal(worker[t].found + (size_t)r * worker[t].output->bytes, worker[t].output->data,
                                worker[t].output->bytes);
        free(worker[t].found);
        layer_close(&scene[t]);
    }
}

/* Released while its run is still waiting. */
static void a_run_outlives_its_plan(void **state)
{
    const struct harness *harness = *state;
    struct layer_scene scene;
    clattn_error error;

    layer_describe(&scene, &busy);
    layer_open(harness, &scene);
    cl_event gate = harness_gate(harness);
    harness_check(clattn_layer_run(scene.plan, harness->queue, &scene.args, 1, &gate, NULL, &error), &error, "run");
    clattn_plan_release(scene.plan);
    scene.plan = NULL;
    assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    layer_read(harness, &scene);
    harness_check(clattn_layer_plan_create(harness->context, &scene.desc, &scene.plan, &error), &error, "plan");
    layer_check(&scene);
    clReleaseEvent(gate);
    layer_close(&scene);
}

static void plans_explain_themselves(void **state)
{
    static const char *const parts[] = {"\nw_q: linear ", "\nw_k: linear ", "\nw_v: linear ", "\nattention: b2h4g2q33",
                                        "\nw_o: linear "};
    const struct harness *harness = *state;
    const struct layer_case packed = {"b1h2q4k4d8:f16", SELF, 16, .packed = 1, .output = CLATTN_BF16, WHOLE};
    struct layer_scene scene;

    layer_describe(&scene, &busy);
    layer_open(harness, &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "layer cross 40,28->40:f32:bias b2h4g2q33k70d16:f32:lengths");
    assert_true(strncmp(clattn_plan_name(scene.plan), "layer/", 6) == 0);
    const char *line = clattn_plan_describe(scene.plan);
    assert_true(strncmp(line, clattn_plan_problem(scene.plan), strlen(clattn_plan_problem(scene.plan))) == 0);
    for (size_t n = 0; n < sizeof parts / sizeof *parts; ++n) {
        line = strstr(line, parts[n]);
        assert_non_null(line);
    }
    assert_true(line[strlen(line) - 1] == '\n');
    layer_close(&scene);

    layer_describe(&scene, &packed);
    layer_open(harness, &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "layer packed 16->16:f32-f32-bf16 b1h2q4k4d8:f16");
    assert_non_null(strstr(clattn_plan_describe(scene.plan), "\nw_qkv: linear "));
    layer_close(&scene);
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static void refuse_plan(const struct harness *harness, const struct layer_scene *scene, clattn_status status,
                        const char *message)
{
    clattn_error error = {.message = ""};
    clattn_plan *plan = NULL;
    clattn_status found = clattn_layer_plan_create(harness->context, &scene->desc, &plan, &error);

    if (found != status || strstr(error.message, message) == NULL)
        fail_msg("%s: '%s': expected %s: '%s'", clattn_status_string(found), error.message,
                 clattn_status_string(status), message);
    assert_null(plan);
    assert_null(strchr(error.message, '\n'));
}

static void plans_refuse(void **state)
{
    static const struct {
        struct layer_case c;
        const char *message;
    } wrong[] = {
        {{"b1h2q5k6d8:f32", SELF, 16, WHOLE}, "attention: kv_len is 6: expected q_len (5) with CLATTN_LAYER_SELF"},
        {{"b1h2q5k6d8:f32", KEY, 16, WHOLE}, "attention: kv_len is 6: expected q_len (5) with CLATTN_LAYER_KEY"},
        {{"b1h2q5k5d8:f32", CROSS, 16, .packed = 1}, "packed is set and inputs is 1 (cross): expected 0 (self)"},
        {{"b1h2q5k5d8:f32", KEY, 16, .packed = 1}, "packed is set and inputs is 2 (key): expected 0 (self)"},
        {{"b1h2q5k5d8:f16-f32-f16-f16", SELF, 16, .packed = 1},
         "attention: query, key and value are f16, f32 and f16: expected one type with packed weights"},
        {{"b1h2q5k5d8:f32", (clattn_layer_inputs)3, 16, WHOLE}, "inputs is 3: expected a clattn_layer_inputs, 0 to 2"},
        {{"b1h2q5k5d8:f32", SELF, 0, WHOLE}, "width is 0: expected 1 or more"},
        {{"b1h2q5k5d8:f32", SELF, -4, WHOLE}, "width is -4: expected 1 or more"},
        {{"b1h2q5k5d8:f32", CROSS, 16, -1, WHOLE}, "context_width is -1: expected 0 or more"},
        {{"b1h2q5k5d8:f32", SELF, 16, .output_width = -1}, "output_width is -1: expected 0 or more"},
        {{"b1h2q5k5d8:f32", SELF, 16, .weight = CLATTN_BOOL}, "weight is 3 (bool): expected f32, f16 or bf16"},
        {{"b1h2q5k5d8:f32", SELF, 16, .input = CLATTN_BOOL}, "input.dtype is 3 (bool): expected f32, f16 or bf16"},
        {{"b1h2q5k5d8:f32", CROSS, 16, .context = CLATTN_BOOL}, "context.dtype is 3 (bool)"},
        {{"b1h2q5k5d8:f32", SELF, 16, .output = CLATTN_BOOL}, "output.dtype is 3 (bool)"},
        {{"b1h0q5k5d8:f32", SELF, 16, WHOLE}, "attention: q_heads is 0: expected 1 or more"},
    };
    const struct harness *harness = *state;
    struct layer_scene scene;
    clattn_error error;

    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; ++n) {
        layer_describe(&scene, &wrong[n].c);
        refuse_plan(harness, &scene, CLATTN_ERROR_INVALID_VALUE, wrong[n].message);
    }

    const struct layer_case good = {"b1h6q5k5d8:f32", SELF, 16, WHOLE};
#define REFUSED(change, status, message)                                                                               \
    do {                                                                                                               \
        layer_describe(&scene, &good);                                                                                 \
        change;                                                                                                        \
        refuse_plan(harness, &scene, status, message);                                                                 \
    } while (0)
#define WRONG(change, message) REFUSED(change, CLATTN_ERROR_INVALID_VALUE, message)
    WRONG(scene.attention.kv_heads = 5, "attention: kv_heads is 5: expected a divisor of q_heads (6)");
    WRONG(scene.attention.head_dim = 0, "attention: head_dim is 0: expected 1 or more");
    WRONG(scene.attention.softcap = -1.0f, "attention: softcap is -1");
    WRONG((scene.attention.mask_kind = CLATTN_MASK_ADDITIVE, scene.attention.mask_shape[0] = 1,
           scene.attention.mask_shape[1] = 1, scene.attention.mask_shape[2] = 5, scene.attention.mask_shape[3] = 4),
          "attention: mask_shape[3] is 4: the mask covers 4 of kv_len (5) keys");
    WRONG(scene.attention.key.strides[2] = 8, "attention: key.strides");
    WRONG(scene.attention.output.strides[3] = 1, "attention: output.strides[3] is 1: expected 0");
    WRONG(scene.attention.head_dim = (int64_t)1 << 29,
          "attention: q_heads is 6 and head_dim is 536870912: expected a product of at most");
    WRONG(scene.attention.value_dim = (int64_t)1 << 29, "q_heads is 6 and value_dim is 536870912");
    WRONG(scene.desc.output.strides[3] = 1, "output.strides[2] is 0: expected at least 1,");
    WRONG(scene.desc.input.strides[2] = -1, "input.strides[2] is -1: expected 0 or more");
    REFUSED(scene.attention.variant = "swift", CLATTN_ERROR_UNSUPPORTED, "attention: variant is \"swift\"");
    REFUSED(scene.desc.attention = NULL, CLATTN_ERROR_INVALID_ARGUMENT, "attention is NULL");
    REFUSED(scene.desc.struct_size = 8, CLATTN_ERROR_INVALID_ARGUMENT, "clattn_layer_desc.struct_size is 8");
    REFUSED(scene.attention.struct_size = 8, CLATTN_ERROR_INVALID_ARGUMENT, "attention: clattn_attention_desc.struct");
    REFUSED((scene.attention.q_len = scene.attention.kv_len = 1 << 29, scene.attention.head_dim = 1 << 20),
            CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "the projected tensors have");
    /* Four projected tensors fill the largest buffer, but for a row or two: what attention needs does not fit. */
    REFUSED((scene.attention.variant = "unfused", scene.attention.q_len = scene.attention.kv_len = 2000,
             scene.attention.head_dim = scene.attention.value_dim =
                 (int64_t)(harness->info.largest_buffer / (4 * 4 * 2000)) / scene.attention.q_heads,
             scene.attention.kv_heads = scene.attention.q_heads),
            CLATTN_ERROR_OUT_OF_DEVICE_MEMORY, "and a part needs");
    assert_int_equal(clattn_layer_plan_create(harness->context, NULL, &scene.plan, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_layer_plan_create(NULL, &scene.desc, &scene.plan, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_layer_plan_create(harness->context, &scene.desc, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
}

static void refuse_run(const struct harness *harness, struct layer_scene *scene, const clattn_layer_args *args,
                       clattn_status status, const char *message)
{
    clattn_error error = {.message = ""};
    cl_event event = (cl_event)(void *)&error; /* must stay */
    clattn_status found = clattn_layer_run(scene->plan, harness->queue, args, 0, NULL, &event, &error);

    if (found != status || strstr(error.message, message) == NULL)
        fail_msg("%s: '%s': expected %s: '%s'", clattn_status_string(found), error.message,
                 clattn_status_string(status), message);
    assert_ptr_equal(event, (cl_event)(void *)&error);
    int64_t q_len = scene->args.q_len;
    scene->args.q_len = 0; /* no element of an output is to change */
    layer_read(harness, scene);
    scene->args.q_len = q_len;
}

/* Each operand missing, too small and overlapping the output; lengths; other misuse. Nothing changes. */
static void runs_refuse(void **state)
{
    static const struct layer_case cases[] = {
        {"b1h2q5k9d8:f32:mask=add:lengths:dropout=0.5:lse:scores=weights", CROSS, 16, 12, .bias = 1, WHOLE},
        {"b1h2q5k5d8:f32", SELF, 16, .packed = 1, .bias = 1, WHOLE},
        {"b1h2q5k5d8:f32", KEY, 16, WHOLE},
    };
    const struct harness *harness = *state;
    struct layer_scene scene;
    clattn_layer_args args;
    char message[64];

    for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
        layer_describe(&scene, &cases[c]);
        layer_open(harness, &scene);
        for (int n = 0; n < LAYER_NUM_OPERANDS; ++n) {
            if (scene.t[n].data == NULL)
                continue;
            args = scene.args;
            *layer_slot(&args, (enum layer_operand)n) = (clattn_buffer){0};
            snprintf(message, sizeof message, "buffer %s is missing", layer_operand_names[n]);
            refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, message);
            args = scene.args;
            layer_slot(&args, (enum layer_operand)n)->offset += 4 * (TENSOR_ROOM + 1);
            snprintf(message, sizeof message, "buffer %s has ", layer_operand_names[n]);
            refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, message);
            if (n == LAYER_OUTPUT || scene.t[n].bytes < scene.t[LAYER_OUTPUT].bytes)
                continue;
            args = scene.args;
            args.output = *layer_slot(&args, (enum layer_operand)n);
            refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "shares bytes with");
        }
        args = scene.args;
        args.q_len = args.kv_len = 6;
        refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_len is 6: expected 0 to the plan's 5");
        args.q_len = args.kv_len = -1;
        refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_len is -1");
        args = scene.args;
        args.struct_size = 8;
        refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_ARGUMENT, "clattn_layer_args.struct_size is 8");
        args = scene.args;
        args.workspace = args.input;
        args.workspace.offset = 0;
        refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer workspace has");
        args = scene.args;
        args.dropout_seed_set = 0;
        if (scene.attention.dropout > 0.0F)
            refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "dropout_seed is missing");
        args = scene.args;
        args.kv_len = 4;
        if (cases[c].inputs == KEY)
            refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE,
                       "kv_len is 4: expected q_len (5) with CLATTN_LAYER_KEY");
        layer_close(&scene);
    }
}

/* A workspace may hold nothing else. */
static void workspaces_hold_nothing_else(void **state)
{
    const struct harness *harness = *state;
    struct layer_scene scene;
    cl_int code = CL_SUCCESS;

    layer_describe(&scene, &busy);
    layer_open(harness, &scene);
    size_t size = clattn_plan_workspace_size(scene.plan);
    cl_mem space = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, size + 65536, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    clattn_layer_args args = scene.args;
    args.workspace = (clattn_buffer){.mem = space};
    args.output = (clattn_buffer){.mem = space, .offset = size - 4};
    refuse_run(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer workspace shares bytes with output");
    clReleaseMemObject(space);
    layer_close(&scene);
}

static void plans_of_other_operations(void **state)
{
    const struct harness *harness = *state;
    struct layer_scene scene;
    clattn_plan *plan = NULL;
    clattn_attention_args args;
    clattn_error error;

    layer_describe(&scene, &busy);
    layer_open(harness, &scene);
    clattn_attention_args_init(&args, scene.plan);
    assert_int_equal(clattn_attention_run(scene.plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "plan is one of layer: expected one of attention"));
    harness_check(clattn_attention_plan_create(harness->context, &scene.attention, &plan, &error), &error, "plan");
    assert_int_equal(clattn_layer_run(plan, harness->queue, &scene.args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "plan is one of attention: expected one of layer"));
    clattn_plan_release(plan);
    layer_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_wait_for_events),
        cmocka_unit_test(workspaces_of_the_caller),
        cmocka_unit_test(threads_share_a_plan),
        cmocka_unit_test(a_run_outlives_its_plan),
        cmocka_unit_test(plans_explain_themselves),
        cmocka_unit_test(plans_refuse),
        cmocka_unit_test(runs_refuse),
        cmocka_unit_test(workspaces_hold_nothing_else),
        cmocka_unit_test(plans_of_other_operations),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
