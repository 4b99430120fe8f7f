/* SPDX-License-Identifier: Apache-2.0 */
/*
 * visible.cl for kernels with queries in lanes: what happens to the scores of a tile of ROWS rows and up to 64 keys from
 * j0, which are scores[count][CLA_VECTORS].
 *
 *   rows_of(rows, batch, h, i0, count)     what the rows of a work-group are, and what each sees
 *   keep_pairs(kept, added, &cut, ...)     which pairs are kept, a bit each, whatever excludes the others: the interval of
 *                                          visible_keys, the mask, a block that the pool does not have. Known before a
 *                                          score is, so that a tile that no row sees costs no more than this
 *   cap_scores(scores, ...)                the softcap
 *   add_position_bias(scores, ...)         ALiBi and the relative bias
 *   cut_scores(scores, kept, count)        -inf for the pairs that are not kept
 *   drop_weights(weights, ...)             0 for the weights that dropout takes out
 *
 * kept[2][ROWS] has in bit k % 32 of kept[k / 32][r] whether row r sees key j0 + k. The devices are little-endian: eight
 * bytes of a boolean mask are looked at in one long.
 */
struct rows {
    int count; /* those from here on are nobody's: they repeat the last one, but see no key and are not stored */
    int batch;
    int head;
    int query[ROWS];
    int first[ROWS]; /* row r sees keys first[r] to end[r] - 1, but for the mask */
    int end[ROWS];
    int2 some; /* keys that some row sees lie in here, */
    int2 all;  /* and all rows see these */
#if CLA_ALIBI || CLA_RELATIVE
    int position; /* of the first row; it goes on by one from row to row */
#endif
#if CLA_MASK
    long mask_row[ROWS];
#endif
#if CLA_DROPOUT
    ulong number[ROWS]; /* of the weight of key 0; of each CLA_LANES rows first the even ones, then the odd ones */
#endif
};

/* `count` rows of head h from query i0 on. */
static inline void rows_of(struct rows *rows, const struct batch *batch, int h, int i0, int count, CLA_SEMANTICS_PARAMS)
{
    rows->count = count;
    rows->batch = batch->index;
    rows->head = h;
    rows->some = (int2)(kv_len, 0);
    rows->all = (int2)(0, kv_len);
    for (int r = 0; r < ROWS; r++) {
        const int query = i0 + min(r, count - 1);
        const int2 visible = visible_keys(batch, query, CLA_SEMANTICS);
        rows->query[r] = query;
        rows->first[r] = visible.x;
        rows->end[r] = r < count ? visible.y : visible.x;
        rows->some = (int2)(min(rows->some.x, visible.x), max(rows->some.y, visible.y));
        rows->all = (int2)(max(rows->all.x, visible.x), min(rows->all.y, visible.y));
#if CLA_MASK
        rows->mask_row[r] = mask_index(batch->index, h, query, 0, mask_view, mask_keys);
#endif
#if CLA_DROPOUT
        const int lane = r % CLA_LANES;
        rows->number[r - lane + (lane & 1) * (CLA_LANES / 2) + lane / 2] =
            (ulong)view_row(dropout_view, batch->index, h, query);
#endif
    }
#if CLA_ALIBI || CLA_RELATIVE
    rows->position = near_position(batch, i0, CLA_SEMANTICS);
#endif
}

/* Bits 0 to n - 1 of each lane. */
static inline uvec_t low_bits(ivec_t n)
{
    const uvec_t below = ((uvec_t)(1) << as_uvec(n)) - 1;
    return n > 31 ? (uvec_t)(~0u) : n > 0 ? below : (uvec_t)(0);
}

#if CLA_MASK == 1
/*
 * Bit k: element k of a row of the mask is not 0, for `count` elements. Of 64, eight bytes are looked at in a long: one that
 * is not 0 becomes 1, and the product's highest byte then has the eight ones side by side, since none of its partial sums meet.
 */
static inline ulong mask_bits(__global const mask_t *row, int count)
{
    if (count == 64) {
#define EIGHT(n) as_ulong(vload8(n, row))
        const ulong8 bytes = (ulong8)(EIGHT(0), EIGHT(1), EIGHT(2), EIGHT(3), EIGHT(4), EIGHT(5), EIGHT(6), EIGHT(7));
        const ulong8 most = 0x7f7f7f7f7f7f7f7ful;
        const ulong8 ones = (((bytes & most) + most) | bytes) >> 7 & 0x0101010101010101ul;
        return as_ulong(convert_uchar8(ones * 0x0102040810204080ul >> 56));
    }
    ulong bits = 0;
    for (int k = 0; k < count; k++)
        bits |= (ulong)(row[k] != 0) << k;
    return bits;
}

