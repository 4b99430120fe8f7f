/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass (lib/gradient.cl) for devices with wide vectors and caches: one work-item is a work-group, and owns the keys of
 * one part of a key/value head, with their gradients. It takes them a span at a time, and for each span all queries that see
 * some of it, of all heads of the group, ROWS at a time. Five products a tile of pairs, each in the register blocks of
 * lib/vector_block.cl:
 *
 *   scores = K Q^T        dP = V dO^T        dQ^T += K^T dS     queries in lanes, elements of keys and values broadcast
 *   dV += P dO            dK += dS Q                            dims in lanes, elements of P and dS broadcast
 *
 * Nothing is shared between work-groups: d_key and d_value are stored when a span is done, and d_query is summed over the
 * spans of a part in memory of the part's own, as it stands in `out`. backward_vector_query then adds the parts in order,
 * where there are several; where there is one, its last span stores d_query.
 *
 * Private memory holds
 *
 *   keys, values           [CLA_SPAN][dims]            the span as floats, rows of whole vectors
 *   sum_key, sum_value     [CLA_SPAN][dims]            the sums so far, and the same again for what they are added to after
 *                                                      HELD_TERMS terms, with what that loses left in them (CLA_HELD)
 *   query_rows, d_rows     [ROWS][dims]                queries and d_output as they lie
 *   turned_query, turned_d [dims][CLA_VECTORS]         and turned, the queries times the scale
 *   weights, ds            [CLA_KEYS][CLA_VECTORS]     of a tile of pairs
 *   out                    [CLA_HEAD_DIM][CLA_VECTORS] d_query of the tile's rows, before the scale
 *
 * Parts take spans by turns, to and fro, and heads their parts from both ends by turns, so that under causality parts, and every
 * contiguous range of groups, have about the same work.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_KEYS                      keys a tile, a multiple of CLA_BLOCK and of CLA_LANES, at most 64
 *   CLA_SPAN                      keys a span, a multiple of CLA_KEYS
 *   CLA_PARTS                     parts of the keys of a head
 *   CLA_HELD                      1: d_key and d_value are sums of more than HELD_TERMS tiles
 *   CLA_PAIRS                     1: d_query is a sum of so many spans that it is kept with what its rounding loses
 *
 * Local memory: none.
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_KEYS) || !defined(CLA_SPAN) || !defined(CLA_PARTS) ||  \
    !defined(CLA_HELD) || !defined(CLA_PAIRS)
#error "backward_vector.cl: a parameter is not defined"
#endif
#if CLA_KEYS > 64
#error "backward_vector.cl: a tile has at most 64 keys"
#endif

#define BASE_2 (!CLA_SOFTCAP && CLA_MASK != 2 && !CLA_ALIBI && !CLA_RELATIVE)
#define UNIT   (BASE_2 ? LOG2E : 1.0f) /* of scores */

/* Dims that are summed in order. */
#define RUN 128

/* Tiles of queries after which sums are held: each adds the sum of ROWS terms. */
#define HELD_TERMS 64

#define HEAD_VECTORS  (WHOLE_VECTORS(CLA_HEAD_DIM) / CLA_LANES)
#define VALUE_VECTORS (WHOLE_VECTORS(CLA_VALUE_DIM) / CLA_LANES)
#define OUT_VECTORS   (CLA_HEAD_DIM * CLA_VECTORS)

#define load_vec_d_output(p) CLA_JOIN(LOAD_VEC_, CLA_D_OUTPUT_TYPE)(p)
DEFINE_LOAD_SOME(d_output)

/* rows[count][vectors] = `dim` elements of `count` rows of an operand, row r from at[r] on, then zeros. */
#define DEFINE_COPY_ROWS(name)                                                                                         \
    APART static void copy_##name##_rows(vec_t *rows, __global const name##_t *from, const long *at, int count, int dim)   \
    {                                                                                                                  \
        for (int r = 0; r < count; r++) {                                                                              \
            for (int d = 0; d < dim; d += CLA_LANES, rows++)                                                           \
                *rows = load_some_##name(from + at[r] + d, dim - d);                                                   \
        }                                                                                                              \
    }

DEFINE_COPY_ROWS(query)
DEFINE_COPY_ROWS(d_output)
DEFINE_COPY_ROWS(key)
DEFINE_COPY_ROWS(value)

