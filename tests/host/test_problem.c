/* SPDX-License-Identifier: Apache-2.0 */
/* From descriptor to problem: every default, layouts, bands, masks. test_problem_refused.c has what is refused. */
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
    assert_int_equal(p.operation, &cla_attention_operation);
    assert_int_equal(p.batch, 2);
    assert_int_equal(p.q_heads, 12);
    assert_int_equal(p.kv_heads, 4);
    assert_int_equal(p.q_len, 30);
    assert_int_equal(p.kv_len, 50);
    assert_int_equal(p.head_dim, 64);
    assert_int_equal(p.value_dim, 64);
    assert_true(p.semantics.scale == 0.125f);
    assert_true(p.semantics.softcap == 0.0f && !signbit(p.semantics.softcap));
    assert_int_equal(p.semantics.mask_keys, 50);
    assert_tensor(&p.tensor[CLA_QUERY], false, 4, INTS(2, 12, 30, 64), INTS(23040, 1920, 64, 1), 46080);
    assert_tensor(&p.tensor[CLA_KEY], false, 2, INTS(2, 4, 50, 64), INTS(12800, 3200, 64, 1), 25600);
    assert_tensor(&p.tensor[CLA_VALUE], false, 4, INTS(2, 4, 50, 64), INTS(12800, 3200, 64, 1), 25600);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(2, 12, 30, 64), INTS(23040, 1920, 64, 1), 46080);
    for (int operand = CLA_MASK; operand < CLA_MAX_OPERANDS; operand++)
        assert_false(p.tensor[operand].present);

    d.value_dim = 80;
    d.head_dim = 3;
    d.scale = -0.0f;
    d.softcap = -0.0f;
    p = problem_of(&d);
    assert_int_equal(p.value_dim, 80);
    assert_int_equal(p.tensor[CLA_VALUE].extent[3], 80);
    assert_int_equal(p.tensor[CLA_OUTPUT].extent[3], 80);
    assert_true(p.semantics.scale == (float)(1.0 / sqrt(3.0)));
    assert_true(p.semantics.softcap == 0.0f && !signbit(p.semantics.softcap));
    d.scale = -2.0f;
    d.softcap = 30.0f;
    p = problem_of(&d);
    assert_true(p.semantics.scale == -2.0f);
    assert_true(p.semantics.softcap == 30.0f);
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
    assert_int_equal(p.semantics.mask_keys, 0);
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
    d.value_dim = 1;
    SET(d.value, 0, 0, 1, 17);
    SET(d.output, 1, 60, 2, 99); /* batch innermost: rows of 1 have room for it */
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
    static const struct {
        int causal, window;
        int64_t window_left, window_right;
        clattn_alignment alignment;
        int64_t offset;
        int band;
        int64_t left, right, normal_offset;
        int64_t shift;
    } cases[] = {
        {0, 0, 5, 5, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0, 0},
        {1, 0, 5, 5, CLATTN_ALIGN_BOTTOM_RIGHT, 9, 1, CLA_UNBOUNDED, 0, 0, 0},
        {-3, 0, -9, -9, CLATTN_ALIGN_TOP_LEFT, 9, 1, CLA_UNBOUNDED, 0, 0, 0},
        {1, 0, 0, 0, CLATTN_ALIGN_OFFSET, -4, 1, CLA_UNBOUNDED, 0, -4, 0},
        {0, 1, 5, 6, CLATTN_ALIGN_OFFSET, 9, 1, 5, 6, 9, 0},
        {1, 1, 5, 6, CLATTN_ALIGN_OFFSET, 9, 1, 5, 0, 9, 0},
        {1, 1, 5, -1, CLATTN_ALIGN_TOP_LEFT, 0, 1, 5, 0, 0, 0},
        {0, 1, -1, 0, CLATTN_ALIGN_TOP_LEFT, 0, 1, CLA_UNBOUNDED, 0, 0, 0},
        {0, 1, 0, -1, CLATTN_ALIGN_TOP_LEFT, 0, 1, 0, CLA_UNBOUNDED, 0, 0},
        {0, 1, -1, -1, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0, 0},
        {1, 1, -1, -1, CLATTN_ALIGN_OFFSET, 9, 1, CLA_UNBOUNDED, 0, 9, 0},
        {0, 1, INT64_MAX, 3, CLATTN_ALIGN_OFFSET, INT64_MAX, 1, CLA_UNBOUNDED, 3, CLA_UNBOUNDED / 2, 0},
        {0, 1, 3, INT64_MAX, CLATTN_ALIGN_OFFSET, INT64_MIN, 1, 3, CLA_UNBOUNDED, -CLA_UNBOUNDED / 2, 0},
        {0, 1, INT64_MAX, INT64_MAX, CLATTN_ALIGN_OFFSET, 9, 0, 0, 0, 0, 0},
        {1, 0, 0, 0, CLATTN_ALIGN_TOP_LEFT, 0, 1, CLA_UNBOUNDED, -1, 0, -1},
        {1, 1, 2, 9, CLATTN_ALIGN_TOP_LEFT, 0, 1, 3, -1, 0, -1},
        {0, 1, 2, 3, CLATTN_ALIGN_OFFSET, 5, 1, -5, 10, 5, 7},
        {0, 1, 2, -1, CLATTN_ALIGN_OFFSET, 5, 1, -5, CLA_UNBOUNDED, 5, 7},
        {0, 1, -1, -1, CLATTN_ALIGN_OFFSET, 5, 0, 0, 0, 0, -7},
        {0, 0, 0, 0, CLATTN_ALIGN_TOP_LEFT, 0, 0, 0, 0, 0, -7},
        {1, 0, 0, 0, CLATTN_ALIGN_TOP_LEFT, 0, 1, CLA_UNBOUNDED, -CLA_UNBOUNDED / 2, 0, INT64_MIN},
        {0, 1, INT64_MAX - 1, 0, CLATTN_ALIGN_TOP_LEFT, 0, 1, CLA_UNBOUNDED, CLA_UNBOUNDED / 2, 0, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clattn_attention_desc d = plain();
        d.causal = cases[i].causal;
        d.window = cases[i].window;
        d.window_left = cases[i].window_left;
        d.window_right = cases[i].window_right;
        d.window_shift = cases[i].shift;
        d.alignment = cases[i].alignment;
        d.offset = cases[i].offset;
        struct cla_problem p = problem_of(&d);
        assert_int_equal(p.semantics.band, cases[i].band);
        assert_int_equal(p.semantics.left, cases[i].left);
        assert_int_equal(p.semantics.right, cases[i].right);
        assert_int_equal(p.semantics.alignment, cases[i].band ? cases[i].alignment : CLATTN_ALIGN_NONE);
        assert_int_equal(p.semantics.offset, cases[i].normal_offset);
    }
}

