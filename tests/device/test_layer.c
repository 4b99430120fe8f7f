/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the multi-head layer computes: inputs of every kind, lengths, widths, types, semantics and strides, against the
 * composition on the host and against its parts; empty sizes.
 */
#include "layers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SELF  CLATTN_LAYER_SELF
#define CROSS CLATTN_LAYER_CROSS
#define KEY   CLATTN_LAYER_KEY

/* Lengths of the run are the plan's. */
#define WHOLE .q_len = -1, .kv_len = -1

static void layers_are_right(void **state)
{
    static const struct layer_case cases[] = {
        {"b2h4q23k23d16:f32", SELF, 40, .bias = 1, WHOLE},
        {"b2h4q23k23d16:f32", SELF, 40, .packed = 1, .bias = 1, WHOLE},
        {"b2h4g2q23k23d16v24:f32:causal", SELF, 37, .output_width = 51, .packed = 1, .padding = 5, WHOLE},
        {"b2h4g2q23k23d16v24:f32:causal:lengths", SELF, 37, .output_width = 51, .bias = 1, .padding = 5, WHOLE},
        {"b1h2q1k1d8:f32", SELF, 1, .output_width = 1, WHOLE},
        {"b2h3q7k50d20:f32:mask=bool:lengths", CROSS, 48, .context_width = 70, .bias = 1, WHOLE},
        {"b2h6g3q70k9d20v12:f32:mask=add:softcap=8", CROSS, 33, 21, 17, .bias = 1, .padding = 3, WHOLE},
        {"b2h2q33k33d24v8:f32:window=5,9@top-left:lse", KEY, 30, 44, .bias = 1, WHOLE},
        {"b1h4g1q19k19d16:f32", KEY, 30, .padding = 4, WHOLE},
        {"b2h2q20k31d16:f32:mask=add:lse:scores=weights", CROSS, 24, .bias = 1, WHOLE},
        {"b1h3q33k33d21:f16:causal", SELF, 72, .packed = 1, .bias = 1, .weight = CLATTN_F16, .input = CLATTN_F16,
         .output = CLATTN_F16, WHOLE},
        {"b1h3q33k33d21:bf16:lse", SELF, 72, .bias = 1, .weight = CLATTN_BF16, .input = CLATTN_BF16,
         .output = CLATTN_BF16, WHOLE},
        {"b1h2q20k40d32:f16-bf16-f32-f16", CROSS, 36, 28, .bias = 1, .weight = CLATTN_BF16, .input = CLATTN_F16,
         .context = CLATTN_BF16, .output = CLATTN_F32, .padding = 1, WHOLE},
        {"b2h2q40k40d16:f32", CROSS, 36, 28, .weight = CLATTN_F16, .context = CLATTN_F16, WHOLE},
        {"b2h4g2q20k31d16:f32:sinks:alibi=batch@bottom-right:causal:shift=-1:dropout=0.2:lse", CROSS, 24, .bias = 1,
         WHOLE},
        {"b1h3q33k33d16:f32:relative=4@top-left:sinks:scores=weights", SELF, 24, .packed = 1, WHOLE},
        {"b1h5q203k203d12:f32:causal@top-left", SELF, 60, .bias = 1, WHOLE},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n) {
        struct layer_scene scene;
        layer_describe(&scene, &cases[n]);
        layer_open(harness, &scene);
        layer_run(harness, &scene);
        layer_check(&scene);
        layer_close(&scene);
    }
}

/* Every variant of attention can be the layer's. */
static void every_attention_variant(void **state)
{
    struct layer_case c = {"", CROSS, 30, 26, .bias = 1, WHOLE};
    const struct harness *harness = *state;

    for (size_t v = 0; clattn_attention_variant(v) != NULL; ++v) {
        struct layer_scene scene;
        const bool narrow = strcmp(clattn_attention_variant(v), "flash_dot") == 0; /* which takes nothing else */
        c.attention = narrow ? "b2h4g2q21k37d16v8:bf16:causal" : "b2h4g2q21k37d16v8:f32:causal";
        layer_describe(&scene, &c);
        scene.attention.variant = clattn_attention_variant(v);
        layer_open(harness, &scene);
        assert_string_equal(clattn_plan_variant(scene.plan), clattn_attention_variant(v));
        layer_run(harness, &scene);
        layer_check(&scene);
        layer_close(&scene);
    }
}

