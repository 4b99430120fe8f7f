/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scores, softmax and weighted sum as operations of their own: against the oracle and against sums in double, strided,
 * in place, with NaN and Inf; and that scores are what the unfused variant works on.
 */
#include "compare.h"
#include "tensors.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- scores --------------------------------------------------------------------------------------------------- */

/* Runs the scores primitive on the arrays of a case whose scores stage it has, and reads them back. */
static void run_scores(const struct harness *harness, const struct test_case *c, struct arrays *arrays)
{
    clattn_plan *plan = NULL;
    struct harness_buffers buffers;
    struct arrays before;
    clattn_error error;
    char message[200];

    harness_check(clattn_scores_plan_create(harness->context, &c->desc, &plan, &error), &error, c->name);
    assert_true(arrays_copy(&before, arrays));
    harness_buffers_create(harness, arrays, &buffers);
    clattn_attention_args args = harness_args(plan, arrays, &buffers);
    memset(&args.value, 0, sizeof args.value); /* not scores' business */
    memset(&args.output, 0, sizeof args.output);
    memset(&args.lse, 0, sizeof args.lse);
    harness_check(clattn_scores_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c->name);
    harness_read(harness, &buffers, arrays);
    if (!arrays_only_outputs_differ(&before, arrays, message))
        fail_msg("%s: %s", c->name, message);
    harness_buffers_release(&buffers);
    arrays_free(&before);
    clattn_plan_release(plan);
}

/* The quick cases of the table that have scores at one of the stages that are scores'. */
static void scores_are_right(void **state)
{
    const struct harness *harness = *state;
    size_t count;
    int compared[CLATTN_SCORES_WEIGHTS] = {0};

    case_count(&count);
    for (size_t n = 0; n < count; ++n) {
        struct test_case c;
        struct arrays arrays;
        assert_true(case_get(n, &c));
        if (!c.quick || c.desc.scores_stage == CLATTN_SCORES_NONE || c.desc.scores_stage == CLATTN_SCORES_WEIGHTS)
            continue;
        assert_true(arrays_init(&arrays, &c));
        run_scores(harness, &c, &arrays);
        struct oracle_operands operands = arrays_operands(&arrays);
        struct compare_result result =
            compare_attention(&operands, NULL, NULL, arrays_at(&arrays, ARRAY_SCORES), 1, false, false, false);
        if (!result.passed)
            fail_msg("%s: %s", c.name, result.message);
        compared[c.desc.scores_stage]++;
        arrays_free(&arrays);
    }
    assert_true(compared[CLATTN_SCORES_RAW] > 0 && compared[CLATTN_SCORES_SOFTCAP] > 0 &&
                compared[CLATTN_SCORES_MASKED] > 0);
}

static void scores_are_those_of_unfused_attention(void **state)
{
    static const char *const problems[] = {
        "b2h4g2q70k90d40:f32:causal:scores=masked",
        "b1h2q33k200d72:f16:mask=add:softcap=9:scores=masked",
        "b1h2q33k200d72:bf16:lengths:scores=raw",
    };
    const struct harness *harness = *state;

    for (size_t p = 0; p < sizeof problems / sizeof *problems; ++p) {
        struct test_case c;
        struct arrays alone;
        struct arrays within;
        char message[600];
        assert_true(case_from_problem(problems[p], &c));
        assert_true(arrays_init(&alone, &c));
        assert_true(arrays_copy(&within, &alone));
        run_scores(harness, &c, &alone);
        clattn_plan *plan = harness_plan(harness, &c, "unfused");
        if (!harness_run(harness, plan, &within, message))
            fail_msg("%s: %s", c.name, message);
        assert_memory_equal(alone.block[ARRAY_SCORES].bytes, within.block[ARRAY_SCORES].bytes,
                            alone.block[ARRAY_SCORES].size);
        clattn_plan_release(plan);
        arrays_free(&alone);
        arrays_free(&within);
    }
}

static void scores_refuse(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    clattn_plan *plan = NULL;
    clattn_error error;

    assert_true(case_from_problem("b1h1q2k2d2:f32", &c));
    assert_int_equal(clattn_scores_plan_create(harness->context, &c.desc, &plan, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "scores_stage"));
    c.desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    assert_int_equal(clattn_scores_plan_create(harness->context, &c.desc, &plan, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "scores_stage"));
    assert_null(plan);
}

/* ---- softmax -------------------------------------------------------------------------------------------------- */

/*
 * Rows by turns: normal; of large numbers; a third -inf; all -inf; equal; one NaN; of -FLT_MAX throughout; one +inf.
 */
