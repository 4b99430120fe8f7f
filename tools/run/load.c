/* SPDX-License-Identifier: Apache-2.0 */
/* From files, or from the problem, to the descriptor: shapes that fit each other, or a message that names the file. */
#include "run/run.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "a.npy: key is float32 [1, 8, 9, 64]": how a message about a shape begins. */
static const char *shown(const struct request *request, const struct arrays *arrays, enum operand operand,
                         enum run_option option)
{
    static char text[4400]; /* a path at its longest, and a shape */
    const struct array *array = &arrays->array[operand];
    char shape[128];
    npy_describe(array->read_type, array->rank, array->shape, shape, sizeof shape);
    snprintf(text, sizeof text, "%s: %s is %s", request->values.text[option], operand_names[operand], shape);
    return text;
}

/* The extents [batch, heads, length, dim] of a query, key or value file. `heads` is what the options say, or 0. */
static enum exit_code read_extents(const struct request *request, struct arrays *arrays, enum operand operand,
                                   enum run_option option, int64_t heads, int64_t extent[4])
{
    const struct array *array = &arrays->array[operand];
    const struct array *query = &arrays->array[QUERY];
    const int64_t *shape = array->shape;
    const char *heads_option = operand == QUERY ? "--q-heads" : "--kv-heads";
    if (array->rank != 3 && array->rank != 4)
        return fail(EXIT_BAD_FILE, "%s: expected 4 dimensions, or 3 with --q-heads and --kv-heads",
                    shown(request, arrays, operand, option));
    if (array->rank != query->rank)
        return fail(EXIT_BAD_FILE, "%s: expected %d dimensions, as query has", shown(request, arrays, operand, option),
                    query->rank);
    extent[0] = shape[0];
    if (array->rank == 3) {
        if (heads == 0)
            return fail(EXIT_USAGE, "%s, [batch, length, heads * dim]: expected --q-heads and --kv-heads with it",
                        shown(request, arrays, operand, option));
        if (shape[2] % heads != 0)
            return fail(EXIT_BAD_FILE, "%s: expected a last extent that is a multiple of %s (%" PRId64 ")",
                        shown(request, arrays, operand, option), heads_option, heads);
        extent[1] = heads;
        extent[2] = shape[1];
        extent[3] = shape[2] / heads;
    } else {
        extent[1] = shape[arrays->form == FORM_BSHD ? 2 : 1];
        extent[2] = shape[arrays->form == FORM_BSHD ? 1 : 2];
        extent[3] = shape[3];
        if (heads != 0 && extent[1] != heads)
            return fail(EXIT_BAD_FILE, "%s: expected %" PRId64 " heads, as %s says",
                        shown(request, arrays, operand, option), heads, heads_option);
    }
    if (extent[3] == 0)
        return fail(EXIT_BAD_FILE, "%s: expected at least 1 element a head", shown(request, arrays, operand, option));
    return EXIT_DONE;
}

/* Cumulative lengths, before the tensors that they divide are known. */
static enum exit_code load_cumulative(const struct request *request, struct arrays *arrays, enum operand operand,
                                      enum run_option option, clattn_lengths *type)
{
    const struct array *array = &arrays->array[operand];
    TRY(arrays_read(arrays, operand, request->values.text[option], ARRAY_WHOLE));
    if (array->rank != 1 || array->shape[0] == 0)
        return fail(EXIT_BAD_FILE, "%s: expected [batch + 1], where each sequence begins and where the last one ends",
                    shown(request, arrays, operand, option));
    *type = array->file_type == NPY_I64 ? CLATTN_LENGTHS_I64 : CLATTN_LENGTHS_I32;
    return EXIT_DONE;
}