/* The output of linear on operands of a layer, in a tensor and a buffer of its own. */
static struct tensor linear(const struct harness *harness, const struct layer_scene *scene, enum layer_operand weight,
                            const struct tensor *input, clattn_buffer input_buffer, clattn_dtype dtype)
{
    const struct tensor *w = &scene->t[weight];
    struct tensor output = tensor_make(dtype, input->extent[0], 1, input->extent[2], w->extent[2], 0);
    clattn_layer_args args = scene->args;
    clattn_linear_desc desc;
    clattn_linear_args linear_args;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_linear_desc_init(&desc);
    desc.batch = input->extent[0];
    desc.length = input->extent[2];
    desc.in_features = w->extent[3];
    desc.out_features = w->extent[2];
    desc.bias = scene->desc.bias;
    desc.input = input->layout;
    desc.weight = w->layout;
    desc.bias_dtype = w->layout.dtype;
    desc.output = output.layout;
    harness_check(clattn_linear_plan_create(harness->context, &desc, &plan, &error), &error, "linear");
    clattn_linear_args_init(&linear_args, plan);
    linear_args.input = input_buffer;
    linear_args.weight = *layer_slot(&args, weight);
    linear_args.bias = *layer_slot(&args, LAYER_BIAS_OF(weight));
    linear_args.output = tensor_upload(harness, &output);
    harness_check(clattn_linear_run(plan, harness->queue, &linear_args, 0, NULL, NULL, &error), &error, "linear");
    clattn_plan_release(plan);
    return output;
}

static clattn_buffer buffer_of(const struct tensor *t)
{
    return (clattn_buffer){.mem = t->mem, .offset = TENSOR_ROOM * tensor_element_size(t)};
}

/* [batch, length, heads, dim], as a projection leaves it. */
static clattn_layout heads_of(const struct tensor *t, int64_t dim)
{
    return (clattn_layout){t->layout.dtype, {t->extent[2] * t->extent[3], dim, t->extent[3], 1}};
}

/* What passes through to attention is all of its operands: the same bits as its parts give one by one. */
static void a_layer_is_its_parts(void **state)
{
    static const struct layer_case c = {"b2h4g2q21k37d16v8:f16:mask=add:lengths:lse",
                                        CROSS,
                                        30,
                                        26,
                                        18,
                                        .bias = 1,
                                        .q_len = -1,
                                        .kv_len = -1,
                                        .offset = 5};
    const struct harness *harness = *state;
    struct layer_scene scene;
    clattn_attention_args args;
    clattn_plan *plan = NULL;
    clattn_error error;

    layer_describe(&scene, &c);
    clattn_attention_desc *attention = &scene.attention;
    attention->alignment = CLATTN_ALIGN_OFFSET;
    attention->causal = attention->sinks = attention->alibi = 1;
    attention->relative_extent = 3;
    layer_open(harness, &scene);
    layer_run(harness, &scene);

    struct tensor query = linear(harness, &scene, LAYER_W_Q, &scene.t[LAYER_INPUT], scene.args.input, CLATTN_F16);
    struct tensor key = linear(harness, &scene, LAYER_W_K, &scene.t[LAYER_CONTEXT], scene.args.context, CLATTN_F16);
    struct tensor value = linear(harness, &scene, LAYER_W_V, &scene.t[LAYER_CONTEXT], scene.args.context, CLATTN_F16);
    struct tensor merged = tensor_make(CLATTN_F16, 2, 1, 21, 4 * 8, 0);
    struct tensor lse = tensor_make(CLATTN_F32, 2, 4, 21, 1, 0);
    attention->query = heads_of(&query, 16);
    attention->key = heads_of(&key, 16);
    attention->value = heads_of(&value, 8);
    attention->output = heads_of(&merged, 8);
    harness_check(clattn_attention_plan_create(harness->context, attention, &plan, &error), &error, "attention");
    clattn_attention_args_init(&args, plan);
    args.offset = scene.args.offset;
    args.query = buffer_of(&query);
    args.key = buffer_of(&key);
    args.value = buffer_of(&value);
    args.output = tensor_upload(harness, &merged);
    args.lse = tensor_upload(harness, &lse);
    args.mask = scene.args.mask;
    args.kv_lengths = scene.args.kv_lengths;
    args.sinks = scene.args.sinks;
    args.alibi_slopes = scene.args.alibi_slopes;
    args.relative_bias = scene.args.relative_bias;
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "attention");
    struct tensor output = linear(harness, &scene, LAYER_W_O, &merged, args.output, CLATTN_F32);
    tensor_download(harness, &lse);
    tensor_download(harness, &output);
    assert_memory_equal(lse.data, scene.t[LAYER_LSE].data, lse.bytes);
    assert_memory_equal(output.data, scene.t[LAYER_OUTPUT].data, output.bytes);

    clattn_plan_release(plan);
    struct tensor *const made[] = {&query, &key, &value, &merged, &lse, &output};
    for (size_t n = 0; n < sizeof made / sizeof *made; ++n)
        tensor_free(made[n]);
    layer_close(&scene);
}

/* What the host has in a tensor, to the device. */
static void write_tensor(const struct harness *harness, const struct tensor *t)
{
    assert_int_equal(clEnqueueWriteBuffer(harness->queue, t->mem, CL_TRUE, 0, t->bytes, t->data, 0, NULL, NULL),
                     CL_SUCCESS);
}

