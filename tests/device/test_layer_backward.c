/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of the multi-head layer against the composition in double precision: inputs of every kind, types,
 * semantics, strides, lengths below the plan's, accumulation, gradients had alone; against central differences; and
 * what a forward run keeps, and what runs refuse.
 *
 *   CLATTN_CASES   "quick" or "more": a share of the cases
 */
#include "layer_backward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SELF  CLATTN_LAYER_SELF
#define CROSS CLATTN_LAYER_CROSS
#define KEY   CLATTN_LAYER_KEY

/* Lengths of the run are the plan's. */
#define WHOLE .q_len = -1, .kv_len = -1

#define ALL_OF(type) .d_output = type, .d_input = type, .d_weight = type

/* ---- right results -------------------------------------------------------------------------------------------- */

static void open_run_and_check(const struct harness *harness, const struct layer_backward_case *c)
{
    struct layer_backward_scene scene;

    layer_backward_describe(&scene, c);
    layer_backward_open(harness, &scene);
    layer_backward_run(harness, &scene);
    layer_backward_check(&scene);
    layer_backward_close(harness, &scene);
}

static void gradients_are_right(void **state)
{
    static const struct layer_backward_case c = {
        .layer = {"b2h4q23k23d16:f32", SELF, 40, .packed = 1, .bias = 1, .padding = 5, WHOLE}};

    open_run_and_check(*state, &c);
}

static void more_gradients_are_right(void **state)
{
    static const struct layer_backward_case cases[] = {
        {.layer = {"b2h4q23k23d16:f32", SELF, 40, .bias = 1, WHOLE}},
        {.layer = {"b2h4g2q23k23d16v24:f32:causal", SELF, 37, .output_width = 51, .packed = 1, .bias = 1, .padding = 5,
                   WHOLE}},
        {.layer = {"b2h4g2q7k50d16:f32:mask=bool:lengths", CROSS, 48, 30, .bias = 1, .padding = 3, WHOLE},
         .accumulate = 1,
         .accumulate_inputs = 1},
        {.layer = {"b1h2q1k1d8:f32", SELF, 1, .output_width = 1, WHOLE}},
        {.layer = {"b2h2q33k33d24v8:f32:window=5,9@top-left:lse", KEY, 30, 44, .bias = 1, WHOLE}, .d_lse = 1},
        {.layer = {"b2h2q33k33d24v8:f32:lse", KEY, 30, 44, .padding = 4, WHOLE},
         .accumulate = 1,
         .accumulate_inputs = 1},
        {.layer = {"b1h3q33k33d21:f16:causal", SELF, 72, .packed = 1, .bias = 1, .weight = CLATTN_F16,
                   .input = CLATTN_F16, .output = CLATTN_F16, WHOLE},
         ALL_OF(CLATTN_F16)},
        {.layer = {"b1h3q33k33d21:bf16:lse", SELF, 72, .bias = 1, .weight = CLATTN_BF16, .input = CLATTN_BF16,
                   .output = CLATTN_BF16, WHOLE},
         .d_output = CLATTN_BF16,
         .d_input = CLATTN_BF16,
         .accumulate = 1},
        {.layer = {"b1h2q20k40d32:f16-bf16-f32-f16", CROSS, 36, 28, .bias = 1, .weight = CLATTN_BF16,
                   .input = CLATTN_F16, .context = CLATTN_BF16, .output = CLATTN_F32, .padding = 1, WHOLE},
         .d_output = CLATTN_F16,
         .d_input = CLATTN_BF16,
         .d_weight = CLATTN_F16},
        {.layer = {"b2h4g2q20k31d16:f32:sinks:softcap=8:causal@bottom-right:dropout=0.2:lse", CROSS, 24, .bias = 1,
                   WHOLE},
         .d_lse = 1,
         .accumulate = 1},
        {.layer = {"b2h2q20k31d16:f32:mask=add:alibi=batch@bottom-right:relative=4@bottom-right:sinks", CROSS, 24,
                   .bias = 1, WHOLE},
         .accumulate = 1},
        {.layer = {"b1h5q203k203d12:f32:causal@top-left", SELF, 60, .bias = 1, WHOLE}},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n)
        open_run_and_check(harness, &cases[n]);
}

