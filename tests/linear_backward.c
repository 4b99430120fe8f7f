/* SPDX-License-Identifier: Apache-2.0 */
/* Implements linear_backward.h. */
#include "linear_backward.h"

#include "compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct tensor made(clattn_dtype dtype, int64_t b, int64_t rows, int64_t columns, int64_t padding, uint64_t seed)
{
    struct tensor t = tensor_make(dtype, b, 1, rows, columns, padding);
    tensor_fill(&t, 1.0, seed);
    return t;
}

void backward_open(const struct harness *harness, const struct backward_setup *setup, const char *variant,
                   struct backward_scene *s)
{
    const int64_t padding = setup->padding;
    clattn_error error;

    memset(s, 0, sizeof *s);
    s->setup = *setup;
    s->input = made(setup->input, setup->batch, setup->length, setup->in, padding, 1);
    s->weight = made(setup->weight, 1, setup->out, setup->in, padding, 2);
    s->d_output = made(setup->d_output, setup->batch, setup->length, setup->out, padding, 3);
    s->d_input = tensor_make(setup->d_input, setup->batch, 1, setup->length, setup->in, padding);
    s->d_weight = tensor_make(setup->d_weight, 1, 1, setup->out, setup->in, padding);
    s->d_bias = tensor_make(setup->d_bias, 1, 1, 1, setup->out, 0);
    s->old_input = made(setup->d_input, setup->batch, setup->length, setup->in, padding, 6);
    s->old_weight = made(setup->d_weight, 1, setup->out, setup->in, padding, 4);
    s->old_bias = made(setup->d_bias, 1, 1, setup->out, 0, 5);
    if (setup->accumulate_input)
        memcpy(s->d_input.data, s->old_input.data, s->d_input.bytes);
    if (setup->accumulate) {
        memcpy(s->d_weight.data, s->old_weight.data, s->d_weight.bytes);
        memcpy(s->d_bias.data, s->old_bias.data, s->d_bias.bytes);
    }

    clattn_linear_desc_init(&s->linear);
    s->linear.batch = setup->batch;
    s->linear.length = setup->length;
    s->linear.in_features = setup->in;
    s->linear.out_features = setup->out;
    s->linear.bias = (setup->without & NO_D_BIAS) == 0;
    s->linear.input = s->input.layout;
    s->linear.weight = s->weight.layout;
    clattn_linear_backward_desc_init(&s->desc);
    s->desc.linear = &s->linear;
    s->desc.d_input = (setup->without & NO_D_INPUT) == 0;
    s->desc.d_weight = (setup->without & NO_D_WEIGHT) == 0;
    s->desc.d_bias = (setup->without & NO_D_BIAS) == 0;
    s->desc.accumulate = setup->accumulate;
    s->desc.accumulate_input = setup->accumulate_input;
    s->desc.d_output_layout = s->d_output.layout;
    s->desc.d_input_layout = s->d_input.layout;
    s->desc.d_weight_layout = s->d_weight.layout;
    s->desc.d_bias_dtype = setup->d_bias;
    s->desc.variant = variant;
    harness_check(clattn_linear_backward_plan_create(harness->context, &s->desc, &s->plan, &error), &error, variant);
    clattn_linear_backward_args_init(&s->args, s->plan);
    assert_int_equal(s->args.length, setup->length);
}

void backward_upload(const struct harness *harness, struct backward_scene *s)
{
    s->args.d_output = tensor_upload(harness, &s->d_output);
    if (s->desc.d_weight) {
        s->args.input = tensor_upload(harness, &s->input);
        s->args.d_weight = tensor_upload(harness, &s->d_weight);
    }
    if (s->desc.d_input) {
        s->args.weight = tensor_upload(harness, &s->weight);
        s->args.d_input = tensor_upload(harness, &s->d_input);
    }
    if (s->desc.d_bias)
        s->args.d_bias = tensor_upload(harness, &s->d_bias);
}

void backward_close(struct backward_scene *s)
{
    struct tensor *const all[] = {&s->input,  &s->weight,    &s->d_output,   &s->d_input, &s->d_weight,
                                  &s->d_bias, &s->old_input, &s->old_weight, &s->old_bias};
    for (size_t n = 0; n < sizeof all / sizeof *all; ++n)
        tensor_free(all[n]);
    clattn_plan_release(s->plan);
}

