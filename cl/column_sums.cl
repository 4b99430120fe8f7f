/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums of columns: O[r,c] = sum over terms t of X[r,t,c], or what O holds and that.
 *
 *   input   terms t = b * length + i at [b, r, i]   output [rows, columns]
 *
 * where the terms of row r are those from r * step on, at most `span` of batch * length. So with a step of 0 they are
 * all terms of a head r, and with a head stride of 0 and a step of `span` they are a part of the terms of the only head.
 *
 * A work-group owns a row, a work-item every CLA_GROUP_SIZE-th block of CLA_LANES columns, or PIECE of them at a time
 * where it is alone. The sums of RUN terms are added up in order, and held (types.cl).
 *
 *   CLA_GROUP_SIZE   work-items a group
 *   CLA_ACCUMULATE   1: sums are added to what the output holds
 *
 * The input has the type of types.cl's key. Without an output nothing is done. Local memory: none.
 */
#if !defined(CLA_GROUP_SIZE) || !defined(CLA_ACCUMULATE)
#error "column_sums.cl: a parameter is not defined"
#endif

#define RUN 64

/* One line of several pages at a time is read slowly. */
#define PIECE 4

/* The terms of a row: `count` from row i of batch b on. */
struct terms {
    int b;
    int i;
    int length;
    long count;
};

static inline void add_output(__global output_t *output, vec_t sum, int count)
{
    if (CLA_ACCUMULATE)
        sum += load_some_output(output, count);
    store_some_output(output, sum, count);
}

/* `vectors` blocks of columns, `count` columns in all; input and output are at the first of these. */
#define DEFINE_SUM_BLOCKS(name, vectors)                                                                               \
    static inline void name(__global const key_t *input, long4 view, const struct terms *terms,                        \
                            __global output_t *output, int count)                                                      \
    {                                                                                                                  \
        vec_t held[vectors];                                                                                           \
        vec_t sum[vectors];                                                                                            \
        int b = terms->b;                                                                                              \
        int i = terms->i;                                                                                              \
        _Pragma("unroll") for (int v = 0; v < vectors; v++) held[v] = sum[v] = (vec_t)(0.0f);                          \
        for (long t = 0; t < terms->count;) {                                                                          \
            const int run = (int)min(min((long)RUN, terms->count - t), (long)(terms->length - i));                     \
            __global const key_t *row = input + b * view.y + i * view.w;                                               \
            for (int n = 0; n < run; n++, row += view.w) {                                                             \
                _Pragma("unroll") for (int v = 0; v < vectors; v++) sum[v] +=                                          \
                    load_some_key(row + v * CLA_LANES, count - v * CLA_LANES);                                         \
            }                                                                                                          \
            _Pragma("unroll") for (int v = 0; v < vectors; v++) hold_vec(&held[v], &sum[v]);                           \
            t += run;                                                                                                  \
            i += run;                                                                                                  \
            if (i == terms->length) {                                                                                  \
                i = 0;                                                                                                 \
                b++;                                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (int v = 0; v < vectors; v++)                                                            \
            add_output(output + v * CLA_LANES, held[v] + sum[v], count - v * CLA_LANES);                               \
    }

DEFINE_SUM_BLOCKS(sum_block_of_columns, 1)
#if CLA_GROUP_SIZE == 1
DEFINE_SUM_BLOCKS(sum_piece, PIECE)
#endif

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
column_sums(__global const key_t *input, long4 input_view, __global output_t *output, long4 output_view, int length,
            int batch, int columns, long span, long step)
{
    const int r = (int)get_group_id(0);
    const long first = r * step;
    const int end = output == 0 ? 0 : columns;
    struct terms terms = {0, 0, length, min(span, (long)batch * length - first)};
    if (terms.count > 0) {
        terms.b = (int)(first / length);
        terms.i = (int)(first - (long)terms.b * length);
    }
    input += input_view.x + r * input_view.z;
    output += view_row(output_view, 0, 0, r);
    int c = (int)get_local_id(0) * CLA_LANES;
#if CLA_GROUP_SIZE == 1
    for (; c + PIECE * CLA_LANES <= end; c += PIECE * CLA_LANES)
        sum_piece(input + c, input_view, &terms, output + c, PIECE * CLA_LANES);
#endif
    for (; c < end; c += CLA_GROUP_SIZE * CLA_LANES)
        sum_block_of_columns(input + c, input_view, &terms, output + c, end - c);
}
