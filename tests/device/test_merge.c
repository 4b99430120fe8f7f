/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merge of partial states: against sums in double, with parts that saw no key, of every number of parts; and that
 * attention over parts of the keys, merged, is attention over all of them.
 */
#include "compare.h"
#include "tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- against double ------------------------------------------------------------------------------------------- */

struct merge_case {
    int64_t b, h, q, v, parts;
    clattn_dtype part;
    clattn_dtype output;
    int64_t padding; /* of the output */
};

static const struct merge_case merge_cases[] = {
    {1, 1, 1, 1, 1, CLATTN_F32, CLATTN_F32, 0},      {2, 3, 5, 64, 2, CLATTN_F32, CLATTN_F32, 0},
    {2, 3, 7, 21, 5, CLATTN_F16, CLATTN_F16, 3},     {1, 2, 3, 203, 17, CLATTN_BF16, CLATTN_BF16, 1},
    {1, 4, 1, 128, 64, CLATTN_F32, CLATTN_F16, 0},   {1, 2, 2, 72, 65, CLATTN_F32, CLATTN_BF16, 5},
    {1, 1, 2, 1000, 200, CLATTN_F16, CLATTN_F32, 7}, {3, 2, 9, 40, 3, CLATTN_BF16, CLATTN_F32, 0},
};

/* The tensors of a merge: of parts [parts, b * h, q, v] and [parts, b * h, q, 1], merged [b, h, q, v] and lse. */
struct scene {
    struct tensor parts;
    struct tensor part_lse;
    struct tensor output;
    struct tensor lse;
    clattn_merge_desc desc;
    clattn_plan *plan;
    clattn_merge_args args;
};

static void open_scene(const struct harness *harness, const struct merge_case *c, struct scene *scene)
{
    clattn_error error;

    *scene = (struct scene){
        .parts = tensor_make(c->part, c->parts, c->b * c->h, c->q, c->v, 0),
        .part_lse = tensor_make(CLATTN_F32, c->parts, c->b * c->h, c->q, 1, 0),
        .output = tensor_make(c->output, c->b, c->h, c->q, c->v, c->padding),
        .lse = tensor_make(CLATTN_F32, c->b, c->h, c->q, 1, 0),
    };
    clattn_merge_desc_init(&scene->desc);
    scene->desc.batch = c->b;
    scene->desc.heads = c->h;
    scene->desc.q_len = c->q;
    scene->desc.value_dim = c->v;
    scene->desc.parts = c->parts;
    scene->desc.part = c->part;
    scene->desc.output = scene->output.layout;
    scene->desc.lse = 1;
    harness_check(clattn_merge_plan_create(harness->context, &scene->desc, &scene->plan, &error), &error, "merge");
    assert_int_equal(clattn_plan_workspace_size(scene->plan), 0);
    clattn_merge_args_init(&scene->args, scene->plan);
    assert_true(scene->args.q_len == c->q && scene->args.parts == c->parts);
}

static void close_scene(struct scene *scene)
{
    clattn_plan_release(scene->plan);
    tensor_free(&scene->parts);
    tensor_free(&scene->part_lse);
    tensor_free(&scene->output);
    tensor_free(&scene->lse);
}

/* Uploads, runs `q_len` rows of `parts` parts and reads back. */
static void run_scene(const struct harness *harness, struct scene *scene, int64_t q_len, int64_t parts)
{
    clattn_error error;

    scene->parts.extent[2] = scene->part_lse.extent[2] = scene->output.extent[2] = scene->lse.extent[2] = q_len;
    scene->parts.extent[0] = scene->part_lse.extent[0] = parts;
    scene->args.q_len = q_len;
    scene->args.parts = parts;
    scene->args.parts_output = tensor_upload(harness, &scene->parts);
    scene->args.part_lse = tensor_upload(harness, &scene->part_lse);
    scene->args.output = tensor_upload(harness, &scene->output);
    scene->args.lse = tensor_upload(harness, &scene->lse);
    harness_check(clattn_merge_run(scene->plan, harness->queue, &scene->args, 0, NULL, NULL, &error), &error, "merge");
    tensor_download(harness, &scene->output);
    tensor_download(harness, &scene->lse);
}

/*
 * States of parts whose log-sum-exps lie far apart in some rows and are equal in others. Of every third part the lse is
 * -inf and the output NaN, and in every fifth row of all parts.
 */