/* What the host has in a tensor, to the device. */
static void write_tensor(const struct harness *harness, const struct tensor *t)
{
    assert_int_equal(clEnqueueWriteBuffer(harness->queue, t->mem, CL_TRUE, 0, t->bytes, t->data, 0, NULL, NULL),
                     CL_SUCCESS);
}

static void put_nan_past(const struct harness *harness, struct tensor *t, int64_t length)
{
    if (t->data == NULL)
        return;
    for (int64_t b = 0; b < t->extent[0]; ++b)
        for (int64_t i = length; i < t->extent[2]; ++i)
            for (int64_t k = 0; k < t->extent[3]; ++k)
                tensor_put(t, b, 0, i, k, (double)NAN);
    write_tensor(harness, t);
}

/* Rows past a run's lengths are NaN, and those of gradients keep their bytes. Without queries, sums are 0. */
static void shorter_runs(void **state)
{
    static const struct layer_backward_case cases[] = {
        {.layer = {"b2h2q23k23d16:f32:causal", SELF, 40, .bias = 1, .q_len = 9, .kv_len = 23}},
        {.layer = {"b2h2q23k60d16:f32:causal@0", CROSS, 40, 20, .bias = 1, .q_len = 5, .kv_len = 31, .offset = 26}},
        {.layer = {"b2h2q23k60d16:f32", CROSS, 40, 20, .bias = 1, .q_len = 4, .kv_len = 0}, .accumulate = 1},
        {.layer = {"b2h2q23k60d16:f32", CROSS, 40, 20, .bias = 1, .q_len = 0, .kv_len = 60}},
        {.layer = {"b2h2q23k23d16:f32", KEY, 40, 20, .bias = 1, .q_len = 11, .kv_len = 11}, .accumulate_inputs = 1},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n) {
        struct layer_backward_scene scene;
        layer_backward_describe(&scene, &cases[n]);
        layer_backward_open(harness, &scene);
        put_nan_past(harness, &scene.layer.t[LAYER_INPUT], scene.args.q_len);
        put_nan_past(harness, &scene.layer.t[LAYER_CONTEXT], scene.args.kv_len);
        put_nan_past(harness, &scene.d_output, scene.args.q_len);
        layer_backward_run(harness, &scene);
        layer_backward_check(&scene);
        layer_backward_close(harness, &scene);
    }
}

/* Each gradient alone, with the buffers that it needs and no other, has the bits that it has among all. */
static void each_is_had_alone(void **state)
{
    static const struct layer_backward_case all[] = {
        {.layer = {"b2h4g2q7k50d16:f32:sinks", CROSS, 48, 30, .bias = 1, WHOLE}},
        {.layer = {"b2h4g2q23k23d16v24:f32:causal", SELF, 37, .packed = 1, .bias = 1, WHOLE}},
    };
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof all / sizeof *all; ++n) {
        struct layer_backward_scene whole;
        layer_backward_describe(&whole, &all[n]);
        layer_backward_open(harness, &whole);
        layer_backward_run(harness, &whole);
        for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g) {
            struct layer_backward_case c = all[n];
            struct layer_backward_scene scene;
            if (whole.d[g].data == NULL)
                continue;
            c.without = ~(1u << g);
            layer_backward_describe(&scene, &c);
            layer_backward_open(harness, &scene);
            const bool of_output = g == D_W_O || g == D_B_O;
            const bool reads_input = g == D_W_Q || g == D_W_QKV;
            const bool reads_context = g == D_W_K || g == D_W_V;
            if (!reads_input)
                scene.args.input = (clattn_buffer){0};
            if (!reads_context)
                scene.args.context = (clattn_buffer){0};
            if (of_output)
                scene.args.w_o = (clattn_buffer){0};
            if (g != D_INPUT)
                scene.args.w_q = scene.args.w_qkv = (clattn_buffer){0};
            if (g != D_CONTEXT)
                scene.args.w_k = scene.args.w_v = (clattn_buffer){0};
            if (g != D_SINKS)
                scene.args.sinks = (clattn_buffer){0};
            layer_backward_run(harness, &scene);
            assert_memory_equal(scene.d[g].data, whole.d[g].data, whole.d[g].bytes);
            layer_backward_close(harness, &scene);
        }
        layer_backward_close(harness, &whole);
    }
}