/* bits[2][ROWS], as `kept`, of what the mask keeps among `count` keys. */
APART static void bits_of_mask(uint *bits, const struct rows *rows, int j0, int count, __global const mask_t *mask, int step)
{
    for (int r = 0; r < ROWS; r++) {
        __global const mask_t *row = mask + rows->mask_row[r] + (long)j0 * step;
        prefetch_line(row + 64);
        const ulong row_bits = step != 0 ? mask_bits(row, count) : *row != 0 ? ~0ul : 0;
        bits[r] = (uint)row_bits;
        bits[ROWS + r] = (uint)(row_bits >> 32);
    }
}
#endif

#if CLA_MASK == 2
/*
 * The same of the first `covered` of `count` keys, all but -inf being kept, and added[count][CLA_VECTORS], the mask turned as
 * the scores are, -inf where it does not cover.
 */
APART static void turn_mask(uint *bits, vec_t *added, const struct rows *rows, int j0, int count, int covered,
                            __global const mask_t *mask, int step)
{
    for (int n = 0; n < 2 * ROWS; n++)
        bits[n] = 0;
    for (int k0 = 0; k0 < count; k0 += CLA_LANES) {
        for (int v = 0; v < CLA_VECTORS; v++) {
            const long *row = rows->mask_row + v * CLA_LANES;
            __global const mask_t *from = mask + (long)(j0 + k0) * step;
            vec_t square[CLA_LANES];
            if (step == 0) {
                vec_t same;
                for (int r = 0; r < CLA_LANES; r++)
                    ((float *)&same)[r] = load_mask(from + row[r], 0);
#pragma unroll
                for (int k = 0; k < CLA_LANES; k++)
                    square[k] = same;
            } else if (k0 + CLA_LANES <= covered) {
#pragma unroll
                for (int r = 0; r < CLA_LANES; r++) {
                    square[r] = load_vec_mask(from + row[r]);
                    prefetch_line(from + row[r] + 64);
                }
                turn_square(square);
            } else {
                for (int k = 0; k < CLA_LANES; k++) {
                    for (int r = 0; r < CLA_LANES; r++)
                        ((float *)&square[k])[r] = k0 + k < covered ? load_mask(from + row[r], k) : -INFINITY;
                }
            }
            uint *word = bits + k0 / 32 * ROWS + v * CLA_LANES;
            uvec_t kept = vec_load(word);
#pragma unroll
            for (int k = 0; k < CLA_LANES; k++) {
                added[(k0 + k) * CLA_VECTORS + v] = square[k];
                kept |= as_uvec(square[k] != -INFINITY) & (1u << (k0 % 32 + k)); /* NaN is kept */
            }
            vec_store(kept, word);
        }
    }
}
#endif

/*
 * Fills `kept` for `count` keys from j0, and `added` where the mask is additive. Returns which keys are seen by some row, as
 * bits; *cut is whether some row does not see one of the keys.
 */
APART static ulong keep_pairs(uint *kept, vec_t *added, int *cut, const struct rows *rows, const struct batch *batch,
                              int j0, int count, CLA_SEMANTICS_PARAMS)
{
    ulong exists = ~0ul;
#if CLA_STORAGE == 2
    for (int k = 0; k < count; k++)
        exists &= ~((ulong)!pages_exist(batch, j0 + k, j0 + k + 1, CLA_PLACES) << k);
#endif
#if CLA_MASK
    uint bits_kept[2 * ROWS];
    const int covered = clamp(mask_keys.y - j0, 0, count);
#if CLA_MASK == 1
    bits_of_mask(bits_kept, rows, j0, covered, mask, mask_keys.x);
#else
    turn_mask(bits_kept, added, rows, j0, count, covered, mask, mask_keys.x);
#endif
#endif
    uint seen[2];
    uint missing = 0;
#pragma unroll
    for (int w = 0; w < 2; w++) {
        const uvec_t keys = low_bits((ivec_t)(count - 32 * w));
        uvec_t some = (uvec_t)(0);
        uvec_t not_all = (uvec_t)(0);
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            const ivec_t first = ivec_load(rows->first + v * CLA_LANES) - (j0 + 32 * w);
            const ivec_t end = ivec_load(rows->end + v * CLA_LANES) - (j0 + 32 * w);
            const int at = w * ROWS + v * CLA_LANES;
            uvec_t bits = keys & low_bits(end) & ~low_bits(first) & (uint)(exists >> 32 * w);
#if CLA_MASK
            bits &= vec_load(bits_kept + at);
#endif
            vec_store(bits, kept + at);
            some |= bits;
            not_all |= keys & ~bits;
        }
        seen[w] = or_lanes(some);
        missing |= or_lanes(not_all);
    }
    *cut = missing != 0;
    return (ulong)seen[1] << 32 | seen[0];
}

