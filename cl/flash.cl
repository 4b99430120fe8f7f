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
 * local memory; O = O * e^(old max - max) + P V in pieces of 4 CLA_WIDTH columns. A work-item owns 4 rows x 4 keys of S
 * and 4 rows x 4 columns of every piece of O, in registers (block.cl). Row sums stay split over the CLA_WIDTH work-items
 * of a row until the end. Work-groups are numbered with the query tiles innermost, the last tile first: under causality
 * it is the heaviest.
 *
 *   CLA_HEAD_DIM, CLA_VALUE_DIM   1 or more
 *   CLA_LSE                       1: write lse
 *
 * Local memory: 4 (CLA_TILE_KV CLA_TILE_Q + max((CLA_TILE_Q + CLA_TILE_KV) CLA_CHUNK, CLA_TILE_KV^2,
 * CLA_WIDTH CLA_TILE_Q) + CLA_TILE_KV) bytes.
 */
#if !defined(CLA_HEAD_DIM) || !defined(CLA_VALUE_DIM) || !defined(CLA_LSE)
#error "flash.cl: a parameter is not defined"
#endif

#define LOG2E  1.44269504088896340736f
#define PIECES ((CLA_VALUE_DIM + CLA_TILE_KV - 1) / CLA_TILE_KV)

/* Sums that fit the registers are kept there, which takes constant indices; more of them only make long code. */
#if PIECES <= 4
#define UNROLL_PIECES _Pragma("unroll")
#else
#define UNROLL_PIECES
#endif

/* Scratch of a group: tiles of Q and K, then row maxima, then a tile of V, never two of them at a time. */
#define CLA_MAX(a, b) ((a) > (b) ? (a) : (b))
#define SCRATCH                                                                                                        \
    CLA_MAX((CLA_TILE_Q + CLA_TILE_KV) * CLA_CHUNK, CLA_MAX(CLA_TILE_KV * CLA_TILE_KV, CLA_WIDTH * CLA_TILE_Q))

/* One float4 of `mine` a row block from every work-item of the row, merged by the maximum or by the sum. */
#define CLA_DEFINE_ACROSS_ROW(name, merge)                                                                             \
    static inline float4 across_row_##name(float4 mine, __local float *scratch, int x, int y)                          \
    {                                                                                                                  \
        vstore4(mine, 0, scratch + x * CLA_TILE_Q + 4 * y);                                                            \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        float4 all = vload4(0, scratch + 4 * y);                                                                       \
        for (int other = 1; other < CLA_WIDTH; other++) {                                                              \
            const float4 theirs = vload4(0, scratch + other * CLA_TILE_Q + 4 * y);                                     \
            all = merge;                                                                                               \
        }                                                                                                              \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        return all;                                                                                                    \
    }

CLA_DEFINE_ACROSS_ROW(max, fmax(all, theirs))
CLA_DEFINE_ACROSS_ROW(sum, all + theirs)