static void scales_are_defaulted(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    assert_true(problem_of(&d).semantics.scale == 0.125f);
    d.scale = -3.0f;
    assert_true(problem_of(&d).semantics.scale == -3.0f);
    d.scale_set = 1;
    assert_true(problem_of(&d).semantics.scale == -3.0f);
    d.scale = -0.0f;
    assert_true(problem_of(&d).semantics.scale == 0.0f && !signbit(problem_of(&d).semantics.scale));
}

static void slopes_have_a_batch(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.alibi = 1;
    d.alignment = CLATTN_ALIGN_TOP_LEFT;
    for (d.alibi_batch = 0; d.alibi_batch < 2; d.alibi_batch++) {
        struct cla_problem p = problem_of(&d);
        assert_tensor(&p.tensor[CLA_ALIBI_SLOPES], false, 4, INTS(1, 12, 1, 1), INTS(0, 1, 0, 0), 12);
    }
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_ALIBI_SLOPES], false, 4, INTS(2, 12, 1, 1), INTS(12, 1, 0, 0), 24);
}

static void masks_are_normalised(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.mask_kind = CLATTN_MASK_BOOL;
    d.mask.dtype = CLATTN_BOOL;
    struct cla_problem p = problem_of(&d);
    assert_int_equal(p.semantics.mask_kind, CLATTN_MASK_BOOL);
    assert_int_equal(p.semantics.mask_keys, 50);
    assert_tensor(&p.tensor[CLA_MASK], false, 1, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);

    assert_false(p.semantics.mask_pad);

    mask_shape(&d, 2, 1, 1, 7); /* the other keys are excluded, */
    d.mask.dtype = CLATTN_BF16;
    d.mask_pad = 1;
    p = problem_of(&d);
    assert_int_equal(p.semantics.mask_kind, CLATTN_MASK_ADDITIVE);
    assert_int_equal(p.semantics.mask_keys, 7);
    assert_true(p.semantics.mask_pad);
    d.mask_pad = 0; /* or lengths do that */
    d.kv_lengths = CLATTN_LENGTHS_I32;
    p = problem_of(&d);
    assert_int_equal(p.semantics.mask_keys, 7);
    assert_false(p.semantics.mask_pad);
    d.kv_lengths = CLATTN_LENGTHS_NONE;
    d.kv_cu_lengths = CLATTN_LENGTHS_I64;
    d.kv_total = 100;
    p = problem_of(&d);
    assert_int_equal(p.semantics.mask_keys, 7);
    d.kv_cu_lengths = CLATTN_LENGTHS_NONE;
    d.mask_pad = 1;
    assert_tensor(&p.tensor[CLA_MASK], false, 2, INTS(2, 1, 1, 7), INTS(7, 0, 0, 1), 14);

    mask_shape(&d, 1, 12, 30, 1); /* one value for all keys */
    p = problem_of(&d);
    assert_int_equal(p.semantics.mask_keys, 50);
    assert_false(p.semantics.mask_pad);
    assert_tensor(&p.tensor[CLA_MASK], false, 2, INTS(1, 12, 30, 1), INTS(0, 30, 1, 0), 360);

    d.mask_kind = CLATTN_MASK_NONE; /* then shape and layout are not read */
    d.mask_shape[0] = 99;
    d.mask.dtype = (clattn_dtype)77;
    p = problem_of(&d);
    assert_false(p.tensor[CLA_MASK].present);
    assert_int_equal(p.semantics.mask_keys, 50);
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
    assert_int_equal(p.semantics.kv_lengths, CLATTN_LENGTHS_I64);
    assert_int_equal(p.semantics.scores_stage, CLATTN_SCORES_WEIGHTS);
    d.kv_lengths = CLATTN_LENGTHS_I32;
    p = problem_of(&d);
    assert_int_equal(p.tensor[CLA_KV_LENGTHS].element_size, 4);
}

