/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash attention for devices with wide vectors and caches: one work-item is a work-group, and a vector holds the same element of
 * CLA_LANES queries. Keys and values are read in their own layout, each element broadcast to all lanes, so nothing is
 * packed, and maxima and sums over keys are vertical: no lane ever meets another.
 *
 *   O[b,h,i] = sum over j of softmax(S[b,h,i,j]) V[b,g,j]   lse[b,h,i] = ln sum e^S   S = scale Q . K, capped and masked
 *
 *   query [b, q_heads, q_len, CLA_HEAD_DIM]   key [b, kv_heads, kv_len, CLA_HEAD_DIM]   value [.., CLA_VALUE_DIM]
 *   output [b, q_heads, q_len, CLA_VALUE_DIM]   lse [b, q_heads, q_len] f32
 *
 * A work-item owns ROWS query rows of one head and keeps, in private memory,
 *
 *   turned_query [CLA_HEAD_DIM][CLA_VECTORS]   queries, times the scale
 *   weights      [CLA_TILE_KV][CLA_VECTORS]    scores of a tile of keys, then e^(score - largest)
 *   out          [SUMS][CLA_VECTORS]           the sums so far: of the values' columns, then of the weights
 *   held         [SUMS][CLA_VECTORS]           what `out` is added to after HELD_TERMS terms, with what that loses left in it
 *
 * For each tile of keys that some row sees: scores in blocks of CLA_BLOCK keys x CLA_VECTORS, the dims innermost; then the
 * weights; then out in blocks of CLA_BLOCK dims x CLA_VECTORS, the keys innermost. A block's sums stay in registers. `out`
 * is rescaled only where a maximum has grown by more than 8 in powers of two since the last time: the weights then stay below
 * 2^8, and most tiles skip the rescaling. Keys and values in f16 or bf16, or in pages, are copied to floats in private memory:
 * CLA_BLOCK keys, or COLUMNS columns of the values, at a time, which the nearest cache holds until they are used.
 *
 * With CLA_DOT everything is in bf16 and products are those of dot_block.cl: pairs of dims make a score, pairs of keys a sum. Keys
 * are used where they lie, and the rows of two values are interleaved as they are copied. The scale comes behind the product, since
 * a query times it would have to be rounded. Weights are rounded to bf16; what divides the sums are the weights after that, so that
 * a row that sees one key, or one value, has just that. With dropout, which takes weights out of sums alone, it is those before.
 *
 * Scores are in powers of two, log2(e) being folded into the scale, unless softcap, a sink or something that is added needs their
 * natural value: then log2(e) is applied to the difference from the maximum, where it cannot overflow.
 *
 * Work-groups alternate between the lightest and the heaviest query tile left of a head, so that every contiguous range of
 * groups, which is what a CPU's thread takes at a time, has about the same work under causality.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_KEYS                      keys a tile, a multiple of CLA_BLOCK and of CLA_LANES, at most 64
 *   CLA_LSE                       1: write lse
 *
 * Local memory: none. Private memory: 4 ROWS (CLA_HEAD_DIM + 2 SUMS + CLA_KEYS) bytes and, for an additive mask,
 * 4 ROWS CLA_KEYS, for copied keys and values 4 (CLA_BLOCK CLA_HEAD_DIM + CLA_KEYS COLUMNS).
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_KEYS) || !defined(CLA_LSE)
#error "flash_vector.cl: a parameter is not defined"
#endif
#if CLA_KEYS > 64
#error "flash_vector.cl: a tile has at most 64 keys"
#endif

#define LOG2E  1.44269504088896340736f
#define LN2    0.69314718055994530942f
#define BASE_2 (!CLA_SOFTCAP && CLA_MASK != 2 && !CLA_ALIBI && !CLA_RELATIVE && !CLA_SINKS)
#define UNIT   (BASE_2 ? LOG2E : 1.0f) /* of scores */

/* Whether scores are products as they are: then the factor to powers of two is applied with the difference from the maximum. */
#define RAW (CLA_DOT != 0 && BASE_2)

/* What 2 is raised to for the weight of score s, base being what `largest` has of its row. */
#define POWER(s, base) (RAW ? (s) * factor - (base) : BASE_2 ? (s) - (base) : ((s) - (base)) * LOG2E)

/*
 * Head dims that are summed in order; the sums of such runs are then added, since errors grow with the length of a run. Pairs have
 * longer ones, since what is rounded after them is the larger part of the error.
 */
