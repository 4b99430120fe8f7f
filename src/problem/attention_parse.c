/* SPDX-License-Identifier: Apache-2.0 */
/* The problem string of attention.h as it is read: sizes, types, then parts that each set one thing. */
#include "problem/attention_backward.h"
#include "util/error.h"
#include "util/number.h"
#include "util/struct_size.h"
#include "util/text.h"

/* A stretch of the string. */
struct span {
    const char *text;
    size_t length;
};

static bool equals(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.text, text, span.length) == 0;
}

/* Cuts off and returns what comes before the first `separator`; *rest is what comes after, its text NULL if none came.
 */
static struct span cut(struct span *rest, char separator)
{
    struct span before = *rest;
    const char *at = rest->length == 0 ? NULL : memchr(rest->text, separator, rest->length);
    if (at == NULL) {
        *rest = (struct span){NULL, 0};
    } else {
        before.length = (size_t)(at - rest->text);
        *rest = (struct span){at + 1, rest->length - before.length - 1};
    }
    return before;
}

static clattn_status refuse(clattn_error *error, struct span part, const char *expected)
{
    char quoted[120];
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "problem string, at %s: expected %s",
                    cla_quote(quoted, sizeof quoted, part.text, part.length), expected);
}

/* ---- sizes and types ---- */

static clattn_status parse_sizes(struct span head, clattn_attention_desc *desc, clattn_error *error)
{
    const struct {
        char letter;
        bool required;
        int64_t *value;
        const char *expected;
    } sizes[] = {
        {'b', true, &desc->batch, "b and a number (batch)"},
        {'h', true, &desc->q_heads, "h and a number (query heads)"},
        {'g', false, &desc->kv_heads, "g and a number (key/value heads)"},
        {'q', true, &desc->q_len, "q and a number (q_len)"},
        {'k', true, &desc->kv_len, "k and a number (kv_len)"},
        {'d', true, &desc->head_dim, "d and a number (head_dim)"},
        {'v', false, &desc->value_dim, "v and a number (value_dim)"},
    };
    struct span rest = head;
    bool given[sizeof sizes / sizeof sizes[0]] = {false};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t digits = 1;
        if (rest.length == 0 || rest.text[0] != sizes[i].letter) {
            if (!sizes[i].required)
                continue;
            if (rest.length > 0)
                return refuse(error, rest, sizes[i].expected);
            char quoted[120];
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "problem string: expected %s after %s",
                            sizes[i].expected, cla_quote(quoted, sizeof quoted, head.text, head.length));
        }
        while (digits < rest.length && rest.text[digits] >= '0' && rest.text[digits] <= '9')
            digits++;
        if (digits == 1)
            return refuse(error, rest, sizes[i].expected);
        if (!cla_parse_int64(rest.text + 1, digits - 1, sizes[i].value))
            return refuse(error, (struct span){rest.text, digits}, "a number of at most 9223372036854775807");
        given[i] = true;
        rest = (struct span){rest.text + digits, rest.length - digits};
    }
    if (rest.length > 0)
        return refuse(error, rest, "a colon and a type: sizes are b, h, g, q, k, d, v in this order, once each");
    if (!given[2])
        desc->kv_heads = desc->q_heads;
    if (given[6] && desc->value_dim == 0) /* in the descriptor 0 stands for head_dim, here it would be a surprise */
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "value_dim is 0: expected 1 or more");
    return CLATTN_SUCCESS;
}

static clattn_status parse_types(struct span part, clattn_attention_desc *desc, clattn_error *error)
{
    clattn_layout *const layouts[] = {&desc->query, &desc->key, &desc->value, &desc->output};
    struct span rest = part;
    int count = 0;
    bool known = true;
    while (known && rest.text != NULL && count < 4) {
        struct span type = cut(&rest, '-');
        known = false;
        for (int dtype = CLATTN_F32; dtype <= CLATTN_BF16; dtype++) {
            if (equals(type, clattn_dtype_string((clattn_dtype)dtype))) {
                layouts[count]->dtype = (clattn_dtype)dtype;
                known = true;
            }
        }
        count++;
    }
    if (!known || rest.text != NULL || (count != 1 && count != 4))
        return refuse(error, part,
                      "a type, f32, f16 or bf16, or four for query, key, value and output, such as "
                      "f32-f16-f16-f32");
    for (int i = count; i < 4; i++)
        layouts[i]->dtype = layouts[0]->dtype;
    return CLATTN_SUCCESS;
}

