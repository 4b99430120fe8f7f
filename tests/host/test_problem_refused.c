/* SPDX-License-Identifier: Apache-2.0 */
/* Every descriptor that is refused, with its status and its whole message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plain.h"
#include "problem/append.h"
#include "problem/attention.h"
#include "problem/layer.h"
#include "problem/primitive.h"
#include <math.h>
#include <stdio.h>

#define REFUSED(text, ...)                                                                                             \
    REFUSED_BY(cla_problem_from_attention, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)
#define SCORES_REFUSED(text, ...)                                                                                      \
    REFUSED_BY(cla_problem_from_scores, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)
#define SOFTMAX_REFUSED(text, ...)                                                                                     \
    REFUSED_BY(cla_problem_from_softmax, clattn_softmax_desc, plain_softmax, CLATTN_ERROR_INVALID_VALUE, text,         \
               __VA_ARGS__)
#define SUM_REFUSED(text, ...)                                                                                         \
    REFUSED_BY(cla_problem_from_weighted_sum, clattn_weighted_sum_desc, plain_weighted_sum,                            \
               CLATTN_ERROR_INVALID_VALUE, text, __VA_ARGS__)

static void struct_sizes_are_refused(void **state)
{
    (void)state;
    char text[200];
#define WRONG_SIZE(type, size)                                                                                         \
    snprintf(text, sizeof text, #type ".struct_size is %d: expected at least %zu, as " #type "_init sets it", size,    \
             sizeof(type))
    WRONG_SIZE(clattn_attention_desc, 8);
    REFUSED_BY(cla_problem_from_attention, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 8);
    REFUSED_BY(cla_problem_from_scores, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 8);
    WRONG_SIZE(clattn_softmax_desc, 0);
    REFUSED_BY(cla_problem_from_softmax, clattn_softmax_desc, plain_softmax, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 0);
    WRONG_SIZE(clattn_weighted_sum_desc, 0);
    REFUSED_BY(cla_problem_from_weighted_sum, clattn_weighted_sum_desc, plain_weighted_sum,
               CLATTN_ERROR_INVALID_ARGUMENT, text, d.struct_size = 0);
}

/* A descriptor of a later version, with one more field: taken while that is 0. */
static void later_structs_are_taken_where_they_ask_for_nothing_new(void **state)
{
    (void)state;
    struct cla_problem problem;
    clattn_error error;
    union {
        clattn_attention_desc desc;
        unsigned char bytes[sizeof(clattn_attention_desc) + 8];
    } later;
    memset(&later, 0, sizeof later);
    later.desc = plain();
    later.desc.struct_size = sizeof later;
    assert_int_equal(cla_problem_from_attention(&later.desc, &problem, &error), CLATTN_SUCCESS);
    later.bytes[sizeof later - 1] = 1;
    assert_int_equal(cla_problem_from_attention(&later.desc, &problem, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "clattn_attention_desc has a field at byte"));
    assert_int_equal(cla_problem_from_attention(NULL, &problem, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "clattn_attention_desc is NULL");
}

static void sizes_are_refused(void **state)
{
    (void)state;
    REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    REFUSED("q_heads is -1: expected 0 or more", d.q_heads = -1);
    REFUSED("kv_heads is -4: expected 0 or more", d.kv_heads = -4);
    REFUSED("q_len is -1: expected 0 or more", d.q_len = -1);
    REFUSED("kv_len is -9223372036854775808: expected 0 or more", d.kv_len = INT64_MIN);
    REFUSED("head_dim is 0: expected 1 or more", d.head_dim = 0);
    REFUSED("value_dim is -1: expected 0 or more", d.value_dim = -1);
    REFUSED("batch is 2147483648: expected at most 2147483647", d.batch = 2147483648);
    REFUSED("q_heads is 9223372036854775807: expected at most 2147483647", d.q_heads = INT64_MAX);
    REFUSED("kv_heads is 2147483648: expected at most 2147483647", d.q_heads = 0, d.kv_heads = 2147483648);
    REFUSED("q_len is 1073741825: expected at most 1073741824", d.q_len = 1073741825);
    REFUSED("kv_len is 1073741825: expected at most 1073741824", d.kv_len = 1073741825);
    REFUSED("head_dim is 1073741825: expected at most 1073741824", d.head_dim = 1073741825);
    REFUSED("value_dim is 1073741825: expected at most 1073741824", d.value_dim = 1073741825);
    REFUSED("kv_heads is 5: expected a divisor of q_heads (12)", d.kv_heads = 5);
    REFUSED("kv_heads is 24: expected a divisor of q_heads (12)", d.kv_heads = 24);
    REFUSED("kv_heads is 0: expected a divisor of q_heads (12)", d.kv_heads = 0);
    REFUSED("batch is 1073741824 and q_heads is 2: expected a product of at most 2147483647", d.batch = 1073741824,
            d.q_heads = d.kv_heads = 2);
    REFUSED("batch is 2147483647 and q_heads is 2147483647: expected a product of at most 2147483647",
            d.batch = d.q_heads = d.kv_heads = 2147483647);
}

static void values_are_refused(void **state)
{
    (void)state;
    REFUSED("scale is inf: expected a finite number", d.scale = INFINITY);
    REFUSED("scale is nan: expected a finite number", d.scale = fabsf(nanf("")));
    REFUSED("softcap is -1: expected a finite number, 0 or more", d.softcap = -1.0f);
    REFUSED("softcap is inf: expected a finite number, 0 or more", d.softcap = INFINITY);
    REFUSED("dropout is 1: expected 0 or more, less than 1", d.dropout = 1.0f);
    REFUSED("dropout is -0.5: expected 0 or more, less than 1", d.dropout = -0.5f);
    REFUSED("dropout is inf: expected 0 or more, less than 1", d.dropout = INFINITY);
    REFUSED("dropout is nan: expected 0 or more, less than 1", d.dropout = fabsf(nanf("")));
    REFUSED("alignment is 4: expected a clattn_alignment, 0 to 3", d.alignment = (clattn_alignment)4);
    REFUSED("alignment is -1: expected a clattn_alignment, 0 to 3", d.alignment = (clattn_alignment)-1);
    REFUSED("mask_kind is 3: expected a clattn_mask_kind, 0 to 2", d.mask_kind = (clattn_mask_kind)3);
    REFUSED("kv_lengths is 3: expected a clattn_lengths, 0 to 2", d.kv_lengths = (clattn_lengths)3);
    REFUSED("scores_stage is 5: expected a clattn_scores_stage, 0 to 4", d.scores_stage = (clattn_scores_stage)5);
    REFUSED("alignment is 0 (none) and causal is set: expected top-left, bottom-right or an offset", d.causal = 1);
    REFUSED("alignment is 0 (none) and window is set: expected top-left, bottom-right or an offset", d.window = 1);
    REFUSED("window_left is -2: expected -1 or more", d.window = 1, d.alignment = CLATTN_ALIGN_TOP_LEFT,
            d.window_left = -2);
    REFUSED("window_right is -2: expected -1 or more", d.window = 1, d.alignment = CLATTN_ALIGN_TOP_LEFT,
            d.window_right = -2);
}

static void positions_are_refused(void **state)
{
    (void)state;
#define NO_ALIGNMENT(what) "alignment is 0 (none) and " what " is set: expected top-left, bottom-right or an offset"
    REFUSED(NO_ALIGNMENT("alibi"), d.alibi = 1);
    REFUSED("alibi_batch is 3: expected 0, 1 or batch (2)", d.alibi = 1, d.alibi_batch = 3,
            d.alignment = CLATTN_ALIGN_TOP_LEFT);
    REFUSED("alibi_batch is -1: expected 0, 1 or batch (2)", d.alibi = 1, d.alibi_batch = -1,
            d.alignment = CLATTN_ALIGN_TOP_LEFT);
    REFUSED(NO_ALIGNMENT("relative_extent"), d.relative_extent = 1);
    REFUSED(NO_ALIGNMENT("causal"), d.causal = d.alibi = 1);
    REFUSED("relative_extent is -1: expected 0 or more", d.relative_extent = -1, d.alignment = CLATTN_ALIGN_TOP_LEFT);
    REFUSED("relative_extent is 536870913: expected at most 536870912", d.relative_extent = 536870913,
            d.alignment = CLATTN_ALIGN_TOP_LEFT);
    REFUSED("relative_extent is 9223372036854775807: expected at most 536870912", d.relative_extent = INT64_MAX,
            d.alignment = CLATTN_ALIGN_TOP_LEFT);
}

static void storages_are_refused(void **state)
{
    (void)state;
#define PAGES(size, blocks) d.kv_storage = CLATTN_STORAGE_PAGED, d.page_size = (size), d.num_blocks = (blocks)
    REFUSED("kv_storage is 3: expected a clattn_storage, 0 to 2", d.kv_storage = (clattn_storage)3);
    REFUSED("kv_storage is -1: expected a clattn_storage, 0 to 2", d.kv_storage = (clattn_storage)-1);
    REFUSED("kv_storage is 1 (circular) and kv_lengths is 0 (none): expected 1 or 2",
            d.kv_storage = CLATTN_STORAGE_CIRCULAR);
    REFUSED("page_size is 0: expected 1 or more", PAGES(0, 8));
    REFUSED("page_size is -16: expected 1 or more", PAGES(-16, 8));
    REFUSED("page_size is 1073741825: expected at most 1073741824", PAGES(1073741825, 8));
    REFUSED("num_blocks is 0: expected 1 or more", PAGES(16, 0));
    REFUSED("num_blocks is 2147483648: expected at most 2147483647", PAGES(16, 2147483648));
    REFUSED("block_table_stride is 3: expected 4 or more", PAGES(16, 8), d.block_table_stride = 3);
    REFUSED("block_table_stride is -1: expected 4 or more", PAGES(16, 8), d.block_table_stride = -1);
    REFUSED("key has the shape [2147483647, 4, 1073741824, 64]: expected a size in bytes that fits 63 bits",
            PAGES(1073741824, 2147483647));
    REFUSED("block_table has the shape [2, 1, 1, 4]: expected a size in bytes that fits 63 bits", PAGES(16, 8),
            d.block_table_stride = INT64_MAX / 4);
}

static void packed_sequences_are_refused(void **state)
{
    (void)state;
#define RAGGED_Q(total)  d.q_cu_lengths = CLATTN_LENGTHS_I32, d.q_total = (total)
#define RAGGED_KV(total) d.kv_cu_lengths = CLATTN_LENGTHS_I64, d.kv_total = (total)
    REFUSED("q_cu_lengths is 3: expected a clattn_lengths, 0 to 2", d.q_cu_lengths = (clattn_lengths)3);
    REFUSED("kv_cu_lengths is -1: expected a clattn_lengths, 0 to 2", d.kv_cu_lengths = (clattn_lengths)-1);
    REFUSED("q_total is -1: expected 1 or more", RAGGED_Q(-1));
    REFUSED("q_total is 0: expected 1 or more", RAGGED_Q(0));
    REFUSED("q_total is 1073741825: expected at most 1073741824", RAGGED_Q(1073741825));
    REFUSED("kv_total is -1: expected 1 or more", RAGGED_KV(-1));
    REFUSED("kv_total is 1073741825: expected at most 1073741824", RAGGED_KV(1073741825));
    REFUSED("kv_cu_lengths and kv_lengths are set: expected one of them, the cumulative ones give lengths",
            RAGGED_KV(9), d.kv_lengths = CLATTN_LENGTHS_I32);
    REFUSED("kv_cu_lengths is set and kv_storage is 2 (paged): expected 0 (linear)", RAGGED_KV(9), PAGES(16, 8));
    REFUSED("kv_cu_lengths is set and kv_storage is 1 (circular): expected 0 (linear)", RAGGED_KV(9),
            d.kv_storage = CLATTN_STORAGE_CIRCULAR, d.kv_lengths = CLATTN_LENGTHS_I32);
    REFUSED("q_cu_lengths is set: expected 0 (none) where scores are given out", RAGGED_Q(9),
            d.scores_stage = CLATTN_SCORES_RAW);
    REFUSED("output.strides[2] is 63: expected at least 64, so that no two elements share a place", RAGGED_Q(9),
            SET(d.output, 9 * 12 * 64, 64 * 9, 63, 1));
    SCORES_REFUSED("q_cu_lengths is set: expected 0 (none) where scores are given out", RAGGED_Q(9),
                   d.scores_stage = CLATTN_SCORES_RAW);
}

static void types_are_refused(void **state)
{
    (void)state;
    REFUSED("query.dtype is 3 (bool): expected f32, f16 or bf16", d.query.dtype = CLATTN_BOOL);
    REFUSED("key.dtype is 3 (bool): expected f32, f16 or bf16", d.key.dtype = CLATTN_BOOL);
    REFUSED("value.dtype is 4 (?): expected f32, f16 or bf16", d.value.dtype = (clattn_dtype)4);
    REFUSED("output.dtype is -1 (?): expected f32, f16 or bf16", d.output.dtype = (clattn_dtype)-1);
    REFUSED("scores.dtype is 1 (f16): expected f32", d.scores_stage = CLATTN_SCORES_RAW, d.scores.dtype = CLATTN_F16);
    REFUSED("mask.dtype is 0 (f32): expected bool", d.mask_kind = CLATTN_MASK_BOOL);
    REFUSED("mask.dtype is 3 (bool): expected f32, f16 or bf16", d.mask_kind = CLATTN_MASK_ADDITIVE,
            d.mask.dtype = CLATTN_BOOL);
}

static void mask_shapes_are_refused(void **state)
{
    (void)state;
    REFUSED("mask_shape[0] is 3: expected 1 or batch (2)", mask_shape(&d, 3, 1, 1, 1));
    REFUSED("mask_shape[1] is 4: expected 1 or q_heads (12)", mask_shape(&d, 2, 4, 30, 50));
    REFUSED("mask_shape[2] is 29: expected 1 or q_len (30)", mask_shape(&d, 2, 12, 29, 50));
    REFUSED("mask_shape[2] is 0: expected 1 or q_len (30)", mask_shape(&d, 2, 12, 0, 50));
    REFUSED("mask_shape[3] is 51: expected 1 to kv_len (50)", mask_shape(&d, 1, 1, 1, 51));
    REFUSED("mask_shape[3] is 0: expected 1 to kv_len (50)", mask_shape(&d, 1, 1, 1, 0));
    REFUSED("mask_shape[3] is -1: expected 1 to kv_len (50)", mask_shape(&d, 1, 1, 1, -1));
    REFUSED("mask_shape[3] is 2: expected 1 to kv_len (1)", d.kv_len = 1, mask_shape(&d, 1, 1, 1, 2));
    REFUSED("mask_shape[3] is 2: expected 1 to kv_len (0)", d.kv_len = 0, mask_shape(&d, 1, 1, 1, 2));
    REFUSED("mask_shape[3] is 51: expected 1 to kv_len (50)", d.mask_pad = 1, mask_shape(&d, 1, 1, 1, 51));
}

static void masks_of_some_keys_are_refused(void **state)
{
    (void)state;
#define SHORT(extent)                                                                                                  \
    "mask_shape[3] is " #extent ": the mask covers " #extent " of kv_len (50) keys, expected 1 or all; or mask_pad, "  \
    "which excludes the others, or lengths that do not exceed it"
    REFUSED(SHORT(49), mask_shape(&d, 2, 12, 30, 49));
    REFUSED(SHORT(2), mask_shape(&d, 1, 1, 1, 2));
    REFUSED(SHORT(30), mask_shape(&d, 1, 1, 30, 30), d.mask_kind = CLATTN_MASK_BOOL, d.mask.dtype = CLATTN_BOOL);
    SCORES_REFUSED(SHORT(30), mask_shape(&d, 1, 1, 30, 30), d.scores_stage = CLATTN_SCORES_MASKED);
#undef SHORT
}

static void layouts_are_refused(void **state)
{
    (void)state;
    REFUSED("query.strides[1] is -1: expected 0 or more", SET(d.query, 1, -1, 1, 1));
    REFUSED("key.strides[3] is 2: expected 1, rows are contiguous", SET(d.key, 1, 1, 1, 2));
    REFUSED("value.strides[3] is 0: expected 1, rows are contiguous", SET(d.value, 1, 1, 1, 0));
    REFUSED("mask.strides[3] is 3: expected 1, rows are contiguous", mask_shape(&d, 1, 1, 1, 50),
            SET(d.mask, 0, 0, 0, 3));
    REFUSED("query has the shape [2, 12, 30, 64]: expected a size in bytes that fits 63 bits",
            SET(d.query, INT64_MAX, 1, 1, 1));
    REFUSED("query has the shape [2, 12, 30, 64]: expected a size in bytes that fits 63 bits",
            SET(d.query, INT64_MAX / 4, 1, 1, 1)); /* elements fit, bytes do not */
    REFUSED("key has the shape [2, 4, 50, 64]: expected a size in bytes that fits 63 bits",
            SET(d.key, 1, INT64_MAX / 2, 1, 1));
    REFUSED("query has the shape [2, 1, 1073741824, 1073741824]: expected a size in bytes that fits 63 bits",
            d.q_heads = d.kv_heads = 1, d.q_len = d.head_dim = 1073741824);
    REFUSED("query has the shape [1073741824, 1, 1073741824, 1073741824]: expected a size in bytes that fits 63 bits",
            d.batch = 1073741824, d.q_heads = d.kv_heads = 1, d.q_len = d.head_dim = 1073741824);
    REFUSED("scores has the shape [8, 1, 1073741824, 1073741824]: expected a size in bytes that fits 63 bits",
            d.batch = 8, d.q_heads = d.kv_heads = d.head_dim = 1, d.q_len = d.kv_len = 1073741824,
            d.scores_stage = CLATTN_SCORES_RAW);
    /* Outputs whose elements alias each other. */
    REFUSED("output.strides[2] is 63: expected at least 64, so that no two elements share a place",
            SET(d.output, 12 * 30 * 64, 30 * 64, 63, 1));
    REFUSED("output.strides[1] is 1919: expected at least 1920, so that no two elements share a place",
            SET(d.output, 12 * 30 * 64, 30 * 64 - 1, 64, 1));
    REFUSED("output.strides[0] is 0: expected at least 1, so that no two elements share a place",
            SET(d.output, 0, 30 * 64, 64, 1));
    REFUSED("scores.strides[1] is 50: expected at least 1500, so that no two elements share a place",
            d.scores_stage = CLATTN_SCORES_MASKED, SET(d.scores, 12 * 30 * 50, 50, 50, 1));
}

static void scores_are_refused(void **state)
{
    (void)state;
    SCORES_REFUSED("scores_stage is 0: expected 1 (raw), 2 (softcap) or 3 (masked)", (void)0);
    SCORES_REFUSED("scores_stage is 4: expected 1 (raw), 2 (softcap) or 3 (masked)",
                   d.scores_stage = CLATTN_SCORES_WEIGHTS);
    SCORES_REFUSED("scores.dtype is 2 (bf16): expected f32", d.scores_stage = CLATTN_SCORES_RAW,
                   d.scores.dtype = CLATTN_BF16);
    SCORES_REFUSED("head_dim is 0: expected 1 or more", d.scores_stage = CLATTN_SCORES_RAW, d.head_dim = 0);
    /* What a stage does not depend on is checked all the same. */
    SCORES_REFUSED("mask_shape[0] is 3: expected 1 or batch (2)", d.scores_stage = CLATTN_SCORES_RAW,
                   mask_shape(&d, 3, 1, 1, 1));
}

static void primitives_are_refused(void **state)
{
    (void)state;
    SOFTMAX_REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    SOFTMAX_REFUSED("heads is -1: expected 0 or more", d.heads = -1);
    SOFTMAX_REFUSED("q_len is -1: expected 0 or more", d.q_len = -1);
    SOFTMAX_REFUSED("kv_len is -1: expected 0 or more", d.kv_len = -1);
    SOFTMAX_REFUSED("batch is 65536 and heads is 65536: expected a product of at most 2147483647",
                    d.batch = d.heads = 65536);
    SOFTMAX_REFUSED("scores.dtype is 1 (f16): expected f32", d.scores.dtype = CLATTN_F16);
    SOFTMAX_REFUSED("weights.dtype is 1 (f16): expected f32", d.weights.dtype = CLATTN_F16);
    SOFTMAX_REFUSED("scores.strides[3] is 2: expected 1, rows are contiguous", SET(d.scores, 0, 0, 0, 2));
    SOFTMAX_REFUSED("weights.strides[2] is 0: expected at least 1, so that no two elements share a place",
                    SET(d.weights, 18000, 1500, 0, 1));

    SUM_REFUSED("batch is -1: expected 0 or more", d.batch = -1);
    SUM_REFUSED("q_heads is -1: expected 0 or more", d.q_heads = -1);
    SUM_REFUSED("kv_heads is -1: expected 0 or more", d.kv_heads = -1);
    SUM_REFUSED("kv_heads is 7: expected a divisor of q_heads (12)", d.kv_heads = 7);
    SUM_REFUSED("q_len is 1073741825: expected at most 1073741824", d.q_len = 1073741825);
    SUM_REFUSED("kv_len is -1: expected 0 or more", d.kv_len = -1);
    SUM_REFUSED("value_dim is 0: expected 1 or more", d.value_dim = 0);
    SUM_REFUSED("weights.dtype is 1 (f16): expected f32", d.weights.dtype = CLATTN_F16);
    SUM_REFUSED("value.dtype is 3 (bool): expected f32, f16 or bf16", d.value.dtype = CLATTN_BOOL);
    SUM_REFUSED("output.dtype is 3 (bool): expected f32, f16 or bf16", d.output.dtype = CLATTN_BOOL);
    SUM_REFUSED("weights.strides[3] is 0: expected 1, rows are contiguous", SET(d.weights, 1, 0, 0, 0));
    SUM_REFUSED("value.strides[0] is -5: expected 0 or more", SET(d.value, -5, 0, 0, 1));
    SUM_REFUSED("output.strides[2] is 23: expected at least 24, so that no two elements share a place",
                SET(d.output, 9000, 720, 23, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(struct_sizes_are_refused),
        cmocka_unit_test(later_structs_are_taken_where_they_ask_for_nothing_new),
        cmocka_unit_test(sizes_are_refused),
        cmocka_unit_test(values_are_refused),
        cmocka_unit_test(positions_are_refused),
        cmocka_unit_test(storages_are_refused),
        cmocka_unit_test(packed_sequences_are_refused),
        cmocka_unit_test(types_are_refused),
        cmocka_unit_test(mask_shapes_are_refused),
        cmocka_unit_test(masks_of_some_keys_are_refused),
        cmocka_unit_test(layouts_are_refused),
        cmocka_unit_test(scores_are_refused),
        cmocka_unit_test(primitives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