/* Stores the first `count` lanes of an element of a gradient, or adds them to what is there. */
#define DEFINE_PUT(name, type)                                                                                         \
    static inline void put_##name(__global name##_t *p, vec_t x, int count)                                            \
    {                                                                                                                  \
        if (count >= CLA_LANES) {                                                                                      \
            CLA_JOIN(STORE_VEC_, type)(p, CLA_ACCUMULATE_INPUT ? CLA_JOIN(LOAD_VEC_, type)(p) + x : x);                \
            return;                                                                                                    \
        }                                                                                                              \
        for (int d = 0; d < count; d++) {                                                                              \
            const float old = CLA_ACCUMULATE_INPUT ? CLA_JOIN(CLA_LOAD_, type)(p, d) : 0.0f;                           \
            CLA_JOIN(CLA_STORE_AS_, type)(p, d, old + ((const float *)&x)[d]);                                         \
        }                                                                                                              \
    }

DEFINE_PUT(d_query, CLA_D_QUERY_TYPE)
DEFINE_PUT(d_key, CLA_D_KEY_TYPE)
DEFINE_PUT(d_value, CLA_D_VALUE_TYPE)

/* `count` rows, row k from at[k] on, of `dim` elements: factor times sums[count][vectors], with what is held of them. */
#define DEFINE_PUT_ROWS(name)                                                                                          \
    APART static void put_##name##_rows(__global name##_t *to, const long *at, const vec_t *sums, const vec_t *held,   \
                                        int holds, float factor, int count, int dim)                                   \
    {                                                                                                                  \
        for (int k = 0, n = 0; k < count; k++) {                                                                       \
            for (int d = 0; d < dim; d += CLA_LANES, n++)                                                              \
                put_##name(to + at[k] + d, factor * (holds ? held[n] + sums[n] : sums[n]), dim - d);                   \
        }                                                                                                              \
    }

DEFINE_PUT_ROWS(d_key)
DEFINE_PUT_ROWS(d_value)

/* turned[vectors * CLA_LANES][CLA_VECTORS] = factor times rows[ROWS][vectors]. */
APART static void turn_tile(vec_t *turned, const vec_t *rows, int vectors, float factor)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        for (int d = 0; d < vectors; d++) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                square[r] = factor * rows[(v * CLA_LANES + r) * vectors + d];
            turn_square(square);
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                turned[(d * CLA_LANES + r) * CLA_VECTORS + v] = square[r];
        }
    }
}

/* products[count][CLA_VECTORS] = rows[count][stride] . turned[depth][CLA_VECTORS]. */
static inline void dot_rows(vec_t *products, const vec_t *turned, const vec_t *rows, int stride, int depth, int count)
{
    for (int d = 0; d < depth; d += RUN)
        dot_keys(products, turned + d * CLA_VECTORS, (const float *)rows + d, stride * CLA_LANES, min(RUN, depth - d), count,
                 d > 0, NULL);
}

/*
 * sums[count][stride] += weights[count][ROWS] x rows[depth][stride], of `width` vectors; dims are in lanes. All have room for
 * whole blocks.
 */
#define DEFINE_ADD_ROWS(width)                                                                                         \
    APART static void add_rows_##width(vec_t *sums, const float *weights, const vec_t *rows, int depth, int count, int stride)   \
    {                                                                                                                  \
        for (int n0 = 0; n0 < count; n0 += CLA_BLOCK, sums += CLA_BLOCK * stride, weights += CLA_BLOCK * ROWS) {       \
            const vec_t *row = rows;                                                                                   \
            vec_t sum[CLA_BLOCK][width];                                                                               \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] = (vec_t)(0.0f);                           \
            }                                                                                                          \
            _Pragma("unroll 4") for (int i = 0; i < depth; i++, row += stride)                                         \
            {                                                                                                          \
                _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                  \
                {                                                                                                      \
                    const vec_t weight = (vec_t)(weights[n * ROWS + i]);                                               \
                    _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] += weight * row[v];                    \
                }                                                                                                      \
            }                                                                                                          \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sums[n * stride + v] += sum[n][v];                   \
            }                                                                                                          \
        }                                                                                                              \
    }

