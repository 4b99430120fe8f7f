/* SPDX-License-Identifier: Apache-2.0 */
/*
 * d_relative_bias from the sums of backward_bias.cl along diagonals. A work-group takes CLA_GROUP elements of a head: a work-item the
 * pairs at one distance, of all batches; the first and the last element, which are those of all distances beyond, the whole group
 * together, work-item n every CLA_GROUP-th distance. Groups are numbered with the elements innermost.
 *
 *   tiling   x, y: queries and keys of a tile of backward_bias.cl; z: tiles; w: how many of them are below that of the first key
 *
 * Local memory: 4 CLA_GROUP bytes.
 */
#if !defined(CLA_ACCUMULATE) || !CLA_RELATIVE
#error "backward_relative.cl: a parameter is not defined"
#endif

/* Terms that are added up before their sum is held. */
#define RUN 64

/*
 * Of the distances that element r stands for, every `step`-th from number `first` on, in all batches. A distance has sums in as many
 * tiles as meet its diagonal.
 */
static inline float sum_of(int r, int first, int step, __global const float *sums, long4 view, int h, int batches, int4 tiling,
                           CLA_SEMANTICS_PARAMS)
{
    float held = 0.0f;
    float sum = 0.0f;
    int terms = 0;
    for (int b = 0; b < batches; b++) {
        struct batch batch;
        batch_of(&batch, b, CLA_PLACES);
        /* in keys from key number i on, instead of from the query's position */
        const long ahead = position_of(&batch, 0, CLA_SEMANTICS) + r - relative_extent;
        const long least = r == 0 ? 1 - batch.q_len : max(ahead, 1L - batch.q_len);
        const long most = r == 2 * relative_extent ? batch.kv_len - 1 : min(ahead, batch.kv_len - 1L);
        for (long a = least + first; a <= most; a += step) {
            const int key = (int)a + tiling.w * tiling.y;
            const int end = min((key + tiling.x - 1) / tiling.y + 1, tiling.z);
            for (int t = key / tiling.y; t < end; t++) {
                sum += sums[view_row(view, b, h, t) + key - t * tiling.y + tiling.x - 1];
                if (++terms % RUN == 0)
                    hold(&held, &sum);
            }
        }
    }
    return held + sum;
}

__kernel __attribute__((reqd_work_group_size(CLA_GROUP, 1, 1))) void
backward_relative(__global const float *sums, long4 sums_view, __global float *d_relative_bias, long4 gradient_view,
                  int batches, int tile_q, int tile_kv, int tiles, int below, CLA_SEMANTICS_PARAMS)
{
    __local float scratch[CLA_GROUP];
    const int item = (int)get_local_id(0);
    const int4 tiling = (int4)(tile_q, tile_kv, tiles, below);
    const int last = 2 * relative_extent;
    const uint2 group = divide((uint)get_group_id(0), (uint)(last / CLA_GROUP + 1));
    const int h = (int)group.x;
    const int r0 = (int)group.y * CLA_GROUP;
    const int r = r0 + item;
    float own = 0.0f;
    if (r > 0 && r < last)
        own = sum_of(r, 0, CLA_GROUP, sums, sums_view, h, batches, tiling, CLA_SEMANTICS);
    for (int n = 0; n < 2; n++) {
        const int of = n * last;
        scratch[item] = 0.0f;
        if (of >= r0 && of < r0 + CLA_GROUP)
            scratch[item] = sum_of(of, item, CLA_GROUP, sums, sums_view, h, batches, tiling, CLA_SEMANTICS);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < CLA_GROUP && r == of; k++)
            own += scratch[k];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (r > last || d_relative_bias == 0) /* the first launch of a plan has no buffers */
        return;
    const long at = view_row(gradient_view, 0, h, 0) + r;
    d_relative_bias[at] = CLA_ACCUMULATE ? d_relative_bias[at] + own : own;
}