APART static void cut_scores(vec_t *scores, const uint *kept, int count)
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
                scores[n] = (bits[v] & (1u << (k - k0))) != 0 ? scores[n] : (vec_t)(-INFINITY);
            }
        }
    }
}

#if CLA_SOFTCAP
/*
 * (e^2x - 1) / (e^2x + 1), the numerator as 2^n (2^r - 1) + (2^n - 1) with n the integer nearest to 2x log2(e) and r the
 * rest, so that nothing is lost near 0, where 2^r - 1 is r times a polynomial of its own, the minimax one of degree 5 for
 * (2^r - 1) / r on [-1/2, 1/2], relative error below 1.1e-8. Relative error of the whole below 3e-7.
 */
static inline vec_t vec_tanh(vec_t x)
{
    const vec_t near = x > 10.0f ? (vec_t)(10.0f) : x < -10.0f ? (vec_t)(-10.0f) : x; /* +-1 beyond */
    const vec_t y = near * 2.88539008f;
    const vec_t shifted = y + 12582912.0f;
    const vec_t r = y - (shifted - 12582912.0f);
    vec_t p = r * 1.540351287e-4f + 1.339073580e-3f;
    p = p * r + 9.618237495e-3f;
    p = p * r + 5.550357433e-2f;
    p = p * r + 2.402264979e-1f;
    p = p * r + 6.931471879e-1f;
    const vec_t power = as_vec((as_ivec(shifted) << 23) + 0x3f800000);
    const vec_t less_1 = p * r * power + (power - 1.0f);
    return less_1 / (less_1 + 2.0f);
}

APART static void cap_scores(vec_t *scores, int count, float softcap)
{
    const float inverse = min(1.0f / softcap, FLT_MAX);
    for (int n = 0; n < count * CLA_VECTORS; n++)
        scores[n] = softcap * vec_tanh(scores[n] * inverse);
}
#endif

#if CLA_ALIBI || CLA_RELATIVE
APART static void add_position_bias(vec_t *scores, const struct rows *rows, int j0, int count, CLA_SEMANTICS_PARAMS)
{
#if CLA_ALIBI
    const float slope = alibi_slopes[view_row(alibi_view, rows->batch, rows->head, 0)];
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < CLA_VECTORS; v++) {
            const ivec_t distance = rows->position + v * CLA_LANES - j0 - k + LANE_NUMBERS;
            scores[k * CLA_VECTORS + v] -= slope * fabs(to_vec(distance));
        }
    }
#endif
#if CLA_RELATIVE
    /* From key to key the biases move on by a row, and from row to row back. */
    float line[64 + ROWS];
    const int last = j0 + count - 1;
    for (int n = 0; n < count + ROWS - 1; n++)
        line[n] = relative_bias_at(rows->head, last - rows->position - n, CLA_SEMANTICS);
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < CLA_VECTORS; v++)
            scores[k * CLA_VECTORS + v] += vec_load(line + count - 1 - k + v * CLA_LANES);
    }
#endif
}
#endif

#if CLA_DROPOUT
/* Half the lanes of a vector, each in a long, and the way back: the low words of two such by turns. */
#if CLA_LANES == 16
#define wide_t       ulong8
#define wide_load(p) vload8(0, p)
#define evens_twice(x) (x).s0022446688aaccee
#elif CLA_LANES == 8
#define wide_t       ulong4
#define wide_load(p) vload4(0, p)
#define evens_twice(x) (x).s00224466
#else
#define wide_t       ulong2
#define wide_load(p) vload2(0, p)
#define evens_twice(x) (x).s0022
#endif

