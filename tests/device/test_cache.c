/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key/value cache: what an append writes and that it writes nothing else, for every storage, type and kind of
 * position, those out of range too; and that generating token by token over a cache is one causal pass.
 */
#include "compare.h"
#include "tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST_INTEGERS = 256 };

static cl_mem make_buffer(const struct harness *harness, size_t bytes, const void *data)
{
    cl_int code = CL_SUCCESS;
    cl_mem mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes, (void *)data, &code);

    assert_int_equal(code, CL_SUCCESS);
    return mem;
}

/* Integers for the device, in 32 or 64 bits, behind one that must not be read. */
static clattn_buffer upload_integers(const struct harness *harness, clattn_lengths type, const int64_t *values,
                                     int64_t count)
{
    int32_t narrow[MOST_INTEGERS + 1] = {-7};
    int64_t wide[MOST_INTEGERS + 1] = {-7};

    assert_true(count <= MOST_INTEGERS);
    for (int64_t n = 0; n < count; ++n) {
        narrow[n + 1] = (int32_t)values[n];
        wide[n + 1] = values[n];
    }
    bool is_narrow = type == CLATTN_LENGTHS_I32;
    size_t size = is_narrow ? sizeof *narrow : sizeof *wide;
    return (clattn_buffer){
        .mem = make_buffer(harness, (size_t)(count + 1) * size, is_narrow ? (void *)narrow : (void *)wide),
        .offset = size};
}

/* ---- one append ----------------------------------------------------------------------------------------------- */

#define BATCH 7

struct append_case {
    clattn_storage storage;
    clattn_lengths positions;
    clattn_dtype key, value, key_cache, value_cache;
    int64_t heads, length, run_length, capacity, head_dim, value_dim;
    int64_t padding;
    int64_t page_size, num_blocks;
};

#define F32  CLATTN_F32
#define F16  CLATTN_F16
#define BF16 CLATTN_BF16

static const struct append_case append_cases[] = {
    {CLATTN_STORAGE_LINEAR, CLATTN_LENGTHS_NONE, F32, F32, F32, F32, 2, 3, 3, 20, 64, 64, 0, 0, 0},
    {CLATTN_STORAGE_LINEAR, CLATTN_LENGTHS_I32, F16, F32, F16, BF16, 3, 40, 33, 50, 21, 72, 5, 0, 0},
    {CLATTN_STORAGE_LINEAR, CLATTN_LENGTHS_I64, F32, BF16, F16, BF16, 1, 5, 4, 9, 80, 3, 1, 0, 0},
    {CLATTN_STORAGE_CIRCULAR, CLATTN_LENGTHS_NONE, BF16, F16, F32, F32, 2, 6, 6, 7, 40, 1, 3, 0, 0},
    {CLATTN_STORAGE_CIRCULAR, CLATTN_LENGTHS_I32, F32, F32, BF16, F16, 2, 11, 11, 11, 33, 64, 0, 0, 0},
    {CLATTN_STORAGE_CIRCULAR, CLATTN_LENGTHS_I64, F16, BF16, F32, F16, 2, 4, 3, 10, 16, 203, 2, 0, 0},
    {CLATTN_STORAGE_PAGED, CLATTN_LENGTHS_NONE, F32, F16, F32, F16, 2, 18, 17, 30, 24, 24, 0, 1, 230},
    {CLATTN_STORAGE_PAGED, CLATTN_LENGTHS_I32, F16, F16, BF16, F32, 2, 9, 9, 40, 64, 20, 3, 5, 60},
    {CLATTN_STORAGE_PAGED, CLATTN_LENGTHS_I64, BF16, F32, BF16, F32, 1, 20, 20, 35, 7, 130, 0, 16, 21},
};

struct append_scene {
    struct tensor key, value, key_cache, value_cache;
    int64_t positions[BATCH];
    int64_t table[MOST_INTEGERS];
    int64_t columns; /* of the table */
    clattn_append_desc desc;
    clattn_plan *plan;
    clattn_append_args args;
};

