/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash attention for devices whose work-groups share local memory: one pass over the keys with an online softmax
 * (Milakov and Gimelshein 2018; Dao et al. 2022), no memory that grows with q_len * kv_len.
 *
 *   O[b,h,i] = sum over j of softmax(S[b,h,i,j]) V[b,g,j]   lse[b,h,i] = ln sum e^S   S = scale Q . K, capped and masked
 *
 *   query [b, q_heads, q_len, CLA_HEAD_DIM]   key [b, kv_heads, kv_len, CLA_HEAD_DIM]   value [.., CLA_VALUE_DIM]
 *   output [b, q_heads, q_len, CLA_VALUE_DIM]   lse [b, q_heads, q_len] f32
 *
 * A work-group owns CLA_TILE_Q query rows of one head and walks the tiles of CLA_TILE_KV keys that some row sees. For
 * each: S = Q K^T in chunks of CLA_CHUNK dims; the row maxima, exchanged in local memory; P = e^(S - max), written to
 * local memory; O = O * e^(old max - max) + P V in pieces of 4 CLA_WIDTH columns. A maximum is followed only where it has grown
 * by more than 2^8: many small steps, each of them rounded, would add up. A work-item owns 4 rows x 4 keys of S
 * and 4 rows x 4 columns of every piece of O, in registers (block.cl). Row sums stay split over the CLA_WIDTH work-items
 * of a row until the end. Work-groups are numbered with the query tiles innermost, the last tile first: under causality
 * it is the heaviest.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_LSE                       1: write lse
 *   CLA_HELD                      chunks of keys after which sums are held (types.cl); 0: there are no more
 *
 * Local memory: 4 (CLA_TILE_KV CLA_TILE_Q + (CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK) bytes.
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_LSE) || !defined(CLA_HELD)
#error "flash.cl: a parameter is not defined"
#endif

#define LOG2E  1.44269504088896340736f
#define PIECES ((CLA_VALUE_DIM + CLA_TILE_KV - 1) / CLA_TILE_KV)

/* By how much a maximum may lag behind: 8 in powers of two. */
#define LAG 5.5f

/* Tiles after which sums are held. */
#define HELD_TILES (CLA_HELD * CLA_CHUNK / CLA_TILE_KV)

/* Head dims that are summed in order: errors grow with their number. */
#define RUN 64

/* Sums that fit the registers are kept there, which takes constants for `piece`. */
#if PIECES == 1
#define EACH_PIECE(statements) EACH(1, piece, statements)
#elif PIECES == 2
#define EACH_PIECE(statements) EACH(2, piece, statements)
#elif PIECES == 3
#define EACH_PIECE(statements) EACH(3, piece, statements)
#elif PIECES == 4
#define EACH_PIECE(statements) EACH(4, piece, statements)
#else
#define EACH_PIECE(statements)                                                                                         \
    for (int piece = 0; piece < PIECES; piece++) {                                                                     \
        statements                                                                                                     \
    }
#endif

/* Scratch of a group: pieces of Q and K, then row maxima and, behind them, which keys are seen, then a piece of V. */
#define SCRATCH ((CLA_HEIGHT + CLA_WIDTH) * CLA_CHUNK)
#define SEEN    (CLA_WIDTH * CLA_CHUNK)

/* One float4 of `mine` a row block from every work-item of the row, merged by the maximum or by the sum. */
#define CLA_DEFINE_ACROSS_ROW(name, merge)                                                                             \
    INLINED static float4 across_row_##name(float4 mine, __local float4 *scratch, int x, int y)                        \
    {                                                                                                                  \
        scratch[x * CLA_HEIGHT + y] = mine;                                                                            \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        float4 all = scratch[y];                                                                                       \
        for (int other = 1; other < CLA_WIDTH; other++) {                                                              \
            const float4 theirs = scratch[other * CLA_HEIGHT + y];                                                     \
            all = merge;                                                                                               \
        }                                                                                                              \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        return all;                                                                                                    \
    }

