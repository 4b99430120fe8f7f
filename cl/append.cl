/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Append to a key/value cache: rows of new keys, or of new values, go to their places in a cache.
 *
 *   from [b, kv_heads, q_len, columns]
 *   cache [b, kv_heads, kv_len, columns], or [blocks, kv_heads, page_size, columns] where it is paged
 *
 * Row i of batch b is key number n = position + i and goes to row n, n mod kv_len (circular), or row n % page_size of block
 * block_table[b][n / page_size]. Not written: numbers below 0; unless circular those of kv_len and more; and those whose block
 * the pool does not have.
 *
 * A work-group owns CLA_ROWS rows of one head, a work-item every CLA_GROUP_SIZE-th element of them. Work-groups are numbered
 * with the rows innermost, then the heads. Local memory: none.
 *
 *   CLA_FROM_TYPE, CLA_CACHE_TYPE   storage types as in types.cl; where they are the same, bits are copied
 *   CLA_POSITIONS                   0: `position` for every batch   1, 2: positions[b] of 32, 64 bits
 *   CLA_GROUP_SIZE, CLA_ROWS        1 or more
 *   CLA_STORAGE                     as in load.cl
 */
#if !defined(CLA_FROM_TYPE) || !defined(CLA_CACHE_TYPE) || !defined(CLA_POSITIONS) || !defined(CLA_GROUP_SIZE) ||      \
    !defined(CLA_ROWS)
#error "append.cl: a parameter is not defined"
#endif

#if CLA_FROM_TYPE != CLA_CACHE_TYPE
#define from_t  CLA_JOIN(CLA_STORE_, CLA_FROM_TYPE)
#define cache_t CLA_JOIN(CLA_STORE_, CLA_CACHE_TYPE)
#define copy(from, i, to, j)                                                                                           \
    CLA_JOIN(CLA_STORE_AS_, CLA_CACHE_TYPE)(to, j, CLA_JOIN(CLA_LOAD_, CLA_FROM_TYPE)(from, i))
#else
#if CLA_FROM_TYPE == 0
#define from_t uint
#else
#define from_t ushort
#endif
#define cache_t from_t
#define copy(from, i, to, j) ((to)[j] = (from)[i])
#endif

#if CLA_POSITIONS == 2
#define position_t long
#else
#define position_t int
#endif

/* Where row i of a batch that has `position` keys goes: the element at which it begins, -1 where it is not written. */
static inline long cache_row(long4 view, int b, int g, long position, int i, CLA_PLACES_PARAMS)
{
    if (position < -(long)i)
        return -1;
    const ulong n = (ulong)position + (ulong)i; /* the greatest position plus any row does not wrap */
#if CLA_STORAGE == 1
    return view_row(view, b, g, (int)(n % (ulong)kv_len));
#else
    if (n >= (ulong)kv_len)
        return -1;
#if CLA_STORAGE == 2
    const uint2 place = divide((uint)n, (uint)pages.x);
    const int block = block_of((int)place.x, b, CLA_PLACES);
    return block < 0 || block >= pages.y ? -1 : view_row(view, block, g, (int)place.y);
#else
    return view_row(view, b, g, (int)n);
#endif
#endif
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP_SIZE, 1, 1))) void
append(__global const from_t *restrict from, long4 from_view, __global cache_t *restrict cache, long4 cache_view,
       __global const position_t *positions, long4 positions_view, long position, int kv_heads, int columns,
       CLA_SEMANTICS_PARAMS)
{
    const int item = (int)get_local_id(0);
    const int tiles = max(1, (q_len + CLA_ROWS - 1) / CLA_ROWS);
    const uint2 tile = divide((uint)get_group_id(0), (uint)tiles);
    const uint2 head = divide(tile.x, (uint)kv_heads);
    const int b = (int)head.x;
    const int g = (int)head.y;
    const int first = (int)tile.y * CLA_ROWS;
    const int end = min(q_len, first + CLA_ROWS);

    for (int i = first; i < end; i++) {
#if CLA_POSITIONS
        const long begin = positions[positions_view.x + b];
#else
        const long begin = position;
#endif
        const long to = cache_row(cache_view, b, g, begin, i, CLA_PLACES);
        const long at = view_row(from_view, b, g, i);
        const int count = to < 0 ? 0 : columns;
        for (int c = item; c < count; c += CLA_GROUP_SIZE)
            copy(from, at + c, cache, to + c);
    }
}
