/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes, sizes, made-up content, files and conversions of the operands. */
#include "shared/arrays.h"
#include "shared/convert.h"
#include "shared/random.h"
#include <clattn/position.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const operand_names[NUM_ARRAYS] = {
    [QUERY] = "query",
    [KEY] = "key",
    [VALUE] = "value",
    [MASK] = "mask",
    [KV_LENGTHS] = "kv_lengths",
    [BLOCK_TABLE] = "block_table",
    [Q_CU_LENGTHS] = "q_cu_lengths",
    [KV_CU_LENGTHS] = "kv_cu_lengths",
    [SINKS] = "sinks",
    [ALIBI_SLOPES] = "alibi_slopes",
    [RELATIVE_BIAS] = "relative_bias",
    [D_OUTPUT] = "d_output",
    [D_LSE] = "d_lse",
    [OUTPUT] = "output",
    [LSE] = "lse",
    [SCORES] = "scores",
    [D_QUERY] = "d_query",
    [D_KEY] = "d_key",
    [D_VALUE] = "d_value",
    [D_MASK] = "d_mask",
    [D_SINKS] = "d_sinks",
    [D_ALIBI_SLOPES] = "d_alibi_slopes",
    [D_RELATIVE_BIAS] = "d_relative_bias",
    [PAST_KEY] = "past_key",
    [PAST_VALUE] = "past_value",
};

/* Of an operand of whole numbers; NONE where the descriptor has none, and for all other operands. */
static clattn_lengths integer_type(const clattn_attention_desc *desc, enum operand operand)
{
    switch (operand) {
    case KV_LENGTHS:
        return desc->kv_lengths;
    case BLOCK_TABLE:
        return desc->kv_storage == CLATTN_STORAGE_PAGED ? CLATTN_LENGTHS_I32 : CLATTN_LENGTHS_NONE;
    case Q_CU_LENGTHS:
        return desc->q_cu_lengths;
    case KV_CU_LENGTHS:
        return desc->kv_cu_lengths;
    default:
        return CLATTN_LENGTHS_NONE;
    }
}

bool arrays_has(const struct arrays *arrays, enum operand operand)
{
    const clattn_attention_desc *desc = &arrays->desc;
    switch (operand) {
    case MASK:
        return desc->mask_kind != CLATTN_MASK_NONE;
    case KV_LENGTHS:
    case BLOCK_TABLE:
    case Q_CU_LENGTHS:
    case KV_CU_LENGTHS:
        return integer_type(desc, operand) != CLATTN_LENGTHS_NONE;
    case SINKS:
        return desc->sinks != 0;
    case ALIBI_SLOPES:
        return desc->alibi != 0;
    case RELATIVE_BIAS:
        return desc->relative_extent != 0;
    case LSE:
        return desc->lse != 0;
    case SCORES:
        return desc->scores_stage != CLATTN_SCORES_NONE;
    case D_OUTPUT:
        return arrays_have_gradients(arrays);
    case D_LSE:
        return arrays->backward.d_lse != 0;
    case D_QUERY:
        return arrays->backward.d_query != 0;
    case D_KEY:
        return arrays->backward.d_key != 0;
    case D_VALUE:
        return arrays->backward.d_value != 0;
    case D_MASK:
        return arrays->backward.d_mask != 0;
    case D_SINKS:
        return arrays->backward.d_sinks != 0;
    case D_ALIBI_SLOPES:
        return arrays->backward.d_alibi_slopes != 0;
    case D_RELATIVE_BIAS:
        return arrays->backward.d_relative_bias != 0;
    default:
        return true;
    }
}

bool arrays_have_gradients(const struct arrays *arrays)
{
    for (enum operand operand = D_QUERY; operand <= D_RELATIVE_BIAS; operand++)
        if (arrays_has(arrays, operand))
            return true;
    return false;
}

clattn_attention_backward_desc arrays_backward(const struct arrays *arrays)
{
    clattn_attention_backward_desc desc = arrays->backward;
    desc.struct_size = sizeof desc;
    desc.attention = &arrays->desc;
    return desc;
}

/* What an operand is the gradient of; others are as they are. */
static enum operand source_of(enum operand operand)
{
    switch (operand) {
    case D_OUTPUT:
        return OUTPUT;
    case D_LSE:
        return LSE;
    case D_QUERY:
        return QUERY;
    case D_KEY:
        return KEY;
    case D_VALUE:
        return VALUE;
    case D_MASK:
        return MASK;
    case D_SINKS:
        return SINKS;
    case D_ALIBI_SLOPES:
        return ALIBI_SLOPES;
    case D_RELATIVE_BIAS:
        return RELATIVE_BIAS;
    default:
        return operand;
    }
}

