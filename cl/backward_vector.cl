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

/* A span of keys with the sums of their gradients. */
struct span {
    int begin;
    int end; /* of the keys that the batch has */
    int terms;
    int holds;
    vec_t keys[CLA_SPAN * HEAD_VECTORS], values[CLA_SPAN * VALUE_VECTORS];
    vec_t sum_key[CLA_SPAN * HEAD_VECTORS], sum_value[CLA_SPAN * VALUE_VECTORS];
#if CLA_HELD
    vec_t held_key[CLA_SPAN * HEAD_VECTORS], held_value[CLA_SPAN * VALUE_VECTORS];
#endif
};

/* ROWS queries of a head with the sums of theirs. */
struct queries {
    struct rows rows;
    vec_t query_rows[ROWS * HEAD_VECTORS], d_rows[ROWS * VALUE_VECTORS];
    vec_t turned_query[WHOLE_VECTORS(CLA_HEAD_DIM) * CLA_VECTORS], turned_d[WHOLE_VECTORS(CLA_VALUE_DIM) * CLA_VECTORS];
    vec_t lse[CLA_VECTORS], delta[CLA_VECTORS];
    vec_t out[OUT_VECTORS];
};

static inline void clear(vec_t *sums, int count)
{
    for (int n = 0; n < count; n++)
        sums[n] = (vec_t)(0.0f);
}

static inline void take_span(struct span *span, const struct batch *batch, int g, __global const key_t *key, long4 key_view,
                             __global const value_t *value, long4 value_view, CLA_PLACES_PARAMS)
{
    long at[CLA_SPAN];
    const int count = span->end - span->begin;
    span->terms = 0;
    span->holds = 0;
    for (int k = 0; k < count; k++)
        at[k] = key_row(key_view, batch, g, span->begin + k, CLA_PLACES);
    copy_key_rows(span->keys, key, at, count, CLA_HEAD_DIM);
    for (int k = 0; k < count; k++)
        at[k] = value_row(value_view, batch, g, span->begin + k, CLA_PLACES);
    copy_value_rows(span->values, value, at, count, CLA_VALUE_DIM);
    clear(span->sum_key, CLA_SPAN * HEAD_VECTORS);
    clear(span->sum_value, CLA_SPAN * VALUE_VECTORS);
}

/* Stores the gradients of `count` keys from the first one of a span on. */
static inline void give_span(const struct span *span, const struct batch *batch, int g, int count, __global d_key_t *d_key,
                             long4 d_key_view, __global d_value_t *d_value, long4 d_value_view, float scale, CLA_PLACES_PARAMS)
{
    long at[CLA_SPAN];
#if CLA_HELD
    const vec_t *held_key = span->held_key;
    const vec_t *held_value = span->held_value;
#else
    const vec_t *held_key = span->sum_key;
    const vec_t *held_value = span->sum_value;
#endif
    for (int k = 0; k < count && d_key != 0; k++)
        at[k] = key_row(d_key_view, batch, g, span->begin + k, CLA_PLACES);
    if (d_key != 0)
        put_d_key_rows(d_key, at, span->sum_key, held_key, span->holds, scale, count, CLA_HEAD_DIM);
    for (int k = 0; k < count && d_value != 0; k++)
        at[k] = value_row(d_value_view, batch, g, span->begin + k, CLA_PLACES);
    if (d_value != 0)
        put_d_value_rows(d_value, at, span->sum_value, held_value, span->holds, 1.0f, count, CLA_VALUE_DIM);
}

/* Counts a tile of queries that the sums have in them, and holds them when there are many. */
static inline void count_terms(struct span *span)
{
#if CLA_HELD
    if (++span->terms < HELD_TERMS)
        return;
    hold_sums(span->held_key, span->sum_key, CLA_SPAN * HEAD_VECTORS, span->holds);
    hold_sums(span->held_value, span->sum_value, CLA_SPAN * VALUE_VECTORS, span->holds);
    span->holds = 1;
    span->terms = 0;
#endif
}

