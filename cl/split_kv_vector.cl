/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash attention of few queries for devices with wide vectors: one work-item is a work-group, and a vector holds CLA_LANES
 * dims of a query, a key or a value. Each vector of keys and values is read once, straight from their own layout and
 * type, and meets all rows.
 *
 *   O[b,h,i] = sum over j of softmax(S[b,h,i,j]) V[b,g,j]   lse[b,h,i] = ln sum e^S   S = scale Q . K, capped and masked
 *
 *   query [b, q_heads, q_len, CLA_HEAD_DIM]   key [b, kv_heads, kv_len, CLA_HEAD_DIM]   value [.., CLA_VALUE_DIM]
 *   output [b, q_heads, q_len, CLA_VALUE_DIM]   lse [b, q_heads, q_len] f32
 *
 * The rows of a work-item, CLA_ROWS, are those of all query heads of a key/value head, numbered head by head. It keeps, in
 * private memory,
 *
 *   queries   [QUERY_VECTORS][CLA_ROWS]   vectors of queries, times the scale
 *   weights   [CLA_KEYS][CLA_ROWS]        scores of a tile of keys, then e^(score - largest); a vector holds those of
 *                                         CLA_LANES / CLA_ROWS keys, so the softmax leaves no lane idle
 *   out       [VALUE_VECTORS][CLA_ROWS]   vectors of the sums so far
 *   held      [VALUE_VECTORS][CLA_ROWS]   what `out` is added to every HELD_TILES tiles, with what that loses left in it
 *
 * For each tile of keys that some row sees: scores in blocks of SUMS / CLA_ROWS keys, whose sums over the lanes a tree of
 * swaps finds for CLA_LANES of them at once; then the weights; then out in pieces of as many vectors as give SUMS sums.
 * Keys that no row sees are dropped before the values are read. Where a dim is no multiple of CLA_LANES, the last vector
 * begins earlier; of what it repeats, the queries and keys count as 0 and the values are summed again. The sums are rescaled
 * only where a maximum has grown by more than 2^8 since the last time: small steps, each of them rounded, would add up.
 *
 * With CLA_DOT queries and keys are in bf16, head dims a multiple of 2 CLA_LANES, and scores are made of dot products of pairs.
 *
 * Scores are in powers of two, log2(e) being folded into the scale, unless softcap, a sink or something that is added needs their
 * natural value: then log2(e) is applied to the difference from the maximum, where it cannot overflow.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_LANES                     4, 8 or 16; more than 4 only where both dims are at least as many
 *   CLA_ROWS                      1, 2, 4, 8 or 16, at most CLA_LANES
 *   CLA_KEYS                      keys a tile, a multiple of 16 / CLA_ROWS and of 8
 *   CLA_LSE                       1: write lse
 *   CLA_SPLIT                     1: keys are split over work-groups, split_keys each, numbered innermost; each group
 *                                 writes its own output as part [part, b, q_heads, q_len, ..] in f32 and, in place of
 *                                 lse, a score not far below the row's largest and the sum of e^(score - that), which
 *                                 merge.cl makes one; CLA_OUTPUT_TYPE is then f32. The first has the sink.
 *
 * Local memory: none. Private memory: about 4 CLA_ROWS (CLA_HEAD_DIM + 2 CLA_VALUE_DIM + CLA_KEYS) + 20 CLA_KEYS bytes.
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_ROWS) || !defined(CLA_KEYS) ||                   \
    !defined(CLA_LSE) || !defined(CLA_SPLIT)
#error "split_kv_vector.cl: a parameter is not defined"
#endif

#define LOG2E  1.44269504088896340736f
#define LN2    0.69314718055994530942f
#define BASE_2 (!CLA_SOFTCAP && CLA_MASK != 2 && !CLA_ALIBI && !CLA_RELATIVE && !CLA_SINKS)
#define UNIT   (BASE_2 ? LOG2E : 1.0f) /* of scores */

/* Stands for "no score yet". Finite: -inf would make -inf - -inf of a row without keys. */
#define NO_SCORE (-FLT_MAX)

/* Powers of two by which a maximum may lag behind. */
#define LAG 8.0f

/* Tiles after which the sums are held, and head dims, in vectors, that are summed in order. */
#define HELD_TILES 32
#define RUN        32

/* Sums that stay in registers: vectors of 8 lanes are those of machines with 16 registers, others have 32. */
#if CLA_LANES == 8
#define SUMS 8
#else
#define SUMS 16
#endif

