/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the rows of a batch lie: the one home of lengths, packed sequences, circular and paged caches. A kernel asks
 *
 *   batch_of(&batch, b)           what batch b of this run is, once a work-group
 *   query_row(view, batch, h, i)  the element where row i of its queries begins, for outputs and lse as well
 *   key_row(view, batch, g, j)    the same for key j, and value_row for its value
 *   key_run(batch, j, end)        how many rows from key j on follow at the view's row stride
 *   pages_exist(batch, j, end)    whether all of these keys lie in blocks that the pool has; the others are excluded
 *
 * whose arguments end with CLA_PLACES, the run's values that kernels receive as CLA_PLACES_PARAMS.
 *
 *   CLA_LENGTHS        0: kv_len for every batch   1, 2: kv_lengths[b] of 32, 64 bits, clamped to 0..kv_len
 *   CLA_STORAGE        0: key j is row j   1: circular, kv_lengths counting all keys that were ever written
 *                      2: row j % page_size of block block_table[b][j / page_size]
 *   CLA_Q_CU_LENGTHS   0: every batch has q_len rows   1, 2: rows q_cu_lengths[b] to q_cu_lengths[b + 1] - 1, of 32, 64 bits
 *   CLA_KV_CU_LENGTHS  the same for keys
 */
#if !defined(CLA_LENGTHS) || !defined(CLA_STORAGE) || !defined(CLA_Q_CU_LENGTHS) || !defined(CLA_KV_CU_LENGTHS)
#error "load.cl: a switch is not defined"
#endif

#define CLA_INTEGER_1 int
#define CLA_INTEGER_2 long

#if CLA_LENGTHS
#define CLA_LENGTHS_PARAM , __global const CLA_JOIN(CLA_INTEGER_, CLA_LENGTHS) *kv_lengths, long4 kv_lengths_view
#define CLA_LENGTHS_ARG   , kv_lengths, kv_lengths_view
#else
#define CLA_LENGTHS_PARAM
#define CLA_LENGTHS_ARG
#endif

#if CLA_STORAGE == 2 /* pages: x keys a block, y blocks */
#define CLA_TABLE_PARAM , __global const int *block_table, long4 block_table_view, int2 pages
#define CLA_TABLE_ARG   , block_table, block_table_view, pages
#else
#define CLA_TABLE_PARAM
#define CLA_TABLE_ARG
#endif

#if CLA_Q_CU_LENGTHS
#define CLA_Q_CU_PARAM                                                                                                 \
    , __global const CLA_JOIN(CLA_INTEGER_, CLA_Q_CU_LENGTHS) *q_cu_lengths, long4 q_cu_view, int q_total
#define CLA_Q_CU_ARG , q_cu_lengths, q_cu_view, q_total
#else
#define CLA_Q_CU_PARAM
#define CLA_Q_CU_ARG
#endif

#if CLA_KV_CU_LENGTHS
#define CLA_KV_CU_PARAM                                                                                                \
    , __global const CLA_JOIN(CLA_INTEGER_, CLA_KV_CU_LENGTHS) *kv_cu_lengths, long4 kv_cu_view, int kv_total
#define CLA_KV_CU_ARG , kv_cu_lengths, kv_cu_view, kv_total
#else
#define CLA_KV_CU_PARAM
#define CLA_KV_CU_ARG
#endif

#define CLA_PLACES_PARAMS int q_len, int kv_len CLA_LENGTHS_PARAM CLA_TABLE_PARAM CLA_Q_CU_PARAM CLA_KV_CU_PARAM
#define CLA_PLACES        q_len, kv_len CLA_LENGTHS_ARG CLA_TABLE_ARG CLA_Q_CU_ARG CLA_KV_CU_ARG

struct batch {
    int index;
    int q_len;
    int q_row; /* of its first query, in tensors whose batch stride is 0 where queries are packed */
    int kv_len;
    int kv_row; /* of its first key, in the same way; circular: of the oldest key */
};

