/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of few queries for devices whose work-groups share local memory (Dao et al. 2023, "Flash-Decoding"): bound by
 * the bandwidth of keys and values, which a work-group reads once for all its rows.
 *
 *   O[b,h,i] = sum over j of softmax(S[b,h,i,j]) V[b,g,j]   lse[b,h,i] = ln sum e^S   S = scale Q . K, capped and masked
 *
 *   query [b, q_heads, q_len, CLA_HEAD_DIM]   key [b, kv_heads, kv_len, CLA_HEAD_DIM]   value [.., CLA_VALUE_DIM]
 *   output [b, q_heads, q_len, CLA_VALUE_DIM]   lse [b, q_heads, q_len] f32
 *
 * A work-group owns CLA_ROWS rows of one key/value head, numbered over its query heads (row n is query n % q_len of head
 * n / q_len), and walks the keys that some row sees, or its part of them, in tiles of KEYS. A work-item has ITEM_ROWS of the
 * rows and, in the scores, ITEM_KEYS of the keys. For each tile, with a barrier between:
 *
 *   1. Scores. CLA_SHARERS neighbours share a key, each taking 16 bytes of its row at a time; the ROW_GROUPS of the same key
 *      lie next to each other too, and read the same. Their shares of the products go to local memory.
 *   2. KEY_SLOTS work-items a row add up the shares, mask, and leave their largest score in local memory.
 *   3. The same find the row's maximum and leave e^(score - maximum), and by how much earlier sums fade. They follow a
 *      maximum only where it has grown by more than 2^8: many small steps, each of them rounded, would add up.
 *   4. Sums of values. A work-item owns 16 bytes of the columns, or several times that; where the columns leave
 *      work-items over, KEY_GROUPS of them take every KEY_GROUPS-th key, and their sums are added at the end.
 *
 * The weight of a pair that is excluded is -0. A value that no row sees meets nothing else and is replaced by 0.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_GROUP_SIZE                work-items: a power of two, CLA_SHARERS * ROW_GROUPS or more
 *   CLA_ROWS                      a power of two
 *   CLA_SHARERS                   work-items that share a key: a power of two, ITEM_ROWS or more
 *   CLA_LSE                       1: write lse
 *   CLA_HELD                      tiles after which sums are held (types.cl); 0: there are no more
 *   CLA_SPLIT                     1: keys are split over work-groups, split_keys each, numbered innermost; each group writes
 *                                 its own output as part [part, b, q_heads, q_len, ..] in f32 and, in place of lse, a
 *                                 score not far below the row's largest and the sum of e^(score - that), which merge.cl
 *                                 makes one. The first has the sink.
 *
 * Local memory, in bytes: 16 (CLA_ROWS QUERY_QUADS + CLA_GROUP_SIZE ITEM_ROWS + (ROW_GROUPS - 1) (QUERY_PAD + SHARE_PAD / 4)) +
 * 4 CLA_ROWS (KEYS + KEY_SLOTS + 1) + 8 KEYS.
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_GROUP_SIZE) || !defined(CLA_ROWS) ||             \
    !defined(CLA_SHARERS) || !defined(CLA_LSE) || !defined(CLA_SPLIT) || !defined(CLA_HELD)
#error "split_kv.cl: a parameter is not defined"
#endif

#define LOG2E          1.44269504088896340736f
#define CEIL_DIV(a, b) (((a) + (b) - 1) / (b))

/* Who owns which rows and keys. */
#if CLA_ROWS < 4
#define ITEM_ROWS CLA_ROWS
#else
#define ITEM_ROWS 4
#endif
#define ROW_GROUPS (CLA_ROWS / ITEM_ROWS)
#define ITEM_KEYS  4
#define KEY_SLOTS  (CLA_GROUP_SIZE / (CLA_SHARERS * ROW_GROUPS))
#define KEYS       (ITEM_KEYS * KEY_SLOTS)