static inline void take_queries(struct queries *queries, const struct batch *batch, int h, int i0, int count,
                                __global const query_t *query, long4 query_view, __global const d_output_t *d_output,
                                long4 d_output_view, __global const float *lse, long4 lse_view, __global const float *delta,
                                long4 delta_view, CLA_SEMANTICS_PARAMS)
{
    long at[ROWS];
    rows_of(&queries->rows, batch, h, i0, count, CLA_SEMANTICS);
    const int *i = queries->rows.query;
    for (int r = 0; r < ROWS; r++)
        at[r] = query_row(query_view, batch, h, i[r]);
    copy_query_rows(queries->query_rows, query, at, ROWS, CLA_HEAD_DIM);
    turn_tile(queries->turned_query, queries->query_rows, HEAD_VECTORS, scale * UNIT);
    for (int r = 0; r < ROWS; r++)
        at[r] = query_row(d_output_view, batch, h, i[r]);
    copy_d_output_rows(queries->d_rows, d_output, at, ROWS, CLA_VALUE_DIM);
    turn_tile(queries->turned_d, queries->d_rows, VALUE_VECTORS, 1.0f);
    for (int r = 0; r < ROWS; r++) {
        ((float *)queries->lse)[r] = UNIT * lse[query_row(lse_view, batch, h, i[r])];
        ((float *)queries->delta)[r] = delta[view_row(delta_view, batch->index, h, i[r])];
    }
}

