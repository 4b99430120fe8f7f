/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropout: which weights it keeps, the same whatever the tile, the vectors or the slice. Weights are numbered in the plan's
 * lengths; number n is kept if word n % 4 of Philox 4x32-10 (Salmon et al. 2011) at the counter (offset, n - n % 4) reaches
 * the threshold, so that one call serves four keys that follow each other. The division by 1 - dropout is left to the caller,
 * who has it with that by the sum. Dropout comes after the softmax: sums and lse are of all weights.
 *
 *   philox(counter, key)           the generator
 *   dropout_words(n, key)          the words of weights n to n + 3
 *   dropout_keeps(n, key, least)   the same as bits: bit c, whether weight n + c is kept
 *
 *   CLA_DROPOUT   1: kernels receive, with CLA_SEMANTICS_PARAMS,
 *                    dropout_key         seed and offset, low word first
 *                    dropout_view        the number of weight (b, h, i, 0), by view_row()
 *                    dropout_threshold   the least word that is kept
 *                    dropout_scale       1 / (1 - dropout)
 */
#if !defined(CLA_DROPOUT)
#error "philox.cl: CLA_DROPOUT is not defined"
#endif

#if CLA_DROPOUT
#define CLA_DROPOUT_PARAM , uint4 dropout_key, long4 dropout_view, uint dropout_threshold, float dropout_scale
#define CLA_DROPOUT_ARG   , dropout_key, dropout_view, dropout_threshold, dropout_scale

#define PHILOX_ROUNDS 10
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W      (uint2)(0x9E3779B9u, 0xBB67AE85u)

static inline uint4 philox(uint4 counter, uint2 key)
{
#pragma unroll
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        counter = (uint4)(mul_hi(PHILOX_M1, counter.z) ^ counter.y ^ key.x, PHILOX_M1 * counter.z,
                          mul_hi(PHILOX_M0, counter.x) ^ counter.w ^ key.y, PHILOX_M0 * counter.x);
        key += PHILOX_W;
    }
    return counter;
}

static inline uint4 dropout_words(ulong n, uint4 key)
{
    const ulong block = n & ~3ul;
    const uint4 words = philox((uint4)(key.zw, (uint)block, (uint)(block >> 32)), key.xy);
    const int skipped = (int)n & 3;
    if (skipped == 0)
        return words;
    const ulong next = block + 4;
    const uint4 more = philox((uint4)(key.zw, (uint)next, (uint)(next >> 32)), key.xy);
    const int4 by_one = (int4)(skipped & 1) != 0;
    const int4 by_two = (int4)(skipped & 2) != 0;
    const uint4 from_one = by_one ? (uint4)(words.yzw, more.x) : words;
    return by_two ? (uint4)(from_one.zw, by_one.xy ? more.yz : more.xy) : from_one;
}

static inline uint dropout_keeps(ulong n, uint4 key, uint least)
{
    const uint4 words = dropout_words(n, key);
    return (uint)(words.x >= least) | (uint)(words.y >= least) << 1 | (uint)(words.z >= least) << 2 |
           (uint)(words.w >= least) << 3;
}
#else
#define CLA_DROPOUT_PARAM
#define CLA_DROPOUT_ARG
#endif