static void fill_scores(struct tensor *t)
{
    uint64_t seed = 7;

    TENSOR_FOR_EACH(t)
    {
        int64_t row = (b * t->extent[1] + h) * t->extent[2] + i;
        double value = case_normal(&seed);
        bool third = case_random(&seed) % 3 == 0;
        switch (row % 8) {
        case 1:
            value *= 30000.0;
            break;
        case 2:
            value = third ? -HUGE_VAL : value;
            break;
        case 3:
            value = -HUGE_VAL;
            break;
        case 4:
            value = -77.0;
            break;
        case 5:
            value = j == t->extent[3] / 2 ? (double)NAN : value;
            break;
        case 6:
            value = -(double)FLT_MAX;
            break;
        case 7:
            value = j == t->extent[3] - 1 ? HUGE_VAL : value;
            break;
        default:
            break;
        }
        tensor_put(t, b, h, i, j, value);
    }
}

/* One row in double; false where it is NaN. */
static bool softmax_row(const struct tensor *t, int64_t b, int64_t h, int64_t i, double *weights, double *lse)
{
    double largest = -HUGE_VAL;
    double sum = 0.0;
    bool nan = false;

    for (int64_t j = 0; j < t->extent[3]; ++j) {
        double s = tensor_get(t, b, h, i, j);
        nan = nan || isnan(s) || s == HUGE_VAL;
        largest = s > largest ? s : largest;
    }
    for (int64_t j = 0; j < t->extent[3]; ++j)
        sum += weights[j] = largest == -HUGE_VAL ? 0.0 : exp(tensor_get(t, b, h, i, j) - largest);
    for (int64_t j = 0; j < t->extent[3] && sum > 0.0; ++j)
        weights[j] /= sum;
    *lse = largest == -HUGE_VAL ? -HUGE_VAL : largest + log(sum);
    return !nan;
}

static void check_softmax(const struct tensor *scores, const struct tensor *weights, const struct tensor *lse)
{
    double *expected = calloc((size_t)scores->extent[3] + 1, sizeof *expected);
    double expected_lse;

    assert_non_null(expected);
    TENSOR_FOR_EACH(scores)
    {
        double found = tensor_get(weights, b, h, i, j);
        if (j > 0 && isnan(expected_lse)) {
            assert_true(isnan(found));
            continue;
        }
        if (j == 0) {
            bool number = softmax_row(scores, b, h, i, expected, &expected_lse);
            double found_lse = tensor_get(lse, b, h, i, 0);
            if (!number) {
                expected_lse = (double)NAN;
                assert_true(isnan(found) && !isfinite(found_lse) && found_lse != -HUGE_VAL);
                continue;
            }
            double length = sqrt((double)scores->extent[3]) / 16.0;
            double bound = 4.0 * 0x1p-23 * (1.0 + (expected_lse == -HUGE_VAL ? 0.0 : fabs(expected_lse)) + length);
            assert_true(compare_share(CLATTN_F32, found_lse, expected_lse, bound) <= 1.0);
        }
        double s = tensor_get(scores, b, h, i, j);
        double bound =
            s == -HUGE_VAL
                ? 0.0
                : 2.0 * 4.0 * 0x1p-23 * (2.0 + sqrt((double)scores->extent[3]) / 16.0) * expected[j] + 0x1p-126;
        if (compare_share(CLATTN_F32, found, expected[j], bound) > 1.0)
            fail_msg("softmax[%d,%d,%d,%d] of %d is %.9g: expected %.9g", (int)b, (int)h, (int)i, (int)j,
                     (int)scores->extent[3], found, expected[j]);
    }
    free(expected);
}

/* Into a buffer of its own and in place, dense and padded, for a length. */
static void softmax_of_length(const struct harness *harness, int64_t kv_len, int64_t padding, bool in_place)
{
    struct tensor scores = tensor_make(CLATTN_F32, 2, 3, 11, kv_len, padding);
    struct tensor original = tensor_make(CLATTN_F32, 2, 3, 11, kv_len, padding);
    struct tensor weights = tensor_make(CLATTN_F32, 2, 3, 11, kv_len, in_place ? padding : padding / 2);
    struct tensor lse = tensor_make(CLATTN_F32, 2, 3, 11, 1, 0);
    clattn_plan *plan = NULL;
    clattn_softmax_desc desc;
    clattn_softmax_args args;
    clattn_error error;

    clattn_softmax_desc_init(&desc);
    desc.batch = 2;
    desc.heads = 3;
    desc.q_len = 11;
    desc.kv_len = kv_len;
    desc.scores = scores.layout;
    desc.weights = in_place ? scores.layout : weights.layout;
    desc.lse = 1;
    fill_scores(&scores);
    fill_scores(&original);
    harness_check(clattn_softmax_plan_create(harness->context, &desc, &plan, &error), &error, "softmax");
    clattn_softmax_args_init(&args, plan);
    assert_true(args.q_len == 11 && args.kv_len == kv_len);
    args.scores = tensor_upload(harness, &scores);
    args.weights = in_place ? args.scores : tensor_upload(harness, &weights);
    args.lse = tensor_upload(harness, &lse);
    harness_check(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "softmax");
    tensor_download(harness, &lse);
    tensor_download(harness, in_place ? &scores : &weights);
    check_softmax(&original, in_place ? &scores : &weights, &lse);
    clattn_plan_release(plan);
    tensor_free(&scores);
    tensor_free(&original);
    tensor_free(&weights);
    tensor_free(&lse);
}

