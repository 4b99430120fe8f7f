/* SPDX-License-Identifier: Apache-2.0 */
/* Implements arrays.h. */
#include "arrays.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *const array_names[NUM_ARRAYS] = {"query", "key", "value", "output", "mask", "kv_lengths", "lse", "scores"};

/* ---- where everything lies ------------------------------------------------------------------------------------ */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Extents of the run and strides of the plan. */
static void place_tensor(struct array *array, const struct test_case *c, enum array_operand operand,
                         enum oracle_tensor tensor, const clattn_layout *layout)
{
    bool by_key = operand == ARRAY_KEY || operand == ARRAY_VALUE;
    bool matrix = operand == ARRAY_MASK || operand == ARRAY_SCORES;

    array->present = oracle_tensor_shape(&c->desc, tensor, array->extent, array->strides);
    array->dtype = layout->dtype;
    array->element = layout->dtype == CLATTN_F32 ? 4 : layout->dtype == CLATTN_BOOL ? 1 : 2;
    array->written = operand == ARRAY_OUTPUT || operand == ARRAY_SCORES;
    array->extent[2] = smaller(array->extent[2], by_key ? c->kv_len : c->q_len);
    if (matrix)
        array->extent[3] = smaller(array->extent[3], c->kv_len);
}

static void place_all(struct arrays *arrays, const struct test_case *c)
{
    const clattn_attention_desc *desc = &c->desc;
    struct array *array = arrays->array;

    place_tensor(&array[ARRAY_QUERY], c, ARRAY_QUERY, ORACLE_QUERY, &desc->query);
    place_tensor(&array[ARRAY_KEY], c, ARRAY_KEY, ORACLE_KEY, &desc->key);
    place_tensor(&array[ARRAY_VALUE], c, ARRAY_VALUE, ORACLE_VALUE, &desc->value);
    place_tensor(&array[ARRAY_OUTPUT], c, ARRAY_OUTPUT, ORACLE_OUTPUT, &desc->output);
    place_tensor(&array[ARRAY_MASK], c, ARRAY_MASK, ORACLE_MASK, &desc->mask);
    place_tensor(&array[ARRAY_SCORES], c, ARRAY_SCORES, ORACLE_SCORES, &desc->scores);
    array[ARRAY_LENGTHS] = (struct array){.present = desc->kv_lengths != CLATTN_LENGTHS_NONE,
                                          .element = desc->kv_lengths == CLATTN_LENGTHS_I32 ? 4 : 8,
                                          .extent = {desc->batch, 1, 1, 1},
                                          .strides = {1, 0, 0, 0}};
    array[ARRAY_LSE] = (struct array){.present = desc->lse != 0,
                                      .written = true,
                                      .dtype = CLATTN_F32,
                                      .element = 4,
                                      .extent = {desc->batch, desc->q_heads, c->q_len, 1},
                                      .strides = {desc->q_heads * desc->q_len, desc->q_len, 1, 0}};
    for (int n = 0; n < NUM_ARRAYS; ++n)
        array[n].block = n;
}

/* Query, key and value one after the other in the rows of one block, as far as they have the query's type. */
static void pack(struct arrays *arrays, const struct test_case *c)
{
    const clattn_attention_desc *desc = &c->desc;
    struct array *array = arrays->array;

    if (array[ARRAY_KEY].dtype == array[ARRAY_QUERY].dtype) {
        array[ARRAY_KEY].block = ARRAY_QUERY;
        array[ARRAY_KEY].start += desc->q_heads * desc->head_dim;
    }
    if (array[ARRAY_VALUE].dtype == array[ARRAY_QUERY].dtype) {
        array[ARRAY_VALUE].block = ARRAY_QUERY;
        array[ARRAY_VALUE].start += (desc->q_heads + desc->kv_heads) * desc->head_dim;
    }
}

