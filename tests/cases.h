/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test cases of attention: a table that is computed, always the same, in which every value of every axis below
 * occurs, and every pair of values of any two axes that may meet. A case is a public descriptor and what a run adds to
 * it. To compile a program takes a thousand times as long as to run a case, so many cases share one.
 *
 *   quick/small/NNN   the first cases: tiny ones, for interpreters that are a thousand times slower than a device
 *   quick/pair/NNN    with these, every value occurs
 *   more/pair/NNN     what covers the remaining pairs
 *   quick/wide/NNN    unit-variance inputs with 4096 outputs and more, for the bounds on the whole output: long ones,
 *   more/wide/NNN     and decoding, few queries over many keys
 */
#ifndef CLATTN_TESTS_CASES_H
#define CLATTN_TESTS_CASES_H

#include <clattn/clattn.h>
#include <stdbool.h>

/* What varies. The values of each are in cases.c, the simplest first. */
enum case_axis {
    AXIS_TYPES,
    AXIS_Q_LEN,
    AXIS_KV_LEN,
    AXIS_HEAD_DIM,
    AXIS_VALUE_DIM,
    AXIS_HEADS, /* batch, query heads, key/value heads */
    AXIS_BAND,  /* causality, window, alignment */
    AXIS_MASK,  /* kind, type, shape */
    AXIS_LENGTHS,
    AXIS_STORAGE, /* linear, circular, paged with several page sizes */
    AXIS_RAGGED,  /* of queries, keys, both */
    AXIS_BIAS,    /* ALiBi, relative bias, both */
    AXIS_SINKS,
    AXIS_SCALE,
    AXIS_SOFTCAP,
    AXIS_LSE,
    AXIS_SCORES,
    AXIS_LAYOUT,
    AXIS_PLACE,
    AXIS_RUN,
    AXIS_INPUT,
    NUM_FORWARD_AXES,
    AXIS_DROPOUT = NUM_FORWARD_AXES, /* from here on the backward's */
    AXIS_GRADIENTS,                  /* which of them are wanted */
    AXIS_ACCUMULATE,
    AXIS_D_LSE,
    NUM_AXES
};

/* As bits of what a case of the backward wants; the gradient of what it does not have is not there to be wanted. */
enum case_gradient {
    CASE_D_QUERY = 1 << 0,
    CASE_D_KEY = 1 << 1,
    CASE_D_VALUE = 1 << 2,
    CASE_D_MASK = 1 << 3,
    CASE_D_SINKS = 1 << 4,
    CASE_D_ALIBI_SLOPES = 1 << 5,
    CASE_D_RELATIVE_BIAS = 1 << 6,
    CASE_ALL_GRADIENTS = (1 << 7) - 1
};

/* How the tensors lie in memory. */
enum case_layout {
    LAYOUT_DENSE,           /* strides left to their default */
    LAYOUT_BSHD,            /* [batch, length, heads, dim] */
    LAYOUT_PACKED,          /* query, key and value in one buffer, [batch, length, all heads of all three, dim] */
    LAYOUT_PADDED,          /* gaps after rows, heads and batches, of mask, scores and output too */
    LAYOUT_BROADCAST_HEADS, /* one key, one value and one mask for all heads, by strides of 0 */
    LAYOUT_BROADCAST_BATCH, /* one query, key, value and mask for the whole batch */
    LAYOUT_HSBD,            /* [heads, length, batch, dim] */
    NUM_LAYOUTS
};

/* Where tensors begin in their buffers. */
enum case_place {
    PLACE_ALIGNED, /* at 64 elements, with 64 more behind */
    PLACE_ODD,     /* at an odd number of elements */
    PLACE_TIGHT,   /* inputs fill their buffer exactly */
    NUM_PLACES
};

enum case_run {
    RUN_FULL, /* the plan's lengths and offset */
    RUN_SHORT_QUERY,
    RUN_SHORT_KEY,
    RUN_SHORT_BOTH, /* fewer queries and keys, and another offset */
    NUM_RUNS
};