static void softmax_is_right(void **state)
{
    static const int64_t lengths[] = {1, 2, 3, 16, 17, 63, 64, 65, 255, 1000, 4099};

    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; ++n)
        for (int64_t padding = 0; padding < 12; padding += 6) {
            softmax_of_length(*state, lengths[n], padding, false);
            softmax_of_length(*state, lengths[n], padding, true);
        }
}

/* In place with other strides, or moved by some elements, is no longer in place. */
static void softmax_refuses_to_overlap(void **state)
{
    const struct harness *harness = *state;
    struct tensor scores = tensor_make(CLATTN_F32, 1, 1, 8, 16, 0);
    clattn_plan *plan = NULL;
    clattn_softmax_desc desc;
    clattn_softmax_args args;
    clattn_error error;

    clattn_softmax_desc_init(&desc);
    desc.batch = desc.heads = 1;
    desc.q_len = 4;
    desc.kv_len = 16;
    tensor_fill(&scores, 1.0, 1);
    harness_check(clattn_softmax_plan_create(harness->context, &desc, &plan, &error), &error, "softmax");
    clattn_softmax_args_init(&args, plan);
    args.scores = args.weights = tensor_upload(harness, &scores);
    args.weights.offset += 64;
    assert_int_equal(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_BUFFER);
    assert_non_null(strstr(error.message, "weights"));
    args.weights.offset += 3 * 64;
    harness_check(clattn_softmax_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "apart");
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    clattn_plan_release(plan);
    tensor_free(&scores);
}

/* ---- weighted sum --------------------------------------------------------------------------------------------- */

struct sum_case {
    int64_t b, h, g, q, k, v;
    clattn_dtype value;
    clattn_dtype output;
    int64_t padding;
};

static const struct sum_case sum_cases[] = {
    {1, 1, 1, 1, 1, 1, CLATTN_F32, CLATTN_F32, 0},     {2, 4, 2, 70, 90, 40, CLATTN_F32, CLATTN_F32, 0},
    {2, 4, 1, 65, 130, 65, CLATTN_F16, CLATTN_F16, 5}, {1, 3, 3, 33, 203, 72, CLATTN_BF16, CLATTN_BF16, 3},
    {1, 2, 2, 17, 64, 203, CLATTN_F16, CLATTN_F32, 1}, {3, 2, 1, 5, 31, 256, CLATTN_F32, CLATTN_BF16, 0},
    {1, 2, 1, 3, 700, 21, CLATTN_BF16, CLATTN_F16, 2},
};

/* The tensors of a weighted sum, its plan, and what came out after one run of fewer queries and keys than the plan's.
 */
static void run_sum(const struct harness *harness, const struct sum_case *c, struct tensor *weights,
                    struct tensor *value, struct tensor *output)
{
    clattn_weighted_sum_desc desc;
    clattn_weighted_sum_args args;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_weighted_sum_desc_init(&desc);
    desc.batch = c->b;
    desc.q_heads = c->h;
    desc.kv_heads = c->g;
    desc.q_len = c->q;
    desc.kv_len = c->k;
    desc.value_dim = c->v;
    desc.weights = weights->layout;
    desc.value = value->layout;
    desc.output = output->layout;
    harness_check(clattn_weighted_sum_plan_create(harness->context, &desc, &plan, &error), &error, "weighted sum");
    clattn_weighted_sum_args_init(&args, plan);
    assert_true(args.q_len == c->q && args.kv_len == c->k);
    args.q_len = c->q > 4 ? c->q - 2 : c->q;
    args.kv_len = c->k > 4 ? c->k - 3 : c->k;
    weights->extent[2] = output->extent[2] = args.q_len;
    weights->extent[3] = value->extent[2] = args.kv_len;
    args.weights = tensor_upload(harness, weights);
    args.value = tensor_upload(harness, value);
    args.output = tensor_upload(harness, output);
    harness_check(clattn_weighted_sum_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "weighted sum");
    tensor_download(harness, output);
    clattn_plan_release(plan);
}