/* The same bits twice, the second time in a workspace of the caller's. */
static void runs_repeat(void **state)
{
    static const struct layer_backward_case c = {.layer = {"b2h4g2q7k50d16:f32", CROSS, 48, 30, .bias = 1, WHOLE}};
    const struct harness *harness = *state;
    struct layer_backward_scene scene;

    layer_backward_describe(&scene, &c);
    layer_backward_open(harness, &scene);
    layer_backward_run(harness, &scene);
    unsigned char *first[NUM_LAYER_GRADIENTS];
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g) {
        first[g] = calloc(scene.d[g].bytes + 1, 1);
        assert_non_null(first[g]);
        if (scene.d[g].data != NULL)
            memcpy(first[g], scene.d[g].data, scene.d[g].bytes);
    }
    const size_t bytes = clattn_plan_workspace_size(scene.plan);
    assert_true(bytes > 0);
    scene.args.workspace = harness_guarded(harness, bytes);
    layer_backward_run_again(harness, &scene);
    for (int g = 0; g < NUM_LAYER_GRADIENTS; ++g) {
        if (scene.d[g].data != NULL)
            assert_memory_equal(first[g], scene.d[g].data, scene.d[g].bytes);
        free(first[g]);
    }
    harness_guarded_release(harness, scene.args.workspace, bytes);
    layer_backward_close(harness, &scene);
}

/* ---- central differences -------------------------------------------------------------------------------------- */

/* The forward's loss: the sum of output * d_output and of lse * d_lse. */
static double loss_of(const struct harness *harness, struct layer_backward_scene *scene)
{
    const struct tensor *output = &scene->layer.t[LAYER_OUTPUT], *lse = &scene->layer.t[LAYER_LSE];
    double loss = 0.0;

    layer_run(harness, &scene->layer);
    TENSOR_FOR_EACH(output)
    loss += tensor_get(output, b, h, i, j) * tensor_get(&scene->d_output, b, h, i, j);
    TENSOR_FOR_EACH(lse)
    loss += tensor_get(lse, b, h, i, j) * tensor_get(&scene->d_lse, b, h, i, j);
    return loss;
}

/* A tensor moved along a direction that is a function of `seed`. */
static void move(const struct harness *harness, struct tensor *t, double step, uint64_t seed)
{
    TENSOR_FOR_EACH(t)
    tensor_put(t, b, h, i, j, tensor_get(t, b, h, i, j) + step * case_normal(&seed));
    write_tensor(harness, t);
}

static void gradients_are_slopes(void **state)
{
    static const enum layer_operand of[] = {LAYER_INPUT, LAYER_CONTEXT, LAYER_W_Q, LAYER_W_K, LAYER_W_V,  LAYER_W_O,
                                            LAYER_B_Q,   LAYER_B_K,     LAYER_B_V, LAYER_B_O, LAYER_SINKS};
    static const enum layer_gradient gradients[] = {D_INPUT, D_CONTEXT, D_W_Q, D_W_K, D_W_V,  D_W_O,
                                                    D_B_Q,   D_B_K,     D_B_V, D_B_O, D_SINKS};
    static const struct layer_backward_case c = {
        .layer = {"b2h2q5k6d4:f32:softcap=4:sinks:dropout=0.3:lse", CROSS, 9, 7, .bias = 1, WHOLE}, .d_lse = 1};
    const struct harness *harness = *state;
    const double step = 0x1p-7;
    struct layer_backward_scene scene;

    layer_backward_describe(&scene, &c);
    layer_backward_open(harness, &scene);
    layer_backward_run(harness, &scene);
    for (size_t n = 0; n < sizeof of / sizeof *of; ++n) {
        struct tensor *t = &scene.layer.t[of[n]], *d = &scene.d[gradients[n]];
        uint64_t seed = 40 + n;
        double slope = 0.0, size = 0.0;
        TENSOR_FOR_EACH(t)
        {
            const double term = tensor_get(d, b, h, i, j) * case_normal(&seed);
            slope += term;
            size += term * term;
        }
        move(harness, t, step, 40 + n);
        const double above = loss_of(harness, &scene);
        move(harness, t, -2.0 * step, 40 + n);
        const double below = loss_of(harness, &scene);
        move(harness, t, step, 40 + n);
        const double difference = (above - below) / (2.0 * step);
        if (!(fabs(difference - slope) <= 4e-3 * (sqrt(size) + 0.1)))
            fail_msg("%s: the slope is %.6g, by the gradient %.6g", layer_gradient_names[gradients[n]], difference,
                     slope);
    }
    layer_backward_close(harness, &scene);
}