enum case_input {
    INPUT_UNIT,   /* standard normal */
    INPUT_LARGE,  /* logits of hundreds */
    INPUT_PEAKED, /* logits of thousands: one key leads in nearly every row */
    INPUT_BIASED, /* means away from 0 */
    INPUT_TINY,   /* values of 1e-4: subnormal results in f16 */
    INPUT_POISON, /* standard normal; NaN and Inf in the keys and values that nobody sees */
    NUM_INPUTS
};

/* Of more batches than this the lengths repeat. */
#define CASE_MAX_BATCH 4

/* Packed sequences of a run. */
struct case_rows {
    int64_t first; /* row of the first sequence */
    int64_t length[CASE_MAX_BATCH];
    int64_t total; /* rows of the tensor; some sequences reach past it */
};

struct test_case {
    char name[520]; /* quick or more/group/number, problem string, and what that cannot say */
    const char *types;
    unsigned char axes[NUM_AXES]; /* index of each axis's value; not for wide cases */
    clattn_attention_desc desc;
    int64_t q_len; /* of the run */
    int64_t kv_len;
    int64_t offset;
    int64_t lengths[CASE_MAX_BATCH]; /* key lengths, some of them out of range */
    struct case_rows q_rows;         /* where queries are ragged */
    struct case_rows kv_rows;
    bool whole_pool; /* paged: every key lies in a block of the pool */
    enum case_layout layout;
    enum case_place place;
    enum case_input input;
    uint64_t seed;
    uint64_t dropout_seed; /* of the run */
    uint64_t dropout_offset;
    int64_t dropout_batch;
    unsigned gradients; /* of the backward, as are the next two */
    bool accumulate;
    bool d_lse;
    size_t program; /* cases of the same number share the programs of every variant */
    bool quick;     /* one of those that are run where time is short: they have every value of every axis */
};

extern const char *const case_axis_names[NUM_AXES];

/* How many values an axis has. */
int case_axis_values(enum case_axis axis);

/* Whether two values may be in one problem: no scores of ragged queries, no ALiBi without positions and so on. */
bool case_pair_is_legal(enum case_axis a, int value_a, enum case_axis b, int value_b);

/*
 * Cases whose values are of the same class on each axis share the programs of every variant: what differs within a
 * class is given to kernels when they run. Classes are numbers below 16, not all of which an axis has.
 */
int case_program_class(enum case_axis axis, int value);

/* How many cases there are; the first of them are small and pair cases, `with_axes` of them, the quick ones first. */
size_t case_count(size_t *with_axes);

/* Makes query, key, value and output of a case bf16, and an odd head dim but 1 one less. */
void case_make_bf16(struct test_case *c);

/* Case `index`. False where the library cannot parse the problem string of a wide case. */
bool case_get(size_t index, struct test_case *c);

/*
 * The table of the backward, of the same kind: its own axes besides, more shapes of masks, an lse always, and neither
 * caches nor scores. Its cases are small and pair ones.
 */
int case_backward_values(enum case_axis axis);
size_t case_backward_count(void);
void case_backward_get(size_t index, struct test_case *c);

/*
 * A case of its own: dense, unit-variance inputs, the plan's lengths for every sequence. `problem` is a problem string.
 * False where the library cannot parse it.
 */
bool case_from_problem(const char *problem, struct test_case *c);

/*
 * Whether `filter`, unless NULL or "", names the case: it meets each of the conditions in it, with a space between
 * them. A condition is a part of the name ("quick", "small/00"), a range of indices (12-30), or one of several shares
 * (0/2, 1/2), which are of programs: the cases of a program are all in one of them.
 */
bool case_matches(const struct test_case *c, size_t index, const char *filter);

/* A generator of our own, so that cases are the same everywhere: splitmix64 (Steele, Lea, Flood 2014). */
uint64_t case_random(uint64_t *state);
double case_normal(uint64_t *state); /* standard normal, by Box and Muller 1958 */

#endif