#if CLA_DOT
#define RUN 128
#else
#define RUN 64
#endif

/*
 * Sums of a row: of the values' columns, of the weights by which these are multiplied and, where that is another one, of the weights
 * as they are before they are rounded, for lse. The terms after which they are held are each the sum of a run of keys: a tile that
 * all rows see is one.
 */
#if CLA_DOT != 0 && CLA_DROPOUT == 0
#define SUM_ROUNDED 1
#define SUM_WHOLE CLA_LSE
#else
#define SUM_ROUNDED 0
#define SUM_WHOLE 1
#endif
#define SUMS        (CLA_VALUE_DIM + SUM_ROUNDED + SUM_WHOLE)
#define HELD_TERMS 32

/* Powers of two by which a maximum may lag behind. */
#define LAG    8.0f

/* Stands for "no score yet". Finite: -inf would make -inf - -inf of a row without keys. */
#define NO_SCORE (-FLT_MAX)

/* Whether scores are more than products. */
#define REFINED (CLA_SOFTCAP != 0 || CLA_MASK == 2 || CLA_ALIBI != 0 || CLA_RELATIVE != 0)

/* Whether a score that is not cut is final as its block leaves it. */
#define AS_PRODUCED (REFINED == 0 && (CLA_DOT == 0 || RAW != 0))

/* What is copied at a time: rows of so many floats of keys, so many columns of the values. */
#define KEY_STRIDE WHOLE_VECTORS(CLA_HEAD_DIM)
#define COLUMNS    16

/* What a row keeps of its query. */
#if CLA_DOT
#define TURNED (CLA_HEAD_DIM / 2)
#else
#define TURNED CLA_HEAD_DIM
#endif

/* tile[count][stride] = `width` elements, at most the stride, of `count` rows as floats, row k from at[k] on. */
#define DEFINE_COPY(name)                                                                                              \
    APART static void copy_##name##s(vec_t *tile, int stride, __global const name##_t *from, const long *at, int count,        \
                                     int width)                                                                        \
    {                                                                                                                  \
        for (int k = 0; k < count; k++) {                                                                              \
            for (int d = 0; d < width; d += CLA_LANES)                                                                 \
                tile[(k * stride + d) / CLA_LANES] = load_some_##name(from + at[k] + d, width - d);                    \
        }                                                                                                              \
    }

#if COPY_KEYS
DEFINE_COPY(key)
#endif
#if COPY_VALUES
DEFINE_COPY(value)
#endif

/* scores[count][CLA_VECTORS] = keys . queries; most[CLA_VECTORS], unless NULL, is raised to the largest. */
#if CLA_DOT
static inline void score_keys(vec_t *scores, const vec_t *turned_query, __global const key_t *keys, const long *at, int count,
                              vec_t *most)
{
    for (int d = 0; d < CLA_HEAD_DIM; d += RUN)
        dot_rows(scores, (const uvec_t *)turned_query + d / 2 * CLA_VECTORS, keys + d, at, min(RUN, CLA_HEAD_DIM - d) / 2, count,
                 d > 0, d + RUN >= CLA_HEAD_DIM ? most : NULL);
}

/* Scores that are not RAW become so. */
static inline void scale_scores(vec_t *scores, int count, float factor)
{
    for (int n = 0; n < count * CLA_VECTORS; n++)
        scores[n] *= factor;
}
#else
static inline void score_keys(vec_t *scores, const vec_t *turned_query, KEY_SPACE const float *keys, long stride, int count,
                              vec_t *most)
{
    for (int d = 0; d < CLA_HEAD_DIM; d += RUN)
        dot_keys(scores, turned_query + d * CLA_VECTORS, keys + d, stride, min(RUN, CLA_HEAD_DIM - d), count, d > 0,
                 d + RUN >= CLA_HEAD_DIM ? most : NULL);
}
#endif

/* Raises most[CLA_VECTORS] to the largest of scores[count][CLA_VECTORS]. */
APART static void raise(vec_t *most, const vec_t *scores, int count)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        vec_t m = most[v];
        for (int k = 0; k < count; k++) {
            const vec_t s = scores[k * CLA_VECTORS + v];
            m = s > m ? s : m;
        }
        most[v] = m;
    }
}

/*
 * Where `most` exceeds `largest` by more than LAG, in any lane, it becomes the largest, and what has been summed so far fades
 * accordingly; `held` has sums if `holds`. RAW scores become powers of two here, times `factor`.
 */