DEFINE_ADD_ROWS(1)
DEFINE_ADD_ROWS(2)
DEFINE_ADD_ROWS(3)

/* The same of all vectors: blocks of three and two where a block has three, else of two, the last one of what is left. */
static inline void add_rows(vec_t *sums, const float *weights, const vec_t *rows, int depth, int count, int stride)
{
    for (int v = 0; v < stride;) {
        const int left = stride - v;
        if (CLA_VECTORS == 3 && left >= 3 && left != 4) {
            add_rows_3(sums + v, weights, rows + v, depth, count, stride);
            v += 3;
        } else if (CLA_VECTORS >= 2 && left >= 2) {
            add_rows_2(sums + v, weights, rows + v, depth, count, stride);
            v += 2;
        } else {
            add_rows_1(sums + v, weights, rows + v, depth, count, stride);
            v += 1;
        }
    }
}

/* Makes weights of scores[count][CLA_VECTORS]. */
APART static void weigh_rows(vec_t *scores, int count, const vec_t *row_lse)
{
    vec_t lse[CLA_VECTORS];
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++)
        lse[v] = row_lse[v];
    for (int k = 0; k < count; k++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            vec_t *score = scores + k * CLA_VECTORS + v;
            *score = vec_exp2((*score - lse[v]) * (BASE_2 ? 1.0f : LOG2E));
        }
    }
}

/* Makes ds, before the softcap's factor, of dP[count][CLA_VECTORS]; with dropout weights that it takes out are negative. */
APART static void derive(vec_t *dp, const vec_t *weights, int count, const vec_t *row_delta, float kept_scale)
{
    vec_t delta[CLA_VECTORS];
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++)
        delta[v] = row_delta[v];
    for (int k = 0; k < count; k++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            const int n = k * CLA_VECTORS + v;
#if CLA_DROPOUT
            const vec_t kept = weights[n] > 0.0f ? dp[n] * kept_scale : (vec_t)(0.0f);
            dp[n] = fabs(weights[n]) * (kept - delta[v]);
#else
            dp[n] = weights[n] * (dp[n] - delta[v]);
#endif
        }
    }
}

#if CLA_DROPOUT
/* What dropout makes of weights[count][CLA_VECTORS], those that it takes out being negative. */
APART static void finish_weights(vec_t *weights, int count, float kept_scale)
{
    for (int n = 0; n < count * CLA_VECTORS; n++)
        weights[n] = weights[n] > 0.0f ? weights[n] * kept_scale : (vec_t)(0.0f);
}
#endif

#if CLA_SOFTCAP
/* slopes[count][CLA_VECTORS] = 1 - tanh^2 of scores / softcap, in a form that does not cancel. */
APART static void slopes_of(vec_t *slopes, const vec_t *scores, int count, float softcap)
{
    const float factor = -2.0f * LOG2E * min(1.0f / softcap, FLT_MAX);
    for (int n = 0; n < count * CLA_VECTORS; n++) {
        const vec_t e = vec_exp2(factor * fabs(scores[n]));
        slopes[n] = 4.0f * e / ((1.0f + e) * (1.0f + e));
    }
}
#endif

/* 0 for pairs[count][CLA_VECTORS] that are not kept. */
APART static void clear_hidden(vec_t *pairs, const uint *kept, int count)
{
    for (int k0 = 0; k0 < count; k0 += 32, kept += ROWS) {
        uvec_t bits[CLA_VECTORS];
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++)
            bits[v] = vec_load(kept + v * CLA_LANES);
        for (int k = k0; k < min(count, k0 + 32); k++) {
#pragma unroll
            for (int v = 0; v < CLA_VECTORS; v++) {
                const int n = k * CLA_VECTORS + v;
                pairs[n] = (bits[v] & (1u << (k - k0))) != 0 ? pairs[n] : (vec_t)(0.0f);
            }
        }
    }
}

/* 0 for what a block has behind the last of `count` keys. */
static inline void clear_rest(vec_t *pairs, int count)
{
    for (int n = count * CLA_VECTORS; n % (CLA_BLOCK * CLA_VECTORS) != 0; n++)
        pairs[n] = (vec_t)(0.0f);
}