/* Pieces: 16 bytes of a row of keys or values. A quad is four elements as floats. */
#if CLA_KEY_TYPE == 0
#define KEY_QUADS 1
#else
#define KEY_QUADS 2
#endif
#if CLA_VALUE_TYPE == 0
#define VALUE_QUADS 1
#else
#define VALUE_QUADS 2
#endif
#define KEY_PIECE    (4 * KEY_QUADS)
#define VALUE_PIECE  (4 * VALUE_QUADS)
#define KEY_PIECES   CEIL_DIV(CLA_HEAD_DIM, KEY_PIECE)
#define VALUE_PIECES CEIL_DIV(CLA_VALUE_DIM, VALUE_PIECE)

#define STEPS       CEIL_DIV(KEY_PIECES, CLA_SHARERS)
#define QUERY_QUADS (STEPS * CLA_SHARERS * KEY_QUADS)

/* What sets groups of rows apart in local memory, in quads and in floats, so that they meet in no bank (of 32). */
#define QUERY_PAD (KEY_QUADS == 1 ? 4 : 1)
#define SHARE_PAD (32 / ROW_GROUPS)

/* Sums of values: owners are pairs of a piece and a row group. */
#define OWNERS      (VALUE_PIECES * ROW_GROUPS)
#define KEY_GROUPS  (OWNERS < CLA_GROUP_SIZE ? CLA_GROUP_SIZE / OWNERS : 1)
#define ITEM_PIECES CEIL_DIV(OWNERS, CLA_GROUP_SIZE)

/* By how much a maximum may lag behind: 8 in powers of two. */
#define LAG 5.5f

/* Steps whose head dims are summed in order: errors grow with their number. */
#define RUN_STEPS (64 / KEY_PIECE)

/*
 * What a work-item has in flight: steps of ITEM_KEYS loads, and loads of values. Four rows have so many sums that a second step
 * costs some GPUs a work-group, and the quads of a piece are products one after the other.
 */
#if STEPS == 1 || ITEM_ROWS == 4
#define STEPS_IN_FLIGHT 1
#else
#define STEPS_IN_FLIGHT 2
#endif
#define VALUES_IN_FLIGHT 4
#if KEY_QUADS == 2 && ITEM_ROWS == 4
#define EACH_KEY_QUAD(statements)                                                                                      \
    _Pragma("unroll 1") for (int quad = 0; quad < KEY_QUADS; quad++) {                                                 \
        statements                                                                                                     \
    }
#else
#define EACH_KEY_QUAD(statements) EACH(KEY_QUADS, quad, statements)
#endif

/* Sums that fit the registers are kept there, which takes constants for `piece`; more of them only make long code. */
#if ITEM_PIECES <= 4
#define UNROLL_PIECES _Pragma("unroll")
#else
#define UNROLL_PIECES
#endif
#if ITEM_PIECES == 1
#define EACH_PIECE(statements) EACH(1, piece, statements)
#elif ITEM_PIECES == 2
#define EACH_PIECE(statements) EACH(2, piece, statements)
#elif ITEM_PIECES == 3
#define EACH_PIECE(statements) EACH(3, piece, statements)
#elif ITEM_PIECES == 4
#define EACH_PIECE(statements) EACH(4, piece, statements)
#else
#define EACH_PIECE(statements)                                                                                         \
    for (int piece = 0; piece < ITEM_PIECES; piece++) {                                                                \
        statements                                                                                                     \
    }
#endif

#if CLA_SPLIT
#define result_t             float
#define store_result(p, i, x) ((p)[i] = (x))
#define SPLIT_PARAMS         , int split_keys, long part_stride, long state_part_stride
#else
#define result_t     output_t
#define store_result store_output
#define SPLIT_PARAMS
#endif

/*
 * 16 bytes of a row as they lie in memory, and as floats: PIECE elements from element `at` on, of which `count` exist; the
 * others are 0. Loads of 16 bytes take the alignment that `wide` says there is; without it, elements are loaded one by one.
 */
#define WIDE_LOAD(p, at) (*(__global const uint4 *)((p) + (at)))

static inline uint4 fetch_piece_0(__global const float *p, long at, int count, int wide)
{
    if (wide)
        return WIDE_LOAD(p, at);
    float4 piece = (float4)(0.0f);
    piece.x = p[at];
    if (count > 1)
        piece.y = p[at + 1];
    if (count > 2)
        piece.z = p[at + 2];
    if (count > 3)
        piece.w = p[at + 3];
    return as_uint4(piece);
}

