/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a demo that learns has on the host, plain and in order of use: everything that is learned in one array, layer
 * normalisation, cross-entropy, AdamW and its schedule. Matrices are dense, a row after the other.
 */
#ifndef TOOL_DEMO_TRAINING_H
#define TOOL_DEMO_TRAINING_H

#include "shared/message.h"
#include <stddef.h>

/* Everything that is learned, `count` numbers, and as many of what goes with them. */
struct learned {
    size_t count;
    float *value;
    float *gradient;      /* of the loss */
    float *mean, *square; /* AdamW's moments of the gradient */
    int steps;            /* that AdamW has made */
};

/* All of it 0. To be freed whatever this returns. */
enum exit_code learned_create(struct learned *learned, size_t count);
void learned_free(struct learned *learned);

/*
 * AdamW (Loshchilov and Hutter 2017) with moments of 0.9 and 0.98: one step at `rate`. The gradient is first scaled
 * down to a norm of 1 where it has a larger one; `decay` is taken off every value, times `rate`.
 */
void learned_step(struct learned *learned, double rate, double decay);

/* The rate of step `step` of `steps`: up to `most` over the first twentieth, then down to 0 along a cosine. */
double learning_rate(int step, int steps, double most);

/* output[i] = gain * (input[i] - mean of it) / deviation of it + bias for each of `rows` rows of `width`. */
void norm_forward(const float *input, const float *gain, const float *bias, int rows, int width, float *output);

/* Its gradients; that by the input is added to d_input, the others to d_gain and d_bias. */
void norm_backward(const float *input, const float *gain, const float *d_output, int rows, int width, float *d_input,
                   float *d_gain, float *d_bias);

/* input = max(input, 0), and what is left of the gradient. `output` is what the first one made. */
void relu_forward(float *input, size_t count);
void relu_backward(const float *output, float *gradient, size_t count);

/*
 * The mean over `rows` rows of -log softmax(logits)[target], and with a d_logits that is not NULL its gradient.
 * A target below 0 is a row that does not count. `right` receives how many rows are largest at their target; NULL where
 * nobody asks.
 */
double cross_entropy(const float *logits, const int *target, int rows, int classes, float *d_logits, int *right);

/* Where the largest of `count` numbers is, the first of equals. */
int largest_of(const float *numbers, int count);

#endif