/* Adds to all sums what `count` keys from j0 on, of the span, and the queries are to each other. */
static inline void add_tile(struct span *span, struct queries *queries, const struct batch *batch, int j0, int count,
                            int with_query, int with_key, int with_value, CLA_SEMANTICS_PARAMS)
{
    vec_t weights[CLA_KEYS * CLA_VECTORS], ds[CLA_KEYS * CLA_VECTORS];
    vec_t added[CLA_MASK == 2 ? CLA_KEYS * CLA_VECTORS : 1];
    vec_t slopes[CLA_SOFTCAP ? CLA_KEYS * CLA_VECTORS : 1];
    uint kept[2 * ROWS];
    const struct rows *rows = &queries->rows;
    const vec_t *keys = span->keys + (j0 - span->begin) * HEAD_VECTORS;
    const vec_t *values = span->values + (j0 - span->begin) * VALUE_VECTORS;
    vec_t *sum_key = span->sum_key + (j0 - span->begin) * HEAD_VECTORS;
    vec_t *sum_value = span->sum_value + (j0 - span->begin) * VALUE_VECTORS;
    ulong seen = ~0ul;
    ulong seeing = ~0ul;
    int cut = rows->count < ROWS || classify(batch, j0, j0 + count, rows->some, rows->all, CLA_PLACES) != CLA_FULL;
    if (cut) {
        seen = keep_pairs(kept, added, &cut, rows, batch, j0, count, CLA_SEMANTICS);
        seeing = rows_that_see(kept);
    }
    if (seen == 0)
        return;

    dot_rows(weights, queries->turned_query, keys, HEAD_VECTORS, CLA_HEAD_DIM, count);
#if CLA_SOFTCAP
    slopes_of(slopes, weights, count, softcap);
    cap_scores(weights, count, softcap);
#endif
#if CLA_ALIBI || CLA_RELATIVE
    add_position_bias(weights, rows, j0, count, CLA_SEMANTICS);
#endif
#if CLA_MASK == 2
    for (int n = 0; n < count * CLA_VECTORS; n++)
        weights[n] += added[n];
#endif
    weigh_rows(weights, count, queries->lse);
#if CLA_DROPOUT
    drop_weights(weights, rows, j0, count, dropout_key, dropout_threshold);
    const float kept_scale = dropout_scale;
#else
    const float kept_scale = 1.0f;
#endif
    if (with_query || with_key) {
        dot_rows(ds, queries->turned_d, values, VALUE_VECTORS, CLA_VALUE_DIM, count);
        derive(ds, weights, count, queries->delta, kept_scale);
#if CLA_SOFTCAP
        for (int n = 0; n < count * CLA_VECTORS; n++)
            ds[n] *= slopes[n];
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
        if (run > 0 && with_value)
            add_rows(sum_value, (const float *)weights + r, queries->d_rows + r * VALUE_VECTORS, run, count, VALUE_VECTORS);
        if (run > 0 && with_key)
            add_rows(sum_key, (const float *)ds + r, queries->query_rows + r * HEAD_VECTORS, run, count, HEAD_VECTORS);
    }
    for (int k = 0, run; k < count && with_query; k += run + 1) {
        run = run_of(seen, k, count);
        if (run > 0)
            add_values(queries->out, ds + k * CLA_VECTORS, (const float *)(keys + k * HEAD_VECTORS), HEAD_VECTORS * CLA_LANES,
                       run, CLA_HEAD_DIM);
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
    struct span span;
    struct queries queries;
    long at[ROWS];
    const uint2 order = divide((uint)get_group_id(0), CLA_PARTS);
    const uint2 head = divide(order.x, (uint)kv_heads);
    const int part = (int)(order.y & 1 ? CLA_PARTS - 1 - order.y / 2 : order.y / 2);
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int g = (int)head.y;
    const int all_keys = keys_of(&batch, kv_len);
    const int spans = count_spans(all_keys);
    int in_parts = CLA_PARTS > 1 || spans > 1; /* not const, as is_last is not: compilers warn of one with && */

    for (int n = 0; span_of(n, part) < spans; n++) {
        int is_last = CLA_PARTS == 1 && span_of(n + 1, part) >= spans;
        span.begin = span_of(n, part) * CLA_SPAN;
        span.end = min(span.begin + CLA_SPAN, batch.kv_len);
        take_span(&span, &batch, g, key, key_view, value, value_view, CLA_PLACES);
        for (int h = g * heads_per_kv; h < (g + 1) * heads_per_kv; h++) {
            __global float *part_of_head = parts + parts_view.x + part * parts_view.y +
                                           ((long)batch.index * kv_heads * heads_per_kv + h) * parts_view.z;
            for (int i0 = 0; i0 < batch.q_len; i0 += ROWS) {
                const int count_rows = min(ROWS, batch.q_len - i0);
                const int2 near = visible_to_some(visible_keys(&batch, i0, CLA_SEMANTICS),
                                                  visible_keys(&batch, i0 + count_rows - 1, CLA_SEMANTICS));
                const int2 some = (int2)(max(near.x, span.begin), min(near.y, span.end));
                if (some.x >= some.y && n > 0 && !is_last)
                    continue;
                clear(queries.out, OUT_VECTORS);
                /* Tiles begin with a block: the last one's, which is a whole one, then ends within the span. */
                const int first = some.x - (some.x - span.begin) % CLA_BLOCK;
                if (some.x < some.y) {
                    take_queries(&queries, &batch, h, i0, count_rows, query, query_view, d_output, d_output_view, lse, lse_view,
                                 delta, delta_view, CLA_SEMANTICS);
                    for (int j0 = first; j0 < some.y; j0 += CLA_KEYS)
                        add_tile(&span, &queries, &batch, j0, min(CLA_KEYS, some.y - j0), d_query != 0, d_key != 0, d_value != 0,
                                 CLA_SEMANTICS);
                    count_terms(&span);
                }
                if (d_query != 0 && in_parts)
                    sum_part(queries.out, part_of_head + i0 / ROWS * parts_view.w, n == 0, is_last);
                for (int r = 0; r < count_rows && is_last && d_query != 0; r++)
                    at[r] = query_row(d_query_view, &batch, h, i0 + r);
                if (is_last && d_query != 0)
                    put_d_query_rows(d_query, at, count_rows, queries.out, scale);
            }
        }
        give_span(&span, &batch, g, min(CLA_SPAN, all_keys - span.begin), d_key, d_key_view, d_value, d_value_view, scale,
                  CLA_PLACES);
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