static void fill_scene(struct scene *scene, uint64_t seed)
{
    static const double spread[] = {1.0, 40.0, 0.0, 30000.0};

    tensor_fill(&scene->parts, 1.0, seed);
    TENSOR_FOR_EACH(&scene->part_lse)
    {
        int64_t row = h * scene->part_lse.extent[2] + i;
        double value = 5.0 + spread[row % 4] * case_normal(&seed);
        bool left_out = (scene->part_lse.extent[0] > 1 && b % 3 == 1) || row % 5 == 4;
        tensor_put(&scene->part_lse, b, h, i, 0, left_out ? -HUGE_VAL : value);
        for (int64_t d = 0; left_out && d < scene->parts.extent[3]; ++d)
            tensor_put(&scene->parts, b, h, i, d, (double)NAN);
    }
}

/* The largest lse of a row's parts and the sum of the powers of the others' differences from it. */
static double log_sum(const struct scene *scene, int64_t head, int64_t i)
{
    double largest = -HUGE_VAL;
    double sum = 0.0;

    for (int64_t k = 0; k < scene->part_lse.extent[0]; ++k)
        largest = fmax(largest, tensor_get(&scene->part_lse, k, head, i, 0));
    for (int64_t k = 0; k < scene->part_lse.extent[0] && largest > -HUGE_VAL; ++k)
        sum += exp(tensor_get(&scene->part_lse, k, head, i, 0) - largest);
    return sum > 0.0 ? largest + log(sum) : -HUGE_VAL;
}

static void check_scene(const struct scene *scene)
{
    const int64_t parts = scene->part_lse.extent[0];
    const clattn_dtype dtype = scene->output.layout.dtype;
    const double relative = compare_epsilon(dtype) + 4.0 * 0x1p-23 * (1.0 + sqrt((double)parts) / 16.0);

    TENSOR_FOR_EACH(&scene->output)
    {
        int64_t head = b * scene->output.extent[1] + h;
        double lse = log_sum(scene, head, i);
        double expected = 0.0;
        double magnitude = 0.0;
        for (int64_t k = 0; k < parts; ++k) {
            double part_lse = tensor_get(&scene->part_lse, k, head, i, 0);
            if (part_lse == -HUGE_VAL)
                continue;
            double product = exp(part_lse - lse) * tensor_get(&scene->parts, k, head, i, j);
            expected += product;
            magnitude += fabs(product);
        }
        double bound = relative * magnitude;
        if (magnitude > 0.0 && fabs(expected) < compare_smallest_normal(dtype))
            bound += compare_smallest_normal(dtype);
        double found = tensor_get(&scene->output, b, h, i, j);
        if (compare_share(dtype, found, expected, bound) > 1.0)
            fail_msg("merge of %d parts [%d,%d,%d,%d] is %.9g: expected %.9g", (int)parts, (int)b, (int)h, (int)i,
                     (int)j, found, expected);
        double found_lse = tensor_get(&scene->lse, b, h, i, 0);
        double lse_bound = isinf(lse) ? 0.0 : 4.0 * 0x1p-23 * (1.0 + fabs(lse));
        if (compare_share(CLATTN_F32, found_lse, lse, lse_bound) > 1.0)
            fail_msg("lse of %d parts [%d,%d,%d] is %.9g: expected %.9g", (int)parts, (int)b, (int)h, (int)i, found_lse,
                     lse);
    }
}

/* All that the plan has, and fewer rows and parts; no parts give 0 and -inf. */
static void merge_is_right(void **state)
{
    for (size_t n = 0; n < sizeof merge_cases / sizeof *merge_cases; ++n)
        for (int less = 0; less < 3; ++less) {
            const struct merge_case *c = &merge_cases[n];
            struct scene scene;
            open_scene(*state, c, &scene);
            fill_scene(&scene, n + 1);
            run_scene(*state, &scene, less > 0 ? (c->q + 1) / 2 : c->q,
                      less == 0   ? c->parts
                      : less == 1 ? (c->parts + 1) / 2
                                  : 0);
            check_scene(&scene);
            close_scene(&scene);
        }
}

