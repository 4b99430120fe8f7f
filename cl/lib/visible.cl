/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys a query sees, and what happens to a score on the way to the softmax: the one home of masks, windows,
 * position biases, softcap, sinks and whatever joins them. Every kernel goes through
 *
 *   visible_keys(batch, i)         the interval [x, y) of keys left by causality, window and lengths: one per row
 *   keep(batch, h, i, j, visible)  whether key j is seen by query i: the interval, the mask, and that its block exists
 *   capped(s)                      the softcap of scores that have been scaled, a float or a vector of them
 *   bias(batch, h, i, j)           what is then added to the score of a key that is seen: mask_bias and position_bias
 *   sink(h)                        the logit that joins the softmax of head h, at least the least finite number
 *   classify(j, end, some, all)    what a tile of keys is to a tile of rows: EMPTY, CUT or FULL
 *
 * whose arguments end with CLA_SEMANTICS, the run's values that kernels receive as CLA_SEMANTICS_PARAMS. The interval's
 * ends never decrease from one row to the next, so two rows bound all those between them.
 *
 *   CLA_BAND         1: keys are bounded by position, p - left <= j <= p + right with p = i + offset
 *   CLA_BOTTOM_RIGHT 1: the offset is the batch's kv_len - q_len; 0: the run's
 *   CLA_MASK         0: none; 1: boolean; 2: additive, -inf excludes
 *   CLA_ALIBI        1: adds -alibi_slopes[b][h] * |p - j|, those of all batches being the same where the stride is 0
 *   CLA_RELATIVE     1: adds relative_bias[h][clamp(j - p, -R, R) + R]
 *   CLA_SOFTCAP      1: softcap * tanh(s / softcap)
 *   CLA_SINKS        1: sinks[h] joins the softmax
 */
#if !defined(CLA_BAND) || !defined(CLA_BOTTOM_RIGHT) || !defined(CLA_MASK) || !defined(CLA_ALIBI) ||                   \
    !defined(CLA_RELATIVE) || !defined(CLA_SOFTCAP) || !defined(CLA_SINKS)
#error "visible.cl: a semantic switch is not defined"
#endif

#if CLA_BAND || CLA_ALIBI || CLA_RELATIVE
#define CLA_POSITION_PARAM , long offset, long left, long right
#define CLA_POSITION_ARG   , offset, left, right
#else
#define CLA_POSITION_PARAM
#define CLA_POSITION_ARG
#endif

#if CLA_MASK /* mask_keys: x the stride between keys, 0 or 1; y the keys that the mask covers, the rest being excluded */
#define CLA_MASK_PARAM , __global const mask_t *mask, long4 mask_view, int2 mask_keys
#define CLA_MASK_ARG   , mask, mask_view, mask_keys
#else
#define CLA_MASK_PARAM
#define CLA_MASK_ARG
#endif

#if CLA_ALIBI
#define CLA_ALIBI_PARAM , __global const float *alibi_slopes, long4 alibi_view
#define CLA_ALIBI_ARG   , alibi_slopes, alibi_view
#else
#define CLA_ALIBI_PARAM
#define CLA_ALIBI_ARG
#endif

#if CLA_RELATIVE
#define CLA_RELATIVE_PARAM , __global const float *relative_bias, long4 relative_view, int relative_extent
#define CLA_RELATIVE_ARG   , relative_bias, relative_view, relative_extent
#else
#define CLA_RELATIVE_PARAM
#define CLA_RELATIVE_ARG
#endif

#if CLA_SINKS
#define CLA_SINKS_PARAM , __global const float *sinks, long4 sinks_view
#define CLA_SINKS_ARG   , sinks, sinks_view
#else
#define CLA_SINKS_PARAM
#define CLA_SINKS_ARG
#endif

#define CLA_SEMANTICS_PARAMS                                                                                           \
    CLA_PLACES_PARAMS, float scale, float softcap CLA_POSITION_PARAM CLA_MASK_PARAM CLA_ALIBI_PARAM CLA_RELATIVE_PARAM \
        CLA_SINKS_PARAM CLA_DROPOUT_PARAM
#define CLA_SEMANTICS                                                                                                  \
    CLA_PLACES, scale, softcap CLA_POSITION_ARG CLA_MASK_ARG CLA_ALIBI_ARG CLA_RELATIVE_ARG CLA_SINKS_ARG CLA_DROPOUT_ARG

#if CLA_SOFTCAP
#define capped(s) (softcap * tanh((s) / softcap))
#else
#define capped(s) (s)
#endif

