/* SPDX-License-Identifier: Apache-2.0 */
/* The call on host arrays: what it computes, leaves alone and refuses. */
#include "compare.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static clattn_attention_host_args host_args(const struct arrays *arrays)
{
    clattn_attention_host_args args;

    clattn_attention_host_args_init(&args);
    args.query = arrays_at(arrays, ARRAY_QUERY);
    args.key = arrays_at(arrays, ARRAY_KEY);
    args.value = arrays_at(arrays, ARRAY_VALUE);
    args.output = arrays_at(arrays, ARRAY_OUTPUT);
    args.mask = arrays_at(arrays, ARRAY_MASK);
    args.kv_lengths = arrays_at(arrays, ARRAY_LENGTHS);
    args.lse = arrays_at(arrays, ARRAY_LSE);
    args.scores = arrays_at(arrays, ARRAY_SCORES);
    args.block_table = arrays_at(arrays, ARRAY_BLOCK_TABLE);
    args.q_cu_lengths = arrays_at(arrays, ARRAY_Q_CU_LENGTHS);
    args.kv_cu_lengths = arrays_at(arrays, ARRAY_KV_CU_LENGTHS);
    args.sinks = arrays_at(arrays, ARRAY_SINKS);
    args.alibi_slopes = arrays_at(arrays, ARRAY_ALIBI_SLOPES);
    args.relative_bias = arrays_at(arrays, ARRAY_RELATIVE_BIAS);
    return args;
}

/* Sequences that a host call takes: full ones but for the second, which is empty, as far as there are rows. */
static void make_rows_legal(struct case_rows *rows, int64_t batch, int64_t length, int64_t total)
{
    int64_t left = total - rows->first;

    rows->total = total;
    for (int64_t b = 0; b < batch; ++b) {
        rows->length[b] = b == 1 ? 0 : left < length ? left : length;
        left -= rows->length[b];
    }
}

/* The greatest lengths, which a host call has, and nothing that it refuses. */
static void make_legal(struct test_case *c)
{
    const clattn_attention_desc *desc = &c->desc;
    const bool partly = desc->mask_kind != CLATTN_MASK_NONE && desc->mask_shape[3] > 1 && !desc->mask_pad;
    const int64_t keys = partly ? desc->mask_shape[3] : desc->kv_len;

    c->q_len = desc->q_len;
    c->kv_len = desc->kv_len;
    c->offset = desc->offset;
    c->whole_pool = true;
    for (int b = 0; b < CASE_MAX_BATCH; ++b)
        c->lengths[b] = b == 0 ? keys : b == 1 ? 0 : keys / 2;
    if (desc->kv_storage == CLATTN_STORAGE_CIRCULAR && keys == c->kv_len)
        c->lengths[0] = c->kv_len * 2 + 1;
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        make_rows_legal(&c->q_rows, desc->batch, c->q_len, desc->q_total);
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        make_rows_legal(&c->kv_rows, desc->batch, keys, desc->kv_total);
}

/* Cases of the table on the host's arrays, with strides and room around them, with a context and without one. */
static void host_arrays(void **state)
{
    const struct harness *harness = *state;
    int storages[3] = {0};
    int ragged[2] = {0};

    for (size_t n = 0; n < 60; n += 4) {
        struct test_case c;
        struct arrays arrays;
        struct arrays before;
        clattn_error error;
        char message[200];
        assert_true(case_get(n, &c));
        make_legal(&c);
        assert_true(arrays_init(&arrays, &c));
        assert_true(arrays_copy(&before, &arrays));
        clattn_attention_host_args args = host_args(&arrays);
        harness_check(clattn_attention_host(n % 8 == 0 ? NULL : harness->context, &c.desc, &args, &error), &error,
                      c.name);
        struct oracle_operands operands = arrays_operands(&arrays);
        struct compare_result result =
            compare_attention(&operands, args.output, args.lse, args.scores, 1, false, false, false);
        if (!result.passed)
            fail_msg("%s: %s", c.name, result.message);
        if (!arrays_only_outputs_differ(&before, &arrays, message))
            fail_msg("%s: %s", c.name, message);
        arrays_free(&arrays);
        arrays_free(&before);
        storages[c.desc.kv_storage]++;
        ragged[0] += c.desc.q_cu_lengths != CLATTN_LENGTHS_NONE;
        ragged[1] += c.desc.kv_cu_lengths != CLATTN_LENGTHS_NONE;
    }
    assert_true(storages[0] > 0 && storages[1] > 0 && storages[2] > 0 && ragged[0] > 0 && ragged[1] > 0);
}

