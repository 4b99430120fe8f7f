/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance vectors of the ONNX operators Attention, on every variant that accepts it, RotaryEmbedding and
 * TensorScatter: every case folder below the one that the environment variable CLATTN_ONNX_DIR names. A case has its
 * operator and the attributes of it as lines "name = value" in case.txt, its inputs as NAME.npy and its results as
 * expected_NAME.npy. Whatever in it is not known here is a failure. Tolerances are ONNX's own: rtol 1e-3, atol 1e-7,
 * for f16 1e-3 and 1e-3.
 *
 * Caches are made as a program makes them: present keys and values by appending the past and then the new ones.
 */
#include "harness.h"
#include "shared/npy.h" /* the tool's reader, which is not in the library */

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 16 };

/* An array of the case and, once it is asked for, a buffer with its elements. */
struct onnx_array {
    char name[64];
    struct npy npy;
    cl_mem mem;
};

struct onnx_case {
    const char *name;
    char folder[1024];
    char op[64];
    char attribute[MOST][64];
    char value[MOST][64];
    int num_attributes;
    struct onnx_array array[MOST];
    int num_arrays;
};

/* ---- reading -------------------------------------------------------------------------------------------------- */

static void read_attributes(struct onnx_case *c)
{
    char path[1100];
    char line[256];

    snprintf(path, sizeof path, "%s/case.txt", c->folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be read", path);
    while (fgets(line, sizeof line, file) != NULL) {
        int n = c->num_attributes;
        assert_true(n < MOST);
        if (sscanf(line, " %63[^= ] = %63s", c->attribute[n], c->value[n]) != 2)
            continue;
        if (strcmp(c->attribute[n], "op") == 0)
            snprintf(c->op, sizeof c->op, "%s", c->value[n]);
        else if (strcmp(c->attribute[n], "opset") != 0)
            c->num_attributes++;
    }
    fclose(file);
}

/* Every .npy of the folder. */
static void read_arrays(struct onnx_case *c)
{
    DIR *folder = opendir(c->folder);

    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct onnx_array *array = &c->array[c->num_arrays];
        char path[1400];
        char message[NPY_MESSAGE];
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".npy") != 0)
            continue;
        assert_true(c->num_arrays < MOST && length < sizeof array->name);
        snprintf(array->name, sizeof array->name, "%.*s", (int)length - 4, entry->d_name);
        snprintf(path, sizeof path, "%s/%s", c->folder, entry->d_name);
        if (!npy_read(path, NPY_BOOL | NPY_I32 | NPY_I64 | NPY_F16 | NPY_F32, &array->npy, message))
            fail_msg("%s: %s", path, message);
        c->num_arrays++;
    }
    closedir(folder);
}

static void free_case(struct onnx_case *c)
{
    for (int n = 0; n < c->num_arrays; ++n) {
        npy_free(&c->array[n].npy);
        if (c->array[n].mem != NULL)
            clReleaseMemObject(c->array[n].mem);
    }
}

/* NULL where the case has no such array. */
static struct onnx_array *find(struct onnx_case *c, const char *name)
{
    for (int n = 0; n < c->num_arrays; ++n)
        if (strcmp(c->array[n].name, name) == 0)
            return &c->array[n];
    return NULL;
}

static const struct npy *need(struct onnx_case *c, const char *name)
{
    struct onnx_array *array = find(c, name);

    if (array == NULL)
        fail_msg("%s: %s.npy is missing", c->folder, name);
    return &array->npy;
}

/* The text of an attribute, or its default. */
static const char *text_of(const struct onnx_case *c, const char *name, const char *otherwise)
{
    for (int n = 0; n < c->num_attributes; ++n)
        if (strcmp(c->attribute[n], name) == 0)
            return c->value[n];
    return otherwise;
}

static int64_t number_of(const struct onnx_case *c, const char *name, int64_t otherwise)
{
    const char *text = text_of(c, name, NULL);

    return text == NULL ? otherwise : strtoll(text, NULL, 10);
}

