/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operands of a test case in host memory, as they go to a device: every tensor in a block of bytes with room around
 * it, inputs made up, and everything that is not an element of an input NaN. So are rows of packed tensors that belong
 * to no sequence, blocks that no key is in, and rows of a circular cache that nothing was written to.
 */
#ifndef CLATTN_TESTS_ARRAYS_H
#define CLATTN_TESTS_ARRAYS_H

#include "cases.h"
#include "compare.h"

enum array_operand {
    ARRAY_QUERY,
    ARRAY_KEY,
    ARRAY_VALUE,
    ARRAY_OUTPUT,
    ARRAY_MASK,
    ARRAY_LENGTHS,
    ARRAY_LSE,
    ARRAY_SCORES,
    ARRAY_SINKS,
    ARRAY_ALIBI_SLOPES,
    ARRAY_RELATIVE_BIAS,
    ARRAY_BLOCK_TABLE,
    ARRAY_Q_CU_LENGTHS,
    ARRAY_KV_CU_LENGTHS,
    NUM_ARRAYS
};

extern const char *const array_names[NUM_ARRAYS];

struct array {
    bool present;
    bool written;
    clattn_dtype dtype; /* not for integers */
    size_t element;     /* bytes */
    int64_t extent[4];  /* of the run */
    int64_t strides[4];
    int64_t start; /* element of its block at which it begins */
    int block;     /* packed tensors share one */
};

struct array_block {
    unsigned char *bytes; /* NULL: no block of that number */
    size_t size;
};

struct arrays {
    const struct test_case *of;
    struct array array[NUM_ARRAYS];
    struct array_block block[NUM_ARRAYS];
};

/* What the bytes of outputs hold before a run, and all bytes around inputs: NaN in every type. */
#define ARRAY_FILL 0xff

/* Inputs filled as the case says, outputs with ARRAY_FILL. False where there is no memory. */
bool arrays_init(struct arrays *arrays, const struct test_case *c);
void arrays_free(struct arrays *arrays);

/* The first element of an operand, NULL where it is absent; and the offset in bytes of that element in its block. */
void *arrays_at(const struct arrays *arrays, enum array_operand operand);
size_t arrays_offset(const struct arrays *arrays, enum array_operand operand);

/* The buffer of an operand in the arguments of a run. */
clattn_buffer *arrays_slot(clattn_attention_args *args, enum array_operand operand);

/* The element at four indices, counted from the operand's first. */
int64_t array_index(const struct array *array, int64_t a, int64_t b, int64_t c, int64_t d);

/* A key or value row of (batch, key/value head), or any part of an input, set to one number. */
void arrays_set_row(struct arrays *arrays, enum array_operand operand, int64_t b, int64_t h, int64_t row, double value);

/* All bytes of the blocks of outputs. */
void arrays_fill_outputs(struct arrays *arrays, unsigned char fill);

/*
 * Looks for a byte of `after` that differs from `before` though no element of an output is there. Returns false and
 * names it in `message`.
 */
bool arrays_only_outputs_differ(const struct arrays *before, const struct arrays *after, char message[200]);

/* Whether all elements of all outputs have the same bits in both, whatever lies between them. */
bool arrays_same_outputs(const struct arrays *a, const struct arrays *b);

/* A copy with blocks of its own. */
bool arrays_copy(struct arrays *to, const struct arrays *from);

struct oracle_operands arrays_operands(const struct arrays *arrays);

/* compare_attention of the output, lse and scores that are there, against what the inputs give. */
struct compare_result arrays_compare(const struct arrays *arrays, int64_t row_step, bool fused_rounding,
                                     bool unit_variance);

#endif
