/* SPDX-License-Identifier: Apache-2.0 */
/* Implements cover.h. */
#include "cover.h"

#include <string.h>

#define NUM_CANDIDATES 24
#define UNSET          0xff /* in a row */

static int pick(uint64_t *state, int count)
{
    return (int)(case_random(state) % (uint64_t)count);
}

/* Whether an axis may take a value beside those that are set. Every axis has one that may always. */
static bool fits(const unsigned char *row, int axis, int value)
{
    for (int other = 0; other < NUM_AXES; ++other)
        if (other != axis && row[other] != UNSET &&
            !case_pair_is_legal((enum case_axis)axis, value, (enum case_axis)other, row[other]))
            return false;
    return true;
}

static int new_pairs(const struct cover *cover, const unsigned char *row, int axis, unsigned char value)
{
    int gain = 0;

    for (int other = 0; other < NUM_AXES; ++other)
        if (other != axis && row[other] != UNSET)
            gain += !cover->have[axis][value][other][row[other]];
    return gain;
}

/* Sets two axes of an empty row to a pair that no case has, the first from a random axis on; false where all are had.
 */
static bool begin_row(const struct cover *cover, const unsigned char *limit, uint64_t *state, unsigned char *row)
{
    int first = pick(state, NUM_AXES);

    memset(row, UNSET, NUM_AXES);
    for (int n = 0; n < NUM_AXES; ++n)
        for (int a = (first + n) % NUM_AXES, b = 0; b < NUM_AXES; ++b)
            for (unsigned char va = 0; b != a && va < limit[a]; ++va)
                for (unsigned char vb = 0; vb < limit[b]; ++vb)
                    if (!cover->have[a][va][b][vb] &&
                        case_pair_is_legal((enum case_axis)a, va, (enum case_axis)b, vb)) {
                        row[a] = va;
                        row[b] = vb;
                        return true;
                    }
    return false;
}

/* Sets the axes that are not set yet, and returns the number of new pairs of the whole row. */
static int finish_row(const struct cover *cover, const unsigned char *limit, uint64_t *state, unsigned char *row)
{
    int order[NUM_AXES];
    int gain = 0;

    for (int n = 0; n < NUM_AXES; ++n) {
        int at = pick(state, n + 1);
        order[n] = n;
        order[n] = order[at];
        order[at] = n;
    }
    for (int n = 0; n < NUM_AXES; ++n) {
        int best = -1;
        unsigned char first = (unsigned char)pick(state, limit[order[n]]);
        if (row[order[n]] != UNSET)
            continue;
        for (int v = 0; v < limit[order[n]]; ++v) {
            unsigned char value = (unsigned char)((first + v) % limit[order[n]]);
            int candidate = new_pairs(cover, row, order[n], value);
            if (candidate > best && fits(row, order[n], value)) {
                best = candidate;
                row[order[n]] = value;
            }
        }
    }
    for (int a = 0; a < NUM_AXES; ++a)
        gain += new_pairs(cover, row, a, row[a]);
    return gain;
}

void cover_add_rows(struct cover *cover, const unsigned char *limit, size_t count, uint64_t *state)
{
    unsigned char row[NUM_AXES];

    while (cover->count < count) {
        unsigned char *best_row = cover->rows[cover->count];
        int best = -1;
        for (int n = 0; n < NUM_CANDIDATES; ++n) {
            if (!begin_row(cover, limit, state, row))
                return;
            int gain = finish_row(cover, limit, state, row);
            if (gain > best) {
                best = gain;
                memcpy(best_row, row, sizeof row);
            }
        }
        for (int a = 0; a < NUM_AXES; ++a)
            for (int b = 0; b < NUM_AXES; ++b)
                cover->have[a][best_row[a]][b][best_row[b]] = true;
        cover->count++;
    }
}
