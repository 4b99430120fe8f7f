/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What backward_vector.cl is made of: rows copied, turned and stored, the products that vector_block.cl does not have, and
 * gradient.cl's weights and ds with queries in lanes. Nothing in the programs of others.
 *
 *   copy_NAME_rows(rows, from, at, count, dim)   rows[count][vectors], floats, of query, key, value and d_output
 *   put_NAME_rows(to, at, sums, ...)             the way back, of d_key and d_value
 *   turn_tile(turned, rows, vectors, factor)     ROWS rows turned
 *   dot_rows(products, turned, rows, ...)        rows . turned: queries in lanes
 *   add_rows(sums, weights, rows, ...)           sums += weights x rows: dims in lanes
 *   weigh_rows, derive, finish_weights           scores to weights, dP to ds, and dropout's part in them
 *   clear_hidden, clear_rest, rows_that_see      what is in no pair
 */
#ifdef CLA_SPAN

#define BASE_2 (!CLA_SOFTCAP && CLA_MASK != 2 && !CLA_ALIBI && !CLA_RELATIVE)
#define UNIT   (BASE_2 ? LOG2E : 1.0f) /* of scores */

/* Dims that are summed in order. */
#define RUN 128

/* Tiles of queries after which sums are held: each adds the sum of ROWS terms. */
#define HELD_TERMS 64

#define HEAD_VECTORS  (WHOLE_VECTORS(CLA_HEAD_DIM) / CLA_LANES)
#define VALUE_VECTORS (WHOLE_VECTORS(CLA_VALUE_DIM) / CLA_LANES)
#define OUT_VECTORS   (CLA_HEAD_DIM * CLA_VECTORS)

#define load_vec_d_output(p) CLA_JOIN(LOAD_VEC_, CLA_D_OUTPUT_TYPE)(p)
DEFINE_LOAD_SOME(d_output)

/* rows[count][vectors] = `dim` elements of `count` rows of an operand, row r from at[r] on, then zeros. */
#define DEFINE_COPY_ROWS(name)                                                                                         \
    APART static void copy_##name##_rows(vec_t *rows, __global const name##_t *from, const long *at, int count, int dim)   \
    {                                                                                                                  \
        for (int r = 0; r < count; r++) {                                                                              \
            for (int d = 0; d < dim; d += CLA_LANES, rows++)                                                           \
                *rows = load_some_##name(from + at[r] + d, dim - d);                                                   \
        }                                                                                                              \
    }

DEFINE_COPY_ROWS(query)
DEFINE_COPY_ROWS(d_output)
DEFINE_COPY_ROWS(key)
DEFINE_COPY_ROWS(value)

/* Stores the first `count` lanes of an element of a gradient, or adds them to what is there. */
#define DEFINE_PUT(name, type)                                                                                         \
    static inline void put_##name(__global name##_t *p, vec_t x, int count)                                            \
    {                                                                                                                  \
        if (count >= CLA_LANES) {                                                                                      \
            CLA_JOIN(STORE_VEC_, type)(p, CLA_ACCUMULATE_INPUT ? CLA_JOIN(LOAD_VEC_, type)(p) + x : x);                \
            return;                                                                                                    \
        }                                                                                                              \
        for (int d = 0; d < count; d++) {                                                                              \
            const float old = CLA_ACCUMULATE_INPUT ? CLA_JOIN(CLA_LOAD_, type)(p, d) : 0.0f;                           \
            CLA_JOIN(CLA_STORE_AS_, type)(p, d, old + ((const float *)&x)[d]);                                         \
        }                                                                                                              \
    }

DEFINE_PUT(d_query, CLA_D_QUERY_TYPE)
DEFINE_PUT(d_key, CLA_D_KEY_TYPE)
DEFINE_PUT(d_value, CLA_D_VALUE_TYPE)

