/* SPDX-License-Identifier: Apache-2.0 */
/* From descriptor to problem: every refusal with its message, every default, layouts, aliasing, overlap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "problem/problem.h"
#include <math.h>
#include <stdio.h>

/* A plain problem that every case changes in one place. */
static clattn_attention_desc plain(void)
{
    clattn_attention_desc d;
    clattn_attention_desc_init(&d);
    d.batch = 2;
    d.q_heads = 12;
    d.kv_heads = 4;
    d.q_len = 30;
    d.kv_len = 50;
    d.head_dim = 64;
    return d;
}

static clattn_softmax_desc plain_softmax(void)
{
    clattn_softmax_desc d;
    clattn_softmax_desc_init(&d);
    d.batch = 2;
    d.heads = 12;
    d.q_len = 30;
    d.kv_len = 50;
    return d;
}

static clattn_weighted_sum_desc plain_weighted_sum(void)
{
    clattn_weighted_sum_desc d;
    clattn_weighted_sum_desc_init(&d);
    d.batch = 2;
    d.q_heads = 12;
    d.kv_heads = 4;
    d.q_len = 30;
    d.kv_len = 50;
    d.value_dim = 24;
    return d;
}

#define SET(layout, a, b, c, d)                                                                                        \
    ((layout).strides[0] = (a), (layout).strides[1] = (b), (layout).strides[2] = (c), (layout).strides[3] = (d))

/* The descriptor `make` gives, changed by the rest, is refused by `check` with exactly this status and message. */
#define REFUSED_BY(check, type, make, expected, text, ...)                                                             \
    do {                                                                                                               \
        type d = make();                                                                                               \
        struct cla_problem problem;                                                                                    \
        clattn_error error = {0};                                                                                      \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(check(&d, &problem, &error), expected);                                                       \
        assert_int_equal(error.status, expected);                                                                      \
        assert_string_equal(error.message, text);                                                                      \
        assert_int_equal(check(&d, &problem, NULL), expected);                                                         \
    } while (0)

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

static struct cla_problem problem_of(const clattn_attention_desc *d)
{
    struct cla_problem problem;
    clattn_error error = {0};
    memset(&problem, 0x55, sizeof problem);
    if (cla_problem_from_attention(d, &problem, &error) != CLATTN_SUCCESS)
        fail_msg("refused: %s", error.message);
    return problem;
}

static struct cla_problem scores_problem_of(const clattn_attention_desc *d)
{
    struct cla_problem problem;
    clattn_error error = {0};
    memset(&problem, 0x55, sizeof problem);
    if (cla_problem_from_scores(d, &problem, &error) != CLATTN_SUCCESS)
        fail_msg("refused: %s", error.message);
    return problem;
}

/* ---- refusals ---- */

