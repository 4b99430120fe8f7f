/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sinusoidal encoding: output[b,i,2k] = sin a, output[b,i,2k+1] = cos a, a being the angle of pair k at the token's
 * position, or the input and these added up. In two dimensions the first half of the pairs is for the token's row, the
 * second for its column.
 *
 *   input, output [b, 1, length, width], possibly the same memory     positions [b, length] int or long
 *   fractions     [width / 2], see lib/angle.cl; scales are in them
 *
 * `columns` work-groups share a token; a work-item takes every columns * CLA_GROUP_SIZE-th chunk of CLA_PAIRS pairs.
 *
 *   CLA_INPUT_TYPE   as in lib/types.cl
 *   CLA_ADD          1: add the input
 *   CLA_GRID         1: two dimensions, token i being at row i / grid_columns, column i % grid_columns, both plus offset
 *   CLA_POSITIONS    1 int, 2 long: positions are given; 0: token i stands at offset + i
 *   CLA_PAIRS        1: neighbouring work-items take neighbouring pairs; 16: a work-item fills vectors
 *   CLA_GROUP_SIZE   work-items a group
 *
 * Local memory: none.
 */
#if !defined(CLA_INPUT_TYPE) || !defined(CLA_ADD) || !defined(CLA_GRID) || !defined(CLA_POSITIONS) ||                  \
    !defined(CLA_PAIRS) || !defined(CLA_GROUP_SIZE)
#error "sinusoidal.cl: a parameter is not defined"
#endif

#define input_t CLA_JOIN(CLA_STORE_, CLA_INPUT_TYPE)

/* x and, where it is added, element d of the input; the same for 16 elements. */
#if CLA_ADD
#define ADDED(x, d)   ((x) + CLA_JOIN(CLA_LOAD_, CLA_INPUT_TYPE)(from, d))
#define ADDED16(x, d) ((x) + CLA_JOIN(CLA_LOAD16_, CLA_INPUT_TYPE)(from, d))
#else
#define ADDED(x, d)   (x)
#define ADDED16(x, d) (x)
#endif

#if CLA_POSITIONS == 2
#define position_t long
#else
#define position_t int
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
sinusoidal(__global const input_t *input, long4 input_view, __global output_t *output, long4 output_view,
           __global const position_t *positions, long4 positions_view, __global const ulong *fractions, int width,
           int grid_columns, int columns, int length, long offset)
{
    const uint2 column = divide((uint)get_group_id(0), (uint)columns);
    const uint2 row = divide(column.x, (uint)max(1, length));
    const int b = (int)row.x;
    const int i = (int)row.y;
    const int pairs = i < length ? width / 2 : 0;
    long first = offset + i;  /* position of the first half of the pairs */
    long second = offset + i; /* and of the second */

#if CLA_GRID
    const uint2 cell = divide((uint)i, (uint)grid_columns);
    first = offset + cell.x;
    second = offset + cell.y;
#elif CLA_POSITIONS
    if (pairs > 0)
        first = second = positions[view_row(positions_view, b, 0, i)];
#endif
    const int chunks = (pairs + CLA_PAIRS - 1) / CLA_PAIRS;
    __global const input_t *from = input + view_row(input_view, b, 0, i);
    __global output_t *to = output + view_row(output_view, b, 0, i);
    for (int c = (int)column.y * CLA_GROUP_SIZE + (int)get_local_id(0); c < chunks; c += columns * CLA_GROUP_SIZE) {
        const int k = c * CLA_PAIRS;
        const int count = min(CLA_PAIRS, pairs - k);
        float sine[CLA_PAIRS];
        float cosine[CLA_PAIRS];
        for (int n = 0; n < count; n++) {
            const float2 both = sin_cos(2 * (k + n) < pairs ? first : second, fractions[k + n]);
            sine[n] = both.x;
            cosine[n] = both.y;
        }
#if CLA_PAIRS == 16
        if (count == 16) {
            store16_output(to, 2 * k, ADDED16(alternate(vload8(0, sine), vload8(0, cosine)), 2 * k));
            store16_output(to, 2 * k + 16, ADDED16(alternate(vload8(1, sine), vload8(1, cosine)), 2 * k + 16));
            continue;
        }
#endif
        for (int n = 0; n < count; n++) {
            store_output(to, 2 * (k + n), ADDED(sine[n], 2 * (k + n)));
            store_output(to, 2 * (k + n) + 1, ADDED(cosine[n], 2 * (k + n) + 1));
        }
    }
}