static struct tensor random_tensor(clattn_dtype dtype, int64_t b, int64_t h, int64_t rows, int64_t columns,
                                   int64_t padding, uint64_t seed)
{
    struct tensor t = tensor_make(dtype, b, h, rows, columns, padding);

    tensor_fill(&t, 1.0, seed);
    return t;
}

/* Positions from far below 0 to far past every capacity; a block table that names most blocks of a pool once. */
static void fill_integers(const struct append_case *c, struct append_scene *scene)
{
    const bool wide = c->positions == CLATTN_LENGTHS_I64;
    const int64_t positions[BATCH] = {0,
                                      c->capacity - c->length,
                                      c->capacity - 1,
                                      -2,
                                      c->capacity * 1000 + 3,
                                      wide ? INT64_MAX - 1 : INT32_MAX,
                                      wide ? INT64_MIN : INT32_MIN};
    memcpy(scene->positions, positions, sizeof positions);
    for (int b = 0; c->positions == CLATTN_LENGTHS_NONE && b < BATCH; ++b)
        scene->positions[b] = c->storage == CLATTN_STORAGE_CIRCULAR ? 1000003 : c->capacity - c->run_length;

    scene->columns = c->storage == CLATTN_STORAGE_PAGED ? (c->capacity + c->page_size - 1) / c->page_size : 0;
    for (int64_t n = 0; n < BATCH * scene->columns; ++n)
        scene->table[n] = n % 9 == 4   ? -1
                          : n % 9 == 5 ? c->num_blocks
                          : n % 9 == 6 ? INT32_MIN
                          : n % 9 == 7 ? INT32_MAX
                                       : (n * 11) % c->num_blocks;
}

static void open_append(const struct harness *harness, const struct append_case *c, struct append_scene *scene)
{
    const bool paged = c->storage == CLATTN_STORAGE_PAGED;
    const int64_t batches = paged ? c->num_blocks : BATCH;
    const int64_t rows = paged ? c->page_size : c->capacity;
    clattn_append_desc *desc = &scene->desc;
    clattn_error error;

    memset(scene, 0, sizeof *scene);
    scene->key = random_tensor(c->key, BATCH, c->heads, c->length, c->head_dim, c->padding, 1);
    scene->value = random_tensor(c->value, BATCH, c->heads, c->length, c->value_dim, c->padding, 2);
    scene->key_cache = random_tensor(c->key_cache, batches, c->heads, rows, c->head_dim, c->padding, 3);
    scene->value_cache = random_tensor(c->value_cache, batches, c->heads, rows, c->value_dim, 0, 4);
    fill_integers(c, scene);
    clattn_append_desc_init(desc);
    desc->batch = BATCH;
    desc->kv_heads = c->heads;
    desc->length = c->length;
    desc->capacity = c->capacity;
    desc->head_dim = c->head_dim;
    desc->value_dim = c->value_dim == c->head_dim ? 0 : c->value_dim;
    desc->key = scene->key.layout;
    desc->value = scene->value.layout;
    desc->key_cache = scene->key_cache.layout;
    desc->value_cache = scene->value_cache.layout;
    desc->storage = c->storage;
    desc->page_size = c->page_size;
    desc->num_blocks = c->num_blocks;
    desc->positions = c->positions;
    harness_check(clattn_append_plan_create(harness->context, desc, &scene->plan, &error), &error, "append");
    assert_int_equal(clattn_plan_workspace_size(scene->plan), 0);
    clattn_append_args_init(&scene->args, scene->plan);
    assert_true(scene->args.length == c->length && scene->args.position == 0);
    scene->args.key = tensor_upload(harness, &scene->key);
    scene->args.value = tensor_upload(harness, &scene->value);
    scene->args.key_cache = tensor_upload(harness, &scene->key_cache);
    scene->args.value_cache = tensor_upload(harness, &scene->value_cache);
    if (c->positions != CLATTN_LENGTHS_NONE)
        scene->args.positions = upload_integers(harness, c->positions, scene->positions, BATCH);
    if (paged)
        scene->args.block_table = upload_integers(harness, CLATTN_LENGTHS_I32, scene->table, BATCH * scene->columns);
}

