/* SPDX-License-Identifier: Apache-2.0 */
/* Implements linear.h. */
#include "linear.h"

#include "compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The setup as a variant takes it: "dot" takes an even number of bf16. */
static struct linear_setup fit(const struct linear_setup *setup, const char *variant)
{
    struct linear_setup fitting = *setup;

    if (variant != NULL && strcmp(variant, "dot") == 0) {
        fitting.input = fitting.weight = CLATTN_BF16;
        fitting.in = setup->in == 1 ? 2 : setup->in - setup->in % 2;
    }
    return fitting;
}

void linear_open(const struct harness *harness, const struct linear_setup *wanted, const char *variant,
                 struct linear_scene *scene)
{
    const struct linear_setup fitting = fit(wanted, variant);
    const struct linear_setup *setup = &fitting;
    clattn_error error;

    memset(scene, 0, sizeof *scene);
    scene->input = tensor_make(setup->input, setup->batch, 1, setup->length, setup->in, setup->padding);
    scene->weight = tensor_make(setup->weight, 1, 1, setup->out, setup->in, setup->padding);
    scene->bias = tensor_make(setup->bias_dtype, 1, 1, 1, setup->out, 0);
    scene->output = tensor_make(setup->output, setup->batch, 1, setup->length, setup->out, setup->padding);
    tensor_fill(&scene->input, 1.0, 1);
    tensor_fill(&scene->weight, 1.0, 2);
    tensor_fill(&scene->bias, 3.0, 3);

    clattn_linear_desc_init(&scene->desc);
    scene->desc.batch = setup->batch;
    scene->desc.length = setup->length;
    scene->desc.in_features = setup->in;
    scene->desc.out_features = setup->out;
    scene->desc.bias = setup->bias;
    scene->desc.input = scene->input.layout;
    scene->desc.weight = scene->weight.layout;
    scene->desc.bias_dtype = setup->bias_dtype;
    scene->desc.output = scene->output.layout;
    scene->desc.variant = variant;
    harness_check(clattn_linear_plan_create(harness->context, &scene->desc, &scene->plan, &error), &error, variant);
    clattn_linear_args_init(&scene->args, scene->plan);
}

void linear_upload(const struct harness *harness, struct linear_scene *scene)
{
    scene->args.input = tensor_upload(harness, &scene->input);
    scene->args.weight = tensor_upload(harness, &scene->weight);
    if (scene->desc.bias)
        scene->args.bias = tensor_upload(harness, &scene->bias);
    scene->args.output = tensor_upload(harness, &scene->output);
}

void linear_close(struct linear_scene *scene)
{
    tensor_free(&scene->input);
    tensor_free(&scene->weight);
    tensor_free(&scene->bias);
    tensor_free(&scene->output);
    clattn_plan_release(scene->plan);
}

void linear_run(const struct harness *harness, const struct linear_scene *scene)
{
    clattn_error error;
    harness_check(clattn_linear_run(scene->plan, harness->queue, &scene->args, 0, NULL, NULL, &error), &error,
                  clattn_plan_problem(scene->plan));
}

void linear_check(const struct linear_scene *scene, const struct tensor *output)
{
    const int64_t in = scene->desc.in_features;
    const double random = 4.0 * 0x1p-23 * (1.0 + sqrt((double)in) / 16.0);
    const double relative = compare_epsilon(output->layout.dtype) + fmin(random, 0x1p-16);

    TENSOR_FOR_EACH(output)
    {
        double expected = scene->desc.bias ? tensor_get(&scene->bias, 0, 0, 0, j) : 0.0;
        double magnitude = fabs(expected);
        for (int64_t k = 0; k < in; ++k) {
            double product = tensor_get(&scene->input, b, 0, i, k) * tensor_get(&scene->weight, 0, 0, j, k);
            expected += product;
            magnitude += fabs(product);
        }
        double found = tensor_get(output, b, h, i, j);
        if (isnan(expected) && isnan(found))
            continue;
        double share = compare_share(output->layout.dtype, found, expected, relative * magnitude);
        if (!(share <= 1.0))
            fail_msg("%s: output[%d,%d,%d] is %.9g: expected %.9g, %.3g times the bound",
                     clattn_plan_describe(scene->plan), (int)b, (int)i, (int)j, found, expected, share);
    }
}

void linear_open_run_and_check(const struct harness *harness, const struct linear_setup *setup, const char *variant)
{
    struct linear_scene scene;

    linear_open(harness, setup, variant, &scene);
    linear_upload(harness, &scene);
    linear_run(harness, &scene);
    tensor_download(harness, &scene.output);
    linear_check(&scene, &scene.output);
    linear_close(&scene);
}