/* The batches of query and key against each other and against the files that divide them. */
static enum exit_code check_batches(const struct request *request, struct arrays *arrays, const int64_t query[4],
                                    const int64_t key[4])
{
    clattn_attention_desc *desc = &arrays->desc;
    bool q_packed = desc->q_cu_lengths != CLATTN_LENGTHS_NONE, kv_packed = desc->kv_cu_lengths != CLATTN_LENGTHS_NONE;
    desc->batch = q_packed ? arrays->array[Q_CU_LENGTHS].shape[0] - 1 : query[0];
    if (q_packed && query[0] != 1)
        return fail(EXIT_BAD_FILE, "%s: expected a batch of 1, its sequences being packed",
                    shown(request, arrays, QUERY, RUN_QUERY));
    if (kv_packed && key[0] != 1)
        return fail(EXIT_BAD_FILE, "%s: expected a batch of 1, its sequences being packed",
                    shown(request, arrays, KEY, RUN_KEY));
    if (kv_packed && arrays->array[KV_CU_LENGTHS].shape[0] - 1 != desc->batch)
        return fail(EXIT_BAD_FILE, "%s: expected [%" PRId64 "], one more than the sequences of query",
                    shown(request, arrays, KV_CU_LENGTHS, RUN_KV_CU_LENGTHS), desc->batch + 1);
    if (!kv_packed && desc->kv_storage != CLATTN_STORAGE_PAGED && key[0] != desc->batch)
        return fail(EXIT_BAD_FILE, "%s: expected a batch of %" PRId64 ", as query has",
                    shown(request, arrays, KEY, RUN_KEY), desc->batch);
    return EXIT_DONE;
}

/* Checks cumulative lengths against the `total` rows that they divide; *longest is the longest sequence. */
static enum exit_code check_cumulative(const char *path, const struct arrays *arrays, enum operand operand,
                                       int64_t total, int64_t *longest)
{
    *longest = 0;
    for (int64_t b = 0, least = 0; b <= arrays->desc.batch; b++) {
        int64_t begin = arrays_integer(arrays, operand, b);
        if (begin < least || begin > total)
            return fail(EXIT_BAD_FILE,
                        "%s: %s[%" PRId64 "] is %" PRId64 ": expected %" PRId64 "%s to %" PRId64 ", the length of %s",
                        path, operand_names[operand], b, begin, least, b > 0 ? ", where the sequence begins," : "",
                        total, operand == Q_CU_LENGTHS ? "query" : "key");
        if (b > 0 && begin - least > *longest)
            *longest = begin - least;
        least = begin;
    }
    return EXIT_DONE;
}

/* The block table, and how many keys its rows hold. */
static enum exit_code load_block_table(const struct request *request, struct arrays *arrays)
{
    clattn_attention_desc *desc = &arrays->desc;
    const struct array *table = &arrays->array[BLOCK_TABLE];
    int64_t most;
    TRY(arrays_read(arrays, BLOCK_TABLE, request->values.text[RUN_BLOCK_TABLE], ARRAY_WHOLE));
    if (table->rank != 2 || table->shape[0] != desc->batch)
        return fail(EXIT_BAD_FILE, "%s: expected [%" PRId64 ", blocks], a row for each batch",
                    shown(request, arrays, BLOCK_TABLE, RUN_BLOCK_TABLE), desc->batch);
    if (__builtin_mul_overflow(table->shape[1], desc->page_size, &most))
        most = INT64_MAX;
    desc->block_table_stride = table->shape[1];
    desc->kv_len = request->kv_len >= 0 ? request->kv_len : most;
    if (desc->kv_len > most)
        return fail(EXIT_BAD_FILE,
                    "%s: --kv-len is %" PRId64 "; expected at most %" PRId64 ", blocks of %" PRId64 " keys",
                    shown(request, arrays, BLOCK_TABLE, RUN_BLOCK_TABLE), desc->kv_len, most, desc->page_size);
    return EXIT_DONE;
}

/* Every block that a batch has keys in is one of the pool. The table becomes int32. */
static enum exit_code check_block_table(const struct request *request, struct arrays *arrays)
{
    const clattn_attention_desc *desc = &arrays->desc;
    for (int64_t b = 0; b < desc->batch; b++) {
        int64_t queries, keys;
        arrays_lengths(arrays, b, &queries, &keys);
        for (int64_t i = 0; i * desc->page_size < keys; i++) {
            int64_t block = arrays_integer(arrays, BLOCK_TABLE, b * desc->block_table_stride + i);
            if (block < 0 || block >= desc->num_blocks)
                return fail(EXIT_BAD_FILE,
                            "%s: block_table[%" PRId64 ", %" PRId64 "] is %" PRId64 ": expected 0 to %" PRId64
                            ", a block of key",
                            request->values.text[RUN_BLOCK_TABLE], b, i, block, desc->num_blocks - 1);
        }
    }
    return arrays_narrow(arrays, BLOCK_TABLE, request->values.text[RUN_BLOCK_TABLE]);
}

