/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention on OpenCL objects of the program's own: its context, its out-of-order queue, its buffers, chained by
 * events. The program decodes: one query a step over a cache of keys and values that grows by one position, with one
 * plan for all steps, and waits once, at the end.
 *
 * The numbers are chosen so that the answer is known. The query is (1, 0, 0, ...) and key j is (ln(j + 1), 0, 0, ...),
 * so position j weighs j + 1; value j is 1 / (j + 1) throughout. Step t sees the keys 0..t, and its output is
 * (t + 1) / (1 + 2 + ... + (t + 1)) = 2 / (t + 2).
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 48, DIM = 64 };

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "own_queue: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static clattn_buffer buffer_at(cl_mem mem, size_t floats)
{
    return (clattn_buffer){.mem = mem, .offset = floats * sizeof(float)};
}

int main(void)
{
    static float query[DIM], key[STEPS][DIM], value[STEPS][DIM], output[STEPS][DIM];
    query[0] = 1;
    for (int j = 0; j < STEPS; ++j) {
        key[j][0] = logf((float)(j + 1));
        for (int d = 0; d < DIM; ++d)
            value[j][d] = 1.0f / (float)(j + 1);
    }

    /* What a program with OpenCL has already. The device could come from anywhere; here the library picks it. */
    clattn_error error;
    cl_device_id device;
    check(clattn_device_select(NULL, &device, &error) == CLATTN_SUCCESS, error.message);
    cl_int code;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    check(code == CL_SUCCESS, "clCreateContext failed");
    cl_command_queue queue = clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    if (code == CL_INVALID_QUEUE_PROPERTIES) /* a device may have in-order queues only: events serve those as well */
        queue = clCreateCommandQueue(context, device, 0, &code);
    check(code == CL_SUCCESS, "clCreateCommandQueue failed");
    const cl_mem_flags read_copy = CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR;
    cl_mem query_mem = clCreateBuffer(context, read_copy, sizeof query, query, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed for the query");
    cl_mem value_mem = clCreateBuffer(context, read_copy, sizeof value, value, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed for the values");
    cl_mem key_mem = clCreateBuffer(context, CL_MEM_READ_ONLY, sizeof key, NULL, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed for the keys");
    cl_mem output_mem = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof output, NULL, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed for the output");

    /* The library joins in: one plan for the greatest length, before anything is in flight. */
    clattn_context *attention = NULL;
    check(clattn_context_create(context, device, NULL, &attention, &error) == CLATTN_SUCCESS, error.message);
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = 1;
    desc.q_len = 1;
    desc.kv_len = STEPS;
    desc.head_dim = DIM;
    desc.scale = 1; /* not the default, 1 / sqrt(64) */
    clattn_plan *plan = NULL;
    check(clattn_attention_plan_create(attention, &desc, &plan, &error) == CLATTN_SUCCESS, error.message);
    printf("%s", clattn_plan_describe(plan));

    /* The keys arrive while the queue is being filled: every step waits for their event and for nothing else. */
    cl_event keys_written, done[STEPS];
    code = clEnqueueWriteBuffer(queue, key_mem, CL_FALSE, 0, sizeof key, key, 0, NULL, &keys_written);
    check(code == CL_SUCCESS, "clEnqueueWriteBuffer failed");
    for (int t = 0; t < STEPS; ++t) {
        clattn_attention_args args;
        clattn_attention_args_init(&args, plan);
        args.kv_len = t + 1;
        args.query = buffer_at(query_mem, 0);
        args.key = buffer_at(key_mem, 0);
        args.value = buffer_at(value_mem, 0);
        args.output = buffer_at(output_mem, (size_t)t * DIM);
        check(clattn_attention_run(plan, queue, &args, 1, &keys_written, &done[t], &error) == CLATTN_SUCCESS,
              error.message);
    }
    clattn_plan_release(plan); /* what is in flight keeps what it needs */
    clattn_context_release(attention);
    code = clEnqueueReadBuffer(queue, output_mem, CL_TRUE, 0, sizeof output, output, STEPS, done, NULL);
    check(code == CL_SUCCESS, "clEnqueueReadBuffer failed");

    float worst = 0;
    int right = 1;
    for (int t = 0; t < STEPS; ++t)
        for (int d = 0; d < DIM; ++d) {
            float difference = fabsf(output[t][d] - 2.0f / (float)(t + 2));
            worst = fmaxf(worst, difference);
            right &= difference < 1e-6f;
        }
    printf("%d steps, largest error %.1e\n", STEPS, (double)worst);

    clReleaseEvent(keys_written);
    for (int t = 0; t < STEPS; ++t)
        clReleaseEvent(done[t]);
    clReleaseMemObject(output_mem);
    clReleaseMemObject(key_mem);
    clReleaseMemObject(value_mem);
    clReleaseMemObject(query_mem);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