/* What one host call on `problem` is told: `operand` holds `integers`. */
static void refuse_integers(const struct harness *harness, const char *problem, enum array_operand operand,
                            const int32_t *integers, const char *message)
{
    struct test_case c;
    struct arrays arrays;
    struct arrays before;
    clattn_error error = {.message = ""};

    assert_true(case_from_problem(problem, &c));
    c.whole_pool = true;
    assert_true(arrays_init(&arrays, &c));
    memcpy(arrays_at(&arrays, operand), integers,
           (size_t)oracle_span(arrays.array[operand].strides, arrays.array[operand].extent) * sizeof *integers);
    assert_true(arrays_copy(&before, &arrays));
    clattn_attention_host_args args = host_args(&arrays);
    clattn_status status = clattn_attention_host(harness->context, &c.desc, &args, &error);
    if (message == NULL) {
        harness_check(status, &error, problem);
    } else {
        assert_int_equal(status, CLATTN_ERROR_INVALID_VALUE);
        assert_string_equal(error.message, message);
        assert_true(arrays_same_outputs(&arrays, &before));
    }
    arrays_free(&arrays);
    arrays_free(&before);
}

#define INTEGERS(...) ((const int32_t[]){__VA_ARGS__})

/* Integers that a run on buffers would clamp, cut or exclude. */
static void host_call_refuses_integers(void **state)
{
    static const char circular[] = "b2h2q4k6d8:f32:lengths:circular";
    static const char paged[] = "b2h2q4k6d8:f32:paged=2x7";
    static const char paged_lengths[] = "b2h2q4k6d8:f32:lengths:paged=2x7";
    static const char ragged[] = "b3h2q4k6d8:f32:ragged=qkv";
    const struct harness *harness = *state;

    refuse_integers(harness, circular, ARRAY_LENGTHS, INTEGERS(1000, 0), NULL);
    refuse_integers(harness, circular, ARRAY_LENGTHS, INTEGERS(1000, -1),
                    "kv_lengths[1] is -1: expected 0 or more, all keys that were ever written");
    refuse_integers(harness, paged, ARRAY_BLOCK_TABLE, INTEGERS(0, 6, 2, 3, 3, 0), NULL);
    refuse_integers(harness, paged, ARRAY_BLOCK_TABLE, INTEGERS(0, 6, 2, 3, 3, -1),
                    "block_table[1][2] is -1: expected 0 to 6, num_blocks being 7");
    refuse_integers(harness, paged, ARRAY_BLOCK_TABLE, INTEGERS(0, 7, 2, 3, 3, 0),
                    "block_table[0][1] is 7: expected 0 to 6, num_blocks being 7");
    refuse_integers(harness, paged_lengths, ARRAY_LENGTHS, INTEGERS(6, 7),
                    "kv_lengths[1] is 7: expected 0 to kv_len (6)");
    refuse_integers(harness, ragged, ARRAY_Q_CU_LENGTHS, INTEGERS(1, 5, 5, 9), NULL);
    refuse_integers(harness, ragged, ARRAY_Q_CU_LENGTHS, INTEGERS(-1, 1, 2, 3),
                    "q_cu_lengths[0] is -1: expected at least 0");
    refuse_integers(harness, ragged, ARRAY_Q_CU_LENGTHS, INTEGERS(0, 4, 3, 7),
                    "q_cu_lengths[2] is 3: expected at least 4, the one before it");
    refuse_integers(harness, ragged, ARRAY_Q_CU_LENGTHS, INTEGERS(0, 4, 8, 13),
                    "q_cu_lengths[3] is 13: expected at most q_total (12)");
    refuse_integers(harness, ragged, ARRAY_Q_CU_LENGTHS, INTEGERS(0, 4, 9, 10),
                    "q_cu_lengths[2] is 9: expected at most 8, q_len (4) after the one before it");
    refuse_integers(harness, ragged, ARRAY_KV_CU_LENGTHS, INTEGERS(3, 3, 9, 15), NULL);
    refuse_integers(harness, ragged, ARRAY_KV_CU_LENGTHS, INTEGERS(3, 2, 9, 15),
                    "kv_cu_lengths[1] is 2: expected at least 3, the one before it");
    refuse_integers(harness, ragged, ARRAY_KV_CU_LENGTHS, INTEGERS(0, 7, 9, 15),
                    "kv_cu_lengths[1] is 7: expected at most 6, kv_len (6) after the one before it");
    refuse_integers(harness, ragged, ARRAY_KV_CU_LENGTHS, INTEGERS(0, 6, 12, 19),
                    "kv_cu_lengths[3] is 19: expected at most kv_total (18)");
}

/* More keys than the mask covers, which a run on buffers would exclude. */
static void host_call_refuses_masks_of_some_keys(void **state)
{
#define MASKED "b2h2q4k6d8:f32:mask=bool@2x1x4x4"
    static const char past[] = "kv_lengths[1] gives a batch 5 keys: expected at most 4, those that the mask covers, or "
                               "mask_pad";
    const struct harness *harness = *state;

    refuse_integers(harness, MASKED ":lengths", ARRAY_LENGTHS, INTEGERS(4, 0), NULL);
    refuse_integers(harness, MASKED ":lengths", ARRAY_LENGTHS, INTEGERS(4, 5), past);
    refuse_integers(harness, MASKED ":lengths:paged=2x7", ARRAY_LENGTHS, INTEGERS(4, 5), past);
    refuse_integers(harness, MASKED ":lengths:mask_pad", ARRAY_LENGTHS, INTEGERS(4, 5), NULL);
    refuse_integers(harness, MASKED ":lengths:circular", ARRAY_LENGTHS, INTEGERS(3, 4), NULL);
    refuse_integers(harness, MASKED ":lengths:circular", ARRAY_LENGTHS, INTEGERS(100, 4),
                    "kv_lengths[0] gives a batch 6 keys: expected at most 4, those that the mask covers, or mask_pad");
    refuse_integers(harness, MASKED ":ragged=kv", ARRAY_KV_CU_LENGTHS, INTEGERS(0, 4, 7), NULL);
    refuse_integers(harness, MASKED ":ragged=kv:mask_pad", ARRAY_KV_CU_LENGTHS, INTEGERS(0, 4, 9), NULL);
    refuse_integers(harness, MASKED ":ragged=kv", ARRAY_KV_CU_LENGTHS, INTEGERS(1, 1, 6),
                    "kv_cu_lengths[2] gives a batch 5 keys: expected at most 4, those that the mask covers, or "
                    "mask_pad");
#undef MASKED
}