static inline uint pair_of(__global const ushort *p, int d, int count)
{
    return (d < count ? (uint)p[d] : 0) | (d + 1 < count ? (uint)p[d + 1] << 16 : 0);
}

static inline uint4 fetch_piece_2(__global const ushort *p, long at, int count, int wide)
{
    if (wide)
        return WIDE_LOAD(p, at);
    p += at;
    return (uint4)(pair_of(p, 0, count), pair_of(p, 2, count), pair_of(p, 4, count), pair_of(p, 6, count));
}

#define fetch_piece_1(p, at, count, wide) fetch_piece_2((__global const ushort *)(p), at, count, wide)

/* Elements 4 quad to 4 quad + 3. */
static inline float4 quad_of_0(uint4 piece, int quad)
{
    return as_float4(piece);
}

static inline float4 quad_of_1(uint4 piece, int quad)
{
    const uint2 half_piece = quad == 0 ? piece.lo : piece.hi;
    return vload_half4(0, (__private const half *)&half_piece);
}

static inline float4 quad_of_2(uint4 piece, int quad)
{
    const uint2 pairs = quad == 0 ? piece.lo : piece.hi;
    return as_float4((uint4)(pairs.x << 16, pairs.x & 0xffff0000u, pairs.y << 16, pairs.y & 0xffff0000u));
}

#define key_quad   CLA_JOIN(quad_of_, CLA_KEY_TYPE)
#define value_quad CLA_JOIN(quad_of_, CLA_VALUE_TYPE)

/* Whether every piece of every row begins at a multiple of 16 bytes and is whole. */
#define IS_WIDE(p, view, dim, piece)                                                                                   \
    ((dim) % (piece) == 0 && ((size_t)((p) + (view).x) & 15) == 0 && strides_divide(view, piece))

/* Whether the strides of a view are multiples of `piece`, a power of two. */
static inline int strides_divide(long4 view, int piece)
{
    const int4 rest = convert_int4(view & (long4)(0, piece - 1, piece - 1, piece - 1));
    return as_long(rest.lo | rest.hi) == 0;
}

/* The pieces of ITEM_KEYS keys that begin at `at`, for as many steps as are in flight. */
static inline void fetch_keys(uint4 pieces[STEPS_IN_FLIGHT][ITEM_KEYS], __global const key_t *key,
                              const long at[ITEM_KEYS], int step0, int sharer, int wide)
{
    EACH(STEPS_IN_FLIGHT, s,
        const int piece = (step0 + s) * CLA_SHARERS + sharer;
        EACH(ITEM_KEYS, n,
            pieces[s][n] = (uint4)(0);
            if (piece < KEY_PIECES)
                pieces[s][n] = CLA_JOIN(fetch_piece_, CLA_KEY_TYPE)(key, at[n] + piece * KEY_PIECE,
                                                                   CLA_HEAD_DIM - piece * KEY_PIECE, wide);
        )
    )
}

/* The pieces of every KEY_GROUPS-th key from k0 on, from column `column` on; 0 for those from `count` on. */
INLINED static void fetch_values(uint4 pieces[VALUES_IN_FLIGHT], __global const value_t *value, __local const long *rows,
                                 int k0, int count, int column, int wide)
{
#pragma unroll
    for (int n = 0; n < VALUES_IN_FLIGHT; n++) {
        const int k = k0 + n * KEY_GROUPS;
        pieces[n] = (uint4)(0);
        if (k < count)
            pieces[n] = CLA_JOIN(fetch_piece_, CLA_VALUE_TYPE)(value, rows[k] + column, CLA_VALUE_DIM - column, wide);
    }
}

static inline float dot_add(float4 a, float4 b, float sum)
{
    sum += a.x * b.x;
    sum += a.y * b.y;
    sum += a.z * b.z;
    sum += a.w * b.w;
    return sum;
}