static void many_equal_parts_do_not_drift(void **state)
{
    const struct merge_case c = {1, 1, 1, 64, 65536, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;

    open_scene(*state, &c, &scene);
    TENSOR_FOR_EACH(&scene.parts)
    tensor_put(&scene.parts, b, h, i, j, 0.1);
    TENSOR_FOR_EACH(&scene.part_lse)
    tensor_put(&scene.part_lse, b, h, i, j, b == 0 ? 0.6 : 0.0);
    run_scene(*state, &scene, 1, c.parts);
    check_scene(&scene);
    close_scene(&scene);
}

/* NaN in an lse reaches its row, in an output its column, a NaN beside -inf nothing. Without lse none is written. */
static void nan_reaches_what_it_should(void **state)
{
    const struct merge_case c = {1, 1, 4, 70, 3, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;

    open_scene(*state, &c, &scene);
    tensor_fill(&scene.parts, 1.0, 1);
    tensor_fill(&scene.part_lse, 1.0, 2);
    tensor_put(&scene.part_lse, 1, 0, 0, 0, (double)NAN);
    tensor_put(&scene.parts, 2, 0, 1, 66, (double)NAN);
    tensor_put(&scene.parts, 2, 0, 2, 3, (double)NAN);
    tensor_put(&scene.part_lse, 2, 0, 2, 0, -HUGE_VAL);
    run_scene(*state, &scene, 4, 3);
    TENSOR_FOR_EACH(&scene.output)
    {
        assert_true(isnan(tensor_get(&scene.output, b, h, i, j)) == (i == 0 || (i == 1 && j == 66)));
        assert_true(isnan(tensor_get(&scene.lse, b, h, i, 0)) == (i == 0));
    }
    close_scene(&scene);
}

/* An lse of +inf has all the weight; two of them, beside which nothing counts, say nothing of each other's. */
static void infinite_weights(void **state)
{
    const struct merge_case c = {1, 1, 4, 70, 70, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;

    open_scene(*state, &c, &scene);
    tensor_fill(&scene.parts, 1.0, 1);
    tensor_fill(&scene.part_lse, 1.0, 2);
    tensor_put(&scene.part_lse, 1, 0, 0, 0, HUGE_VAL);
    tensor_put(&scene.part_lse, 0, 0, 0, 0, 3e38);
    tensor_put(&scene.part_lse, 69, 0, 1, 0, HUGE_VAL);
    tensor_put(&scene.part_lse, 2, 0, 2, 0, HUGE_VAL);
    tensor_put(&scene.part_lse, 66, 0, 2, 0, HUGE_VAL);
    tensor_put(&scene.part_lse, 0, 0, 3, 0, HUGE_VAL);
    tensor_put(&scene.part_lse, 1, 0, 3, 0, (double)NAN);
    tensor_put(&scene.parts, 0, 0, 0, 3, HUGE_VAL); /* which have no weight, whatever they are */
    tensor_put(&scene.parts, 5, 0, 1, 69, (double)NAN);
    run_scene(*state, &scene, 4, 70);
    TENSOR_FOR_EACH(&scene.output)
    {
        double found = tensor_get(&scene.output, b, h, i, j);
        assert_true(i < 2 ? found == tensor_get(&scene.parts, i == 0 ? 1 : 69, h, i, j) : isnan(found));
        double lse = tensor_get(&scene.lse, b, h, i, 0);
        assert_true(i < 3 ? lse == HUGE_VAL : isnan(lse));
    }
    close_scene(&scene);
}

static void lse_is_optional(void **state)
{
    const struct harness *harness = *state;
    const struct merge_case c = {2, 2, 3, 24, 4, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;
    clattn_error error;

    open_scene(harness, &c, &scene);
    clattn_plan_release(scene.plan);
    scene.plan = NULL;
    scene.desc.lse = 0;
    harness_check(clattn_merge_plan_create(harness->context, &scene.desc, &scene.plan, &error), &error, "merge");
    fill_scene(&scene, 3);
    run_scene(harness, &scene, 3, 4);
    TENSOR_FOR_EACH(&scene.lse)
    {
        assert_true(isnan(tensor_get(&scene.lse, b, h, i, j))); /* as it was */
        tensor_put(&scene.lse, b, h, i, j, log_sum(&scene, b * 2 + h, i));
    }
    check_scene(&scene);
    close_scene(&scene);
}

/* ---- against attention ---------------------------------------------------------------------------------------- */

/* Runs attention over keys [first, first + count) into part `k` of the two buffers. */
static void attend_part(const struct harness *harness, clattn_plan *plan, const struct arrays *arrays,
                        const clattn_attention_args *whole, int64_t k, int64_t first, int64_t count,
                        const struct scene *scene)
{
    clattn_attention_args args = *whole;
    clattn_error error;

    args.kv_len = count;
    args.offset -= first; /* the queries stand where they stood */
    args.key.offset += (size_t)(first * arrays->array[ARRAY_KEY].strides[2]) * arrays->array[ARRAY_KEY].element;
    args.value.offset += (size_t)(first * arrays->array[ARRAY_VALUE].strides[2]) * arrays->array[ARRAY_VALUE].element;
    args.output = scene->args.parts_output;
    args.output.offset += (size_t)(k * scene->parts.strides[0]) * tensor_element_size(&scene->parts);
    args.lse = scene->args.part_lse;
    args.lse.offset += (size_t)(k * scene->part_lse.strides[0]) * sizeof(float);
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "a part");
}

/*
 * Keys cut at `parts` - 1 places that are nowhere regular, so that some parts are empty and some see nothing. Where the
 * problem has sinks, the last part has them, and the others do without.
 */
static void merge_attention(const struct harness *harness, const char *problem, int64_t parts)
{
    struct test_case c;
    struct arrays arrays;
    struct harness_buffers buffers;
    struct scene scene;
    clattn_error error;
    uint64_t seed = (uint64_t)parts;

    assert_true(case_from_problem(problem, &c));
    assert_true(arrays_init(&arrays, &c));
    harness_buffers_create(harness, &arrays, &buffers);
    struct test_case without = c;
    without.desc.sinks = 0;
    clattn_plan *plan = harness_plan(harness, &c, NULL);
    clattn_plan *plan_without = harness_plan(harness, &without, NULL);
    clattn_attention_args whole = harness_args(plan, &arrays, &buffers);
    const struct merge_case sizes = {
        c.desc.batch,        c.desc.q_heads,      c.q_len, oracle_value_dim(&c.desc), parts,
        c.desc.output.dtype, c.desc.output.dtype, 0};
    open_scene(harness, &sizes, &scene);
    scene.args.parts_output = tensor_upload(harness, &scene.parts);
    scene.args.part_lse = tensor_upload(harness, &scene.part_lse);
    int64_t first = 0;
    for (int64_t k = 0; k < parts; ++k) {
        int64_t left = c.kv_len - first;
        int64_t count = k + 1 == parts ? left : (int64_t)(case_random(&seed) % 40);
        count = count < left ? count : left;
        attend_part(harness, k + 1 == parts ? plan : plan_without, &arrays, &whole, k, first, count, &scene);
        first += count;
    }
    scene.args.output = whole.output;
    scene.args.lse = whole.lse;
    harness_check(clattn_merge_run(scene.plan, harness->queue, &scene.args, 0, NULL, NULL, &error), &error, problem);
    harness_read(harness, &buffers, &arrays);
    struct compare_result result = arrays_compare(&arrays, 1, true, false);
    if (!result.passed)
        fail_msg("%s in %d parts: %s", problem, (int)parts, result.message);
    close_scene(&scene);
    clattn_plan_release(plan);
    clattn_plan_release(plan_without);
    harness_buffers_release(&buffers);
    arrays_free(&arrays);
}

static void parts_of_attention_are_the_whole(void **state)
{
    for (int64_t parts = 1; parts <= 17; ++parts)
        merge_attention(*state, "b2h4g2q5k160d40:f32:causal@100:lse", parts);
    merge_attention(*state, "b1h2q3k200d64v72:f16:lse", 5);
    merge_attention(*state, "b1h2q3k200d64:bf16:window=20,3@90:lse", 4);
    merge_attention(*state, "b2h4g2q3k120d32:f32:sinks:lse", 3);
    merge_attention(*state, "b1h2q2k60d16:f32:causal@-1:sinks:lse", 6); /* the first row sees its sink alone */
}

/* Variants that split the keys and merge have no part then, and the sink all the same. */
static void without_keys_the_sink_is_left(void **state)
{
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n) {
        struct test_case c;
        struct arrays arrays;
        char message[600];
        harness_case(*state, &c, "b2h4g2q1k8192d64:f32:sinks:lse", clattn_attention_variant(n));
        c.kv_len = 0;
        assert_true(arrays_init(&arrays, &c));
        clattn_plan *plan = harness_plan(*state, &c, clattn_attention_variant(n));
        if (!harness_run(*state, plan, &arrays, message))
            fail_msg("%s: %s", clattn_plan_name(plan), message);
        struct compare_result result = arrays_compare(&arrays, 1, true, false);
        if (!result.passed)
            fail_msg("%s: %s", clattn_plan_name(plan), result.message);
        clattn_plan_release(plan);
        arrays_free(&arrays);
    }
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static void refuse_plan(const struct harness *harness, const clattn_merge_desc *desc, const char *message)
{
    clattn_plan *plan = NULL;
    clattn_error error;

    assert_int_equal(clattn_merge_plan_create(harness->context, desc, &plan, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, message);
    assert_null(plan);
}

static void descriptors_are_refused(void **state)
{
    const struct harness *harness = *state;
    const struct merge_case c = {1, 2, 3, 4, 5, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;

    open_scene(harness, &c, &scene);
#define REFUSED(message, change)                                                                                       \
    do {                                                                                                               \
        clattn_merge_desc d = scene.desc;                                                                              \
        change;                                                                                                        \
        refuse_plan(harness, &d, message);                                                                             \
    } while (0)
    REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    REFUSED("heads is -2: expected 0 or more", d.heads = -2);
    REFUSED("q_len is -3: expected 0 or more", d.q_len = -3);
    REFUSED("parts is -4: expected 0 or more", d.parts = -4);
    REFUSED("value_dim is 0: expected 1 or more", d.value_dim = 0);
    REFUSED("part is 3 (bool): expected f32, f16 or bf16", d.part = CLATTN_BOOL);
    REFUSED("output.dtype is 3 (bool): expected f32, f16 or bf16", d.output.dtype = CLATTN_BOOL);
    REFUSED("batch is 65536 and heads is 65536: expected a product of at most 2147483647", d.batch = d.heads = 65536);
    REFUSED("output.strides[1] is 2: expected at least 4, so that no two elements share a place",
            (d.output.strides[3] = 1, d.output.strides[2] = 4, d.output.strides[1] = 2));
#undef REFUSED
    close_scene(&scene);
}

static void refuse_run(const struct harness *harness, const struct scene *scene, const clattn_merge_args *args,
                       clattn_status status, const char *words)
{
    clattn_error error;

    assert_int_equal(clattn_merge_run(scene->plan, harness->queue, args, 0, NULL, NULL, &error), status);
    if (strstr(error.message, words) == NULL)
        fail_msg("message is '%s': expected '%s' in it", error.message, words);
}

static void runs_are_refused(void **state)
{
    const struct harness *harness = *state;
    const struct merge_case c = {1, 2, 3, 4, 5, CLATTN_F32, CLATTN_F32, 0};
    struct scene scene;

    open_scene(harness, &c, &scene);
    fill_scene(&scene, 1);
    run_scene(harness, &scene, 3, 5);
#define REFUSED(status, words, change)                                                                                 \
    do {                                                                                                               \
        clattn_merge_args a = scene.args;                                                                              \
        change;                                                                                                        \
        refuse_run(harness, &scene, &a, status, words);                                                                \
    } while (0)
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "parts is 6: expected 0 to the plan's 5", a.parts = 6);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "q_len is -1: expected 0 to the plan's 3", a.q_len = -1);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer parts_output is missing: expected at least 480 bytes",
            a.parts_output.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer part_lse is missing", a.part_lse.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer lse is missing", a.lse.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer output shares bytes with parts_output", a.output = a.parts_output);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "struct_size", a.struct_size = 8);
#undef REFUSED
    close_scene(&scene);
}

/* Nothing to do: no buffers are needed. */
static void empty_merges_succeed(void **state)
{
    const struct harness *harness = *state;
    clattn_error error;

    for (int which = 0; which < 3; ++which) {
        clattn_merge_desc desc;
        clattn_merge_args args;
        clattn_plan *plan = NULL;
        clattn_merge_desc_init(&desc);
        desc.batch = which != 0;
        desc.heads = which != 1;
        desc.q_len = which != 2;
        desc.value_dim = 8;
        desc.parts = 2;
        desc.lse = 1;
        harness_check(clattn_merge_plan_create(harness->context, &desc, &plan, &error), &error, "empty");
        clattn_merge_args_init(&args, plan);
        harness_check(clattn_merge_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "empty");
        clattn_plan_release(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_is_right),
        cmocka_unit_test(nan_reaches_what_it_should),
        cmocka_unit_test(infinite_weights),
        cmocka_unit_test(many_equal_parts_do_not_drift),
        cmocka_unit_test(lse_is_optional),
        cmocka_unit_test(parts_of_attention_are_the_whole),
        cmocka_unit_test(without_keys_the_sink_is_left),
        cmocka_unit_test(descriptors_are_refused),
        cmocka_unit_test(runs_are_refused),
        cmocka_unit_test(empty_merges_succeed),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