/* The layout of query, key, value or output, or of a gradient of them; NULL for the others. */
static clattn_layout *layout_of(struct arrays *arrays, enum operand operand)
{
    switch (operand) {
    case QUERY:
        return &arrays->desc.query;
    case KEY:
        return &arrays->desc.key;
    case VALUE:
        return &arrays->desc.value;
    case OUTPUT:
        return &arrays->desc.output;
    case D_OUTPUT:
        return &arrays->backward.d_output_layout;
    case D_QUERY:
        return &arrays->backward.d_query_layout;
    case D_KEY:
        return &arrays->backward.d_key_layout;
    case D_VALUE:
        return &arrays->backward.d_value_layout;
    default:
        return NULL;
    }
}

static enum array_form form_of(const struct arrays *arrays, enum operand operand)
{
    const enum operand source = source_of(operand);
    return source == KEY || source == VALUE ? arrays->kv_form : arrays->form;
}

static void set_extents(int64_t extent[4], int64_t a, int64_t b, int64_t c, int64_t d)
{
    extent[0] = a;
    extent[1] = b;
    extent[2] = c;
    extent[3] = d;
}

/* Extents as attention.h gives them; fewer than four are at the front. Returns their number. */
static int extents_of(const clattn_attention_desc *desc, enum operand of, int64_t extent[4])
{
    const enum operand operand = source_of(of);
    bool grouped = operand == KEY || operand == VALUE, valued = operand == VALUE || operand == OUTPUT;
    bool q_packed = desc->q_cu_lengths != CLATTN_LENGTHS_NONE, kv_packed = desc->kv_cu_lengths != CLATTN_LENGTHS_NONE;
    extent[0] = (grouped ? kv_packed : q_packed) ? 1 : desc->batch;
    extent[1] = grouped ? desc->kv_heads : desc->q_heads;
    extent[2] = grouped ? kv_packed ? desc->kv_total : desc->kv_len : q_packed ? desc->q_total : desc->q_len;
    extent[3] = valued && desc->value_dim > 0 ? desc->value_dim : desc->head_dim;
    if (grouped && desc->kv_storage == CLATTN_STORAGE_PAGED) {
        extent[0] = desc->num_blocks;
        extent[2] = desc->page_size;
    }
    bool full = (desc->mask_shape[0] | desc->mask_shape[1] | desc->mask_shape[2] | desc->mask_shape[3]) == 0;
    switch (operand) {
    case MASK:
    case SCORES:
        set_extents(extent, desc->batch, desc->q_heads, desc->q_len, desc->kv_len);
        if (operand == MASK && !full)
            memcpy(extent, desc->mask_shape, sizeof desc->mask_shape);
        return 4;
    case KV_LENGTHS:
        set_extents(extent, desc->batch, 1, 1, 1);
        return 1;
    case BLOCK_TABLE:
        set_extents(extent, desc->batch,
                    desc->block_table_stride > 0 ? desc->block_table_stride
                                                 : (desc->kv_len + desc->page_size - 1) / desc->page_size,
                    1, 1);
        return 2;
    case Q_CU_LENGTHS:
    case KV_CU_LENGTHS:
        set_extents(extent, desc->batch + 1, 1, 1, 1);
        return 1;
    case ALIBI_SLOPES:
        if (desc->alibi_batch > 1) {
            set_extents(extent, desc->batch, desc->q_heads, 1, 1);
            return 2;
        }
        set_extents(extent, desc->q_heads, 1, 1, 1);
        return 1;
    case SINKS:
        set_extents(extent, desc->q_heads, 1, 1, 1);
        return 1;
    case RELATIVE_BIAS:
        set_extents(extent, desc->q_heads, 2 * desc->relative_extent + 1, 1, 1);
        return 2;
    case LSE:
        if (!q_packed)
            return 3;
        set_extents(extent, desc->q_heads, desc->q_total, 1, 1);
        return 2;
    default:
        return 4;
    }
}

