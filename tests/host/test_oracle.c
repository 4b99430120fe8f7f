/* SPDX-License-Identifier: Apache-2.0 */
/* The measure itself: conversions, the oracle on examples worked by hand, and that the comparison catches what it must.
 */
#include "compare.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_near(found, expected, within) assert_true(fabs((found) - (expected)) <= (within))

static void halves_survive(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        uint16_t half = (uint16_t)bits;
        uint16_t back;
        double value = oracle_load(CLATTN_F16, &half, 0);
        oracle_store(CLATTN_F16, &back, 0, value);
        if (isnan(value))
            assert_int_equal(back & 0x7e00, 0x7e00);
        else
            assert_int_equal(back, half);
        oracle_store(CLATTN_BF16, &back, 0, oracle_load(CLATTN_BF16, &half, 0));
        if (!isnan(oracle_load(CLATTN_BF16, &half, 0)))
            assert_int_equal(back, half);
    }
}

static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    assert_true(oracle_round(CLATTN_F16, 2049.0) == 2048.0);
    assert_true(oracle_round(CLATTN_F16, 2051.0) == 2052.0);
    assert_true(oracle_round(CLATTN_F16, 2049.0000001) == 2050.0);
    assert_true(oracle_round(CLATTN_F16, 65519.9) == 65504.0);
    assert_true(oracle_round(CLATTN_F16, 65520.0) == HUGE_VAL);
    assert_true(oracle_round(CLATTN_F16, 0x1p-25) == 0.0);
    assert_true(oracle_round(CLATTN_F16, 0x1.8p-24) == 0x1p-23);
    assert_true(oracle_round(CLATTN_F16, -0x1.1p-25) == -0x1p-24);
    assert_true(oracle_round(CLATTN_BF16, 257.0) == 256.0);
    assert_true(oracle_round(CLATTN_BF16, 259.0) == 260.0);
    assert_true(oracle_round(CLATTN_BF16, (double)FLT_MAX) == HUGE_VAL);
    assert_true(isnan(oracle_round(CLATTN_BF16, (double)NAN)));
    uint16_t half;
    oracle_store(CLATTN_F16, &half, 0, 1.0 / 3.0);
    assert_int_equal(half, 0x3555);
    oracle_store(CLATTN_F16, &half, 0, -2.0);
    assert_int_equal(half, 0xc000);
    oracle_store(CLATTN_BF16, &half, 0, 1.0 / 3.0);
    assert_int_equal(half, 0x3eab);
}

/* One decoder state (0.5, 0.5) over the encoder states (1, 2) and (3, 4), unscaled: softmax(1.5, 3.5). */
static void two_states_by_hand(void **state)
{
    const float query[] = {0.5F, 0.5F};
    const float states[] = {1.0F, 2.0F, 3.0F, 4.0F};
    clattn_attention_desc desc;
    struct oracle_row row;
    double second = 1.0 / (1.0 + exp(-2.0));

    (void)state;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = desc.q_len = 1;
    desc.kv_len = desc.head_dim = 2;
    desc.scale = 1.0F;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 1, .kv_len = 2, .query = query, .key = states, .value = states};
    assert_true(oracle_row_init(&row, &operands));
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_near(row.raw[0], 1.5, 1e-15);
    assert_near(row.raw[1], 3.5, 1e-15);
    assert_near(row.weights[1], second, 1e-15);
    assert_near(row.output[0], 1.0 + 2.0 * second, 1e-15);
    assert_near(row.output[1], 2.0 + 2.0 * second, 1e-15);
    assert_near(row.lse, log(exp(1.5) + exp(3.5)), 1e-15);
    assert_near(row.largest_amplitude, 3.5, 1e-15);
    oracle_row_free(&row);
}

/* 2 batches, 2 query heads over 1, 3 queries, 5 keys of dim 1: what each rule of exclusion keeps. */
struct sight_case {
    clattn_alignment alignment;
    int64_t offset;
    bool causal;
    bool window;
    int64_t left;
    int64_t right;
    int32_t lengths[2];
    const char *kept[2][3]; /* per batch and query, a digit a key */
    int64_t shift;
};

#define NONE   CLATTN_ALIGN_NONE
#define TOP    CLATTN_ALIGN_TOP_LEFT
#define BOTTOM CLATTN_ALIGN_BOTTOM_RIGHT
#define OFFSET CLATTN_ALIGN_OFFSET