enum { CLA_EMPTY, CLA_CUT, CLA_FULL };

#if CLA_BAND || CLA_ALIBI || CLA_RELATIVE
static inline long position_of(const struct batch *batch, int i, CLA_SEMANTICS_PARAMS)
{
    return i + (CLA_BOTTOM_RIGHT ? (long)(batch->kv_len - batch->q_len) : offset);
}
#endif

/*
 * Whether a key between the first and the last that some row of a tile sees may be seen by none: intervals of successive
 * rows leave no gap, masks and blocks that the pool does not have do.
 */
#define CLA_HIDDEN_KEYS (CLA_MASK || CLA_STORAGE == 2)

static inline int2 visible_keys(const struct batch *batch, int i, CLA_SEMANTICS_PARAMS)
{
#if CLA_BAND
    const long p = position_of(batch, i, CLA_SEMANTICS);
    const long end = batch->kv_len;
    return (int2)((int)clamp(p - left, 0L, end), (int)clamp(p + right + 1, 0L, end));
#else
    return (int2)(0, batch->kv_len);
#endif
}

#if CLA_MASK
static inline long mask_index(int b, int h, int i, int j, long4 mask_view, int2 mask_keys)
{
    return view_row(mask_view, b, h, i) + (long)j * mask_keys.x;
}
#endif

static inline int keep(const struct batch *batch, int h, int i, int j, int2 visible, CLA_SEMANTICS_PARAMS)
{
    int kept = j >= visible.x && j < visible.y && i < batch->q_len;
#if CLA_STORAGE == 2
    /* read whatever was decided: behind a branch, LLVM 18 may read the table at a page that it has not computed */
    const int known = clamp(j, 0, max(batch->kv_len - 1, 0));
    kept &= pages_exist(batch, known, known + 1, CLA_PLACES);
#endif
#if CLA_MASK == 1
    kept = kept && j < mask_keys.y && mask[mask_index(batch->index, h, i, j, mask_view, mask_keys)] != 0;
#elif CLA_MASK == 2
    kept = kept && j < mask_keys.y && load_mask(mask, mask_index(batch->index, h, i, j, mask_view, mask_keys)) != -INFINITY;
#endif
    return kept;
}

/* Reads the mask, so only for a pair that keep() lets through. */
static inline float mask_bias(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
#if CLA_MASK == 2
    return load_mask(mask, mask_index(batch->index, h, i, j, mask_view, mask_keys));
#else
    return 0.0f;
#endif
}

#if CLA_ALIBI || CLA_RELATIVE
/* The position of a query as far as biases can tell: farther away than any key is, it counts as 2^30. */
static inline int near_position(const struct batch *batch, int i, CLA_SEMANTICS_PARAMS)
{
    return (int)clamp(position_of(batch, i, CLA_SEMANTICS), -(1L << 30), 1L << 30);
}
#endif

#if CLA_RELATIVE
static inline float relative_bias_at(int h, int distance, CLA_SEMANTICS_PARAMS)
{
    return relative_bias[relative_view.x + h * relative_view.z + clamp(distance, -relative_extent, relative_extent) +
                         relative_extent];
}
#endif

static inline float position_bias(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    float sum = 0.0f;
#if CLA_ALIBI || CLA_RELATIVE
    const int distance = j - near_position(batch, i, CLA_SEMANTICS);
#endif
#if CLA_ALIBI
    sum -= alibi_slopes[view_row(alibi_view, batch->index, h, 0)] * fabs((float)distance);
#endif
#if CLA_RELATIVE
    sum += relative_bias_at(h, distance, CLA_SEMANTICS);
#endif
    return sum;
}

static inline float bias(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    return mask_bias(batch, h, i, j, CLA_SEMANTICS) + position_bias(batch, h, i, j, CLA_SEMANTICS);
}

#if CLA_SINKS
static inline float sink(int h, CLA_SEMANTICS_PARAMS)
{
    return q_len > 0 ? fmax(sinks[sinks_view.x + h], -FLT_MAX) : 0.0f; /* the first launch of a plan has no buffers */
}
#endif

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

static inline int classify(const struct batch *batch, int j, int end, int2 some, int2 all, CLA_PLACES_PARAMS)
{
    if (j >= some.y || end <= some.x)
        return CLA_EMPTY;
    if (CLA_MASK || j < all.x || end > all.y)
        return CLA_CUT;
    return pages_exist(batch, j, end, CLA_PLACES) ? CLA_FULL : CLA_CUT;
}