/* ---- what is kept --------------------------------------------------------------------------------------------- */

/* A layer that keeps gives the bits of one that does not, in a smaller workspace. */
static void keeping_changes_nothing(void **state)
{
    static const struct layer_case c = {"b2h4g2q21k37d16:f32:lse", CROSS, 30, 26, .bias = 1, WHOLE};
    const struct harness *harness = *state;
    struct layer_scene plain, keeps;

    layer_describe(&plain, &c);
    layer_open(harness, &plain);
    layer_run(harness, &plain);
    assert_int_equal(clattn_layer_kept_size(plain.plan), 0);
    assert_int_equal(clattn_layer_kept_size(NULL), 0);
    layer_describe(&keeps, &c);
    keeps.desc.keep = 1;
    layer_open(harness, &keeps);
    const size_t bytes = clattn_layer_kept_size(keeps.plan);
    keeps.args.kept = harness_guarded(harness, bytes);
    layer_run(harness, &keeps);
    assert_memory_equal(plain.t[LAYER_OUTPUT].data, keeps.t[LAYER_OUTPUT].data, plain.t[LAYER_OUTPUT].bytes);
    assert_memory_equal(plain.t[LAYER_LSE].data, keeps.t[LAYER_LSE].data, plain.t[LAYER_LSE].bytes);
    assert_true(clattn_plan_workspace_size(keeps.plan) < clattn_plan_workspace_size(plain.plan));
    assert_true(bytes >= 4 * (2 * 4 * 21 * (16 + 16) + 2 * 2 * 37 * (16 + 16)));
    harness_guarded_release(harness, keeps.args.kept, bytes);
    layer_close(&keeps);
    layer_close(&plain);
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static void expect_refusal(const struct harness *harness, const struct layer_backward_scene *scene,
                           const clattn_layer_backward_args *args, clattn_status status, const char *message)
{
    clattn_error error;

    assert_int_equal(clattn_layer_backward_run(scene->plan, harness->queue, args, 0, NULL, NULL, &error), status);
    if (strstr(error.message, message) == NULL)
        fail_msg("\"%s\": expected \"%s\"", error.message, message);
}

static void runs_refuse(void **state)
{
    static const struct layer_backward_case c = {.layer = {"b2h2q9k9d16:f32", KEY, 24, 24, .bias = 1, WHOLE}};
    const struct harness *harness = *state;
    struct layer_backward_scene scene;
    clattn_layer_backward_args args;
    clattn_error error;

    layer_backward_describe(&scene, &c);
    layer_backward_open(harness, &scene);
    clattn_layer_args forward = scene.layer.args;
    forward.kept = (clattn_buffer){0};
    assert_int_equal(clattn_layer_run(scene.layer.plan, harness->queue, &forward, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    assert_non_null(strstr(error.message, "buffer kept is missing: expected at least "));
    forward.kept = scene.layer.args.output;
    assert_int_equal(clattn_layer_run(scene.layer.plan, harness->queue, &forward, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    assert_non_null(strstr(error.message, "buffer kept "));

    args = scene.args;
    args.kept = (clattn_buffer){0};
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer kept is missing: expected at least ");
    args = scene.args;
    args.d_w_q = (clattn_buffer){0};
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer d_w_q is missing: expected at least ");
    args = scene.args;
    args.d_output = (clattn_buffer){0};
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer d_output is missing");
    args = scene.args;
    args.input = (clattn_buffer){0};
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer input is missing");
    args = scene.args;
    args.d_input = args.d_output;
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer d_input shares bytes with d_output");
    args = scene.args;
    args.d_w_k = args.w_k;
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_BUFFER, "buffer d_w_k shares bytes with w_k");
    args = scene.args;
    args.kv_len = 8;
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE,
                   "kv_len is 8: expected q_len (9) with CLATTN_LAYER_KEY");
    args = scene.args;
    args.q_len = 10;
    expect_refusal(harness, &scene, &args, CLATTN_ERROR_INVALID_VALUE, "q_len is 10: expected 0 to the plan's 9");

    assert_int_equal(clattn_layer_backward_run(scene.layer.plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "plan is one of layer: expected one of layer_backward"));
    clattn_plan *plan = NULL;
    scene.desc.variant = "nonsense";
    assert_int_equal(clattn_layer_backward_plan_create(harness->context, &scene.desc, &plan, &error),
                     CLATTN_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "attention: variant is \"nonsense\": expected auto or one of: "));
    assert_null(plan);
    layer_backward_close(harness, &scene);
}

static void dropout_needs_its_seed(void **state)
{
    static const struct layer_backward_case c = {.layer = {"b2h2q9k9d16:f32:dropout=0.5", SELF, 24, WHOLE}};
    const struct harness *harness = *state;
    struct layer_backward_scene scene;

    layer_backward_describe(&scene, &c);
    layer_backward_open(harness, &scene);
    scene.args.dropout_seed_set = 0;
    expect_refusal(harness, &scene, &scene.args, CLATTN_ERROR_INVALID_VALUE, "dropout_seed is missing");
    layer_backward_close(harness, &scene);
}

/* A plan tells what it is; one without attention's backward pass is named by its only part. */
static void plans_explain_themselves(void **state)
{
    static const struct layer_backward_case whole = {.layer = {"b2h2q9k9d16:f32", SELF, 24, .bias = 1, WHOLE},
                                                     .accumulate = 1};
    static const struct layer_backward_case part = {.layer = {"b2h2q9k9d16:f32", SELF, 24, .bias = 1, WHOLE},
                                                    .without = ~(1u << D_B_O)};
    const struct harness *harness = *state;
    struct layer_backward_scene scene;

    layer_backward_describe(&scene, &whole);
    layer_backward_open(harness, &scene);
    assert_string_equal(
        clattn_plan_problem(scene.plan),
        "layer_backward:f32:d_input:d_w_q:d_w_k:d_w_v:d_w_o:d_b_q:d_b_k:d_b_v:d_b_o:accumulate layer self "
        "24->24:f32:bias:keep b2h2q9k9d16:f32:lse");
    assert_int_equal(strncmp(clattn_plan_name(scene.plan), "layer_backward/", 15), 0);
    assert_non_null(strstr(clattn_plan_describe(scene.plan), "\nw_o: linear_backward b2l9i32o24"));
    assert_non_null(strstr(clattn_plan_describe(scene.plan), "\nattention: b2h2q9k9d16:f32"));
    assert_non_null(strstr(clattn_plan_describe(scene.plan), "\nw_v: linear_backward "));
    layer_backward_close(harness, &scene);
    layer_backward_describe(&scene, &part);
    layer_backward_open(harness, &scene);
    layer_backward_run(harness, &scene);
    layer_backward_check(&scene);
    assert_null(strstr(clattn_plan_describe(scene.plan), "\nattention: "));
    layer_backward_close(harness, &scene);
}

int main(void)
{
    const struct CMUnitTest quick[] = {
        cmocka_unit_test(gradients_are_right),      cmocka_unit_test(runs_repeat),
        cmocka_unit_test(keeping_changes_nothing),  cmocka_unit_test(runs_refuse),
        cmocka_unit_test(plans_explain_themselves),
    };
    const struct CMUnitTest more[] = {
        cmocka_unit_test(more_gradients_are_right), cmocka_unit_test(shorter_runs),
        cmocka_unit_test(each_is_had_alone),        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(dropout_needs_its_seed),
    };
    int failed = 0;

    if (harness_asks("quick"))
        failed += cmocka_run_group_tests(quick, harness_setup, harness_teardown);
    if (harness_asks("more"))
        failed += cmocka_run_group_tests(more, harness_setup, harness_teardown);
    return failed;
}