/* With CLA_DOT a vector of a query or key holds pairs of dims, all of it. */
#if CLA_DOT
#define QUERY_VECTORS (CLA_HEAD_DIM / (2 * CLA_LANES))
#else
#define QUERY_VECTORS ((CLA_HEAD_DIM + CLA_LANES - 1) / CLA_LANES)
#endif
#define VALUE_VECTORS ((CLA_VALUE_DIM + CLA_LANES - 1) / CLA_LANES)
#define BLOCK_KEYS    (SUMS / CLA_ROWS)
#define KEYS_AT_ONCE  (BLOCK_KEYS < 4 ? BLOCK_KEYS : 4)

/* The pieces in which out is summed: as few as possible, and as even. */
#define MOST_PIECE (SUMS / CLA_ROWS)
#define PIECES     ((VALUE_VECTORS + MOST_PIECE - 1) / MOST_PIECE)
#define PIECE      ((VALUE_VECTORS + PIECES - 1) / PIECES)
#define LAST_PIECE (VALUE_VECTORS - (VALUE_VECTORS - 1) / PIECE * PIECE)

#if CLA_SPLIT
#define SPLIT_PARAMS , int split_keys, long part_stride, long state_part_stride
#else
#define SPLIT_PARAMS
#endif

#if CLA_LANES == 16
#define SWAP_1(x) (x).s1032547698badcfe
#define SWAP_2(x) (x).s23016745ab89efcd
#define SWAP_4(x) (x).s45670123cdef89ab
#define SWAP_8(x) (x).s89abcdef01234567
#elif CLA_LANES == 8
#define SWAP_1(x) (x).s10325476
#define SWAP_2(x) (x).s23016745
#define SWAP_4(x) (x).s45670123
#define SWAP_8(x) (x)
#else
#define SWAP_1(x) (x).s1032
#define SWAP_2(x) (x).s2301
#define SWAP_4(x) (x)
#define SWAP_8(x) (x)
#endif

/*
 * One round of a tree: the `distance` vectors that are left of twice as many. In the lanes whose number has the bit `distance`
 * the sum is that of s[n + distance], in the others that of s[n].
 */
#define FOLD(s, distance)                                                                                              \
    _Pragma("unroll") for (int n = 0; n < distance; n++)                                                               \
    {                                                                                                                  \
        const ivec_t upper = (LANE_NUMBERS & distance) != 0;                                                           \
        const vec_t crossed = upper ? s[n] : s[n + distance];                                                          \
        s[n] = (upper ? s[n + distance] : s[n]) + CLA_JOIN(SWAP_, distance)(crossed);                                  \
    }

/* Lane n of the result is the sum of the lanes of s[n]. */
static inline vec_t sum_lanes(vec_t *s)
{
#if CLA_LANES >= 16
    FOLD(s, 8)
#endif
#if CLA_LANES >= 8
    FOLD(s, 4)
#endif
    FOLD(s, 2)
    FOLD(s, 1)
    return s[0];
}

/* Where vector v of a row of `dim` elements begins: the last one ends with the row, if the row has so many elements. */
#define COLUMN(v, dim) ((v) * CLA_LANES <= (dim) - CLA_LANES || (dim) < CLA_LANES ? (v) * CLA_LANES : (dim) - CLA_LANES)

#if CLA_DOT
#define query_vector(row, v)  load_some_beside((row) + 2 * (v) * CLA_LANES, CLA_LANES)
#define key_vector            query_vector
#define product(sum, a, b)    dot_pair(sum, as_uvec(a), as_uvec(b))
#else
#define query_vector(row, v) load_some_query((row) + COLUMN(v, CLA_HEAD_DIM), CLA_HEAD_DIM)
#define key_vector(row, v)   load_some_key((row) + COLUMN(v, CLA_HEAD_DIM), CLA_HEAD_DIM)
#define product(sum, a, b)   ((sum) + (a) * (b))
#endif
#define value_vector(row, v) load_some_value((row) + COLUMN(v, CLA_VALUE_DIM), CLA_VALUE_DIM)

/* x, the last vector of a query or key, with 0 for what is in the one before it as well. */
static inline vec_t own_dims(vec_t x)
{
#if CLA_DOT
    return x;
#else
    const int repeated = CLA_HEAD_DIM < CLA_LANES ? 0 : QUERY_VECTORS * CLA_LANES - CLA_HEAD_DIM;
    return LANE_NUMBERS >= repeated ? x : (vec_t)(0.0f);
#endif
}

