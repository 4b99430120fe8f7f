/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary embedding: each pair (x, y) of a head becomes (x cos a - y sin a, x sin a + y cos a), a being the angle of that
 * pair at the token's position; the elements from rotary_dim on stay.
 *
 *   input, output [b, heads, length, head_dim], possibly the same memory   positions [b, length] int or long
 *   cos, sin      [b or 1, table_length, rotary_dim / 2]                   fractions [rotary_dim / 2], see lib/angle.cl
 *
 * `columns` work-groups share a token. Its work comes in units of up to HEADS heads and CLA_PAIRS pairs, or as many
 * elements that stay: the angles of a unit are computed once. A work-item takes every columns * CLA_GROUP_SIZE-th unit,
 * and reads all of a unit in one head before it writes there.
 *
 *   CLA_INPUT_TYPE    as in lib/types.cl
 *   CLA_INTERLEAVED   1: pair k is elements 2k and 2k + 1; 0: k and k + rotary_dim / 2
 *   CLA_BACKWARD      1: turned by -a
 *   CLA_TABLES        1: cosines and sines are given; 0: they follow from fractions
 *   CLA_TABLE_TYPE    of cosines and sines, as in lib/types.cl
 *   CLA_POSITIONS     1 int, 2 long: positions are given; 0: token i stands at offset + i
 *   CLA_PAIRS         1: neighbouring work-items take neighbouring pairs; 16: a work-item fills vectors
 *   CLA_GROUP_SIZE    work-items a group
 *
 * Local memory: none.
 */
#if !defined(CLA_INPUT_TYPE) || !defined(CLA_INTERLEAVED) || !defined(CLA_BACKWARD) || !defined(CLA_TABLES) ||         \
    !defined(CLA_TABLE_TYPE) || !defined(CLA_POSITIONS) || !defined(CLA_PAIRS) || !defined(CLA_GROUP_SIZE)
#error "rotary.cl: a parameter is not defined"
#endif

#define table_t          CLA_JOIN(CLA_STORE_, CLA_TABLE_TYPE)
#define load_table(p, i) CLA_JOIN(CLA_LOAD_, CLA_TABLE_TYPE)(p, i)
#define input_t          CLA_JOIN(CLA_STORE_, CLA_INPUT_TYPE)
#define load_input(p, i) CLA_JOIN(CLA_LOAD_, CLA_INPUT_TYPE)(p, i)
#define load16_input(p, i) CLA_JOIN(CLA_LOAD16_, CLA_INPUT_TYPE)(p, i)

#if CLA_POSITIONS == 2
#define position_t long
#else
#define position_t int
#endif

/* Enough heads to make an angle cheap, few enough to leave work for other groups when there is one token. */
#define HEADS 8

/* Where the two elements of pair k are. */
#if CLA_INTERLEAVED
#define FIRST(k)  (2 * (k))
#define SECOND(k) (2 * (k) + 1)
#else
#define FIRST(k)  (k)
#define SECOND(k) ((k) + pairs)
#endif

/* Turns `count` pairs of one head from pair k on. */
static inline void turn(__global const input_t *from, __global output_t *to, int k, int count, int pairs,
                        const float *cosine, const float *sine)
{
    float x[CLA_PAIRS];
    float y[CLA_PAIRS];
    for (int n = 0; n < count; n++) {
        x[n] = load_input(from, FIRST(k + n));
        y[n] = load_input(from, SECOND(k + n));
    }
    for (int n = 0; n < count; n++) {
        store_output(to, FIRST(k + n), x[n] * cosine[n] - y[n] * sine[n]);
        store_output(to, SECOND(k + n), x[n] * sine[n] + y[n] * cosine[n]);
    }
}