void arrays_set_strides(struct arrays *arrays)
{
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++) {
        clattn_layout *layout = layout_of(arrays, operand);
        if (layout == NULL)
            continue;
        layout->dtype = layout_of(arrays, source_of(operand))->dtype;
        memset(layout->strides, 0, sizeof layout->strides);
        if (form_of(arrays, operand) == FORM_BHSD)
            continue;
        int64_t extent[4];
        extents_of(&arrays->desc, operand, extent);
        layout->strides[3] = 1;
        layout->strides[1] = extent[3];
        layout->strides[2] = extent[3] * (extent[1] > 0 ? extent[1] : 1);
        layout->strides[0] = layout->strides[2] * (extent[2] > 0 ? extent[2] : 1);
    }
}

static clattn_dtype dtype_of(const struct arrays *arrays, enum operand operand)
{
    switch (operand) {
    case QUERY:
    case D_QUERY:
        return arrays->desc.query.dtype;
    case KEY:
    case D_KEY:
        return arrays->desc.key.dtype;
    case VALUE:
    case D_VALUE:
        return arrays->desc.value.dtype;
    case OUTPUT:
    case D_OUTPUT:
        return arrays->desc.output.dtype;
    case MASK:
        return arrays->desc.mask.dtype;
    default:
        return CLATTN_F32;
    }
}

clattn_dtype arrays_dtype(enum npy_type type)
{
    return type == NPY_F16 ? CLATTN_F16 : type == NPY_BF16 ? CLATTN_BF16 : CLATTN_F32;
}

/* What is made up in bf16 goes into files of f32, without loss: NumPy by itself has no bf16. */
static enum npy_type file_type_of(const struct arrays *arrays, enum operand operand)
{
    if (operand == OUTPUT ||
        (operand >= D_QUERY && operand <= D_VALUE && dtype_of(arrays, operand) == arrays->desc.query.dtype))
        return arrays->output_type;
    clattn_lengths integers = integer_type(&arrays->desc, operand);
    if (integers != CLATTN_LENGTHS_NONE)
        return integers == CLATTN_LENGTHS_I64 ? NPY_I64 : NPY_I32;
    clattn_dtype dtype = dtype_of(arrays, operand);
    return dtype == CLATTN_BOOL ? NPY_BOOL : dtype == CLATTN_F16 ? NPY_F16 : NPY_F32;
}

static size_t element_size(const struct arrays *arrays, enum operand operand)
{
    clattn_lengths integers = integer_type(&arrays->desc, operand);
    if (integers != CLATTN_LENGTHS_NONE)
        return integers == CLATTN_LENGTHS_I64 ? sizeof(int64_t) : sizeof(int32_t);
    return clattn_dtype_size(dtype_of(arrays, operand));
}

enum exit_code arrays_set_shape(struct arrays *arrays, enum operand operand)
{
    struct array *array = &arrays->array[operand];
    int64_t extent[4], bytes = (int64_t)element_size(arrays, operand);
    array->file_type = file_type_of(arrays, operand);
    array->rank = extents_of(&arrays->desc, operand, extent);
    memcpy(array->shape, extent, sizeof extent);
    if (operand == D_MASK && arrays->array[MASK].read_type != 0) { /* as its file had it */
        array->rank = arrays->array[MASK].rank;
        memcpy(array->shape, arrays->array[MASK].shape, sizeof array->shape);
        memcpy(extent, array->shape, sizeof extent);
    }
    for (int i = 0; i < array->rank; i++)
        if (__builtin_mul_overflow(bytes, extent[i], &bytes))
            return fail(EXIT_FAILED, "%s has more elements than any memory", operand_names[operand]);
    array->bytes = (size_t)bytes;
    if (layout_of(arrays, operand) != NULL && form_of(arrays, operand) != FORM_BHSD) {
        array->shape[1] = extent[2];
        array->shape[2] = extent[1];
    }
    if (layout_of(arrays, operand) != NULL && form_of(arrays, operand) == FORM_PACKED) {
        array->shape[2] = extent[1] * extent[3];
        array->rank = 3;
    }
    return EXIT_DONE;
}

enum exit_code arrays_allocate(struct arrays *arrays, enum operand operand)
{
    struct array *array = &arrays->array[operand];
    array->data = calloc(array->bytes > 0 ? array->bytes : 1, 1);
    if (array->data == NULL)
        return fail(EXIT_FAILED, "no memory for the %zu bytes of %s", array->bytes, operand_names[operand]);
    return EXIT_DONE;
}

static void set_integer(struct array *array, int64_t index, int64_t value)
{
    if (array->file_type == NPY_I64)
        ((int64_t *)array->data)[index] = value;
    else
        ((int32_t *)array->data)[index] = (int32_t)value;
}

