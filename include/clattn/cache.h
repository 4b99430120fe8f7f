/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key/value cache of step-by-step generation: appends new keys and values to it, which attention.h then reads where
 * they lie, through kv_lengths and kv_storage. A cache is the caller's buffers; nothing but the addressed rows changes.
 *
 *   key        [batch, kv_heads, length, head_dim]       value        [batch, kv_heads, length, value_dim]
 *   key_cache  [batch, kv_heads, capacity, head_dim]     value_cache  [batch, kv_heads, capacity, value_dim]
 *
 * or, with paged storage (Kwon et al. 2023, "PagedAttention"), caches that are pools of blocks
 *
 *   key_cache    [num_blocks, kv_heads, page_size, head_dim]
 *   value_cache  [num_blocks, kv_heads, page_size, value_dim]
 *
 * The keys of a batch are numbered from 0 in the order in which they come. Row i of a batch's new keys is number
 * n = position + i, position being the number of keys that the batch already has, and goes to
 *
 *   LINEAR     row n
 *   CIRCULAR   row n mod capacity, over the key that lay there
 *   PAGED      row n mod page_size of block block_table[b][n / page_size]
 *
 * Values go where their keys go. Where the types differ, numbers are rounded to nearest even; where they are the same,
 * bits are copied. Any strides will do, of new keys as of caches: [batch, capacity, heads, dim], say.
 *
 * After n keys of a batch have been appended, attention sees them with kv_lengths[b] = n, or with kv_len = n where all
 * batches have the same number and storage is not circular. A step of generation is an append and a run of attention on
 * plans that were made once: it builds nothing and, with a workspace of the caller's where attention asks for one,
 * allocates nothing.
 *
 * Plans, buffers, events and errors are as in attention.h.
 */
#ifndef CLATTN_CACHE_H
#define CLATTN_CACHE_H

#include <clattn/attention.h>
#include <clattn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clattn_append_desc {
    size_t struct_size;
    int64_t batch;
    int64_t kv_heads;
    int64_t length;    /* the most new keys a batch that any run appends; at most the capacity */
    int64_t capacity;  /* keys that a batch can have in any run: rows of a linear cache, of a circular one those that it
                          keeps, of a paged one page_size times the blocks that a row of the block table names, or fewer
                        */
    int64_t head_dim;  /* at least 1 */
    int64_t value_dim; /* 0: head_dim */
    int key_only;      /* not 0: there is no value, as where a cache holds something else or both in one tensor */

    clattn_layout key; /* dtypes F32, F16 or BF16, each its own */
    clattn_layout value;
    clattn_layout key_cache; /* no two elements in the same place */
    clattn_layout value_cache;

    clattn_storage storage;
    int64_t page_size;          /* PAGED: rows of a block, 1 or more */
    int64_t num_blocks;         /* PAGED: blocks of the pool, 1 or more */
    int64_t block_table_stride; /* PAGED: elements from one batch to the next of block_table, int32_t over
                                   [batch, ceil(capacity/page_size)]; 0: dense */

    clattn_lengths positions; /* NONE: every batch appends at args.position; otherwise positions[b], on the device */
} clattn_append_desc;

static inline void clattn_append_desc_init(clattn_append_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/*
 * One run: the buffers of both caches must hold all of their views. Keys and values must not share bytes with the
 * caches, nor these with each other; views that interleave in one buffer do not.
 *
 * New keys of packed sequences, a slot each: over a pool of blocks seen as one block (PAGED, num_blocks 1, page_size
 * and capacity the rows of the pool, [num_blocks, page_size, kv_heads, dim] in memory), a plan with length 1 and the
 * tokens as its batch takes positions[t] as the row of token t, -1 to leave it out, and a block table of zeros.
 */
typedef struct clattn_append_args {
    size_t struct_size;
    int64_t length; /* at most the plan's; 0: none */
    int64_t
        capacity; /* keys that a batch can have in the caches of this run: at most the plan's, CIRCULAR: the plan's */
    int64_t position; /* where the descriptor has no positions: keys that every batch already has, 0 or more */
    clattn_buffer key;
    clattn_buffer value;
    clattn_buffer key_cache;   /* read and written */
    clattn_buffer value_cache; /* read and written */
    clattn_buffer positions;   /* [batch]: keys that each batch already has */
    clattn_buffer block_table; /* int32_t. Two batches must not write to the same row of a block */
} clattn_append_args;

/* Sets the length and the capacity to the plan's and the position to 0, and leaves every buffer absent. */
static inline void clattn_append_args_init(clattn_append_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->length, &args->capacity, CLATTN_NULL);
}

/* Fails with INVALID_VALUE for a field that is out of its range or contradicts another, else as attention's. */
CLATTN_API clattn_status clattn_append_plan_create(clattn_context *context, const clattn_append_desc *desc,
                                                   clattn_plan **plan, clattn_error *error);

/*
 * A position in the arguments is checked: INVALID_VALUE where it is negative or, unless storage is circular, position +
 * length is more than the run's capacity. Positions and block tables on the device cannot be checked without waiting:
 * there a key whose number is negative, or beyond the capacity of a linear or paged cache, or whose block is not in the
 * pool, is not written, and its neighbours are.
 */
CLATTN_API clattn_status clattn_append_run(clattn_plan *plan, cl_command_queue queue, const clattn_append_args *args,
                                           cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                           clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