static void struct_sizes_are_refused(void **state)
{
    (void)state;
    const struct {
        clattn_attention_desc desc;
        int64_t tail;
    } newer = {plain(), 0};
    struct cla_problem problem;
    clattn_error error;
    char text[200];
    snprintf(text, sizeof text,
             "clattn_attention_desc.struct_size is 8: expected at least %zu, as "
             "clattn_attention_desc_init sets it",
             sizeof(clattn_attention_desc));
    REFUSED_BY(cla_problem_from_attention, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 8);
    REFUSED_BY(cla_problem_from_scores, clattn_attention_desc, plain, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 8);
    snprintf(text, sizeof text,
             "clattn_softmax_desc.struct_size is 0: expected at least %zu, as "
             "clattn_softmax_desc_init sets it",
             sizeof(clattn_softmax_desc));
    REFUSED_BY(cla_problem_from_softmax, clattn_softmax_desc, plain_softmax, CLATTN_ERROR_INVALID_ARGUMENT, text,
               d.struct_size = 0);
    snprintf(text, sizeof text,
             "clattn_weighted_sum_desc.struct_size is 0: expected at least %zu, as "
             "clattn_weighted_sum_desc_init sets it",
             sizeof(clattn_weighted_sum_desc));
    REFUSED_BY(cla_problem_from_weighted_sum, clattn_weighted_sum_desc, plain_weighted_sum,
               CLATTN_ERROR_INVALID_ARGUMENT, text, d.struct_size = 0);
    assert_int_equal(cla_problem_from_attention(NULL, &problem, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "clattn_attention_desc is NULL");

    union { /* a later version's descriptor, whose new field is 0 and then not */
        clattn_attention_desc desc;
        unsigned char bytes[sizeof newer];
    } later;
    memset(&later, 0, sizeof later);
    later.desc = newer.desc;
    later.desc.struct_size = sizeof newer;
    assert_int_equal(cla_problem_from_attention(&later.desc, &problem, &error), CLATTN_SUCCESS);
    later.bytes[sizeof newer - 1] = 1;
    assert_int_equal(cla_problem_from_attention(&later.desc, &problem, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "clattn_attention_desc has a field at byte"));
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

static void mask_shape(clattn_attention_desc *d, int64_t a, int64_t b, int64_t c, int64_t e)
{
    d->mask_kind = CLATTN_MASK_ADDITIVE;
    d->mask_shape[0] = a;
    d->mask_shape[1] = b;
    d->mask_shape[2] = c;
    d->mask_shape[3] = e;
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

/* ---- normalisation ---- */

static void assert_tensor(const struct cla_tensor *tensor, bool written, int element_size, const int64_t extent[4],
                          const int64_t stride[4], int64_t span)
{
    assert_true(tensor->present);
    assert_int_equal(tensor->written, written);
    assert_int_equal(tensor->element_size, element_size);
    assert_memory_equal(tensor->extent, extent, 4 * sizeof extent[0]);
    assert_memory_equal(tensor->stride, stride, 4 * sizeof stride[0]);
    assert_int_equal(tensor->span, span);
}
#define INTS(...) ((const int64_t[4]){__VA_ARGS__})

static void defaults_are_filled_in(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.key.dtype = CLATTN_F16;
    struct cla_problem p = problem_of(&d);
    assert_int_equal(p.operation, CLA_OP_ATTENTION);
    assert_int_equal(p.batch, 2);
    assert_int_equal(p.q_heads, 12);
    assert_int_equal(p.kv_heads, 4);
    assert_int_equal(p.q_len, 30);
    assert_int_equal(p.kv_len, 50);
    assert_int_equal(p.head_dim, 64);
    assert_int_equal(p.value_dim, 64);
    assert_true(p.scale == 0.125f);
    assert_true(p.softcap == 0.0f && !signbit(p.softcap));
    assert_int_equal(p.mask_keys, 50);
    assert_tensor(&p.tensor[CLA_QUERY], false, 4, INTS(2, 12, 30, 64), INTS(23040, 1920, 64, 1), 46080);
    assert_tensor(&p.tensor[CLA_KEY], false, 2, INTS(2, 4, 50, 64), INTS(12800, 3200, 64, 1), 25600);
    assert_tensor(&p.tensor[CLA_VALUE], false, 4, INTS(2, 4, 50, 64), INTS(12800, 3200, 64, 1), 25600);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(2, 12, 30, 64), INTS(23040, 1920, 64, 1), 46080);
    for (int operand = CLA_MASK; operand < CLA_NUM_OPERANDS; operand++)
        assert_false(p.tensor[operand].present);

    d.value_dim = 80;
    d.head_dim = 3;
    d.scale = -0.0f;
    d.softcap = -0.0f;
    p = problem_of(&d);
    assert_int_equal(p.value_dim, 80);
    assert_int_equal(p.tensor[CLA_VALUE].extent[3], 80);
    assert_int_equal(p.tensor[CLA_OUTPUT].extent[3], 80);
    assert_true(p.scale == (float)(1.0 / sqrt(3.0)));
    assert_true(p.softcap == 0.0f && !signbit(p.softcap));
    d.scale = -2.0f;
    d.softcap = 30.0f;
    p = problem_of(&d);
    assert_true(p.scale == -2.0f);
    assert_true(p.softcap == 30.0f);
}

static void empty_problems_are_fine(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.batch = 0;
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(0, 12, 30, 64), INTS(0, 0, 0, 0), 0);

    d = plain();
    d.q_heads = d.kv_heads = 0;
    p = problem_of(&d);
    assert_int_equal(p.tensor[CLA_KEY].span, 0);
    d.kv_heads = 4;
    d.mask_kind = CLATTN_MASK_BOOL;
    d.mask.dtype = CLATTN_BOOL;
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_MASK], false, 1, INTS(2, 0, 30, 50), INTS(0, 0, 0, 0), 0);

    d = plain();
    d.q_len = d.kv_len = 0;
    d.lse = 1;
    mask_shape(&d, 1, 1, 1, 1);
    p = problem_of(&d);
    assert_int_equal(p.mask_keys, 0);
    assert_tensor(&p.tensor[CLA_MASK], false, 4, INTS(1, 1, 1, 1), INTS(0, 0, 0, 0), 1);
    assert_int_equal(p.tensor[CLA_KEY].span, 0);

    d = plain(); /* without elements no size overflows */
    d.kv_len = 0;
    d.batch = 1073741824;
    d.q_heads = d.kv_heads = 1;
    d.q_len = 0;
    d.head_dim = 1073741824;
    p = problem_of(&d);
    assert_int_equal(p.tensor[CLA_QUERY].span, 0);
}