/* 1 to `longest`, or 0 where that is 0. */
static int64_t random_length(int64_t longest, enum operand operand, int64_t index, uint64_t seed)
{
    return longest > 0 ? 1 + (int64_t)(random_bits(seed, operand, (uint64_t)index) % (uint64_t)longest) : 0;
}

static void fill_lengths(struct arrays *arrays, uint64_t seed)
{
    int64_t longest = arrays_covered(&arrays->desc);
    if (arrays->desc.kv_storage == CLATTN_STORAGE_CIRCULAR && longest > 0 && longest == arrays->desc.kv_len)
        longest += longest - 1; /* some have come around; the most keys twice make an int32 */
    for (int64_t b = 0; b < arrays->desc.batch; b++)
        set_integer(&arrays->array[KV_LENGTHS], b, random_length(longest, KV_LENGTHS, b, seed));
}

static void fill_cumulative(struct arrays *arrays, enum operand operand, int64_t longest, int64_t total, uint64_t seed)
{
    int64_t end = 0;
    set_integer(&arrays->array[operand], 0, end);
    for (int64_t b = 0; b < arrays->desc.batch; b++) {
        end += random_length(longest, operand, b, seed);
        end = end < total ? end : total;
        set_integer(&arrays->array[operand], b + 1, end);
    }
}

/* As many different blocks as the pool has, in no order (the shuffle of Fisher and Yates). */
static void fill_block_table(struct arrays *arrays, uint64_t seed)
{
    struct array *table = &arrays->array[BLOCK_TABLE];
    int32_t *block = table->data;
    int64_t count = table->shape[0] * table->shape[1];
    for (int64_t i = 0; i < count; i++) {
        int64_t other = (int64_t)(random_bits(seed, BLOCK_TABLE, (uint64_t)i) % (uint64_t)(i + 1));
        block[i] = block[other];
        block[other] = (int32_t)(i % arrays->desc.num_blocks);
    }
}

static void fill_integers(struct arrays *arrays, enum operand operand, uint64_t seed)
{
    const clattn_attention_desc *desc = &arrays->desc;
    if (operand == KV_LENGTHS)
        fill_lengths(arrays, seed);
    else if (operand == BLOCK_TABLE)
        fill_block_table(arrays, seed);
    else if (operand == Q_CU_LENGTHS)
        fill_cumulative(arrays, operand, desc->q_len, desc->q_total, seed);
    else
        fill_cumulative(arrays, operand, arrays_covered(desc), desc->kv_total, seed);
}

enum exit_code arrays_make_up(struct arrays *arrays, enum operand operand, uint64_t seed)
{
    struct array *array = &arrays->array[operand];
    TRY(arrays_allocate(arrays, operand));
    if (integer_type(&arrays->desc, operand) != CLATTN_LENGTHS_NONE) {
        fill_integers(arrays, operand, seed);
        return EXIT_DONE;
    }
    if (operand == ALIBI_SLOPES) {
        clattn_error error;
        const int64_t heads = arrays->desc.q_heads;
        float *slopes = array->data;
        if (clattn_alibi_slopes(heads, slopes, &error) != CLATTN_SUCCESS)
            return fail_library(&error);
        for (int64_t i = heads; i < (int64_t)(array->bytes / sizeof *slopes); i++)
            slopes[i] = slopes[i % heads] / (float)(i / heads + 1); /* those of further batches less and less steep */
        return EXIT_DONE;
    }
    clattn_dtype dtype = dtype_of(arrays, operand);
    int64_t count = (int64_t)(array->bytes / element_size(arrays, operand));
    for (int64_t i = 0; i < count; i++)
        if (dtype == CLATTN_BOOL)
            ((unsigned char *)array->data)[i] = random_bits(seed, operand, (uint64_t)i) & 1;
        else
            convert_store(dtype, array->data, i, (float)random_normal(seed, operand, (uint64_t)i));
    return EXIT_DONE;
}

enum exit_code arrays_fill(struct arrays *arrays, uint64_t seed)
{
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (arrays_has(arrays, operand) && arrays->array[operand].data == NULL)
            TRY(operand < OUTPUT ? arrays_make_up(arrays, operand, seed) : arrays_allocate(arrays, operand));
    return EXIT_DONE;
}

/* The type that the data of a file gets in memory. */
static enum npy_type type_in_memory(enum npy_type type, enum array_kind kind)
{
    if (type == NPY_F64)
        return NPY_F32;
    if ((type & NPY_INTEGERS) == 0)
        return type;
    if (kind == ARRAY_MASK)
        return NPY_BOOL;
    return (type & (NPY_I64 | NPY_U64 | NPY_U32)) != 0 ? NPY_I64 : NPY_I32;
}