static float float_of(const struct onnx_case *c, const char *name)
{
    return strtof(text_of(c, name, "0"), NULL);
}

/* ---- from ONNX's terms to ours -------------------------------------------------------------------------------- */

static clattn_dtype dtype_of(const struct npy *array)
{
    return array->type == NPY_F16 ? CLATTN_F16 : array->type == NPY_BOOL ? CLATTN_BOOL : CLATTN_F32;
}

static size_t bytes_of(const struct npy *array)
{
    return (size_t)array->count * npy_type_size(array->type);
}

static cl_mem make_buffer(const struct harness *harness, size_t bytes, const void *data)
{
    static const unsigned char nothing = ARRAY_FILL; /* buffers have a byte at least */
    cl_int code = CL_SUCCESS;
    cl_mem mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes > 0 ? bytes : 1,
                                bytes > 0 ? (void *)data : (void *)&nothing, &code);

    assert_int_equal(code, CL_SUCCESS);
    return mem;
}

/* One for an output of this size: all bytes ARRAY_FILL. */
static cl_mem make_output(const struct harness *harness, size_t bytes)
{
    void *fill = malloc(bytes + 1);

    assert_non_null(fill);
    memset(fill, ARRAY_FILL, bytes);
    cl_mem mem = make_buffer(harness, bytes, fill);
    free(fill);
    return mem;
}

/* No buffer where the case has no such array. */
static clattn_buffer buffer_of(const struct harness *harness, struct onnx_case *c, const char *name)
{
    struct onnx_array *array = find(c, name);

    if (array != NULL && array->mem == NULL)
        array->mem = make_buffer(harness, bytes_of(&array->npy), array->npy.data);
    return (clattn_buffer){.mem = array != NULL ? array->mem : NULL};
}

static clattn_lengths integers_of(const struct onnx_case *c, const struct onnx_array *array)
{
    if (array != NULL && array->npy.type != NPY_I32 && array->npy.type != NPY_I64)
        fail_msg("%s: %s.npy has %s: expected int32 or int64", c->folder, array->name,
                 npy_type_string(array->npy.type));
    return array == NULL ? CLATTN_LENGTHS_NONE : array->npy.type == NPY_I32 ? CLATTN_LENGTHS_I32 : CLATTN_LENGTHS_I64;
}

/* 4-D is [batch, heads, length, dim] and dense, 3-D [batch, length, heads * dim]. */
struct sizes {
    int64_t batch, heads, length, dim;
};

static struct sizes set_layout(const struct onnx_case *c, const struct npy *array, int64_t num_heads,
                               clattn_layout *layout)
{
    const int64_t *shape = array->shape;

    layout->dtype = dtype_of(array);
    if (array->rank == 4)
        return (struct sizes){shape[0], shape[1], shape[2], shape[3]};
    if (array->rank != 3 || num_heads <= 0 || shape[2] % num_heads != 0)
        fail_msg("%s: an array of rank %d for %d heads: expected rank 4, or rank 3 and a number of heads", c->folder,
                 array->rank, (int)num_heads);
    layout->strides[0] = shape[1] * shape[2];
    layout->strides[1] = shape[2] / num_heads;
    layout->strides[2] = shape[2];
    layout->strides[3] = 1;
    return (struct sizes){shape[0], num_heads, shape[1], shape[2] / num_heads};
}

/* ---- comparing ------------------------------------------------------------------------------------------------ */

/* `mem` has the layout of what is expected, and a type of its own: scores are f32 here whatever ONNX's are. */
static void check_output(const struct harness *harness, struct onnx_case *c, const char *how, const char *name,
                         cl_mem mem, clattn_dtype found_dtype)
{
    const struct npy *expected = need(c, name);
    const clattn_dtype dtype = dtype_of(expected);
    const double atol = dtype == CLATTN_F16 ? 1e-3 : 1e-7;
    const size_t bytes = (size_t)expected->count * (found_dtype == CLATTN_F32 ? 4 : 2);
    void *found = malloc(bytes + 1);

    assert_non_null(found);
    if (bytes > 0)
        assert_int_equal(clEnqueueReadBuffer(harness->queue, mem, CL_TRUE, 0, bytes, found, 0, NULL, NULL), CL_SUCCESS);
    for (int64_t n = 0; n < expected->count; ++n) {
        double a = oracle_load(found_dtype, found, n);
        double b = oracle_load(dtype, expected->data, n);
        if (!(a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= atol + 1e-3 * fabs(b)))
            fail_msg("%s, %s: %s element %lld is %.9g: expected %.9g", c->name, how, name, (long long)n, a, b);
    }
    free(found);
}

