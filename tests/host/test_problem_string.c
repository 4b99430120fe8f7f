/* SPDX-License-Identifier: Apache-2.0 */
/* Problem strings: what each part sets, round trips, every refusal, and the strings of the other operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "problem/append.h"
#include "problem/attention_backward.h"
#include "problem/linear.h"
#include "problem/position.h"
#include "problem/primitive.h"

static clattn_attention_desc parsed(const char *text)
{
    clattn_attention_desc desc;
    clattn_error error = {0};
    memset(&desc, 0x55, sizeof desc); /* parse resets all but the size */
    desc.struct_size = sizeof desc;
    if (clattn_attention_desc_parse(text, &desc, &error) != CLATTN_SUCCESS)
        fail_msg("%s refused: %s", text, error.message);
    return desc;
}

static void assert_formats(const clattn_attention_desc *desc, const char *expected)
{
    char text[200];
    assert_int_equal(clattn_attention_desc_format(desc, text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
}

static void assert_refused(const char *text, const char *message)
{
    clattn_attention_desc desc, before;
    clattn_error error = {0};
    memset(&desc, 0x55, sizeof desc);
    desc.struct_size = sizeof desc;
    before = desc;
    assert_int_equal(clattn_attention_desc_parse(text, &desc, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_int_equal(error.status, CLATTN_ERROR_INVALID_VALUE);
    assert_string_equal(error.message, message);
    assert_memory_equal(&desc, &before, sizeof desc);
    assert_int_equal(clattn_attention_desc_parse(text, &desc, NULL), CLATTN_ERROR_INVALID_VALUE);
}

static void sizes_and_types_are_read(void **state)
{
    (void)state;
    clattn_attention_desc d = parsed("b1h32g8q512k2048d128v64:f16"), expected;
    clattn_attention_desc_init(&expected);
    expected.batch = 1;
    expected.q_heads = 32;
    expected.kv_heads = 8;
    expected.q_len = 512;
    expected.kv_len = 2048;
    expected.head_dim = 128;
    expected.value_dim = 64;
    expected.query.dtype = expected.key.dtype = expected.value.dtype = expected.output.dtype = CLATTN_F16;
    assert_memory_equal(&d, &expected, sizeof d);

    d = parsed("b0h3q0k0d1:f32-f16-bf16-f32");
    assert_true(d.batch == 0 && d.q_heads == 3 && d.kv_heads == 3 && d.q_len == 0 && d.kv_len == 0);
    assert_int_equal(d.value_dim, 0);
    assert_int_equal(d.query.dtype, CLATTN_F32);
    assert_int_equal(d.key.dtype, CLATTN_F16);
    assert_int_equal(d.value.dtype, CLATTN_BF16);
    assert_int_equal(d.output.dtype, CLATTN_F32);
}

static void parts_are_read_in_any_order(void **state)
{
    (void)state;
    clattn_attention_desc d = parsed("b1h1q2k3d4:bf16:scores=weights:lse:window=2,-1@-7:scale=-2.5:lengths:mask=add:"
                                     "softcap=1.5e1:causal@-7");
    assert_true(d.causal == 1 && d.window == 1 && d.window_left == 2 && d.window_right == -1);
    assert_true(d.alignment == CLATTN_ALIGN_OFFSET && d.offset == -7);
    assert_true(d.softcap == 15.0f && d.scale == -2.5f);
    assert_true(d.mask_kind == CLATTN_MASK_ADDITIVE && d.mask.dtype == CLATTN_F32 && d.mask_shape[3] == 0);
    assert_true(d.kv_lengths == CLATTN_LENGTHS_I32 && d.lse == 1 && d.scores_stage == CLATTN_SCORES_WEIGHTS);

    d = parsed("b1h1q2k3d4:f32:mask=bool:causal:window=0,0@bottom-right");
    assert_true(d.mask_kind == CLATTN_MASK_BOOL && d.mask.dtype == CLATTN_BOOL);
    assert_true(d.causal == 1 && d.window == 1 && d.alignment == CLATTN_ALIGN_BOTTOM_RIGHT && d.offset == 0);
    d = parsed("b2h3q4k5d6:f32:mask_pad:mask=add@2x1x4x3");
    assert_int_equal(d.mask_pad, 1);
    assert_true(d.mask_kind == CLATTN_MASK_ADDITIVE);
    assert_true(d.mask_shape[0] == 2 && d.mask_shape[1] == 1 && d.mask_shape[2] == 4 && d.mask_shape[3] == 3);
    assert_int_equal(parsed("b1h1q1k1d1:f32:causal@top-left").alignment, CLATTN_ALIGN_TOP_LEFT);
    assert_int_equal(parsed("b1h1q1k1d1:f32:causal@bottom-right").alignment, CLATTN_ALIGN_BOTTOM_RIGHT);
    assert_int_equal(parsed("b1h1q1k1d1:f32:scores=raw").scores_stage, CLATTN_SCORES_RAW);
    assert_int_equal(parsed("b1h1q1k1d1:f32:scores=softcap").scores_stage, CLATTN_SCORES_SOFTCAP);
    assert_int_equal(parsed("b1h1q1k1d1:f32:scores=masked").scores_stage, CLATTN_SCORES_MASKED);
}

static void storage_and_positions_are_read(void **state)
{
    (void)state;
    clattn_attention_desc d = parsed("b2h4q3k10d8:f32:relative=5@-2:sinks:ragged=q:paged=4:alibi@-2:causal@-2");
    assert_true(d.alignment == CLATTN_ALIGN_OFFSET && d.offset == -2);
    assert_true(d.relative_extent == 5 && d.alibi == 1 && d.sinks == 1 && d.causal == 1);
    assert_true(d.kv_storage == CLATTN_STORAGE_PAGED && d.page_size == 4 && d.num_blocks == 6);
    assert_int_equal(d.block_table_stride, 0);
    assert_true(d.q_cu_lengths == CLATTN_LENGTHS_I32 && d.q_total == 6);
    assert_true(d.kv_cu_lengths == CLATTN_LENGTHS_NONE && d.kv_total == 0 && d.kv_lengths == CLATTN_LENGTHS_NONE);

    d = parsed("b2h4q3k10d8:f32:paged=4x1");
    assert_true(d.page_size == 4 && d.num_blocks == 1);
    assert_int_equal(parsed("b0h4q3k10d8:f32:paged=4").num_blocks, 1);
    d = parsed("b2h4q3k10d8:f32:circular:lengths");
    assert_true(d.kv_storage == CLATTN_STORAGE_CIRCULAR && d.kv_lengths == CLATTN_LENGTHS_I32);
    d = parsed("b2h4q3k10d8:f32:ragged=kv");
    assert_true(d.q_cu_lengths == CLATTN_LENGTHS_NONE && d.kv_cu_lengths == CLATTN_LENGTHS_I32 && d.kv_total == 20);
    d = parsed("b2h4q3k10d8:f32:ragged=kv@7");
    assert_true(d.q_total == 0 && d.kv_total == 7);
    d = parsed("b2h4q3k10d8:f32:ragged=qkv@5,1");
    assert_true(d.q_cu_lengths == CLATTN_LENGTHS_I32 && d.q_total == 5 && d.kv_total == 1);
    d = parsed("b2h4q3k10d8:f32:ragged=qkv");
    assert_true(d.q_total == 6 && d.kv_total == 20);
}

/* Strings as format writes them come back unchanged. */
static void canonical_strings_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "b1h8q512k512d64:f32",
        "b1h32g8q512k2048d128v64:f16:causal",
        "b0h0q0k0d1:bf16",
        "b2h12g1q1k203d80:f32-f16-f16-f32",
        "b1h1q1k1d1:f32-f32-f32-bf16",
        "b1h1q9k9d8:f32:causal@top-left",
        "b1h1q9k9d8:f32:causal@0",
        "b1h1q9k9d8:f32:causal@-5",
        "b1h1q9k9d8:f32:causal@549755813888",
        "b1h1q9k9d8:f32:window=3,4@top-left",
        "b1h1q9k9d8:f32:window=-1,4@bottom-right",
        "b1h1q9k9d8:f32:window=3,-1@17",
        "b1h1q9k9d8:f32:window=3,0@bottom-right",
        "b1h1q9k9d8:f32:softcap=30",
        "b1h1q9k9d8:f32:softcap=0.1:scale=-1e-40",
        "b1h1q9k9d4:f32:scale=0.33333334",
        "b1h1q9k9d4:f32:scale=0",
        "b1h1q9k9d8:f32:causal:shift=-1",
        "b1h1q9k9d8:f32:causal@-3:shift=-20",
        "b1h1q9k9d8:f32:window=2,0@top-left:shift=-1",
        "b1h1q9k9d8:f32:window=0,3@top-left:shift=2",
        "b1h1q9k9d8:f32:window=0,-1@5:shift=3",
        "b2h1q9k9d8:f32:alibi=batch@top-left",
        "b1h1q9k9d8:f32:mask=bool",
        "b1h1q9k9d8:f32:mask=add",
        "b2h3q4k5d6:f32:mask=bool@1x3x1x1",
        "b2h3q4k5d6:f32:mask=add@2x1x4x3:mask_pad:lse",
        "b2h3q4k5d6:f32:mask=add@2x1x4x3:mask_pad:lengths",
        "b2h3q4k5d6:f32:mask=add@2x1x4x3:lengths",
        "b2h3q4k5d6:f32:mask=bool@2x1x4x3:ragged=kv",
        "b2h3q4k0d6:f32:mask=bool@1x1x4x0",
        "b1h1q9k9d8:f32:lengths:lse",
        "b1h1q9k9d8:f32:scores=raw",
        "b1h1q9k9d8:f32:scores=softcap",
        "b1h1q9k9d8:f32:scores=masked",
        "b1h1q9k9d8:f32:scores=weights",
        "b3h4g2q5k6d7v9:f16:window=1,2@-3:softcap=2.5:scale=1:mask=add:lengths:lse:scores=weights",
        "b2h1q9k9d8:f32:alibi@top-left",
        "b2h1q9k9d8:f32:relative=1@bottom-right",
        "b2h1q9k9d8:f32:relative=536870912@-4",
        "b2h1q9k9d8:f32:sinks",
        "b2h1q9k9d8:f32:dropout=0.1",
        "b2h1q9k9d8:f32:sinks:dropout=1e-10:lse",
        "b2h1q9k9d8:f32:dropout=0.99999994:scores=weights",
        "b2h1q9k9d8:f32:lengths:circular",
        "b2h1q9k9d8:f32:paged=4",
        "b2h1q9k9d8:f32:paged=4x7",
        "b0h1q9k9d8:f32:paged=4",
        "b2h1q9k0d8:f32:paged=1073741824x2",
        "b2h1q9k9d8:f32:ragged=q",
        "b2h1q9k9d8:f32:ragged=q@1",
        "b2h1q9k9d8:f32:ragged=kv@17",
        "b2h1q9k7d8:f32:ragged=qkv",
        "b2h1q9k7d8:f32:ragged=qkv@18,13",
        "b2h1q9k7d8:f32:ragged=qkv@19,14",
        "b3h4g2q5k6d7:f16:causal@2:alibi@2:relative=8@2:softcap=2.5:mask=add:lengths:paged=2x10:ragged=q@6:sinks:lse",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        clattn_attention_desc desc = parsed(texts[i]);
        assert_formats(&desc, texts[i]);
    }
}

/* Other words for the same problem come back in the canonical ones. */
static void strings_are_made_canonical(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"b01h8g8q1k1d4v4:f32-f32-f32-f32", "b1h8q1k1d4:f32"},
        {"b1h1q1k1d4:f32:scale=0.5:softcap=0", "b1h1q1k1d4:f32"},
        {"b1h1q1k1d4:f32:dropout=0", "b1h1q1k1d4:f32"},
        {"b1h1q1k1d4:f32:lse:dropout=0.50:sinks", "b1h1q1k1d4:f32:sinks:dropout=0.5:lse"},
        {"b1h1q1k1d4:f32:causal@bottom-right", "b1h1q1k1d4:f32:causal"},
        {"b1h1q1k1d4:f32:window=-1,0@bottom-right", "b1h1q1k1d4:f32:causal"},
        {"b1h1q1k1d4:f32:window=-1,-1@bottom-right", "b1h1q1k1d4:f32"},
        {"b1h1q1k1d4:f32:causal@3:window=7,7@3", "b1h1q1k1d4:f32:window=7,0@3"},
        {"b1h1q1k1d4:f32:causal:shift=3", "b1h1q1k1d4:f32:window=-1,3@bottom-right"},
        {"b1h1q1k1d4:f32:window=5,2@0:shift=-4", "b1h1q1k1d4:f32:window=7,0@0:shift=-2"},
        {"b1h1q1k1d4:f32:window=5,2@0:shift=1", "b1h1q1k1d4:f32:window=4,3@0"},
        {"b1h1q1k1d4:f32:window=-1,-1@0:shift=7", "b1h1q1k1d4:f32"},
        {"b1h1q1k1d4:f32:shift=7", "b1h1q1k1d4:f32"},
        {"b1h1q1k1d4:f32:scale=-0", "b1h1q1k1d4:f32:scale=0"},
        {"b1h1q1k1d4:f32:alibi=batch@0", "b1h1q1k1d4:f32:alibi@0"},
        {"b2h3q4k5d6:f32:mask=add@2x3x4x5", "b2h3q4k5d6:f32:mask=add"},
        {"b2h3q4k5d6:f32:mask=add:mask_pad", "b2h3q4k5d6:f32:mask=add"},
        {"b2h3q4k5d6:f32:mask=add@2x3x4x1:mask_pad", "b2h3q4k5d6:f32:mask=add@2x3x4x1"},
        {"b2h3q4k5d6:f32:mask_pad", "b2h3q4k5d6:f32"},
        {"b1h1q1k1d4:f32:lse:mask=add:causal", "b1h1q1k1d4:f32:causal:mask=add:lse"},
        {"b1h1q1k1d4:f32:softcap=+0012.50e0", "b1h1q1k1d4:f32:softcap=12.5"},
        {"b1h1q1k1d4:f32:alibi@bottom-right:causal", "b1h1q1k1d4:f32:causal:alibi@bottom-right"},
        {"b1h1q1k1d4:f32:circular:lengths", "b1h1q1k1d4:f32:lengths:circular"},
        {"b3h1q1k5d4:f32:paged=2x9", "b3h1q1k5d4:f32:paged=2"},
        {"b3h1q1k5d4:f32:ragged=qkv@3,15", "b3h1q1k5d4:f32:ragged=qkv"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        clattn_attention_desc desc = parsed(texts[i][0]);
        assert_formats(&desc, texts[i][1]);
    }
}

static void format_cuts_as_snprintf_does(void **state)
{
    (void)state;
    clattn_attention_desc desc = parsed("b1h8q512k512d64:f32:causal:lse");
    char text[12];
    memset(text, 'x', sizeof text);
    assert_int_equal(clattn_attention_desc_format(&desc, NULL, 0), 30);
    assert_int_equal(clattn_attention_desc_format(&desc, text, 0), 30);
    assert_int_equal(text[0], 'x');
    assert_int_equal(clattn_attention_desc_format(&desc, text, 8), 30);
    assert_string_equal(text, "b1h8q51");
    assert_int_equal(text[8], 'x');
    assert_int_equal(clattn_attention_desc_format(&desc, text, 1), 30);
    assert_string_equal(text, "");

    desc.head_dim = 0; /* what plan_create would refuse */
    text[0] = 'x';
    assert_int_equal(clattn_attention_desc_format(&desc, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(clattn_attention_desc_format(NULL, NULL, 0), 0);
}

#define AT(part, expected) "problem string, at \"" part "\": expected " expected

static void sizes_are_refused(void **state)
{
    (void)state;
    assert_refused("", "problem string: expected b and a number (batch) after \"\"");
    assert_refused("b1h2", "problem string: expected q and a number (q_len) after \"b1h2\"");
    assert_refused("b1h2q3:f32", "problem string: expected k and a number (kv_len) after \"b1h2q3\"");
    assert_refused("x1", AT("x1", "b and a number (batch)"));
    assert_refused(" b1h1q1k1d1:f32", AT(" b1h1q1k1d1", "b and a number (batch)"));
    assert_refused("b1q1k1d1:f32", AT("q1k1d1", "h and a number (query heads)"));
    assert_refused("b1h1k1q1d1:f32", AT("k1q1d1", "q and a number (q_len)"));
    assert_refused("b1h1q1d1:f32", AT("d1", "k and a number (kv_len)"));
    assert_refused("b1h1q1k1:f32", "problem string: expected d and a number (head_dim) after \"b1h1q1k1\"");
    assert_refused("bh1q1k1d1:f32", AT("bh1q1k1d1", "b and a number (batch)"));
    assert_refused("b1h-1q1k1d1:f32", AT("h-1q1k1d1", "h and a number (query heads)"));
    assert_refused("b1h1gq1k1d1:f32", AT("gq1k1d1", "g and a number (key/value heads)"));
    assert_refused("b1h1q1k1d1v:f32", AT("v", "v and a number (value_dim)"));
    assert_refused("b1h1q1k9223372036854775808d1:f32",
                   AT("k9223372036854775808", "a number of at most 9223372036854775807"));
    assert_refused("b1h1q1k1d1d2:f32",
                   AT("d2", "a colon and a type: sizes are b, h, g, q, k, d, v in this order, once each"));
    assert_refused("b1h1q1k1d1g1:f32",
                   AT("g1", "a colon and a type: sizes are b, h, g, q, k, d, v in this order, once each"));
    assert_refused("b1h1q1k1d1\n\x80:f32",
                   AT("\\x0a\\x80", "a colon and a type: sizes are b, h, g, q, k, d, v in this order, once each"));
    /* Numbers that are read and mean nothing are refused as in the descriptor. */
    assert_refused("b1h5g2q1k1d1:f32", "kv_heads is 2: expected a divisor of q_heads (5)");
    assert_refused("b1h1q1k1d0:f32", "head_dim is 0: expected 1 or more");
    assert_refused("b1h1q1k1d1v0:f32", "value_dim is 0: expected 1 or more");
    assert_refused("b1h1q9223372036854775807k1d1:f32", "q_len is 9223372036854775807: expected at most 1073741824");
}

static void types_are_refused(void **state)
{
    (void)state;
#define A_TYPE "a type, f32, f16 or bf16, or four for query, key, value and output, such as f32-f16-f16-f32"
    assert_refused("b1h1q1k1d1", AT("b1h1q1k1d1", "a colon and a type after it, such as :f32"));
    assert_refused("b1h1q1k1d1:", AT("", A_TYPE));
    assert_refused("b1h1q1k1d1:f64", AT("f64", A_TYPE));
    assert_refused("b1h1q1k1d1:F32", AT("F32", A_TYPE));
    assert_refused("b1h1q1k1d1:bool", AT("bool", A_TYPE));
    assert_refused("b1h1q1k1d1:f32 ", AT("f32 ", A_TYPE));
    assert_refused("b1h1q1k1d1:causal", AT("causal", A_TYPE));
    assert_refused("b1h1q1k1d1:f32-f32", AT("f32-f32", A_TYPE));
    assert_refused("b1h1q1k1d1:f32-f32-f32", AT("f32-f32-f32", A_TYPE));
    assert_refused("b1h1q1k1d1:f32-f32-f32-", AT("f32-f32-f32-", A_TYPE));
    assert_refused("b1h1q1k1d1:f32-f32-f32-f32-f32", AT("f32-f32-f32-f32-f32", A_TYPE));
}

static void parts_are_refused(void **state)
{
    (void)state;
#define P "b1h1q1k1d1:f32:"
#define KNOWN                                                                                                          \
    "causal[@ALIGN], window=L,R@ALIGN, shift=N, alibi[=batch]@ALIGN, relative=R@ALIGN, softcap=X, scale=X, "           \
    "mask=bool|add[@BxHxQxK], mask_pad, lengths, circular, paged=N[xM], ragged=q|kv|qkv[@TOTALS], sinks, "             \
    "dropout=P, lse or scores=STAGE"
#define ALIGN   "top-left, bottom-right or the offset of the first query"
#define CAUSAL  "causal or causal@ALIGN, ALIGN being " ALIGN
#define WINDOW  "window=L,R@ALIGN, L and R being -1 (no bound) or more, ALIGN " ALIGN
#define MASK    "mask=bool or mask=add, after it a shape, @BxHxQxK, or nothing"
#define SAME    "the same alignment in every part (causal alone means bottom-right)"
#define DROPOUT "dropout=P, P being 0 (none) or more and less than 1"
#define ALIBI   "alibi@ALIGN or alibi=batch@ALIGN, ALIGN being " ALIGN
#define NEAR    "relative=R@ALIGN, R being 1 or more, ALIGN " ALIGN
#define PAGED   "paged=N or paged=NxM, N keys a block and M blocks, both 1 or more"
#define RAGGED  "ragged=q, ragged=kv or ragged=qkv, after it @ and a total for each or nothing: @Q, @KV, @Q,KV"
#define SOFTCAP "softcap=X, X being a finite f32 of 0 (none) or more"
#define SHIFT   "shift=N, N being a whole number"
#define SCALE   "scale=X, X being a finite f32"
    static const char *const cases[][2] = {
        {P, AT("", KNOWN)},
        {P "lse:", AT("", KNOWN)},
        {P ":lse", AT("", KNOWN)},
        {P "foo", AT("foo", KNOWN)},
        {P "Causal", AT("Causal", KNOWN)},
        {P "caus", AT("caus", KNOWN)},
        {P "causal ", AT("causal ", KNOWN)},
        {P "f32", AT("f32", KNOWN)},
        {P "\x1b[1m", AT("\\x1b[1m", KNOWN)},
        {P "causal:lse:causal", AT("causal", "each part once")},
        {P "causal:causal@top-left", AT("causal@top-left", "each part once")},
        {P "lse:lse", AT("lse", "each part once")},
        {P "causal=1", AT("causal=1", CAUSAL)},
        {P "causal@", AT("causal@", CAUSAL)},
        {P "causal@left", AT("causal@left", CAUSAL)},
        {P "causal@1.5", AT("causal@1.5", CAUSAL)},
        {P "causal@9223372036854775808", AT("causal@9223372036854775808", CAUSAL)},
        {P "window", AT("window", WINDOW)},
        {P "window@0", AT("window@0", WINDOW)},
        {P "window=1,2", AT("window=1,2", WINDOW)},
        {P "window=1@0", AT("window=1@0", WINDOW)},
        {P "window=1,2,3@0", AT("window=1,2,3@0", WINDOW)},
        {P "window=,2@0", AT("window=,2@0", WINDOW)},
        {P "window=-2,2@0", AT("window=-2,2@0", WINDOW)},
        {P "window=2,-2@0", AT("window=2,-2@0", WINDOW)},
        {P "window=9223372036854775808,2@0", AT("window=9223372036854775808,2@0", WINDOW)},
        {P "window=1,2@", AT("window=1,2@", WINDOW)},
        {P "window=1,2@0@0", AT("window=1,2@0@0", WINDOW)},
        {P "causal:window=1,2@top-left", AT("window=1,2@top-left", SAME)},
        {P "window=1,2@3:causal@4", AT("causal@4", SAME)},
        {P "causal:alibi@0", AT("alibi@0", SAME)},
        {P "alibi@top-left:relative=3@bottom-right", AT("relative=3@bottom-right", SAME)},
        {P "alibi", AT("alibi", ALIBI)},
        {P "alibi@", AT("alibi@", ALIBI)},
        {P "alibi=1", AT("alibi=1", ALIBI)},
        {P "alibi=batch", AT("alibi=batch", ALIBI)},
        {P "alibi=1@0", AT("alibi=1@0", ALIBI)},
        {P "alibi@right", AT("alibi@right", ALIBI)},
        {P "relative", AT("relative", NEAR)},
        {P "relative=3", AT("relative=3", NEAR)},
        {P "relative=0@0", AT("relative=0@0", NEAR)},
        {P "relative=-1@0", AT("relative=-1@0", NEAR)},
        {P "relative=@0", AT("relative=@0", NEAR)},
        {P "relative=3@", AT("relative=3@", NEAR)},
        {P "relative@0", AT("relative@0", NEAR)},
        {P "circular=1", AT("circular=1", "circular, without a value")},
        {P "lengths:circular:paged=2", AT("paged=2", "one of circular and paged")},
        {P "paged=2:circular:lengths", AT("circular", "one of circular and paged")},
        {P "paged", AT("paged", PAGED)},
        {P "paged=", AT("paged=", PAGED)},
        {P "paged=0", AT("paged=0", PAGED)},
        {P "paged=4x0", AT("paged=4x0", PAGED)},
        {P "paged=4x", AT("paged=4x", PAGED)},
        {P "paged=x4", AT("paged=x4", PAGED)},
        {P "paged=4x4x4", AT("paged=4x4x4", PAGED)},
        {P "paged=-4", AT("paged=-4", PAGED)},
        {P "ragged", AT("ragged", RAGGED)},
        {P "ragged=", AT("ragged=", RAGGED)},
        {P "ragged=k", AT("ragged=k", RAGGED)},
        {P "ragged=kvq", AT("ragged=kvq", RAGGED)},
        {P "ragged@4", AT("ragged@4", RAGGED)},
        {P "ragged=q@", AT("ragged=q@", RAGGED)},
        {P "ragged=q@1,2", AT("ragged=q@1,2", RAGGED)},
        {P "ragged=kv@1,2", AT("ragged=kv@1,2", RAGGED)},
        {P "ragged=qkv@1", AT("ragged=qkv@1", RAGGED)},
        {P "ragged=qkv@1,", AT("ragged=qkv@1,", RAGGED)},
        {P "ragged=qkv@,1", AT("ragged=qkv@,1", RAGGED)},
        {P "ragged=qkv@1,2,3", AT("ragged=qkv@1,2,3", RAGGED)},
        {P "ragged=q@-1", AT("ragged=q@-1", RAGGED)},
        {P "sinks=2", AT("sinks=2", "sinks, without a value")},
        {P "dropout", AT("dropout", DROPOUT)},
        {P "dropout=", AT("dropout=", DROPOUT)},
        {P "dropout@0.5", AT("dropout@0.5", DROPOUT)},
        {P "dropout=-0.5", AT("dropout=-0.5", DROPOUT)},
        {P "dropout=1", AT("dropout=1", DROPOUT)},
        {P "dropout=0.99999999", AT("dropout=0.99999999", DROPOUT)},
        {P "dropout=nan", AT("dropout=nan", DROPOUT)},
        {P "dropout=0.5:dropout=0.5", AT("dropout=0.5", "each part once")},
        /* Parts that contradict each other are refused as in the descriptor. */
        {P "circular", "kv_storage is 1 (circular) and kv_lengths is 0 (none): expected 1 or 2"},
        {P "ragged=q:scores=raw", "q_cu_lengths is set: expected 0 (none) where scores are given out"},
        {P "ragged=q@1073741825", "q_total is 1073741825: expected at most 1073741824"},
        {"b9223372036854775807h1q3k1d1:f32:ragged=q", "batch is 9223372036854775807: expected at most 2147483647"},
        {"b9223372036854775807h1q3k3d1:f32:paged=2", "batch is 9223372036854775807: expected at most 2147483647"},
        {P "softcap", AT("softcap", SOFTCAP)},
        {P "softcap=", AT("softcap=", SOFTCAP)},
        {P "softcap@1", AT("softcap@1", SOFTCAP)},
        {P "softcap=-1", AT("softcap=-1", SOFTCAP)},
        {P "softcap=1e39", AT("softcap=1e39", SOFTCAP)},
        {P "softcap=nan", AT("softcap=nan", SOFTCAP)},
        {P "scale", AT("scale", SCALE)},
        {P "scale=nan", AT("scale=nan", SCALE)},
        {P "shift", AT("shift", SHIFT)},
        {P "shift=", AT("shift=", SHIFT)},
        {P "shift=-1.5", AT("shift=-1.5", SHIFT)},
        {P "scale=1e-60", AT("scale=1e-60", SCALE)},
        {P "scale=inf", AT("scale=inf", SCALE)},
        {P "scale=1x", AT("scale=1x", SCALE)},
        {P "mask", AT("mask", MASK)},
        {P "mask_pad=1", AT("mask_pad=1", "mask_pad, without a value")},
        {P "mask=f32", AT("mask=f32", MASK)},
        {P "mask=bool ", AT("mask=bool ", MASK)},
        {P "mask=bool@", AT("mask=bool@", MASK)},
        {P "mask=bool@1x1x1", AT("mask=bool@1x1x1", MASK)},
        {P "mask=bool@1x1x1x1x1", AT("mask=bool@1x1x1x1x1", MASK)},
        {P "mask=bool@1x1x-1x1", AT("mask=bool@1x1x-1x1", MASK)},
        {P "lengths=1", AT("lengths=1", "lengths, without a value")},
        {P "lse=0", AT("lse=0", "lse, without a value")},
        {P "lse@", AT("lse@", "lse, without a value")},
        {P "scores", AT("scores", "scores=raw, scores=softcap, scores=masked or scores=weights")},
        {P "scores=all", AT("scores=all", "scores=raw, scores=softcap, scores=masked or scores=weights")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i][0], cases[i][1]);
}

static void long_strings_are_refused_in_short(void **state)
{
    (void)state;
    static char text[100000];
    clattn_attention_desc desc;
    clattn_error error;
    memset(text, 'x', sizeof text - 1);
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse(text, &desc, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "xxx...\": expected b and a number (batch)"));
}

static void misuse_is_refused(void **state)
{
    (void)state;
    clattn_attention_desc desc;
    clattn_error error;
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse(NULL, &desc, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "problem is NULL");
    assert_int_equal(clattn_attention_desc_parse("b1h1q1k1d1:f32", NULL, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "clattn_attention_desc is NULL");
    desc.struct_size = 1;
    assert_int_equal(clattn_attention_desc_parse("b1h1q1k1d1:f32", &desc, &error), CLATTN_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "clattn_attention_desc.struct_size is 1"));
}

static void assert_problem_string(const struct cla_problem *problem, const char *expected)
{
    char text[200];
    assert_int_equal(cla_problem_string(problem, text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
}

static void other_operations_have_strings(void **state)
{
    (void)state;
    struct cla_problem problem;
    clattn_softmax_desc softmax;
    clattn_softmax_desc_init(&softmax);
    softmax.batch = 1;
    softmax.heads = 8;
    softmax.q_len = softmax.kv_len = 512;
    assert_int_equal(cla_problem_from_softmax(&softmax, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "softmax b1h8q512k512");
    softmax.lse = 1;
    assert_int_equal(cla_problem_from_softmax(&softmax, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "softmax b1h8q512k512:lse");

    clattn_weighted_sum_desc sum;
    clattn_weighted_sum_desc_init(&sum);
    sum.batch = 1;
    sum.q_heads = 8;
    sum.kv_heads = 2;
    sum.q_len = sum.kv_len = sum.value_dim = 64;
    sum.value.dtype = sum.output.dtype = CLATTN_F16;
    assert_int_equal(cla_problem_from_weighted_sum(&sum, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "weighted_sum b1h8g2q64k64v64:f16");
    sum.output.dtype = CLATTN_F32;
    assert_int_equal(cla_problem_from_weighted_sum(&sum, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "weighted_sum b1h8g2q64k64v64:f16-f32");

    clattn_attention_desc scores = parsed("b1h8g2q64k64d32v16:f16:causal:softcap=3:mask=bool:lse:scores=masked");
    assert_int_equal(cla_problem_from_scores(&scores, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "scores b1h8g2q64k64d32:f16:causal:softcap=3:mask=bool:scores=masked");
    scores.key.dtype = CLATTN_BF16;
    scores.scores_stage = CLATTN_SCORES_RAW;
    assert_int_equal(cla_problem_from_scores(&scores, &problem, NULL), CLATTN_SUCCESS);
    assert_problem_string(&problem, "scores b1h8g2q64k64d32:f16-bf16:scores=raw");
}

/* ---- the backward pass ---- */

static clattn_attention_backward_desc backward(const char *text, clattn_attention_desc *forward)
{
    clattn_attention_backward_desc desc;
    clattn_error error = {0};
    memset(&desc, 0x55, sizeof desc);
    memset(forward, 0x55, sizeof *forward);
    desc.struct_size = sizeof desc;
    forward->struct_size = sizeof *forward;
    if (clattn_attention_backward_desc_parse(text, forward, &desc, &error) != CLATTN_SUCCESS)
        fail_msg("%s refused: %s", text, error.message);
    assert_ptr_equal(desc.attention, forward);
    return desc;
}

static void backward_is_read(void **state)
{
    (void)state;
    clattn_attention_desc forward;
    clattn_attention_backward_desc d = backward("b1h4q2k3d4:f32-f16-bf16-f32:causal:backward", &forward);
    assert_true(forward.lse == 1 && forward.causal == 1 && forward.key.dtype == CLATTN_F16);
    assert_true(d.d_query && d.d_key && d.d_value);
    assert_false(d.d_mask || d.d_sinks || d.d_alibi_slopes || d.d_relative_bias || d.d_lse || d.accumulate);
    assert_int_equal(d.d_output_layout.dtype, CLATTN_F32);
    assert_int_equal(d.d_query_layout.dtype, CLATTN_F32);
    assert_int_equal(d.d_key_layout.dtype, CLATTN_F16);
    assert_int_equal(d.d_value_layout.dtype, CLATTN_BF16);

    d = backward("b1h4q2k3d4:f32:accumulate:backward=sinks,mask:mask=add:sinks:d_lse", &forward);
    assert_true(d.d_mask && d.d_sinks && d.d_lse && d.accumulate);
    assert_false(d.d_query || d.d_key || d.d_value || d.d_alibi_slopes || d.d_relative_bias);
    d = backward("b1h4q2k3d4:f32:backward=relative,alibi:alibi@0:relative=2@0", &forward);
    assert_true(d.d_alibi_slopes && d.d_relative_bias && !d.d_query);

    d = backward("b1h4q2k3d4:f32:causal", &forward); /* the forward alone */
    assert_false(d.d_query || d.d_key || d.d_value || forward.lse);
}

static void backward_is_written(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"b1h4q2k3d4:f32:backward", "b1h4q2k3d4:f32:backward"},
        {"b1h4q2k3d4:f16:dropout=0.1:backward:lse:causal", "b1h4q2k3d4:f16:causal:dropout=0.1:backward"},
        {"b1h4q2k3d4:f32:backward=value,key,query", "b1h4q2k3d4:f32:backward"},
        {"b1h4q2k3d4:f32:backward=value", "b1h4q2k3d4:f32:backward=value"},
        {"b1h4q2k3d4:f32:sinks:backward:accumulate:d_lse", "b1h4q2k3d4:f32:backward:d_lse:accumulate"},
        {"b1h4q2k3d4:f32:sinks:mask=add:alibi@0:relative=2@0:backward=query,key,value,mask,sinks,alibi,relative",
         "b1h4q2k3d4:f32:alibi@0:relative=2@0:mask=add:sinks:backward=query,key,value,mask,sinks,alibi,relative"},
        {"b1h4q2k3d4:f32:backward=key:scores=raw", "b1h4q2k3d4:f32:backward=key"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        clattn_attention_desc forward;
        const clattn_attention_backward_desc desc = backward(texts[i][0], &forward);
        char text[200];
        assert_int_equal(clattn_attention_backward_desc_format(&desc, text, sizeof text), strlen(texts[i][1]));
        assert_string_equal(text, texts[i][1]);
    }
    clattn_attention_desc forward;
    const clattn_attention_backward_desc nothing = backward("b1h4q2k3d4:f32", &forward);
    char text[4] = "x";
    assert_int_equal(clattn_attention_backward_desc_format(&nothing, text, sizeof text), 0);
    assert_string_equal(text, "");
}

static void backward_is_refused(void **state)
{
    (void)state;
#define KNOWN_BACKWARD                                                                                                 \
    "causal[@ALIGN], window=L,R@ALIGN, shift=N, alibi[=batch]@ALIGN, relative=R@ALIGN, softcap=X, scale=X, "           \
    "mask=bool|add[@BxHxQxK], mask_pad, lengths, circular, paged=N[xM], ragged=q|kv|qkv[@TOTALS], sinks, "             \
    "dropout=P, lse, scores=STAGE, backward[=GRADIENTS], d_lse or accumulate"
#define GRADIENTS "backward, or backward= with some of query,key,value,mask,sinks,alibi,relative, once each"
    static const char *const cases[][2] = {
        {P "foo", AT("foo", KNOWN_BACKWARD)},
        {P "backward=", AT("backward=", GRADIENTS)},
        {P "backward@0", AT("backward@0", GRADIENTS)},
        {P "backward=query,", AT("backward=query,", GRADIENTS)},
        {P "backward=query,query", AT("backward=query,query", GRADIENTS)},
        {P "backward=output", AT("backward=output", GRADIENTS)},
        {P "backward:backward=key", AT("backward=key", "each part once")},
        {P "backward:d_lse=1", AT("d_lse=1", "d_lse, without a value")},
        {P "backward:accumulate=1", AT("accumulate=1", "accumulate, without a value")},
        {P "d_lse", "problem string: d_lse is there without backward: expected both or neither"},
        {P "accumulate", "problem string: accumulate is there without backward: expected both or neither"},
        {P "backward=sinks", "d_sinks is 1 and attention.sinks is 0: expected 0, there are no sinks"},
        {P "backward:paged=2", "attention.kv_storage is 2 (paged): expected 0 (linear), caches are not trained on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clattn_attention_desc forward, before;
        clattn_attention_backward_desc desc;
        clattn_error error = {0};
        clattn_attention_desc_init(&forward);
        clattn_attention_backward_desc_init(&desc);
        before = forward;
        assert_int_equal(clattn_attention_backward_desc_parse(cases[i][0], &forward, &desc, &error),
                         CLATTN_ERROR_INVALID_VALUE);
        assert_string_equal(error.message, cases[i][1]);
        assert_memory_equal(&forward, &before, sizeof forward);
        assert_null(desc.attention);
    }
    assert_refused(P "backward", AT("backward", KNOWN)); /* not the forward's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_types_are_read),
        cmocka_unit_test(parts_are_read_in_any_order),
        cmocka_unit_test(storage_and_positions_are_read),
        cmocka_unit_test(canonical_strings_round_trip),
        cmocka_unit_test(strings_are_made_canonical),
        cmocka_unit_test(format_cuts_as_snprintf_does),
        cmocka_unit_test(sizes_are_refused),
        cmocka_unit_test(types_are_refused),
        cmocka_unit_test(parts_are_refused),
        cmocka_unit_test(long_strings_are_refused_in_short),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(other_operations_have_strings),
        cmocka_unit_test(backward_is_read),
        cmocka_unit_test(backward_is_written),
        cmocka_unit_test(backward_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
