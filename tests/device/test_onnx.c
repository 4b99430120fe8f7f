/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance vectors of the ONNX operator Attention: every case folder below the one that the environment variable
 * CLATTN_ONNX_DIR names, on every variant that accepts it. A case has its inputs as q.npy, k.npy, v.npy, mask.npy and
 * kv_lengths.npy, its results as expected_y.npy and expected_scores.npy, and the operator's attributes as lines
 * "name = value" in case.txt. Tolerances are ONNX's own: rtol 1e-3, atol 1e-7, for f16 1e-3 and 1e-3.
 *
 * Cases with a key/value cache and cases of other operators are named and not counted.
 */
#include "../../tools/npy.c" /* the tool's reader, which is not in the library */
#include "harness.h"

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

struct onnx_case {
    char folder[1024];
    const char *name; /* within folder */
    char op[64];
    bool has_cache;
    bool is_causal;
    int64_t q_num_heads;
    int64_t kv_num_heads;
    int stage;
    float scale;
    float softcap;
    struct npy q, k, v, mask, kv_lengths, y, scores; /* data NULL: not in the case */
};

/* ---- reading -------------------------------------------------------------------------------------------------- */

static bool exists(const char *folder, const char *file)
{
    char path[1200];

    snprintf(path, sizeof path, "%s/%s", folder, file);
    return access(path, R_OK) == 0;
}

/* Leaves `array` empty where there is no such file. */
static void load_input(const struct onnx_case *c, const char *file, struct npy *array)
{
    char path[1200];
    char message[NPY_MESSAGE];

    memset(array, 0, sizeof *array);
    if (!exists(c->folder, file))
        return;
    snprintf(path, sizeof path, "%s/%s", c->folder, file);
    if (!npy_read(path, NPY_BOOL | NPY_I32 | NPY_I64 | NPY_F16 | NPY_F32, array, message))
        fail_msg("%s: %s", path, message);
}

static void read_attributes(struct onnx_case *c)
{
    char path[1200];
    char line[256];
    char name[64];
    char value[64];

    snprintf(path, sizeof path, "%s/case.txt", c->folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be read", path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, " %63[^= ] = %63s", name, value) != 2)
            continue;
        if (strcmp(name, "op") == 0)
            snprintf(c->op, sizeof c->op, "%s", value);
        else if (strcmp(name, "is_causal") == 0)
            c->is_causal = strtol(value, NULL, 10) != 0;
        else if (strcmp(name, "q_num_heads") == 0)
            c->q_num_heads = strtol(value, NULL, 10);
        else if (strcmp(name, "kv_num_heads") == 0)
            c->kv_num_heads = strtol(value, NULL, 10);
        else if (strcmp(name, "scale") == 0)
            c->scale = strtof(value, NULL);
        else if (strcmp(name, "softcap") == 0)
            c->softcap = strtof(value, NULL);
        else if (strcmp(name, "qk_matmul_output_mode") == 0)
            c->stage = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "opset") != 0 && strcmp(name, "softmax_precision") != 0 &&
                 strcmp(c->op, "Attention") == 0)
            fail_msg("%s: attribute %s is not known here", path, name);
    }
    fclose(file);
    c->has_cache = exists(c->folder, "past_key.npy") || exists(c->folder, "past_value.npy");
}

static void free_case(struct onnx_case *c)
{
    struct npy *arrays[] = {&c->q, &c->k, &c->v, &c->mask, &c->kv_lengths, &c->y, &c->scores};

    for (size_t n = 0; n < sizeof arrays / sizeof *arrays; ++n)
        if (arrays[n]->data != NULL)
            npy_free(arrays[n]);
}

/* ---- from ONNX's terms to a descriptor ------------------------------------------------------------------------ */

static clattn_dtype dtype_of(const struct npy *array)
{
    return array->type == NPY_F16 ? CLATTN_F16 : array->type == NPY_BOOL ? CLATTN_BOOL : CLATTN_F32;
}

/* 4-D is [batch, heads, length, dim] and dense, 3-D [batch, length, heads * dim]. */
static int64_t set_layout(const struct npy *array, int64_t num_heads, clattn_layout *layout, int64_t *length)
{
    const int64_t *shape = array->shape;

    layout->dtype = dtype_of(array);
    if (array->rank == 4) {
        *length = shape[2];
        return shape[3];
    }
    assert_int_equal(array->rank, 3);
    assert_true(num_heads > 0 && shape[2] % num_heads == 0);
    *length = shape[1];
    layout->strides[0] = shape[1] * shape[2];
    layout->strides[1] = shape[2] / num_heads;
    layout->strides[2] = shape[2];
    layout->strides[3] = 1;
    return shape[2] / num_heads;
}

