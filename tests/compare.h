/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accuracy bounds of attention.h as a program: compares what a run wrote with the oracle, element by element and in
 * the whole, and says where it is worst.
 */
#ifndef CLATTN_TESTS_COMPARE_H
#define CLATTN_TESTS_COMPARE_H

#include "oracle.h"

struct compare_result {
    bool passed;
    bool no_memory;       /* for the reference, so that nothing is known */
    double worst_share;   /* largest |error| / bound over all elements compared: at most 1 where passed */
    double largest_error; /* largest |error| of the output */
    double plain_share;   /* bound 2: largest error / (2 x that of plain float + eps32 x magnitude), 0: not asked */
    double bias_share;    /* bound 3: mean error towards the reference's sign / its bound, 0: not asked */
    int64_t compared;     /* rows */
    char
        message[400]; /* the worst element: tensor, indices, value found, value expected, bound; or which rule failed */
};

/*
 * Compares output, lse and scores (NULL where there is none) over every `row_step`-th row, 1 for all. `fused_rounding`
 * allows one eps_out more, for variants that round the weights to the storage type. `any_inputs` takes the bound that
 * holds for all of them, else that of random ones, or both where the first is lower. Bounds 1 and 4 always; bounds 2
 * and 3 (the ratio to a plain float computation and the signed bias) where all rows are compared, there are at least
 * 4096 output elements and, for 2, `unit_variance` says that the inputs are of unit variance.
 *
 * Where NaN is expected NaN must be found, where Inf is expected Inf of that sign. Three things are left open: an
 * output of Inf may be NaN (a weight that is too small for f32 makes 0 * Inf of it); in a row whose lse is NaN the
 * weight of an excluded key may be NaN instead of 0; and the stages of scores that exclude nothing may hold anything
 * for a key that is nowhere, its block being outside the pool or the packed sequence shorter.
 */
struct compare_result compare_attention(const struct oracle_operands *operands, const void *output, const float *lse,
                                        const float *scores, int64_t row_step, bool fused_rounding, bool any_inputs,
                                        bool unit_variance);

/* The distance from 1 to the next number of a type: 2^-23, 2^-10 or 2^-7; and its smallest normal number. */
double compare_epsilon(clattn_dtype dtype);
double compare_smallest_normal(clattn_dtype dtype);

/* |found - expected| / bound by the rules above, for a number of `dtype`: infinite where it cannot be right. */
double compare_share(clattn_dtype dtype, double found, double expected, double bound);

#endif