static void packed_sequences_have_one_batch(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.q_cu_lengths = CLATTN_LENGTHS_I32;
    d.q_total = 41;
    d.kv_total = 99; /* not read */
    d.lse = 1;
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_QUERY], false, 4, INTS(1, 12, 41, 64), INTS(0, 2624, 64, 1), 31488);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 4, INTS(1, 12, 41, 64), INTS(0, 2624, 64, 1), 31488);
    assert_tensor(&p.tensor[CLA_LSE], true, 4, INTS(1, 12, 41, 1), INTS(0, 41, 1, 0), 492);
    assert_tensor(&p.tensor[CLA_KEY], false, 4, INTS(2, 4, 50, 64), INTS(12800, 3200, 64, 1), 25600);
    assert_tensor(&p.tensor[CLA_Q_CU_LENGTHS], false, 4, INTS(3, 1, 1, 1), INTS(1, 0, 0, 0), 3);
    assert_true(p.semantics.q_total == 41 && p.semantics.kv_total == 0 && p.batch == 2 && p.q_len == 30);

    d = plain();
    d.kv_cu_lengths = CLATTN_LENGTHS_I64;
    d.kv_total = 99;
    SET(d.value, 12345, 64, 256, 1); /* the stride of the one batch means nothing */
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_QUERY], false, 4, INTS(2, 12, 30, 64), INTS(23040, 1920, 64, 1), 46080);
    assert_tensor(&p.tensor[CLA_KEY], false, 4, INTS(1, 4, 99, 64), INTS(0, 6336, 64, 1), 25344);
    assert_tensor(&p.tensor[CLA_VALUE], false, 4, INTS(1, 4, 99, 64), INTS(0, 64, 256, 1), 25344);
    assert_tensor(&p.tensor[CLA_KV_CU_LENGTHS], false, 8, INTS(3, 1, 1, 1), INTS(1, 0, 0, 0), 3);
    assert_true(p.semantics.q_total == 0 && p.semantics.kv_total == 99);
}

static void paged_keys_are_blocks(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.page_size = d.num_blocks = d.block_table_stride = 99; /* not read */
    struct cla_problem p = problem_of(&d);
    assert_true(p.semantics.page_size == 0 && p.semantics.num_blocks == 0 && !p.tensor[CLA_BLOCK_TABLE].present);

    d.kv_storage = CLATTN_STORAGE_PAGED;
    d.page_size = 16;
    d.num_blocks = 5;
    d.block_table_stride = 0;
    d.value_dim = 8;
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_KEY], false, 4, INTS(5, 4, 16, 64), INTS(4096, 1024, 64, 1), 20480);
    assert_tensor(&p.tensor[CLA_VALUE], false, 4, INTS(5, 4, 16, 8), INTS(512, 128, 8, 1), 2560);
    assert_tensor(&p.tensor[CLA_BLOCK_TABLE], false, 4, INTS(2, 1, 1, 4), INTS(4, 0, 0, 1), 8);
    assert_true(p.semantics.page_size == 16 && p.semantics.num_blocks == 5 && p.kv_len == 50);
    d.block_table_stride = 7;
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_BLOCK_TABLE], false, 4, INTS(2, 1, 1, 4), INTS(7, 0, 0, 1), 11);
    d.page_size = 64; /* one page a batch */
    p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_BLOCK_TABLE], false, 4, INTS(2, 1, 1, 1), INTS(7, 0, 0, 0), 8);
}

