/* SPDX-License-Identifier: Apache-2.0 */
/* What a demo that learns has on the host. */
#include "demo/training.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum exit_code learned_create(struct learned *learned, size_t count)
{
    *learned = (struct learned){.count = count};
    learned->value = calloc(4 * count, sizeof(float));
    if (learned->value == NULL)
        return fail(EXIT_FAILED, "no memory for %zu numbers to learn", count);
    learned->gradient = learned->value + count;
    learned->mean = learned->gradient + count;
    learned->square = learned->mean + count;
    return EXIT_DONE;
}

void learned_free(struct learned *learned)
{
    free(learned->value);
}

void learned_step(struct learned *learned, double rate, double decay)
{
    double norm = 0;
    for (size_t i = 0; i < learned->count; i++)
        norm += (double)learned->gradient[i] * (double)learned->gradient[i];
    norm = sqrt(norm);
    learned->steps++;
    const float scale = norm > 1 ? (float)(1 / norm) : 1;
    const float unbias_mean = (float)(1 / (1 - pow(0.9, learned->steps)));
    const float unbias_square = (float)(1 / (1 - pow(0.98, learned->steps)));
    for (size_t i = 0; i < learned->count; i++) {
        const float g = scale * learned->gradient[i];
        learned->mean[i] += 0.1f * (g - learned->mean[i]);
        learned->square[i] += 0.02f * (g * g - learned->square[i]);
        const float step = unbias_mean * learned->mean[i] / (sqrtf(unbias_square * learned->square[i]) + 1e-8f);
        learned->value[i] -= (float)rate * (step + (float)decay * learned->value[i]);
    }
}

double learning_rate(int step, int steps, double most)
{
    const double warm = steps / 20.0;
    if (step < warm)
        return most * (step + 1) / (warm + 1);
    return most * 0.5 * (1 + cos(3.141592653589793 * (step - warm) / (steps - warm)));
}

/* The mean of a row and 1 over its deviation. */
static void moments(const float *row, int width, float *mean, float *inverse)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < width; k++)
        sum += (double)row[k];
    sum /= width;
    for (int k = 0; k < width; k++)
        squares += ((double)row[k] - sum) * ((double)row[k] - sum);
    *mean = (float)sum;
    *inverse = (float)(1 / sqrt(squares / width + 1e-5));
}

void norm_forward(const float *input, const float *gain, const float *bias, int rows, int width, float *output)
{
    for (int i = 0; i < rows; i++, input += width, output += width) {
        float mean, inverse;
        moments(input, width, &mean, &inverse);
        for (int k = 0; k < width; k++)
            output[k] = gain[k] * (input[k] - mean) * inverse + bias[k];
    }
}

void norm_backward(const float *input, const float *gain, const float *d_output, int rows, int width, float *d_input,
                   float *d_gain, float *d_bias)
{
    for (int i = 0; i < rows; i++, input += width, d_output += width, d_input += width) {
        float mean, inverse, sum = 0, product = 0; /* of the gradient by the normalised row, and with that row */
        moments(input, width, &mean, &inverse);
        for (int k = 0; k < width; k++) {
            const float normal = (input[k] - mean) * inverse;
            d_gain[k] += d_output[k] * normal;
            d_bias[k] += d_output[k];
            sum += d_output[k] * gain[k];
            product += d_output[k] * gain[k] * normal;
        }
        for (int k = 0; k < width; k++) {
            const float normal = (input[k] - mean) * inverse;
            d_input[k] += inverse * (d_output[k] * gain[k] - (sum + normal * product) / (float)width);
        }
    }
}

void relu_forward(float *input, size_t count)
{
    for (size_t i = 0; i < count; i++)
        input[i] = input[i] > 0 ? input[i] : 0;
}

void relu_backward(const float *output, float *gradient, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gradient[i] = output[i] > 0 ? gradient[i] : 0;
}

int largest_of(const float *numbers, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        best = numbers[i] > numbers[best] ? i : best;
    return best;
}

double cross_entropy(const float *logits, const int *target, int rows, int classes, float *d_logits, int *right)
{
    double loss = 0;
    int counted = 0, found = 0;
    for (int i = 0; i < rows; i++)
        counted += target[i] >= 0;
    if (d_logits != NULL)
        memset(d_logits, 0, (size_t)rows * (size_t)classes * sizeof *d_logits);
    for (int i = 0; i < rows; i++) {
        const float *row = logits + (size_t)i * (size_t)classes;
        if (target[i] < 0)
            continue;
        const int best = largest_of(row, classes);
        double sum = 1; /* what the largest adds */
        for (int n = 0; n < classes; n++)
            sum += n == best ? 0 : exp((double)(row[n] - row[best]));
        loss += log(sum) - (double)(row[target[i]] - row[best]);
        found += best == target[i];
        for (int n = 0; n < classes && d_logits != NULL; n++)
            d_logits[(size_t)i * (size_t)classes + (size_t)n] =
                (float)((exp((double)(row[n] - row[best])) / sum - (n == target[i])) / counted);
    }
    if (right != NULL)
        *right = found;
    return counted > 0 ? loss / counted : 0;
}