static bool allocate(struct arrays *arrays, const struct test_case *c)
{
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        struct array *array = &arrays->array[n];
        bool tight = c->place == PLACE_TIGHT && !array->written;
        array->start = tight ? 0 : c->place == PLACE_ODD ? 67 : 64;
    }
    if (c->layout == LAYOUT_PACKED)
        pack(arrays, c);
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        const struct array *array = &arrays->array[n];
        struct array_block *block = &arrays->block[array->block];
        bool tight = c->place == PLACE_TIGHT && !array->written;
        int64_t end = array->start + oracle_span(array->strides, array->extent) + (tight ? 0 : 64);
        if (array->present && (size_t)end * array->element > block->size)
            block->size = (size_t)end * array->element;
    }
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        struct array_block *block = &arrays->block[n];
        if (block->size == 0)
            continue;
        block->bytes = malloc(block->size);
        if (block->bytes == NULL)
            return false;
        memset(block->bytes, ARRAY_FILL, block->size);
    }
    return true;
}

void *arrays_at(const struct arrays *arrays, enum array_operand operand)
{
    const struct array *array = &arrays->array[operand];

    if (!array->present || arrays->block[array->block].bytes == NULL)
        return NULL;
    return arrays->block[array->block].bytes + arrays_offset(arrays, operand);
}

size_t arrays_offset(const struct arrays *arrays, enum array_operand operand)
{
    return (size_t)arrays->array[operand].start * arrays->array[operand].element;
}

int64_t array_index(const struct array *array, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return a * array->strides[0] + b * array->strides[1] + c * array->strides[2] + d * array->strides[3];
}

/* The four indices of element n of an operand, counted in row-major order. */
static void unravel(const struct array *array, int64_t n, int64_t at[4])
{
    for (int d = 3; d >= 0; --d) {
        at[d] = n % array->extent[d];
        n /= array->extent[d];
    }
}

static int64_t count(const struct array *array)
{
    return array->present ? array->extent[0] * array->extent[1] * array->extent[2] * array->extent[3] : 0;
}

/* ---- what they hold ------------------------------------------------------------------------------------------- */

/* Mean and standard deviation of query, key and value for each kind of input. */
static const struct {
    double mean[3];
    double deviation[3];
} inputs[NUM_INPUTS] = {
    [INPUT_UNIT] = {{0, 0, 0}, {1, 1, 1}},        [INPUT_LARGE] = {{0, 0, 0}, {12, 12, 1}},
    [INPUT_PEAKED] = {{0, 0, 0}, {60, 60, 4}},    [INPUT_BIASED] = {{0.5, 0.5, 3}, {0.7, 0.5, 1}},
    [INPUT_TINY] = {{0, 0, 0}, {0.7, 0.7, 1e-4}}, [INPUT_POISON] = {{0, 0, 0}, {1, 1, 1}},
};

static void fill_normal(struct arrays *arrays, enum array_operand operand, enum case_input input, uint64_t *state)
{
    const struct array *array = &arrays->array[operand];
    void *first = arrays_at(arrays, operand);
    int64_t at[4];

    for (int64_t n = 0; n < count(array); ++n) {
        unravel(array, n, at);
        double value = inputs[input].mean[operand] + inputs[input].deviation[operand] * case_normal(state);
        oracle_store(array->dtype, first, array_index(array, at[0], at[1], at[2], at[3]), value);
    }
}

/*
 * Rows of masks: of every seven, one excludes everything; of those over several queries one more excludes blocks of 64
 * keys and nothing else. The others exclude a third at random.
 */
static bool excludes(const struct array *mask, const int64_t at[4], uint64_t *state)
{
    bool random = case_random(state) % 3 == 0;

    if (mask->extent[2] > 1 && at[2] % 7 == 3)
        return true;
    if (mask->extent[2] > 1 && at[2] % 7 == 5)
        return at[3] / 64 % 2 == 0 && mask->extent[3] > 64;
    return random;
}

