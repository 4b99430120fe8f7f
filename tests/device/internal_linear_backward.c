/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of linear at the edges of tiles: tokens, features and columns one below, at and one above what a
 * work-group, a register block, a vector and a chunk take, on every variant in the form it has on this device and in
 * those for vectors of 4, 8 and 16 lanes. None of these sizes is compiled in, so there are many.
 */
#include "internal_forms.h"
#include "linear_backward.h"

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
};

static void open_form(const struct form *form, const struct backward_setup *setup, struct backward_scene *scene)
{
    const struct form_device own = form_set_lanes(form->harness, form->lanes);

    backward_open(form->harness, setup, form->variant, scene);
    form_restore(form->harness, own);
}

static void check(const struct form *form, const struct backward_setup *setup)
{
    struct backward_scene scene;

    open_form(form, setup, &scene);
    backward_upload(form->harness, &scene);
    backward_run(form->harness, &scene);
    backward_check(&scene);
    backward_close(&scene);
}

/* Whether the variant is the same with the device's own vectors. */
static bool is_known(const struct form *form)
{
    const struct backward_setup small = {.batch = 1, .length = 1, .in = 1, .out = 1};
    struct backward_scene scene;
    struct backward_scene own;

    open_form(form, &small, &scene);
    backward_open(form->harness, &small, form->variant, &own);
    bool same = form->lanes != 0 && form_is_same(scene.plan, own.plan);
    backward_close(&own);
    backward_close(&scene);
    return same;
}

/* Of each extent in turn those around the tile of the others' plan, which its name tells. */
static void around_work_groups(const struct form *form)
{
    struct backward_setup setup = {.batch = 1, .length = 700, .in = 420, .out = 530};
    struct sizes tokens = {.count = 0};
    struct sizes columns = {.count = 0};
    struct sizes features = {.count = 0};
    struct backward_scene scene;

    open_form(form, &setup, &scene);
    sizes_add_around(&tokens, form_tile(scene.plan, 'r', 64), 700);
    sizes_add_around(&columns, form_tile(scene.plan, 'i', 64), 420);
    sizes_add_around(&features, form_tile(scene.plan, 'o', 64), 530);
    backward_close(&scene);
    setup = (struct backward_setup){.batch = 1, .length = 9, .in = 5, .out = 7};
    for (int n = 0; n < tokens.count; ++n) {
        setup.length = tokens.at[n];
        check(form, &setup);
    }
    setup.length = 9;
    for (int n = 0; n < columns.count; ++n) {
        setup.in = columns.at[n];
        check(form, &setup);
    }
    setup.in = 5;
    for (int n = 0; n < features.count; ++n) {
        setup.out = features.at[n];
        check(form, &setup);
    }
}

/* Around vectors, blocks, panels and chunks: every size with others, tokens of one batch and of several. */
static void around_vectors(const struct form *form)
{
    static const int64_t edges[] = {1,  3,  4,  5,  7,  8,  9,  12,  13,  15,  16,
                                    17, 31, 32, 33, 47, 48, 49, 127, 128, 129, 257};
    enum { COUNT = sizeof edges / sizeof *edges };

    for (int n = 0; n < 2 * COUNT; ++n) {
        const struct backward_setup setup = {.batch = 1 + n % 3,
                                             .length = edges[n % COUNT],
                                             .in = edges[(3 * n + 5) % COUNT],
                                             .out = edges[(7 * n + n / COUNT) % COUNT],
                                             .padding = n % 2};
        check(form, &setup);
    }
}

static void every_variant_at_its_edges(void **state)
{
    const struct harness *harness = *state;

    for (size_t v = 0; clattn_linear_backward_variant(v) != NULL; ++v)
        for (size_t n = 0; n < NUM_FORM_LANES; ++n) {
            const struct form form = {harness, clattn_linear_backward_variant(v), form_lanes[n]};
            if (is_known(&form))
                continue;
            around_work_groups(&form);
            around_vectors(&form);
            print_message("%-8s %s\n", form.variant, form_lanes_name(form.lanes));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_variant_at_its_edges)};

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