/* The same for 16 pairs. */
static inline void turn16(__global const input_t *from, __global output_t *to, int k, int pairs, float16 cosine,
                          float16 sine)
{
#if CLA_INTERLEAVED
    const float16 low = load16_input(from, 2 * k);
    const float16 high = load16_input(from, 2 * k + 16);
    const float16 x = (float16)(low.even, high.even);
    const float16 y = (float16)(low.odd, high.odd);
    const float16 turned_x = x * cosine - y * sine;
    const float16 turned_y = x * sine + y * cosine;
    store16_output(to, 2 * k, alternate(turned_x.lo, turned_y.lo));
    store16_output(to, 2 * k + 16, alternate(turned_x.hi, turned_y.hi));
#else
    const float16 x = load16_input(from, k);
    const float16 y = load16_input(from, k + pairs);
    store16_output(to, k, x * cosine - y * sine);
    store16_output(to, k + pairs, x * sine + y * cosine);
#endif
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
rotary(__global const input_t *input, long4 input_view, __global output_t *output, long4 output_view,
       __global const table_t *cos_table, long4 cos_view, __global const table_t *sin_table, long4 sin_view,
       __global const position_t *positions, long4 positions_view, __global const ulong *fractions, int heads,
       int head_dim, int pairs, int table_length, int columns, int length, long offset)
{
    const uint2 column = divide((uint)get_group_id(0), (uint)columns);
    const uint2 row = divide(column.x, (uint)max(1, length));
    const int b = (int)row.x;
    const int i = (int)row.y;
    const int in_place = CLA_INPUT_TYPE == CLA_OUTPUT_TYPE && (__global const void *)input == (__global void *)output &&
                         input_view.x == output_view.x;
    const int stays = in_place ? 0 : head_dim - 2 * pairs;
    const int turning = (pairs + CLA_PAIRS - 1) / CLA_PAIRS;
    const int chunks = turning + (stays + CLA_PAIRS - 1) / CLA_PAIRS;
    const int units = i < length ? (heads + HEADS - 1) / HEADS * chunks : 0;

    for (int u = (int)column.y * CLA_GROUP_SIZE + (int)get_local_id(0); u < units; u += columns * CLA_GROUP_SIZE) {
        const uint2 unit = divide((uint)u, (uint)chunks);
        const int h0 = (int)unit.x * HEADS;
        const int h1 = min(heads, h0 + HEADS);
        const int chunk = (int)unit.y;
        if (chunk < turning) {
#if CLA_POSITIONS
            const long given = positions[view_row(positions_view, b, 0, i)];
#else
            const long given = offset + i;
#endif
            const int k = chunk * CLA_PAIRS;
            const int count = min(CLA_PAIRS, pairs - k);
            float cosine[CLA_PAIRS];
            float sine[CLA_PAIRS];
#if CLA_TABLES
            const int entry = (int)clamp(given, 0L, (long)table_length - 1);
            __global const table_t *cosines = cos_table + view_row(cos_view, b, 0, entry) + k;
            __global const table_t *sines = sin_table + view_row(sin_view, b, 0, entry) + k;
#endif
            for (int n = 0; n < count; n++) {
#if CLA_TABLES
                cosine[n] = load_table(cosines, n);
                sine[n] = load_table(sines, n);
#else
                const float2 both = sin_cos(given, fractions[k + n]);
                sine[n] = both.x;
                cosine[n] = both.y;
#endif
#if CLA_BACKWARD
                sine[n] = -sine[n];
#endif
            }
            for (int h = h0; h < h1; h++) {
                __global const input_t *from = input + view_row(input_view, b, h, i);
                __global output_t *to = output + view_row(output_view, b, h, i);
#if CLA_PAIRS == 16
                if (count == 16)
                    turn16(from, to, k, pairs, vload16(0, cosine), vload16(0, sine));
                else
#endif
                    turn(from, to, k, count, pairs, cosine, sine);
            }
        } else {
            const int d0 = 2 * pairs + (chunk - turning) * CLA_PAIRS;
            const int d1 = min(head_dim, d0 + CLA_PAIRS);
            for (int h = h0; h < h1; h++) {
                __global const input_t *from = input + view_row(input_view, b, h, i);
                __global output_t *to = output + view_row(output_view, b, h, i);
                for (int d = d0; d < d1; d++)
                    store_output(to, d, load_input(from, d));
            }
        }
    }
}
