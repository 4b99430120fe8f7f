/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention: scaled dot-product attention of queries over keys and values (Vaswani et al. 2017, "Attention Is All You
 * Need", section 3.2), with grouped key/value heads (Ainslie et al. 2023), computed tile by tile with an online softmax
 * (Milakov and Gimelshein 2018; Dao et al. 2022, "FlashAttention") where the chosen variant can.
 *
 * Shapes, with the letters used below:
 *
 *   query   [batch, q_heads,  q_len,  head_dim]        key     [batch, kv_heads, kv_len, head_dim]
 *   output  [batch, q_heads,  q_len,  value_dim]       value   [batch, kv_heads, kv_len, value_dim]
 *   scores  [batch, q_heads,  q_len,  kv_len]   f32    lse     [batch, q_heads, q_len]   f32, dense
 *
 * What is computed, for query i and key j of batch b and query head h, with arithmetic in f32 for every storage type:
 *
 *   s = scale * (query[b,h,i] . key[b,g,j])     g = h / (q_heads / kv_heads)
 *   s = softcap * tanh(s / softcap)             if softcap > 0
 *   s = s + mask[b,h,i,j]                       if the mask is additive
 *   s = s - alibi_slopes[h] * |p - j|           if alibi is set; p = i + offset is the query's position; [b,h] by batch
 *   s = s + relative_bias[h][clamp(j - p) + R]  if relative_extent is R
 *   s is then taken out where (i, j) is excluded by causality, window, mask or lengths
 *   w = softmax over j of s                     lse[b,h,i] = ln(sum over j of e^s), sinks[h] among the s if given
 *   w = w is kept ? w / (1 - dropout) : 0       if dropout > 0; lse is without it
 *   output[b,h,i] = sum over j of w * value[b,g,j]
 *
 * Promises:
 *
 *   - A row from which every key is excluded, or with kv_len 0, gives an output of exactly 0, weights of exactly 0
 *     and an lse of -inf, or of the sink's logit.
 *   - Keys and values that are excluded from every query of their batch and key/value head may hold anything, NaN
 *     too. NaN in a query or in a visible key reaches the whole row. NaN or Inf in a visible value reaches its
 *     column of the rows that see it, and may reach other rows of the same tile of queries, which may be those of
 *     all query heads of the key/value head.
 *   - Excluding is selecting: no large negative number stands in for it. A finite additive mask value is
 *     arithmetic, -FLT_MAX too; -inf excludes.
 *   - Logits up to 10^37 in size, and queries times scale up to that, overflow nowhere. Where one leads the others
 *     by more than 110, the output is its value row, but for the sign of zeros and for subnormal numbers. Values
 *     are summed before they are divided, with weights of up to 2^16: those above 10^33 / kv_len may overflow.
 *   - Accuracy, element by element, with A the largest |scale| sum_d |q_d k_d| + |all that is added| of the row's keys
 *     that matter, and at least |sinks[h]| where that matters: |error| <= (eps_out + E) sum_j w_j |v_j|, eps_out being
 *     eps32 = 2^-23 for an output in f32, 2^-10 in f16 and 2^-7 in bf16. On any inputs, constant ones too, of up to
 *     2^24 keys and 2048 head dims, E is 2^-16 (1 + A): sums of sums keep rounding errors, were they all in one
 *     direction, from growing with the number of keys. On random inputs and on those with large logits E is also at
 *     most 4 eps32 (1 + A + sqrt(kv_len) / 16). For scores and lse the bound is E. Conversions round to nearest even.
 *     The variant flash_dot rounds weights to bf16, which adds another eps_out. Where products are made in pairs of
 *     bf16, in flash_dot and on some CPUs in split_kv_vector, elements below 2^-126 count as 0, and q . k before the
 *     scale must not exceed 10^38 either.
 *     Results that are subnormal in the output's type may be off by the smallest normal number, and any weight by
 *     2^-126, which shows where a sink leads all keys by more than 80.
 *   - The same plan on the same inputs gives the same bits every time.
 *   - Every element of an output is written, but for rows of no packed sequence, and nothing else is; nothing beyond a
 *     view influences a result.
 */
#ifndef CLATTN_ATTENTION_H
#define CLATTN_ATTENTION_H

#include <clattn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where query i stands among the keys: at position p = i + offset. p may lie before or past the keys; an offset counts
   as at most 2^39, either way. */
typedef enum clattn_alignment {
    CLATTN_ALIGN_NONE = 0,         /* positions mean nothing; refused where anything depends on them */
    CLATTN_ALIGN_TOP_LEFT = 1,     /* offset 0: the first query stands at the first key */
    CLATTN_ALIGN_BOTTOM_RIGHT = 2, /* offset k - q: the last query stands at the last key. k is the batch's
                                      kv_lengths[b], clamped, or the length of its packed sequence, cut, else the run's
                                      kv_len; q the length of its packed sequence, cut, else the run's q_len */
    CLATTN_ALIGN_OFFSET = 3        /* the caller's: the position of the first query among the keys */
} clattn_alignment;

typedef enum clattn_mask_kind {
    CLATTN_MASK_NONE = 0,
    CLATTN_MASK_BOOL = 1,    /* dtype BOOL; keeps where not 0 */
    CLATTN_MASK_ADDITIVE = 2 /* dtype F32, F16 or BF16; added to the scores, -inf excludes */
} clattn_mask_kind;

/* Where the keys and values of a batch lie. Keys are numbered j = 0, 1, ... in all of these; nothing else changes. */
typedef enum clattn_storage {
    CLATTN_STORAGE_LINEAR = 0,   /* key j is row j */
    CLATTN_STORAGE_CIRCULAR = 1, /* a cache that overwrites its oldest rows: of the n = kv_lengths[b] keys that were
                                    ever written, number 0 to n - 1, the last min(n, kv_len) are there, number k in row
                                    k mod kv_len. j counts from the oldest of them. A run's kv_len must be the plan's */
    CLATTN_STORAGE_PAGED = 2 /* blocks of page_size rows in a pool that all batches share (Kwon et al. 2023): key j is
                                row j mod page_size of block block_table[b][j / page_size]. Keys in blocks that the
                                pool does not have are excluded */
} clattn_storage;

/*
 * Which scores a run writes to the scores buffer. RAW and SOFTCAP hold anything for a key that lies nowhere: past the
 * end of a packed sequence, or in a block that the pool does not have.
 */
typedef enum clattn_scores_stage {
    CLATTN_SCORES_NONE = 0,
    CLATTN_SCORES_RAW = 1,     /* after the scale; ignores softcap and every exclusion */
    CLATTN_SCORES_SOFTCAP = 2, /* after the softcap; ignores every exclusion */
    CLATTN_SCORES_MASKED = 3,  /* after the mask; -inf where excluded */
    CLATTN_SCORES_WEIGHTS = 4  /* after the softmax and dropout; 0 where excluded or dropped */
} clattn_scores_stage;

typedef enum clattn_lengths {
    CLATTN_LENGTHS_NONE = 0,
    CLATTN_LENGTHS_I32 = 1, /* [batch] of int32_t */
    CLATTN_LENGTHS_I64 = 2  /* [batch] of int64_t */
} clattn_lengths;

/*
 * What is to be computed. q_len and kv_len are the greatest that any run of the plan will have; strides are those of
 * every run that brings none of its own (see clattn_buffer), dense ones follow from these lengths, also in a run with
 * smaller lengths. For a cache [batch, capacity, heads, dim], kv_len is the capacity, the strides are {capacity * row,
 * dim, row, 1} with row = heads * dim, and each run gives the keys that are there; it costs what they cost. Where the
 * cache is allocated anew as it grows, kv_len is the most it will have, and a run brings the strides of the present
 * one. An extent of 0 in batch, q_heads or q_len is allowed and makes a run do nothing. Lengths and head dims are at
 * most 2^30, batch, heads and batch * q_heads at most 2^31 - 1: kernels count in int.
 */
typedef struct clattn_attention_desc {
    size_t struct_size;
    int64_t batch;
    int64_t q_heads;
    int64_t kv_heads; /* divides q_heads. Not defaulted: give q_heads for plain multi-head attention */
    int64_t q_len;
    int64_t kv_len;    /* may be 0 */
    int64_t head_dim;  /* at least 1 */
    int64_t value_dim; /* 0: head_dim */

    clattn_layout query; /* dtypes F32, F16 or BF16, each its own */
    clattn_layout key;
    clattn_layout value;
    clattn_layout output; /* no two elements in the same place: each stride covers the extents inside it */

    float scale;   /* 0: 1 / sqrt(head_dim), unless scale_set. Finite */
    int scale_set; /* not 0: the scale is `scale`, 0 too, with which scores are what is added to them */
    float softcap; /* 0: none. Finite, not negative */

    clattn_alignment alignment;
    int64_t offset;       /* with CLATTN_ALIGN_OFFSET: the default of a run's offset. Otherwise ignored */
    int causal;           /* not 0: keeps keys j <= p */
    int window;           /* not 0: keeps keys p - window_left <= j <= p + window_right, both ends included */
    int64_t window_left;  /* -1: no bound; 0, as init leaves it: none on this side. Read only if window is set */
    int64_t window_right; /* -1: no bound; 0, as init leaves it: none on this side. Read only if window is set */
    int64_t window_shift; /* added to p for causal and window, and for nothing else: causal with -1 keeps j < p,
                             strictly the past; a window 2, 0 with -1 keeps p - 3 to p - 1. Read only with one of the
                             two; counts as at most 2^39 in size */

    clattn_mask_kind mask_kind;
    int64_t mask_shape[4]; /* each extent 1 or that of [batch, q_heads, q_len, kv_len]; all 0: these four. Query i and
                              key j of a run use element (i, j), whatever the alignment. A last extent from 2 to
                              kv_len - 1, which covers some keys and not others, is refused unless there are kv_lengths
                              or kv_cu_lengths, none of which should exceed it, or mask_pad is set: it is mostly a
                              mask that was made for the new keys of a cache alone */
    clattn_layout mask;    /* over mask_shape */
    int mask_pad;          /* not 0: where the mask covers some keys and not others, the others are excluded, as if it
                              were padded with -inf. Without it, clattn_attention_host refuses lengths that exceed
                              the mask; a run, which cannot see them, excludes what the mask does not cover */

    clattn_lengths kv_lengths; /* keys of batch b from kv_lengths[b] on are excluded; clamped to 0..kv_len of the run */
    int lse;                   /* not 0: a run also writes lse, dense by the plan's lengths in a shorter run too */
    clattn_scores_stage scores_stage;
    clattn_layout scores; /* dtype F32, over [batch, q_heads, q_len, kv_len] */

    const char *variant; /* NULL or "auto": the best one for the device; otherwise this one or UNSUPPORTED. Read during
                            the call only */

    clattn_storage kv_storage;  /* CIRCULAR needs kv_lengths */
    int64_t page_size;          /* PAGED: rows of a block, 1 or more. Key and value are then laid out over [num_blocks,
                                   kv_heads, page_size, dim], strides[0] being that of blocks; a pool [num_blocks,
                                   page_size, kv_heads, dim] has the strides {page_size * kv_heads * dim, dim,
                                   kv_heads * dim, 1} */
    int64_t num_blocks;         /* PAGED: blocks of the pool, 1 or more */
    int64_t block_table_stride; /* PAGED: elements from one batch to the next of block_table, int32_t over
                                   [batch, ceil(kv_len / page_size)]; 0: dense */

    /* Sequences of different lengths, packed without padding: sequence b has rows cu[b] to cu[b + 1] - 1 of a tensor
       whose batch extent is 1. Cumulative lengths are [batch + 1], begin at 0 or later and never decrease; a sequence
       that is longer than q_len or kv_len, or reaches past the total, is cut there and counts as that long. The run's
       q_len and kv_len size its launch: give the longest sequences that it has. Variants are ranked by the plan's
       q_len: where most runs have few queries, keep a second plan of up to 16 for these. */
    clattn_lengths q_cu_lengths;  /* not NONE: query and output are [1, q_heads, q_total, dim], lse is [q_heads,
                                     q_total], no scores are given out; rows of no sequence are not written */
    int64_t q_total;              /* the most rows of any run; 0 only where nothing can have any */
    clattn_lengths kv_cu_lengths; /* not NONE: key and value are [1, kv_heads, kv_total, dim]; without kv_lengths, with
                                     LINEAR storage */
    int64_t kv_total;

    int sinks;               /* not 0: sinks[h], f32, joins the softmax of every row of head h as the logit of a key
                                without value (Xiao et al. 2023; above -FLT_MAX, or -inf for none) */
    int alibi;               /* not 0: -alibi_slopes[h] * |p - j| is added to the scores (Press et al. 2022). Needs an
                                alignment; positions farther out than 2^30 count as that. See clattn_alibi_slopes */
    int64_t alibi_batch;     /* 0 or 1: slopes [q_heads] for the whole batch; `batch`: [batch, q_heads], each its own */
    int64_t relative_extent; /* R, 1 or more: relative_bias[h][clamp(j - p, -R, R) + R] is added to the scores (Shaw et
                                al. 2018; Raffel et al. 2020), f32 [q_heads, 2R + 1]. Needs an alignment. 0: none */
    float dropout; /* the share of weights that become 0, in [0, 1), the others being divided by 1 - dropout (Srivastava
                      et al. 2014); every run then brings a seed. 0: none. See clattn_dropout_mask */
} clattn_attention_desc;

static inline void clattn_attention_desc_init(clattn_attention_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/*
 * Problem strings: one line for what is asked, the same in the tool, in logs and in tests.
 *
 *   b1h32g8q512k2048d128v64:f16:causal
 *
 * batch, query heads, key/value heads (gN, absent: as h), q_len, kv_len, head_dim, value_dim (vN, absent: as d); the
 * type of all four tensors; then, each after a colon, in any order and once at most:
 *
 *   causal (bottom-right), causal@top-left, causal@bottom-right, causal@N    N being the offset of the first query
 *   window=L,R@ALIGN       -1 for an end without bound; ALIGN as above
 *   shift=N                the window_shift of causal and window
 *   softcap=X    scale=X    lengths    lse    scores=raw|softcap|masked|weights    sinks
 *   mask=bool    mask=add    mask_shape after it where it is not that of the scores: mask=bool@1x1xQxK
 *   mask_pad               keys that the mask does not cover are excluded
 *   alibi@ALIGN    alibi=batch@ALIGN, slopes for each batch    relative=R@ALIGN
 *   dropout=P              with P from 0 to less than 1
 *   circular               with lengths
 *   paged=N                blocks of N keys, in a pool of batch * ceil(kv_len / N); paged=NxM: of M blocks
 *   ragged=q|kv|qkv        cumulative lengths for queries, keys or both; totals of batch * length, or those after @, in
 *                          that order: ragged=qkv@Q,KV
 *
 * What the string of a backward pass says besides is in backward.h.
 *
 * parse takes an initialised `desc`, resets it and sets what the string says, all tensors dense, an additive mask in
 * f32, lengths in int32_t. Fails with INVALID_VALUE, naming the part or field that is wrong and what was expected.
 *
 * format writes at most `size` bytes, the final 0 included, and returns the length that the whole string has, as
 * snprintf does; `text` may be NULL where size is 0. A descriptor that plan_create would refuse gives "". Strides,
 * the variant, the type of an additive mask (parse gives f32) and that of lengths (int32_t) have no place in the
 * string; where the types differ it gives them as Q-K-V-O, such as f32-f16-f16-f32. parse reads these too.
 */
CLATTN_API clattn_status clattn_attention_desc_parse(const char *problem, clattn_attention_desc *desc,
                                                     clattn_error *error);
CLATTN_API size_t clattn_attention_desc_format(const clattn_attention_desc *desc, char *text, size_t size);

/* The registry names of the variants of attention, `index` from 0; NULL past the last. */
CLATTN_API const char *clattn_attention_variant(size_t index);

/*
 * Chooses a variant for `desc`, builds its kernels and freezes them as a plan. May take seconds. On failure *plan
 * is left as it was.
 *
 *   INVALID_ARGUMENT   a NULL pointer, a wrong struct_size
 *   INVALID_VALUE      a field of `desc` that is out of its range or contradicts another; the message names it
 *   UNSUPPORTED        no variant, or not the one that desc->variant names, can compute it; the message says why
 *   OUT_OF_DEVICE_MEMORY, BUILD_FAILED, OPENCL, OUT_OF_HOST_MEMORY   as their names say
 */
CLATTN_API clattn_status clattn_attention_plan_create(clattn_context *context, const clattn_attention_desc *desc,
                                                      clattn_plan **plan, clattn_error *error);

/*
 * One run: buffers, and the lengths that hold this time. Buffers may be absent (all zero) where the tensor is not in
 * the plan or has no elements; what is given there is ignored. A buffer must reach the last element that the run's
 * lengths address through its strides. What lies past these lengths is never used and may hold anything.
 */
typedef struct clattn_attention_args {
    size_t struct_size;
    int64_t q_len;  /* at most the plan's; 0: none */
    int64_t kv_len; /* at most the plan's; 0: none */
    int64_t offset; /* read with CLATTN_ALIGN_OFFSET: the position of the first query among the keys */
    clattn_buffer query;
    clattn_buffer key;
    clattn_buffer value;
    clattn_buffer output;
    clattn_buffer mask;
    clattn_buffer kv_lengths;
    clattn_buffer lse;
    clattn_buffer scores;
    clattn_buffer workspace; /* absent: a run that needs one allocates it. Not for two runs at a time; keeps nothing */
    int64_t q_total;         /* ragged queries: rows of query and output, at most the plan's */
    int64_t kv_total;        /* ragged keys: rows of key and value, at most the plan's */
    clattn_buffer block_table; /* int32_t; strides over [batch, 1, 1, blocks] */
    clattn_buffer q_cu_lengths;
    clattn_buffer kv_cu_lengths;
    clattn_buffer sinks;         /* f32 [q_heads] */
    clattn_buffer alibi_slopes;  /* f32 [q_heads], or [batch, q_heads] by alibi_batch */
    clattn_buffer relative_bias; /* f32 [q_heads, 2 relative_extent + 1] */
    int dropout_seed_set;        /* not 0: there is a seed; a plan with dropout refuses to run without. The four are
                                    read by such plans alone */
    uint64_t dropout_seed;       /* any, 0 too */
    uint64_t dropout_offset;     /* another one, such as the number of the step, drops other weights */
    int64_t dropout_batch;       /* 0 or more: batch b drops what batch dropout_batch + b of a larger batch would, for
                                    one that is computed in several runs */
} clattn_attention_args;

/* Sets the lengths and the offset to the plan's, 0 where that is NULL, and leaves every buffer absent. */
static inline void clattn_attention_args_init(clattn_attention_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->q_len, &args->kv_len, &args->offset);
    clattn_plan_totals(plan, &args->q_total, &args->kv_total);
}

/*
 * Enqueues one run on `queue`, in-order or out-of-order, after the events of `wait_list` (NULL where num_events is 0).
 * Returns at once. `event`, unless NULL, receives the event of the whole run (the caller's to release), where nothing
 * had to be computed too. Once it has returned, the plan, the context and the buffers may be released: OpenCL keeps
 * them until the run is done. Until its event, inputs must not change and outputs are not to be read.
 *
 *   INVALID_ARGUMENT   a NULL pointer, a wrong struct_size, a plan that is not attention's, a queue of another context
 *                      or of a device that is neither the plan's nor a sub-device of it, a wait list that does not
 *                      match num_events
 *   INVALID_VALUE      a length or total above the plan's or negative; with CIRCULAR storage, a kv_len below the
 *                      plan's; strides of a buffer that a descriptor's could not be, or that the operand does not take;
 *                      with dropout, no seed or a negative dropout_batch
 *   INVALID_BUFFER     a buffer that is missing, of another context, too small, misaligned, created such that kernels
 *                      cannot do what they must (write outputs, read the others and scores), or an output that shares
 *                      bytes with another operand (elements count: views that interleave in one buffer are allowed)
 *   OUT_OF_DEVICE_MEMORY, OPENCL   as their names say; after the first enqueue the outputs are undefined
 */
CLATTN_API clattn_status clattn_attention_run(clattn_plan *plan, cl_command_queue queue,
                                              const clattn_attention_args *args, cl_uint num_events,
                                              const cl_event *wait_list, cl_event *event, clattn_error *error);

/* The same operands on the host. Pointers may be NULL where the tensor is not in the descriptor or has no elements. */
typedef struct clattn_attention_host_args {
    size_t struct_size;
    const void *query;
    const void *key;
    const void *value;
    void *output;
    const void *mask;
    const void *kv_lengths;
    float *lse;
    float *scores;
    const int32_t *block_table;
    const void *q_cu_lengths;
    const void *kv_cu_lengths;
    const float *sinks;
    const float *alibi_slopes;
    const float *relative_bias;
    int dropout_seed_set; /* as in clattn_attention_args */
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    int64_t dropout_batch;
} clattn_attention_host_args;

static inline void clattn_attention_host_args_init(clattn_attention_host_args *args)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
}

