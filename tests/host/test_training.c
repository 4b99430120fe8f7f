/* SPDX-License-Identifier: Apache-2.0 */
/* What the demos that learn do on the host: gradients against central differences, and AdamW against its definition. */
#include "../../tools/demo/training.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those: */
#include <cmocka.h>

enum { ROWS = 3, WIDTH = 5 };

/* Numbers between -1 and 1 without a pattern. */
static void fill(float *numbers, int count, unsigned seed)
{
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        numbers[i] = (float)(seed >> 8) / 8388608.0f - 1;
    }
}

/* A loss over `numbers` and its gradient by them, to be compared with differences. */
static void check_gradient(float *numbers, int count, const float *gradient, double (*loss)(void))
{
    for (int i = 0; i < count; i++) {
        const float at = numbers[i], step = 0x1p-8f;
        numbers[i] = at + step;
        const double above = loss();
        numbers[i] = at - step;
        const double below = loss();
        numbers[i] = at;
        assert_true(fabs((above - below) / (2.0 * (double)step) - (double)gradient[i]) < 2e-4);
    }
}

static float input[ROWS * WIDTH], gain[WIDTH], bias[WIDTH], pull[ROWS * WIDTH];

static double norm_loss(void)
{
    float output[ROWS * WIDTH];
    double sum = 0;
    norm_forward(input, gain, bias, ROWS, WIDTH, output);
    for (int i = 0; i < ROWS * WIDTH; i++)
        sum += (double)output[i] * (double)pull[i];
    return sum;
}

static void norm_gradients(void **state)
{
    (void)state;
    float d_input[ROWS * WIDTH] = {0}, d_gain[WIDTH] = {0}, d_bias[WIDTH] = {0};
    fill(input, ROWS * WIDTH, 1);
    fill(gain, WIDTH, 2);
    fill(bias, WIDTH, 3);
    fill(pull, ROWS * WIDTH, 4);
    norm_backward(input, gain, pull, ROWS, WIDTH, d_input, d_gain, d_bias);
    check_gradient(input, ROWS * WIDTH, d_input, norm_loss);
    check_gradient(gain, WIDTH, d_gain, norm_loss);
    check_gradient(bias, WIDTH, d_bias, norm_loss);
    const float once = d_input[0];
    norm_backward(input, gain, pull, ROWS, WIDTH, d_input, d_gain, d_bias);
    assert_true(fabsf(d_input[0] - 2 * once) < 1e-6f); /* it is added */
}

static const int targets[ROWS] = {4, -1, 0};

static double entropy_loss(void)
{
    return cross_entropy(input, targets, ROWS, WIDTH, NULL, NULL);
}

static void cross_entropy_gradients(void **state)
{
    (void)state;
    float gradient[ROWS * WIDTH];
    int right = -1;
    fill(input, ROWS * WIDTH, 5);
    input[0] = 3; /* the largest of its row is not the target, that of the last row is; the second does not count */
    input[2 * WIDTH] = 3;
    cross_entropy(input, targets, ROWS, WIDTH, gradient, &right);
    assert_int_equal(right, 1);
    check_gradient(input, ROWS * WIDTH, gradient, entropy_loss);
    for (int i = WIDTH; i < 2 * WIDTH; i++)
        assert_true(gradient[i] == 0.0f);
    for (int i = 0; i < WIDTH; i++) /* equal numbers: log of how many, whatever they are */
        input[i] = input[2 * WIDTH + i] = 1000;
    assert_true(fabs(entropy_loss() - log(5)) < 1e-6);
}

static void rectified(void **state)
{
    (void)state;
    float numbers[3] = {-1, 0, 2}, gradient[3] = {5, 5, 5};
    relu_forward(numbers, 3);
    relu_backward(numbers, gradient, 3);
    assert_true(numbers[0] == 0.0f && numbers[2] == 2.0f);
    assert_true(gradient[0] == 0.0f && gradient[1] == 0.0f && gradient[2] == 5.0f);
}

/* The first step is the rate against the gradient's sign, whatever its size; a large gradient is scaled down. */
static void steps_of_adamw(void **state)
{
    (void)state;
    struct learned learned;
    assert_int_equal(learned_create(&learned, 3), EXIT_DONE);
    learned.value[2] = 1;
    learned.gradient[0] = 30;
    learned.gradient[1] = -40;
    learned_step(&learned, 0.125, 0.5);
    assert_true(fabsf(learned.value[0] + 0.125f) < 1e-6f);
    assert_true(fabsf(learned.value[1] - 0.125f) < 1e-6f);
    assert_true(fabsf(learned.value[2] - (1 - 0.125f * 0.5f)) < 1e-6f);
    assert_true(fabsf(learned.mean[0] - 0.1f * 0.6f) < 1e-6f);
    assert_true(fabsf(learned.square[1] - 0.02f * 0.64f) < 1e-6f);
    learned.gradient[0] = learned.gradient[1] = 0;
    learned_step(&learned, 0.125, 0);
    const double mean = 0.9 * 0.06 / (1 - 0.81), square = 0.98 * 0.02 * 0.36 / (1 - 0.98 * 0.98);
    assert_true(fabs((double)learned.value[0] + 0.125 + 0.125 * mean / sqrt(square)) < 1e-5);
    learned_free(&learned);
}

static void rates(void **state)
{
    (void)state;
    assert_true(learning_rate(0, 1000, 1) < 0.03);
    assert_true(learning_rate(25, 1000, 1) > 0.4 && learning_rate(25, 1000, 1) < 0.6);
    assert_true(fabs(learning_rate(50, 1000, 1) - 1) < 1e-9);
    assert_true(fabs(learning_rate(525, 1000, 1) - 0.5) < 1e-9);
    assert_true(learning_rate(999, 1000, 1) < 1e-5 && learning_rate(999, 1000, 1) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_gradients), cmocka_unit_test(cross_entropy_gradients),
        cmocka_unit_test(rectified),      cmocka_unit_test(steps_of_adamw),
        cmocka_unit_test(rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