/* `count` rows, row k from at[k] on, of `dim` elements: factor times sums[count][vectors], with what is held of them. */
#define DEFINE_PUT_ROWS(name)                                                                                          \
    APART static void put_##name##_rows(__global name##_t *to, const long *at, const vec_t *sums, const vec_t *held,   \
                                        int holds, float factor, int count, int dim)                                   \
    {                                                                                                                  \
        for (int k = 0, n = 0; k < count; k++) {                                                                       \
            for (int d = 0; d < dim; d += CLA_LANES, n++)                                                              \
                put_##name(to + at[k] + d, factor * (holds ? held[n] + sums[n] : sums[n]), dim - d);                   \
        }                                                                                                              \
    }

DEFINE_PUT_ROWS(d_key)
DEFINE_PUT_ROWS(d_value)

/* turned[vectors * CLA_LANES][CLA_VECTORS] = factor times rows[ROWS][vectors]. */
APART static void turn_tile(vec_t *turned, const vec_t *rows, int vectors, float factor)
{
    for (int v = 0; v < CLA_VECTORS; v++) {
        for (int d = 0; d < vectors; d++) {
            vec_t square[CLA_LANES];
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                square[r] = factor * rows[(v * CLA_LANES + r) * vectors + d];
            turn_square(square);
#pragma unroll
            for (int r = 0; r < CLA_LANES; r++)
                turned[(d * CLA_LANES + r) * CLA_VECTORS + v] = square[r];
        }
    }
}

/* products[count][CLA_VECTORS] = rows[count][stride] . turned[depth][CLA_VECTORS]. */
static inline void dot_rows(vec_t *products, const vec_t *turned, const vec_t *rows, int stride, int depth, int count)
{
    for (int d = 0; d < depth; d += RUN)
        dot_keys(products, turned + d * CLA_VECTORS, (const float *)rows + d, stride * CLA_LANES, min(RUN, depth - d), count,
                 d > 0, NULL);
}

/*
 * sums[count][stride] += weights[count][ROWS] x rows[depth][stride], of `width` vectors; dims are in lanes. All have room for
 * whole blocks.
 */
#define DEFINE_ADD_ROWS(width)                                                                                         \
    APART static void add_rows_##width(vec_t *sums, const float *weights, const vec_t *rows, int depth, int count, int stride)   \
    {                                                                                                                  \
        for (int n0 = 0; n0 < count; n0 += CLA_BLOCK, sums += CLA_BLOCK * stride, weights += CLA_BLOCK * ROWS) {       \
            const vec_t *row = rows;                                                                                   \
            vec_t sum[CLA_BLOCK][width];                                                                               \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] = (vec_t)(0.0f);                           \
            }                                                                                                          \
            _Pragma("unroll 4") for (int i = 0; i < depth; i++, row += stride)                                         \
            {                                                                                                          \
                _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                  \
                {                                                                                                      \
                    const vec_t weight = (vec_t)(weights[n * ROWS + i]);                                               \
                    _Pragma("unroll") for (int v = 0; v < width; v++) sum[n][v] += weight * row[v];                    \
                }                                                                                                      \
            }                                                                                                          \
            _Pragma("unroll") for (int n = 0; n < CLA_BLOCK; n++)                                                      \
            {                                                                                                          \
                _Pragma("unroll") for (int v = 0; v < width; v++) sums[n * stride + v] += sum[n][v];                   \
            }                                                                                                          \
        }                                                                                                              \
    }

DEFINE_ADD_ROWS(1)
DEFINE_ADD_ROWS(2)
DEFINE_ADD_ROWS(3)

/* The same of all vectors: blocks of three and two where a block has three, else of two, the last one of what is left. */
static inline void add_rows(vec_t *sums, const float *weights, const vec_t *rows, int depth, int count, int stride)
{
    for (int v = 0; v < stride;) {
        const int left = stride - v;
        if (CLA_VECTORS == 3 && left >= 3 && left != 4) {
            add_rows_3(sums + v, weights, rows + v, depth, count, stride);
            v += 3;
        } else if (CLA_VECTORS >= 2 && left >= 2) {
            add_rows_2(sums + v, weights, rows + v, depth, count, stride);
            v += 2;
        } else {
            add_rows_1(sums + v, weights, rows + v, depth, count, stride);
            v += 1;
        }
    }
}

