/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the arguments of attention and of its backward pass to a run, on buffers and on host arrays: what these structs
 * have in common they call the same.
 */
#ifndef CLA_API_ATTENTION_ARGS_H
#define CLA_API_ATTENTION_ARGS_H

#include "problem/attention.h"
#include "problem/dropout.h"

/* The operands that both read, into an array of buffers or of pointers by their numbers. */
#define CLA_TAKE_INPUTS(to, from)                                                                                      \
    do {                                                                                                               \
        (to)[CLA_QUERY] = (from)->query;                                                                               \
        (to)[CLA_KEY] = (from)->key;                                                                                   \
        (to)[CLA_VALUE] = (from)->value;                                                                               \
        (to)[CLA_MASK] = (from)->mask;                                                                                 \
        (to)[CLA_KV_LENGTHS] = (from)->kv_lengths;                                                                     \
        (to)[CLA_Q_CU_LENGTHS] = (from)->q_cu_lengths;                                                                 \
        (to)[CLA_KV_CU_LENGTHS] = (from)->kv_cu_lengths;                                                               \
        (to)[CLA_SINKS] = (from)->sinks;                                                                               \
        (to)[CLA_ALIBI_SLOPES] = (from)->alibi_slopes;                                                                 \
        (to)[CLA_RELATIVE_BIAS] = (from)->relative_bias;                                                               \
    } while (0)

/* The lengths of a run; what means nothing to the problem is 0, whatever was given. */
#define CLA_TAKE_LENGTHS(problem, from)                                                                                \
    ((struct cla_lengths){                                                                                             \
        .q_len = (from)->q_len,                                                                                        \
        .kv_len = (from)->kv_len,                                                                                      \
        .offset = (problem)->semantics.alignment == CLATTN_ALIGN_OFFSET ? (from)->offset : 0,                          \
        .q_total = (problem)->semantics.q_cu_lengths != CLATTN_LENGTHS_NONE ? (from)->q_total : 0,                     \
        .kv_total = (problem)->semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE ? (from)->kv_total : 0,                  \
    })

#define CLA_TAKE_DROPOUT(from)                                                                                         \
    ((struct cla_dropout){(from)->dropout_seed_set != 0, (from)->dropout_seed, (from)->dropout_offset,                 \
                          (from)->dropout_batch})

#endif