/* Blocks past the keys that a batch has are nobody's business. */
static void host_call_takes_unneeded_blocks(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    struct arrays arrays;
    clattn_error error;

    assert_true(case_from_problem("b2h2q4k6d8:f32:lengths:paged=2x7", &c));
    assert_true(arrays_init(&arrays, &c));
    int32_t *lengths = arrays_at(&arrays, ARRAY_LENGTHS);
    int32_t *blocks = arrays_at(&arrays, ARRAY_BLOCK_TABLE);
    lengths[0] = 3;
    lengths[1] = 0;
    for (int n = 0; n < 6; ++n)
        blocks[n] = n < 2 ? n : 99;
    clattn_attention_host_args args = host_args(&arrays);
    harness_check(clattn_attention_host(harness->context, &c.desc, &args, &error), &error, c.name);
    lengths[0] = 5;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "block_table[0][2] is 99: expected 0 to 6, num_blocks being 7");
    arrays_free(&arrays);
}

/* The output takes the place of the cumulative lengths, which the other outputs need too. */
static void host_call_writes_over_its_integers(void **state)
{
    const struct harness *harness = *state;
    struct test_case c;
    int32_t cu[16] = {0, 4};
    float zeros[16] = {0.0f}, ones[16], lse[4] = {-1.0f, -1.0f, -1.0f, -1.0f};
    clattn_attention_host_args args;
    clattn_error error;

    for (int n = 0; n < 16; ++n)
        ones[n] = 1.0f;
    assert_true(case_from_problem("b1h1q4k4d4:f32:ragged=q:lse", &c));
    clattn_attention_host_args_init(&args);
    args.query = args.key = zeros;
    args.value = ones;
    args.output = cu;
    args.q_cu_lengths = cu;
    args.lse = lse;
    harness_check(clattn_attention_host(harness->context, &c.desc, &args, &error), &error, c.name);
    assert_memory_equal(cu, ones, sizeof cu);
    for (int i = 0; i < 4; ++i)
        assert_true(lse[i] > 1.386f && lse[i] < 1.387f); /* ln 4 */
}

static void host_call_refuses(void **state)
{
    static const int32_t bad_lengths[2][2] = {{6, 7}, {-1, 3}};
    const struct harness *harness = *state;
    struct test_case c;
    struct arrays arrays;
    struct arrays before;
    clattn_error error;

    assert_true(case_from_problem("b2h2q4k6d8:f32:lengths:lse", &c));
    assert_true(arrays_init(&arrays, &c));
    clattn_attention_host_args args = host_args(&arrays);
    assert_true(arrays_copy(&before, &arrays));
    args.kv_lengths = bad_lengths[0];
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "kv_lengths[1] is 7"));
    args.kv_lengths = bad_lengths[1];
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "kv_lengths[0] is -1"));
    args = host_args(&arrays);
    args.key = NULL;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "key"));
    args = host_args(&arrays);
    args.lse = NULL;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "lse"));
    args = host_args(&arrays);
    args.output = args.lse;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message,
                        "args.output shares bytes with args.lse: expected outputs apart from each other");
    args = host_args(&arrays);
    args.struct_size = 4;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_attention_host(harness->context, NULL, &args, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, NULL, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    args = host_args(&arrays);
    c.desc.head_dim = 0;
    assert_int_equal(clattn_attention_host(harness->context, &c.desc, &args, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "head_dim is 0"));
    for (int n = 0; n < NUM_ARRAYS; ++n)
        if (arrays.block[n].bytes != NULL)
            assert_memory_equal(arrays.block[n].bytes, before.block[n].bytes, before.block[n].size);
    arrays_free(&arrays);
    arrays_free(&before);
    clattn_attention_host_args_init(&args);
    assert_true(case_from_problem("b2h2q0k6d8:f32", &c));
    harness_check(clattn_attention_host(harness->context, &c.desc, &args, &error), &error, "nothing to do");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_arrays),
        cmocka_unit_test(host_call_refuses),
        cmocka_unit_test(host_call_writes_over_its_integers),
        cmocka_unit_test(host_call_refuses_integers),
        cmocka_unit_test(host_call_refuses_masks_of_some_keys),
        cmocka_unit_test(host_call_takes_unneeded_blocks),
    };

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
