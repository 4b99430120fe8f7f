/* SPDX-License-Identifier: Apache-2.0 */
/* Implements arrays.h. */
#include "arrays.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *const array_names[NUM_ARRAYS] = {
    "query",  "key",   "value",        "output",        "mask",        "kv_lengths",   "lse",
    "scores", "sinks", "alibi_slopes", "relative_bias", "block_table", "q_cu_lengths", "kv_cu_lengths"};

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
    bool ragged = !matrix && (by_key ? c->desc.kv_cu_lengths : c->desc.q_cu_lengths) != CLATTN_LENGTHS_NONE;
    int64_t total = by_key ? c->kv_rows.total : c->q_rows.total;

    array->present = oracle_tensor_shape(&c->desc, tensor, array->extent, array->strides);
    array->dtype = layout->dtype;
    array->element = layout->dtype == CLATTN_F32 ? 4 : layout->dtype == CLATTN_BOOL ? 1 : 2;
    array->written = operand == ARRAY_OUTPUT || operand == ARRAY_SCORES;
    if (!by_key || c->desc.kv_storage != CLATTN_STORAGE_PAGED)
        array->extent[2] = smaller(array->extent[2], ragged ? total : by_key ? c->kv_len : c->q_len);
    if (matrix)
        array->extent[3] = smaller(array->extent[3], c->kv_len);
}

/* Integers, [rows] or [rows, columns], `type` of which there may be none. */
static void place_integers(struct array *array, clattn_lengths type, int64_t rows, int64_t columns, int64_t stride)
{
    *array = (struct array){.present = type != CLATTN_LENGTHS_NONE,
                            .element = type == CLATTN_LENGTHS_I32 ? 4 : 8,
                            .extent = {rows, 1, 1, columns},
                            .strides = {stride, 0, 0, 1}};
}

/* A row of f32 numbers for each query head, of each of `batch` batches. */
static void place_head_values(struct array *array, bool present, int64_t batch, int64_t heads, int64_t columns)
{
    *array = (struct array){.present = present,
                            .dtype = CLATTN_F32,
                            .element = 4,
                            .extent = {batch, heads, 1, columns},
                            .strides = {heads * columns, columns, 0, 1}};
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
    array[ARRAY_LSE] = (struct array){.present = desc->lse != 0,
                                      .written = true,
                                      .dtype = CLATTN_F32,
                                      .element = 4,
                                      .extent = {desc->batch, desc->q_heads, c->q_len, 1},
                                      .strides = {desc->q_heads * desc->q_len, desc->q_len, 1, 0}};
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE) {
        array[ARRAY_LSE].extent[0] = 1;
        array[ARRAY_LSE].extent[2] = c->q_rows.total;
        array[ARRAY_LSE].strides[1] = desc->q_total;
    }
    place_integers(&array[ARRAY_LENGTHS], desc->kv_lengths, desc->batch, 1, 1);
    place_integers(&array[ARRAY_Q_CU_LENGTHS], desc->q_cu_lengths, desc->batch + 1, 1, 1);
    place_integers(&array[ARRAY_KV_CU_LENGTHS], desc->kv_cu_lengths, desc->batch + 1, 1, 1);
    if (desc->kv_storage == CLATTN_STORAGE_PAGED)
        place_integers(&array[ARRAY_BLOCK_TABLE], CLATTN_LENGTHS_I32, desc->batch,
                       (c->kv_len + desc->page_size - 1) / desc->page_size, oracle_table_stride(desc));
    place_head_values(&array[ARRAY_SINKS], desc->sinks != 0, 1, desc->q_heads, 1);
    place_head_values(&array[ARRAY_ALIBI_SLOPES], desc->alibi != 0, desc->alibi_batch > 1 ? desc->alibi_batch : 1,
                      desc->q_heads, 1);
    place_head_values(&array[ARRAY_RELATIVE_BIAS], desc->relative_extent > 0, 1, desc->q_heads,
                      2 * desc->relative_extent + 1);
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

