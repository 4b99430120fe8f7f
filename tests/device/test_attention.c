/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every case of cases.h on every variant, forced by name, and on the library's own choice: within the accuracy bounds
 * of attention.h, nothing written but outputs, the same bits twice. Ends with a line for each variant and combination
 * of types: runs, refusals, the largest share of each bound.
 *
 *   CLATTN_CASES     the cases to run, by cases.h: "quick" those of few programs, "quick small" the tiny ones of them,
 *                    "0/8" the cases of an eighth of the programs
 *   CLATTN_VARIANTS  which variants, as harness.h has it
 *   CLATTN_VARIANT   a variant to run alone, or "auto"; one that takes bf16 alone then runs every case in bf16
 */
#include "compare.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What one variant did with one combination of types. */
struct record {
    const char *variant;
    const char *types;
    int runs;
    int refusals;
    double worst_share;
    char worst[24]; /* group and number of the case with that share */
    double plain_share;
    double bias_share;
};

static struct record records[256];
static size_t num_records;

/* Each reason that a variant gave for refusing, and how often. */
struct refusal {
    const char *variant;
    char reason[200];
    int count;
};

static struct refusal refusals[64];
static size_t num_refusals;

static void note_refusal(const char *variant, const char *reason)
{
    size_t n = 0;

    while (n < num_refusals &&
           (strcmp(refusals[n].variant, variant) != 0 || strncmp(refusals[n].reason, reason, 199) != 0))
        n++;
    if (n == sizeof refusals / sizeof *refusals)
        return;
    if (n == num_refusals) {
        refusals[n].variant = variant;
        snprintf(refusals[n].reason, sizeof refusals[n].reason, "%.199s", reason);
        num_refusals++;
    }
    refusals[n].count++;
}

static struct record *record_of(const char *variant, const char *types)
{
    for (size_t n = 0; n < num_records; ++n)
        if (strcmp(records[n].variant, variant) == 0 && strcmp(records[n].types, types) == 0)
            return &records[n];
    assert_true(num_records < sizeof records / sizeof *records);
    records[num_records] = (struct record){.variant = variant, .types = types};
    return &records[num_records++];
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* The plan, or NULL: refused for a reason where `variant` may refuse, with `message` set where it may not. */
static clattn_plan *make_plan(const struct harness *harness, const struct test_case *c, const char *variant,
                              struct record *record, char message[600])
{
    clattn_attention_desc desc = c->desc;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};
    bool may_refuse = variant != NULL && strcmp(variant, "unfused") != 0;

    desc.variant = variant;
    clattn_status status = clattn_attention_plan_create(harness->context, &desc, &plan, &error);
    if (status == CLATTN_SUCCESS) {
        if (variant != NULL && strcmp(clattn_plan_variant(plan), variant) != 0)
            snprintf(message, 600, "got a plan of %s", clattn_plan_variant(plan));
        return plan;
    }
    if (status == CLATTN_ERROR_UNSUPPORTED && may_refuse && error.message[0] != '\0') {
        record->refusals++;
        note_refusal(variant, error.message);
        return NULL;
    }
    snprintf(message, 600, "plan: %s: %s", clattn_status_string(status), error.message);
    return NULL;
}

/* Two runs on outputs that held something else before; `message` says what is wrong, or stays empty. */
static void run_twice(const struct harness *harness, clattn_plan *plan, const struct test_case *c,
                      struct record *record, char message[600])
{
    bool unit = c->input == INPUT_UNIT || c->input == INPUT_POISON;
    struct arrays first;
    struct arrays second;