static void strides_are_normalised(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    SET(d.query, 30 * 12 * 64, 64, 12 * 64, 1); /* [batch, length, heads, dim] */
    SET(d.key, 0, 0, 70, 1);                    /* repeated over batch and heads, rows padded */
    SET(d.output, 1, 2 * 64 * 30, 64 * 2, 1);   /* batch innermost would alias, but rows of 1 do not */
    d.value_dim = 1;
    SET(d.value, 0, 0, 1, 17);
    SET(d.output, 1, 60, 2, 99);
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_QUERY], false, 4, INTS(2, 12, 30, 64), INTS(23040, 64, 768, 1), 46080);
    assert_tensor(&p.tensor[CLA_KEY], false, 4, INTS(2, 4, 50, 64), INTS(0, 0, 70, 1), 49 * 70 + 64);
    assert_tensor(&p.tensor[CLA_VALUE], false, 4, INTS(2, 4, 50, 1), INTS(0, 0, 1, 0), 50);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(2, 12, 30, 1), INTS(1, 60, 2, 0), 720);

    d = plain(); /* the stride of an extent of 1 means nothing, so that one that overflows is fine */
    d.batch = 1;
    SET(d.output, INT64_MAX, 1920, 64, 1);
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(1, 12, 30, 64), INTS(0, 1920, 64, 1), 23040);
}

