/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys a query sees, and what happens to a score on the way to the softmax: the one home of masks, windows,
 * lengths, softcap and whatever joins them. Every kernel goes through
 *
 *   visible_keys(b, i)         the interval [x, y) of keys left by causality, window and lengths: one per row
 *   keep(b, h, i, j, visible)  whether key j is seen by query i: the interval and the mask
 *   capped(s)                  the softcap of scores that have been scaled, a float or a vector of them
 *   bias(b, h, i, j)           what is then added to the score of a key that is seen
 *   classify(j, end, rows)     what a tile of keys is to a tile of rows: EMPTY, CUT or FULL
 *
 * whose arguments end with CLA_SEMANTICS, the run's values that kernels receive as CLA_SEMANTICS_PARAMS. The interval's
 * ends never decrease from one row to the next, so two rows bound all those between them.
 *
 *   CLA_BAND         1: keys are bounded by position, p - left <= j <= p + right with p = i + offset
 *   CLA_BOTTOM_RIGHT 1: the offset is the batch's kv_len - q_len; 0: the run's
 *   CLA_LENGTHS      0: kv_len for every batch; 1, 2: kv_lengths[b] of 32, 64 bits, clamped to 0..kv_len
 *   CLA_MASK         0: none; 1: boolean; 2: additive, -inf excludes
 *   CLA_SOFTCAP      1: softcap * tanh(s / softcap)
 */
#if !defined(CLA_BAND) || !defined(CLA_BOTTOM_RIGHT) || !defined(CLA_LENGTHS) || !defined(CLA_MASK) ||                 \
    !defined(CLA_SOFTCAP)
#error "visible.cl: a semantic switch is not defined"
#endif

#if CLA_LENGTHS == 2
#define length_t long
#else
#define length_t int
#endif

/* mask_keys: x the stride between keys, 0 or 1; y the number of keys that the mask covers, the rest being excluded. */
#define CLA_SEMANTICS_PARAMS                                                                                           \
    int q_len, int kv_len, float scale, float softcap, long offset, long left, long right,                             \
        __global const mask_t *mask, long4 mask_view, int2 mask_keys, __global const length_t *kv_lengths,             \
        long4 kv_lengths_view
#define CLA_SEMANTICS                                                                                                  \
    q_len, kv_len, scale, softcap, offset, left, right, mask, mask_view, mask_keys, kv_lengths, kv_lengths_view

#if CLA_SOFTCAP
#define capped(s) (softcap * tanh((s) / softcap))
#else
#define capped(s) (s)
#endif

enum { CLA_EMPTY, CLA_CUT, CLA_FULL };

static inline int2 visible_keys(int b, int i, CLA_SEMANTICS_PARAMS)
{
    long length = kv_len;
#if CLA_LENGTHS
    if (kv_len > 0) /* the first launch of a plan has no buffers */
        length = clamp((long)kv_lengths[kv_lengths_view.x + b], 0L, (long)kv_len);
#endif
    long first = 0;
    long end = length;
#if CLA_BAND
    const long p = i + (CLA_BOTTOM_RIGHT ? length - q_len : offset);
    first = clamp(p - left, 0L, length);
    end = clamp(p + right + 1, 0L, length);
#endif
    return (int2)((int)first, (int)end);
}

#if CLA_MASK
static inline long mask_index(int b, int h, int i, int j, long4 mask_view, int2 mask_keys)
{
    return view_row(mask_view, b, h, i) + (long)j * mask_keys.x;
}
#endif

static inline int keep(int b, int h, int i, int j, int2 visible, CLA_SEMANTICS_PARAMS)
{
    int kept = j >= visible.x && j < visible.y && i < q_len;
#if CLA_MASK == 1
    kept = kept && j < mask_keys.y && mask[mask_index(b, h, i, j, mask_view, mask_keys)] != 0;
#elif CLA_MASK == 2
    kept = kept && j < mask_keys.y && load_mask(mask, mask_index(b, h, i, j, mask_view, mask_keys)) != -INFINITY;
#endif
    return kept;
}

/* Reads the mask, so only for a pair that keep() lets through. */
static inline float bias(int b, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
#if CLA_MASK == 2
    return load_mask(mask, mask_index(b, h, i, j, mask_view, mask_keys));
#else
    return 0.0f;
#endif
}

/*
 * What some row of a tile sees and what all its rows see of keys [j, end). `some` and `all` come from the intervals of
 * the tile's first and last row. A mask cuts every tile.
 */
static inline int2 visible_to_some(int2 first_row, int2 last_row)
{
    return (int2)(first_row.x, last_row.y);
}

static inline int2 visible_to_all(int2 first_row, int2 last_row)
{
    return (int2)(last_row.x, first_row.y);
}

static inline int classify(int j, int end, int2 some, int2 all)
{
    if (j >= some.y || end <= some.x)
        return CLA_EMPTY;
    return CLA_MASK || j < all.x || end > all.y ? CLA_CUT : CLA_FULL;
}