static const struct sight_case sight_cases[] = {
    {NONE, 0, false, false, 0, 0, {5, 5}, {{"11111", "11111", "11111"}, {"11111", "11111", "11111"}}, 0},
    {TOP, 3, true, false, 0, 0, {5, 5}, {{"10000", "11000", "11100"}, {"10000", "11000", "11100"}}, 0},
    {BOTTOM, 3, true, false, 0, 0, {5, 5}, {{"11100", "11110", "11111"}, {"11100", "11110", "11111"}}, 0},
    {OFFSET, -2, true, false, 0, 0, {5, 5}, {{"00000", "00000", "10000"}, {"00000", "00000", "10000"}}, 0},
    {OFFSET, 4, true, false, 0, 0, {5, 5}, {{"11111", "11111", "11111"}, {"11111", "11111", "11111"}}, 0},
    {NONE, 0, false, false, 0, 0, {9, -1}, {{"11111", "11111", "11111"}, {"00000", "00000", "00000"}}, 0},
    {BOTTOM, 0, true, false, 0, 0, {4, 2}, {{"11000", "11100", "11110"}, {"00000", "10000", "11000"}}, 0},
    {TOP, 0, false, true, 1, 1, {5, 5}, {{"11000", "11100", "01110"}, {"11000", "11100", "01110"}}, 0},
    {OFFSET, 1, false, true, 0, -1, {5, 5}, {{"01111", "00111", "00011"}, {"01111", "00111", "00011"}}, 0},
    {OFFSET, 1, true, true, 1, 1, {5, 5}, {{"11000", "01100", "00110"}, {"11000", "01100", "00110"}}, 0},
    {BOTTOM, 0, false, true, -1, 0, {3, 5}, {{"10000", "11000", "11100"}, {"11100", "11110", "11111"}}, 0},
    {TOP, 0, true, false, 0, 0, {5, 5}, {{"00000", "10000", "11000"}, {"00000", "10000", "11000"}}, -1},
    {TOP, 0, false, true, 1, 0, {5, 1}, {{"00000", "10000", "11000"}, {"00000", "10000", "10000"}}, -1},
    {BOTTOM, 0, false, true, 0, -1, {5, 3}, {{"00001", "00000", "00000"}, {"00100", "00000", "00000"}}, 2},
};

static void exclusion_keeps_what_it_should(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof sight_cases / sizeof *sight_cases; ++n) {
        const struct sight_case *c = &sight_cases[n];
        clattn_attention_desc desc;
        clattn_attention_desc_init(&desc);
        desc.batch = desc.q_heads = 2;
        desc.kv_heads = desc.head_dim = 1;
        desc.q_len = 3;
        desc.kv_len = 5;
        desc.alignment = c->alignment;
        desc.causal = c->causal;
        desc.window = c->window;
        desc.window_left = c->left;
        desc.window_right = c->right;
        desc.window_shift = c->shift;
        desc.kv_lengths = CLATTN_LENGTHS_I32;
        struct oracle_operands operands = {
            .desc = &desc, .q_len = 3, .kv_len = 5, .offset = c->offset, .kv_lengths = c->lengths};
        for (int64_t b = 0; b < 2; ++b)
            for (int64_t i = 0; i < 3; ++i)
                for (int64_t j = 0; j < 5; ++j)
                    if (oracle_visible(&operands, b, 1, i, j) != (c->kept[b][i][j] == '1'))
                        fail_msg("case %d, batch %d, query %d, key %d", (int)n, (int)b, (int)i, (int)j);
    }
}