static void bands_are_folded(void **state)
{
    (void)state;
    enum { NONE = -7 };
    static const struct {
        int causal, window;
        int64_t window_left, window_right;
        clattn_alignment alignment;
        int64_t offset;
        int band;
        int64_t left, right, normal_offset;
    } cases[] = {
        {0, 0, 5, 5, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0},
        {1, 0, 5, 5, CLATTN_ALIGN_BOTTOM_RIGHT, 9, 1, CLA_UNBOUNDED, 0, 0},
        {-3, 0, -9, -9, CLATTN_ALIGN_TOP_LEFT, 9, 1, CLA_UNBOUNDED, 0, 0},
        {1, 0, 0, 0, CLATTN_ALIGN_OFFSET, -4, 1, CLA_UNBOUNDED, 0, -4},
        {0, 1, 5, 6, CLATTN_ALIGN_OFFSET, 9, 1, 5, 6, 9},
        {1, 1, 5, 6, CLATTN_ALIGN_OFFSET, 9, 1, 5, 0, 9},
        {1, 1, 5, -1, CLATTN_ALIGN_TOP_LEFT, 0, 1, 5, 0, 0},
        {0, 1, -1, 0, CLATTN_ALIGN_TOP_LEFT, 0, 1, CLA_UNBOUNDED, 0, 0},
        {0, 1, 0, -1, CLATTN_ALIGN_TOP_LEFT, 0, 1, 0, CLA_UNBOUNDED, 0},
        {0, 1, -1, -1, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0},
        {1, 1, -1, -1, CLATTN_ALIGN_OFFSET, 9, 1, CLA_UNBOUNDED, 0, 9},
        {0, 1, INT64_MAX, 3, CLATTN_ALIGN_OFFSET, INT64_MAX, 1, CLA_UNBOUNDED, 3, CLA_UNBOUNDED / 2},
        {0, 1, 3, INT64_MAX, CLATTN_ALIGN_OFFSET, INT64_MIN, 1, 3, CLA_UNBOUNDED, -CLA_UNBOUNDED / 2},
        {0, 1, INT64_MAX, INT64_MAX, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clattn_attention_desc d = plain();
        d.causal = cases[i].causal;
        d.window = cases[i].window;
        d.window_left = cases[i].window_left;
        d.window_right = cases[i].window_right;
        d.alignment = cases[i].alignment;
        d.offset = cases[i].offset;
        struct cla_problem p = problem_of(&d);
        assert_int_equal(p.band, cases[i].band);
        assert_int_equal(p.left, cases[i].left);
        assert_int_equal(p.right, cases[i].right);
        assert_int_equal(p.alignment, cases[i].band ? cases[i].alignment : CLATTN_ALIGN_NONE);
        assert_int_equal(p.offset, cases[i].normal_offset);
    }
}

static void masks_are_normalised(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.mask_kind = CLATTN_MASK_BOOL;
    d.mask.dtype = CLATTN_BOOL;
    struct cla_problem p = problem_of(&d);
    assert_int_equal(p.mask_kind, CLATTN_MASK_BOOL);
    assert_int_equal(p.mask_keys, 50);
    assert_tensor(&p.tensor[CLA_MASK], false, 1, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);

    mask_shape(&d, 2, 1, 1, 7); /* short: the other keys are excluded */
    d.mask.dtype = CLATTN_BF16;
    p = problem_of(&d);
    assert_int_equal(p.mask_kind, CLATTN_MASK_ADDITIVE);
    assert_int_equal(p.mask_keys, 7);
    assert_tensor(&p.tensor[CLA_MASK], false, 2, INTS(2, 1, 1, 7), INTS(7, 0, 0, 1), 14);

    mask_shape(&d, 1, 12, 30, 1); /* one value for all keys */
    p = problem_of(&d);
    assert_int_equal(p.mask_keys, 50);
    assert_tensor(&p.tensor[CLA_MASK], false, 2, INTS(1, 12, 30, 1), INTS(0, 30, 1, 0), 360);

    d.mask_kind = CLATTN_MASK_NONE; /* then shape and layout are not read */
    d.mask_shape[0] = 99;
    d.mask.dtype = (clattn_dtype)77;
    p = problem_of(&d);
    assert_false(p.tensor[CLA_MASK].present);
    assert_int_equal(p.mask_keys, 50);
}

static void further_outputs_and_lengths(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.lse = 2;
    d.kv_lengths = CLATTN_LENGTHS_I64;
    d.scores_stage = CLATTN_SCORES_WEIGHTS;
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_LSE], true, 4, INTS(2, 12, 30, 1), INTS(360, 30, 1, 0), 720);
    assert_tensor(&p.tensor[CLA_SCORES], true, 4, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);
    assert_tensor(&p.tensor[CLA_KV_LENGTHS], false, 8, INTS(2, 1, 1, 1), INTS(1, 0, 0, 0), 2);
    assert_int_equal(p.kv_lengths, CLATTN_LENGTHS_I64);
    assert_int_equal(p.scores_stage, CLATTN_SCORES_WEIGHTS);
    d.kv_lengths = CLATTN_LENGTHS_I32;
    p = problem_of(&d);
    assert_int_equal(p.tensor[CLA_KV_LENGTHS].element_size, 4);
}

/* Different words for the same thing give the same bytes, whatever was in the memory before. */
static void the_same_problem_is_the_same_bytes(void **state)
{
    (void)state;
    clattn_attention_desc a = plain(), b = plain();
    a.causal = 1;
    a.alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    a.offset = 5;
    a.variant = "unfused";
    b.window = 1;
    b.window_left = -1;
    b.alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    b.scale = 0.125f;
    b.value_dim = 64;
    SET(b.query, 23040, 1920, 64, 1);
    struct cla_problem p, q;
    memset(&p, 0x00, sizeof p);
    memset(&q, 0xff, sizeof q);
    assert_int_equal(cla_problem_from_attention(&a, &p, NULL), CLATTN_SUCCESS);
    assert_int_equal(cla_problem_from_attention(&b, &q, NULL), CLATTN_SUCCESS);
    assert_memory_equal(&p, &q, sizeof p);
    b.kv_len = 51;
    assert_int_equal(cla_problem_from_attention(&b, &q, NULL), CLATTN_SUCCESS);
    assert_memory_not_equal(&p, &q, sizeof p);
}