static void close_append(struct append_scene *scene)
{
    clattn_plan_release(scene->plan);
    tensor_free(&scene->key);
    tensor_free(&scene->value);
    tensor_free(&scene->key_cache);
    tensor_free(&scene->value_cache);
    if (scene->args.positions.mem != NULL)
        clReleaseMemObject(scene->args.positions.mem);
    if (scene->args.block_table.mem != NULL)
        clReleaseMemObject(scene->args.block_table.mem);
}

/* Puts `count` new rows where the header says into the host's copy of a cache. */
static void expect_rows(const struct append_case *c, const struct append_scene *scene, const struct tensor *from,
                        struct tensor *cache, int64_t count)
{
    for (int64_t b = 0; b < BATCH; ++b)
        for (int64_t i = 0; i < count; ++i) {
            int64_t place = b;
            int64_t row;
            if (scene->positions[b] < -i)
                continue;
            if (c->storage == CLATTN_STORAGE_CIRCULAR) {
                row = (scene->positions[b] % c->capacity + i) % c->capacity;
            } else {
                if (scene->positions[b] > c->capacity - 1 - i)
                    continue;
                row = scene->positions[b] + i;
            }
            if (c->storage == CLATTN_STORAGE_PAGED) {
                place = scene->table[b * scene->columns + row / c->page_size];
                row %= c->page_size;
                if (place < 0 || place >= c->num_blocks)
                    continue;
            }
            for (int64_t h = 0; h < c->heads; ++h)
                for (int64_t d = 0; d < from->extent[3]; ++d)
                    tensor_put(cache, place, h, row, d, tensor_get(from, b, h, i, d));
        }
}

/* Every byte of the buffer, around the view too. */
static void check_bytes(const struct harness *harness, const struct tensor *t, const char *what, size_t number)
{
    unsigned char *found = malloc(t->bytes);

    assert_non_null(found);
    assert_int_equal(clEnqueueReadBuffer(harness->queue, t->mem, CL_TRUE, 0, t->bytes, found, 0, NULL, NULL),
                     CL_SUCCESS);
    for (size_t n = 0; n < t->bytes; ++n)
        if (found[n] != t->data[n])
            fail_msg("case %zu: byte %zu of %s is %d: expected %d", number, n, what, found[n], t->data[n]);
    free(found);
}

static void plans_say_what_they_are(void **state)
{
    struct append_scene scene;

    open_append(*state, &append_cases[7], &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "append b7h2q9k40d64v20:f16-f16-bf16-f32:paged=5x60");
    assert_string_equal(clattn_plan_variant(scene.plan), "append");
    close_append(&scene);
    open_append(*state, &append_cases[0], &scene);
    assert_string_equal(clattn_plan_problem(scene.plan), "append b7h2q3k20d64:f32");
    close_append(&scene);
}

static void append_writes_its_rows_and_nothing_else(void **state)
{
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof append_cases / sizeof *append_cases; ++n) {
        const struct append_case *c = &append_cases[n];
        struct append_scene scene;
        clattn_error error;
        open_append(harness, c, &scene);
        scene.args.length = c->run_length;
        scene.args.position = c->positions == CLATTN_LENGTHS_NONE ? scene.positions[0] : -5; /* ignored */
        harness_check(clattn_append_run(scene.plan, harness->queue, &scene.args, 0, NULL, NULL, &error), &error,
                      "append");
        expect_rows(c, &scene, &scene.key, &scene.key_cache, c->run_length);
        expect_rows(c, &scene, &scene.value, &scene.value_cache, c->run_length);
        check_bytes(harness, &scene.key, "key", n);
        check_bytes(harness, &scene.value, "value", n);
        check_bytes(harness, &scene.key_cache, "key_cache", n);
        check_bytes(harness, &scene.value_cache, "value_cache", n);
        close_append(&scene);
    }
}