/* The lengths of the descriptor, from those of query and key and from what divides them. */
static enum exit_code set_lengths(const struct request *request, struct arrays *arrays, int64_t rows,
                                  const int64_t key[4])
{
    clattn_attention_desc *desc = &arrays->desc;
    desc->q_len = desc->q_total = rows;
    desc->kv_len = desc->kv_total = key[2];
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        TRY(check_cumulative(request->values.text[RUN_Q_CU_LENGTHS], arrays, Q_CU_LENGTHS, rows, &desc->q_len));
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        TRY(check_cumulative(request->values.text[RUN_KV_CU_LENGTHS], arrays, KV_CU_LENGTHS, key[2], &desc->kv_len));
    if (desc->kv_storage != CLATTN_STORAGE_PAGED)
        return EXIT_DONE;
    desc->num_blocks = key[0];
    desc->page_size = key[2];
    return load_block_table(request, arrays);
}

/* What came before: [batch, heads, length, dim] like key or value as read, of `length` rows where that is not -1. */
static enum exit_code load_past(const struct request *request, struct arrays *arrays, enum operand operand,
                                const int64_t extent[4], int64_t length)
{
    const struct array *past = &arrays->array[operand];
    enum operand what = operand == PAST_KEY ? KEY : VALUE;
    enum run_option option = operand == PAST_KEY ? RUN_PAST_KEY : RUN_PAST_VALUE;
    const int64_t *shape = past->shape;
    TRY(arrays_read(arrays, operand, request->values.text[option], ARRAY_NUMBERS));
    if (past->rank != 4 || shape[0] != extent[0] || shape[1] != extent[1] || shape[3] != extent[3])
        return fail(EXIT_BAD_FILE,
                    "%s: expected [%" PRId64 ", %" PRId64 ", length, %" PRId64 "] ([batch, heads, length, dim]), as %s",
                    shown(request, arrays, operand, option), extent[0], extent[1], extent[3], operand_names[what]);
    if (past->file_type != arrays->array[what].file_type)
        return fail(EXIT_BAD_FILE, "%s: expected %s, as %s", shown(request, arrays, operand, option),
                    npy_type_string(arrays->array[what].file_type), operand_names[what]);
    if (length >= 0 && shape[2] != length)
        return fail(EXIT_BAD_FILE, "%s: expected the length %" PRId64 ", as past_key",
                    shown(request, arrays, operand, option), length);
    return EXIT_DONE;
}

/* Keys and values as one run of rows each: what came before and what is new. */
static enum exit_code join_past(const struct request *request, struct arrays *arrays, int64_t key[4], int64_t value[4])
{
    if (requested(request, RUN_PAST_KEY)) {
        TRY(load_past(request, arrays, PAST_KEY, key, -1));
        TRY(load_past(request, arrays, PAST_VALUE, value, arrays->array[PAST_KEY].shape[2]));
    }
    TRY(arrays_prepend(arrays, KEY, PAST_KEY, key));
    TRY(arrays_prepend(arrays, VALUE, PAST_VALUE, value));
    arrays->kv_form = FORM_BHSD;
    return EXIT_DONE;
}

