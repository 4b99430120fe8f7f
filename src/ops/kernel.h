/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of all operations have in common: build options and arguments that follow from the problem alone. */
#ifndef CLA_OPS_KERNEL_H
#define CLA_OPS_KERNEL_H

#include "run/plan.h"
#include "select/tiles.h"
#include "select/vector_block.h"
#include "util/text.h"

/* What of a problem a kernel depends on; all else is left out of its options, so that problems share programs. */
enum cla_uses {
    CLA_USES_QUERY_KEY = 1,
    CLA_USES_VALUE_OUTPUT = 2,
    CLA_USES_PLACES = 4,     /* lengths, storage, packed sequences */
    CLA_USES_EXCLUSIONS = 8, /* band, mask */
    CLA_USES_BIASES = 16,    /* ALiBi, relative */
    CLA_USES_SOFTCAP = 32,
    CLA_USES_SINKS = 64,
    CLA_USES_ALL = 127
};

/*
 * "-D" options of cl/lib/types.cl, load.cl and visible.cl for what a kernel `uses` of the problem, of block.cl for the
 * tile (NULL: the smallest), and of lanes.cl and vector_block.cl for the vector block (NULL: the smallest).
 */
void cla_common_options(struct cla_text *options, const struct cla_problem *problem, unsigned uses,
                        const struct cla_tile *tile, const struct cla_vector_block *vector_block);

/* Appends one " -D NAME=value". */
void cla_option(struct cla_text *options, const char *name, int64_t value);

/* A kernel built on cl/lib/block.cl. */
struct cla_tiled_kernel {
    const char *file;
    const char *name;
    unsigned uses;
    cla_tile_needs *needs;
};

/*
 * Adds a step for it with the best tile that the device and the compiled kernel allow, `extra` options (may be NULL)
 * behind the common ones, and group_size, rows and tile_rows set; arguments and columns are the caller's. `name`,
 * unless NULL, receives the tile's name.
 */
clattn_status cla_add_tiled_step(clattn_plan *plan, const struct cla_tiled_kernel *kernel, const struct cla_text *extra,
                                 struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                                 clattn_error *error);

/* The arguments of CLA_SEMANTICS_PARAMS for a kernel that `uses` the same as its options say. */
void cla_step_semantics(struct cla_step *step, const struct cla_problem *problem, unsigned uses);

/*
 * Work-items that share a row: a power of two, at most what the device allows and what covers `pieces` of the row; one
 * on a CPU, where more would only share the same vector unit.
 */
size_t cla_row_group(const struct cla_device *device, int64_t pieces);

/* Query heads a key/value head. */
int64_t cla_heads_per_kv(const struct cla_problem *problem);

/* Where a float tensor that passes from one step to the next lies: an operand, or the workspace with these strides. */
struct cla_intermediate {
    bool in_workspace;
    enum cla_operand operand;
    int64_t batch_stride;
    int64_t head_stride;
    int64_t row_stride;
};

void cla_step_intermediate(struct cla_step *step, const struct cla_problem *problem, const struct cla_intermediate *at);

/*
 * Where the outputs of partial attention, or the states of their rows, lie: a float tensor [parts, batch * q_heads,
 * q_len, columns] in the workspace, or an operand of these extents. Where the step works on a slice, the workspace
 * holds the slice alone, and head_stride and row_stride are within it.
 */
struct cla_partial {
    bool in_workspace;
    enum cla_operand operand;
    int64_t start; /* floats from the beginning of the workspace */
    int64_t part_stride;
    int64_t head_stride;
    int64_t row_stride;
};

/*
 * The step that merges the parts into CLA_OUTPUT and, where the problem has it, CLA_LSE. A row's state is its largest
 * logit and its sum in the workspace, its log-sum-exp in an operand. There are as many parts as the run's kv_len cut
 * every `split_keys`: none, where it is 0, gives an output of 0 and an lse of -inf or of the sink. A part whose sum is
 * 0 or whose lse is -inf may have any output; one part has the sink in it, if there is one. Rows of the parts are not
 * packed where those of the output are. `name`, unless NULL, receives the tile's name.
 */
clattn_status cla_add_merge_step(clattn_plan *plan, const struct cla_partial *outputs, const struct cla_partial *states,
                                 int64_t split_keys, struct cla_text *name, clattn_error *error);

/*
 * The steps of the three primitives over the whole problem, for their own variants and for the unfused one. `stage` is
 * a clattn_scores_stage up to MASKED. `tile`, unless NULL, receives the tile's name.
 */
clattn_status cla_add_scores_step(clattn_plan *plan, clattn_scores_stage stage, const struct cla_intermediate *to,
                                  struct cla_text *tile, clattn_error *error);
clattn_status cla_add_softmax_step(clattn_plan *plan, const struct cla_intermediate *from,
                                   const struct cla_intermediate *to, struct cla_text *tile, clattn_error *error);
clattn_status cla_add_weighted_sum_step(clattn_plan *plan, const struct cla_intermediate *from, struct cla_text *tile,
                                        clattn_error *error);

#endif