/*
 * Does the whole thing on host arrays laid out as `desc` says, and waits for the result: for first contact, tests and
 * foreign-function users. `context` may be NULL: a context on the default device is made for the call. Outputs change
 * only on success. Fails as plan_create and run do, but with INVALID_ARGUMENT where a pointer is missing or two outputs
 * share bytes, and with INVALID_VALUE where an element of kv_lengths is not in 0..kv_len (CIRCULAR: negative),
 * cumulative lengths decrease, pass their total or make a sequence longer than q_len or kv_len, a batch has more keys
 * than its mask covers and mask_pad is 0, or a block that a batch's keys need is not in the pool. An output may be an
 * input's array.
 */
CLATTN_API clattn_status clattn_attention_host(clattn_context *context, const clattn_attention_desc *desc,
                                               const clattn_attention_host_args *args, clattn_error *error);

/*
 * Which weights dropout keeps: kept[n] = 1 or 0 for the weight of query `query` and key first_key + n of a batch and
 * query head, n from 0 to count - 1, as every variant on every device does. `batch` counts from the first of the whole
 * batch: dropout_batch is in it. With packed sequences query and key are numbers within the sequence, as i and j are
 * everywhere. What is excluded is not looked at: it has weight 0 whether it is kept or not.
 *
 * The rule, in integers modulo 2^64, with q_heads, q_len and kv_len of the descriptor, not of a run:
 *
 *   element   = ((batch * q_heads + head) * q_len + query) * kv_len + key
 *   words     = Philox 4x32-10 (Salmon et al. 2011) of the counter {offset, offset >> 32, block, block >> 32}, where
 *               block is element rounded down to a multiple of 4, under the key {seed, seed >> 32}, each cut to 32 bits
 *   threshold = dropout * 2^32, rounded to the nearest integer, halves up
 *   kept      = words[element mod 4] >= threshold
 *
 *   INVALID_ARGUMENT   `desc` is NULL or has a wrong struct_size; `kept` is NULL with a count above 0
 *   INVALID_VALUE      a descriptor that plan_create would refuse; a batch that is negative, a head, query or key that
 *                      the descriptor does not have, a negative count
 */
CLATTN_API clattn_status clattn_dropout_mask(const clattn_attention_desc *desc, uint64_t seed, uint64_t offset,
                                             int64_t batch, int64_t head, int64_t query, int64_t first_key,
                                             int64_t count, unsigned char *kept, clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
