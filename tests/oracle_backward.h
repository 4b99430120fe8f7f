/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle of attention's backward: the gradients in double precision of the loss
 *
 *   sum of d_output * output + sum of d_lse * lse
 *
 * one query row at a time, on what oracle.h computes for that row. Every semantic of the forward but circular and paged
 * storage.
 */
#ifndef CLATTN_TESTS_ORACLE_BACKWARD_H
#define CLATTN_TESTS_ORACLE_BACKWARD_H

#include "oracle.h"

/* Weights that are kept are divided by 1 - dropout, the others count as 0 in the output. Both count in lse. */
struct oracle_dropout {
    double dropout;                                                       /* 0 or more, less than 1 */
    bool (*keep)(void *user, int64_t b, int64_t h, int64_t i, int64_t j); /* whether weight (i, j) of (b, h) is kept */
    void *user;
};

/*
 * What is wanted, NULL where it is not. All arrays are dense, row-major and of double, over the extents that the tensor
 * has in the descriptor (its greatest lengths and totals; see oracle_tensor_shape), whatever its strides: elements
 * that lie in one place, by a stride of 0, each have a gradient of their own. Every element is written, and is 0 where
 * it has no part in the loss. What the descriptor does not have must be NULL, d_mask for a boolean mask too.
 */
struct oracle_gradients {
    double *d_query;         /* [batch, q_heads, q_len, head_dim], or [1, q_heads, q_total, head_dim] */
    double *d_key;           /* [batch, kv_heads, kv_len, head_dim], or [1, kv_heads, kv_total, head_dim] */
    double *d_value;         /* the same of value_dim */
    double *d_mask;          /* over the mask's own shape: summed over what is broadcast; 0 where it is -inf */
    double *d_sinks;         /* [q_heads] */
    double *d_alibi_slopes;  /* [q_heads], or [batch, q_heads] */
    double *d_relative_bias; /* [q_heads, 2R + 1] */

    /* In the same shapes, the sum of the absolute values of the terms that the element is made of. */
    double *query_magnitude;
    double *key_magnitude;
    double *value_magnitude;
    double *mask_magnitude;
    double *sinks_magnitude;
    double *alibi_magnitude;
    double *relative_magnitude;

    /* In the same shapes, the number of these terms: pairs of a query and a key that it sees; rows, for sinks. */
    double *query_terms;
    double *key_terms;
    double *value_terms;
    double *mask_terms;
    double *sinks_terms;
    double *alibi_terms;
    double *relative_terms;

    double amplitude; /* always written: A of the accuracy bound, the greatest largest_amplitude of any row */
};

/*
 * `d_output` and `output` are laid out as the descriptor's output, in its type; `d_lse` as lse, or NULL for none.
 * `output` is what the forward stored, and delta is made of it: that of a backward which reads a rounded output differs
 * by what the rounding does. NULL: the exact one. `dropout` NULL: none. Rows of d_output and output whose queries see
 * nothing, and keys and values that nobody sees, are not looked at. False where there is no memory for it.
 */
bool oracle_backward(const struct oracle_operands *operands, const void *d_output, const float *d_lse,
                     const void *output, const struct oracle_dropout *dropout, struct oracle_gradients *gradients);

#endif
