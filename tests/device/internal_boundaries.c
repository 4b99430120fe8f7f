/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention at the edges of tiles. Every plan's name says what its tile is, and from that follow the lengths of its
 * runs: one less than a tile, a tile, one more, two and one more, of queries, of keys, of the parts that keys are split
 * into, of sequences and pages, and where a band's edges fall; and head dims around the widths of vectors and blocks.
 * On every variant, in the form it has on this device and in those for vectors of 4, 8 and 16 lanes; against the
 * oracle, within the bounds of attention.h, with NaN wherever nothing should be read.
 *
 *   CLATTN_CASES     the scenes to run, named as cases are: "quick" are those of few programs, in the form that is the
 *                    device's own
 *   CLATTN_VARIANT   a variant to run alone
 *   CLATTN_VARIANTS  which variants, as harness.h has it
 */
#include "compare.h"
#include "internal_forms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a variant with as many lanes ----------------------------------------------------------------------------- */

struct form {
    const struct harness *harness;
    const char *variant;
    uint32_t lanes; /* 0: the device's own */
    bool quick;     /* of a scene that has more to show than time allows always */
    int runs;
    int failures;
};

/* NULL where the variant refuses. */
static clattn_plan *plan_with(const struct form *form, uint32_t lanes, const struct test_case *c)
{
    clattn_attention_desc desc = c->desc;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};

    desc.variant = form->variant;
    const struct form_device own = form_set_lanes(form->harness, lanes);
    clattn_status status = clattn_attention_plan_create(form->harness->context, &desc, &plan, &error);
    form_restore(form->harness, own);
    if (status != CLATTN_ERROR_UNSUPPORTED)
        harness_check(status, &error, c->name);
    return plan;
}

