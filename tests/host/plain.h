/* SPDX-License-Identifier: Apache-2.0 */
/* Plain descriptors that the tests of problems change in one place each, and what is then refused. */
#ifndef CLATTN_TESTS_PLAIN_H
#define CLATTN_TESTS_PLAIN_H

#include <clattn/clattn.h>

static inline clattn_attention_desc plain(void)
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

static inline clattn_softmax_desc plain_softmax(void)
{
    clattn_softmax_desc d;
    clattn_softmax_desc_init(&d);
    d.batch = 2;
    d.heads = 12;
    d.q_len = 30;
    d.kv_len = 50;
    return d;
}

static inline clattn_weighted_sum_desc plain_weighted_sum(void)
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

static inline void mask_shape(clattn_attention_desc *d, int64_t a, int64_t b, int64_t c, int64_t e)
{
    d->mask_kind = CLATTN_MASK_ADDITIVE;
    d->mask_shape[0] = a;
    d->mask_shape[1] = b;
    d->mask_shape[2] = c;
    d->mask_shape[3] = e;
}

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

#endif