static void sinks_and_biases_are_rows_of_heads(void **state)
{
    (void)state;
    clattn_attention_desc d = plain();
    d.sinks = 7;
    d.alibi = 1;
    d.relative_extent = 20;
    d.alignment = CLATTN_ALIGN_OFFSET; /* kept though nothing bounds the keys */
    d.offset = -4;
    struct cla_problem p = problem_of(&d);
    assert_tensor(&p.tensor[CLA_SINKS], false, 4, INTS(1, 12, 1, 1), INTS(0, 1, 0, 0), 12);
    assert_tensor(&p.tensor[CLA_ALIBI_SLOPES], false, 4, INTS(1, 12, 1, 1), INTS(0, 1, 0, 0), 12);
    assert_tensor(&p.tensor[CLA_RELATIVE_BIAS], false, 4, INTS(1, 12, 1, 41), INTS(0, 41, 0, 1), 492);
    assert_true(!p.semantics.band && p.semantics.alignment == CLATTN_ALIGN_OFFSET && p.semantics.offset == -4 &&
                p.semantics.relative_extent == 20);

    d.dropout = 0.25f;
    p = problem_of(&d);
    assert_true(p.semantics.dropout == 0.25f);
    d.scores_stage = CLATTN_SCORES_MASKED; /* sinks and dropout are the softmax's */
    p = scores_problem_of(&d);
    assert_true(!p.tensor[CLA_SINKS].present && p.tensor[CLA_ALIBI_SLOPES].present &&
                p.tensor[CLA_RELATIVE_BIAS].present && p.semantics.dropout == 0.0f);
    d.scores_stage = CLATTN_SCORES_RAW;
    p = scores_problem_of(&d);
    assert_true(!p.tensor[CLA_ALIBI_SLOPES].present && !p.tensor[CLA_RELATIVE_BIAS].present &&
                p.semantics.relative_extent == 0 && p.semantics.alignment == CLATTN_ALIGN_NONE);
    d.kv_storage = CLATTN_STORAGE_CIRCULAR; /* lengths say in which row a key lies */
    d.kv_lengths = CLATTN_LENGTHS_I32;
    assert_true(scores_problem_of(&d).tensor[CLA_KV_LENGTHS].present);
    d.kv_storage = CLATTN_STORAGE_LINEAR;
    assert_false(scores_problem_of(&d).tensor[CLA_KV_LENGTHS].present);
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
    assert_int_equal(p.operation, &cla_scores_operation);
    assert_int_equal(p.value_dim, 0);
    assert_false(p.tensor[CLA_VALUE].present || p.tensor[CLA_OUTPUT].present || p.tensor[CLA_LSE].present);
    assert_true(p.tensor[CLA_QUERY].present && p.tensor[CLA_KEY].present && p.tensor[CLA_MASK].present &&
                p.tensor[CLA_KV_LENGTHS].present && p.tensor[CLA_SCORES].written);
    assert_true(p.semantics.band && p.semantics.right == 0 && p.semantics.offset == 3 && p.semantics.softcap == 20.0f &&
                p.semantics.mask_keys == 20);

    d.scores_stage = CLATTN_SCORES_SOFTCAP;
    p = scores_problem_of(&d);
    assert_true(p.semantics.softcap == 20.0f);
    assert_false(p.semantics.band || p.tensor[CLA_MASK].present || p.tensor[CLA_KV_LENGTHS].present);

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
    assert_int_equal(p.operation, &cla_softmax_operation);
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
    assert_int_equal(p.operation, &cla_weighted_sum_operation);
    assert_true(p.q_heads == 12 && p.kv_heads == 4 && p.head_dim == 0 && p.value_dim == 24);
    assert_tensor(&p.tensor[CLA_WEIGHTS], false, 4, INTS(2, 12, 30, 50), INTS(18000, 1500, 50, 1), 36000);
    assert_tensor(&p.tensor[CLA_VALUE], false, 2, INTS(2, 4, 50, 24), INTS(4800, 1200, 24, 1), 9600);
    assert_tensor(&p.tensor[CLA_OUTPUT], true, 2, INTS(2, 12, 30, 24), INTS(8640, 720, 24, 1), 17280);
    assert_false(p.tensor[CLA_QUERY].present || p.tensor[CLA_KEY].present || p.tensor[CLA_SCORES].present);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(empty_problems_are_fine),
        cmocka_unit_test(strides_are_normalised),
        cmocka_unit_test(bands_are_folded),
        cmocka_unit_test(scales_are_defaulted),
        cmocka_unit_test(slopes_have_a_batch),
        cmocka_unit_test(masks_are_normalised),
        cmocka_unit_test(further_outputs_and_lengths),
        cmocka_unit_test(packed_sequences_have_one_batch),
        cmocka_unit_test(paged_keys_are_blocks),
        cmocka_unit_test(sinks_and_biases_are_rows_of_heads),
        cmocka_unit_test(the_same_problem_is_the_same_bytes),
        cmocka_unit_test(scores_keep_what_their_stage_depends_on),
        cmocka_unit_test(primitives_are_normalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
