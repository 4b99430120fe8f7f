/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of attention in the forms that its variants have for vectors of other widths than the device's,
 * where keys are shared out in every way: one span or many, one part or several, sums that are held. Every gradient is
 * within the bound of backward.h of the oracle's.
 *
 *   CLATTN_CASES   "quick": half of them for the device's own vectors; "more": all
 */
#include "internal_forms.h"
#include "oracle_backward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const problems[] = {
    "b1h2q100k203d20v13:f32:causal:lse",      /* a part for each span, rows that see none of them */
    "b1h1q49k9000d4:f32:window=3000,0@0:lse", /* parts of several spans, to and fro */
    "b2h4q3100k70d4:f32:dropout=0.3:lse",     /* so many tiles of queries that sums are held */
    "b2h4q5k17000d4:f32:lse",                 /* so many spans that those of d_query are */
    "b1h4q3k70000d2:f32:lse",                 /* and parts of them */
    "b2h8q65k65d20:f32:softcap=3:lse",        /* one span and part */
    "b4h8q80k600d4:f32:causal@top-left:lse",  /* one part, the last of whose spans no query sees */
};

/* The variant that has forms; the other one has no vectors. */
#define VARIANT "vector"

struct gradient {
    const char *name;
    double terms;
    float *found;
    double *expected;
    double *magnitude;
};

static bool keeps(void *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return oracle_dropout_keeps(operands, b, h, i, j);
}

static void make_gradient(struct gradient *gradient, int64_t count)
{
    gradient->found = malloc((size_t)count * sizeof(float));
    gradient->expected = calloc((size_t)count, sizeof(double));
    gradient->magnitude = calloc((size_t)count, sizeof(double));
    assert_true(gradient->found != NULL && gradient->expected != NULL && gradient->magnitude != NULL);
}

/* The output and the lse as the forward makes them. */
static void attend(const struct harness *harness, const struct test_case *c, struct arrays *arrays)
{
    char message[600] = "";
    clattn_plan *plan = harness_plan(harness, c, NULL);
    if (!harness_run(harness, plan, arrays, message))
        fail_msg("%s: %s", c->name, message);
    clattn_plan_release(plan);
}

static void run(const struct harness *harness, const struct arrays *arrays, const float *d_output,
                struct gradient gradients[3])
{
    const struct test_case *c = arrays->of;
    clattn_attention_backward_desc desc;
    clattn_attention_backward_host_args args;
    clattn_error error;
    clattn_attention_backward_desc_init(&desc);
    desc.attention = &c->desc;
    desc.d_query = desc.d_key = desc.d_value = 1;
    desc.variant = VARIANT;
    clattn_attention_backward_host_args_init(&args);
    args.query = arrays_at(arrays, ARRAY_QUERY);
    args.key = arrays_at(arrays, ARRAY_KEY);
    args.value = arrays_at(arrays, ARRAY_VALUE);
    args.output = arrays_at(arrays, ARRAY_OUTPUT);
    args.lse = arrays_at(arrays, ARRAY_LSE);
    args.d_output = d_output;
    args.d_query = gradients[0].found;
    args.d_key = gradients[1].found;
    args.d_value = gradients[2].found;
    args.dropout_seed = c->dropout_seed;
    args.dropout_seed_set = c->desc.dropout > 0.0f;
    harness_check(clattn_attention_backward_host(harness->context, &desc, &args, &error), &error, c->name);
}

static void expect(const struct arrays *arrays, const float *d_output, struct gradient gradients[3], double *amplitude)
{
    struct oracle_operands operands = arrays_operands(arrays);
    const struct oracle_dropout dropout = {(double)operands.desc->dropout, keeps, &operands};
    struct oracle_gradients wanted = {.d_query = gradients[0].expected,
                                      .d_key = gradients[1].expected,
                                      .d_value = gradients[2].expected,
                                      .query_magnitude = gradients[0].magnitude,
                                      .key_magnitude = gradients[1].magnitude,
                                      .value_magnitude = gradients[2].magnitude};
    assert_true(oracle_backward(&operands, d_output, NULL, arrays_at(arrays, ARRAY_OUTPUT),
                                dropout.dropout > 0.0 ? &dropout : NULL, &wanted));
    *amplitude = wanted.amplitude;
}

/* The largest share of a bound that an error is. */
static double compare(const struct test_case *c, const struct gradient *gradient, int64_t count, double amplitude)
{
    const double eps32 = compare_epsilon(CLATTN_F32);
    const double bound = eps32 + 4 * eps32 * (2 + amplitude + sqrt(gradient->terms) / 16);
    double worst = 0.0;
    for (int64_t n = 0; n < count; ++n) {
        const double share = compare_share(CLATTN_F32, (double)gradient->found[n], gradient->expected[n],
                                           bound * gradient->magnitude[n] + compare_smallest_normal(CLATTN_F32));
        if (!(share <= 1.0))
            fail_msg("%s: %s[%lld] is %.9g: expected %.9g", c->name, gradient->name, (long long)n,
                     (double)gradient->found[n], gradient->expected[n]);
        worst = share > worst ? share : worst;
    }
    return worst;
}