/* Reads a file of `kind`; its type is then the one in memory, and *read_type what it was. */
static enum exit_code read_file(enum operand operand, const char *path, enum array_kind kind, struct npy *file,
                                enum npy_type *read_type)
{
    static const unsigned types[] = {[ARRAY_NUMBERS] = NPY_FLOATS,
                                     [ARRAY_MASK] = NPY_BOOL | NPY_INTEGERS | NPY_FLOATS,
                                     [ARRAY_WHOLE] = NPY_INTEGERS};
    char message[NPY_MESSAGE];
    bool good = npy_read(path, types[kind], file, message);
    *read_type = good ? file->type : (enum npy_type)0;
    if (good && !npy_convert(file, type_in_memory(file->type, kind), kind == ARRAY_MASK, message)) {
        npy_free(file);
        good = false;
    }
    return good ? EXIT_DONE
                : fail(EXIT_BAD_FILE, "%s: cannot be read as %s: %s", path, operand_names[operand], message);
}

enum exit_code arrays_read(struct arrays *arrays, enum operand operand, const char *path, enum array_kind kind)
{
    struct array *array = &arrays->array[operand];
    struct npy file;
    TRY(read_file(operand, path, kind, &file, &array->read_type));
    if (file.rank > 4) {
        npy_free(&file);
        return fail(EXIT_BAD_FILE, "%s: %s has %d dimensions: expected at most 4", path, operand_names[operand],
                    file.rank);
    }
    array->file_type = file.type;
    array->rank = file.rank;
    memcpy(array->shape, file.shape, sizeof array->shape);
    array->bytes = (size_t)file.count * npy_type_size(file.type);
    array->data = file.data;
    return EXIT_DONE;
}

/* Query, key and value out of the rows of a packed file, each of which has one of theirs after the other. */
static enum exit_code unpack(struct arrays *arrays, const struct npy *file, enum npy_type read_type)
{
    const int64_t *shape = file->shape;
    size_t bytes = (size_t)file->count * npy_type_size(file->type) / 3;
    size_t rows = bytes > 0 ? (size_t)(shape[0] * shape[1]) : 0, row = rows > 0 ? bytes / rows : 0;
    for (enum operand operand = QUERY; operand <= VALUE; operand++) {
        struct array *array = &arrays->array[operand];
        *array = (struct array){.file_type = file->type,
                                .read_type = read_type,
                                .rank = 4,
                                .shape = {shape[0], shape[1], shape[3], shape[4]}};
        array->bytes = bytes;
        TRY(arrays_allocate(arrays, operand));
        for (size_t i = 0; i < rows; i++)
            memcpy((char *)array->data + i * row, (const char *)file->data + (3 * i + operand) * row, row);
    }
    return EXIT_DONE;
}

enum exit_code arrays_read_packed(struct arrays *arrays, const char *path)
{
    struct npy file;
    char shape[128];
    enum npy_type read_type;
    TRY(read_file(QUERY, path, ARRAY_NUMBERS, &file, &read_type));
    npy_describe(read_type, file.rank, file.shape, shape, sizeof shape);
    enum exit_code code = file.rank == 5 && file.shape[2] == 3
                              ? unpack(arrays, &file, read_type)
                              : fail(EXIT_BAD_FILE, "%s: is %s: expected [batch, length, 3, heads, dim]", path, shape);
    npy_free(&file);
    return code;
}

enum exit_code arrays_narrow(struct arrays *arrays, enum operand operand, const char *path)
{
    struct array *array = &arrays->array[operand];
    struct npy file = {.type = array->file_type, .data = array->data};
    char message[NPY_MESSAGE];
    file.count = (int64_t)(array->bytes / npy_type_size(file.type));
    if (!npy_convert(&file, NPY_I32, false, message))
        return fail(EXIT_BAD_FILE, "%s: cannot be taken as %s: %s", path, operand_names[operand], message);
    array->file_type = file.type;
    array->data = file.data;
    array->bytes = (size_t)file.count * npy_type_size(file.type);
    return EXIT_DONE;
}

