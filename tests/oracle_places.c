/* SPDX-License-Identifier: Apache-2.0 */
/* Implements the part of oracle.h about places: shapes and strides, what each batch has, and in which row it lies. */
#include "oracle.h"

#include <math.h>

/* ---- addressing ----------------------------------------------------------------------------------------------- */

void oracle_strides(const clattn_layout *layout, const int64_t extent[4], int64_t strides[4])
{
    const int64_t *given = layout->strides;
    bool dense = given[0] == 0 && given[1] == 0 && given[2] == 0 && given[3] == 0;

    strides[3] = dense ? 1 : given[3];
    for (int d = 2; d >= 0; --d)
        strides[d] = dense ? strides[d + 1] * extent[d + 1] : given[d];
}

int64_t oracle_span(const int64_t strides[4], const int64_t extent[4])
{
    int64_t last = 0;

    for (int d = 0; d < 4; ++d) {
        if (extent[d] == 0)
            return 0;
        last += (extent[d] - 1) * strides[d];
    }
    return last + 1;
}

int64_t oracle_value_dim(const clattn_attention_desc *desc)
{
    return desc->value_dim != 0 ? desc->value_dim : desc->head_dim;
}

double oracle_scale(const clattn_attention_desc *desc)
{
    return desc->scale != 0.0F || desc->scale_set ? (double)desc->scale : 1.0 / sqrt((double)desc->head_dim);
}

static void mask_extent(const clattn_attention_desc *desc, int64_t extent[4])
{
    const int64_t full[4] = {desc->batch, desc->q_heads, desc->q_len, desc->kv_len};
    const int64_t *given = desc->mask_shape;
    bool defaulted = given[0] == 0 && given[1] == 0 && given[2] == 0 && given[3] == 0;

    memcpy(extent, defaulted ? full : given, sizeof full);
}

bool oracle_tensor_shape(const clattn_attention_desc *desc, enum oracle_tensor tensor, int64_t extent[4],
                         int64_t strides[4])
{
    const clattn_layout *layouts[ORACLE_NUM_TENSORS] = {&desc->query,  &desc->key,  &desc->value,
                                                        &desc->output, &desc->mask, &desc->scores};
    bool by_key = tensor == ORACLE_KEY || tensor == ORACLE_VALUE;
    const int64_t columns[ORACLE_NUM_TENSORS] = {desc->head_dim,         desc->head_dim, oracle_value_dim(desc),
                                                 oracle_value_dim(desc), desc->kv_len,   desc->kv_len};

    bool by_row = tensor == ORACLE_QUERY || tensor == ORACLE_OUTPUT;

    extent[0] = desc->batch;
    extent[1] = by_key ? desc->kv_heads : desc->q_heads;
    extent[2] = by_key ? desc->kv_len : desc->q_len;
    extent[3] = columns[tensor];
    if (by_key && desc->kv_storage == CLATTN_STORAGE_PAGED) {
        extent[0] = desc->num_blocks;
        extent[2] = desc->page_size;
    }
    if ((by_row && desc->q_cu_lengths != CLATTN_LENGTHS_NONE) ||
        (by_key && desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)) {
        extent[0] = 1;
        extent[2] = by_key ? desc->kv_total : desc->q_total;
    }
    if (tensor == ORACLE_MASK)
        mask_extent(desc, extent);
    oracle_strides(layouts[tensor], extent, strides);
    return (tensor != ORACLE_MASK || desc->mask_kind != CLATTN_MASK_NONE) &&
           (tensor != ORACLE_SCORES || desc->scores_stage != CLATTN_SCORES_NONE);
}

/* ---- what a batch has ----------------------------------------------------------------------------------------- */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t load_length(clattn_lengths type, const void *array, int64_t index)
{
    return type == CLATTN_LENGTHS_I32 ? ((const int32_t *)array)[index] : ((const int64_t *)array)[index];
}

/* Rows cu[b] to cu[b + 1] - 1, cut at `most` rows and at the total. */
static void packed_rows(clattn_lengths type, const void *cu, int64_t b, int64_t total, int64_t most, int64_t *first,
                        int64_t *length)
{
    *first = smaller(larger(0, load_length(type, cu, b)), total);
    int64_t end =
        smaller(larger(*first, load_length(type, cu, b + 1)), total); /* before the difference, which may wrap */
    *length = smaller(end - *first, most);
}

