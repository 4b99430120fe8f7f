/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A multi-head layer with packed weights, on buffers of the program's own. Eight tokens stand in a circle; each is a
 * number and, beside it, its position as a one-hot vector. The weights of two heads are written by hand: head 0 looks
 * one token back, head 1 two, and both take the number that they find there, as heads of trained models do (Elhage et
 * al. 2021, "A Mathematical Framework for Transformer Circuits"). Scores are 200 or 0, so the result is exact.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 8, WIDTH = 1 + TOKENS, HEADS = 2, QUERY = HEADS * TOKENS, KEY = HEADS * TOKENS, VALUE = HEADS };

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "multi_head_layer: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static clattn_buffer buffer(cl_context context, cl_mem_flags flags, size_t bytes, void *from)
{
    cl_int code;
    cl_mem mem = clCreateBuffer(context, flags, bytes, from, &code);
    check(code == CL_SUCCESS, "clCreateBuffer failed");
    return (clattn_buffer){.mem = mem};
}

int main(void)
{
    static float input[TOKENS][WIDTH], w_qkv[QUERY + KEY + VALUE][WIDTH], output[TOKENS][HEADS];
    float w_o[HEADS][HEADS] = {{1, 0}, {0, 1}}; /* the output is what the heads have found, side by side */
    for (int i = 0; i < TOKENS; ++i) {
        input[i][0] = (float)(i * i);
        input[i][1 + i] = 1;
        for (int h = 0; h < HEADS; ++h) { /* a weight has a row for each feature that it makes */
            int wanted = (i + TOKENS - 1 - h) % TOKENS;
            w_qkv[h * TOKENS + wanted][1 + i] = 1;    /* at position i, the query of head h asks for this one */
            w_qkv[QUERY + h * TOKENS + i][1 + i] = 1; /* and the key there says where it is */
        }
    }
    for (int h = 0; h < HEADS; ++h)
        w_qkv[QUERY + KEY + h][0] = 1;

    clattn_error error;
    clattn_context *context = NULL;
    check(clattn_context_create_default(NULL, NULL, &context, &error) == CLATTN_SUCCESS, error.message);
    cl_context cl_ctx = clattn_context_cl_context(context);
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(cl_ctx, clattn_context_cl_device(context), 0, &code);
    check(code == CL_SUCCESS, "clCreateCommandQueue failed");

    clattn_attention_desc attention; /* between the projections; the layer lays its tensors out */
    clattn_attention_desc_init(&attention);
    attention.batch = 1;
    attention.q_heads = attention.kv_heads = HEADS;
    attention.q_len = attention.kv_len = TOKENS;
    attention.head_dim = TOKENS;
    attention.value_dim = 1;
    attention.scale = 200;
    clattn_layer_desc desc;
    clattn_layer_desc_init(&desc);
    desc.attention = &attention;
    desc.inputs = CLATTN_LAYER_SELF;
    desc.width = WIDTH;
    desc.output_width = HEADS;
    desc.packed = 1;
    clattn_plan *plan = NULL;
    check(clattn_layer_plan_create(context, &desc, &plan, &error) == CLATTN_SUCCESS, error.message);
    printf("%s", clattn_plan_describe(plan));

    const cl_mem_flags read_copy = CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR;
    clattn_layer_args args;
    clattn_layer_args_init(&args, plan);
    args.input = buffer(cl_ctx, read_copy, sizeof input, input);
    args.w_qkv = buffer(cl_ctx, read_copy, sizeof w_qkv, w_qkv);
    args.w_o = buffer(cl_ctx, read_copy, sizeof w_o, w_o);
    args.output = buffer(cl_ctx, CL_MEM_WRITE_ONLY, sizeof output, NULL);
    check(clattn_layer_run(plan, queue, &args, 0, NULL, NULL, &error) == CLATTN_SUCCESS, error.message);
    code = clEnqueueReadBuffer(queue, args.output.mem, CL_TRUE, 0, sizeof output, output, 0, NULL, NULL);
    check(code == CL_SUCCESS, "clEnqueueReadBuffer failed");

    int right = 1;
    for (int i = 0; i < TOKENS; ++i) {
        printf("token %2.0f found %2.0f and %2.0f\n", (double)input[i][0], (double)output[i][0], (double)output[i][1]);
        for (int h = 0; h < HEADS; ++h)
            right &= output[i][h] == input[(i + TOKENS - 1 - h) % TOKENS][0];
    }
    clReleaseMemObject(args.input.mem);
    clReleaseMemObject(args.w_qkv.mem);
    clReleaseMemObject(args.w_o.mem);
    clReleaseMemObject(args.output.mem);
    clattn_plan_release(plan);
    clReleaseCommandQueue(queue);
    clattn_context_release(context);
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