/* ---- the parts after the type: each takes what follows its name and returns NULL, or what was expected ---- */

#define ALIGN_FORM "top-left, bottom-right or the offset of the first query"

/* Causality, window and position biases share one alignment. */
static const char *set_alignment(clattn_attention_desc *desc, struct span align, const char *expected)
{
    clattn_alignment alignment = CLATTN_ALIGN_OFFSET;
    int64_t offset = 0;
    if (equals(align, "top-left"))
        alignment = CLATTN_ALIGN_TOP_LEFT;
    else if (equals(align, "bottom-right"))
        alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    else if (!cla_parse_int64(align.text, align.length, &offset))
        return expected;
    if (desc->alignment != CLATTN_ALIGN_NONE && (desc->alignment != alignment || desc->offset != offset))
        return "the same alignment in every part (causal alone means bottom-right)";
    desc->alignment = alignment;
    desc->offset = offset;
    return NULL;
}

static const char *set_causal(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "causal or causal@ALIGN, ALIGN being " ALIGN_FORM;
    struct span align = {"bottom-right", strlen("bottom-right")};
    if (rest.length > 0 && rest.text[0] != '@')
        return expected;
    if (rest.length > 0)
        align = (struct span){rest.text + 1, rest.length - 1};
    desc->causal = 1;
    return set_alignment(desc, align, expected);
}

/* The value after the equals sign, its text NULL where there is none. */
static struct span value_of(struct span rest)
{
    if (rest.length == 0 || rest.text[0] != '=')
        return (struct span){NULL, 0};
    return (struct span){rest.text + 1, rest.length - 1};
}

static const char *set_window(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "window=L,R@ALIGN, L and R being -1 (no bound) or more, ALIGN " ALIGN_FORM;
    struct span align = value_of(rest);
    struct span ends = cut(&align, '@');
    struct span left = cut(&ends, ',');
    if (align.text == NULL || ends.text == NULL || !cla_parse_int64(left.text, left.length, &desc->window_left) ||
        desc->window_left < -1 || !cla_parse_int64(ends.text, ends.length, &desc->window_right) ||
        desc->window_right < -1)
        return expected;
    desc->window = 1;
    return set_alignment(desc, align, expected);
}

static const char *set_shift(clattn_attention_desc *desc, struct span rest)
{
    struct span value = value_of(rest);
    bool good = cla_parse_int64(value.text, value.length, &desc->window_shift);
    return good ? NULL : "shift=N, N being a whole number";
}

static const char *set_alibi(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "alibi@ALIGN or alibi=batch@ALIGN, ALIGN being " ALIGN_FORM;
    struct span align = rest;
    struct span which = cut(&align, '@');
    if (align.text == NULL || (which.length > 0 && !equals(which, "=batch")))
        return expected;
    desc->alibi = 1;
    desc->alibi_batch = which.length > 0 ? desc->batch : 0;
    return set_alignment(desc, align, expected);
}

static const char *set_relative(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "relative=R@ALIGN, R being 1 or more, ALIGN " ALIGN_FORM;
    struct span align = value_of(rest);
    struct span extent = cut(&align, '@');
    if (align.text == NULL || !cla_parse_int64(extent.text, extent.length, &desc->relative_extent) ||
        desc->relative_extent < 1)
        return expected;
    return set_alignment(desc, align, expected);
}

static const char *set_softcap(clattn_attention_desc *desc, struct span rest)
{
    struct span value = value_of(rest);
    bool good = cla_parse_float(value.text, value.length, &desc->softcap) && desc->softcap >= 0.0f;
    return good ? NULL : "softcap=X, X being a finite f32 of 0 (none) or more";
}

static const char *set_scale(clattn_attention_desc *desc, struct span rest)
{
    struct span value = value_of(rest);
    desc->scale_set = 1;
    return cla_parse_float(value.text, value.length, &desc->scale) ? NULL : "scale=X, X being a finite f32";
}