/* Bit r: row r sees some of the keys. */
APART static ulong rows_that_see(const uint *kept)
{
    ulong rows = 0;
    for (int r = 0; r < ROWS; r++)
        rows |= (ulong)((kept[r] | kept[ROWS + r]) != 0) << r;
    return rows;
}

/* The length of the run of bits of `of` that are set from bit n on, at most `end` - n. */
static inline int run_of(ulong of, int n, int end)
{
    const ulong missing = ~(of >> n);
    return min(end - n, (int)popcount((missing - 1) & ~missing));
}

/*
 * Adds to `out` what the part's earlier spans have summed, unless this is the first one; and keeps the sum there, unless this is the
 * last one.
 */
APART static void sum_part(vec_t *out, __global float *part, int first, int last)
{
    for (int n = 0; n < OUT_VECTORS; n++) {
        __global float *at = part + n * CLA_LANES;
        vec_t sum = out[n];
        vec_t held = (vec_t)(0.0f);
        if (!first)
            sum += vec_load(at);
#if CLA_PAIRS
        if (!first)
            held = vec_load(at + OUT_VECTORS * CLA_LANES);
        hold_vec(&held, &sum);
        if (!last)
            vec_store(held, at + OUT_VECTORS * CLA_LANES);
#endif
        if (!last)
            vec_store(sum, at);
        out[n] = held + sum;
    }
}

/* Stores factor times out[CLA_HEAD_DIM][CLA_VECTORS] as `count` rows of d_query, row r from at[r] on. */
APART static void put_d_query_rows(__global d_query_t *d_query, const long *at, int count, const vec_t *out, float factor)
{
    for (int v = 0; v * CLA_LANES < count; v++) {
        for (int d = 0; d < CLA_HEAD_DIM; d += CLA_LANES) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int c = 0; c < CLA_LANES; c++)
                square[c] = d + c < CLA_HEAD_DIM ? factor * out[(d + c) * CLA_VECTORS + v] : (vec_t)(0.0f);
            turn_square(square);
            for (int r = 0; r < min(CLA_LANES, count - v * CLA_LANES); r++)
                put_d_query(d_query + at[v * CLA_LANES + r] + d, square[r], CLA_HEAD_DIM - d);
        }
    }
}

/* Keys that have gradients, seen or not, and the spans that they make, at least one. */
static inline int keys_of(const struct batch *batch, int kv_len)
{
    return CLA_KV_CU_LENGTHS ? batch->kv_len : kv_len;
}

static inline int count_spans(int keys)
{
    return max(1, (keys + CLA_SPAN - 1) / CLA_SPAN);
}

/* The n-th span of a part. */
static inline int span_of(int n, int part)
{
    return n * CLA_PARTS + (n & 1 ? CLA_PARTS - 1 - part : part);
}

