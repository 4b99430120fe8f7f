/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of attention, of its stages and of a cache have in common, and the steps that they share. */
#ifndef CLA_OPS_SEMANTICS_H
#define CLA_OPS_SEMANTICS_H

#include "ops/kernel.h"
#include "problem/primitive.h"

/* What of a problem a kernel depends on; all else is left out of its options, so that problems share programs. */
enum cla_uses {
    CLA_USES_QUERY_KEY = 1,
    CLA_USES_VALUE_OUTPUT = 2,
    CLA_USES_PLACES = 4,     /* lengths, storage, packed sequences */
    CLA_USES_EXCLUSIONS = 8, /* band, mask */
    CLA_USES_BIASES = 16,    /* ALiBi, relative */
    CLA_USES_SOFTCAP = 32,
    CLA_USES_SINKS = 64,
    CLA_USES_DROPOUT = 128,
    CLA_USES_ALL = 255
};

/* The build of a kernel that `uses` so much of the problem: types, load.cl and visible.cl. Tile and block are left. */
struct cla_build cla_semantics_build(const struct cla_problem *problem, unsigned uses);

/* The arguments of CLA_SEMANTICS_PARAMS for a kernel that `uses` the same as its options say. */
void cla_step_semantics(struct cla_step *step, const struct cla_problem *problem, unsigned uses);

/* Query heads a key/value head. */
int64_t cla_heads_per_kv(const struct cla_problem *problem);

/*
 * Where the outputs of partial attention, or the states of their rows, lie: a float tensor [parts, batch * q_heads,
 * q_len, columns] in the workspace, or an operand of these extents. Where the step works on a slice, the workspace
 * holds the slice alone, and head_stride and row_stride are within it.
 */
struct cla_partial {
    bool in_workspace;
    int operand;
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