/* Makes weights of scores[count][CLA_VECTORS]. */
APART static void weigh_rows(vec_t *scores, int count, const vec_t *row_lse)
{
    vec_t lse[CLA_VECTORS];
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++)
        lse[v] = row_lse[v];
    for (int k = 0; k < count; k++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            vec_t *score = scores + k * CLA_VECTORS + v;
            *score = vec_exp2((*score - lse[v]) * (BASE_2 ? 1.0f : LOG2E));
        }
    }
}

/* Makes ds, before the softcap's factor, of dP[count][CLA_VECTORS]; with dropout weights that it takes out are negative. */
APART static void derive(vec_t *dp, const vec_t *weights, int count, const vec_t *row_delta, float kept_scale)
{
    vec_t delta[CLA_VECTORS];
#pragma unroll
    for (int v = 0; v < CLA_VECTORS; v++)
        delta[v] = row_delta[v];
    for (int k = 0; k < count; k++) {
#pragma unroll
        for (int v = 0; v < CLA_VECTORS; v++) {
            const int n = k * CLA_VECTORS + v;
#if CLA_DROPOUT
            const vec_t kept = weights[n] > 0.0f ? dp[n] * kept_scale : (vec_t)(0.0f);
            dp[n] = fabs(weights[n]) * (kept - delta[v]);
#else
            dp[n] = weights[n] * (dp[n] - delta[v]);
#endif
        }
    }
}

#if CLA_DROPOUT
/* What dropout makes of weights[count][CLA_VECTORS], those that it takes out being negative. */
APART static void finish_weights(vec_t *weights, int count, float kept_scale)
{
    for (int n = 0; n < count * CLA_VECTORS; n++)
        weights[n] = weights[n] > 0.0f ? weights[n] * kept_scale : (vec_t)(0.0f);
}
#endif

#if CLA_SOFTCAP
/* slopes[count][CLA_VECTORS] = 1 - tanh^2 of scores / softcap, in a form that does not cancel. */
APART static void slopes_of(vec_t *slopes, const vec_t *scores, int count, float softcap)
{
    const float factor = -2.0f * LOG2E * min(1.0f / softcap, FLT_MAX);
    for (int n = 0; n < count * CLA_VECTORS; n++) {
        const vec_t e = vec_exp2(factor * fabs(scores[n]));
        slopes[n] = 4.0f * e / ((1.0f + e) * (1.0f + e));
    }
}
#endif

/* 0 for pairs[count][CLA_VECTORS] that are not kept. */
APART static void clear_hidden(vec_t *pairs, const uint *kept, int count)
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
                pairs[n] = (bits[v] & (1u << (k - k0))) != 0 ? pairs[n] : (vec_t)(0.0f);
            }
        }
    }
}

/* 0 for what a block has behind the last of `count` keys. */
static inline void clear_rest(vec_t *pairs, int count)
{
    for (int n = count * CLA_VECTORS; n % (CLA_BLOCK * CLA_VECTORS) != 0; n++)
        pairs[n] = (vec_t)(0.0f);
}

/* Bit r: row r sees some of the keys. */
APART static ulong rows_that_see(const uint *kept)
{
    ulong rows = 0;
    for (int r = 0; r < ROWS; r++)
        rows |= (ulong)((kept[r] | kept[ROWS + r]) != 0) << r;
    return rows;
}

/* The length of the run of bits of `of` that are set from bit n on, at most `end` - n. */
static inline int run_of(ulong of, int n, int end)
{
    const ulong missing = ~(of >> n);
    return min(end - n, (int)popcount((missing - 1) & ~missing));
}
#endif