static void scores_keep_what_their_stage_depends_on(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.value_dim = -9; /* value, output and lse are not read */
    d.value.dtype = CLATTN_BOOL;
    d.output.strides[0] = -1;
    d.lse = 1;
    d.causal = 1;
    d.alignment = CLATTN_ALIGN_OFFSET;
    d.offset = 3;
    d.softcap = 20.0f;
    d.kv_lengths = CLATTN_LENGTHS_I32;
    mask_shape(&d, 1, 1, 1, 20);

    d.scores_stage = CLATTN_SCORES_MASKED;
    struct cla_problem p = scores_problem_of(&d);
    assert_int_equal(p.operation, CLA_OP_SCORES);
    assert_int_equal(p.value_dim, 0);
    assert_false(p.tensor[CLA_VALUE].present || p.tensor[CLA_OUTPUT].present || p.tensor[CLA_LSE].present);
    assert_true(p.tensor[CLA_QUERY].present && p.tensor[CLA_KEY].present && p.tensor[CLA_MASK].present &&
                p.tensor[CLA_KV_LENGTHS].present && p.tensor[CLA_SCORES].written);
    assert_true(p.band && p.right == 0 && p.offset == 3 && p.softcap == 20.0f && p.mask_keys == 20);

    d.scores_stage = CLATTN_SCORES_SOFTCAP;
    p = scores_problem_of(&d);
    assert_true(p.softcap == 20.0f);
    assert_false(p.band || p.tensor[CLA_MASK].present || p.tensor[CLA_KV_LENGTHS].present);

    d.scores_stage = CLATTN_SCORES_RAW;
    p = scores_problem_of(&d);
    clattn_attention_desc bare = plain();
    bare.scores_stage = CLATTN_SCORES_RAW;
    struct cla_problem q = scores_problem_of(&bare);
    assert_memory_equal(&p, &q, sizeof p);
}

static void primitives_are_normalised(void **state)
{
    (void)state;
    struct cla_problem p;
    clattn_softmax_desc softmax = plain_softmax();
    softmax.lse = 1;
    SET(softmax.weights, 24000, 2000, 64, 1);
    memset(&p, 0x55, sizeof p);
    assert_int_equal(cla_problem_from_softmax(&softmax, &p, NULL), CLATTN_SUCCESS);
    assert_int_equal(p.operation, CLA_OP_SOFTMAX);
    assert_true(p.q_heads == 12 && p.kv_heads == 12 && p.head_dim == 0 && p.value_dim == 0);
    assert_tensor(&p.tensor[CLA_SCORES], false, 4, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);
    assert_tensor(&p.tensor[CLA_WEIGHTS], true, 4, INTS(2, 12, 30, 50), INTS(24000, 2000, 64, 1),
                  24000 + 11 * 2000 + 29 * 64 + 50);
    assert_tensor(&p.tensor[CLA_LSE], true, 4, INTS(2, 12, 30, 1), INTS(360, 30, 1, 0), 720);
    softmax.lse = 0;
    assert_int_equal(cla_problem_from_softmax(&softmax, &p, NULL), CLATTN_SUCCESS);
    assert_false(p.tensor[CLA_LSE].present);

    clattn_weighted_sum_desc sum = plain_weighted_sum();
    sum.value.dtype = CLATTN_F16;
    sum.output.dtype = CLATTN_BF16;
    memset(&p, 0x55, sizeof p);
    assert_int_equal(cla_problem_from_weighted_sum(&sum, &p, NULL), CLATTN_SUCCESS);
    assert_int_equal(p.operation, CLA_OP_WEIGHTED_SUM);
    assert_true(p.q_heads == 12 && p.kv_heads == 4 && p.head_dim == 0 && p.value_dim == 24);
    assert_tensor(&p.tensor[CLA_WEIGHTS], false, 4, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);
    assert_tensor(&p.tensor[CLA_VALUE], false, 2, INTS(2, 4, 50, 24), INTS(4800, 1200, 24, 1), 9600);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 2, INTS(2, 12, 30, 24), INTS(8640, 720, 24, 1), 17280);
    assert_false(p.tensor[CLA_QUERY].present || p.tensor[CLA_KEY].present || p.tensor[CLA_SCORES].present);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(struct_sizes_are_refused),
        cmocka_unit_test(sizes_are_refused),
        cmocka_unit_test(values_are_refused),
        cmocka_unit_test(types_are_refused),
        cmocka_unit_test(mask_shapes_are_refused),
        cmocka_unit_test(layouts_are_refused),
        cmocka_unit_test(scores_are_refused),
        cmocka_unit_test(primitives_are_refused),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(empty_problems_are_fine),
        cmocka_unit_test(strides_are_normalised),
        cmocka_unit_test(bands_are_folded),
        cmocka_unit_test(masks_are_normalised),
        cmocka_unit_test(further_outputs_and_lengths),
        cmocka_unit_test(the_same_problem_is_the_same_bytes),
        cmocka_unit_test(scores_keep_what_their_stage_depends_on),
        cmocka_unit_test(primitives_are_normalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