/* ---- Attention ------------------------------------------------------------------------------------------------ */

/* Rows of one tensor of a cache: appends `array` at `position`. */
static void append(const struct harness *harness, struct onnx_case *c, const char *array, int64_t num_heads,
                   cl_mem cache, int64_t capacity, int64_t position)
{
    clattn_append_desc desc;
    clattn_append_args args;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_append_desc_init(&desc);
    struct sizes sizes = set_layout(c, need(c, array), num_heads, &desc.key);
    desc.batch = sizes.batch;
    desc.kv_heads = sizes.heads;
    desc.length = sizes.length;
    desc.head_dim = sizes.dim;
    desc.capacity = capacity;
    desc.key_only = 1;
    desc.key_cache.dtype = desc.key.dtype;
    harness_check(clattn_append_plan_create(harness->context, &desc, &plan, &error), &error, c->name);
    clattn_append_args_init(&args, plan);
    args.position = position;
    args.key = buffer_of(harness, c, array);
    args.key_cache.mem = cache;
    harness_check(clattn_append_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c->name);
    clattn_plan_release(plan);
}

/*
 * The past, if there is one, and then the new ones, [batch, heads, length, dim] and dense. Returns the length of the
 * past; the layout, of the new ones before, becomes that of all.
 */
static int64_t make_present(const struct harness *harness, struct onnx_case *c, const char *past, const char *new,
                            int64_t num_heads, clattn_layout *layout, cl_mem *present)
{
    const int64_t past_length = find(c, past) != NULL ? need(c, past)->shape[2] : 0;
    const struct sizes sizes = set_layout(c, need(c, new), num_heads, layout);
    const int64_t length = past_length + sizes.length;

    *layout = (clattn_layout){.dtype = layout->dtype};
    *present = make_output(harness, (size_t)(sizes.batch * sizes.heads * length * sizes.dim) *
                                        npy_type_size(need(c, new)->type));
    if (past_length > 0)
        append(harness, c, past, sizes.heads, *present, length, 0);
    append(harness, c, new, sizes.heads, *present, length, past_length);
    return past_length;
}

/* All but what depends on keys being cached. */
static void describe(struct onnx_case *c, clattn_attention_desc *desc)
{
    const struct onnx_array *mask = find(c, "mask");
    struct sizes sizes;

    clattn_attention_desc_init(desc);
    sizes = set_layout(c, need(c, "q"), number_of(c, "q_num_heads", 0), &desc->query);
    desc->batch = sizes.batch;
    desc->q_heads = sizes.heads;
    desc->q_len = sizes.length;
    desc->head_dim = sizes.dim;
    sizes = set_layout(c, need(c, "k"), number_of(c, "kv_num_heads", 0), &desc->key);
    desc->kv_heads = sizes.heads;
    desc->kv_len = sizes.length;
    desc->value_dim = set_layout(c, need(c, "v"), desc->kv_heads, &desc->value).dim;
    set_layout(c, need(c, "expected_y"), desc->q_heads, &desc->output);
    desc->scale = float_of(c, "scale");
    desc->softcap = float_of(c, "softcap");
    desc->causal = number_of(c, "is_causal", 0) != 0;
    desc->kv_lengths = integers_of(c, find(c, "kv_lengths"));
    if (mask != NULL) {
        desc->mask_pad = 1;
        desc->mask_kind = mask->npy.type == NPY_BOOL ? CLATTN_MASK_BOOL : CLATTN_MASK_ADDITIVE;
        desc->mask.dtype = dtype_of(&mask->npy);
        for (int d = 0; d < 4; ++d)
            desc->mask_shape[d] = d < 4 - mask->npy.rank ? 1 : mask->npy.shape[d - (4 - mask->npy.rank)];
    }
    if (find(c, "expected_scores") != NULL)
        desc->scores_stage = (clattn_scores_stage)(number_of(c, "qk_matmul_output_mode", 0) + 1);
}