/* Between equal types bits are copied: NaN keeps its payload, subnormal numbers are kept. */
static void equal_types_keep_their_bits(void **state)
{
    static const clattn_dtype types[] = {CLATTN_F32, CLATTN_F16, CLATTN_BF16};
    const struct harness *harness = *state;

    for (size_t n = 0; n < 3; ++n) {
        struct append_case c = append_cases[0];
        struct append_scene scene;
        clattn_error error;
        c.key = c.key_cache = types[n];
        open_append(harness, &c, &scene);
        for (size_t byte = 0; byte < scene.key.bytes; ++byte)
            scene.key.data[byte] = (unsigned char)(byte * 37 + byte / 256);
        assert_int_equal(clEnqueueWriteBuffer(harness->queue, scene.key.mem, CL_TRUE, 0, scene.key.bytes,
                                              scene.key.data, 0, NULL, NULL),
                         CL_SUCCESS);
        scene.args.position = 4;
        harness_check(clattn_append_run(scene.plan, harness->queue, &scene.args, 0, NULL, NULL, &error), &error,
                      "append");
        size_t size = tensor_element_size(&scene.key);
        for (int64_t bh = 0; bh < BATCH * c.heads; ++bh)
            memcpy(scene.key_cache.data + (size_t)(TENSOR_ROOM + (bh * c.capacity + 4) * c.head_dim) * size,
                   scene.key.data + (size_t)(TENSOR_ROOM + bh * c.length * c.head_dim) * size,
                   (size_t)(c.length * c.head_dim) * size);
        check_bytes(harness, &scene.key_cache, "key_cache", n);
        close_append(&scene);
    }
}

/* Without a value there is one tensor, and whatever else the descriptor says of values is ignored. */
static void key_only_leaves_values_out(void **state)
{
    const struct harness *harness = *state;
    const struct append_case *c = &append_cases[2];
    struct append_scene scene;
    clattn_error error;

    open_append(harness, c, &scene);
    clattn_plan_release(scene.plan);
    scene.plan = NULL;
    scene.desc.key_only = 1;
    scene.desc.value_dim = -4;
    scene.desc.value.dtype = CLATTN_BOOL;
    harness_check(clattn_append_plan_create(harness->context, &scene.desc, &scene.plan, &error), &error, "key only");
    memset(&scene.args.value, 0, sizeof scene.args.value);
    memset(&scene.args.value_cache, 0, sizeof scene.args.value_cache);
    harness_check(clattn_append_run(scene.plan, harness->queue, &scene.args, 0, NULL, NULL, &error), &error,
                  "key only");
    expect_rows(c, &scene, &scene.key, &scene.key_cache, c->length);
    check_bytes(harness, &scene.key_cache, "key_cache", 0);
    check_bytes(harness, &scene.value_cache, "value_cache", 0);
    close_append(&scene);
}

/* ---- generation ----------------------------------------------------------------------------------------------- */

static int messages;

static void count_message(clattn_log_level level, const char *text, void *data)
{
    (void)level;
    (void)text;
    (void)data;
    ++messages;
}

/*
 * Generation of the rows of a causal pass: its arrays in buffers, whose tokens are appended to a cache of another
 * layout, [batch, capacity, heads, dim], or of pages, and attended to from there.
 */
struct generation {
    struct test_case c;
    struct arrays arrays;
    struct harness_buffers buffers;
    clattn_context *context; /* one with a log */
    clattn_plan *append;
    clattn_plan *attend;
    cl_mem key_cache;
    cl_mem value_cache;
    clattn_append_args append_args;
    clattn_attention_args attend_args;
};

enum { PAGE = 4 };

static void set_cache_layout(clattn_layout *layout, clattn_storage storage, int64_t capacity, int64_t heads,
                             int64_t dim)
{
    layout->strides[0] = storage == CLATTN_STORAGE_PAGED ? PAGE * heads * dim : capacity * heads * dim;
    layout->strides[1] = dim;
    layout->strides[2] = heads * dim;
    layout->strides[3] = 1;
}