struct oracle_sequence oracle_sequence(const struct oracle_operands *o, int64_t b)
{
    const clattn_attention_desc *desc = o->desc;
    struct oracle_sequence sequence = {.q_len = o->q_len, .kv_len = o->kv_len};

    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        packed_rows(desc->q_cu_lengths, o->q_cu_lengths, b, o->q_total, o->q_len, &sequence.q_first, &sequence.q_len);
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        packed_rows(desc->kv_cu_lengths, o->kv_cu_lengths, b, o->kv_total, o->kv_len, &sequence.kv_first,
                    &sequence.kv_len);
    if (desc->kv_lengths != CLATTN_LENGTHS_NONE) {
        int64_t length = larger(0, load_length(desc->kv_lengths, o->kv_lengths, b));
        sequence.kv_len = smaller(length, o->kv_len);
        if (desc->kv_storage == CLATTN_STORAGE_CIRCULAR)
            sequence.kv_first = length - sequence.kv_len;
    }
    return sequence;
}

int64_t oracle_position(const struct oracle_operands *o, int64_t b, int64_t i)
{
    struct oracle_sequence sequence = oracle_sequence(o, b);

    if (o->desc->alignment == CLATTN_ALIGN_BOTTOM_RIGHT)
        return i + sequence.kv_len - sequence.q_len;
    return o->desc->alignment == CLATTN_ALIGN_OFFSET ? i + o->offset : i;
}

int64_t oracle_query_at(const struct oracle_operands *o, enum oracle_tensor tensor, int64_t b, int64_t h, int64_t i)
{
    bool ragged = o->desc->q_cu_lengths != CLATTN_LENGTHS_NONE;
    int64_t extent[4];
    int64_t strides[4];

    oracle_tensor_shape(o->desc, tensor, extent, strides);
    return (ragged ? 0 : b) * strides[0] + h * strides[1] + (oracle_sequence(o, b).q_first + i) * strides[2];
}

int64_t oracle_lse_at(const struct oracle_operands *o, int64_t b, int64_t h, int64_t i)
{
    const clattn_attention_desc *desc = o->desc;

    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        return h * desc->q_total + oracle_sequence(o, b).q_first + i;
    return (b * desc->q_heads + h) * desc->q_len + i;
}

int64_t oracle_table_stride(const clattn_attention_desc *desc)
{
    return desc->block_table_stride != 0 ? desc->block_table_stride
                                         : (desc->kv_len + desc->page_size - 1) / desc->page_size;
}

struct oracle_keys oracle_keys(const struct oracle_operands *o, enum oracle_tensor tensor, int64_t b, int64_t g)
{
    const clattn_attention_desc *desc = o->desc;
    struct oracle_sequence sequence = oracle_sequence(o, b);
    int64_t extent[4];
    int64_t strides[4];

    oracle_tensor_shape(desc, tensor, extent, strides);
    struct oracle_keys keys = {.start = b * strides[0] + g * strides[1],
                               .row_stride = strides[2],
                               .first = sequence.kv_first,
                               .end = INT64_MAX};
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE) {
        keys.start = g * strides[1];
        keys.end = sequence.kv_first + sequence.kv_len;
    }
    if (desc->kv_storage == CLATTN_STORAGE_CIRCULAR)
        keys.circle = desc->kv_len;
    if (desc->kv_storage == CLATTN_STORAGE_PAGED) {
        keys.start = g * strides[1];
        keys.page_size = desc->page_size;
        keys.num_blocks = desc->num_blocks;
        keys.block_stride = strides[0];
        keys.blocks = o->block_table + b * oracle_table_stride(desc);
    }
    return keys;
}

int64_t oracle_key_at(const struct oracle_keys *keys, int64_t j)
{
    int64_t row = keys->first + j;

    if (row >= keys->end)
        return -1;
    if (keys->circle != 0)
        row %= keys->circle;
    if (keys->page_size == 0)
        return keys->start + row * keys->row_stride;
    int64_t block = keys->blocks[row / keys->page_size];
    if (block < 0 || block >= keys->num_blocks)
        return -1;
    return keys->start + block * keys->block_stride + row % keys->page_size * keys->row_stride;
}
