/* SPDX-License-Identifier: Apache-2.0 */
/* Implements cover.h. */
#include "cover.h"

#include <string.h>

#define NUM_CANDIDATES 24
#define UNSET          0xff /* in a row */

/* What is new counts for so much: of pairs of values there are many, and of programs there are to be few. */
enum { NEW_PAIR = 1, NEW_CLASSES = 30, NEW_VALUE = 2000 };

static int pick(uint64_t *state, int count)
{
    return (int)(case_random(state) % (uint64_t)count);
}

static int class_of(const struct cover *cover, int axis, int value)
{
    return cover->class_of((enum case_axis)axis, value);
}

static bool is_legal(int a, int va, int b, int vb)
{
    return case_pair_is_legal((enum case_axis)a, va, (enum case_axis)b, vb);
}

/* Whether an axis may take a value beside those that are set, on the program of `base` unless that is NULL. */
static bool fits(const struct cover *cover, const unsigned char *row, const unsigned char *base, int axis, int value)
{
    if (base != NULL && class_of(cover, axis, value) != class_of(cover, axis, base[axis]))
        return false;
    for (int other = 0; other < cover->axes; ++other)
        if (other != axis && row[other] != UNSET && !is_legal(axis, value, other, row[other]))
            return false;
    return true;
}

static int gain_of(const struct cover *cover, const unsigned char *row, int axis, int value)
{
    int class = class_of(cover, axis, value);
    int gain = cover->have[axis][value][axis][value] ? 0 : NEW_VALUE;

    for (int other = 0; other < cover->axes; ++other)
        if (other != axis && row[other] != UNSET) {
            gain += cover->have[axis][value][other][row[other]] ? 0 : NEW_PAIR;
            gain += cover->built[axis][class][other][class_of(cover, other, row[other])] ? 0 : NEW_CLASSES;
        }
    return gain;
}

static bool is_new(const struct cover *cover, enum cover_aim aim, int a, int va, int b, int vb)
{
    if (aim == COVER_VALUES)
        return a == b && va == vb && !cover->have[a][va][a][va];
    if (a == b || cover->have[a][va][b][vb] || !is_legal(a, va, b, vb))
        return false;
    return aim != COVER_PROGRAMS || !cover->built[a][class_of(cover, a, va)][b][class_of(cover, b, vb)];
}

/* A row that has a program on which each axis can have a value beside those of `row`; NULL where there is none. */
static const unsigned char *find_base(const struct cover *cover, const unsigned char *limit, uint64_t *state,
                                      const unsigned char *row)
{
    size_t first = (size_t)pick(state, (int)cover->count);

    for (size_t n = 0; n < cover->count; ++n) {
        const unsigned char *base = cover->rows[(first + n) % cover->count];
        int possible = 0;
        for (int axis = 0; axis == possible && axis < cover->axes; ++axis)
            for (int value = 0; axis == possible && value < limit[axis]; ++value)
                possible += (row[axis] == UNSET || row[axis] == value) && fits(cover, row, base, axis, value);
        if (possible == cover->axes)
            return base;
    }
    return NULL;
}

/* Sets one axis or two of an empty row to what is new, looked for from a random axis on; false where nothing is. */
static bool begin_row(const struct cover *cover, enum cover_aim aim, const unsigned char *limit, uint64_t *state,
                      unsigned char *row, const unsigned char **base)
{
    int first = pick(state, cover->axes);

    memset(row, 0, NUM_AXES);
    memset(row, UNSET, (size_t)cover->axes);
    for (int n = 0; n < cover->axes; ++n)
        for (int a = (first + n) % cover->axes, b = 0; b < cover->axes; ++b)
            for (unsigned char va = 0; va < limit[a]; ++va)
                for (unsigned char vb = 0; vb < limit[b]; ++vb) {
                    if (!is_new(cover, aim, a, va, b, vb))
                        continue;
                    row[a] = va;
                    row[b] = vb;
                    if (aim != COVER_RUNS || (*base = find_base(cover, limit, state, row)) != NULL)
                        return true;
                    row[a] = row[b] = UNSET;
                }
    return false;
}

/* Sets the axes that are not set yet, and returns what the whole row brings; -1 where an axis can have no value. */
static int finish_row(const struct cover *cover, const unsigned char *limit, uint64_t *state, unsigned char *row,
                      const unsigned char *base)
{
    int order[NUM_AXES];
    int gain = 0;

    for (int n = 0; n < cover->axes; ++n) {
        int at = pick(state, n + 1);
        order[n] = n;
        order[n] = order[at];
        order[at] = n;
    }
    for (int n = 0; n < cover->axes; ++n) {
        int best = -1;
        int axis = order[n];
        int first = pick(state, limit[axis]);
        if (row[axis] != UNSET)
            continue;
        for (int v = 0; v < limit[axis]; ++v) {
            int value = (first + v) % limit[axis];
            int candidate = gain_of(cover, row, axis, value);
            if (candidate > best && fits(cover, row, base, axis, value)) {
                best = candidate;
                row[axis] = (unsigned char)value;
            }
        }
        if (best < 0)
            return -1;
    }
    for (int a = 0; a < cover->axes; ++a)
        gain += gain_of(cover, row, a, row[a]);
    return gain;
}

static size_t program_of(const struct cover *cover, const unsigned char *row)
{
    for (size_t n = 0; n < cover->count; ++n) {
        int same = 0;
        while (same < cover->axes && class_of(cover, same, row[same]) == class_of(cover, same, cover->rows[n][same]))
            same++;
        if (same == cover->axes)
            return cover->program[n];
    }
    return cover->programs;
}

static void add_row(struct cover *cover, const unsigned char *row)
{
    size_t program = program_of(cover, row);

    for (int a = 0; a < cover->axes; ++a)
        for (int b = 0; b < cover->axes; ++b) {
            cover->have[a][row[a]][b][row[b]] = true;
            cover->built[a][class_of(cover, a, row[a])][b][class_of(cover, b, row[b])] = true;
        }
    memcpy(cover->rows[cover->count], row, NUM_AXES);
    cover->program[cover->count++] = program;
    cover->programs += program == cover->programs;
}

void cover_add_rows(struct cover *cover, enum cover_aim aim, const unsigned char *limit, size_t count, uint64_t *state)
{
    while (cover->count < count) {
        unsigned char best_row[NUM_AXES];
        int best = -1;
        for (int n = 0; n < NUM_CANDIDATES; ++n) {
            unsigned char row[NUM_AXES];
            const unsigned char *base = NULL;
            if (!begin_row(cover, aim, limit, state, row, &base))
                return;
            int gain = finish_row(cover, limit, state, row, base);
            if (gain > best) {
                best = gain;
                memcpy(best_row, row, sizeof row);
            }
        }
        if (best < 0)
            return;
        add_row(cover, best_row);
    }
}