CLA_DEFINE_ACROSS_ROW(max, fmax(all, theirs))
CLA_DEFINE_ACROSS_ROW(sum, all + theirs)

/*
 * Which of this work-item's pairs of row i + r and key j + c are seen: bit 4 r + c. One row at a time: what all of them need
 * at once, compilers keep in registers for the whole of the kernel.
 */
static inline uint pairs_seen(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    uint pairs = 0;
#pragma unroll 1
    for (int r = 0; r < 4; r++) {
        const int2 visible = visible_keys(batch, i + r, CLA_SEMANTICS);
#pragma unroll
        for (int c = 0; c < 4; c++)
            pairs |= keep(batch, h, i + r, j + c, visible, CLA_SEMANTICS) ? 1u << (4 * r + c) : 0;
    }
    return pairs;
}

/* A score as it enters the softmax. */
static inline float finish_score(float s, uint seen, const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    return seen != 0 ? s + bias(batch, h, i, j, CLA_SEMANTICS) : -INFINITY;
}

/* The scores of key j and the rows from i on, of which `seen` has every fourth bit. */
static inline float4 finish_scores(float4 s, uint seen, const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    s = capped(scale * s);
    s.x = finish_score(s.x, seen & 1, batch, h, i, j, CLA_SEMANTICS);
    s.y = finish_score(s.y, seen & 0x10, batch, h, i + 1, j, CLA_SEMANTICS);
    s.z = finish_score(s.z, seen & 0x100, batch, h, i + 2, j, CLA_SEMANTICS);
    s.w = finish_score(s.w, seen & 0x1000, batch, h, i + 3, j, CLA_SEMANTICS);
    return s;
}

#if CLA_DROPOUT
/* Which of this work-item's pairs dropout keeps, as pairs_seen(). */
static inline uint pairs_kept(const struct batch *batch, int h, int i, int j, CLA_SEMANTICS_PARAMS)
{
    uint pairs = 0;
#pragma unroll 1
    for (int r = 0; r < 4; r++)
        pairs |= dropout_keeps((ulong)(view_row(dropout_view, batch->index, h, i + r) + j), dropout_key, dropout_threshold)
                 << 4 * r;
    return pairs;
}