/* Runs below the plan's lengths use its strides. What lies past them is NaN. */
static void shorter_runs(void **state)
{
    static const struct layer_case cases[] = {
        {"b2h2q23k23d16:f32:causal", SELF, 40, .bias = 1, .q_len = 9, .kv_len = 23},
        {"b2h2q23k23d16:f16:causal", SELF, 40, .packed = 1, .bias = 1, .q_len = 1, .kv_len = 0},
        {"b2h2q23k60d16:f32:causal@0", CROSS, 40, 20, .bias = 1, .q_len = 5, .kv_len = 31, .offset = 26},
        {"b2h2q23k60d16:f32:mask=bool", CROSS, 40, 20, .padding = 2, .q_len = 22, .kv_len = 1},
        {"b2h2q23k60d16:f32:mask=bool", CROSS, 40, 20, .bias = 1, .q_len = 4, .kv_len = 0},
        {"b2h2q23k23d16:f32", KEY, 40, 20, .bias = 1, .q_len = 11, .kv_len = 11},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n) {
        struct layer_scene scene;
        layer_describe(&scene, &cases[n]);
        layer_open(harness, &scene);
        const enum layer_operand given[] = {LAYER_INPUT, LAYER_CONTEXT};
        for (size_t g = 0; g < 2; ++g) {
            struct tensor *t = &scene.t[given[g]];
            int64_t length = g == 0 ? scene.args.q_len : scene.args.kv_len;
            if (t->data == NULL)
                continue;
            for (int64_t b = 0; b < t->extent[0]; ++b)
                for (int64_t i = length; i < t->extent[2]; ++i)
                    for (int64_t k = 0; k < t->extent[3]; ++k)
                        tensor_put(t, b, 0, i, k, (double)NAN);
            write_tensor(harness, t);
        }
        layer_run(harness, &scene);
        layer_check(&scene);
        layer_close(&scene);
    }
}

/* Rows of the context that no query sees may be NaN. */
static void hidden_rows_have_no_effect(void **state)
{
    static const struct layer_case c = {"b3h2q9k40d16:f32:lengths", CROSS, 24, 20, .bias = 1, WHOLE};
    const struct harness *harness = *state;
    struct layer_scene scene;

    layer_describe(&scene, &c);
    layer_open(harness, &scene);
    struct tensor *context = &scene.t[LAYER_CONTEXT];
    for (int64_t b = 0; b < 3; ++b)
        for (int64_t i = layer_kv_length(&scene, b); i < 40; ++i)
            for (int64_t k = 0; k < 20; ++k)
                tensor_put(context, b, 0, i, k, (double)NAN);
    write_tensor(harness, context);
    layer_run(harness, &scene);
    layer_check(&scene);
    layer_close(&scene);
}

/* Without keys an output row is the bias, exactly, and 0 without biases. */
static void no_keys_leave_the_bias(void **state)
{
    const struct harness *harness = *state;

    for (int bias = 0; bias < 2; ++bias) {
        const struct layer_case c = {"b2h2q9k0d16:f32:lse", CROSS, 12, .bias = bias, WHOLE};
        struct layer_scene scene;
        layer_describe(&scene, &c);
        layer_open(harness, &scene);
        scene.args.context = (clattn_buffer){0};
        layer_run(harness, &scene);
        const float *output = (const float *)(const void *)scene.t[LAYER_OUTPUT].data + TENSOR_ROOM;
        for (int64_t n = 0; n < 2 * 9 * 12; ++n) {
            float expected = bias ? ((const float *)(const void *)scene.t[LAYER_B_O].data)[TENSOR_ROOM + n % 12] : 0.0f;
            assert_true(output[n] == expected);
        }
        layer_close(&scene);
    }
}

/* Nothing to compute: no buffers are needed, and the event comes after those waited for. */
static void empty_runs(void **state)
{
    static const struct {
        struct layer_case c;
        int64_t q_len;
    } runs[] = {
        {{"b0h2q9k9d16:f32", SELF, 12, WHOLE}, 9},
        {{"b2h2q0k9d16:f32", CROSS, 12, .bias = 1, WHOLE}, 0},
        {{"b2h2q0k0d16:f32", SELF, 12, .packed = 1, WHOLE}, 0},
        {{"b2h2q9k9d16:f32", CROSS, 12, WHOLE}, 0},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof runs / sizeof *runs; ++n) {
        struct layer_scene scene;
        clattn_layer_args args;
        clattn_error error;
        cl_event event = NULL;
        layer_describe(&scene, &runs[n].c);
        harness_check(clattn_layer_plan_create(harness->context, &scene.desc, &scene.plan, &error), &error,
                      runs[n].c.attention);
        clattn_layer_args_init(&args, scene.plan);
        args.q_len = runs[n].q_len;
        cl_event gate = harness_gate(harness);
        harness_check(clattn_layer_run(scene.plan, harness->queue, &args, 1, &gate, &event, &error), &error,
                      runs[n].c.attention);
        assert_int_equal(clFlush(harness->queue), CL_SUCCESS);
        assert_true(harness_event_status(event) > CL_COMPLETE);
        assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        clReleaseEvent(event);
        clReleaseEvent(gate);
        layer_close(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_right),
        cmocka_unit_test(every_attention_variant),
        cmocka_unit_test(a_layer_is_its_parts),
        cmocka_unit_test(shorter_runs),
        cmocka_unit_test(hidden_rows_have_no_effect),
        cmocka_unit_test(no_keys_leave_the_bias),
        cmocka_unit_test(empty_runs),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