static void describe(const struct onnx_case *c, clattn_attention_desc *desc)
{
    int64_t length;

    clattn_attention_desc_init(desc);
    desc->batch = c->q.shape[0];
    desc->q_heads = c->q.rank == 4 ? c->q.shape[1] : c->q_num_heads;
    desc->kv_heads = c->k.rank == 4 ? c->k.shape[1] : c->kv_num_heads;
    desc->head_dim = set_layout(&c->q, desc->q_heads, &desc->query, &desc->q_len);
    set_layout(&c->k, desc->kv_heads, &desc->key, &desc->kv_len);
    desc->value_dim = set_layout(&c->v, desc->kv_heads, &desc->value, &length);
    set_layout(&c->y, desc->q_heads, &desc->output, &length);
    desc->scale = c->scale;
    desc->softcap = c->softcap;
    desc->causal = c->is_causal;
    desc->kv_lengths = c->kv_lengths.data == NULL      ? CLATTN_LENGTHS_NONE
                       : c->kv_lengths.type == NPY_I32 ? CLATTN_LENGTHS_I32
                                                       : CLATTN_LENGTHS_I64;
    if (c->is_causal) /* queries stand at the end of their batch's keys where those have lengths, else at the start */
        desc->alignment = c->kv_lengths.data != NULL ? CLATTN_ALIGN_BOTTOM_RIGHT : CLATTN_ALIGN_TOP_LEFT;
    if (c->mask.data != NULL) {
        desc->mask_kind = c->mask.type == NPY_BOOL ? CLATTN_MASK_BOOL : CLATTN_MASK_ADDITIVE;
        desc->mask.dtype = dtype_of(&c->mask);
        for (int d = 0; d < 4; ++d)
            desc->mask_shape[d] = d < 4 - c->mask.rank ? 1 : c->mask.shape[d - (4 - c->mask.rank)];
    }
    if (c->scores.data != NULL)
        desc->scores_stage = (clattn_scores_stage)(c->stage + 1);
}

/* ---- comparing ------------------------------------------------------------------------------------------------ */

/* `found` has the layout of what is expected, and a type of its own: scores are f32 here whatever ONNX's are. */
static void check_array(const struct onnx_case *c, const char *variant, const char *what, const struct npy *expected,
                        clattn_dtype found_dtype, const void *found)
{
    clattn_dtype dtype = dtype_of(expected);
    double atol = dtype == CLATTN_F16 ? 1e-3 : 1e-7;

    for (int64_t n = 0; n < expected->count; ++n) {
        double a = oracle_load(found_dtype, found, n);
        double b = oracle_load(dtype, expected->data, n);
        if (!(a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= atol + 1e-3 * fabs(b)))
            fail_msg("%s, %s: %s element %lld is %.9g: expected %.9g", c->name, variant, what, (long long)n, a, b);
    }
}

/* On one variant; false where it refuses. */
static bool run_variant(const struct harness *harness, const struct onnx_case *c, const char *variant)
{
    clattn_attention_desc desc;
    clattn_attention_host_args args;
    clattn_error error;
    const char *name = variant != NULL ? variant : "auto";

    describe(c, &desc);
    desc.variant = variant;
    size_t bytes = (size_t)c->y.count * npy_type_size(c->y.type);
    size_t scores_bytes = (size_t)c->scores.count * sizeof(float);
    void *output = malloc(bytes + 1);
    float *scores = malloc(scores_bytes + 1);
    assert_true(output != NULL && scores != NULL);
    memset(output, ARRAY_FILL, bytes);
    memset(scores, ARRAY_FILL, scores_bytes);
    clattn_attention_host_args_init(&args);
    args.query = c->q.data;
    args.key = c->k.data;
    args.value = c->v.data;
    args.mask = c->mask.data;
    args.kv_lengths = c->kv_lengths.data;
    args.output = output;
    args.scores = scores;
    clattn_status status = clattn_attention_host(harness->context, &desc, &args, &error);
    bool refused = status == CLATTN_ERROR_UNSUPPORTED && variant != NULL && strcmp(variant, "unfused") != 0;
    if (!refused) {
        harness_check(status, &error, c->name);
        check_array(c, name, "y", &c->y, dtype_of(&c->y), output);
        if (c->scores.data != NULL)
            check_array(c, name, "scores", &c->scores, CLATTN_F32, scores);
    }
    free(output);
    free(scores);
    return !refused;
}

/* Returns the runs that were made: 0 where this version has not what the case asks for. */
static int run_case(const struct harness *harness, struct onnx_case *c)
{
    int runs = 0;

    read_attributes(c);
    if (strcmp(c->op, "Attention") != 0 || c->has_cache) {
        print_message("  not covered: %s (%s%s)\n", c->name, c->op, c->has_cache ? " with a cache" : "");
        return 0;
    }
    load_input(c, "q.npy", &c->q);
    load_input(c, "k.npy", &c->k);
    load_input(c, "v.npy", &c->v);
    load_input(c, "mask.npy", &c->mask);
    load_input(c, "kv_lengths.npy", &c->kv_lengths);
    load_input(c, "expected_y.npy", &c->y);
    load_input(c, "expected_scores.npy", &c->scores);
    assert_true(c->q.data != NULL && c->k.data != NULL && c->v.data != NULL && c->y.data != NULL);
    for (size_t n = 0; clattn_attention_variant(n) != NULL; ++n)
        runs += run_variant(harness, c, clattn_attention_variant(n));
    runs += run_variant(harness, c, NULL);
    free_case(c);
    return runs;
}

static void every_case_of_the_folder(void **state)
{
    const char *root = getenv("CLATTN_ONNX_DIR");
    int cases = 0;
    int skipped = 0;
    int runs = 0;

    DIR *folder = opendir(root);
    if (folder == NULL)
        fail_msg("CLATTN_ONNX_DIR is '%s': expected a folder that can be read", root);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct onnx_case c = {.name = entry->d_name};
        snprintf(c.folder, sizeof c.folder, "%s/%s", root, entry->d_name);
        if (entry->d_name[0] == '.' || !exists(c.folder, "case.txt"))
            continue;
        int of_case = run_case(*state, &c);
        runs += of_case;
        cases += of_case > 0;
        skipped += of_case == 0;
    }
    closedir(folder);
    print_message("%d cases passed in %d runs, %d not covered\n", cases, runs, skipped);
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