clattn_buffer *arrays_slot(clattn_attention_args *args, enum array_operand operand)
{
    clattn_buffer *slots[NUM_ARRAYS] = {
        &args->query,         &args->key,         &args->value,        &args->output,       &args->mask,
        &args->kv_lengths,    &args->lse,         &args->scores,       &args->sinks,        &args->alibi_slopes,
        &args->relative_bias, &args->block_table, &args->q_cu_lengths, &args->kv_cu_lengths};

    return slots[operand];
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

/* One row of numbers, from element `at` of the operand on. */
static void fill_row(struct arrays *arrays, enum array_operand operand, int64_t at, uint64_t *state)
{
    const struct array *array = &arrays->array[operand];
    enum case_input input = arrays->of->input;

    for (int64_t d = 0; d < array->extent[3]; ++d) {
        double value = inputs[input].mean[operand] + inputs[input].deviation[operand] * case_normal(state);
        oracle_store(array->dtype, arrays_at(arrays, operand), at + d, value);
    }
}

/* The rows that a sequence has. */
static void fill_query(struct arrays *arrays, uint64_t *state)
{
    struct oracle_operands view = arrays_operands(arrays);

    for (int64_t b = 0; b < view.desc->batch; ++b)
        for (int64_t h = 0; h < view.desc->q_heads; ++h)
            for (int64_t i = 0; i < oracle_sequence(&view, b).q_len; ++i)
                fill_row(arrays, ARRAY_QUERY, oracle_query_at(&view, ORACLE_QUERY, b, h, i), state);
}

/*
 * The rows that hold a key; all of the run where they are simply stored, since the numbers past a batch's length are
 * what scores without exclusions show.
 */
static void fill_keys(struct arrays *arrays, enum array_operand operand, enum oracle_tensor tensor, uint64_t *state)
{
    struct oracle_operands view = arrays_operands(arrays);
    bool simple = view.desc->kv_storage == CLATTN_STORAGE_LINEAR;

    for (int64_t b = 0; b < view.desc->batch; ++b)
        for (int64_t g = 0; g < view.desc->kv_heads; ++g) {
            struct oracle_keys keys = oracle_keys(&view, tensor, b, g);
            int64_t count = simple ? view.kv_len : oracle_sequence(&view, b).kv_len;
            for (int64_t j = 0; j < count; ++j)
                if (oracle_key_at(&keys, j) >= 0)
                    fill_row(arrays, operand, oracle_key_at(&keys, j), state);
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

static void set_integer(struct arrays *arrays, enum array_operand operand, int64_t at, int64_t value)
{
    if (arrays->array[operand].element == 4)
        ((int32_t *)arrays_at(arrays, operand))[at] = (int32_t)value;
    else
        ((int64_t *)arrays_at(arrays, operand))[at] = value;
}

static void fill_lengths(struct arrays *arrays, const struct test_case *c)
{
    int64_t row = c->q_rows.first;
    int64_t key = c->kv_rows.first;

    for (int64_t b = 0; b <= c->desc.batch; ++b) {
        if (b < c->desc.batch && arrays->array[ARRAY_LENGTHS].present)
            set_integer(arrays, ARRAY_LENGTHS, b, c->lengths[b % CASE_MAX_BATCH]);
        if (arrays->array[ARRAY_Q_CU_LENGTHS].present)
            set_integer(arrays, ARRAY_Q_CU_LENGTHS, b, row);
        if (arrays->array[ARRAY_KV_CU_LENGTHS].present)
            set_integer(arrays, ARRAY_KV_CU_LENGTHS, b, key);
        row += c->q_rows.length[b % CASE_MAX_BATCH];
        key += c->kv_rows.length[b % CASE_MAX_BATCH];
    }
}

/*
 * A block for every page, in no order; of every seven pages one is outside the pool, and so is every second one that no
 * key of the batch needs. Batches may begin with the same block.
 */
static bool fill_block_table(struct arrays *arrays, const struct test_case *c, uint64_t *state)
{
    const struct array *table = &arrays->array[ARRAY_BLOCK_TABLE];
    const int64_t outside[] = {-1, c->desc.num_blocks, INT32_MAX, INT32_MIN};
    struct oracle_operands view = arrays_operands(arrays);
    int32_t *entries = arrays_at(arrays, ARRAY_BLOCK_TABLE);
    int64_t *order = calloc((size_t)c->desc.num_blocks + 1, sizeof *order);
    int64_t next = 0;

    if (order == NULL)
        return false;
    for (int64_t n = 0; n < c->desc.num_blocks; ++n) { /* a shuffle, from the inside out */
        int64_t at = (int64_t)(case_random(state) % (uint64_t)(n + 1));
        order[n] = order[at];
        order[at] = n;
    }
    for (int64_t b = 0; b < table->extent[0]; ++b)
        for (int64_t page = 0; page < table->extent[3]; ++page) {
            bool needed = page * c->desc.page_size < oracle_sequence(&view, b).kv_len;
            bool missing = needed ? !c->whole_pool && case_random(state) % 7 == 0 : page % 2 == 0;
            int64_t block = order[next++ % c->desc.num_blocks];
            if (missing)
                block = outside[case_random(state) % 4];
            else if (b > 0 && page == 0 && case_random(state) % 2 == 0)
                block = entries[0];
            entries[array_index(table, b, 0, 0, page)] = (int32_t)block;
        }
    free(order);
    return true;
}

/* Sinks of every kind by turns: none at all, one that leads, two like the logits. */
static void fill_head_values(struct arrays *arrays, const struct test_case *c, uint64_t *state)
{
    float *sinks = arrays_at(arrays, ARRAY_SINKS);
    float *slopes = arrays_at(arrays, ARRAY_ALIBI_SLOPES);
    float *relative = arrays_at(arrays, ARRAY_RELATIVE_BIAS);

    for (int64_t h = 0; h < c->desc.q_heads; ++h) {
        uint64_t kind = (c->seed + (uint64_t)h) % 4;
        if (sinks != NULL)
            sinks[h] = kind == 3 ? -HUGE_VALF : (float)((kind == 2 ? 20.0 : 0.0) + 2.0 * case_normal(state));
        for (int64_t b = 0; slopes != NULL && b < arrays->array[ARRAY_ALIBI_SLOPES].extent[0]; ++b)
            slopes[b * c->desc.q_heads + h] = (float)(0.3 * case_normal(state));
        for (int64_t n = 0; relative != NULL && n <= 2 * c->desc.relative_extent; ++n)
            relative[h * (2 * c->desc.relative_extent + 1) + n] = (float)(2.0 * case_normal(state));
    }
}

void arrays_set_row(struct arrays *arrays, enum array_operand operand, int64_t b, int64_t h, int64_t row, double value)
{
    const struct array *array = &arrays->array[operand];

    for (int64_t d = 0; d < array->extent[3]; ++d)
        oracle_store(array->dtype, arrays_at(arrays, operand), array_index(array, b, h, row, d), value);
}

/* NaN and Inf where no query of any batch and head looks. A row that several share must be hidden from all. */
static bool poison(struct arrays *arrays, enum array_operand operand, enum oracle_tensor tensor)
{
    const struct array *array = &arrays->array[operand];
    struct oracle_operands view = arrays_operands(arrays);
    const clattn_attention_desc *desc = view.desc;
    int64_t group = desc->q_heads / desc->kv_heads;
    bool *seen = calloc((size_t)oracle_span(array->strides, array->extent) + 1, sizeof *seen);

    if (seen == NULL)
        return false;
    for (int pass = 0; pass < 2; ++pass)
        for (int64_t n = 0; n < desc->batch * desc->q_heads; ++n) {
            int64_t b = n / desc->q_heads;
            int64_t h = n % desc->q_heads;
            struct oracle_keys keys = oracle_keys(&view, tensor, b, h / group);
            int64_t rows = oracle_sequence(&view, b).q_len;
            for (int64_t j = 0; j < view.kv_len; ++j) {
                int64_t at = oracle_key_at(&keys, j);
                if (at < 0)
                    continue;
                for (int64_t i = 0; pass == 0 && i < rows && !seen[at]; ++i)
                    seen[at] = oracle_visible(&view, b, h, i, j);
                for (int64_t d = 0; pass == 1 && !seen[at] && d < array->extent[3]; ++d)
                    oracle_store(array->dtype, arrays_at(arrays, operand), at + d, j % 2 == 0 ? (double)NAN : HUGE_VAL);
            }
        }
    free(seen);
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
    fill_lengths(arrays, c);
    if (c->desc.kv_storage == CLATTN_STORAGE_PAGED && !fill_block_table(arrays, c, &state))
        return false;
    fill_query(arrays, &state);
    fill_keys(arrays, ARRAY_KEY, ORACLE_KEY, &state);
    fill_keys(arrays, ARRAY_VALUE, ORACLE_VALUE, &state);
    if (c->desc.mask_kind == CLATTN_MASK_BOOL)
        fill_bool_mask(arrays, &state);
    if (c->desc.mask_kind == CLATTN_MASK_ADDITIVE)
        fill_additive_mask(arrays, &state);
    fill_head_values(arrays, c, &state);
    return c->input != INPUT_POISON ||
           (poison(arrays, ARRAY_KEY, ORACLE_KEY) && poison(arrays, ARRAY_VALUE, ORACLE_VALUE));
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

/* Whether a row of output or lse belongs to a sequence; rows of scores always do. */
static bool is_row_of_run(const struct arrays *arrays, int64_t row)
{
    struct oracle_operands view = arrays_operands(arrays);
    bool found = view.desc->q_cu_lengths == CLATTN_LENGTHS_NONE;

    for (int64_t b = 0; b < view.desc->batch && !found; ++b) {
        struct oracle_sequence sequence = oracle_sequence(&view, b);
        found = row >= sequence.q_first && row < sequence.q_first + sequence.q_len;
    }
    return found;
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
            if (!is_row_of_run(before, at[2]))
                continue;
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
            if (!is_row_of_run(a, at[2]))
                continue;
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
                                    .kv_lengths = arrays_at(arrays, ARRAY_LENGTHS),
                                    .q_total = c->q_rows.total,
                                    .kv_total = c->kv_rows.total,
                                    .block_table = arrays_at(arrays, ARRAY_BLOCK_TABLE),
                                    .q_cu_lengths = arrays_at(arrays, ARRAY_Q_CU_LENGTHS),
                                    .kv_cu_lengths = arrays_at(arrays, ARRAY_KV_CU_LENGTHS),
                                    .sinks = arrays_at(arrays, ARRAY_SINKS),
                                    .alibi_slopes = arrays_at(arrays, ARRAY_ALIBI_SLOPES),
                                    .relative_bias = arrays_at(arrays, ARRAY_RELATIVE_BIAS),
                                    .dropout_seed = c->dropout_seed,
                                    .dropout_offset = c->dropout_offset,
                                    .dropout_batch = c->dropout_batch};
}

struct compare_result arrays_compare(const struct arrays *arrays, int64_t row_step, bool fused_rounding,
                                     bool unit_variance)
{
    struct oracle_operands operands = arrays_operands(arrays);

    return compare_attention(&operands, arrays_at(arrays, ARRAY_OUTPUT), arrays_at(arrays, ARRAY_LSE),
                             arrays_at(arrays, ARRAY_SCORES), row_step, fused_rounding, false, unit_variance);
}