/* Bound 1 with weights that are exact: no scores are behind them, so A is 0. */
static void check_sum(const struct sum_case *c, const struct tensor *weights, const struct tensor *value,
                      const struct tensor *output)
{
    double random = 4.0 * 0x1p-23 * (1.0 + sqrt((double)weights->extent[3]) / 16.0);
    double relative = compare_epsilon(c->output) + fmin(random, 0x1p-16);

    TENSOR_FOR_EACH(output)
    {
        double expected = 0.0;
        double magnitude = 0.0;
        for (int64_t k = 0; k < weights->extent[3]; ++k) {
            double product = tensor_get(weights, b, h, i, k) * tensor_get(value, b, h / (c->h / c->g), k, j);
            expected += product;
            magnitude += fabs(product);
        }
        double bound = relative * magnitude;
        if (fabs(expected) < compare_smallest_normal(c->output))
            bound += compare_smallest_normal(c->output);
        double found = tensor_get(output, b, h, i, j);
        if (compare_share(c->output, found, expected, bound) > 1.0)
            fail_msg("weighted sum [%d,%d,%d,%d] of %d keys is %.9g: expected %.9g", (int)b, (int)h, (int)i, (int)j,
                     (int)weights->extent[3], found, expected);
    }
}

static void weighted_sum_is_right(void **state)
{
    for (size_t n = 0; n < sizeof sum_cases / sizeof *sum_cases; ++n) {
        const struct sum_case *c = &sum_cases[n];
        struct tensor weights = tensor_make(CLATTN_F32, c->b, c->h, c->q, c->k, c->padding);
        struct tensor value = tensor_make(c->value, c->b, c->g, c->k, c->v, c->padding);
        struct tensor output = tensor_make(c->output, c->b, c->h, c->q, c->v, c->padding);
        tensor_fill(&weights, 0.3, n);
        tensor_fill(&value, 1.0, n + 100);
        run_sum(*state, c, &weights, &value, &output);
        check_sum(c, &weights, &value, &output);
        tensor_free(&weights);
        tensor_free(&value);
        tensor_free(&output);
    }
}

static void weighted_sums_of_equal_terms_do_not_drift(void **state)
{
    const struct sum_case c = {1, 1, 1, 2, 1 << 20, 4, CLATTN_F32, CLATTN_F32, 0};
    struct tensor weights = tensor_make(CLATTN_F32, 1, 1, c.q, c.k, 0);
    struct tensor value = tensor_make(CLATTN_F32, 1, 1, c.k, c.v, 0);
    struct tensor output = tensor_make(CLATTN_F32, 1, 1, c.q, c.v, 0);

    TENSOR_FOR_EACH(&weights)
    tensor_put(&weights, b, h, i, j, 0.7);
    TENSOR_FOR_EACH(&value)
    tensor_put(&value, b, h, i, j, 0.1);
    run_sum(*state, &c, &weights, &value, &output);
    check_sum(&c, &weights, &value, &output);
    tensor_free(&weights);
    tensor_free(&value);
    tensor_free(&output);
}

/* A weight of 0 times NaN is NaN, in its column; and NaN in a weight reaches the row. */
static void weighted_sum_is_plain_arithmetic(void **state)
{
    const struct sum_case c = {1, 1, 1, 4, 4, 70, CLATTN_F32, CLATTN_F32, 0};
    struct tensor weights = tensor_make(CLATTN_F32, 1, 1, 4, 4, 0);
    struct tensor value = tensor_make(CLATTN_F32, 1, 1, 4, 70, 0);
    struct tensor output = tensor_make(CLATTN_F32, 1, 1, 4, 70, 0);

    tensor_fill(&weights, 1.0, 3);
    tensor_fill(&value, 1.0, 4);
    tensor_put(&weights, 0, 0, 1, 2, 0.0);
    tensor_put(&value, 0, 0, 2, 66, (double)NAN);
    tensor_put(&weights, 0, 0, 3, 0, (double)NAN);
    run_sum(*state, &c, &weights, &value, &output);
    TENSOR_FOR_EACH(&output)
    assert_true(isnan(tensor_get(&output, b, h, i, j)) == (j == 66 || i == 3));
    tensor_free(&weights);
    tensor_free(&value);
    tensor_free(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_right),
        cmocka_unit_test(scores_are_those_of_unfused_attention),
        cmocka_unit_test(scores_refuse),
        cmocka_unit_test(softmax_is_right),
        cmocka_unit_test(softmax_refuses_to_overlap),
        cmocka_unit_test(weighted_sum_is_right),
        cmocka_unit_test(weighted_sums_of_equal_terms_do_not_drift),
        cmocka_unit_test(weighted_sum_is_plain_arithmetic),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