/* One query and four keys under masks: a short boolean one, -inf, -FLT_MAX and what NaN and Inf do. */
static void rows_at_the_edges(void **state)
{
    const float query = 1.0F;
    const float value[] = {1.0F, 2.0F, 4.0F, 8.0F};
    const unsigned char keep[] = {2, 0, 1};
    const float bias[] = {-FLT_MAX, -INFINITY, -FLT_MAX, -INFINITY};
    float key[] = {0.0F, NAN, 0.0F, NAN};
    clattn_attention_desc desc;
    struct oracle_row row;

    (void)state;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = desc.q_len = desc.head_dim = 1;
    desc.kv_len = 4;
    desc.mask_kind = CLATTN_MASK_BOOL;
    desc.mask.dtype = CLATTN_BOOL;
    for (int d = 0; d < 4; ++d)
        desc.mask_shape[d] = d < 3 ? 1 : 3;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 1, .kv_len = 4, .query = &query, .key = key, .value = value, .mask = keep};
    assert_true(oracle_row_init(&row, &operands));
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_true(row.output[0] == 2.5 && row.weights[1] == 0.0 && row.weights[3] == 0.0);
    assert_true(isnan(row.raw[1]) && row.masked[1] == -HUGE_VAL);

    desc.mask_kind = CLATTN_MASK_ADDITIVE;
    desc.mask.dtype = CLATTN_F32;
    memset(desc.mask_shape, 0, sizeof desc.mask_shape);
    operands.mask = bias;
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_true(row.output[0] == 2.5 && row.largest_amplitude == 0.0);

    key[2] = NAN; /* seen: the whole row */
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_true(isnan(row.output[0]) && isnan(row.lse) && isnan(row.weights[0]) && row.weights[1] == 0.0);

    desc.mask_kind = CLATTN_MASK_NONE;
    for (int j = 0; j < 4; ++j)
        key[j] = j == 0 ? 0.0F : -INFINITY; /* a score of -inf has weight 0 */
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_true(row.output[0] == 1.0 && row.lse == 0.0);

    operands.kv_len = 0;
    oracle_row_compute(&operands, 0, 0, 0, &row);
    assert_true(row.output[0] == 0.0 && row.lse == -HUGE_VAL);
    oracle_row_free(&row);
}

/* A descriptor of one head and one dim, in which a query of 0 gives every key that is seen the same weight. */
static clattn_attention_desc tiny(int64_t batch, int64_t q_len, int64_t kv_len)
{
    clattn_attention_desc desc;

    clattn_attention_desc_init(&desc);
    desc.batch = batch;
    desc.q_heads = desc.kv_heads = desc.head_dim = 1;
    desc.q_len = q_len;
    desc.kv_len = kv_len;
    return desc;
}

/* The single number that row (b, h, i) gives; its lse too, unless NULL. */
static double output_of(const struct oracle_operands *operands, int64_t b, int64_t h, int64_t i, double *lse)
{
    struct oracle_row row;

    assert_true(oracle_row_init(&row, operands));
    oracle_row_compute(operands, b, h, i, &row);
    double output = row.output[0];
    if (lse != NULL)
        *lse = row.lse;
    oracle_row_free(&row);
    return output;
}

/*
 * Sequences of 2, 0 and 3 queries over 1, 2 and 4 keys, of which the last is cut to 3; the keys begin at row 2. Causal
 * at the bottom right, so that the last query of each sees all its keys.
 */
static void packed_sequences_by_hand(void **state)
{
    const int32_t q_cu[] = {1, 3, 3, 6};
    const int64_t kv_cu[] = {2, 3, 5, 9};
    const float zero[6] = {0.0F};
    const float values[9] = {NAN, NAN, 5.0F, 7.0F, 9.0F, 1.0F, 2.0F, 6.0F, 100.0F};
    clattn_attention_desc desc = tiny(3, 3, 3);

    (void)state;
    desc.q_cu_lengths = CLATTN_LENGTHS_I32;
    desc.kv_cu_lengths = CLATTN_LENGTHS_I64;
    desc.q_total = 8;
    desc.kv_total = 10;
    desc.causal = 1;
    desc.alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    struct oracle_operands operands = {.desc = &desc,
                                       .q_len = 3,
                                       .kv_len = 3,
                                       .query = zero,
                                       .key = values,
                                       .value = values,
                                       .q_total = 6,
                                       .kv_total = 9,
                                       .q_cu_lengths = q_cu,
                                       .kv_cu_lengths = kv_cu};
    assert_int_equal(oracle_sequence(&operands, 1).q_len, 0);
    assert_int_equal(oracle_sequence(&operands, 1).kv_len, 2);
    assert_int_equal(oracle_sequence(&operands, 2).kv_len, 3);
    assert_true(output_of(&operands, 0, 0, 0, NULL) == 0.0); /* stands before its only key */
    assert_true(output_of(&operands, 0, 0, 1, NULL) == 5.0);
    assert_true(output_of(&operands, 2, 0, 0, NULL) == 1.0);
    assert_near(output_of(&operands, 2, 0, 1, NULL), 1.5, 1e-15);
    assert_near(output_of(&operands, 2, 0, 2, NULL), 3.0, 1e-15);
    assert_int_equal(oracle_query_at(&operands, ORACLE_OUTPUT, 2, 0, 1), 4);
    assert_int_equal(oracle_lse_at(&operands, 2, 1, 1), 8 + 4);
    operands.kv_total = 7; /* what the total cuts off is nobody's */
    operands.q_total = 5;
    assert_int_equal(oracle_sequence(&operands, 2).q_len, 2);
    assert_int_equal(oracle_sequence(&operands, 2).kv_len, 2);
    assert_near(output_of(&operands, 2, 0, 1, NULL), 1.5, 1e-15);
    operands.kv_total = 4; /* before the last sequence begins */
    assert_int_equal(oracle_sequence(&operands, 2).kv_len, 0);
    assert_int_equal(oracle_sequence(&operands, 1).kv_len, 1);
}