static void describe_generation(const struct generation *g, clattn_storage storage, int64_t capacity, int64_t most,
                                clattn_append_desc *append, clattn_attention_desc *attend)
{
    const clattn_attention_desc *whole = &g->c.desc;
    const int64_t value_dim = oracle_value_dim(whole);

    clattn_append_desc_init(append);
    append->batch = whole->batch;
    append->kv_heads = whole->kv_heads;
    append->length = most;
    append->capacity = capacity;
    append->head_dim = whole->head_dim;
    append->value_dim = value_dim;
    append->key.dtype = whole->key.dtype;
    append->value.dtype = whole->value.dtype;
    memcpy(append->key.strides, g->arrays.array[ARRAY_KEY].strides, sizeof append->key.strides);
    memcpy(append->value.strides, g->arrays.array[ARRAY_VALUE].strides, sizeof append->value.strides);
    append->key_cache.dtype = whole->key.dtype;
    append->value_cache.dtype = whole->value.dtype;
    set_cache_layout(&append->key_cache, storage, capacity, whole->kv_heads, whole->head_dim);
    set_cache_layout(&append->value_cache, storage, capacity, whole->kv_heads, value_dim);
    append->storage = storage;
    append->page_size = PAGE;
    append->num_blocks = whole->batch * ((capacity + PAGE - 1) / PAGE);
    append->positions = CLATTN_LENGTHS_I64;

    *attend = *whole;
    attend->q_len = most;
    attend->kv_len = capacity;
    attend->alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    attend->causal = 1;
    attend->window = 0; /* a circular cache is one by itself */
    attend->lse = 0;
    attend->key = append->key_cache;
    attend->value = append->value_cache;
    memcpy(attend->query.strides, g->arrays.array[ARRAY_QUERY].strides, sizeof attend->query.strides);
    memcpy(attend->output.strides, g->arrays.array[ARRAY_OUTPUT].strides, sizeof attend->output.strides);
    attend->kv_storage = storage;
    attend->page_size = append->page_size;
    attend->num_blocks = append->num_blocks;
    attend->kv_lengths = CLATTN_LENGTHS_I64;
}

static void open_generation(const struct harness *harness, const char *problem, clattn_storage storage,
                            int64_t capacity, int64_t most, struct generation *g)
{
    clattn_append_desc append;
    clattn_attention_desc attend;
    clattn_context_desc context;
    clattn_error error;
    int64_t table[MOST_INTEGERS];
    const int64_t zeros[CASE_MAX_BATCH] = {0};

    memset(g, 0, sizeof *g);
    assert_true(case_from_problem(problem, &g->c));
    assert_true(arrays_init(&g->arrays, &g->c));
    harness_buffers_create(harness, &g->arrays, &g->buffers);
    describe_generation(g, storage, capacity, most, &append, &attend);
    clattn_context_desc_init(&context);
    context.log = count_message;
    harness_check(clattn_context_create(harness->cl_ctx, harness->device, &context, &g->context, &error), &error,
                  "context");
    harness_check(clattn_append_plan_create(g->context, &append, &g->append, &error), &error, problem);
    harness_check(clattn_attention_plan_create(g->context, &attend, &g->attend, &error), &error, problem);
    assert_int_equal(clattn_plan_workspace_size(g->append), 0);

    int64_t rows = storage == CLATTN_STORAGE_PAGED ? append.num_blocks * PAGE : append.batch * capacity;
    size_t bytes = (size_t)(rows * append.kv_heads * (append.head_dim + append.value_dim)) * 4;
    void *fill = malloc(bytes);
    assert_non_null(fill);
    memset(fill, ARRAY_FILL, bytes); /* NaN: keys that were not appended yet */
    g->key_cache = make_buffer(harness, bytes, fill);
    g->value_cache = make_buffer(harness, bytes, fill);
    free(fill);

    clattn_append_args_init(&g->append_args, g->append);
    clattn_attention_args_init(&g->attend_args, g->attend);
    clattn_attention_args whole = harness_args(g->attend, &g->arrays, &g->buffers);
    g->append_args.key = whole.key;
    g->append_args.value = whole.value;
    g->append_args.key_cache.mem = g->attend_args.key.mem = g->key_cache;
    g->append_args.value_cache.mem = g->attend_args.value.mem = g->value_cache;
    g->append_args.positions = upload_integers(harness, CLATTN_LENGTHS_I64, zeros, append.batch);
    g->attend_args.query = whole.query;
    g->attend_args.output = whole.output;
    g->attend_args.kv_lengths = upload_integers(harness, CLATTN_LENGTHS_I64, zeros, append.batch);
    if (storage != CLATTN_STORAGE_PAGED)
        return;
    for (int64_t n = 0; n < append.num_blocks; ++n) /* every block once, in no order */
        table[n] = n % 2 == 0 ? n / 2 : append.num_blocks - 1 - n / 2;
    g->append_args.block_table = upload_integers(harness, CLATTN_LENGTHS_I32, table, append.num_blocks);
    g->attend_args.block_table = g->append_args.block_table;
}

