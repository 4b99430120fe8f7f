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
 * A work-item owns CLA_TILE_Q = CLA_VECTORS * CLA_LANES query rows of one head and keeps, in private memory,
 *
 *   turned_query [CLA_HEAD_DIM][CLA_VECTORS]   queries, times the scale
 *   weights      [CLA_TILE_KV][CLA_VECTORS]    scores of a tile of keys, then e^(score - largest)
 *   out          [CLA_VALUE_DIM][CLA_VECTORS]  the sums so far
 *
 * For each tile of keys that some row sees: scores in blocks of CLA_BLOCK keys x CLA_VECTORS, the dims innermost; then the
 * weights; then out in blocks of CLA_BLOCK dims x CLA_VECTORS, the keys innermost. A block's sums stay in registers. `out`
 * is rescaled only where a maximum has grown by more than 8 in powers of two since the last time: the weights then stay below
 * 2^8, and most tiles skip the rescaling. Keys and values in f16 or bf16 are widened to a tile in private memory first.
 *
 * Scores are in powers of two, log2(e) being folded into the scale, unless softcap or an additive mask needs their natural
 * value: then log2(e) is applied to the difference from the maximum, where it cannot overflow.
 *
 * Work-groups alternate between the lightest and the heaviest query tile left of a head, so that every contiguous range of
 * groups, which is what a CPU's thread takes at a time, has about the same work under causality.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_LANES, CLA_VECTORS        4, 8 or 16; 1 to 3
 *   CLA_BLOCK                     keys and dims a register block, a divisor of CLA_KEYS
 *   CLA_KEYS                      keys a tile
 *   CLA_LSE                       1: write lse
 *
 * Local memory: none. Private memory: 4 CLA_TILE_Q (CLA_HEAD_DIM + CLA_VALUE_DIM + CLA_KEYS) bytes and, for f16 and
 * bf16, 4 CLA_KEYS max(CLA_HEAD_DIM, CLA_VALUE_DIM).
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_VECTORS) || !defined(CLA_BLOCK) ||               \
    !defined(CLA_KEYS) || !defined(CLA_LSE)
#error "flash_vector.cl: a parameter is not defined"
#endif

#define ROWS   (CLA_VECTORS * CLA_LANES)
#define LOG2E  1.44269504088896340736f
#define LN2    0.69314718055994530942f
#define BASE_2 (!CLA_SOFTCAP && CLA_MASK != 2)

/* Head dims that are summed in order; the sums of such runs are then added, since errors grow with the length of a run. */
#define DIMS 64

/* Powers of two by which a maximum may lag behind. */
#define LAG    8.0f

/* Stands for "no score yet". Finite: -inf would make -inf - -inf of a row without keys. */
#define NO_SCORE (-FLT_MAX)

/* Float keys and values are used where they lie, others from a widened tile. */
#if CLA_KEY_TYPE == 0
#define KEY_SPACE __global
#else
#define KEY_SPACE __private
#endif
#if CLA_VALUE_TYPE == 0
#define VALUE_SPACE __global
#else
#define VALUE_SPACE __private
#endif

/* On compilers that doubt it, says that the widest vectors are worth using. */
#if defined(__has_attribute)
#if __has_attribute(min_vector_width)
#define WIDE __attribute__((min_vector_width(32 * CLA_LANES)))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif

/*
 * scores[CLA_BLOCK][CLA_VECTORS] = keys . queries for `count` keys (1 to CLA_BLOCK) that lie `stride` floats apart. Those
 * past `count` repeat the last one, and are cut off later.
 */
WIDE static inline void score_block(vec_t *scores, const vec_t *turned_query, KEY_SPACE const float *keys, long stride, int count)
{
    vec_t sum[CLA_BLOCK][CLA_VECTORS];
    KEY_SPACE const float *row[CLA_BLOCK];
#pragma unroll
    for (int k = 0; k < CLA_BLOCK; k++)
        row[k] = keys + min(k, count - 1) * stride;
    for (int d0 = 0; d0 < CLA_HEAD_DIM; d0 += DIMS) {
        const int d1 = min(d0 + DIMS, CLA_HEAD_DIM);
#pragma unroll
        for (int k = 0; k < CLA_BLOCK; k++) {
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++)
                sum[k][v] = (vec_t)(0.0f);
        }
        for (int d = d0; d < d1; d++) {
#pragma unroll
            for (int k = 0; k < CLA_BLOCK; k++) {
                const vec_t element = (vec_t)(row[k][d]);
#pragma unroll
                for (int v = 0; v < CLA_VECTORS; v++)
                    sum[k][v] += element * turned_query[d * CLA_VECTORS + v];
            }
        }
#pragma unroll
        for (int k = 0; k < CLA_BLOCK; k++) {
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++) {
                const int n = k * CLA_VECTORS + v;
                scores[n] = d0 == 0 ? sum[k][v] : scores[n] + sum[k][v];
            }
        }
    }
}