static const char *set_mask(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "mask=bool or mask=add, after it a shape, @BxHxQxK, or nothing";
    struct span shape = value_of(rest);
    struct span value = cut(&shape, '@');
    if (equals(value, "bool")) {
        desc->mask_kind = CLATTN_MASK_BOOL;
        desc->mask.dtype = CLATTN_BOOL;
    } else if (equals(value, "add")) {
        desc->mask_kind = CLATTN_MASK_ADDITIVE;
        desc->mask.dtype = CLATTN_F32;
    } else {
        return expected;
    }
    for (int d = 0; d < 4 && (d > 0 || shape.text != NULL); d++) {
        struct span extent = cut(&shape, 'x');
        if (!cla_parse_int64(extent.text, extent.length, &desc->mask_shape[d]) || desc->mask_shape[d] < 0)
            return expected;
    }
    return shape.text == NULL ? NULL : expected;
}

static const char *set_mask_pad(clattn_attention_desc *desc, struct span rest)
{
    desc->mask_pad = 1;
    return rest.length == 0 ? NULL : "mask_pad, without a value";
}

static const char *set_lengths(clattn_attention_desc *desc, struct span rest)
{
    desc->kv_lengths = CLATTN_LENGTHS_I32;
    return rest.length == 0 ? NULL : "lengths, without a value";
}

#define ONE_STORAGE "one of circular and paged"

static const char *set_circular(clattn_attention_desc *desc, struct span rest)
{
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR)
        return ONE_STORAGE;
    desc->kv_storage = CLATTN_STORAGE_CIRCULAR;
    return rest.length == 0 ? NULL : "circular, without a value";
}

static const char *set_paged(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "paged=N or paged=NxM, N keys a block and M blocks, both 1 or more";
    struct span blocks = value_of(rest);
    struct span page = cut(&blocks, 'x');
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR)
        return ONE_STORAGE;
    if (!cla_parse_int64(page.text, page.length, &desc->page_size) || desc->page_size < 1)
        return expected;
    desc->kv_storage = CLATTN_STORAGE_PAGED;
    desc->num_blocks = cla_default_blocks(desc->batch, desc->kv_len, desc->page_size);
    if (blocks.text == NULL)
        return NULL;
    bool good = cla_parse_int64(blocks.text, blocks.length, &desc->num_blocks) && desc->num_blocks > 0;
    return good ? NULL : expected;
}

static const char *set_ragged(clattn_attention_desc *desc, struct span rest)
{
    static const char expected[] = "ragged=q, ragged=kv or ragged=qkv, after it @ and a total for each or nothing: "
                                   "@Q, @KV, @Q,KV";
    struct span totals = value_of(rest);
    struct span which = cut(&totals, '@');
    const bool queries = equals(which, "q") || equals(which, "qkv");
    const bool keys = equals(which, "kv") || equals(which, "qkv");
    if (!queries && !keys)
        return expected;
    if (queries) {
        desc->q_cu_lengths = CLATTN_LENGTHS_I32;
        desc->q_total = cla_default_total(desc->batch, desc->q_len);
    }
    if (keys) {
        desc->kv_cu_lengths = CLATTN_LENGTHS_I32;
        desc->kv_total = cla_default_total(desc->batch, desc->kv_len);
    }
    if (totals.text == NULL)
        return NULL;
    struct span first = cut(&totals, ',');
    struct span second = queries ? totals : first;
    bool good = (totals.text != NULL) == (queries && keys);
    if (queries)
        good = good && cla_parse_int64(first.text, first.length, &desc->q_total) && desc->q_total >= 0;
    if (keys)
        good = good && cla_parse_int64(second.text, second.length, &desc->kv_total) && desc->kv_total >= 0;
    return good ? NULL : expected;
}

static const char *set_sinks(clattn_attention_desc *desc, struct span rest)
{
    desc->sinks = 1;
    return rest.length == 0 ? NULL : "sinks, without a value";
}

static const char *set_dropout(clattn_attention_desc *desc, struct span rest)
{
    struct span value = value_of(rest);
    bool good =
        cla_parse_float(value.text, value.length, &desc->dropout) && desc->dropout >= 0.0f && desc->dropout < 1.0f;
    return good ? NULL : "dropout=P, P being 0 (none) or more and less than 1";
}