/* Query, key and value, and from them the extents and types of the descriptor. */
static enum exit_code load_tensors(const struct request *request, struct arrays *arrays)
{
    static const enum run_option options[] = {RUN_QUERY, RUN_KEY, RUN_VALUE};
    clattn_attention_desc *desc = &arrays->desc;
    int64_t extent[3][4];
    if (requested(request, RUN_QKV))
        TRY(arrays_read_packed(arrays, request->values.text[RUN_QKV]));
    for (enum operand operand = QUERY; operand <= VALUE; operand++) {
        if (!requested(request, RUN_QKV))
            TRY(arrays_read(arrays, operand, request->values.text[options[operand]], ARRAY_NUMBERS));
        TRY(read_extents(request, arrays, operand, options[operand],
                         operand == QUERY ? request->q_heads : request->kv_heads, extent[operand]));
    }
    int64_t *query = extent[QUERY], *key = extent[KEY], *value = extent[VALUE];
    TRY(check_batches(request, arrays, query, key));
    if (key[1] == 0 ? query[1] != 0 : query[1] % key[1] != 0)
        return fail(EXIT_BAD_FILE, "%s: %" PRId64 " heads; expected a divisor of the query's (%" PRId64 ")",
                    shown(request, arrays, KEY, RUN_KEY), key[1], query[1]);
    if (key[3] != query[3])
        return fail(EXIT_BAD_FILE, "%s: %" PRId64 " elements a head; expected %" PRId64 ", as query has",
                    shown(request, arrays, KEY, RUN_KEY), key[3], query[3]);
    if (value[0] != key[0] || value[1] != key[1] || value[2] != key[2])
        return fail(EXIT_BAD_FILE,
                    "%s: expected batch %" PRId64 ", heads %" PRId64 " and length %" PRId64 ", as key has",
                    shown(request, arrays, VALUE, RUN_VALUE), key[0], key[1], key[2]);
    if (arrays->array[QUERY].rank == 3)
        arrays->form = arrays->kv_form = FORM_PACKED;
    if (requested(request, RUN_PAST_KEY) || requested(request, RUN_PRESENT_KEY) ||
        requested(request, RUN_PRESENT_VALUE))
        TRY(join_past(request, arrays, key, value));
    desc->q_heads = query[1];
    desc->kv_heads = key[1];
    desc->head_dim = query[3];
    desc->value_dim = value[3];
    TRY(set_lengths(request, arrays, query[2], key));
    arrays->output_type = arrays->array[QUERY].file_type;
    clattn_dtype dtype = request->dtype_given ? request->dtype : arrays_dtype(arrays->output_type);
    desc->query.dtype = desc->key.dtype = desc->value.dtype = desc->output.dtype = dtype;
    for (enum operand operand = QUERY; operand <= VALUE; operand++)
        TRY(arrays_convert(arrays, operand));
    return EXIT_DONE;
}

static enum exit_code load_mask(const struct request *request, struct arrays *arrays)
{
    clattn_attention_desc *desc = &arrays->desc;
    struct array *mask = &arrays->array[MASK];
    TRY(arrays_read(arrays, MASK, request->values.text[RUN_MASK], ARRAY_MASK));
    const int64_t full[4] = {desc->batch, desc->q_heads, desc->q_len, desc->kv_len};
    bool fits = true;
    for (int i = 0; i < 4; i++) {
        int from = i - (4 - mask->rank); /* shapes are aligned at their ends */
        int64_t extent = from < 0 ? 1 : mask->shape[from];
        bool shorter = i == 3 && extent >= 2 && extent < full[3];
        fits = fits && (extent == 1 || extent == full[i] || shorter);
        desc->mask_shape[i] = extent;
    }
    if (!fits)
        return fail(EXIT_BAD_FILE,
                    "%s: expected what broadcasts over [%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                    "] ([batch, heads, queries, keys])",
                    shown(request, arrays, MASK, RUN_MASK), full[0], full[1], full[2], full[3]);
    desc->mask_kind = mask->file_type == NPY_BOOL ? CLATTN_MASK_BOOL : CLATTN_MASK_ADDITIVE;
    desc->mask.dtype = mask->file_type == NPY_BOOL ? CLATTN_BOOL : arrays_dtype(mask->file_type);
    bool lengths = requested(request, RUN_KV_LENGTHS) || desc->kv_lengths != CLATTN_LENGTHS_NONE ||
                   desc->kv_cu_lengths != CLATTN_LENGTHS_NONE;
    if (!lengths && arrays_covered(desc) < desc->kv_len)
        return fail(
            EXIT_BAD_FILE,
            "%s: it covers %" PRId64 " of %" PRId64
            " keys%s; expected all, or a last extent of 1, or --mask-pad, which excludes the others, or --kv-lengths",
            shown(request, arrays, MASK, RUN_MASK), arrays_covered(desc), desc->kv_len,
            requested(request, RUN_PAST_KEY) ? ", the past ones among them" : "");
    return EXIT_DONE;
}