/* On one variant; false where it refuses. */
static bool run_variant(const struct harness *harness, struct onnx_case *c, const clattn_attention_desc *desc,
                        const clattn_attention_args *inputs)
{
    const char *name = desc->variant != NULL ? desc->variant : "auto";
    clattn_attention_args args = *inputs;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_status status = clattn_attention_plan_create(harness->context, desc, &plan, &error);
    if (status == CLATTN_ERROR_UNSUPPORTED && desc->variant != NULL && strcmp(name, "unfused") != 0)
        return false;
    harness_check(status, &error, c->name);
    args.output.mem = make_output(harness, bytes_of(need(c, "expected_y")));
    if (desc->scores_stage != CLATTN_SCORES_NONE)
        args.scores.mem = make_output(harness, (size_t)need(c, "expected_scores")->count * sizeof(float));
    harness_check(clattn_attention_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c->name);
    check_output(harness, c, name, "expected_y", args.output.mem, desc->output.dtype);
    if (desc->scores_stage != CLATTN_SCORES_NONE) {
        check_output(harness, c, name, "expected_scores", args.scores.mem, CLATTN_F32);
        clReleaseMemObject(args.scores.mem);
    }
    clReleaseMemObject(args.output.mem);
    clattn_plan_release(plan);
    return true;
}

static int run_attention(const struct harness *harness, struct onnx_case *c)
{
    const bool cached = find(c, "past_key") != NULL || find(c, "past_value") != NULL ||
                        find(c, "expected_present_key") != NULL || find(c, "expected_present_value") != NULL;
    clattn_attention_desc desc;
    clattn_attention_args args;
    int runs = 0;

    describe(c, &desc);
    clattn_attention_args_init(&args, NULL);
    args.query = buffer_of(harness, c, "q");
    args.mask = buffer_of(harness, c, "mask");
    args.kv_lengths = buffer_of(harness, c, "kv_lengths");
    if (cached) {
        args.offset = make_present(harness, c, "past_key", "k", desc.kv_heads, &desc.key, &args.key.mem);
        int64_t past_values = make_present(harness, c, "past_value", "v", desc.kv_heads, &desc.value, &args.value.mem);
        assert_int_equal(args.offset, past_values);
        desc.kv_len += args.offset;
        check_output(harness, c, "append", "expected_present_key", args.key.mem, desc.key.dtype);
        check_output(harness, c, "append", "expected_present_value", args.value.mem, desc.value.dtype);
    } else {
        args.key = buffer_of(harness, c, "k");
        args.value = buffer_of(harness, c, "v");
    }
    args.q_len = desc.q_len;
    args.kv_len = desc.kv_len;
    /* Queries follow the past; without one they stand at the end of their batch's keys where those have lengths. */
    if (desc.causal)
        desc.alignment = find(c, "past_key") == NULL && desc.kv_lengths != CLATTN_LENGTHS_NONE
                             ? CLATTN_ALIGN_BOTTOM_RIGHT
                             : CLATTN_ALIGN_OFFSET;
    for (size_t n = 0; (desc.variant = clattn_attention_variant(n)) != NULL; ++n)
        runs += run_variant(harness, c, &desc, &args);
    runs += run_variant(harness, c, &desc, &args); /* the library's choice */
    if (cached) {
        clReleaseMemObject(args.key.mem);
        clReleaseMemObject(args.value.mem);
    }
    return runs;
}

/* ---- RotaryEmbedding ------------------------------------------------------------------------------------------ */