static void close_generation(struct generation *g)
{
    clattn_plan_release(g->append);
    clattn_plan_release(g->attend);
    clattn_context_release(g->context);
    clReleaseMemObject(g->key_cache);
    clReleaseMemObject(g->value_cache);
    clReleaseMemObject(g->append_args.positions.mem);
    clReleaseMemObject(g->attend_args.kv_lengths.mem);
    if (g->append_args.block_table.mem != NULL)
        clReleaseMemObject(g->append_args.block_table.mem);
    harness_buffers_release(&g->buffers);
    arrays_free(&g->arrays);
}

/* One number for every batch. Over the whole buffer, as some checkers count a part of one as never written. */
static void write_integers(const struct harness *harness, const clattn_buffer *to, int64_t batch, int64_t value)
{
    int64_t values[CASE_MAX_BATCH + 1] = {-7};

    for (int64_t b = 0; b < batch; ++b)
        values[b + 1] = value;
    assert_int_equal(clEnqueueWriteBuffer(harness->queue, to->mem, CL_TRUE, 0, (size_t)(batch + 1) * sizeof *values,
                                          values, 0, NULL, NULL),
                     CL_SUCCESS);
}

/* The first element of row `row`. */
static clattn_buffer from_row(const clattn_buffer *buffer, const struct array *array, int64_t row)
{
    return (clattn_buffer){.mem = buffer->mem,
                           .offset = buffer->offset + (size_t)(row * array->strides[2]) * array->element};
}

/* Appends tokens [n, n + count) and attends from them. */
static void generate(const struct harness *harness, struct generation *g, int64_t n, int64_t count)
{
    clattn_append_args append = g->append_args;
    clattn_attention_args attend = g->attend_args;
    clattn_error error;

    append.length = attend.q_len = count;
    append.key = from_row(&g->append_args.key, &g->arrays.array[ARRAY_KEY], n);
    append.value = from_row(&g->append_args.value, &g->arrays.array[ARRAY_VALUE], n);
    attend.query = from_row(&g->attend_args.query, &g->arrays.array[ARRAY_QUERY], n);
    attend.output = from_row(&g->attend_args.output, &g->arrays.array[ARRAY_OUTPUT], n);
    write_integers(harness, &append.positions, g->c.desc.batch, n);
    write_integers(harness, &attend.kv_lengths, g->c.desc.batch, n + count);
    harness_check(clattn_append_run(g->append, harness->queue, &append, 0, NULL, NULL, &error), &error, "append");
    harness_check(clattn_attention_run(g->attend, harness->queue, &attend, 0, NULL, NULL, &error), &error, "attend");
}

/* The first `prompt` tokens at once, the others one by one. */
static void generation_is_a_causal_pass(const struct harness *harness, const char *problem, clattn_storage storage,
                                        int64_t capacity, int64_t prompt)
{
    struct generation g;

    open_generation(harness, problem, storage, capacity, prompt, &g);
    messages = 0;
    generate(harness, &g, 0, prompt);
    for (int64_t n = prompt; n < g.c.q_len; ++n)
        generate(harness, &g, n, 1);
    harness_read(harness, &g.buffers, &g.arrays);
    assert_int_equal(messages, 0); /* nothing was built */
    struct compare_result result = arrays_compare(&g.arrays, 1, false, true);
    if (!result.passed)
        fail_msg("%s, storage %d: %s", problem, (int)storage, result.message);
    close_generation(&g);
}