void backward_run(const struct harness *harness, struct backward_scene *s)
{
    clattn_error error;

    harness_check(clattn_linear_backward_run(s->plan, harness->queue, &s->args, 0, NULL, NULL, &error), &error,
                  clattn_plan_problem(s->plan));
    s->d_input.extent[2] = s->args.length;
    if (s->desc.d_input)
        tensor_download(harness, &s->d_input);
    if (s->desc.d_weight)
        tensor_download(harness, &s->d_weight);
    if (s->desc.d_bias)
        tensor_download(harness, &s->d_bias);
}

/* All elements as doubles, [batch][rows][columns]. */
static double *doubles_of(const struct tensor *t)
{
    double *all = malloc((size_t)(t->extent[0] * t->extent[2] * t->extent[3] + 1) * sizeof *all);
    size_t n = 0;

    assert_non_null(all);
    TENSOR_FOR_EACH(t)
    all[n++] = tensor_get(t, b, h, i, j);
    return all;
}

/* The sum of `terms` products a[k * step_a] * b[k * step_b], and that of their sizes. b may be NULL: ones. */
struct sum {
    double value;
    double size;
};

static void add_products(struct sum *sum, const double *a, int64_t step_a, const double *b, int64_t step_b,
                         int64_t terms)
{
    for (int64_t k = 0; k < terms; ++k) {
        const double product = a[k * step_a] * (b != NULL ? b[k * step_b] : 1.0);
        sum->value += product;
        sum->size += fabs(product);
    }
}

static void check_element(const struct backward_scene *s, const char *name, const struct tensor *t, double found,
                          const struct sum *sum, double terms, int64_t i, int64_t j)
{
    const clattn_dtype dtype = t->layout.dtype;
    const double random = 4.0 * 0x1p-23 * (1.0 + sqrt(terms) / 16.0);
    const double relative = compare_epsilon(dtype) + fmin(random, 0x1p-16);

    if (isnan(sum->value) && isnan(found))
        return;
    const double share = compare_share(dtype, found, sum->value, relative * sum->size);
    if (!(share <= 1.0))
        fail_msg("%s: %s[%d,%d] is %.9g: expected %.9g, %.3g times the bound", clattn_plan_describe(s->plan), name,
                 (int)i, (int)j, found, sum->value, share);
}

void backward_check(const struct backward_scene *s)
{
    const int64_t length = s->args.length;
    const int64_t in = s->setup.in;
    const int64_t out = s->setup.out;
    double *x = doubles_of(&s->input);
    double *w = doubles_of(&s->weight);
    double *dy = doubles_of(&s->d_output);

    if (s->desc.d_input)
        TENSOR_FOR_EACH(&s->d_input)
        {
            struct sum sum = {0.0, 0.0};
            if (s->desc.accumulate_input)
                sum.value = tensor_get(&s->old_input, b, h, i, j);
            sum.size = fabs(sum.value);
            add_products(&sum, dy + (b * s->setup.length + i) * out, 1, w + j, in, out);
            check_element(s, "d_input", &s->d_input, tensor_get(&s->d_input, b, h, i, j), &sum, (double)out,
                          b * s->setup.length + i, j);
        }
    const double tokens = (double)(s->setup.batch * length);
    if (s->desc.d_weight)
        TENSOR_FOR_EACH(&s->d_weight)
        {
            struct sum sum = {0.0, 0.0};
            if (s->desc.accumulate)
                sum.value = tensor_get(&s->old_weight, b, h, i, j);
            sum.size = fabs(sum.value);
            for (int64_t batch = 0; batch < s->setup.batch; ++batch)
                add_products(&sum, dy + batch * s->setup.length * out + i, out, x + batch * s->setup.length * in + j,
                             in, length);
            check_element(s, "d_weight", &s->d_weight, tensor_get(&s->d_weight, b, h, i, j), &sum, tokens, i, j);
        }
    if (s->desc.d_bias)
        TENSOR_FOR_EACH(&s->d_bias)
        {
            struct sum sum = {0.0, 0.0};
            if (s->desc.accumulate)
                sum.value = tensor_get(&s->old_bias, b, h, i, j);
            sum.size = fabs(sum.value);
            for (int64_t batch = 0; batch < s->setup.batch; ++batch)
                add_products(&sum, dy + batch * s->setup.length * out + j, out, NULL, 0, length);
            check_element(s, "d_bias", &s->d_bias, tensor_get(&s->d_bias, b, h, i, j), &sum, tokens, i, j);
        }
    free(x);
    free(w);
    free(dy);
}

void backward_open_run_and_check(const struct harness *harness, const struct backward_setup *setup, const char *variant)
{
    struct backward_scene s;

    backward_open(harness, setup, variant, &s);
    backward_upload(harness, &s);
    backward_run(harness, &s);
    backward_check(&s);
    backward_close(&s);
}
