/* SPDX-License-Identifier: Apache-2.0 */
/* Philox against the known answers of its authors, the rule of clattn_dropout_mask, and what it refuses. */
#include "oracle.h"
#include "plain.h"
#include "problem/attention.h"
#include "problem/dropout.h"
#include "util/philox.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Random123's kat_vectors: counters and keys of zeros, of ones, and of the digits of pi. */
static void philox_gives_the_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], words[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t n = 0; n < sizeof known / sizeof *known; n++) {
        uint32_t words[4];
        cla_philox(known[n].counter, known[n].key, words);
        assert_memory_equal(words, known[n].words, sizeof words);
    }
}

static clattn_attention_desc parsed(const char *problem)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse(problem, &desc, NULL), CLATTN_SUCCESS);
    return desc;
}

static uint32_t threshold_of(float dropout)
{
    clattn_attention_desc desc = parsed("b1h1q1k1d1:f32");
    struct cla_problem problem;
    desc.dropout = dropout;
    assert_int_equal(cla_problem_from_attention(&desc, &problem, NULL), CLATTN_SUCCESS);
    return cla_dropout_threshold(&problem);
}

static void the_threshold_is_the_nearest_integer(void **state)
{
    (void)state;
    assert_true(threshold_of(0.5f) == 0x80000000u);
    assert_true(threshold_of(0.1f) == 429496736u); /* of the float, which is above 0.1 */
    assert_true(threshold_of(0x1p-33f) == 1);
    assert_true(threshold_of(0x1.fffffep-34f) == 0);
    assert_true(threshold_of(1.0f - 0x1p-24f) == 0xffffff00u);
}

/* Masks of the library and of the oracle, which share no code, where numbers cross multiples of 2^32 and of 4. */
static void masks_are_the_oracle_s(void **state)
{
    const clattn_attention_desc desc = parsed("b2h3q5k37d8:f32:dropout=0.3");
    const int64_t batches[] = {0, 1, ((int64_t)1 << 32) / (3 * 5 * 37), (int64_t)1 << 40, INT64_MAX};
    const uint64_t seeds[] = {0, 1, 0x123456789abcdef0u, UINT64_MAX};
    (void)state;
    for (size_t n = 0; n < 5 * 4; n++) {
        struct oracle_operands operands = {.desc = &desc,
                                           .dropout_batch = batches[n / 4],
                                           .dropout_seed = seeds[n % 4],
                                           .dropout_offset = seeds[(n + 1) % 4]};
        for (int64_t h = 0; h < 3; h++)
            for (int64_t i = 0; i < 5; i++) {
                const int64_t first = (5 * h + i) % 7;
                unsigned char kept[38];
                memset(kept, 7, sizeof kept);
                assert_int_equal(clattn_dropout_mask(&desc, operands.dropout_seed, operands.dropout_offset,
                                                     operands.dropout_batch, h, i, first, 37 - first, kept, NULL),
                                 CLATTN_SUCCESS);
                for (int64_t j = first; j < 37; j++)
                    assert_int_equal(kept[j - first], oracle_dropout_keeps(&operands, 0, h, i, j));
                assert_int_equal(kept[37 - first], 7);
            }
    }
}

/* Of 2^18 weights, the share that is dropped is within five standard deviations; another offset drops others. */
static void the_share_is_as_asked(void **state)
{
    static const float shares[] = {0.0f, 0.01f, 0.1f, 0.5f, 0.9f};
    enum { KEYS = 1 << 18 };
    static unsigned char kept[2][KEYS];
    clattn_attention_desc desc = parsed("b1h1q1k262144d1:f32");
    (void)state;
    for (size_t n = 0; n < sizeof shares / sizeof *shares; n++) {
        const double share = (double)shares[n];
        int dropped = 0, same = 0;
        desc.dropout = shares[n];
        for (int m = 0; m < 2; m++)
            assert_int_equal(clattn_dropout_mask(&desc, 42, (uint64_t)m, 0, 0, 0, 0, KEYS, kept[m], NULL),
                             CLATTN_SUCCESS);
        for (int j = 0; j < KEYS; j++) {
            dropped += !kept[0][j];
            same += kept[0][j] == kept[1][j];
        }
        const double both = share * share + (1.0 - share) * (1.0 - share);
        assert_true(fabs(dropped - KEYS * share) <= 5.0 * sqrt(KEYS * share * (1.0 - share)));
        assert_true(fabs(same - KEYS * both) <= 5.0 * sqrt(KEYS * both * (1.0 - both)));
    }
}

static void what_is_not_in_the_problem_is_refused(void **state)
{
    static const struct {
        int64_t batch, head, query, first_key, count;
        const char *message;
    } bad[] = {
        {-1, 0, 0, 0, 1, "batch is -1: expected 0 or more"},     {0, 3, 0, 0, 1, "head is 3: expected at most 2"},
        {0, -1, 0, 0, 1, "head is -1: expected 0 or more"},      {0, 0, 5, 0, 1, "query is 5: expected at most 4"},
        {0, 0, -5, 0, 1, "query is -5: expected 0 or more"},     {0, 0, 0, 8, 0, "first_key is 8: expected at most 7"},
        {0, 0, 0, -1, 0, "first_key is -1: expected 0 or more"}, {0, 0, 0, 3, 5, "count is 5: expected at most 4"},
        {0, 0, 0, 3, -1, "count is -1: expected 0 or more"},
    };
    clattn_attention_desc desc = parsed("b2h3q5k7d8:f32:dropout=0.3");
    unsigned char kept[7] = {9};
    clattn_error error;
    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        assert_int_equal(clattn_dropout_mask(&desc, 0, 0, bad[n].batch, bad[n].head, bad[n].query, bad[n].first_key,
                                             bad[n].count, kept, &error),
                         CLATTN_ERROR_INVALID_VALUE);
        assert_string_equal(error.message, bad[n].message);
    }
    assert_int_equal(clattn_dropout_mask(&desc, 0, 0, 0, 0, 0, 0, 7, NULL, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "kept is NULL: expected 7 bytes");
    assert_int_equal(clattn_dropout_mask(&desc, 0, 0, 0, 0, 0, 7, 0, NULL, &error), CLATTN_SUCCESS);
    assert_int_equal(clattn_dropout_mask(NULL, 0, 0, 0, 0, 0, 0, 7, kept, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    desc.dropout = 1.0f;
    assert_int_equal(clattn_dropout_mask(&desc, 0, 0, 0, 0, 0, 0, 7, kept, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, "dropout is 1: expected 0 or more, less than 1");
    assert_int_equal(kept[0], 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(the_threshold_is_the_nearest_integer),
        cmocka_unit_test(masks_are_the_oracle_s),
        cmocka_unit_test(the_share_is_as_asked),
        cmocka_unit_test(what_is_not_in_the_problem_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