/* out[width][CLA_VECTORS] += weights[count][CLA_VECTORS] x values[count][width], the values `stride` floats apart. */
#define DEFINE_SUM_BLOCK(name, width)                                                                                  \
    WIDE static inline void name(vec_t *out, const vec_t *weights, VALUE_SPACE const float *values, long stride,       \
                                 int count)                                                                            \
    {                                                                                                                  \
        vec_t sum[width][CLA_VECTORS];                                                                                 \
        _Pragma("unroll") for (int d = 0; d < width; d++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[d][v] = (vec_t)(0.0f);                         \
        }                                                                                                              \
        for (int k = 0; k < count; k++, values += stride) {                                                            \
            _Pragma("unroll") for (int d = 0; d < width; d++)                                                          \
            {                                                                                                          \
                const vec_t element = (vec_t)(values[d]);                                                              \
                _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) sum[d][v] +=                                   \
                    element * weights[k * CLA_VECTORS + v];                                                            \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (int d = 0; d < width; d++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int v = 0; v < CLA_VECTORS; v++) out[d * CLA_VECTORS + v] += sum[d][v];             \
        }                                                                                                              \
    }

DEFINE_SUM_BLOCK(sum_block, CLA_BLOCK)
DEFINE_SUM_BLOCK(sum_column, 1)

WIDE static inline void sum_values(vec_t *out, const vec_t *weights, VALUE_SPACE const float *values, long stride, int count)
{
    int d = 0;
    for (; d + CLA_BLOCK <= CLA_VALUE_DIM; d += CLA_BLOCK)
        sum_block(out + d * CLA_VECTORS, weights, values + d, stride, count);
    for (; d < CLA_VALUE_DIM; d++)
        sum_column(out + d * CLA_VECTORS, weights, values + d, stride, count);
}

/* Whether any lane of `test` is true (-1). */
static inline int any_lane(ivec_t test)
{
#if CLA_LANES == 16
    const int8 half_8 = test.lo | test.hi;
    const int4 half_4 = half_8.lo | half_8.hi;
#elif CLA_LANES == 8
    const int4 half_4 = test.lo | test.hi;
#else
    const int4 half_4 = test;
#endif
    return as_long(half_4.lo | half_4.hi) != 0;
}

