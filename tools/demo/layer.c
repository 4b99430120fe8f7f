/* SPDX-License-Identifier: Apache-2.0 */
/* A multi-head layer with tensors of the host: on the device, and as one would write it down, to compare with. */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum exit_code demo_layer_plan(struct demo *demo, const struct demo_layer *layer, bool weights, clattn_plan ***plan)
{
    clattn_attention_desc attention;
    clattn_attention_desc_init(&attention);
    attention.batch = 1;
    attention.q_heads = attention.kv_heads = layer->heads;
    attention.q_len = layer->q_len;
    attention.kv_len = layer->kv_len;
    attention.head_dim = layer->dim;
    attention.scores_stage = weights ? CLATTN_SCORES_WEIGHTS : CLATTN_SCORES_NONE;
    clattn_layer_desc desc;
    clattn_layer_desc_init(&desc);
    desc.attention = &attention;
    desc.inputs = layer->inputs;
    desc.width = layer->width;
    desc.context_width = layer->key_width;
    desc.output_width = layer->output_width;
    *plan = demo_plan(demo);
    CALL(clattn_layer_plan_create(demo->context, &desc, *plan, &demo->error));
    return EXIT_DONE;
}

/* A matrix of the host on the device. */
static enum exit_code matrix(struct demo *demo, const float *data, int rows, int columns, clattn_buffer *buffer)
{
    return demo_buffer(demo, data, (size_t)rows * (size_t)columns * sizeof *data, buffer);
}

enum exit_code demo_layer_run(struct demo *demo, const struct demo_layer *layer, float *output, float *weights)
{
    int features = layer->heads * layer->dim;
    clattn_plan **plan;
    clattn_layer_args args;
    TRY(demo_layer_plan(demo, layer, weights != NULL, &plan));
    clattn_layer_args_init(&args, *plan);
    printf("layer     %s\n", clattn_plan_problem(*plan));
    TRY(matrix(demo, layer->input, layer->q_len, layer->width, &args.input));
    if (layer->inputs != CLATTN_LAYER_SELF)
        TRY(matrix(demo, layer->keys, layer->kv_len, layer->key_width, &args.context));
    TRY(matrix(demo, layer->w_q, features, layer->width, &args.w_q));
    TRY(matrix(demo, layer->w_k, features, layer->key_width, &args.w_k));
    TRY(matrix(demo, layer->w_v, features, layer->value_width, &args.w_v));
    TRY(matrix(demo, layer->w_o, layer->output_width, features, &args.w_o));
    TRY(matrix(demo, NULL, layer->q_len, layer->output_width, &args.output));
    if (weights != NULL)
        TRY(matrix(demo, NULL, layer->heads * layer->q_len, layer->kv_len, &args.scores));
    CALL(clattn_layer_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    if (weights != NULL)
        TRY(demo_read(demo, args.scores, weights,
                      (size_t)(layer->heads * layer->q_len) * (size_t)layer->kv_len * sizeof *weights));
    return demo_read(demo, args.output, output, (size_t)layer->q_len * (size_t)layer->output_width * sizeof *output);
}

/* y [rows, features] = x [rows, width] w^T, w [features, width]. NULL where there is no memory. */
static double *project(const float *x, const float *w, int rows, int width, int features)
{
    double *y = malloc((size_t)rows * (size_t)features * sizeof *y);
    for (int i = 0; y != NULL && i < rows; i++)
        for (int n = 0; n < features; n++) {
            double sum = 0;
            for (int k = 0; k < width; k++)
                sum += (double)x[(size_t)i * (size_t)width + (size_t)k] * (double)w[n * width + k];
            y[i * features + n] = sum;
        }
    return y;
}

/* Head by head: o[i] = sum over j of softmax_j(q[i] . k[j] / sqrt(dim)) v[j]. */
static void attend(const struct demo_layer *layer, const double *q, const double *k, const double *v, double *weight,
                   double *o)
{
    int features = layer->heads * layer->dim;
    for (int i = 0; i < layer->q_len; i++)
        for (int first = 0; first < features; first += layer->dim) {
            double largest = -INFINITY, sum = 0;
            for (int j = 0; j < layer->kv_len; j++) {
                weight[j] = 0;
                for (int d = first; d < first + layer->dim; d++)
                    weight[j] += q[i * features + d] * k[j * features + d] / sqrt(layer->dim);
                largest = fmax(largest, weight[j]);
            }
            for (int j = 0; j < layer->kv_len; j++)
                sum += weight[j] = exp(weight[j] - largest);
            for (int d = first; d < first + layer->dim; d++) {
                o[i * features + d] = 0;
                for (int j = 0; j < layer->kv_len; j++)
                    o[i * features + d] += weight[j] / sum * v[j * features + d];
            }
        }
}

enum exit_code demo_layer_reference(const struct demo_layer *layer, float *output)
{
    int features = layer->heads * layer->dim;
    double *q = project(layer->input, layer->w_q, layer->q_len, layer->width, features);
    double *k = project(layer->keys, layer->w_k, layer->kv_len, layer->key_width, features);
    double *v = project(layer->values, layer->w_v, layer->kv_len, layer->value_width, features);
    double *o = malloc((size_t)layer->q_len * (size_t)features * sizeof *o);
    double *weight = malloc((size_t)layer->kv_len * sizeof *weight);
    bool memory = q != NULL && k != NULL && v != NULL && o != NULL && weight != NULL;
    if (memory) {
        attend(layer, q, k, v, weight, o);
        for (int i = 0; i < layer->q_len; i++)
            for (int n = 0; n < layer->output_width; n++) {
                double sum = 0;
                for (int d = 0; d < features; d++)
                    sum += o[i * features + d] * (double)layer->w_o[n * features + d];
                output[i * layer->output_width + n] = (float)sum;
            }
    }
    free(q);
    free(k);
    free(v);
    free(o);
    free(weight);
    return memory ? EXIT_DONE : fail(EXIT_FAILED, "no memory for the reference");
}