/* Four rows written 6, 2, 4 and 0 times in turn; each query sees the one key that has its number. */
static void circular_caches_by_hand(void **state)
{
    const int64_t written[] = {6, 2, 4, 0};
    const float zero[4] = {0.0F};
    const float values[16] = {10, 11, 12, 13, 20, 21, NAN, NAN, 30, 31, 32, 33, NAN, NAN, NAN, NAN};
    const double expected[4][4] = {{12, 13, 10, 11}, {20, 21, 0, 0}, {30, 31, 32, 33}, {0, 0, 0, 0}};
    clattn_attention_desc desc = tiny(4, 4, 4);

    (void)state;
    desc.kv_storage = CLATTN_STORAGE_CIRCULAR;
    desc.kv_lengths = CLATTN_LENGTHS_I64;
    desc.query.strides[2] = desc.query.strides[3] = 1; /* one query for all */
    desc.window = 1;
    desc.alignment = CLATTN_ALIGN_TOP_LEFT;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 4, .kv_len = 4, .query = zero, .key = values, .value = values, .kv_lengths = written};
    for (int64_t b = 0; b < 4; ++b)
        for (int64_t i = 0; i < 4; ++i)
            assert_true(output_of(&operands, b, 0, i, NULL) == expected[b][i]);
    desc.alignment = CLATTN_ALIGN_BOTTOM_RIGHT; /* the last query at the newest key */
    assert_true(output_of(&operands, 0, 0, 3, NULL) == 11.0);
    assert_true(output_of(&operands, 1, 0, 3, NULL) == 21.0);
    assert_true(output_of(&operands, 1, 0, 2, NULL) == 20.0);
    assert_true(output_of(&operands, 1, 0, 1, NULL) == 0.0);
}

/* 5 keys in blocks of 2, two key/value heads, a pool [4, 2, 2, 1]. Blocks 4 and -1 are not in it. */
static void paged_caches_by_hand(void **state)
{
    const int32_t table[] = {3, 4, 1, 99, 99, 0, 3, -1};
    const float queries[4] = {0.0F};
    const float keys[16] = {0.0F};
    float pool[16];
    clattn_attention_desc desc = tiny(2, 1, 5);

    (void)state;
    for (int n = 0; n < 16; ++n)
        pool[n] = (float)(1 << n);
    desc.q_heads = desc.kv_heads = 2;
    desc.kv_storage = CLATTN_STORAGE_PAGED;
    desc.page_size = 2;
    desc.num_blocks = 4;
    desc.block_table_stride = 5;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 1, .kv_len = 5, .query = queries, .key = keys, .value = pool, .block_table = table};
    assert_near(output_of(&operands, 0, 0, 0, NULL), (double)((1 << 12) + (1 << 13) + (1 << 4)) / 3.0, 1e-9);
    assert_near(output_of(&operands, 0, 1, 0, NULL), (double)((1 << 14) + (1 << 15) + (1 << 6)) / 3.0, 1e-9);
    assert_near(output_of(&operands, 1, 0, 0, NULL), (double)((1 << 0) + (1 << 1) + (1 << 12) + (1 << 13)) / 4.0, 1e-9);
    assert_true(oracle_visible(&operands, 0, 0, 0, 1) && !oracle_visible(&operands, 0, 0, 0, 2) &&
                !oracle_visible(&operands, 0, 0, 0, 3) && oracle_visible(&operands, 0, 0, 0, 4) &&
                !oracle_visible(&operands, 1, 0, 0, 4));
    operands.kv_len = 3; /* of this run; the table keeps its stride */
    assert_near(output_of(&operands, 1, 0, 0, NULL), (double)((1 << 0) + (1 << 1) + (1 << 12)) / 3.0, 1e-9);
    desc.block_table_stride = 0; /* now 3, so that batch 1 has 99, 99 and 0 */
    operands.kv_len = 5;
    assert_near(output_of(&operands, 1, 0, 0, NULL), 1.0, 1e-15);
}