/* Cosines or sines as floats, whatever they are stored in. */
static cl_mem make_table(const struct harness *harness, const struct npy *array)
{
    float *table = malloc((size_t)array->count * sizeof *table + 1);

    assert_non_null(table);
    for (int64_t n = 0; n < array->count; ++n)
        table[n] = (float)oracle_load(dtype_of(array), array->data, n);
    cl_mem mem = make_buffer(harness, (size_t)array->count * sizeof *table, table);
    free(table);
    return mem;
}

static int run_rotary(const struct harness *harness, struct onnx_case *c)
{
    const struct npy *cos_table = need(c, "cos");
    clattn_rotary_desc desc;
    clattn_rotary_args args;
    clattn_plan *plan = NULL;
    clattn_error error;

    clattn_rotary_desc_init(&desc);
    struct sizes sizes = set_layout(c, need(c, "x"), number_of(c, "num_heads", 0), &desc.input);
    set_layout(c, need(c, "expected_y"), sizes.heads, &desc.output);
    desc.batch = sizes.batch;
    desc.heads = sizes.heads;
    desc.length = sizes.length;
    desc.head_dim = sizes.dim;
    desc.rotary_dim = number_of(c, "rotary_embedding_dim", 0);
    desc.pairs = number_of(c, "interleaved", 0) != 0 ? CLATTN_ROTARY_INTERLEAVED : CLATTN_ROTARY_HALVES;
    desc.tables = 1;
    desc.positions = integers_of(c, find(c, "position_ids"));
    /* [positions, rotary_dim / 2] with position ids, else [batch, length, rotary_dim / 2] */
    assert_int_equal(cos_table->rank, desc.positions != CLATTN_LENGTHS_NONE ? 2 : 3);
    assert_int_equal(cos_table->shape[cos_table->rank - 1], (desc.rotary_dim > 0 ? desc.rotary_dim : sizes.dim) / 2);
    assert_int_equal(cos_table->count, need(c, "sin")->count);
    desc.table_batch = cos_table->rank == 3 ? cos_table->shape[0] : 1;
    desc.table_length = cos_table->shape[cos_table->rank - 2];
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, c->name);
    clattn_rotary_args_init(&args, plan);
    args.input = buffer_of(harness, c, "x");
    args.positions = buffer_of(harness, c, "position_ids");
    args.cos.mem = make_table(harness, cos_table);
    args.sin.mem = make_table(harness, need(c, "sin"));
    args.output.mem = make_output(harness, bytes_of(need(c, "expected_y")));
    harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c->name);
    check_output(harness, c, "rotary", "expected_y", args.output.mem, desc.output.dtype);
    clReleaseMemObject(args.cos.mem);
    clReleaseMemObject(args.sin.mem);
    clReleaseMemObject(args.output.mem);
    clattn_plan_release(plan);
    return 1;
}

/* ---- TensorScatter -------------------------------------------------------------------------------------------- */