static void fill_bool_mask(struct arrays *arrays, uint64_t *state)
{
    static const unsigned char yes[] = {1, 2, 0x80, 0xff}; /* keeps where not 0 */
    const struct array *mask = &arrays->array[ARRAY_MASK];
    unsigned char *first = arrays_at(arrays, ARRAY_MASK);
    int64_t at[4];

    for (int64_t n = 0; n < count(mask); ++n) {
        unravel(mask, n, at);
        first[array_index(mask, at[0], at[1], at[2], at[3])] =
            excludes(mask, at, state) ? 0 : yes[case_random(state) % 4];
    }
}

/* A row of every seven holds the most negative number throughout: it is not empty, its weights are all the same. */
static void fill_additive_mask(struct arrays *arrays, uint64_t *state)
{
    const struct array *mask = &arrays->array[ARRAY_MASK];
    void *first = arrays_at(arrays, ARRAY_MASK);
    double lowest = mask->dtype == CLATTN_F32 ? -(double)FLT_MAX : mask->dtype == CLATTN_F16 ? -65504.0 : -0x1.fep127;
    int64_t at[4];

    for (int64_t n = 0; n < count(mask); ++n) {
        unravel(mask, n, at);
        double value = excludes(mask, at, state) ? -HUGE_VAL : case_normal(state);
        if (mask->extent[2] > 1 && at[2] % 7 == 1)
            value = lowest;
        oracle_store(mask->dtype, first, array_index(mask, at[0], at[1], at[2], at[3]), value);
    }
}

static void fill_lengths(struct arrays *arrays, const struct test_case *c)
{
    void *first = arrays_at(arrays, ARRAY_LENGTHS);

    for (int64_t b = 0; first != NULL && b < c->desc.batch; ++b) {
        int64_t length = c->lengths[b % CASE_MAX_BATCH];
        if (c->desc.kv_lengths == CLATTN_LENGTHS_I32)
            ((int32_t *)first)[b] = (int32_t)length;
        else
            ((int64_t *)first)[b] = length;
    }
}

void arrays_set_row(struct arrays *arrays, enum array_operand operand, int64_t b, int64_t h, int64_t row, double value)
{
    const struct array *array = &arrays->array[operand];

    for (int64_t d = 0; d < array->extent[3]; ++d)
        oracle_store(array->dtype, arrays_at(arrays, operand), array_index(array, b, h, row, d), value);
}

/* NaN and Inf where no query of any batch and head looks. A row that broadcasting shares must be hidden from all. */
static bool poison(struct arrays *arrays, const struct test_case *c)
{
    static const enum array_operand operands[] = {ARRAY_KEY, ARRAY_VALUE};
    struct oracle_operands view = arrays_operands(arrays);
    const clattn_attention_desc *desc = &c->desc;
    int64_t group = desc->q_heads / desc->kv_heads;

    for (int t = 0; t < 2; ++t) {
        const struct array *array = &arrays->array[operands[t]];
        bool *seen = calloc((size_t)oracle_span(array->strides, array->extent), sizeof *seen);
        if (seen == NULL)
            return false;
        for (int pass = 0; pass < 2; ++pass)
            for (int64_t n = 0; n < desc->batch * desc->q_heads * c->kv_len; ++n) {
                int64_t b = n / c->kv_len / desc->q_heads;
                int64_t h = n / c->kv_len % desc->q_heads;
                int64_t j = n % c->kv_len;
                bool *row = &seen[array_index(array, b, h / group, j, 0)];
                for (int64_t i = 0; pass == 0 && i < c->q_len && !*row; ++i)
                    *row = oracle_visible(&view, b, h, i, j);
                if (pass == 1 && !*row)
                    arrays_set_row(arrays, operands[t], b, h / group, j, j % 2 == 0 ? (double)NAN : HUGE_VAL);
            }
        free(seen);
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

bool arrays_init(struct arrays *arrays, const struct test_case *c)
{
    uint64_t state = 0x5eed0000u + c->seed;

    memset(arrays, 0, sizeof *arrays);
    arrays->of = c;
    place_all(arrays, c);
    if (!allocate(arrays, c))
        return false;
    fill_normal(arrays, ARRAY_QUERY, c->input, &state);
    fill_normal(arrays, ARRAY_KEY, c->input, &state);
    fill_normal(arrays, ARRAY_VALUE, c->input, &state);
    if (c->desc.mask_kind == CLATTN_MASK_BOOL)
        fill_bool_mask(arrays, &state);
    if (c->desc.mask_kind == CLATTN_MASK_ADDITIVE)
        fill_additive_mask(arrays, &state);
    fill_lengths(arrays, c);
    return c->input != INPUT_POISON || poison(arrays, c);
}

void arrays_free(struct arrays *arrays)
{
    for (int n = 0; n < NUM_ARRAYS; ++n)
        free(arrays->block[n].bytes);
    memset(arrays, 0, sizeof *arrays);
}

bool arrays_copy(struct arrays *to, const struct arrays *from)
{
    *to = *from;
    for (int n = 0; n < NUM_ARRAYS; ++n)
        to->block[n].bytes = NULL;
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        if (from->block[n].bytes == NULL)
            continue;
        to->block[n].bytes = malloc(from->block[n].size);
        if (to->block[n].bytes == NULL)
            return false;
        memcpy(to->block[n].bytes, from->block[n].bytes, from->block[n].size);
    }
    return true;
}

void arrays_fill_outputs(struct arrays *arrays, unsigned char fill)
{
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        const struct array_block *block = &arrays->block[arrays->array[n].block];
        if (arrays->array[n].present && arrays->array[n].written && block->bytes != NULL)
            memset(block->bytes, fill, block->size);
    }
}