/*
 * Memory is far away for one work-item, and what fetches ahead by itself loses its way where keys end and values begin. So
 * while keys are read, the values of the same tile are fetched, and while values are, the keys of the next tile.
 */
#define CACHE_LINE  64
#define KEY_BYTES   (CLA_HEAD_DIM * (int)sizeof(key_t))
#define VALUE_BYTES (CLA_VALUE_DIM * (int)sizeof(value_t))

/* Products of vector v of KEYS_AT_ONCE keys with that of all rows. */
WIDE static inline void add_products(vec_t *sum, const vec_t *queries, __global const key_t *const *row, int v, int last)
{
#pragma unroll
    for (int k = 0; k < KEYS_AT_ONCE; k++) {
        const vec_t dims = last ? own_dims(key_vector(row[k], v)) : key_vector(row[k], v);
#pragma unroll
        for (int r = 0; r < CLA_ROWS; r++)
            sum[k * CLA_ROWS + r] = product(sum[k * CLA_ROWS + r], dims, queries[v * CLA_ROWS + r]);
    }
}

/* scores[BLOCK_KEYS][CLA_ROWS] of the keys that begin at elements at[BLOCK_KEYS]. */
WIDE static inline void score_block(vec_t *scores, const vec_t *queries, __global const key_t *key, const long *at)
{
    vec_t sum[SUMS];
#pragma unroll
    for (int k0 = 0; k0 < BLOCK_KEYS; k0 += KEYS_AT_ONCE) {
        __global const key_t *row[KEYS_AT_ONCE];
#pragma unroll
        for (int k = 0; k < KEYS_AT_ONCE; k++)
            row[k] = key + at[k0 + k];
#pragma unroll
        for (int n = 0; n < KEYS_AT_ONCE * CLA_ROWS; n++)
            sum[k0 * CLA_ROWS + n] = (vec_t)(0.0f);
#if QUERY_VECTORS > 2 * RUN
        for (int v0 = 0; v0 < QUERY_VECTORS - 1; v0 += RUN) {
            vec_t part[KEYS_AT_ONCE * CLA_ROWS];
#pragma unroll
            for (int n = 0; n < KEYS_AT_ONCE * CLA_ROWS; n++)
                part[n] = (vec_t)(0.0f);
            for (int v = v0; v < min(v0 + RUN, QUERY_VECTORS - 1); v++)
                add_products(part, queries, row, v, 0);
#pragma unroll
            for (int n = 0; n < KEYS_AT_ONCE * CLA_ROWS; n++)
                sum[k0 * CLA_ROWS + n] += part[n];
        }
#else
        for (int v = 0; v < QUERY_VECTORS - 1; v++)
            add_products(sum + k0 * CLA_ROWS, queries, row, v, 0);
#endif
        add_products(sum + k0 * CLA_ROWS, queries, row, QUERY_VECTORS - 1, 1);
    }
#pragma unroll
    for (int n = 0; n < SUMS; n += CLA_LANES)
        scores[n / CLA_LANES] = sum_lanes(sum + n);
}

APART static void score_keys(vec_t *scores, const vec_t *queries, __global const key_t *key, const long *at, int count,
                             __global const value_t *value, const long *value_at)
{
    for (int k = 0; k < count; k += BLOCK_KEYS) {
        for (int n = 0; n < BLOCK_KEYS; n++) {
#pragma unroll 16
            for (int line = 0; line < VALUE_BYTES; line += CACHE_LINE)
                prefetch_line((__global const char *)(value + value_at[k + n]) + line);
        }
        score_block(scores + k * CLA_ROWS / CLA_LANES, queries, key, at + k);
    }
}