/* A sequence [begin, end) of a packed tensor: its first row and its length, within `total` and at most `most`. */
static inline int2 packed_rows(long begin, long end, int most, int total)
{
    const long first = clamp(begin, 0L, (long)total);
    const long last = clamp(end, first, (long)total); /* before the difference, which would wrap for the least end */
    return (int2)((int)first, (int)min(last - first, (long)most));
}

static inline void batch_of(struct batch *batch, int b, CLA_PLACES_PARAMS)
{
    *batch = (struct batch){b, q_len, 0, kv_len, 0};
    /* The first launch of a plan has no buffers and lengths of 0. */
#if CLA_Q_CU_LENGTHS
    if (q_len > 0) {
        const long at = q_cu_view.x + b;
        const int2 rows = packed_rows(q_cu_lengths[at], q_cu_lengths[at + 1], q_len, q_total);
        batch->q_row = rows.x;
        batch->q_len = rows.y;
    }
#endif
#if CLA_KV_CU_LENGTHS
    if (kv_len > 0) {
        const long at = kv_cu_view.x + b;
        const int2 rows = packed_rows(kv_cu_lengths[at], kv_cu_lengths[at + 1], kv_len, kv_total);
        batch->kv_row = rows.x;
        batch->kv_len = rows.y;
    }
#endif
#if CLA_LENGTHS
    if (kv_len > 0) {
        const long length = max(0L, (long)kv_lengths[kv_lengths_view.x + b]);
        batch->kv_len = (int)min(length, (long)kv_len);
        if (CLA_STORAGE == 1 && length > kv_len) {
            const long laps = length / kv_len;
            batch->kv_row = (int)(length - laps * kv_len);
        }
    }
#endif
}

static inline long query_row(long4 view, const struct batch *batch, int h, int i)
{
    return view_row(view, batch->index, h, batch->q_row + i);
}

#if CLA_STORAGE == 2
static inline int block_of(int page, int b, CLA_PLACES_PARAMS)
{
    return block_table[block_table_view.x + b * block_table_view.y + page];
}
#endif

/* Of a key in a block that the pool does not have, a row of another block: such a key is excluded, but may be read. */
static inline long key_row(long4 view, const struct batch *batch, int g, int j, CLA_PLACES_PARAMS)
{
#if CLA_STORAGE == 2
    const uint2 place = divide((uint)j, (uint)pages.x);
    const int block = clamp(block_of((int)place.x, batch->index, CLA_PLACES), 0, pages.y - 1);
    return view_row(view, block, g, (int)place.y);
#elif CLA_STORAGE == 1
    const int row = batch->kv_row - kv_len + j; /* below 0 until the rows wrap */
    return view_row(view, batch->index, g, row < 0 ? row + kv_len : row);
#else
    return view_row(view, batch->index, g, batch->kv_row + j);
#endif
}

#define value_row key_row

static inline int key_run(const struct batch *batch, int j, int end, CLA_PLACES_PARAMS)
{
#if CLA_STORAGE == 2
    const uint2 place = divide((uint)j, (uint)pages.x);
    return min(end - j, pages.x - (int)place.y);
#elif CLA_STORAGE == 1
    const int until_wrap = kv_len - batch->kv_row - j;
    return until_wrap > 0 ? min(end - j, until_wrap) : end - j;
#else
    return end - j;
#endif
}

static inline int pages_exist(const struct batch *batch, int j, int end, CLA_PLACES_PARAMS)
{
#if CLA_STORAGE == 2
    const int last = (int)((uint)(end - 1) / (uint)pages.x);
    for (int page = (int)((uint)j / (uint)pages.x); page <= last; page++) {
        const int block = block_of(page, batch->index, CLA_PLACES);
        if (block < 0 || block >= pages.y)
            return 0;
    }
#endif
    return 1;
}