/* A logit without a value: half of the weight beside one key with the same score, all of it where no key is seen. */
static void sinks_by_hand(void **state)
{
    const float value = 6.0F;
    const float sinks[] = {0.0F, -INFINITY, 40.0F};
    const float key = 1.0F;
    float query[3] = {0.0F};
    clattn_attention_desc desc = tiny(1, 1, 1);
    struct oracle_row row;
    double lse;

    (void)state;
    desc.q_heads = 3;
    desc.sinks = 1;
    struct oracle_operands operands = {
        .desc = &desc, .q_len = 1, .kv_len = 1, .query = query, .key = &key, .value = &value, .sinks = sinks};
    assert_near(output_of(&operands, 0, 0, 0, &lse), 3.0, 1e-15);
    assert_near(lse, log(2.0), 1e-15);
    assert_true(output_of(&operands, 0, 1, 0, &lse) == 6.0);
    assert_true(lse == 0.0);
    assert_near(output_of(&operands, 0, 2, 0, &lse), 6.0 * exp(-40.0), 1e-30);
    assert_true(lse == 40.0);
    assert_true(oracle_row_init(&row, &operands));
    oracle_row_compute(&operands, 0, 2, 0, &row);
    assert_true(row.largest_amplitude == 40.0);
    oracle_row_compute(&operands, 0, 1, 0, &row);
    assert_true(row.largest_amplitude == 0.0 && row.weights[0] == 1.0);
    query[2] = -50.0F; /* of little weight, but all that the output is made of */
    oracle_row_compute(&operands, 0, 2, 0, &row);
    assert_near(row.output[0] * exp(90.0), 6.0, 1e-12);
    assert_true(row.largest_amplitude == 50.0);
    oracle_row_free(&row);
    operands.kv_len = 0;
    assert_true(output_of(&operands, 0, 2, 0, &lse) == 0.0 && lse == 40.0);
    assert_true(output_of(&operands, 0, 1, 0, &lse) == 0.0 && lse == -HUGE_VAL);
}

/* Two heads, the second query of two, 5 keys, keys to the left of position 2 at a distance, those to the right too. */
static void position_biases_by_hand(void **state)
{
    const float slopes[] = {9.0F, 0.5F};
    const float relative[] = {9, 9, 9, 9, 9, 30, 20, 10, 40, 50}; /* of head 1: -2 to 2 */
    const double alibi_alone[] = {-1.0, -0.5, 0.0, -0.5, -1.0};
    const double relative_alone[] = {30, 20, 10, 40, 50};
    const double moved[] = {20, 10, 40, 50, 50};
    const float mask[] = {1, 2, -FLT_MAX, -INFINITY, 5};
    const float keys[5] = {1, 1, 1, 1, 1};
    float query[4] = {0, 0, 0, -3};
    clattn_attention_desc desc = tiny(1, 2, 5);
    struct oracle_row row;

    (void)state;
    desc.q_heads = 2;
    desc.alignment = CLATTN_ALIGN_OFFSET;
    struct oracle_operands operands = {.desc = &desc,
                                       .q_len = 2,
                                       .kv_len = 5,
                                       .offset = 1,
                                       .query = query,
                                       .key = keys,
                                       .value = keys,
                                       .mask = mask,
                                       .alibi_slopes = slopes,
                                       .relative_bias = relative};
    assert_true(oracle_row_init(&row, &operands));
    desc.alibi = 1;
    oracle_row_compute(&operands, 0, 1, 1, &row);
    for (int j = 0; j < 5; ++j)
        assert_true(row.masked[j] == -3.0 + alibi_alone[j] && row.amplitude[j] == 3.0 - alibi_alone[j]);
    desc.batch = desc.alibi_batch = 2; /* of the same queries and keys */
    desc.query.strides[1] = desc.q_len;
    desc.query.strides[2] = desc.query.strides[3] = desc.key.strides[2] = desc.key.strides[3] = 1;
    desc.value.strides[2] = desc.value.strides[3] = 1;
    operands.alibi_slopes = (const float[]){9.0F, 7.0F, 8.0F, 0.5F};
    for (int64_t b = 0; b < 2; ++b) {
        oracle_row_compute(&operands, b, 1, 1, &row);
        for (int j = 0; j < 5; ++j)
            assert_true(row.raw[j] == -3.0 && row.masked[j] == -3.0 + (b == 0 ? 14.0 : 1.0) * alibi_alone[j]);
    }
    operands.alibi_slopes = slopes;
    desc.batch = 1;
    desc.alibi_batch = desc.alibi = 0;
    desc.relative_extent = 2;
    oracle_row_compute(&operands, 0, 1, 1, &row);
    for (int j = 0; j < 5; ++j)
        assert_true(row.masked[j] == -3.0 + relative_alone[j] && row.amplitude[j] == 3.0 + relative_alone[j]);
    operands.offset = 0; /* one position to the left, where the last two keys are as far as the table knows */
    oracle_row_compute(&operands, 0, 1, 1, &row);
    for (int j = 0; j < 5; ++j)
        assert_true(row.masked[j] == -3.0 + moved[j]);
    operands.offset = 1;
    desc.alibi = 1;
    desc.mask_kind = CLATTN_MASK_ADDITIVE;
    for (int d = 0; d < 4; ++d)
        desc.mask_shape[d] = d < 3 ? 1 : 5;
    oracle_row_compute(&operands, 0, 1, 1, &row);
    assert_true(row.masked[0] == -3.0 + 1.0 - 1.0 + 30.0 && row.amplitude[0] == 3.0 + 1.0 + 1.0 + 30.0);
    assert_true(row.masked[3] == -HUGE_VAL && !row.kept[3]);
    assert_true(row.amplitude[2] == 3.0 + 10.0); /* the most negative number counts as nothing */
    assert_true(row.raw[1] == -3.0 && row.softcap[1] == -3.0);
    oracle_row_free(&row);
}