static enum exit_code load_lengths(const struct request *request, struct arrays *arrays)
{
    clattn_attention_desc *desc = &arrays->desc;
    struct array *lengths = &arrays->array[KV_LENGTHS];
    const char *path = request->values.text[RUN_KV_LENGTHS];
    TRY(arrays_read(arrays, KV_LENGTHS, path, ARRAY_WHOLE));
    if (lengths->rank != 1 || lengths->shape[0] != desc->batch)
        return fail(EXIT_BAD_FILE, "%s: expected the shape [%" PRId64 "], a length for each batch",
                    shown(request, arrays, KV_LENGTHS, RUN_KV_LENGTHS), desc->batch);
    desc->kv_lengths = lengths->file_type == NPY_I64 ? CLATTN_LENGTHS_I64 : CLATTN_LENGTHS_I32;
    for (int64_t b = 0; b < desc->batch; b++) {
        int64_t length = arrays_integer(arrays, KV_LENGTHS, b);
        if (length < 0)
            return fail(EXIT_BAD_FILE, "%s: kv_lengths[%" PRId64 "] is %" PRId64 ": expected 0 or more", path, b,
                        length);
        if (length > desc->kv_len && desc->kv_storage != CLATTN_STORAGE_CIRCULAR)
            return fail(EXIT_BAD_FILE, "%s: kv_lengths[%" PRId64 "] is %" PRId64 ": expected 0 to %" PRId64 ", the %s",
                        path, b, length, desc->kv_len,
                        desc->kv_storage == CLATTN_STORAGE_PAGED ? "keys of its blocks" : "length of key");
    }
    return EXIT_DONE;
}

/* By lengths from files, no batch has more keys than its mask covers. */
static enum exit_code check_covered(const struct request *request, const struct arrays *arrays)
{
    const clattn_attention_desc *desc = &arrays->desc;
    bool packed = requested(request, RUN_KV_CU_LENGTHS);
    if (!packed && !requested(request, RUN_KV_LENGTHS))
        return EXIT_DONE;
    for (int64_t b = 0, most = arrays_covered(desc); b < desc->batch; b++) {
        int64_t keys = packed ? arrays_integer(arrays, KV_CU_LENGTHS, b + 1) - arrays_integer(arrays, KV_CU_LENGTHS, b)
                              : arrays_integer(arrays, KV_LENGTHS, b);
        if (keys > most && most < desc->kv_len) /* more have come around in a circle */
            return fail(EXIT_BAD_FILE,
                        "%s: batch %" PRId64 " has %" PRId64 " keys; expected at most %" PRId64
                        ", or --mask-pad, which excludes the others",
                        shown(request, arrays, MASK, RUN_MASK), b, keys < desc->kv_len ? keys : desc->kv_len, most);
    }
    return EXIT_DONE;
}

/* A number for each query head, for ALiBi perhaps of each batch, or, for the relative bias, a row of an odd number. */
static enum exit_code load_head_values(const struct request *request, struct arrays *arrays, enum operand operand,
                                       enum run_option option)
{
    clattn_attention_desc *desc = &arrays->desc;
    const struct array *array = &arrays->array[operand];
    bool table = operand == RELATIVE_BIAS;
    TRY(arrays_read(arrays, operand, request->values.text[option], ARRAY_NUMBERS));
    if (operand == ALIBI_SLOPES && array->rank == 2) {
        if (array->shape[0] != desc->batch || array->shape[1] != desc->q_heads)
            return fail(EXIT_BAD_FILE, "%s: expected [%" PRId64 "] or [%" PRId64 ", %" PRId64 "] ([batch, heads])",
                        shown(request, arrays, operand, option), desc->q_heads, desc->batch, desc->q_heads);
        desc->alibi_batch = desc->batch;
        return arrays_convert(arrays, operand);
    }
    if (array->rank != (table ? 2 : 1) || array->shape[0] != desc->q_heads ||
        (table && (array->shape[1] < 3 || array->shape[1] % 2 == 0)))
        return fail(EXIT_BAD_FILE, "%s: expected [%" PRId64 "%s", shown(request, arrays, operand, option),
                    desc->q_heads, table ? ", 2R + 1], R being 1 or more" : "], a number for each query head");
    if (table)
        desc->relative_extent = array->shape[1] / 2;
    return arrays_convert(arrays, operand);
}

