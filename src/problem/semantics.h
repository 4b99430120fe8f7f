/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What attention does to a score besides scaling it, which keys a query sees and where they lie. All zero is neutral:
 * no more than the product, every key of a dense tensor.
 */
#ifndef CLA_PROBLEM_SEMANTICS_H
#define CLA_PROBLEM_SEMANTICS_H

#include <clattn/attention.h>
#include <stdbool.h>

/* A bound of the visible band that is none. Far from overflow when positions are added to it. */
#define CLA_UNBOUNDED ((int64_t)1 << 40)

struct cla_semantics {
    float scale;
    float softcap; /* 0: none */
    float dropout; /* 0: none; below 1 */

    /* Query i sees keys from p - left to p + right, with p = i + offset; causal is right = 0. Either may be negative,
       by the window's shift, but not their sum. */
    bool band;                  /* false: every key, and left and right are 0 */
    clattn_alignment alignment; /* as asked: with TOP_LEFT a run's offset is 0 whatever its arguments say */
    int64_t offset;             /* default of a run's, clamped to +-CLA_UNBOUNDED / 2; with OFFSET only */
    int64_t left;               /* up to CLA_UNBOUNDED */
    int64_t right;
    int64_t relative_extent;

    clattn_mask_kind mask_kind;
    int64_t mask_keys; /* keys from here on are excluded by the mask: its last extent; kv_len where that is 1 or there
                          is no mask */
    bool mask_pad;     /* it excludes some, and is to do so whatever the lengths are */
    clattn_scores_stage scores_stage;

    clattn_lengths kv_lengths;
    clattn_storage kv_storage;
    int64_t page_size;  /* 0 where nothing is paged */
    int64_t num_blocks; /* 0 where nothing is paged */
    clattn_lengths q_cu_lengths;
    clattn_lengths kv_cu_lengths;
    int64_t q_total;  /* 0 where queries are not packed */
    int64_t kv_total; /* 0 where keys are not packed */
};

#endif