bool arrays_only_outputs_differ(const struct arrays *before, const struct arrays *after, char message[200])
{
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        const struct array *array = &before->array[n];
        const struct array_block *block = &before->block[n];
        int64_t at[4];
        if (block->bytes == NULL)
            continue;
        bool *output = calloc(block->size, sizeof *output);
        if (output == NULL) {
            snprintf(message, 200, "no memory to check %s", array_names[n]);
            return false;
        }
        for (int64_t e = 0; array->written && e < count(array); ++e) {
            unravel(array, e, at);
            int64_t element = array->start + array_index(array, at[0], at[1], at[2], at[3]);
            memset(&output[(size_t)element * array->element], 1, array->element);
        }
        size_t byte = 0;
        while (byte < block->size && (output[byte] || block->bytes[byte] == after->block[n].bytes[byte]))
            byte++;
        free(output);
        if (byte < block->size) {
            snprintf(message, 200, "byte %zu of the buffer of %s changed; the first element is at byte %zu", byte,
                     array_names[n], arrays_offset(before, (enum array_operand)n));
            return false;
        }
    }
    return true;
}

bool arrays_same_outputs(const struct arrays *a, const struct arrays *b)
{
    for (int n = 0; n < NUM_ARRAYS; ++n) {
        const struct array *array = &a->array[n];
        int64_t at[4];
        for (int64_t e = 0; array->written && e < count(array); ++e) {
            unravel(array, e, at);
            size_t byte = (size_t)(array->start + array_index(array, at[0], at[1], at[2], at[3])) * array->element;
            if (memcmp(a->block[n].bytes + byte, b->block[n].bytes + byte, array->element) != 0)
                return false;
        }
    }
    return true;
}

struct oracle_operands arrays_operands(const struct arrays *arrays)
{
    const struct test_case *c = arrays->of;

    return (struct oracle_operands){.desc = &c->desc,
                                    .q_len = c->q_len,
                                    .kv_len = c->kv_len,
                                    .offset = c->offset,
                                    .query = arrays_at(arrays, ARRAY_QUERY),
                                    .key = arrays_at(arrays, ARRAY_KEY),
                                    .value = arrays_at(arrays, ARRAY_VALUE),
                                    .mask = arrays_at(arrays, ARRAY_MASK),
                                    .kv_lengths = arrays_at(arrays, ARRAY_LENGTHS)};
}