/* The weights of a key as far as `kept`, every fourth bit, has them. */
static inline float4 weights_kept(float4 p, uint kept)
{
    return (float4)(kept & 1 ? p.x : 0.0f, kept & 0x10 ? p.y : 0.0f, kept & 0x100 ? p.z : 0.0f,
                    kept & 0x1000 ? p.w : 0.0f);
}
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
flash(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
      __global const value_t *value, long4 value_view, __global output_t *output, long4 output_view,
      __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS)
{
    __local float4 weights[CLA_TILE_KV * CLA_HEIGHT];
    __local float4 scratch[SCRATCH];

    const int item = (int)get_local_id(0);
    const uint2 place = divide((uint)item, CLA_WIDTH);
    const int x = (int)place.y;
    const int y = (int)place.x;
    const int row_tiles = max(1, (q_len + CLA_TILE_Q - 1) / CLA_TILE_Q);
    const uint2 row_tile = divide((uint)get_group_id(0), (uint)row_tiles);
    const uint2 head = divide(row_tile.x, (uint)q_heads);
    const int tile = row_tiles - 1 - (int)row_tile.y;
    struct batch batch;
    batch_of(&batch, (int)head.x, CLA_PLACES);
    const int h = (int)head.y;
    const int g = h / heads_per_kv;
    const int i0 = tile * CLA_TILE_Q;
    const int i = i0 + 4 * y;

    const int2 first = visible_keys(&batch, i0, CLA_SEMANTICS);
    const int2 last = visible_keys(&batch, max(i0, min(i0 + CLA_TILE_Q, batch.q_len) - 1), CLA_SEMANTICS);
    const int2 some = i0 < batch.q_len ? visible_to_some(first, last) : (int2)(0);
    const int2 all = visible_to_all(first, last);

    struct block out[PIECES];
    EACH_PIECE(block_clear(&out[piece]);)
    /* The least finite number stands for "no score yet": -inf would make -inf - -inf of a row without keys. */
#if CLA_SINKS
    float4 largest = (float4)(sink(h, CLA_SEMANTICS));
    float4 sum = (float4)(x == 0 && largest.x > -FLT_MAX ? 1.0f : 0.0f);
#else
    float4 largest = (float4)(-FLT_MAX);
    float4 sum = (float4)(0.0f);
#endif
#if CLA_HELD
    volatile float4 held[4 * PIECES + 1]; /* the last of them: of `sum` */
    int tiles = 0;
#endif
    __local float4 *to = weights + 4 * x * CLA_HEIGHT + y;

    for (int j0 = some.x / CLA_TILE_KV * CLA_TILE_KV; j0 < some.y; j0 += CLA_TILE_KV) {
        const int cut = classify(&batch, j0, j0 + CLA_TILE_KV, some, all, CLA_PLACES) != CLA_FULL;
#if CLA_DROPOUT /* before there are scores that take registers */
        const uint kept = pairs_kept(&batch, h, i, j0 + 4 * x, CLA_SEMANTICS);
#endif
        struct block s;
        block_clear(&s);
        for (int d0 = 0; d0 < CLA_HEAD_DIM; d0 += CLA_CHUNK) {
            __local float4 *rows = scratch;
            __local float4 *columns = scratch + CLA_CHUNK * CLA_HEIGHT;
            stage_query(rows, query, query_view, &batch, h, i0, batch.q_len, d0, CLA_HEAD_DIM, item, CLA_PLACES);
            stage_key(columns, key, key_view, &batch, g, j0, some.y, d0, CLA_HEAD_DIM, item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
#if CLA_HEAD_DIM <= 2 * RUN /* sums in order save the registers of others; those of the first run wait in local memory */
            block_add(&s, rows, columns, min(CLA_CHUNK, CLA_HEAD_DIM - d0), x, y);
#if CLA_HEAD_DIM > RUN
            if (d0 + CLA_CHUNK == RUN) {
                to[0] = s.c0;
                to[CLA_HEIGHT] = s.c1;
                to[2 * CLA_HEIGHT] = s.c2;
                to[3 * CLA_HEIGHT] = s.c3;
                block_clear(&s);
            }
#endif
#else
            block_product(&s, rows, columns, min(CLA_CHUNK, CLA_HEAD_DIM - d0), x, y);
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
        }

        const int j = j0 + 4 * x;
        const uint pairs = cut ? pairs_seen(&batch, h, i, j, CLA_SEMANTICS) : 0xffff;
#if CLA_HIDDEN_KEYS
        __local uint *seen = (__local uint *)(scratch + SEEN); /* bit n of the m-th: key 32 m + n of the tile */
        if (item < (CLA_TILE_KV + 31) / 32)
            seen[item] = 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        atomic_or(&seen[x >> 3], ((pairs | pairs >> 4 | pairs >> 8 | pairs >> 12) & 0xf) << 4 * (x & 7));
#endif
#if CLA_HEAD_DIM > RUN && CLA_HEAD_DIM <= 2 * RUN
        s.c0 += to[0];
        s.c1 += to[CLA_HEIGHT];
        s.c2 += to[2 * CLA_HEIGHT];
        s.c3 += to[3 * CLA_HEIGHT];
#endif
        s.c0 = finish_scores(s.c0, pairs, &batch, h, i, j, CLA_SEMANTICS);
        s.c1 = finish_scores(s.c1, pairs >> 1, &batch, h, i, j + 1, CLA_SEMANTICS);
        s.c2 = finish_scores(s.c2, pairs >> 2, &batch, h, i, j + 2, CLA_SEMANTICS);
        s.c3 = finish_scores(s.c3, pairs >> 3, &batch, h, i, j + 3, CLA_SEMANTICS);
        float4 tile_max = fmax(largest, fmax(fmax(s.c0, s.c1), fmax(s.c2, s.c3)));
        tile_max = across_row_max(tile_max, scratch, x, y);
        tile_max = tile_max > largest + LAG ? tile_max : largest;

        const float4 fade = exp2((largest - tile_max) * LOG2E);
        largest = tile_max;
        s.c0 = exp2((s.c0 - largest) * LOG2E);
        s.c1 = exp2((s.c1 - largest) * LOG2E);
        s.c2 = exp2((s.c2 - largest) * LOG2E);
        s.c3 = exp2((s.c3 - largest) * LOG2E);
        sum = sum * fade + ((s.c0 + s.c1) + (s.c2 + s.c3));
#if CLA_DROPOUT
        s.c0 = weights_kept(s.c0, kept);
        s.c1 = weights_kept(s.c1, kept >> 1);
        s.c2 = weights_kept(s.c2, kept >> 2);
        s.c3 = weights_kept(s.c3, kept >> 3);
#endif
        to[0] = s.c0;
        to[CLA_HEIGHT] = s.c1;
        to[2 * CLA_HEIGHT] = s.c2;
        to[3 * CLA_HEIGHT] = s.c3;

        EACH_PIECE(block_scale(&out[piece], fade);)
#if CLA_HELD
        if (tiles >= HELD_TILES && (fade.x != 1.0f || fade.y != 1.0f || fade.z != 1.0f || fade.w != 1.0f)) {
            EACH_PIECE(held_scale(held + 4 * piece, fade);)
            held[4 * PIECES] *= fade;
        }
#endif
#pragma unroll 1
        for (int k0 = 0; k0 < CLA_TILE_KV; k0 += CLA_CHUNK) {
            uint seen_keys = 0xffffffffu;
#if CLA_HIDDEN_KEYS
            seen_keys = seen[k0 >> 5] >> (k0 & 31);
#endif
            EACH_PIECE(
                stage_value(scratch, value, value_view, &batch, g, j0 + k0, some, piece * CLA_TILE_KV, CLA_VALUE_DIM,
                            seen_keys, item, CLA_PLACES);
                barrier(CLK_LOCAL_MEM_FENCE);
                block_product(&out[piece], weights + k0 * CLA_HEIGHT, scratch, CLA_CHUNK, x, y);
                barrier(CLK_LOCAL_MEM_FENCE);
            )
        }
#if CLA_HELD
        if (++tiles % HELD_TILES == 0) {
            EACH_PIECE(hold_block(held + 4 * piece, &out[piece], tiles > HELD_TILES);)
            hold_rows(held + 4 * PIECES, &sum, tiles > HELD_TILES);
        }
#endif
    }

#if CLA_HELD
    if (tiles >= HELD_TILES) {
        EACH_PIECE(block_add_held(&out[piece], held + 4 * piece);)
        sum += held[4 * PIECES];
    }
#endif
    sum = across_row_sum(sum, scratch, x, y);
    float4 inverse = sum == 0.0f ? (float4)(0.0f) : 1.0f / sum;
#if CLA_DROPOUT
    inverse *= dropout_scale;
#endif
    EACH_PIECE(block_scale(&out[piece], inverse);)
#pragma unroll
    for (int r = 0; r < 4; r++) {
        if (i + r < batch.q_len) {
            const long row = query_row(output_view, &batch, h, i + r);
            EACH_PIECE(store4_output(output, row, piece * CLA_TILE_KV + 4 * x, CLA_VALUE_DIM, block_row(&out[piece], r));)
        }
    }
#if CLA_LSE
    const float4 row_lse = largest + log(sum);
    if (x == 0) {
        for (int r = 0; r < 4 && i + r < batch.q_len; r++)
            lse[query_row(lse_view, &batch, h, i + r)] = element_of(row_lse, r);
    }
#endif
}