/* out[width][CLA_ROWS], from vector v0 on, += weights[count][CLA_ROWS] x values that begin at at[count]. */
#define DEFINE_SUM_PIECE(name, width)                                                                                  \
    APART static void name(vec_t *out, const float *weights, __global const value_t *value, const long *at, int count, \
                           int v0, __global const key_t *next, const long *next_at)                                    \
    {                                                                                                                  \
        const int share = KEY_BYTES / VALUE_VECTORS; /* of the next keys' bytes, for each vector that is summed */     \
        vec_t sum[width][CLA_ROWS];                                                                                    \
        _Pragma("unroll") for (int v = 0; v < width; v++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int r = 0; r < CLA_ROWS; r++) sum[v][r] = (vec_t)(0.0f);                            \
        }                                                                                                              \
        for (int k = 0; k < count; k++) {                                                                              \
            vec_t columns[width];                                                                                      \
            _Pragma("unroll") for (int v = 0; v < width; v++) columns[v] = value_vector(value + at[k], v0 + v);         \
            _Pragma("unroll") for (int line = 0; line < width * share; line += CACHE_LINE)                             \
                prefetch_line((__global const char *)(next + next_at[k]) + v0 * share + line);                              \
            _Pragma("unroll") for (int r = 0; r < CLA_ROWS; r++)                                                       \
            {                                                                                                          \
                const vec_t weight = (vec_t)(weights[k * CLA_ROWS + r]);                                               \
                _Pragma("unroll") for (int v = 0; v < width; v++) sum[v][r] += weight * columns[v];                    \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (int v = 0; v < width; v++)                                                              \
        {                                                                                                              \
            _Pragma("unroll") for (int r = 0; r < CLA_ROWS; r++) out[(v0 + v) * CLA_ROWS + r] += sum[v][r];            \
        }                                                                                                              \
    }

DEFINE_SUM_PIECE(sum_piece, PIECE)
#if LAST_PIECE != PIECE
DEFINE_SUM_PIECE(sum_last_piece, LAST_PIECE)
#else
#define sum_last_piece sum_piece
#endif

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define ADDED(a, b)  ((a) + (b))

/* The largest, or the sum, of the lanes of each row, which are CLA_ROWS apart, in all of them. */
#define DEFINE_ACROSS(name, join)                                                                                      \
    static inline vec_t name(vec_t x)                                                                                  \
    {                                                                                                                  \
        if (CLA_ROWS <= 1)                                                                                             \
            x = join(x, SWAP_1(x));                                                                                    \
        if (CLA_ROWS <= 2)                                                                                             \
            x = join(x, SWAP_2(x));                                                                                    \
        if (CLA_ROWS <= 4 && CLA_LANES > 4)                                                                            \
            x = join(x, SWAP_4(x));                                                                                    \
        if (CLA_ROWS <= 8 && CLA_LANES > 8)                                                                            \
            x = join(x, SWAP_8(x));                                                                                    \
        return x;                                                                                                      \
    }

DEFINE_ACROSS(row_max, LARGER)
DEFINE_ACROSS(row_sum, ADDED)

/* What has been summed of the rows fades, `fade` being the same in all lanes of a row. */
APART static void fade_sums(vec_t *sums, vec_t fade)
{
    float row_fade[CLA_LANES];
    vec_store(fade, row_fade);
    for (int n = 0; n < VALUE_VECTORS * CLA_ROWS; n++)
        sums[n] *= row_fade[n & (CLA_ROWS - 1)];
}

/* The few rows of a work-group: what each is and which keys it sees. Those past the last one are nobody's and see none. */
struct few {
    int count;
    int head[CLA_ROWS];
    int query[CLA_ROWS];
    int2 visible[CLA_ROWS];
};

/* at[k]: the element where key j0 + k, or its value, begins. */
static void find_rows(long *at, long4 view, const struct batch *batch, int g, int j0, int count, CLA_PLACES_PARAMS)
{
    for (int k = 0, run; k < count; k += run) {
        run = key_run(batch, j0 + k, j0 + count, CLA_PLACES);
        const long first = key_row(view, batch, g, j0 + k, CLA_PLACES);
        for (int n = 0; n < run; n++)
            at[k + n] = first + n * view.w;
    }
}

/* Biases and exclusions of a tile. seen[k]: some row sees key k. */
static void change_scores(vec_t *scores, int *seen, const struct few *rows, const struct batch *batch, int j0, int count,
                          CLA_SEMANTICS_PARAMS)
{
    float *score = (float *)scores;
    for (int k = 0; k < count; k++)
        seen[k] = 0;
    for (int r = 0; r < CLA_ROWS; r++) {
        const int h = rows->head[r];
        const int i = rows->query[r];
        for (int k = 0; k < count; k++) {
            if (keep(batch, h, i, j0 + k, rows->visible[r], CLA_SEMANTICS)) {
                score[k * CLA_ROWS + r] += bias(batch, h, i, j0 + k, CLA_SEMANTICS);
                seen[k] = 1;
            } else {
                score[k * CLA_ROWS + r] = -INFINITY;
            }
        }
    }
}

WIDE __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
split_kv_vector(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
                __global const value_t *value, long4 value_view, __global output_t *output, long4 output_view,
                __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS SPLIT_PARAMS)
{
    vec_t queries[QUERY_VECTORS * CLA_ROWS];
    vec_t weights[CLA_KEYS * CLA_ROWS / CLA_LANES];
    vec_t out[VALUE_VECTORS * CLA_ROWS];
    vec_t held[VALUE_VECTORS * CLA_ROWS];
    long key_rows[CLA_KEYS];
    long value_rows[CLA_KEYS];
    int seen[CLA_KEYS];
    struct few rows;

    uint group = (uint)get_group_id(0);
#if CLA_SPLIT
    const uint2 split = divide(group, (uint)max(1, (kv_len + split_keys - 1) / split_keys));
    const int part = (int)split.y;
    group = split.x;
#endif
    const int row_tiles = max(1, (heads_per_kv * q_len + CLA_ROWS - 1) / CLA_ROWS);
    const uint2 tile = divide(group, (uint)row_tiles);
    const uint2 head = divide(tile.x, (uint)(q_heads / heads_per_kv));
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int g = (int)head.y;
    const int n0 = (int)tile.y * CLA_ROWS;

    int2 some = (int2)(kv_len, 0);
    int2 all = (int2)(0, kv_len);
    rows.count = clamp(heads_per_kv * batch.q_len - n0, 0, CLA_ROWS);
    if (rows.count == 0) /* of a packed sequence that is shorter; no barrier follows */
        return;
    for (int r = 0; r < CLA_ROWS; r++) {
        const uint2 row = divide((uint)(n0 + r), (uint)max(1, batch.q_len));
        const int exists = r < rows.count;
        rows.head[r] = g * heads_per_kv + (exists ? (int)row.x : 0);
        rows.query[r] = exists ? (int)row.y : batch.q_len;
        rows.visible[r] = exists ? visible_keys(&batch, rows.query[r], CLA_SEMANTICS) : (int2)(0);
        if (exists) {
            some = (int2)(min(some.x, rows.visible[r].x), max(some.y, rows.visible[r].y));
            all = (int2)(max(all.x, rows.visible[r].x), min(all.y, rows.visible[r].y));
        }
        const long at = query_row(query_view, &batch, rows.head[r], rows.query[r]);
        for (int v = 0; v < QUERY_VECTORS; v++) {
            const vec_t dims = exists ? query_vector(query + at, v) : (vec_t)(0.0f);
#if CLA_DOT
            queries[v * CLA_ROWS + r] = dims;
#else
            queries[v * CLA_ROWS + r] = (v == QUERY_VECTORS - 1 ? own_dims(dims) : dims) * (scale * UNIT);
#endif
        }
    }
#if CLA_SPLIT
    some = (int2)(max(some.x, part * split_keys), min(some.y, (part + 1) * split_keys));
#endif
    for (int n = 0; n < VALUE_VECTORS * CLA_ROWS; n++)
        out[n] = (vec_t)(0.0f);

    vec_t largest = (vec_t)(NO_SCORE); /* the same in all lanes of a row */
    vec_t sum = (vec_t)(0.0f);         /* a row's is that of its lanes */
    vec_t held_sum = (vec_t)(0.0f);
    int tiles = 0;
#if CLA_SINKS
    for (int n = 0; n < CLA_LANES; n++) {
        const int r = n & (CLA_ROWS - 1);
        const float logit = sink(rows.head[r], CLA_SEMANTICS);
#if CLA_SPLIT
        if (part > 0)
            break;
#endif
        if (logit > -FLT_MAX) {
            ((float *)&largest)[n] = logit;
            if (n < CLA_ROWS)
                ((float *)&sum)[n] = 1.0f;
        }
    }
#endif

    find_rows(key_rows, key_view, &batch, g, some.x, min(CLA_KEYS, some.y - some.x), CLA_PLACES);
    for (int j0 = some.x, count; j0 < some.y; j0 += count) {
        count = min(CLA_KEYS, some.y - j0);
        const int cut = classify(&batch, j0, j0 + count, some, all, CLA_PLACES) != CLA_FULL;
        const int blocks_end = (count + BLOCK_KEYS - 1) / BLOCK_KEYS * BLOCK_KEYS;
        const int vectors = blocks_end * CLA_ROWS / CLA_LANES;
        int used = count; /* keys */

        find_rows(value_rows, value_view, &batch, g, j0, count, CLA_PLACES);
        for (int k = count; k < blocks_end; k++) {
            key_rows[k] = key_rows[count - 1];
            value_rows[k] = value_rows[count - 1];
        }
        score_keys(weights, queries, key, key_rows, count, value, value_rows);
        find_rows(key_rows, key_view, &batch, g, j0 + count, min(CLA_KEYS, some.y - j0 - count), CLA_PLACES);
#if CLA_DOT /* a query times the scale would have to be rounded */
        for (int n = 0; n < vectors; n++)
            weights[n] *= scale * UNIT;
#endif
#if CLA_SOFTCAP
        for (int n = 0; n < vectors; n++)
            weights[n] = capped(weights[n]);
#endif
        for (int n = count * CLA_ROWS; n < blocks_end * CLA_ROWS; n++)
            ((float *)weights)[n] = -INFINITY;
        if (cut || CLA_ALIBI || CLA_RELATIVE)
            change_scores(weights, seen, &rows, &batch, j0, count, CLA_SEMANTICS);

        vec_t tile_max = largest;
        for (int n = 0; n < vectors; n++)
            tile_max = weights[n] > tile_max ? weights[n] : tile_max;
        tile_max = row_max(tile_max);
        const ivec_t grown = tile_max > largest + (BASE_2 ? LAG : LAG * LN2);
        if (or_lanes(as_uvec(grown)) != 0) {
            const vec_t fade = vec_exp2((largest - tile_max) * (BASE_2 ? 1.0f : LOG2E));
            largest = tile_max;
            sum *= fade;
            held_sum *= fade;
            fade_sums(out, fade);
            if (tiles >= HELD_TILES)
                fade_sums(held, fade);
        }
        vec_t tile_sum = (vec_t)(0.0f);
        for (int n = 0; n < vectors; n++) {
            weights[n] = vec_exp2((weights[n] - largest) * (BASE_2 ? 1.0f : LOG2E));
            tile_sum += weights[n];
        }
        sum += tile_sum;

        if (cut) {
            float *weight = (float *)weights;
            used = 0;
            for (int k = 0; k < count; k++) {
                if (!seen[k])
                    continue;
                value_rows[used] = value_rows[k];
                for (int r = 0; r < CLA_ROWS; r++)
                    weight[used * CLA_ROWS + r] = weight[k * CLA_ROWS + r];
                used++;
            }
        }
        int v = 0;
        for (; v + PIECE < VALUE_VECTORS; v += PIECE)
            sum_piece(out, (const float *)weights, value, value_rows, used, v, key, key_rows);
        sum_last_piece(out, (const float *)weights, value, value_rows, used, v, key, key_rows);
        if (++tiles % HELD_TILES == 0) {
            hold_vec(&held_sum, &sum);
            hold_sums(held, out, VALUE_VECTORS * CLA_ROWS, tiles > HELD_TILES);
        }
    }
    for (int n = 0; n < VALUE_VECTORS * CLA_ROWS && tiles >= HELD_TILES; n++)
        out[n] += held[n];

    sum = row_sum(held_sum + sum);
    for (int r = 0; r < rows.count; r++) {
        const float total = ((const float *)&sum)[r];
        const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
        const float row_largest = ((const float *)&largest)[r] * (BASE_2 ? LN2 : 1.0f);
#if CLA_SPLIT
        const long at = part * part_stride + view_row(output_view, batch.index, rows.head[r], rows.query[r]);
        vstore2((float2)(row_largest, total), 0,
                lse + part * state_part_stride + view_row(lse_view, batch.index, rows.head[r], rows.query[r]));
#else
        const long at = query_row(output_view, &batch, rows.head[r], rows.query[r]);
#if CLA_LSE
        lse[query_row(lse_view, &batch, rows.head[r], rows.query[r])] = row_largest + log(total);
#endif
#endif
        for (int v = 0; v < VALUE_VECTORS; v++)
            store_some_output(output + at + COLUMN(v, CLA_VALUE_DIM), out[v * CLA_ROWS + r] * inverse, CLA_VALUE_DIM);
    }
}