static void generation_over_a_linear_cache(void **state)
{
    generation_is_a_causal_pass(*state, "b2h4g2q21k21d40:f32:causal", CLATTN_STORAGE_LINEAR, 21, 5);
    generation_is_a_causal_pass(*state, "b1h3q19k19d24v33:f16:causal", CLATTN_STORAGE_LINEAR, 64, 1);
}

/* The cache keeps the last keys: a window. */
static void generation_over_a_circular_cache(void **state)
{
    generation_is_a_causal_pass(*state, "b2h4g2q21k21d40:f32:window=7,0@top-left", CLATTN_STORAGE_CIRCULAR, 8, 5);
    generation_is_a_causal_pass(*state, "b1h2q30k30d16:bf16:window=2,0@top-left", CLATTN_STORAGE_CIRCULAR, 3, 1);
}

static void generation_over_a_paged_cache(void **state)
{
    generation_is_a_causal_pass(*state, "b2h4g2q21k21d40:f32:causal", CLATTN_STORAGE_PAGED, 22, 6);
    generation_is_a_causal_pass(*state, "b1h2q18k18d24:f16:causal", CLATTN_STORAGE_PAGED, 18, 1);
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static clattn_append_desc plain_append(void)
{
    clattn_append_desc d;

    clattn_append_desc_init(&d);
    d.batch = 2;
    d.kv_heads = 3;
    d.length = 4;
    d.capacity = 10;
    d.head_dim = 8;
    return d;
}

static void refuse_plan(const struct harness *harness, const clattn_append_desc *desc, const char *message)
{
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_status status = clattn_append_plan_create(harness->context, desc, &plan, &error);
    if (status != CLATTN_ERROR_INVALID_VALUE || strcmp(error.message, message) != 0)
        fail_msg("status %d with '%s': expected '%s'", (int)status, status == 0 ? "" : error.message, message);
    assert_null(plan);
}

static void descriptors_are_refused(void **state)
{
#define REFUSED(message, change)                                                                                       \
    do {                                                                                                               \
        clattn_append_desc d = plain_append();                                                                         \
        change;                                                                                                        \
        refuse_plan(*state, &d, message);                                                                              \
    } while (0)
    REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    REFUSED("kv_heads is -1: expected 0 or more", d.kv_heads = -1);
    REFUSED("length is -1: expected 0 or more", d.length = -1);
    REFUSED("capacity is -1: expected 0 or more", d.capacity = -1);
    REFUSED("length is 11: expected at most capacity (10)", d.length = 11);
    REFUSED("head_dim is 0: expected 1 or more", d.head_dim = 0);
    REFUSED("value_dim is -2: expected 0 or more", d.value_dim = -2);
    REFUSED("storage is 3: expected a clattn_storage, 0 to 2", d.storage = (clattn_storage)3);
    REFUSED("positions is 7: expected a clattn_lengths, 0 to 2", d.positions = (clattn_lengths)7);
    REFUSED("key.dtype is 3 (bool): expected f32, f16 or bf16", d.key.dtype = CLATTN_BOOL);
    REFUSED("value_cache.dtype is 3 (bool): expected f32, f16 or bf16", d.value_cache.dtype = CLATTN_BOOL);
    REFUSED("page_size is 0: expected 1 or more", d.storage = CLATTN_STORAGE_PAGED);
    REFUSED("num_blocks is 0: expected 1 or more", (d.storage = CLATTN_STORAGE_PAGED, d.page_size = 4));
    REFUSED("block_table_stride is 2: expected 3 or more",
            (d.storage = CLATTN_STORAGE_PAGED, d.page_size = 4, d.num_blocks = 6, d.block_table_stride = 2));
    REFUSED("key_cache.strides[0] is 100: expected at least 240, so that no two elements share a place",
            (d.key_cache.strides[3] = 1, d.key_cache.strides[2] = 8, d.key_cache.strides[1] = 80,
             d.key_cache.strides[0] = 100));
#undef REFUSED
}

static void refuse_run(const struct harness *harness, struct append_scene *scene, const clattn_append_args *args,
                       clattn_status status, const char *words)
{
    clattn_error error = {.message = ""};

    clattn_status found = clattn_append_run(scene->plan, harness->queue, args, 0, NULL, NULL, &error);
    if (found != status || strstr(error.message, words) == NULL)
        fail_msg("status %d with '%s': expected %d with '%s' in it", (int)found, error.message, (int)status, words);
    check_bytes(harness, &scene->key_cache, "key_cache", 0);
    check_bytes(harness, &scene->value_cache, "value_cache", 0);
}

static void runs_are_refused(void **state)
{
    const struct harness *harness = *state;
    struct append_scene scene;
    clattn_error error;

#define REFUSED(status, words, change)                                                                                 \
    do {                                                                                                               \
        clattn_append_args a = scene.args;                                                                             \
        change;                                                                                                        \
        refuse_run(harness, &scene, &a, status, words);                                                                \
    } while (0)
    open_append(harness, &append_cases[0], &scene); /* 3 keys to a linear cache of 20 */
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "position is -1: expected 0 or more", a.position = -1);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "position is 18 and length is 3: expected a sum of at most the capacity, 20",
            a.position = 18);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "position is 9223372036854775807 and", a.position = INT64_MAX);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is 4: expected 0 to the plan's 3", a.length = 4);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is -1: expected 0 to the plan's 3", a.length = -1);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer key is missing", a.key.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer value_cache is missing", a.value_cache.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer key_cache shares bytes with key:", a.key_cache = a.key;
            a.key_cache.mem = scene.key_cache.mem; a.key = a.key_cache);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer key_cache shares bytes with value_cache", a.value_cache = a.key_cache);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer key_cache has", a.key_cache.offset += 512);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "struct_size", a.struct_size = 16);
    scene.args.position = 17; /* the last that fits */
    harness_check(clattn_append_run(scene.plan, harness->queue, &scene.args, 0, NULL, NULL, &error), &error, "fits");
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    close_append(&scene);

    open_append(harness, &append_cases[3], &scene); /* a circular cache */
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "position is -1: expected 0 or more", a.position = -1);
    close_append(&scene);

    open_append(harness, &append_cases[7], &scene); /* a paged cache, positions on the device */
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer positions is missing: expected at least 28 bytes",
            a.positions.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer block_table is missing: expected at least 224 bytes",
            a.block_table.mem = NULL);
    close_append(&scene);
