/* SPDX-License-Identifier: Apache-2.0 */
/* Implements harness.h. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int harness_setup(void **state)
{
    struct harness *harness = calloc(1, sizeof *harness);
    clattn_error error;
    cl_int code = CL_SUCCESS;

    if (harness == NULL)
        return -1;
    *state = harness;
    if (clattn_context_create_default(NULL, NULL, &harness->context, &error) != CLATTN_SUCCESS) {
        print_error("no device to test on: %s\n", error.message);
        return -1;
    }
    harness->cl_ctx = clattn_context_cl_context(harness->context);
    harness->device = clattn_context_cl_device(harness->context);
    harness->queue = clCreateCommandQueue(harness->cl_ctx, harness->device, 0, &code);
    clattn_device_info_init(&harness->info);
    if (code != CL_SUCCESS || clattn_device_query(harness->device, &harness->info, &error) != CLATTN_SUCCESS)
        return -1;
    print_message("device: %s, driver %s\n", harness->info.name, harness->info.driver);
    return 0;
}

bool harness_asks(const char *share)
{
    struct test_case named = {.program = 0};

    snprintf(named.name, sizeof named.name, "%s", share);
    return case_matches(&named, 0, getenv("CLATTN_CASES"));
}

int harness_teardown(void **state)
{
    struct harness *harness = *state;

    clReleaseCommandQueue(harness->queue);
    clattn_context_release(harness->context);
    free(harness);
    return 0;
}

void harness_check(clattn_status status, const clattn_error *error, const char *what)
{
    if (status != CLATTN_SUCCESS)
        fail_msg("%s: %s: %s", what, clattn_status_string(status), error->message);
}

cl_event harness_gate(const struct harness *harness)
{
    cl_int code = CL_SUCCESS;
    cl_event gate = clCreateUserEvent(harness->cl_ctx, &code);

    assert_int_equal(code, CL_SUCCESS);
    return gate;
}

cl_int harness_event_status(cl_event event)
{
    cl_int status = -1;

    assert_int_equal(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL),
                     CL_SUCCESS);
    return status;
}

enum { GUARD = 512, GUARD_FILL = 0x77 };

clattn_buffer harness_guarded(const struct harness *harness, size_t bytes)
{
    cl_int code = CL_SUCCESS;
    unsigned char *fill = malloc(bytes + 2 * GUARD);

    assert_non_null(fill);
    memset(fill, GUARD_FILL, bytes + 2 * GUARD);
    cl_mem mem =
        clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes + 2 * GUARD, fill, &code);
    assert_int_equal(code, CL_SUCCESS);
    free(fill);
    return (clattn_buffer){.mem = mem, .offset = GUARD};
}

void harness_guarded_release(const struct harness *harness, clattn_buffer buffer, size_t bytes)
{
    unsigned char guard[GUARD];

    for (int end = 0; end < 2; ++end) {
        assert_int_equal(clEnqueueReadBuffer(harness->queue, buffer.mem, CL_TRUE, end == 0 ? 0 : GUARD + bytes, GUARD,
                                             guard, 0, NULL, NULL),
                         CL_SUCCESS);
        for (int byte = 0; byte < GUARD; ++byte)
            assert_int_equal(guard[byte], GUARD_FILL);
    }
    clReleaseMemObject(buffer.mem);
}

void harness_buffers_create(const struct harness *harness, const struct arrays *arrays, struct harness_buffers *buffers)
{
    memset(buffers, 0, sizeof *buffers);
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        cl_int code = CL_SUCCESS;
        if (arrays->block[n].bytes == NULL)
            continue;
        buffers->mem[n] = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE, arrays->block[n].size, NULL, &code);
        assert_int_equal(code, CL_SUCCESS);
    }
    harness_write(harness, buffers, arrays);
}

void harness_buffers_release(struct harness_buffers *buffers)
{
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (buffers->mem[n] != NULL)
            clReleaseMemObject(buffers->mem[n]);
    memset(buffers, 0, sizeof *buffers);
}

void harness_write(const struct harness *harness, const struct harness_buffers *buffers, const struct arrays *arrays)
{
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (buffers->mem[n] != NULL)
            assert_int_equal(clEnqueueWriteBuffer(harness->queue, buffers->mem[n], CL_TRUE, 0, arrays->block[n].size,
                                                  arrays->block[n].bytes, 0, NULL, NULL),
                             CL_SUCCESS);
}

void harness_read(const struct harness *harness, const struct harness_buffers *buffers, struct arrays *arrays)
{
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (buffers->mem[n] != NULL)
            assert_int_equal(clEnqueueReadBuffer(harness->queue, buffers->mem[n], CL_TRUE, 0, arrays->block[n].size,
                                                 arrays->block[n].bytes, 0, NULL, NULL),
                             CL_SUCCESS);
}

clattn_attention_args harness_args(const clattn_plan *plan, const struct arrays *arrays,
                                   const struct harness_buffers *buffers)
{
    clattn_attention_args args;

    clattn_attention_args_init(&args, plan);
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (arrays->array[n].present)
            *arrays_slot(&args, (enum array_operand)n) = (clattn_buffer){
                .mem = buffers->mem[arrays->array[n].block], .offset = arrays_offset(arrays, (enum array_operand)n)};
    args.q_len = arrays->of->q_len;
    args.kv_len = arrays->of->kv_len;
    args.offset = arrays->of->offset;
    args.q_total = arrays->of->q_rows.total;
    args.kv_total = arrays->of->kv_rows.total;
    args.dropout_seed_set = 1;
    args.dropout_seed = arrays->of->dropout_seed;
    args.dropout_offset = arrays->of->dropout_offset;
    args.dropout_batch = arrays->of->dropout_batch;
    return args;
}

bool harness_asks_variant(const struct harness *harness, const char *variant)
{
    const char *asked = getenv("CLATTN_VARIANTS");
    const bool vectors = strstr(variant, "vector") != NULL || strcmp(variant, "flash_dot") == 0;
    clattn_device_info info;
    clattn_error error;

    clattn_device_info_init(&info);
    harness_check(clattn_device_query(harness->device, &info, &error), &error, "device");
    const bool own = strcmp(variant, "unfused") == 0 || vectors == (info.device_class == CLATTN_DEVICE_CLASS_CPU);
    return asked == NULL || own == (strcmp(asked, "own") == 0);
}

void harness_case(const struct harness *harness, struct test_case *c, const char *problem, const char *variant)
{
    clattn_plan *plan = NULL;

    if (!case_from_problem(problem, c))
        fail_msg("%s is no problem", problem);
    clattn_attention_desc desc = c->desc;
    desc.variant = variant;
    desc.scores_stage = CLATTN_SCORES_NONE;
    if (clattn_attention_plan_create(harness->context, &desc, &plan, NULL) == CLATTN_ERROR_UNSUPPORTED)
        case_make_bf16(c);
    clattn_plan_release(plan);
}

clattn_plan *harness_plan(const struct harness *harness, const struct test_case *c, const char *variant)
{
    clattn_attention_desc desc = c->desc;
    clattn_plan *plan = NULL;
    clattn_error error;

    desc.variant = variant;
    harness_check(clattn_attention_plan_create(harness->context, &desc, &plan, &error), &error, c->name);
    return plan;
}

bool harness_run(const struct harness *harness, clattn_plan *plan, struct arrays *arrays, char message[600])
{
    struct harness_buffers buffers;
    struct arrays before;
    clattn_error error;
    cl_event event = NULL;

    assert_true(arrays_copy(&before, arrays));
    harness_buffers_create(harness, arrays, &buffers);
    clattn_attention_args args = harness_args(plan, arrays, &buffers);
    clattn_status status = clattn_attention_run(plan, harness->queue, &args, 0, NULL, &event, &error);
    bool passed = false;
    if (status != CLATTN_SUCCESS) {
        snprintf(message, 600, "%s: %s", clattn_status_string(status), error.message);
    } else {
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        assert_int_equal(harness_event_status(event), CL_COMPLETE);
        clReleaseEvent(event);
        harness_read(harness, &buffers, arrays);
        passed = arrays_only_outputs_differ(&before, arrays, message);
    }
    harness_buffers_release(&buffers);
    arrays_free(&before);
    return passed;
}