/* This work-item's shares of the products of its rows, whose queries `queries` holds, with the keys that begin at `at`. */
INLINED static void share_scores(__local float *shares, __local const float4 *queries, __global const key_t *key,
                                 const long at[ITEM_KEYS], int sharer, int wide)
{
    float sum[ITEM_ROWS][ITEM_KEYS];
    EACH(ITEM_ROWS, r, EACH(ITEM_KEYS, n, sum[r][n] = 0.0f;))
#pragma unroll 1
    for (int step0 = 0; step0 < STEPS; step0 += STEPS_IN_FLIGHT) {
#if STEPS > RUN_STEPS
        if (step0 > 0 && step0 % RUN_STEPS == 0) {
            EACH(ITEM_ROWS, r, EACH(ITEM_KEYS, n,
                __local float *share = shares + (r * KEYS + n * KEY_SLOTS) * CLA_SHARERS;
                *share = step0 > RUN_STEPS ? *share + sum[r][n] : sum[r][n];
                sum[r][n] = 0.0f;
            ))
        }
#endif
        uint4 pieces[STEPS_IN_FLIGHT][ITEM_KEYS];
        if (wide)
            fetch_keys(pieces, key, at, step0, sharer, 1);
        else
            fetch_keys(pieces, key, at, step0, sharer, 0);
        EACH(STEPS_IN_FLIGHT, s,
            if (step0 + s < STEPS) {
                EACH_KEY_QUAD(
                    float4 keys[ITEM_KEYS];
                    EACH(ITEM_KEYS, n, keys[n] = key_quad(pieces[s][n], quad);)
                    EACH(ITEM_ROWS, r,
                        const float4 dims =
                            queries[r * QUERY_QUADS + ((step0 + s) * CLA_SHARERS + sharer) * KEY_QUADS + quad];
                        EACH(ITEM_KEYS, n, sum[r][n] = dot_add(dims, keys[n], sum[r][n]);)
                    )
                )
            }
        )
    }
#if STEPS > RUN_STEPS
    EACH(ITEM_ROWS, r, EACH(ITEM_KEYS, n, shares[(r * KEYS + n * KEY_SLOTS) * CLA_SHARERS] += sum[r][n];))
#else
    EACH(ITEM_ROWS, r, EACH(ITEM_KEYS, n, shares[(r * KEYS + n * KEY_SLOTS) * CLA_SHARERS] = sum[r][n];))
#endif
}

/* out += weights x values for every KEY_GROUPS-th of `count` keys from `first` on. `cut`: some may be seen by no row. */
INLINED static void sum_values(float4 out[ITEM_ROWS][VALUE_QUADS], __local const float *weights,
                               __global const value_t *value, __local const long *rows, int first, int count, int column,
                               int cut, int wide)
{
    for (int k0 = first; k0 < count; k0 += VALUES_IN_FLIGHT * KEY_GROUPS) {
        uint4 pieces[VALUES_IN_FLIGHT];
        if (wide)
            fetch_values(pieces, value, rows, k0, count, column, 1);
        else
            fetch_values(pieces, value, rows, k0, count, column, 0);
#pragma unroll
        for (int n = 0; n < VALUES_IN_FLIGHT; n++) {
            const int k = min(k0 + n * KEY_GROUPS, count - 1);
            float weight[ITEM_ROWS];
            EACH(ITEM_ROWS, r, weight[r] = weights[k * CLA_ROWS + r];)
            if (cut) {
                uint excluded = 0x80000000u;
                EACH(ITEM_ROWS, r, excluded &= as_uint(weight[r]);)
                if (excluded)
                    pieces[n] = (uint4)(0);
            }
            EACH(VALUE_QUADS, quad,
                const float4 columns = value_quad(pieces[n], quad);
                EACH(ITEM_ROWS, r, out[r][quad] += weight[r] * columns;)
            )
        }
    }
}

static inline void store_row(__global result_t *output, long at, int column, const float4 out[VALUE_QUADS], float factor)
{
#pragma unroll
    for (int quad = 0; quad < VALUE_QUADS; quad++) {
        const float4 o = out[quad];
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int d = column + 4 * quad + c;
            if (d < CLA_VALUE_DIM)
                store_result(output, at + d, (c == 0 ? o.x : c == 1 ? o.y : c == 2 ? o.z : o.w) * factor);
        }
    }
}