/* Bias and exclusions of a cut tile, lane by lane. seen[k]: some row sees key k. */
static void cut_scores(vec_t *scores, int *seen, const int *first, const int *end, int b, int h, int i0, int j0,
                       int count, CLA_SEMANTICS_PARAMS)
{
    for (int k = 0; k < count; k++) {
        float *row = (float *)(scores + k * CLA_VECTORS);
        const int j = j0 + k;
        int any = 0;
        for (int r = 0; r < ROWS; r++) {
            const int kept = keep(b, h, i0 + r, j, (int2)(first[r], end[r]), CLA_SEMANTICS);
            row[r] = kept ? row[r] + bias(b, h, i0 + r, j, CLA_SEMANTICS) : -INFINITY;
            any |= kept;
        }
        seen[k] = any;
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
flash_vector(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
             __global const value_t *value, long4 value_view, __global output_t *output, long4 output_view,
             __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS)
{
    vec_t turned_query[CLA_HEAD_DIM * CLA_VECTORS];
    vec_t weights[CLA_KEYS * CLA_VECTORS];
    vec_t out[CLA_VALUE_DIM * CLA_VECTORS];
    vec_t largest[CLA_VECTORS];
    vec_t sum[CLA_VECTORS];
    int first[ROWS];
    int end[ROWS];
    int seen[CLA_KEYS];
#if CLA_KEY_TYPE != 0
    float wide_keys[CLA_KEYS * CLA_HEAD_DIM];
#endif
#if CLA_VALUE_TYPE != 0
    float wide_values[CLA_KEYS * CLA_VALUE_DIM];
#endif

    const int row_tiles = max(1, (q_len + ROWS - 1) / ROWS);
    const uint2 turn = divide((uint)get_group_id(0), (uint)row_tiles);
    const uint2 head = divide(turn.x, (uint)q_heads);
    const int tile = (int)(turn.y & 1 ? (uint)row_tiles - 1 - turn.y / 2 : turn.y / 2);
    const int b = (int)head.x;
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    const int i0 = tile * ROWS;
    const int rows = min(ROWS, q_len - i0);

    for (int r = 0; r < ROWS; r++) {
        const int2 visible = visible_keys(b, i0 + r, CLA_SEMANTICS);
        first[r] = visible.x;
        end[r] = visible.y;
    }
    const int last = max(0, rows - 1);
    const int2 some = visible_to_some((int2)(first[0], end[0]), (int2)(first[last], end[last]));
    const int2 all = visible_to_all((int2)(first[0], end[0]), (int2)(first[last], end[last]));

    const float query_scale = BASE_2 ? scale * LOG2E : scale;
    for (int r = 0; r < ROWS; r++) {
        const long at = view_row(query_view, b, h, i0 + r);
        for (int d = 0; d < CLA_HEAD_DIM; d++)
            ((float *)turned_query)[d * ROWS + r] = r < rows ? query_scale * load_query(query, at + d) : 0.0f;
    }
    for (int n = 0; n < CLA_VALUE_DIM * CLA_VECTORS; n++)
        out[n] = (vec_t)(0.0f);
    for (int v = 0; v < CLA_VECTORS; v++) {
        largest[v] = (vec_t)(NO_SCORE);
        sum[v] = (vec_t)(0.0f);
    }

    /* Without a mask every key from some.x to some.y is seen by some row; tiles begin there, so none has a hidden key. */
    for (int j0 = some.x, count; j0 < some.y; j0 += count) {
        count = min(CLA_KEYS, key_run(j0, some.y));
        const int cut = classify(j0, j0 + count, some, all) != CLA_FULL;

#if CLA_KEY_TYPE == 0
        __global const float *keys = key + key_row(key_view, b, g, j0);
        const long key_stride = key_view.w;
#else
        for (int k = 0; k < count; k++) {
            const long at = key_row(key_view, b, g, j0 + k);
            for (int d = 0; d < CLA_HEAD_DIM; d++)
                wide_keys[k * CLA_HEAD_DIM + d] = load_key(key, at + d);
        }
        const float *keys = wide_keys;
        const long key_stride = CLA_HEAD_DIM;
#endif
        for (int k = 0; k < count; k += CLA_BLOCK)
            score_block(weights + k * CLA_VECTORS, turned_query, keys + k * key_stride, key_stride,
                        min(CLA_BLOCK, count - k));
#if CLA_SOFTCAP
        for (int n = 0; n < count * CLA_VECTORS; n++)
            weights[n] = capped(weights[n]);
#endif
        if (cut)
            cut_scores(weights, seen, first, end, b, h, i0, j0, count, CLA_SEMANTICS);

        ivec_t grown = (ivec_t)(0);
        vec_t tile_max[CLA_VECTORS];
        for (int v = 0; v < CLA_VECTORS; v++) {
            vec_t most = weights[v];
            for (int k = 1; k < count; k++) {
                const vec_t s = weights[k * CLA_VECTORS + v];
                most = s > most ? s : most;
            }
            tile_max[v] = most > largest[v] ? most : largest[v];
            grown |= tile_max[v] > largest[v] + (BASE_2 ? LAG : LAG * LN2);
        }
        if (any_lane(grown)) {
            vec_t fade[CLA_VECTORS];
            for (int v = 0; v < CLA_VECTORS; v++) {
                fade[v] = vec_exp2((largest[v] - tile_max[v]) * (BASE_2 ? 1.0f : LOG2E));
                largest[v] = tile_max[v];
                sum[v] *= fade[v];
            }
            for (int d = 0; d < CLA_VALUE_DIM; d++) {
                for (int v = 0; v < CLA_VECTORS; v++)
                    out[d * CLA_VECTORS + v] *= fade[v];
            }
        }

        vec_t tile_sum[CLA_VECTORS];
        for (int v = 0; v < CLA_VECTORS; v++)
            tile_sum[v] = (vec_t)(0.0f);
        for (int k = 0; k < count; k++) {
            for (int v = 0; v < CLA_VECTORS; v++) {
                const vec_t p = vec_exp2((weights[k * CLA_VECTORS + v] - largest[v]) * (BASE_2 ? 1.0f : LOG2E));
                tile_sum[v] += p;
                weights[k * CLA_VECTORS + v] = p;
            }
        }
        for (int v = 0; v < CLA_VECTORS; v++)
            sum[v] += tile_sum[v];

#if CLA_VALUE_TYPE == 0
        __global const float *values = value + value_row(value_view, b, g, j0);
        const long value_stride = value_view.w;
#else
        for (int k = 0; k < count; k++) {
            const long at = value_row(value_view, b, g, j0 + k);
            for (int d = 0; d < CLA_VALUE_DIM; d++)
                wide_values[k * CLA_VALUE_DIM + d] = load_value(value, at + d);
        }
        const float *values = wide_values;
        const long value_stride = CLA_VALUE_DIM;
#endif
#if CLA_MASK
        /* What nobody sees must not reach a product, not even multiplied by 0: sum over the runs of keys that are seen. */
        for (int k = 0; k < count;) {
            int run = k;
            while (run < count && seen[run])
                run++;
            if (run > k)
                sum_values(out, weights + k * CLA_VECTORS, values + k * value_stride, value_stride, run - k);
            k = run + 1;
        }
#else
        sum_values(out, weights, values, value_stride, count);
#endif
    }

    for (int v = 0; v < CLA_VECTORS; v++) {
        const vec_t inverse = sum[v] == 0.0f ? (vec_t)(0.0f) : 1.0f / sum[v];
        for (int d = 0; d < CLA_VALUE_DIM; d++)
            out[d * CLA_VECTORS + v] *= inverse;
    }
    for (int r = 0; r < rows; r++) {
        const long at = view_row(output_view, b, h, i0 + r);
        for (int d = 0; d < CLA_VALUE_DIM; d++)
            store_output(output, at + d, ((const float *)out)[d * ROWS + r]);
#if CLA_LSE
        const float most = ((const float *)largest)[r] * (BASE_2 ? LN2 : 1.0f);
        lse[view_row(lse_view, b, h, i0 + r)] = most + log(((const float *)sum)[r]);
#endif
    }
}
