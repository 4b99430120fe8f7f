/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests from inside the library: the forms that a variant has for vectors of other widths than the device's, and
 * the sizes around the edges of a plan's tile, which its name tells.
 */
#ifndef CLATTN_TESTS_INTERNAL_FORMS_H
#define CLATTN_TESTS_INTERNAL_FORMS_H

#include "harness.h"
#include "ocl/device.h"

/* What a device may say of its vectors; 0: what this one says. */
#define NUM_FORM_LANES 4
extern const uint32_t form_lanes[NUM_FORM_LANES];
const char *form_lanes_name(uint32_t lanes);

/* What plans are made for. */
struct form_device {
    uint32_t lanes;
    enum cla_dot dot;
};

/*
 * Plans made from now on are for vectors of so many lanes, unless that is 0, and then for products of bf16 that are
 * made of other arithmetic. Returns what it was before, for form_restore().
 */
struct form_device form_set_lanes(const struct harness *harness, uint32_t lanes);
void form_restore(const struct harness *harness, struct form_device before);

/* Whether two plans run the same programs in the same order. */
bool form_is_same(const clattn_plan *a, const clattn_plan *b);

/* The number behind `letter` in the last part of a plan's name; `otherwise` where there is none. */
int form_tile(const clattn_plan *plan, char letter, int otherwise);

/* Sizes, each of them once. */
struct sizes {
    int count;
    int at[24];
};

/* Adds a size if it is from `least` to `most`. */
void sizes_add(struct sizes *sizes, int size, int least, int most);

/* Adds one less than a tile, a tile, one more, and two and one more, those from 1 to `most`. */
void sizes_add_around(struct sizes *sizes, int tile, int most);

#endif