#define HELD(piece, r, quad) (((piece) * ITEM_ROWS + (r)) * VALUE_QUADS + (quad))
#if CLA_HELD
#define FADE_HELD(piece)                                                                                               \
    EACH(ITEM_ROWS, r,                                                                                                 \
        if (tiles >= CLA_HELD && fades[out_row + r] != 1.0f)                                                         \
            EACH(VALUE_QUADS, quad, held[HELD(piece, r, quad)] *= fades[out_row + r];)                                 \
    )
#else
#define FADE_HELD(piece)
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
split_kv(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
         __global const value_t *value, long4 value_view, __global result_t *output, long4 output_view,
         __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS SPLIT_PARAMS)
{
    __local float4 queries[CLA_ROWS * QUERY_QUADS + (ROW_GROUPS - 1) * QUERY_PAD];
    /* shares of the scores; at the end, sums of values */
    __local float4 scratch[CLA_GROUP_SIZE * ITEM_ROWS + (ROW_GROUPS - 1) * SHARE_PAD / 4];
    __local long value_rows[KEYS];
    __local float weights[KEYS * CLA_ROWS] __attribute__((aligned(16)));
    __local float row_scratch[CLA_ROWS * KEY_SLOTS] __attribute__((aligned(16)));
    __local float fades[CLA_ROWS];

    const int item = (int)get_local_id(0);
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
    const int rows = clamp(heads_per_kv * batch.q_len - n0, 0, CLA_ROWS);

    /* Rows of more than one head take in the last query of one and the first of the next. */
    const uint row_len = (uint)max(1, batch.q_len);
    const uint2 first_row = divide((uint)n0, row_len);
    const uint2 last_row = divide((uint)(n0 + max(rows, 1) - 1), row_len);
    const int one_head = first_row.x == last_row.x;
    const int2 first_keys = visible_keys(&batch, one_head ? (int)first_row.y : 0, CLA_SEMANTICS);
    const int2 last_keys = visible_keys(&batch, one_head ? (int)last_row.y : (int)row_len - 1, CLA_SEMANTICS);
    const int2 all = visible_to_all(first_keys, last_keys);
    int2 some = rows > 0 ? visible_to_some(first_keys, last_keys) : (int2)(0);
#if CLA_SPLIT
    const int part_start = part * split_keys;
    some = (int2)(max(some.x, part_start), min(some.y, part_start + min(split_keys, kv_len - part_start)));
#endif

    /* In the scores: a key, a share of it, and a group of rows. */
    const uint2 shared = divide((uint)item, CLA_SHARERS);
    const uint2 slot = divide(shared.x, ROW_GROUPS);
    __local float *shares = (__local float *)scratch;
    __local float *my_shares = shares + (int)slot.y * (ITEM_ROWS * KEYS * CLA_SHARERS + SHARE_PAD) +
                               (int)slot.x * CLA_SHARERS + (int)shared.y;
    __local const float4 *my_queries = queries + (int)slot.y * (ITEM_ROWS * QUERY_QUADS + QUERY_PAD);
    const int wide_keys = IS_WIDE(key, key_view, CLA_HEAD_DIM, KEY_PIECE);

    /* In the softmax: every KEY_SLOTS-th key of a row. The work-items left over have no row. */
    const uint2 softmax = divide((uint)item, KEY_SLOTS);
    const int row = (int)softmax.x;
    const int lane = (int)softmax.y;
    const uint2 row_place = divide((uint)(n0 + row), row_len);
    const int exists = row < rows;
    const int h = g * heads_per_kv + (exists ? (int)row_place.x : 0);
    const int i = exists ? (int)row_place.y : batch.q_len;
    const int2 visible = visible_keys(&batch, i, CLA_SEMANTICS);
    __local const float *row_shares = shares + row * KEYS * CLA_SHARERS + row / ITEM_ROWS * SHARE_PAD;

    /* In the sums of values: a group of keys, a piece of the columns, and a group of rows. */
    const uint2 key_group = divide((uint)item, OWNERS);
    const int owner = (int)key_group.y;
    const uint2 owned = divide((uint)owner, ROW_GROUPS);
    const int out_row = (int)owned.y * ITEM_ROWS;
    const int wide_values = IS_WIDE(value, value_view, CLA_VALUE_DIM, VALUE_PIECE);

    for (int e = item; e < CLA_ROWS * QUERY_QUADS; e += CLA_GROUP_SIZE) {
        const uint2 at = divide((uint)e, QUERY_QUADS);
        const int r = (int)at.x;
        const int d = 4 * (int)at.y;
        const uint2 place = divide((uint)(n0 + r), row_len);
        float4 dims = (float4)(0.0f);
        if (r < rows)
            dims = fetch4_query(query, query_row(query_view, &batch, g * heads_per_kv + (int)place.x, (int)place.y), d,
                                CLA_HEAD_DIM);
        queries[e + r / ITEM_ROWS * QUERY_PAD] = dims;
    }

    float4 out[ITEM_PIECES][ITEM_ROWS][VALUE_QUADS];
    EACH_PIECE(EACH(ITEM_ROWS, r, EACH(VALUE_QUADS, quad, out[piece][r][quad] = (float4)(0.0f);)))
    /* The least finite number stands for "no score yet": -inf would make -inf - -inf of a row without keys. */
    float largest = -FLT_MAX;
    float sum = 0.0f;
#if CLA_HELD
    volatile float4 held[ITEM_PIECES * ITEM_ROWS * VALUE_QUADS];
    volatile float held_sum = 0.0f;
#endif
#if CLA_SINKS
    if (exists)
        largest = sink(h, CLA_SEMANTICS);
#if CLA_SPLIT
    if (part > 0)
        largest = -FLT_MAX;
#endif
    if (lane == 0 && largest > -FLT_MAX)
        sum = 1.0f;
#endif
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int j0 = some.x; j0 < some.y; j0 += KEYS) {
        const int count = min(KEYS, some.y - j0);
        const int tiles = (j0 - some.x) / KEYS;
        const int cut = count < KEYS || classify(&batch, j0, j0 + count, some, all, CLA_PLACES) != CLA_FULL;

        long key_rows[ITEM_KEYS];
        EACH(ITEM_KEYS, n,
            key_rows[n] = key_row(key_view, &batch, g, j0 + min((int)slot.x + n * KEY_SLOTS, count - 1), CLA_PLACES);
        )
        share_scores(my_shares, my_queries, key, key_rows, (int)shared.y, wide_keys);
        barrier(CLK_LOCAL_MEM_FENCE);

        for (int k = item; k < count; k += CLA_GROUP_SIZE)
            value_rows[k] = value_row(value_view, &batch, g, j0 + k, CLA_PLACES);
        float scores[ITEM_KEYS];
        float tile_max = largest;
        EACH(ITEM_KEYS, n,
            const int k = lane + n * KEY_SLOTS;
            scores[n] = -INFINITY;
            if (exists && k < count && (!cut || keep(&batch, h, i, j0 + k, visible, CLA_SEMANTICS))) {
                float product = 0.0f;
                for (int share = 0; share < CLA_SHARERS; share++)
                    product += row_shares[k * CLA_SHARERS + share];
                scores[n] = capped(scale * product) + bias(&batch, h, i, j0 + k, CLA_SEMANTICS);
            }
            tile_max = fmax(tile_max, scores[n]);
        )
        if (row < CLA_ROWS)
            row_scratch[row * KEY_SLOTS + lane] = tile_max;
        barrier(CLK_LOCAL_MEM_FENCE);

        if (row < CLA_ROWS) {
            for (int other = 0; other < KEY_SLOTS; other++)
                tile_max = fmax(tile_max, row_scratch[row * KEY_SLOTS + other]);
            tile_max = tile_max > largest + LAG ? tile_max : largest;
            const float fade = exp2((largest - tile_max) * LOG2E);
            if (lane == 0)
                fades[row] = fade;
            largest = tile_max;
            sum *= fade;
#if CLA_HELD
            held_sum *= fade;
#endif
            EACH(ITEM_KEYS, n,
                const float p = scores[n] == -INFINITY ? -0.0f : exp2((scores[n] - largest) * LOG2E);
                sum += p;
                weights[(lane + n * KEY_SLOTS) * CLA_ROWS + row] = p;
            )
        }
        barrier(CLK_LOCAL_MEM_FENCE);

        EACH_PIECE(
            const int column = ((int)owned.x + piece * (CLA_GROUP_SIZE / ROW_GROUPS)) * VALUE_PIECE;
            EACH(ITEM_ROWS, r, EACH(VALUE_QUADS, quad, out[piece][r][quad] *= fades[out_row + r];))
            FADE_HELD(piece)
            if (column < CLA_VALUE_DIM && (int)key_group.x < KEY_GROUPS)
                sum_values(out[piece], weights + out_row, value, value_rows, (int)key_group.x, count, column, cut,
                           wide_values);
        )
#if CLA_HELD
        if ((tiles + 1) % CLA_HELD == 0) {
            float all = held_sum;
            hold(&all, &sum);
            held_sum = all;
            EACH_PIECE(EACH(ITEM_ROWS, r, EACH(VALUE_QUADS, quad,
                float4 rest = out[piece][r][quad]; /* where its address is taken, ocloc moves `out` to memory */
                hold_rows(&held[HELD(piece, r, quad)], &rest, tiles >= CLA_HELD);
                out[piece][r][quad] = rest;
            )))
        }
#endif
    }