/* NULL where the variant refuses, or has no other form than with the device's own lanes. */
static clattn_plan *make_plan(const struct form *form, struct test_case *c, const char *format, ...)
{
    char problem[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    if (!case_from_problem(problem, c))
        fail_msg("%s is no problem", problem);
    c->input = INPUT_POISON;
    clattn_plan *plan = plan_with(form, form->lanes, c);
    if (plan == NULL) { /* some variants take nothing else */
        case_make_bf16(c);
        plan = plan_with(form, form->lanes, c);
    }
    if (plan != NULL && form->lanes != 0) {
        clattn_plan *own = plan_with(form, 0, c);
        if (own != NULL && form_is_same(plan, own)) {
            clattn_plan_release(plan);
            plan = NULL;
        }
        clattn_plan_release(own);
    }
    return plan;
}

/* One run with the lengths that the case has now. */
static void check(struct form *form, clattn_plan *plan, struct test_case *c)
{
    char message[600] = "";
    struct arrays arrays;

    c->seed++;
    c->place = (enum case_place)(c->seed % NUM_PLACES);
    assert_true(arrays_init(&arrays, c));
    if (harness_run(form->harness, plan, &arrays, message)) {
        struct compare_result result = arrays_compare(&arrays, 1, false, true);
        if (!result.passed)
            snprintf(message, sizeof message, "%s", result.message);
    }
    arrays_free(&arrays);
    form->runs++;
    if (message[0] == '\0')
        return;
    if (form->failures++ < 20)
        print_error("  %s, %s, %s: q %d, k %d, offset %d: %s\n", clattn_plan_name(plan), form_lanes_name(form->lanes),
                    c->name, (int)c->q_len, (int)c->kv_len, (int)c->offset, message);
}

/* ---- tiles and the lengths around them ------------------------------------------------------------------------ */

/* Queries for which variants take their largest tile, and few, for which those that pack rows take another. */
enum { MANY = 129, FEW = 3 };

struct tile {
    int rows;
    int keys;
    int part;    /* keys that a work-group of a split problem takes; 0: not split */
    int queries; /* the most of a plan with this tile */
};

static struct tile tile_of(const clattn_plan *plan, int queries)
{
    const int rows = form_tile(plan, 'q', 16);

    return (struct tile){.rows = rows < queries ? rows : queries,
                         .keys = form_tile(plan, 'k', 64),
                         .part = form_tile(plan, 's', 0),
                         .queries = queries < MANY ? queries : 2 * rows + 1};
}

static struct sizes key_lengths(const struct tile *tile, int most)
{
    struct sizes lengths = {.count = 0};

    sizes_add(&lengths, 1, 1, most);
    sizes_add_around(&lengths, tile->keys, most);
    if (tile->part > 0)
        sizes_add_around(&lengths, tile->part, most);
    sizes_add(&lengths, most, 1, most);
    return lengths;
}

static struct sizes row_lengths(const struct tile *tile, int most)
{
    struct sizes lengths = {.count = 0};

    sizes_add(&lengths, 1, 1, most);
    sizes_add_around(&lengths, tile->rows, most);
    return lengths;
}

/* The tile of a plan with so many queries. False where there is none, or it is the same one as with many. */
static bool find_tile(const struct form *form, const char *format, int queries, struct tile *tile)
{
    struct test_case c;
    clattn_plan *plan = make_plan(form, &c, format, queries, MANY, 16, 16);
    clattn_plan *many = queries < MANY ? make_plan(form, &c, format, MANY, MANY, 16, 16) : NULL;
    bool found = plan != NULL && (many == NULL || !form_is_same(plan, many));

    if (found)
        *tile = tile_of(plan, queries);
    clattn_plan_release(many);
    clattn_plan_release(plan);
    return found;
}

/* ---- scenes --------------------------------------------------------------------------------------------------- */

static void scene_lengths(struct form *form, const char *format, const struct tile *tile)
{
    struct test_case c;
    clattn_plan *plan = make_plan(form, &c, format, tile->queries, 2 * tile->keys + 1);

    if (plan == NULL)
        return;
    const struct sizes rows = row_lengths(tile, tile->queries);
    const struct sizes keys = key_lengths(tile, 2 * tile->keys + 1);
    for (int q = 0; q < rows.count; ++q)
        for (int k = 0; k < keys.count; ++k) {
            c.q_len = rows.at[q];
            c.kv_len = keys.at[k];
            check(form, plan, &c);
        }
    clattn_plan_release(plan);
}

/*
 * Up to 17 rows of a key/value head, in one head of queries or in several of one query each, and keys around the
 * numbers from which they are split.
 */
static void scene_rows(struct form *form, const char *format, const struct tile *tile)
{
    static const int most_keys[] = {255, 256, 257, 511, 512, 513, 769};

    (void)tile;
    for (int n = 0; n < 34; ++n) {
        const int rows = n / 2 + 1;
        const int most = most_keys[n % (int)(sizeof most_keys / sizeof *most_keys)];
        struct test_case c;
        clattn_plan *plan = n % 2 == 0 ? make_plan(form, &c, format, rows, 1, most)
                            : rows % 3 ? make_plan(form, &c, format, 1, rows, most)
                                       : make_plan(form, &c, format, rows / 3, 3, most);
        if (plan == NULL)
            continue;
        const struct tile found = tile_of(plan, rows);
        const struct sizes keys = key_lengths(&found, most);
        for (int k = n % 2; k < keys.count; k += 2) {
            c.kv_len = keys.at[k];
            check(form, plan, &c);
        }
        c.kv_len = most;
        check(form, plan, &c);
        c.q_len = (c.q_len + 1) / 2;
        check(form, plan, &c);
        clattn_plan_release(plan);
    }
}

/*
 * A band whose four edges, of the first row of a tile of queries and of its last one, on the left and on the right,
 * fall before, on and behind an edge of a tile of keys in turn; or which ends before the keys, or begins behind them.
 * Lengths end there too.
 */
static void scene_band(struct form *form, const char *format, const struct tile *tile)
{
    const int windows[][2] = {{0, 0}, {-1, 0}, {tile->keys - 1, 0}, {2, tile->keys}, {tile->rows, tile->keys / 2}};
    const int most = 2 * tile->keys + 1;
    const int queries = tile->rows < tile->queries ? tile->rows + 1 : tile->queries;

    for (size_t n = 0; n < sizeof windows / sizeof *windows; ++n) {
        const int left = windows[n][0];
        const int right = windows[n][1];
        struct test_case c;
        clattn_plan *plan = make_plan(form, &c, format, queries, most, left, right);
        if (plan == NULL)
            return;
        const int edges[] = {left, 1 - tile->rows + left, -right - 1, -tile->rows - right};
        struct sizes offsets = {.count = 0};
        for (int edge = 0; edge < 4; ++edge)
            for (int by = -1; by <= 1 && (left >= 0 || edge > 1); ++by)
                sizes_add(&offsets, tile->keys + edges[edge] + by, -10000, 10000);
        sizes_add(&offsets, -right - 1, -10000, 10000);
        sizes_add(&offsets, -tile->rows - right - 2, -10000, 10000);
        sizes_add(&offsets, most + left, -10000, 10000);
        for (int o = 0; o < offsets.count; ++o) {
            c.offset = offsets.at[o];
            c.lengths[1] = tile->keys + o % 3 - 1;
            check(form, plan, &c);
        }
        clattn_plan_release(plan);
    }
}

/* Packed sequences that end before, on and behind edges of tiles. */
static void scene_sequences(struct form *form, const char *format, const struct tile *tile)
{
    const int rows[] = {tile->rows - 1, tile->rows, tile->rows + 1, 1, 0, tile->queries};
    const int keys[] = {tile->keys, 2 * tile->keys + 1, 1, tile->keys - 1, tile->keys + 1};
    struct test_case c;
    clattn_plan *plan = make_plan(form, &c, format, tile->queries, 2 * tile->keys + 1);

    for (int n = 0; plan != NULL && n < 10; ++n) {
        c.q_rows.total = c.kv_rows.total = 0;
        for (int b = 0; b < c.desc.batch; ++b) {
            c.q_rows.total += c.q_rows.length[b] = rows[(n + b) % 6];
            c.kv_rows.total += c.kv_rows.length[b] = keys[(n + b) % 5];
        }
        check(form, plan, &c);
    }
    clattn_plan_release(plan);
}

/* Pages around the size of a tile and below; of some, the keys are not there. */
static void scene_pages(struct form *form, const char *format, const struct tile *tile)
{
    const int pages[] = {5, 16, tile->keys - 1, tile->keys, tile->keys + 1};

    for (int n = 0; n < 5; ++n) {
        struct test_case c;
        clattn_plan *plan = make_plan(form, &c, format, tile->queries, 2 * tile->keys + 1, pages[n]);
        if (plan == NULL)
            return;
        for (int by = -1; by <= 1; ++by) {
            c.lengths[0] = tile->keys + by;
            c.lengths[1] = 2 * tile->keys + by;
            c.whole_pool = by == 0;
            check(form, plan, &c);
        }
        clattn_plan_release(plan);
    }
}

/* A circle that wraps before, on and behind the edge of a tile. */
static void scene_circle(struct form *form, const char *format, const struct tile *tile)
{
    struct test_case c;
    clattn_plan *plan = make_plan(form, &c, format, tile->queries, 2 * tile->keys + 1);

    for (int by = -1; plan != NULL && by <= 1; ++by) {
        c.lengths[0] = 3 * c.kv_len - tile->keys + by;
        c.lengths[1] = c.kv_len + by;
        check(form, plan, &c);
    }
    clattn_plan_release(plan);
}

static void check_dims(struct form *form, const char *format, int queries, int head_dim, int value_dim,
                       const char *types)
{
    struct test_case c;
    clattn_plan *plan = make_plan(form, &c, format, queries, head_dim, value_dim, types);

    if (plan != NULL)
        check(form, plan, &c);
    clattn_plan_release(plan);
}

/*
 * Head dims around widths of vectors, of register blocks and of runs that are summed in order, and one of the values
 * that is more than the work-items of a group can sum in one go.
 */
static void scene_dims(struct form *form, const char *format, const struct tile *tile)
{
    static const int dims[] = {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 80, 127, 128, 129};
    static const char *const types[] = {"f32", "f16", "f32-bf16-f16-f32"};
    enum { COUNT = sizeof dims / sizeof *dims };

    (void)tile;
    for (int n = 0; n < COUNT; ++n)
        if (form->lanes == 0 ? form->quick == (n % 5 == 3) : form->lanes == 4U << n % 5)
            /* by turns, as many queries and few: each is a program to compile */
            check_dims(form, format, n % 2 ? FEW : 20, dims[n], dims[(4 * n + 7) % COUNT], types[n % 3]);
    if (form->lanes == 0 && !form->quick)
        check_dims(form, format, 20, 16, 264, "f32");
}

static const struct {
    const char *name;
    void (*scene)(struct form *form, const char *format, const struct tile *tile);
    const char *format;
    bool few;   /* for few queries too; the others see to that themselves */
    bool forms; /* in the forms for other vectors too; what the others look at is the same in all */
    bool quick; /* those of the others are in test_attention, too */
} scenes[] = {
    {"lengths", scene_lengths, "b1h2g1q%dk%dd20:f32:lse", true, true, true},
    {"dims", scene_dims, "b1h2g1q%dk70d%dv%d:%s:lse", false, true, true},
    {"rows", scene_rows, "b1h%dg1q%dk%dd20:f32:lse", false, true, true},
    {"band", scene_band, "b2h2g1q%dk%dd20v17:f16:window=%d,%d@0:lengths:lse", true, true, false},
    {"mask", scene_band, "b2h2g1q%dk%dd17v20:f32-f32-bf16-f32:window=%d,%d@0:mask=bool:lengths:lse", true, true, true},
    {"sequences", scene_sequences, "b4h2g1q%dk%dd16:f32:causal:lse:ragged=qkv", true, false, false},
    {"pages", scene_pages, "b2h2g1q%dk%dd18:f16:causal:lengths:paged=%d", true, false, false},
    {"circle", scene_circle, "b2h2g1q%dk%dd16:f32:causal:lengths:circular", true, false, false},
};

/* Whether a scene has something to show in a form: quickly, or besides that. */
static bool has_scene(const struct form *form, size_t n)
{
    if (form->lanes != 0)
        return scenes[n].forms && !form->quick;
    return form->quick == scenes[n].quick || scenes[n].scene == scene_dims;
}

static void run_scene(struct form *form, size_t n)
{
    struct tile tile = {.rows = 0};

    if (!scenes[n].few || find_tile(form, scenes[n].format, MANY, &tile))
        scenes[n].scene(form, scenes[n].format, &tile);
    if (scenes[n].few && find_tile(form, scenes[n].format, FEW, &tile))
        scenes[n].scene(form, scenes[n].format, &tile);
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

static void every_variant_at_its_edges(void **state)
{
    const struct harness *harness = *state;
    const char *only_variant = getenv("CLATTN_VARIANT");
    int failures = 0;
    int all_runs = 0;

    for (size_t v = 0; clattn_attention_variant(v) != NULL; ++v) {
        int runs = 0;
        if ((only_variant != NULL && strcmp(only_variant, clattn_attention_variant(v)) != 0) ||
            !harness_asks_variant(harness, clattn_attention_variant(v)))
            continue;
        for (size_t n = 0; n < 2 * sizeof scenes / sizeof *scenes * NUM_FORM_LANES; ++n) {
            const size_t scene = n / 2 / NUM_FORM_LANES;
            struct form form = {.harness = harness,
                                .variant = clattn_attention_variant(v),
                                .lanes = form_lanes[n / 2 % NUM_FORM_LANES],
                                .quick = n % 2 == 0};
            struct test_case named = {.program = scene + v}; /* shares of the same length */
            snprintf(named.name, sizeof named.name, "%s/%s", form.quick ? "quick" : "more", scenes[scene].name);
            if (!has_scene(&form, scene) || !case_matches(&named, scene, getenv("CLATTN_CASES")))
                continue;
            run_scene(&form, scene);
            if (form.runs > 0)
                print_message("%-16s %-10s %-8s %4d runs\n", form.variant, scenes[scene].name,
                              form_lanes_name(form.lanes), form.runs);
            runs += form.runs;
            failures += form.failures;
        }
        if (runs == 0)
            fail_msg("%s has run nothing", clattn_attention_variant(v));
        all_runs += runs;
    }
    if (failures != 0 || all_runs == 0)
        fail_msg("%d of %d runs failed", failures, all_runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_variant_at_its_edges)};

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
