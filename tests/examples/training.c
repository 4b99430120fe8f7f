/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention that learns, by gradient descent: queries that are given, and keys and values that begin as noise, until
 * each query's output is its target. Two plans, one forward and one backward, are made once and run every step; the
 * forward leaves its output and log-sum-exp for the backward pass to read.
 *
 *   loss = sum of (output - target)^2 / 2        d_output = output - target
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>

#include <stdio.h>
#include <stdlib.h>

enum { PAIRS = 8, DIM = 32, STEPS = 300 }; /* as many keys as queries */
static const float rate = 0.5f;

static float query[PAIRS][DIM], target[PAIRS][DIM], output[PAIRS][DIM], d_output[PAIRS][DIM];
static float key[PAIRS][DIM], value[PAIRS][DIM], d_key[PAIRS][DIM], d_value[PAIRS][DIM];
static cl_command_queue queue;

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "training: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static void fill(float numbers[PAIRS][DIM], float size)
{
    for (int n = 0; n < PAIRS * DIM; ++n)
        numbers[n / DIM][n % DIM] = size * (2.0f * (float)rand() / (float)RAND_MAX - 1.0f);
}

static cl_mem memory(cl_context context, const void *data)
{
    cl_int code;
    cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof query, NULL, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed");
    if (data != NULL)
        check(clEnqueueWriteBuffer(queue, mem, CL_TRUE, 0, sizeof query, data, 0, NULL, NULL) == CL_SUCCESS,
              "no write");
    return mem;
}

static void read_back(cl_mem mem, void *data)
{
    check(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof query, data, 0, NULL, NULL) == CL_SUCCESS, "no read");
}

/* One step down the gradient, and to the device with it. */
static void learn(cl_mem mem, float numbers[PAIRS][DIM], cl_mem d_mem, float gradient[PAIRS][DIM])
{
    read_back(d_mem, gradient);
    for (int n = 0; n < PAIRS * DIM; ++n)
        numbers[n / DIM][n % DIM] -= rate * gradient[n / DIM][n % DIM];
    check(clEnqueueWriteBuffer(queue, mem, CL_TRUE, 0, sizeof query, numbers, 0, NULL, NULL) == CL_SUCCESS, "no write");
}

int main(void)
{
    clattn_error error;
    clattn_context *attention = NULL;
    check(clattn_context_create_default(NULL, NULL, &attention, &error) == CLATTN_SUCCESS, error.message);
    cl_context context = clattn_context_cl_context(attention);
    queue = clCreateCommandQueue(context, clattn_context_cl_device(attention), 0, NULL);
    check(queue != NULL, "clCreateCommandQueue failed");

    clattn_attention_desc forward;
    clattn_attention_desc_init(&forward);
    forward.batch = forward.q_heads = forward.kv_heads = 1;
    forward.q_len = forward.kv_len = PAIRS;
    forward.head_dim = DIM;
    forward.lse = 1; /* the backward pass reads it */
    clattn_attention_backward_desc backward;
    clattn_attention_backward_desc_init(&backward);
    backward.attention = &forward;
    backward.d_key = backward.d_value = 1; /* the queries are not learned */
    clattn_plan *plan = NULL, *backward_plan = NULL;
    check(clattn_attention_plan_create(attention, &forward, &plan, &error) == CLATTN_SUCCESS, error.message);
    check(clattn_attention_backward_plan_create(attention, &backward, &backward_plan, &error) == CLATTN_SUCCESS,
          error.message);

    fill(query, 2.0f);
    fill(target, 1.0f);
    fill(key, 1.0f);
    fill(value, 0.5f);
    clattn_attention_args args;
    clattn_attention_args_init(&args, plan);
    args.query.mem = memory(context, query);
    args.key.mem = memory(context, key);
    args.value.mem = memory(context, value);
    args.output.mem = memory(context, NULL);
    args.lse.mem = memory(context, NULL); /* more than it needs */
    clattn_attention_backward_args backward_args;
    clattn_attention_backward_args_init(&backward_args, backward_plan);
    backward_args.query = args.query;
    backward_args.key = args.key;
    backward_args.value = args.value;
    backward_args.output = args.output;
    backward_args.lse = args.lse;
    backward_args.d_output.mem = memory(context, NULL);
    backward_args.d_key.mem = memory(context, NULL);
    backward_args.d_value.mem = memory(context, NULL);

    float first = 0, loss = 0;
    for (int step = 0; step < STEPS; ++step) {
        check(clattn_attention_run(plan, queue, &args, 0, NULL, NULL, &error) == CLATTN_SUCCESS, error.message);
        read_back(args.output.mem, output);
        loss = 0;
        for (int n = 0; n < PAIRS * DIM; ++n) {
            const float off = output[n / DIM][n % DIM] - target[n / DIM][n % DIM];
            d_output[n / DIM][n % DIM] = off;
            loss += off * off / 2;
        }
        first = step == 0 ? loss : first;
        if (step % 50 == 0)
            printf("step %3d: loss %g\n", step, (double)loss);
        check(clEnqueueWriteBuffer(queue, backward_args.d_output.mem, CL_TRUE, 0, sizeof d_output, d_output, 0, NULL,
                                   NULL) == CL_SUCCESS,
              "no write");
        check(clattn_attention_backward_run(backward_plan, queue, &backward_args, 0, NULL, NULL, &error) ==
                  CLATTN_SUCCESS,
              error.message);
        learn(args.key.mem, key, backward_args.d_key.mem, d_key);
        learn(args.value.mem, value, backward_args.d_value.mem, d_value);
    }
    printf("step %3d: loss %g\n", STEPS, (double)loss);

    clattn_plan_release(plan);
    clattn_plan_release(backward_plan);
    cl_mem all[] = {args.query.mem,
                    args.key.mem,
                    args.value.mem,
                    args.output.mem,
                    args.lse.mem,
                    backward_args.d_output.mem,
                    backward_args.d_key.mem,
                    backward_args.d_value.mem};
    for (size_t n = 0; n < sizeof all / sizeof *all; ++n)
        clReleaseMemObject(all[n]);
    clReleaseCommandQueue(queue);
    clattn_context_release(attention);
    return loss < first / 1000 ? EXIT_SUCCESS : EXIT_FAILURE;
}