static void shares_are_judged(void **state)
{
    (void)state;
    assert_true(compare_share(CLATTN_F32, 1.0, 1.0, 0.0) == 0.0);
    assert_true(compare_share(CLATTN_F32, 1.5, 1.0, 1.0) == 0.5);
    assert_true(compare_share(CLATTN_F32, 1.0, 0.0, 0.0) == HUGE_VAL);
    assert_true(compare_share(CLATTN_F32, (double)NAN, 1.0, 1.0) == HUGE_VAL);
    assert_true(compare_share(CLATTN_F32, 1.0, (double)NAN, 1.0) == HUGE_VAL);
    assert_true(compare_share(CLATTN_F32, (double)NAN, (double)NAN, 1.0) == 0.0);
    assert_true(compare_share(CLATTN_F32, HUGE_VAL, -HUGE_VAL, 1.0) == HUGE_VAL);
    assert_true(compare_share(CLATTN_F16, HUGE_VAL, 65519.0, 17.0) < 1.01);
    assert_true(compare_share(CLATTN_F16, HUGE_VAL, 70000.0, 0.0) == 0.0);
    assert_true(compare_share(CLATTN_F16, 65504.0, 70000.0, 0.0) == HUGE_VAL);
}

/* A batch of 4 heads of 32 x 32, which plain float gets right, and what is wrong with it after each kind of damage. */
enum { HEADS = 4, LENGTH = 32, DIM = 32, ELEMENTS = HEADS * LENGTH * DIM };

struct arrays {
    float query[ELEMENTS];
    float key[ELEMENTS];
    float value[ELEMENTS];
    float output[ELEMENTS];
    float lse[HEADS * LENGTH];
    float scores[HEADS * LENGTH * LENGTH];
};

static struct compare_result compare_by(const clattn_attention_desc *desc, const struct arrays *arrays, bool any_inputs,
                                        bool unit_variance)
{
    struct oracle_operands operands = {.desc = desc,
                                       .q_len = LENGTH,
                                       .kv_len = LENGTH,
                                       .query = arrays->query,
                                       .key = arrays->key,
                                       .value = arrays->value};

    return compare_attention(&operands, arrays->output, arrays->lse, arrays->scores, 1, false, any_inputs,
                             unit_variance);
}

static struct compare_result compare_damaged(const clattn_attention_desc *desc, const struct arrays *arrays,
                                             bool unit_variance)
{
    return compare_by(desc, arrays, false, unit_variance);
}