/* delta of ROWS queries of a head, as backward_delta.cl has it. */
WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
backward_vector_delta(__global const output_t *output, long4 output_view, __global const d_output_t *d_output,
                      long4 d_output_view, __global const float *d_lse, long4 d_lse_view, __global float *delta,
                      long4 delta_view, int has_d_lse, int q_heads, CLA_SEMANTICS_PARAMS)
{
    const int row_tiles = max(1, (q_len + ROWS - 1) / ROWS);
    const uint2 order = divide((uint)get_group_id(0), (uint)row_tiles);
    const uint2 head = divide(order.x, (uint)q_heads);
    const int h = (int)head.y;
    const int end = (int)order.y * ROWS + ROWS;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    for (int i0 = (int)order.y * ROWS; i0 < min(end, batch.q_len); i0 += CLA_LANES) {
        vec_t square[CLA_LANES];
        for (int r = 0; r < CLA_LANES; r++) {
            const int i = min(i0 + r, batch.q_len - 1);
            __global const output_t *o = output + query_row(output_view, &batch, h, i);
            __global const d_output_t *d_o = d_output + query_row(d_output_view, &batch, h, i);
            vec_t sum = (vec_t)(0.0f);
            for (int d = 0; d < CLA_VALUE_DIM; d += CLA_LANES) {
                const vec_t element = load_some_output(o + d, CLA_VALUE_DIM - d);
                const vec_t product = element * load_some_d_output(d_o + d, CLA_VALUE_DIM - d);
                sum += element == 0.0f ? (vec_t)(0.0f) : product; /* whatever d_output is: the query may see nothing */
            }
            square[r] = sum;
        }
        turn_square(square);
        vec_t sums = square[0];
        for (int n = 1; n < CLA_LANES; n++)
            sums += square[n];
        for (int r = 0; r < min(CLA_LANES, batch.q_len - i0); r++) {
            const float of_lse = has_d_lse ? d_lse[query_row(d_lse_view, &batch, h, i0 + r)] : 0.0f;
            delta[view_row(delta_view, batch.index, h, i0 + r)] = ((const float *)&sums)[r] - of_lse;
        }
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
backward_vector(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
                __global const value_t *value, long4 value_view, __global const d_output_t *d_output, long4 d_output_view,
                __global const float *lse, long4 lse_view, __global const float *delta, long4 delta_view,
                __global d_query_t *d_query, long4 d_query_view, __global d_key_t *d_key, long4 d_key_view,
                __global d_value_t *d_value, long4 d_value_view, __global float *parts, long4 parts_view, int kv_heads,
                int heads_per_kv, CLA_SEMANTICS_PARAMS)
{
    vec_t keys[CLA_SPAN * HEAD_VECTORS], values[CLA_SPAN * VALUE_VECTORS];
    vec_t sum_key[CLA_SPAN * HEAD_VECTORS], sum_value[CLA_SPAN * VALUE_VECTORS];
    vec_t held_key[CLA_HELD ? CLA_SPAN * HEAD_VECTORS : 1], held_value[CLA_HELD ? CLA_SPAN * VALUE_VECTORS : 1];
    vec_t query_rows[ROWS * HEAD_VECTORS], d_rows[ROWS * VALUE_VECTORS];
    vec_t turned_query[WHOLE_VECTORS(CLA_HEAD_DIM) * CLA_VECTORS], turned_d[WHOLE_VECTORS(CLA_VALUE_DIM) * CLA_VECTORS];
    vec_t weights[CLA_KEYS * CLA_VECTORS], ds[CLA_KEYS * CLA_VECTORS];
    vec_t out[OUT_VECTORS];
    vec_t added[CLA_MASK == 2 ? CLA_KEYS * CLA_VECTORS : 1];
    vec_t slopes[CLA_SOFTCAP ? CLA_KEYS * CLA_VECTORS : 1];
    float row_lse[ROWS], row_delta[ROWS];
    long key_at[CLA_SPAN], value_at[CLA_SPAN], at[ROWS];
    uint kept[2 * ROWS];
    struct rows rows;

    const uint2 order = divide((uint)get_group_id(0), CLA_PARTS);
    const uint2 head = divide(order.x, (uint)kv_heads);
    const int part = (int)(order.y & 1 ? CLA_PARTS - 1 - order.y / 2 : order.y / 2);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int g = (int)head.y;
    const int rows_end = keys_of(&batch, kv_len);
    const int spans = count_spans(rows_end);
    const int with_ds = d_query != 0 || d_key != 0;

    for (int n = 0; span_of(n, part) < spans; n++) {
        const int begin = span_of(n, part) * CLA_SPAN;
        const int end = min(begin + CLA_SPAN, batch.kv_len);
        const int gradient_rows = min(CLA_SPAN, rows_end - begin);
        const int is_last = CLA_PARTS == 1 && span_of(n + 1, part) >= spans;
        int holds = 0;
#if CLA_HELD
        int terms = 0;
#endif
        for (int k = 0; k < end - begin; k++) {
            key_at[k] = key_row(key_view, &batch, g, begin + k, CLA_PLACES);
            value_at[k] = value_row(value_view, &batch, g, begin + k, CLA_PLACES);
        }
        copy_key_rows(keys, key, key_at, end - begin, CLA_HEAD_DIM);
        copy_value_rows(values, value, value_at, end - begin, CLA_VALUE_DIM);
        for (int m = 0; m < CLA_SPAN * HEAD_VECTORS; m++)
            sum_key[m] = (vec_t)(0.0f);
        for (int m = 0; m < CLA_SPAN * VALUE_VECTORS; m++)
            sum_value[m] = (vec_t)(0.0f);

        for (int h = g * heads_per_kv; h < (g + 1) * heads_per_kv; h++) {
            for (int i0 = 0; i0 < batch.q_len; i0 += ROWS) {
                const int count_rows = min(ROWS, batch.q_len - i0);
                const int2 near = visible_to_some(visible_keys(&batch, i0, CLA_SEMANTICS),
                                                  visible_keys(&batch, i0 + count_rows - 1, CLA_SEMANTICS));
                const int2 some = (int2)(max(near.x, begin), min(near.y, end));
                if (some.x >= some.y && n > 0 && !is_last)
                    continue;
                for (int m = 0; m < OUT_VECTORS; m++)
                    out[m] = (vec_t)(0.0f);
                if (some.x < some.y) {
                    rows_of(&rows, &batch, h, i0, count_rows, CLA_SEMANTICS);
                    for (int r = 0; r < ROWS; r++)
                        at[r] = query_row(query_view, &batch, h, rows.query[r]);
                    copy_query_rows(query_rows, query, at, ROWS, CLA_HEAD_DIM);
                    turn_tile(turned_query, query_rows, HEAD_VECTORS, scale * UNIT);
                    for (int r = 0; r < ROWS; r++)
                        at[r] = query_row(d_output_view, &batch, h, rows.query[r]);
                    copy_d_output_rows(d_rows, d_output, at, ROWS, CLA_VALUE_DIM);
                    turn_tile(turned_d, d_rows, VALUE_VECTORS, 1.0f);
                    for (int r = 0; r < ROWS; r++) {
                        row_lse[r] = UNIT * lse[query_row(lse_view, &batch, h, rows.query[r])];
                        row_delta[r] = delta[view_row(delta_view, batch.index, h, rows.query[r])];
                    }
                }
                for (int j0 = some.x, count; j0 < some.y; j0 += count) {
                    count = min(CLA_KEYS, some.y - j0);
                    int cut = count_rows < ROWS ||
                              classify(&batch, j0, j0 + count, rows.some, rows.all, CLA_PLACES) != CLA_FULL;
                    ulong seen = ~0ul;
                    ulong seeing = ~0ul;
                    if (cut) {
                        seen = keep_pairs(kept, added, &cut, &rows, &batch, j0, count, CLA_SEMANTICS);
                        seeing = rows_that_see(kept);
                    }
                    if (seen == 0)
                        continue;
                    const int k0 = j0 - begin;
                    dot_rows(weights, turned_query, keys + k0 * HEAD_VECTORS, HEAD_VECTORS, CLA_HEAD_DIM, count);
#if CLA_SOFTCAP
                    slopes_of(slopes, weights, count, softcap);
                    cap_scores(weights, count, softcap);
#endif
#if CLA_ALIBI || CLA_RELATIVE
                    add_position_bias(weights, &rows, j0, count, CLA_SEMANTICS);
#endif
#if CLA_MASK == 2
                    for (int m = 0; m < count * CLA_VECTORS; m++)
                        weights[m] += added[m];
#endif
                    weigh_rows(weights, count, (const vec_t *)row_lse);
#if CLA_DROPOUT
                    drop_weights(weights, &rows, j0, count, dropout_key, dropout_threshold);
                    const float kept_scale = dropout_scale;
#else
                    const float kept_scale = 1.0f;
#endif
                    if (with_ds) {
                        dot_rows(ds, turned_d, values + k0 * VALUE_VECTORS, VALUE_VECTORS, CLA_VALUE_DIM, count);
                        derive(ds, weights, count, (const vec_t *)row_delta, kept_scale);
#if CLA_SOFTCAP
                        for (int m = 0; m < count * CLA_VECTORS; m++)
                            ds[m] *= slopes[m];
#endif
                        if (cut)
                            clear_hidden(ds, kept, count);
                        clear_rest(ds, count);
                    }
#if CLA_DROPOUT
                    finish_weights(weights, count, kept_scale);
#endif
                    if (cut)
                        clear_hidden(weights, kept, count);
                    clear_rest(weights, count);
                    /* In runs of what is in some pair: the rest must not reach a product, not even multiplied by 0. */
                    for (int r = 0, run; r < ROWS; r += run + 1) {
                        run = run_of(seeing, r, ROWS);
                        if (run > 0 && d_value != 0)
                            add_rows(sum_value + k0 * VALUE_VECTORS, (const float *)weights + r, d_rows + r * VALUE_VECTORS, run,
                                     count, VALUE_VECTORS);
                        if (run > 0 && d_key != 0)
                            add_rows(sum_key + k0 * HEAD_VECTORS, (const float *)ds + r, query_rows + r * HEAD_VECTORS, run, count,
                                     HEAD_VECTORS);
                    }
                    for (int k = 0, run; k < count && d_query != 0; k += run + 1) {
                        run = run_of(seen, k, count);
                        if (run > 0)
                            add_values(out, ds + k * CLA_VECTORS, (const float *)(keys + (k0 + k) * HEAD_VECTORS),
                                       HEAD_VECTORS * CLA_LANES, run, CLA_HEAD_DIM);
                    }
                }
                if (d_query != 0) {
                    if (CLA_PARTS > 1 || spans > 1)
                        sum_part(out,
                                 parts + parts_view.x + part * parts_view.y +
                                     ((long)batch.index * kv_heads * heads_per_kv + h) * parts_view.z + i0 / ROWS * parts_view.w,
                                 n == 0, is_last);
                    for (int r = 0; r < count_rows; r++)
                        at[r] = query_row(d_query_view, &batch, h, i0 + r);
                    if (is_last)
                        put_d_query_rows(d_query, at, count_rows, out, scale);
                }
#if CLA_HELD
                if (some.x < some.y && ++terms == HELD_TERMS) {
                    hold_sums(held_key, sum_key, CLA_SPAN * HEAD_VECTORS, holds);
                    hold_sums(held_value, sum_value, CLA_SPAN * VALUE_VECTORS, holds);
                    holds = 1;
                    terms = 0;
                }
#endif
            }
        }
        for (int k = 0; k < gradient_rows; k++) {
            key_at[k] = key_row(d_key_view, &batch, g, begin + k, CLA_PLACES);
            value_at[k] = value_row(d_value_view, &batch, g, begin + k, CLA_PLACES);
        }
        if (d_key != 0)
            put_d_key_rows(d_key, key_at, sum_key, held_key, holds, scale, gradient_rows, CLA_HEAD_DIM);
        if (d_value != 0)
            put_d_value_rows(d_value, value_at, sum_value, held_value, holds, 1.0f, gradient_rows, CLA_VALUE_DIM);
    }
}

/* d_query of ROWS queries of a head, the sum of the parts that there are. */
WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
backward_vector_query(__global const float *parts, long4 parts_view, __global d_query_t *d_query, long4 d_query_view,
                      int q_heads, CLA_SEMANTICS_PARAMS)
{
    vec_t out[OUT_VECTORS];
    vec_t held[OUT_VECTORS];
    long at[ROWS];
    const int row_tiles = max(1, (q_len + ROWS - 1) / ROWS);
    const uint2 order = divide((uint)get_group_id(0), (uint)row_tiles);
    const uint2 head = divide(order.x, (uint)q_heads);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int i0 = (int)order.y * ROWS;
    const int count_rows = clamp(batch.q_len - i0, 0, ROWS);
    if (count_rows == 0 || d_query == 0)
        return;
    __global const float *from = parts + parts_view.x + order.x * parts_view.z + order.y * parts_view.w;
    const int written = min(CLA_PARTS, count_spans(keys_of(&batch, kv_len)));
    for (int p = 0; p < written; p++, from += parts_view.y) {
        for (int n = 0; n < OUT_VECTORS; n++) {
            vec_t sum = vec_load(from + n * CLA_LANES);
            if (p > 0)
                sum += out[n];
            else
                held[n] = (vec_t)(0.0f);
#if CLA_PAIRS
            hold_vec(&held[n], &sum);
            sum += vec_load(from + (OUT_VECTORS + n) * CLA_LANES);
#endif
            hold_vec(&held[n], &sum);
            out[n] = sum;
        }
    }
    for (int n = 0; n < OUT_VECTORS; n++)
        out[n] += held[n];
    for (int r = 0; r < count_rows; r++)
        at[r] = query_row(d_query_view, &batch, (int)head.y, i0 + r);
    put_d_query_rows(d_query, at, count_rows, out, scale);
}
