/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of all operations have in common: build options, tiles, arguments. Knows no operation. */
#ifndef CLA_OPS_KERNEL_H
#define CLA_OPS_KERNEL_H

#include "run/plan.h"
#include "select/tiles.h"
#include "select/vector_block.h"
#include "util/text.h"

/* What a kernel is built on of cl/lib. All zero: f32 throughout, all switched off, the smallest tile and block. */
struct cla_build {
    clattn_dtype query, key, value, output, mask; /* types.cl */
    clattn_lengths kv_lengths;                    /* load.cl */
    clattn_lengths q_cu_lengths;
    clattn_lengths kv_cu_lengths;
    clattn_storage kv_storage;
    clattn_mask_kind mask_kind; /* visible.cl */
    bool band, bottom_right, alibi, relative, softcap, sinks, dropout;
    const struct cla_tile *tile;                 /* block.cl */
    const struct cla_vector_block *vector_block; /* lanes.cl, vector_block.cl */
    enum cla_dot dot;                            /* dot_block.cl */
};

/* Appends the "-D" options that all of cl/lib needs. */
void cla_build_options(struct cla_text *options, const struct cla_build *build);

/* Appends one " -D NAME=value". */
void cla_option(struct cla_text *options, const char *name, int64_t value);

/* A kernel built on cl/lib/block.cl. */
struct cla_tiled_kernel {
    const char *file;
    const char *name;
    cla_tile_needs *needs;
};

/*
 * Adds a step for it with the best tile that the device and the compiled kernel allow, CLA_HELD for sums of at most
 * `terms` and `extra` options (may be NULL) behind those of `build`, and group_size, heads, rows and tile_rows set;
 * arguments and columns are the caller's. `name`, unless NULL, receives the tile's name.
 */
clattn_status cla_add_tiled_step(clattn_plan *plan, const struct cla_tiled_kernel *kernel,
                                 const struct cla_build *build, int64_t terms, const struct cla_text *extra,
                                 struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                                 clattn_error *error);

/*
 * Work-items that share a row: a power of two, at most what the device allows and what covers `pieces` of the row; one
 * on a CPU, where more would only share the same vector unit.
 */
size_t cla_row_group(const struct cla_device *device, int64_t pieces);

/* Where a float tensor that passes from one step to the next lies: an operand, or the workspace with these strides. */
struct cla_intermediate {
    bool in_workspace;
    int operand;
    int64_t batch_stride;
    int64_t head_stride;
    int64_t row_stride;
};

void cla_step_intermediate(struct cla_step *step, const struct cla_problem *problem, const struct cla_intermediate *at);

#endif