static double check(const struct harness *harness, const char *problem, uint32_t lanes)
{
    struct test_case c;
    struct arrays arrays;
    double amplitude = 0.0, worst = 0.0;
    assert_true(case_from_problem(problem, &c));
    c.dropout_seed = 11;
    assert_true(arrays_init(&arrays, &c));
    attend(harness, &c, &arrays);
    const int64_t rows = c.desc.batch * c.desc.q_heads * c.desc.q_len;
    const int64_t keys = c.desc.batch * c.desc.kv_heads * c.desc.kv_len;
    const int64_t counts[3] = {rows * c.desc.head_dim, keys * c.desc.head_dim, keys * oracle_value_dim(&c.desc)};
    struct gradient gradients[3] = {{.name = "d_query", .terms = (double)c.desc.kv_len},
                                    {.name = "d_key", .terms = (double)c.desc.q_len},
                                    {.name = "d_value", .terms = (double)c.desc.q_len}};
    float *d_output = malloc((size_t)(rows * oracle_value_dim(&c.desc)) * sizeof(float));
    uint64_t seed = 5;
    assert_non_null(d_output);
    for (int64_t n = 0; n < rows * oracle_value_dim(&c.desc); ++n)
        d_output[n] = (float)case_normal(&seed);
    for (int g = 0; g < 3; ++g)
        make_gradient(&gradients[g], counts[g]);
    const struct form_device own = form_set_lanes(harness, lanes);
    run(harness, &arrays, d_output, gradients);
    form_restore(harness, own);
    expect(&arrays, d_output, gradients, &amplitude);
    for (int g = 0; g < 3; ++g) {
        const double share = compare(&c, &gradients[g], counts[g], amplitude);
        worst = share > worst ? share : worst;
        free(gradients[g].found);
        free(gradients[g].expected);
        free(gradients[g].magnitude);
    }
    free(d_output);
    arrays_free(&arrays);
    return worst;
}

static void keys_are_shared_out_in_every_way(void **state)
{
    const struct harness *harness = *state;
    const bool more = harness_asks("more");
    const size_t forms = more ? NUM_FORM_LANES : 1;
    const size_t step = more ? 1 : 2;
    for (size_t f = 0; f < forms; ++f)
        for (size_t n = 0; n < sizeof problems / sizeof *problems; n += step)
            print_message("%-8s %.3f of the bound  %s\n", form_lanes_name(form_lanes[f]),
                          check(harness, problems[n], form_lanes[f]), problems[n]);
}

/* Heads of one query each: a tile of theirs is added as a whole one is. All terms are the same, as their errors are
 * then. */
static void sums_of_many_heads_are_held(void **state)
{
    enum { MANY_HEADS = 1000, FEW_KEYS = 2, DIM = 4 };
    static float query[MANY_HEADS * DIM], output[MANY_HEADS * DIM], lse[MANY_HEADS], d_output[MANY_HEADS * DIM];
    static float key[FEW_KEYS * DIM], value[FEW_KEYS * DIM], d_value[FEW_KEYS * DIM];
    const struct harness *harness = *state;
    const double expected = 0.5 * (double)0.1F * MANY_HEADS;
    clattn_attention_desc forward;
    clattn_attention_backward_desc desc;
    clattn_attention_backward_host_args args;
    clattn_error error;
    clattn_attention_desc_init(&forward);
    clattn_attention_backward_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse("b1h1000g1q1k2d4:f32:lse", &forward, NULL), CLATTN_SUCCESS);
    desc.attention = &forward;
    desc.d_value = 1;
    desc.variant = VARIANT;
    for (int n = 0; n < MANY_HEADS * DIM; ++n)
        d_output[n] = 0.1F;
    for (int h = 0; h < MANY_HEADS; ++h)
        lse[h] = logf(FEW_KEYS);
    clattn_attention_backward_host_args_init(&args);
    args.query = query;
    args.key = key;
    args.value = value;
    args.output = output;
    args.lse = lse;
    args.d_output = d_output;
    args.d_value = d_value;
    harness_check(clattn_attention_backward_host(harness->context, &desc, &args, &error), &error, "backward");
    for (int n = 0; n < FEW_KEYS * DIM; ++n)
        if (!(fabs((double)d_value[n] - expected) < 15 * compare_epsilon(CLATTN_F32) * expected))
            fail_msg("d_value[%d] is %.9g: expected %.9g", n, (double)d_value[n], expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_shared_out_in_every_way),
                                       cmocka_unit_test(sums_of_many_heads_are_held)};
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