APART static void follow(vec_t *largest, vec_t *most, float factor, vec_t *out, vec_t *held, int holds)
{
    ivec_t grown = (ivec_t)(0);
    for (int v = 0; v < CLA_VECTORS; v++) {
        most[v] = RAW ? most[v] * factor : most[v];
        grown |= most[v] > largest[v] + (BASE_2 ? LAG : LAG * LN2);
    }
    if (or_lanes(as_uvec(grown)) == 0)
        return;
    vec_t fade[CLA_VECTORS];
    for (int v = 0; v < CLA_VECTORS; v++) {
        most[v] = most[v] > largest[v] ? most[v] : largest[v];
        fade[v] = vec_exp2((largest[v] - most[v]) * (BASE_2 ? 1.0f : LOG2E));
        largest[v] = most[v];
    }
    for (int d = 0; d < SUMS; d++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            out[d * CLA_VECTORS + v] *= fade[v];
    }
    for (int d = 0; d < SUMS && holds; d++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            held[d * CLA_VECTORS + v] *= fade[v];
    }
}

/* Makes weights of scores[count][CLA_VECTORS], adds them to sum[CLA_VECTORS], and asks for the values meanwhile. */
APART static void weigh(vec_t *scores, int count, const vec_t *largest, float factor, vec_t *sum,
                        __global const value_t *values, long value_stride)
{
    vec_t base[CLA_VECTORS], tile_sum[CLA_VECTORS]; /* in registers */
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++) {
        base[v] = largest[v];
        tile_sum[v] = (vec_t)(0.0f);
    }
    for (int k = 0; k < count; k++) {
        for (int d = 0; d < CLA_VALUE_DIM; d += 64 / (int)sizeof(value_t))
            prefetch_line(values + k * value_stride + d);
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            const vec_t p = vec_exp2(POWER(scores[k * CLA_VECTORS + v], base[v]));
            tile_sum[v] += p;
            scores[k * CLA_VECTORS + v] = p;
        }
    }
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++)
        sum[v] += tile_sum[v];
}

#if SUM_ROUNDED
#if SUM_WHOLE
#define EXP2 vec_exp2
#else
#define EXP2 vec_exp2_bf16
#endif

/*
 * The same, and makes pairs of keys of the weights, in place: those of keys 2 k and 2 k + 1 become vector k; the weight that an odd
 * last one lacks is 0. sum[CLA_VECTORS] receives what the pairs are, after rounding, sum[CLA_VECTORS + v], if SUM_WHOLE, the weights.
 */