static const char *set_lse(clattn_attention_desc *desc, struct span rest)
{
    desc->lse = 1;
    return rest.length == 0 ? NULL : "lse, without a value";
}

static const char *set_scores(clattn_attention_desc *desc, struct span rest)
{
    static const char *const names[] = {
        [CLATTN_SCORES_RAW] = "raw",
        [CLATTN_SCORES_SOFTCAP] = "softcap",
        [CLATTN_SCORES_MASKED] = "masked",
        [CLATTN_SCORES_WEIGHTS] = "weights",
    };
    struct span value = value_of(rest);
    for (int stage = CLATTN_SCORES_RAW; stage <= CLATTN_SCORES_WEIGHTS; stage++) {
        if (equals(value, names[stage])) {
            desc->scores_stage = (clattn_scores_stage)stage;
            return NULL;
        }
    }
    return "scores=raw, scores=softcap, scores=masked or scores=weights";
}

/* ---- the parts of a backward pass ---- */

/* Sets what a comma-separated list names; false where a name is unknown or there twice. */
static bool want(clattn_attention_backward_desc *desc, struct span names)
{
    while (names.text != NULL) {
        struct span name = cut(&names, ',');
        int g = 0;
        while (g < CLA_NUM_GRADIENTS && !equals(name, cla_gradients[g].name))
            g++;
        int *wanted = g < CLA_NUM_GRADIENTS ? (int *)((char *)desc + cla_gradients[g].wanted) : NULL;
        if (wanted == NULL || *wanted)
            return false;
        *wanted = 1;
    }
    return true;
}

static const char *set_backward(clattn_attention_backward_desc *desc, struct span rest)
{
    static const char usual[] = "query,key,value";
    struct span names = rest.length == 0 ? (struct span){usual, strlen(usual)} : value_of(rest);
    bool good = names.text != NULL && want(desc, names);
    return good ? NULL : "backward, or backward= with some of query,key,value,mask,sinks,alibi,relative, once each";
}

static const char *set_d_lse(clattn_attention_backward_desc *desc, struct span rest)
{
    desc->d_lse = 1;
    return rest.length == 0 ? NULL : "d_lse, without a value";
}

static const char *set_accumulate(clattn_attention_backward_desc *desc, struct span rest)
{
    desc->accumulate = 1;
    return rest.length == 0 ? NULL : "accumulate, without a value";
}

/* What a string is read into; without a backward pass, its parts are unknown. */
struct parsed {
    clattn_attention_desc forward;
    clattn_attention_backward_desc backward;
    bool takes_backward;
};

#define KNOWN                                                                                                          \
    "causal[@ALIGN], window=L,R@ALIGN, shift=N, alibi[=batch]@ALIGN, relative=R@ALIGN, softcap=X, scale=X, "           \
    "mask=bool|add[@BxHxQxK], mask_pad, lengths, circular, paged=N[xM], ragged=q|kv|qkv[@TOTALS], sinks, "             \
    "dropout=P, lse"

static clattn_status parse_part(struct span part, unsigned *seen, struct parsed *parsed, clattn_error *error)
{
    static const struct {
        const char *name;
        const char *(*set)(clattn_attention_desc *desc, struct span rest);
        const char *(*set_backward)(clattn_attention_backward_desc *desc, struct span rest);
    } kinds[] = {
        {"causal", set_causal, NULL},     {"window", set_window, NULL},
        {"softcap", set_softcap, NULL},   {"scale", set_scale, NULL},
        {"mask", set_mask, NULL},         {"lengths", set_lengths, NULL},
        {"lse", set_lse, NULL},           {"scores", set_scores, NULL},
        {"sinks", set_sinks, NULL},       {"alibi", set_alibi, NULL},
        {"relative", set_relative, NULL}, {"circular", set_circular, NULL},
        {"paged", set_paged, NULL},       {"ragged", set_ragged, NULL},
        {"mask_pad", set_mask_pad, NULL}, {"shift", set_shift, NULL},
        {"dropout", set_dropout, NULL},   {"backward", NULL, set_backward},
        {"d_lse", NULL, set_d_lse},       {"accumulate", NULL, set_accumulate},
    };
    size_t name_length = 0;
    while (name_length < part.length && part.text[name_length] != '=' && part.text[name_length] != '@')
        name_length++;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!equals((struct span){part.text, name_length}, kinds[i].name) ||
            (kinds[i].set == NULL && !parsed->takes_backward))
            continue;
        if ((*seen & 1u << i) != 0)
            return refuse(error, part, "each part once");
        *seen |= 1u << i;
        const struct span rest = {part.text + name_length, part.length - name_length};
        const char *expected = kinds[i].set != NULL ? kinds[i].set(&parsed->forward, rest)
                                                    : kinds[i].set_backward(&parsed->backward, rest);
        return expected == NULL ? CLATTN_SUCCESS : refuse(error, part, expected);
    }
    return refuse(error, part,
                  parsed->takes_backward ? KNOWN ", scores=STAGE, backward[=GRADIENTS], d_lse or accumulate"
                                         : KNOWN " or scores=STAGE");
}

