/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear at the edges of tiles: rows, features and elements one below, at and one above what a work-group, a register
 * block, a vector and a chunk take, on every variant in the form it has on this device and in those for vectors of 4, 8
 * and 16 lanes. None of these sizes is compiled in, so there are many.
 */
#include "internal_forms.h"
#include "linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct form {
    const struct harness *harness;
    const char *variant;
    uint32_t lanes;
    int runs;
};

static void open_form(const struct form *form, const struct linear_setup *setup, struct linear_scene *scene)
{
    const struct form_device own = form_set_lanes(form->harness, form->lanes);

    linear_open(form->harness, setup, form->variant, scene);
    form_restore(form->harness, own);
}

/* Runs of every one of the lengths, which grow: so rows past a run's hold what nothing has written yet. */
static void check(struct form *form, const struct linear_setup *setup, const struct sizes *lengths)
{
    struct linear_scene scene;

    open_form(form, setup, &scene);
    for (int n = 0; n < lengths->count; ++n) {
        scene.args.length = scene.output.extent[2] = lengths->at[n];
        linear_upload(form->harness, &scene);
        linear_run(form->harness, &scene);
        tensor_download(form->harness, &scene.output);
        linear_check(&scene, &scene.output);
        form->runs++;
    }
    linear_close(&scene);
}

/* Whether the variant is the same with the device's own vectors. */
static bool is_known(const struct form *form, const struct linear_setup *setup)
{
    struct linear_setup small = *setup;
    struct linear_scene scene;
    struct linear_scene own;

    small.length = small.in = small.out = 1;
    open_form(form, &small, &scene);
    linear_open(form->harness, &small, form->variant, &own);
    bool same = form->lanes != 0 && form_is_same(scene.plan, own.plan);
    linear_close(&own);
    linear_close(&scene);
    return same;
}

/* The operands' types are 16 bits wide in the second. */
static const struct linear_setup types[] = {
    {.batch = 1, .bias = true},
    {.batch = 2, .bias = true, .padding = 1, .input = CLATTN_BF16, .weight = CLATTN_F16, .output = CLATTN_F16},
};

/* Lengths and features around those of a work-group and of two. */
static void around_work_groups(struct form *form, struct linear_setup setup)
{
    struct linear_scene scene;
    struct sizes lengths = {.count = 0};

    setup.in = 3;
    setup.length = setup.out = 1200;
    open_form(form, &setup, &scene);
    const int rows = form_tile(scene.plan, 'r', 64);
    const int features = form_tile(scene.plan, 'n', 64);
    linear_close(&scene);
    sizes_add(&lengths, 1, 1, rows);
    sizes_add_around(&lengths, rows, 2 * rows + 1);
    setup.length = 2 * rows + 1;
    for (int by = -1; by <= 1; ++by) {
        setup.out = features + by;
        check(form, &setup, &lengths);
    }
    setup.out = 2 * features + 1;
    check(form, &setup, &lengths);
}

/* All lengths to beyond those of the widest register block, which takes 48 rows. */
static void rows_one_by_one(struct form *form, struct linear_setup setup)
{
    enum { MOST = 50, AT_ONCE = 10 };

    setup.length = MOST;
    setup.in = 17;
    for (int first = 1; first < MOST; first += AT_ONCE) {
        struct sizes lengths = {.count = 0};
        for (int length = first; length < first + AT_ONCE; ++length)
            sizes_add(&lengths, length, 1, MOST);
        setup.out = 3 + first % 4;
        check(form, &setup, &lengths);
    }
}

/* Elements around vectors, chunks and, for few rows, runs of vectors; features around blocks and vectors. */
static void elements_and_features(struct form *form, struct linear_setup setup)
{
    static const int edges[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 255, 257};
    static const int runs[] = {1023, 1024, 1025, 2047, 2049, 4095, 4097};
    enum { EDGES = sizeof edges / sizeof *edges, RUNS = sizeof runs / sizeof *runs };
    const struct sizes lengths = {2, {5, 49}};
    const struct sizes few = {1, {3}};

    setup.length = 49;
    for (int n = 0; n < EDGES; ++n) {
        setup.in = edges[n];
        setup.out = edges[(3 * n + 7) % EDGES];
        check(form, &setup, &lengths);
    }
    setup.length = 3;
    setup.out = 5;
    for (int n = 0; n < RUNS; ++n) {
        setup.in = runs[n];
        check(form, &setup, &few);
    }
}

static void every_variant_at_its_edges(void **state)
{
    const struct harness *harness = *state;

    for (size_t v = 0; clattn_linear_variant(v) != NULL; ++v)
        for (size_t n = 0; n < NUM_FORM_LANES; ++n) {
            struct form form = {harness, clattn_linear_variant(v), form_lanes[n], 0};
            for (size_t t = 0; t < sizeof types / sizeof *types; ++t) {
                if (is_known(&form, &types[t]))
                    continue;
                around_work_groups(&form, types[t]);
                rows_one_by_one(&form, types[t]);
                elements_and_features(&form, types[t]);
            }
            if (form.runs > 0)
                print_message("%-8s %-8s %4d runs\n", form.variant, form_lanes_name(form.lanes), form.runs);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_variant_at_its_edges)};

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