/* Extents on both sides of the axis count as one each: a row is all that lies behind it. */
static int run_scatter(const struct harness *harness, struct onnx_case *c)
{
    const struct npy *past = need(c, "past_cache");
    const struct npy *update = need(c, "update");
    const char *mode = text_of(c, "mode", "linear");
    const int64_t given = number_of(c, "axis", -2);
    const int64_t axis = given < 0 ? past->rank + given : given;
    clattn_append_desc desc;
    clattn_append_args args;
    clattn_plan *plan = NULL;
    clattn_error error;

    if (strcmp(mode, "linear") != 0 && strcmp(mode, "circular") != 0)
        fail_msg("%s: mode is %s: expected linear or circular", c->folder, mode);
    if (axis < 1 || axis >= past->rank || update->rank != past->rank)
        fail_msg("%s: axis is %d with ranks %d and %d: expected one of the dimensions of both, not the batch",
                 c->folder, (int)given, past->rank, update->rank);
    clattn_append_desc_init(&desc);
    desc.batch = past->shape[0];
    desc.kv_heads = desc.head_dim = 1;
    for (int d = 1; d < past->rank; ++d)
        *(d < axis ? &desc.kv_heads : &desc.head_dim) *= d == axis ? 1 : past->shape[d];
    desc.length = update->shape[axis];
    desc.capacity = past->shape[axis];
    desc.key_only = 1;
    desc.key.dtype = dtype_of(update);
    desc.key_cache.dtype = dtype_of(past);
    desc.storage = strcmp(mode, "circular") == 0 ? CLATTN_STORAGE_CIRCULAR : CLATTN_STORAGE_LINEAR;
    desc.positions = integers_of(c, find(c, "write_indices"));
    harness_check(clattn_append_plan_create(harness->context, &desc, &plan, &error), &error, c->name);
    clattn_append_args_init(&args, plan);
    args.key = buffer_of(harness, c, "update");
    args.key_cache = buffer_of(harness, c, "past_cache");
    args.positions = buffer_of(harness, c, "write_indices");
    harness_check(clattn_append_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, c->name);
    check_output(harness, c, mode, "expected_present_cache", args.key_cache.mem, desc.key_cache.dtype);
    clattn_plan_release(plan);
    return 1;
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

/* What a case of an operator may have; the names between spaces. */
static const struct operator
{
    const char *name;
    const char *attributes;
    const char *arrays;
    int (*run)(const struct harness *harness, struct onnx_case *c); /* how often it ran */
}
operators[] = {
    /* A softmax more precise than asked for is right. */
    {"Attention", " is_causal q_num_heads kv_num_heads scale softcap qk_matmul_output_mode softmax_precision ",
     " q k v mask past_key past_value kv_lengths expected_y expected_present_key expected_present_value"
     " expected_scores ",
     run_attention},
    {"RotaryEmbedding", " interleaved num_heads rotary_embedding_dim ", " x cos sin position_ids expected_y ",
     run_rotary},
    {"TensorScatter", " axis mode ", " past_cache update write_indices expected_present_cache ", run_scatter},
};

static bool is_listed(const char *list, const char *name)
{
    char between[80];

    snprintf(between, sizeof between, " %s ", name);
    return strstr(list, between) != NULL;
}

static int run_case(const struct harness *harness, struct onnx_case *c)
{
    const struct operator* op = NULL;

    read_attributes(c);
    for (size_t n = 0; n < sizeof operators / sizeof *operators; ++n)
        op = strcmp(operators[n].name, c->op) == 0 ? &operators[n] : op;
    if (op == NULL)
        fail_msg("%s: operator '%s' is not known here", c->folder, c->op);
    for (int n = 0; n < c->num_attributes; ++n)
        if (!is_listed(op->attributes, c->attribute[n]))
            fail_msg("%s: attribute %s of %s is not known here", c->folder, c->attribute[n], c->op);
    read_arrays(c);
    for (int n = 0; n < c->num_arrays; ++n)
        if (!is_listed(op->arrays, c->array[n].name))
            fail_msg("%s: array %s of %s is not known here", c->folder, c->array[n].name, c->op);
    int runs = op->run(harness, c);
    free_case(c);
    return runs;
}

static void every_case_of_the_folder(void **state)
{
    const char *root = getenv("CLATTN_ONNX_DIR");
    int cases = 0;
    int runs = 0;

    DIR *folder = opendir(root);
    if (folder == NULL)
        fail_msg("CLATTN_ONNX_DIR is '%s': expected a folder that can be read", root);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct onnx_case c = {.name = entry->d_name};
        char path[1100];
        snprintf(c.folder, sizeof c.folder, "%s/%s", root, entry->d_name);
        snprintf(path, sizeof path, "%s/case.txt", c.folder);
        if (entry->d_name[0] == '.' || access(path, F_OK) != 0)
            continue;
        runs += run_case(*state, &c);
        cases++;
    }
    closedir(folder);
    print_message("%d cases passed in %d runs\n", cases, runs);
    if (cases == 0)
        fail_msg("CLATTN_ONNX_DIR is '%s': expected folders with case.txt and arrays", root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_of_the_folder)};

    if (getenv("CLATTN_ONNX_DIR") == NULL) {
        printf("skipped: CLATTN_ONNX_DIR names no folder of ONNX's test vectors\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