#if CLA_HELD
    sum += held_sum;
    if (some.y - some.x > (CLA_HELD - 1) * KEYS)
        EACH_PIECE(EACH(ITEM_ROWS, r, EACH(VALUE_QUADS, quad, out[piece][r][quad] += held[HELD(piece, r, quad)];)))
#endif

    if (row < CLA_ROWS)
        row_scratch[row * KEY_SLOTS + lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (exists && lane == 0) {
        sum = 0.0f;
        for (int other = 0; other < KEY_SLOTS; other++)
            sum += row_scratch[row * KEY_SLOTS + other];
        fades[row] = sum == 0.0f ? 0.0f : 1.0f / sum;
#if CLA_SPLIT
        vstore2((float2)(largest, sum), 0, lse + part * state_part_stride + view_row(lse_view, batch.index, h, i));
#elif CLA_LSE
        lse[query_row(lse_view, &batch, h, i)] = largest + log(sum);
#endif
    }

#if KEY_GROUPS > 1
    EACH(VALUE_QUADS, quad,
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH(ITEM_ROWS, r, scratch[r * CLA_GROUP_SIZE + item] = out[0][r][quad];)
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH(ITEM_ROWS, r,
            float4 total = (float4)(0.0f);
            _Pragma("unroll 1") for (int other = 0; other < KEY_GROUPS; other++)
                total += scratch[r * CLA_GROUP_SIZE + owner + other * OWNERS];
            out[0][r][quad] = total;
        )
    )
#endif
    barrier(CLK_LOCAL_MEM_FENCE);

    UNROLL_PIECES
    for (int piece = 0; piece < ITEM_PIECES; piece++) {
        const int column = ((int)owned.x + piece * (CLA_GROUP_SIZE / ROW_GROUPS)) * VALUE_PIECE;
#pragma unroll
        for (int r = 0; r < ITEM_ROWS; r++) {
            const uint2 place = divide((uint)(n0 + out_row + r), row_len);
            const int out_head = g * heads_per_kv + (int)place.x;
#if CLA_SPLIT
            const long at = part * part_stride + view_row(output_view, batch.index, out_head, (int)place.y);
#else
            const long at = query_row(output_view, &batch, out_head, (int)place.y);
#endif
            float4 sums[VALUE_QUADS]; /* of row r, by constant indices; the rows written out would spill on dg2 */
            EACH(ITEM_ROWS, n, if (n == r) EACH(VALUE_QUADS, quad, sums[quad] = out[piece][n][quad];))
            if (out_row + r < rows && key_group.x == 0)
                store_row(output, at, column, sums, fades[out_row + r]);
        }
    }
}