#undef REFUSED
}

/* Nothing to do: no buffers are needed, the event comes all the same. */
static void empty_appends_succeed(void **state)
{
    const struct harness *harness = *state;

    for (int which = 0; which < 5; ++which) {
        clattn_append_desc desc = plain_append();
        clattn_append_args args;
        clattn_plan *plan = NULL;
        clattn_error error;
        cl_event event = NULL;
        desc.batch = which == 0 ? 0 : 2;
        desc.kv_heads = which == 1 ? 0 : 3;
        desc.length = which == 2 || which == 4 ? 0 : 4;
        desc.capacity = which == 4 ? 0 : 10;
        desc.storage = which == 4 ? CLATTN_STORAGE_CIRCULAR : CLATTN_STORAGE_LINEAR;
        harness_check(clattn_append_plan_create(harness->context, &desc, &plan, &error), &error, "empty");
        clattn_append_args_init(&args, plan);
        args.length = which == 3 ? 0 : args.length;
        harness_check(clattn_append_run(plan, harness->queue, &args, 0, NULL, &event, &error), &error, "empty");
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        clReleaseEvent(event);
        clattn_plan_release(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_writes_its_rows_and_nothing_else),
        cmocka_unit_test(plans_say_what_they_are),
        cmocka_unit_test(equal_types_keep_their_bits),
        cmocka_unit_test(key_only_leaves_values_out),
        cmocka_unit_test(generation_over_a_linear_cache),
        cmocka_unit_test(generation_over_a_circular_cache),
        cmocka_unit_test(generation_over_a_paged_cache),
        cmocka_unit_test(descriptors_are_refused),
        cmocka_unit_test(runs_are_refused),
        cmocka_unit_test(empty_appends_succeed),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