/* The bound that holds for any inputs is 2^-16 (1 + A), 23 to 32 times as much as that of random ones for 32 keys. */
static void check_any_inputs(const clattn_attention_desc *desc, const struct arrays *arrays)
{
    const double random = compare_by(desc, arrays, false, false).worst_share;
    const double any = compare_by(desc, arrays, true, false).worst_share;
    assert_true(random > 23.0 * any && random < 32.0 * any);
}

static float noise(uint32_t *state)
{
    float sum = -6.0F;

    for (int n = 0; n < 12; ++n) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) * 0x1p-24F;
    }
    return sum;
}

static void damage_is_found(void **state)
{
    struct arrays *arrays = calloc(1, sizeof *arrays);
    clattn_attention_desc desc;
    struct oracle_row row;
    uint32_t seed = 1;

    (void)state;
    assert_non_null(arrays);
    clattn_attention_desc_init(&desc);
    desc.batch = 1;
    desc.q_heads = desc.kv_heads = HEADS;
    desc.q_len = desc.kv_len = LENGTH;
    desc.head_dim = DIM;
    desc.lse = 1;
    desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    for (int n = 0; n < ELEMENTS; ++n) {
        arrays->query[n] = noise(&seed);
        arrays->key[n] = noise(&seed);
        arrays->value[n] = noise(&seed);
    }
    struct oracle_operands operands = {.desc = &desc,
                                       .q_len = LENGTH,
                                       .kv_len = LENGTH,
                                       .query = arrays->query,
                                       .key = arrays->key,
                                       .value = arrays->value};
    assert_true(oracle_row_init(&row, &operands));
    for (int r = 0; r < HEADS * LENGTH; ++r) {
        oracle_row_compute(&operands, 0, r / LENGTH, r % LENGTH, &row);
        arrays->lse[r] = (float)row.lse;
        for (int d = 0; d < DIM; ++d)
            arrays->output[r * DIM + d] = (float)row.output[d];
        for (int j = 0; j < LENGTH; ++j)
            arrays->scores[r * LENGTH + j] = (float)row.weights[j];
    }
    oracle_row_free(&row);

    struct compare_result result = compare_damaged(&desc, arrays, true);
    assert_true(result.passed && result.compared == HEADS * LENGTH && result.worst_share < 0.5);
    assert_true(result.plain_share < 1.0 && result.bias_share < 1.0);

    float kept = arrays->output[777];
    arrays->output[777] += 1e-5F;
    result = compare_damaged(&desc, arrays, true);
    assert_true(!result.passed && strncmp(result.message, "output[0,0,24,9] is ", 20) == 0);
    arrays->output[777] = NAN;
    assert_false(compare_damaged(&desc, arrays, true).passed);
    arrays->output[777] = kept;

    kept = arrays->lse[5];
    arrays->lse[5] += 1e-4F;
    result = compare_damaged(&desc, arrays, true);
    assert_true(!result.passed && strncmp(result.message, "lse[0,0,5,0] is ", 16) == 0);
    check_any_inputs(&desc, arrays);
    arrays->lse[5] = kept;

    kept = arrays->scores[6];
    arrays->scores[6] *= 1.001F;
    result = compare_damaged(&desc, arrays, true);
    assert_true(!result.passed && strncmp(result.message, "scores[0,0,0,6] is ", 19) == 0);
    check_any_inputs(&desc, arrays);
    arrays->scores[6] = kept;

    for (int n = 0; n < ELEMENTS; ++n) /* within the bound of every element, but all of them away from 0 */
        arrays->output[n] *= 1.0F + 0x1.8p-19F;
    result = compare_damaged(&desc, arrays, true);
    assert_true(!result.passed && result.worst_share < 1.0 && result.plain_share > 1.0);
    assert_non_null(strstr(result.message, "plain float"));
    result = compare_damaged(&desc, arrays, false);
    assert_true(!result.passed && result.worst_share < 1.0 && result.bias_share > 1.0);
    assert_non_null(strstr(result.message, "mean error"));
    free(arrays);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_survive),          cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(two_states_by_hand),      cmocka_unit_test(exclusion_keeps_what_it_should),
        cmocka_unit_test(rows_at_the_edges),       cmocka_unit_test(packed_sequences_by_hand),
        cmocka_unit_test(circular_caches_by_hand), cmocka_unit_test(paged_caches_by_hand),
        cmocka_unit_test(sinks_by_hand),           cmocka_unit_test(position_biases_by_hand),
        cmocka_unit_test(shares_are_judged),       cmocka_unit_test(damage_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