static inline uvec_t low_words(wide_t even, wide_t odd)
{
    return (LANE_NUMBERS & 1) != 0 ? evens_twice(as_uvec(odd)) : as_uvec(even);
}

/*
 * words[4] = philox() of every lane at the counter (key.zw, low, high). Both are [2], of the even lanes, then of the odd ones,
 * each in a long, which has room for its products: devices multiply so. What the upper half of `low` holds, and of all that
 * follows from it, does not matter.
 */
INLINED static void vec_philox(uvec_t *words, const wide_t *low, const wide_t *high, uint4 key)
{
    const ulong word = 0xfffffffful;
    wide_t c0[2] = {(wide_t)(key.z), (wide_t)(key.z)};
    wide_t c1[2] = {(wide_t)(key.w), (wide_t)(key.w)};
    wide_t c2[2] = {low[0], low[1]};
    wide_t c3[2] = {high[0], high[1]};
    uint2 k = key.xy;
#pragma unroll
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            const wide_t first = (c0[odd] & word) * PHILOX_M0;
            const wide_t second = (c2[odd] & word) * PHILOX_M1;
            c0[odd] = second >> 32 ^ c1[odd] ^ k.x;
            c1[odd] = second;
            c2[odd] = first >> 32 ^ c3[odd] ^ k.y;
            c3[odd] = first;
        }
        k += PHILOX_W;
    }
    words[0] = low_words(c0[0], c0[1]);
    words[1] = low_words(c1[0], c1[1]);
    words[2] = low_words(c2[0], c2[1]);
    words[3] = low_words(c3[0], c3[1]);
}

/* The backward pass needs the weights that dropout takes out: it finds them negative. */
#ifdef CLA_D_OUTPUT_TYPE
#define DROPPED(weight) (-(weight))
#else
#define DROPPED(weight) ((vec_t)(0.0f))
#endif

/*
 * Takes out those of weights[count][CLA_VECTORS], of keys from j0 on, that dropout does. Four keys at a time: lanes whose
 * numbers do not begin at a multiple of four there take their words from two calls that follow each other.
 */
APART static void drop_weights(vec_t *weights, const struct rows *rows, int j0, int count, uint4 key, uint threshold)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        const ulong *number = rows->number + v * CLA_LANES;
        wide_t numbers[2] = {wide_load(number) + (ulong)j0, wide_load(number + CLA_LANES / 2) + (ulong)j0};
        const uvec_t low = low_words(numbers[0], numbers[1]);
        const ivec_t by_one = (low & 1u) != 0;
        const ivec_t by_two = (low & 2u) != 0;
        const int moved = or_lanes(low & 3u) != 0;
        const int wraps = or_lanes(as_uvec(low > 0xffffff00u)) != 0;
        uvec_t next[4] = {(uvec_t)(0), (uvec_t)(0), (uvec_t)(0), (uvec_t)(0)};
        numbers[0] &= ~3ul;
        numbers[1] &= ~3ul;
        /* High words stay for as long as they can: what follows from them alone is then computed once. */
        for (int k0 = moved ? -4 : 0, end; k0 < count; k0 = end) {
            end = wraps ? k0 + 4 : count;
            const wide_t high[2] = {numbers[0] >> 32, numbers[1] >> 32};
            for (int k = k0; k < end; k += 4) {
                uvec_t words[7];
#pragma unroll
                for (int n = 0; n < 4; n++)
                    words[n] = next[n];
                vec_philox(next, numbers, high, key);
                numbers[0] += 4;
                numbers[1] += 4;
                if (k < 0)
                    continue;
                if (moved) {
#pragma unroll
                    for (int n = 4; n < 7; n++)
                        words[n] = next[n - 4];
#pragma unroll
                    for (int n = 0; n < 6; n++)
                        words[n] = by_one ? words[n + 1] : words[n];
#pragma unroll
                    for (int n = 0; n < 4; n++)
                        words[n] = by_two ? words[n + 2] : words[n];
                } else {
#pragma unroll
                    for (int n = 0; n < 4; n++)
                        words[n] = next[n];
                }
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    vec_t *weight = weights + (k + n) * CLA_VECTORS + v;
                    if (k + n < count)
                        *weight = words[n] >= threshold ? *weight : DROPPED(*weight);
                }
            }
        }
    }
}
#endif