enum exit_code arrays_prepend(struct arrays *arrays, enum operand operand, enum operand past, int64_t extent[4])
{
    struct array *array = &arrays->array[operand];
    struct array *before = &arrays->array[past];
    char *read = array->data;
    int64_t past_len = before->data != NULL ? before->shape[2] : 0, length = extent[2];
    size_t row = (size_t)extent[3] * npy_type_size(array->file_type), past_rows = row * (size_t)past_len;
    int64_t head_rows = form_of(arrays, operand) == FORM_BHSD ? length : 1; /* rows from a head to the next */
    int64_t step = form_of(arrays, operand) == FORM_BHSD ? 1 : extent[1];   /* and from a key to the next */
    array->bytes += before->bytes;                                          /* both are in memory: no overflow */
    enum exit_code code = arrays_allocate(arrays, operand);
    char *to = array->data;
    for (int64_t b = 0; b < extent[0] && code == EXIT_DONE; b++)
        for (int64_t h = 0; h < extent[1]; h++, to += row * (size_t)length) {
            if (past_len > 0)
                memcpy(to, (char *)before->data + past_rows * (size_t)(b * extent[1] + h), past_rows);
            to += past_rows;
            const char *from = read + row * (size_t)(b * extent[1] * length + h * head_rows);
            for (int64_t j = 0; j < length; j++)
                memcpy(to + row * (size_t)j, from + row * (size_t)(j * step), row);
        }
    free(read);
    free(before->data);
    before->data = NULL;
    extent[2] = past_len + length;
    array->rank = 4;
    memcpy(array->shape, extent, sizeof array->shape);
    return code;
}

enum exit_code arrays_convert(struct arrays *arrays, enum operand operand)
{
    struct array *array = &arrays->array[operand];
    clattn_dtype from = arrays_dtype(array->file_type), to = dtype_of(arrays, operand);
    if (from == to)
        return EXIT_DONE;
    void *read = array->data;
    int64_t count = (int64_t)(array->bytes / npy_type_size(array->file_type));
    array->bytes = (size_t)count * clattn_dtype_size(to);
    enum exit_code code = arrays_allocate(arrays, operand);
    if (code == EXIT_DONE)
        convert_array(to, array->data, from, read, count);
    free(read);
    return code;
}

int64_t arrays_integer(const struct arrays *arrays, enum operand operand, int64_t index)
{
    const struct array *array = &arrays->array[operand];
    return array->file_type == NPY_I64 ? ((const int64_t *)array->data)[index] : ((const int32_t *)array->data)[index];
}

void arrays_lengths(const struct arrays *arrays, int64_t batch, int64_t *q_len, int64_t *kv_len)
{
    const clattn_attention_desc *desc = &arrays->desc;
    *q_len = desc->q_len;
    *kv_len = desc->kv_len;
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        *q_len = arrays_integer(arrays, Q_CU_LENGTHS, batch + 1) - arrays_integer(arrays, Q_CU_LENGTHS, batch);
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        *kv_len = arrays_integer(arrays, KV_CU_LENGTHS, batch + 1) - arrays_integer(arrays, KV_CU_LENGTHS, batch);
    if (desc->kv_lengths != CLATTN_LENGTHS_NONE && arrays_integer(arrays, KV_LENGTHS, batch) < *kv_len)
        *kv_len = arrays_integer(arrays, KV_LENGTHS, batch); /* more have come around in a circle */
}

int64_t arrays_covered(const clattn_attention_desc *desc)
{
    bool partly = desc->mask_kind != CLATTN_MASK_NONE && desc->mask_shape[3] > 1 && !desc->mask_pad;
    return partly ? desc->mask_shape[3] : desc->kv_len;
}

enum exit_code arrays_write(const struct arrays *arrays, enum operand operand, const char *path, int descriptor)
{
    const struct array *array = &arrays->array[operand];
    clattn_dtype from = dtype_of(arrays, operand), to = arrays_dtype(array->file_type);
    int64_t count = (int64_t)(array->bytes / clattn_dtype_size(from));
    void *converted = NULL;
    if (from != to) {
        converted = malloc((size_t)count * clattn_dtype_size(to) + 1);
        if (converted == NULL)
            return fail(EXIT_FAILED, "no memory to convert %s", operand_names[operand]);
        convert_array(to, converted, from, array->data, count);
    }
    bool good =
        npy_write(descriptor, array->file_type, array->rank, array->shape, converted != NULL ? converted : array->data);
    int error = errno;
    free(converted);
    return good ? EXIT_DONE : fail(EXIT_FAILED, "%s: cannot be written: %s", path, strerror(error));
}

void arrays_free(struct arrays *arrays)
{
    for (enum operand operand = QUERY; operand < NUM_ARRAYS; operand++) {
        free(arrays->array[operand].data);
        arrays->array[operand].data = NULL;
    }
}