APART static void weigh_pairs(vec_t *scores, int count, const vec_t *largest, float factor, vec_t *sum,
                              __global const value_t *values, long value_stride)
{
    uvec_t *const pairs = (uvec_t *)scores;
    vec_t base[CLA_VECTORS], pair_sum[CLA_VECTORS], whole_sum[CLA_VECTORS]; /* in registers */
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++) {
        base[v] = largest[v];
        pair_sum[v] = whole_sum[v] = (vec_t)(0.0f);
        if (count % 2 != 0)
            scores[count * CLA_VECTORS + v] = (vec_t)(-INFINITY);
    }
    for (int k = 0; k < count; k += 2) {
        for (int d = 0; d < CLA_VALUE_DIM; d += 64 / (int)sizeof(value_t)) {
            prefetch_line(values + k * value_stride + d);
            prefetch_line(values + (k + 1) * value_stride + d);
        }
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            const vec_t low = EXP2(POWER(scores[k * CLA_VECTORS + v], base[v]));
            const vec_t high = EXP2(POWER(scores[(k + 1) * CLA_VECTORS + v], base[v]));
            const uvec_t pair = pair_of(low, high);
            if (SUM_WHOLE)
                whole_sum[v] += low + high;
            pair_sum[v] = dot_pair(pair_sum[v], pair, (uvec_t)(ONES));
            pairs[k / 2 * CLA_VECTORS + v] = pair;
        }
    }
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++) {
        sum[v] += pair_sum[v];
        if (SUM_WHOLE)
            sum[CLA_VECTORS + v] += whole_sum[v];
    }
}
#endif

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
flash_vector(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
             __global const value_t *value, long4 value_view, __global output_t *output, long4 output_view,
             __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS)
{
    vec_t turned_query[WHOLE_VECTORS(TURNED) * CLA_VECTORS];
    vec_t weights[CLA_KEYS * CLA_VECTORS];
    vec_t out[SUMS * CLA_VECTORS];
    vec_t held[SUMS * CLA_VECTORS];
    vec_t *const sum = out + CLA_VALUE_DIM * CLA_VECTORS;
    vec_t largest[CLA_VECTORS];
    int terms = 0;
    int holds = 0;
    struct rows rows;
    uint kept[2 * ROWS];
    vec_t added[CLA_MASK == 2 ? CLA_KEYS * CLA_VECTORS : 1];
#if COPY_KEYS
    vec_t key_tile[CLA_BLOCK * KEY_STRIDE / CLA_LANES];
#endif
#if CLA_DOT
    uvec_t value_tile[CLA_KEYS / 2 * COLUMNS / CLA_LANES];
#elif COPY_VALUES
    vec_t value_tile[CLA_KEYS * COLUMNS / CLA_LANES];
#endif
#if COPY_KEYS || COPY_VALUES || CLA_DOT
    long row_at[CLA_KEYS];
#endif

    const int row_tiles = max(1, (q_len + ROWS - 1) / ROWS);
    const uint2 order = divide((uint)get_group_id(0), (uint)row_tiles);
    const uint2 head = divide(order.x, (uint)q_heads);
    const int tile = (int)(order.y & 1 ? (uint)row_tiles - 1 - order.y / 2 : order.y / 2);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    const int i0 = tile * ROWS;
    const int count_rows = clamp(batch.q_len - i0, 0, ROWS);
    if (count_rows == 0) /* of a packed sequence that is shorter; no barrier follows */
        return;
    rows_of(&rows, &batch, h, i0, count_rows, CLA_SEMANTICS);
    const int2 some = rows.some;

    long at[ROWS];
    for (int r = 0; r < ROWS; r++)
        at[r] = query_row(query_view, &batch, h, rows.query[r]);
    float factor = scale * UNIT;
#if CLA_DOT
    turn_pairs((uvec_t *)turned_query, query, at, TURNED);
    if (factor <= 0.0f) { /* so that a score that is larger is one whose weight is */
        for (int n = 0; n < TURNED * CLA_VECTORS; n++)
            turned_query[n] = factor < 0.0f ? as_vec(as_uvec(turned_query[n]) ^ 0x80008000u) : (vec_t)(0.0f);
        factor = factor < 0.0f ? -factor : 1.0f;
    }
#else
    turn_rows(turned_query, query, at, CLA_HEAD_DIM, factor);
#endif
    for (int n = 0; n < SUMS * CLA_VECTORS; n++)
        out[n] = (vec_t)(0.0f);
    for (int v = 0; v < CLA_VECTORS; v++)
        largest[v] = (vec_t)(NO_SCORE);
#if CLA_SINKS
    const float logit = sink(h, CLA_SEMANTICS);
    for (int v = 0; v < CLA_VECTORS && logit > -FLT_MAX; v++) {
        largest[v] = (vec_t)(logit);
        sum[v] = (vec_t)(1.0f);
        out[(SUMS - 1) * CLA_VECTORS + v] = (vec_t)(1.0f);
    }
#endif

    for (int j0 = some.x, count; j0 < some.y; j0 += count) {
        count = min(CLA_KEYS, some.y - j0);
#if !CLA_DOT && (!COPY_KEYS || !COPY_VALUES)
        count = min(count, key_run(&batch, j0, some.y, CLA_PLACES));
#endif
        int cut = classify(&batch, j0, j0 + count, some, rows.all, CLA_PLACES) != CLA_FULL;
        ulong seen = ~0ul;
        if (cut)
            seen = keep_pairs(kept, added, &cut, &rows, &batch, j0, count, CLA_SEMANTICS);
        if (seen == 0)
            continue;

        vec_t most[CLA_VECTORS];
        for (int v = 0; v < CLA_VECTORS; v++)
            most[v] = (vec_t)(NO_SCORE);
        const int final = AS_PRODUCED ? !cut : 0;
#if COPY_KEYS || CLA_DOT
        for (int k = 0; k < count; k++)
            row_at[k] = key_row(key_view, &batch, g, j0 + k, CLA_PLACES);
#endif
#if CLA_DOT
        score_keys(weights, turned_query, key, row_at, count, final ? most : NULL);
        if (!RAW)
            scale_scores(weights, count, factor);
#elif COPY_KEYS
        for (int k = 0; k < count; k += CLA_BLOCK) {
            const int block = min(CLA_BLOCK, count - k);
            copy_keys(key_tile, KEY_STRIDE, key, row_at + k, block, CLA_HEAD_DIM);
            score_keys(weights + k * CLA_VECTORS, turned_query, (const float *)key_tile, KEY_STRIDE, block, final ? most : NULL);
        }
#else
        score_keys(weights, turned_query, key + key_row(key_view, &batch, g, j0, CLA_PLACES), key_view.w, count,
                   final ? most : NULL);
#endif
#if CLA_SOFTCAP
        cap_scores(weights, count, softcap);
#endif
#if CLA_ALIBI || CLA_RELATIVE
        add_position_bias(weights, &rows, j0, count, CLA_SEMANTICS);
#endif
#if CLA_MASK == 2
        for (int n = 0; n < count * CLA_VECTORS; n++)
            weights[n] += added[n];
#endif
        if (cut)
            cut_scores(weights, kept, count);
        if (!final)
            raise(most, weights, count);
        follow(largest, most, factor, out, held, holds);
        __global const value_t *values = value + value_row(value_view, &batch, g, j0, CLA_PLACES);
#if SUM_ROUNDED
        weigh_pairs(weights, count, largest, factor, sum, values, value_view.w);
#else
        weigh(weights, count, largest, factor, sum, values, value_view.w);
#endif
#if CLA_DROPOUT
        drop_weights(weights, &rows, j0, count, dropout_key, dropout_threshold);
#endif
#if COPY_VALUES || CLA_DOT
        for (int k = 0; k < count; k++)
            row_at[k] = value_row(value_view, &batch, g, j0 + k, CLA_PLACES);
#endif
#if CLA_DOT
#if !SUM_ROUNDED
        pair_weights(weights, count);
#endif
        terms++;
        for (int d = 0; d < CLA_VALUE_DIM; d += COLUMNS) {
            const int width = min(COLUMNS, CLA_VALUE_DIM - d);
            pair_values(value_tile, COLUMNS, value + d, row_at, count, seen, width);
            add_pairs(out + d * CLA_VECTORS, (const uvec_t *)weights, (const uint *)value_tile, COLUMNS, (count + 1) / 2, width);
        }
#else
        /* In runs of keys that some row sees: those that none sees must not reach a product, not even multiplied by 0. */
        for (int k = 0, run; k < count; k += run + 1) {
            const ulong hidden = ~(seen >> k);
            run = min(count - k, (int)popcount((hidden - 1) & ~hidden));
            terms += run > 0;
            const vec_t *run_weights = weights + k * CLA_VECTORS;
#if COPY_VALUES
            for (int d = 0; run > 0 && d < CLA_VALUE_DIM; d += COLUMNS) {
                const int width = min(COLUMNS, CLA_VALUE_DIM - d);
                copy_values(value_tile, COLUMNS, value + d, row_at + k, run, width);
                add_values(out + d * CLA_VECTORS, run_weights, (const float *)value_tile, COLUMNS, run, width);
            }
#else
            if (run > 0)
                add_values(out, run_weights, values + k * value_view.w, value_view.w, run, CLA_VALUE_DIM);
#endif
        }
#endif
        if (terms >= HELD_TERMS) {
            hold_sums(held, out, SUMS * CLA_VECTORS, holds);
            holds = 1;
            terms = 0;
        }
    }
    for (int n = 0; n < SUMS * CLA_VECTORS && holds; n++)
        out[n] += held[n];

    for (int v = 0; v < CLA_VECTORS; v++) {
        vec_t inverse = sum[v] == 0.0f ? (vec_t)(0.0f) : 1.0f / sum[v];
#if CLA_DROPOUT
        inverse *= dropout_scale;
#endif
        for (int d = 0; d < CLA_VALUE_DIM; d++)
            out[d * CLA_VECTORS + v] *= inverse;
    }
    for (int r = 0; r < rows.count; r++) {
        const float most = ((const float *)largest)[r] * (BASE_2 ? LN2 : 1.0f);
        const float row_lse = most + log(((const float *)(out + (SUMS - 1) * CLA_VECTORS))[r]);
        at[r] = query_row(output_view, &batch, h, rows.query[r]);
#if CLA_LSE
        lse[query_row(lse_view, &batch, h, rows.query[r])] = row_lse;
#endif
    }
    store_rows(output, at, rows.count, out, CLA_VALUE_DIM);
}