    assert_true(arrays_init(&first, c));
    assert_true(arrays_copy(&second, &first));
    arrays_fill_outputs(&second, 0x5a);
    if (harness_run(harness, plan, &first, message) && harness_run(harness, plan, &second, message)) {
        struct compare_result result = arrays_compare(&first, 1, false, unit);
        record->runs++;
        if (result.worst_share >= record->worst_share) {
            record->worst_share = result.worst_share;
            snprintf(record->worst, sizeof record->worst, "%.*s", (int)strcspn(c->name, " "), c->name);
        }
        record->plain_share = larger(record->plain_share, result.plain_share);
        record->bias_share = larger(record->bias_share, result.bias_share);
        if (!result.passed)
            snprintf(message, 600, "%s: %s", clattn_plan_name(plan), result.message);
        else if (!arrays_same_outputs(&first, &second))
            snprintf(message, 600, "%s: two runs differ", clattn_plan_name(plan));
    }
    arrays_free(&first);
    arrays_free(&second);
}

static bool run_case(const struct harness *harness, const struct test_case *c, const char *variant, bool all_types)
{
    struct record *record = record_of(variant != NULL ? variant : "auto", c->types);
    struct test_case fused = *c; /* what a variant that gives no scores out can do: its pairs are to be covered too */
    struct test_case narrow;     /* what one can do that takes one type alone, of which the table has few */
    char message[600] = "";

    fused.desc.scores_stage = CLATTN_SCORES_NONE;
    clattn_plan *plan = make_plan(harness, c, variant, record, message);
    if (plan == NULL && message[0] == '\0' && c->desc.scores_stage != CLATTN_SCORES_NONE) {
        c = &fused;
        plan = make_plan(harness, c, variant, record, message);
    }
    if (plan == NULL && message[0] == '\0' && all_types) {
        narrow = *c;
        case_make_bf16(&narrow);
        c = &narrow;
        record = record_of(variant, c->types);
        plan = make_plan(harness, c, variant, record, message);
    }
    if (plan != NULL && message[0] == '\0')
        run_twice(harness, plan, c, record, message);
    clattn_plan_release(plan);
    if (message[0] != '\0')
        print_error("  %-12s %s%s\n               %s\n", record->variant, c->name, c == &fused ? " (no scores)" : "",
                    message);
    return message[0] == '\0';
}

static void print_records(void)
{
    print_message("%-14s %-18s %5s %8s  %s\n", "variant", "types", "runs", "refusals",
                  "largest share of the bound of: an element (in case), plain float, bias");
    for (size_t n = 0; n < num_records; ++n)
        print_message("%-14s %-18s %5d %8d  %.3f (%s)  %.3f  %.3f\n", records[n].variant, records[n].types,
                      records[n].runs, records[n].refusals, records[n].worst_share, records[n].worst,
                      records[n].plain_share, records[n].bias_share);
    for (size_t n = 0; n < num_refusals; ++n)
        print_message("%s refused %d times: %s\n", refusals[n].variant, refusals[n].count, refusals[n].reason);
}

static void every_case_on_every_variant(void **state)
{
    const struct harness *harness = *state;
    const char *only_cases = getenv("CLATTN_CASES");
    const char *only_variant = getenv("CLATTN_VARIANT");
    size_t variants = 0;
    int runs = 0;
    int failures = 0;

    while (clattn_attention_variant(variants) != NULL)
        variants++;
    for (size_t n = 0; n < case_count(NULL); ++n) {
        struct test_case c;
        assert_true(case_get(n, &c));
        if (!case_matches(&c, n, only_cases))
            continue;
        for (size_t v = 0; v <= variants; ++v) {
            const char *variant = clattn_attention_variant(v); /* past the last: NULL, the library's choice */
            if ((only_variant != NULL && strcmp(only_variant, variant != NULL ? variant : "auto") != 0) ||
                !harness_asks_variant(harness,
                                      variant != NULL ? variant : "unfused")) /* the library's choice is its own */
                continue;
            failures += !run_case(harness, &c, variant, only_variant != NULL);
            runs++;
        }
    }
    print_records();
    if (runs == 0)
        fail_msg("no case and variant are named by CLATTN_CASES and CLATTN_VARIANT");
    if (failures != 0)
        fail_msg("%d of %d failed", failures, runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_on_every_variant)};

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