/* A gradient of what the run writes, of the same shape as `of`, which has its own by now. */
static enum exit_code load_gradient(const struct request *request, struct arrays *arrays, enum operand operand,
                                    enum run_option option, enum operand of)
{
    const struct array *array = &arrays->array[operand], *source = &arrays->array[of];
    TRY(arrays_read(arrays, operand, request->values.text[option], ARRAY_NUMBERS));
    bool fits = array->rank == source->rank;
    for (int i = 0; fits && i < source->rank; i++)
        fits = array->shape[i] == source->shape[i];
    if (!fits) {
        char shape[128];
        npy_describe(source->file_type, source->rank, source->shape, shape, sizeof shape);
        return fail(EXIT_BAD_FILE, "%s: expected the shape %s, as %s has", shown(request, arrays, operand, option),
                    strchr(shape, '['), operand_names[of]);
    }
    return arrays_convert(arrays, operand);
}

/* What gradients are made from, and that the mask, which has been read, has one. */
static enum exit_code load_gradients(const struct request *request, struct arrays *arrays)
{
    if (arrays->backward.d_mask && arrays->desc.mask_kind != CLATTN_MASK_ADDITIVE) {
        if (!requested(request, RUN_MASK))
            return fail(EXIT_USAGE, "--d-mask: the mask of the problem is boolean: expected mask=add");
        return fail(EXIT_BAD_FILE, "%s: expected floats with --d-mask: only what is added has a gradient",
                    shown(request, arrays, MASK, RUN_MASK));
    }
    if (requested(request, RUN_D_OUTPUT))
        TRY(load_gradient(request, arrays, D_OUTPUT, RUN_D_OUTPUT, OUTPUT));
    return requested(request, RUN_D_LSE) ? load_gradient(request, arrays, D_LSE, RUN_D_LSE, LSE) : EXIT_DONE;
}

enum exit_code run_load(const struct request *request, struct arrays *arrays)
{
    arrays->desc = request->desc;
    arrays->backward = request->backward;
    arrays->dropout_seed = request->dropout_seed;
    arrays->dropout_offset = request->dropout_offset;
    arrays->form = arrays->kv_form = request->form;
    if (request->made_up) {
        arrays->output_type = arrays->desc.query.dtype == CLATTN_F16 ? NPY_F16 : NPY_F32;
        if (requested(request, RUN_PRESENT_KEY) || requested(request, RUN_PRESENT_VALUE))
            arrays->kv_form = FORM_BHSD;
    } else {
        if (requested(request, RUN_Q_CU_LENGTHS))
            TRY(load_cumulative(request, arrays, Q_CU_LENGTHS, RUN_Q_CU_LENGTHS, &arrays->desc.q_cu_lengths));
        if (requested(request, RUN_KV_CU_LENGTHS))
            TRY(load_cumulative(request, arrays, KV_CU_LENGTHS, RUN_KV_CU_LENGTHS, &arrays->desc.kv_cu_lengths));
        TRY(load_tensors(request, arrays));
    }
    if (requested(request, RUN_MASK))
        TRY(load_mask(request, arrays));
    if (requested(request, RUN_KV_LENGTHS))
        TRY(load_lengths(request, arrays));
    if (requested(request, RUN_MASK))
        TRY(check_covered(request, arrays));
    if (requested(request, RUN_BLOCK_TABLE))
        TRY(check_block_table(request, arrays));
    if (requested(request, RUN_SINKS))
        TRY(load_head_values(request, arrays, SINKS, RUN_SINKS));
    if (requested(request, RUN_ALIBI) && strcmp(request->values.text[RUN_ALIBI], "auto") != 0)
        TRY(load_head_values(request, arrays, ALIBI_SLOPES, RUN_ALIBI));
    if (requested(request, RUN_RELATIVE_BIAS))
        TRY(load_head_values(request, arrays, RELATIVE_BIAS, RUN_RELATIVE_BIAS));
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (arrays_has(arrays, operand) && arrays->array[operand].data == NULL)
            TRY(arrays_set_shape(arrays, operand));
    arrays_set_strides(arrays);
    return load_gradients(request, arrays);
}