/* Scores of one key against this work-item's four rows: bias added, excluded ones -inf. Notes in `seen` who is seen. */
static inline float4 finish_scores(float4 s, int cut, const struct batch *batch, int h, int i, int j, const int2 visible[4],
                                   __local int *seen, CLA_SEMANTICS_PARAMS)
{
    float row[4] = {s.x, s.y, s.z, s.w};
    int any = 0;
    for (int r = 0; r < 4; r++) {
        const int kept = !cut || keep(batch, h, i + r, j, visible[r], CLA_SEMANTICS);
        row[r] = kept ? row[r] + bias(batch, h, i + r, j, CLA_SEMANTICS) : -INFINITY;
        any |= kept;
    }
    if (cut && any)
        atomic_or(seen, 1);
    return (float4)(row[0], row[1], row[2], row[3]);
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
flash(__global const query_t *query, long4 query_view, __global const key_t *key, long4 key_view,
      __global const value_t *value, long4 value_view, __global output_t *output, long4 output_view,
      __global float *lse, long4 lse_view, int q_heads, int heads_per_kv, CLA_SEMANTICS_PARAMS)
{
    __local float weights[CLA_TILE_KV * CLA_TILE_Q];
    __local float scratch[SCRATCH];
    __local int seen[CLA_TILE_KV];

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
    int2 visible[4];
    for (int r = 0; r < 4; r++)
        visible[r] = visible_keys(&batch, i + r, CLA_SEMANTICS);

    float4 out[PIECES][4];
    UNROLL_PIECES
    for (int piece = 0; piece < PIECES; piece++) {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[piece][c] = (float4)(0.0f);
    }
    /* The least finite number stands for "no score yet": -inf would make -inf - -inf of a row without keys. */
#if CLA_SINKS
    float4 largest = (float4)(sink(h, CLA_SEMANTICS));
    float4 sum = (float4)(x == 0 && largest.x > -FLT_MAX ? 1.0f : 0.0f);
#else
    float4 largest = (float4)(-FLT_MAX);
    float4 sum = (float4)(0.0f);
#endif

    for (int j0 = some.x / CLA_TILE_KV * CLA_TILE_KV; j0 < some.y; j0 += CLA_TILE_KV) {
        const int cut = classify(&batch, j0, j0 + CLA_TILE_KV, some, all, CLA_PLACES) != CLA_FULL;
        for (int j = item; j < CLA_TILE_KV; j += CLA_GROUP)
            seen[j] = 0;

        float4 s[4] = {(float4)(0.0f), (float4)(0.0f), (float4)(0.0f), (float4)(0.0f)};
        for (int d0 = 0; d0 < CLA_HEAD_DIM; d0 += CLA_CHUNK) {
            __local float *rows = scratch;
            __local float *columns = scratch + CLA_CHUNK * CLA_TILE_Q;
            stage_query(rows, query, query_view, &batch, h, i0, batch.q_len, d0, CLA_HEAD_DIM, item, CLA_PLACES);
            stage_key(columns, key, key_view, &batch, g, j0, some.y, d0, CLA_HEAD_DIM, item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
            block_product(s, rows, columns, min(CLA_CHUNK, CLA_HEAD_DIM - d0), x, y);
            barrier(CLK_LOCAL_MEM_FENCE);
        }

        float4 tile_max = largest;
        for (int c = 0; c < 4; c++) {
            const int j = 4 * x + c;
            s[c] = finish_scores(capped(scale * s[c]), cut, &batch, h, i, j0 + j, visible, &seen[j], CLA_SEMANTICS);
            tile_max = fmax(tile_max, s[c]);
        }
        tile_max = across_row_max(tile_max, scratch, x, y);

        const float4 fade = exp2((largest - tile_max) * LOG2E);
        largest = tile_max;
        float4 tile_sum = (float4)(0.0f);
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const float4 p = exp2((s[c] - largest) * LOG2E);
            tile_sum += p;
            vstore4(p, 0, weights + (4 * x + c) * CLA_TILE_Q + 4 * y);
        }
        sum = sum * fade + tile_sum;

        UNROLL_PIECES
        for (int piece = 0; piece < PIECES; piece++) {
            stage_value(scratch, value, value_view, &batch, g, j0, some.y, piece * CLA_TILE_KV, CLA_VALUE_DIM, cut, seen,
                        item, CLA_PLACES);
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
            for (int c = 0; c < 4; c++)
                out[piece][c] *= fade;
            block_product(out[piece], weights, scratch, CLA_TILE_KV, x, y);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }

    sum = across_row_sum(sum, scratch, x, y);
    const float row_sum[4] = {sum.x, sum.y, sum.z, sum.w};
    const float row_max[4] = {largest.x, largest.y, largest.z, largest.w};
    UNROLL_PIECES
    for (int r = 0; r < 4; r++) {
        if (i + r >= batch.q_len)
            break;
        const float inverse = row_sum[r] == 0.0f ? 0.0f : 1.0f / row_sum[r];
        UNROLL_PIECES
        for (int piece = 0; piece < PIECES; piece++) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int column = piece * CLA_TILE_KV + 4 * x + c;
                const float4 o = out[piece][c] * inverse;
                if (column < CLA_VALUE_DIM)
                    store_output(output, query_row(output_view, &batch, h, i + r) + column,
                                 r == 0 ? o.x : r == 1 ? o.y : r == 2 ? o.z : o.w);
            }
        }
#if CLA_LSE
        if (x == 0)
            lse[query_row(lse_view, &batch, h, i + r)] = row_max[r] + log(row_sum[r]);
#endif
    }
}