static clattn_status parse(const char *problem, struct parsed *parsed, clattn_error *error)
{
    struct cla_problem normalised;
    unsigned seen = 0;
    CLA_CHECK(problem != NULL, error, "problem is NULL");
    clattn_attention_desc_init(&parsed->forward);
    clattn_attention_backward_desc_init(&parsed->backward);
    struct span rest = {problem, strlen(problem)};
    struct span head = cut(&rest, ':');
    CLA_TRY(parse_sizes(head, &parsed->forward, error));
    if (rest.text == NULL)
        return refuse(error, head, "a colon and a type after it, such as :f32");
    CLA_TRY(parse_types(cut(&rest, ':'), &parsed->forward, error));
    while (rest.text != NULL)
        CLA_TRY(parse_part(cut(&rest, ':'), &seen, parsed, error));
    return cla_problem_from_attention(&parsed->forward, &normalised, error); /* such as heads that do not divide */
}

clattn_status clattn_attention_desc_parse(const char *problem, clattn_attention_desc *desc, clattn_error *error)
{
    struct parsed parsed = {.takes_backward = false};
    CLA_TRY(cla_struct_check(desc, sizeof parsed.forward, "clattn_attention_desc", error));
    CLA_TRY(parse(problem, &parsed, error));
    cla_struct_write(desc, &parsed.forward, sizeof parsed.forward);
    return CLATTN_SUCCESS;
}

/* Gradients have the types of what they are gradients of. */
static void set_types(struct parsed *parsed)
{
    parsed->backward.d_output_layout.dtype = parsed->forward.output.dtype;
    parsed->backward.d_query_layout.dtype = parsed->forward.query.dtype;
    parsed->backward.d_key_layout.dtype = parsed->forward.key.dtype;
    parsed->backward.d_value_layout.dtype = parsed->forward.value.dtype;
}

clattn_status clattn_attention_backward_desc_parse(const char *problem, clattn_attention_desc *attention,
                                                   clattn_attention_backward_desc *desc, clattn_error *error)
{
    struct parsed parsed = {.takes_backward = true};
    struct cla_problem normalised;
    bool wanted = false;
    CLA_TRY(cla_struct_check(attention, sizeof parsed.forward, "clattn_attention_desc", error));
    CLA_TRY(cla_struct_check(desc, sizeof parsed.backward, "clattn_attention_backward_desc", error));
    CLA_TRY(parse(problem, &parsed, error));
    for (int g = 0; g < CLA_NUM_GRADIENTS; g++)
        wanted = wanted || *(const int *)((const char *)&parsed.backward + cla_gradients[g].wanted);
    if (!wanted && (parsed.backward.d_lse || parsed.backward.accumulate))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "problem string: %s is there without backward: expected both or neither",
                        parsed.backward.d_lse ? "d_lse" : "accumulate");
    set_types(&parsed);
    if (wanted) {
        parsed.forward.lse = 1;
        parsed.backward.attention = &parsed.forward;
        CLA_TRY(cla_problem_from_attention_backward(&parsed.backward, &normalised, error));
    }
    parsed.backward.attention = attention;
    cla_struct_write(attention, &parsed.forward, sizeof parsed.forward);
    cla_struct_write(desc, &parsed.backward, sizeof parsed.backward);
    return CLATTN_SUCCESS;
}
