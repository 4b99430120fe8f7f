/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of attention, one file each, and what the flash kernels have in common. */
#ifndef CLA_OPS_ATTENTION_REGISTRY_H
#define CLA_OPS_ATTENTION_REGISTRY_H

#include "ops/semantics.h"
#include "ops/variant.h"

extern const struct cla_variant cla_attention_flash;
extern const struct cla_variant cla_attention_flash_dot;
extern const struct cla_variant cla_attention_flash_vector;
extern const struct cla_variant cla_attention_split_kv;
extern const struct cla_variant cla_attention_split_kv_vector;
extern const struct cla_variant cla_attention_unfused;

/* Appends CLA_HEAD_DIM, CLA_VALUE_DIM and CLA_LSE. */
void cla_flash_options(struct cla_text *options, const struct cla_problem *problem);

/*
 * A kernel whose work-groups take the query heads of a key/value head together: its tile, how keys are split over
 * work-groups, each of which writes a part, and where in the workspace the parts lie.
 */
struct cla_split {
    int64_t tile_rows;
    int64_t tile_keys;
    int64_t keys; /* of a part; 0: not split */
    struct cla_partial outputs;
    struct cla_partial states; /* of a row: its largest logit, and the sum of e^(logit - largest) */
};

/* Rows of all query heads of a key/value head. */
int64_t cla_packed_rows(const struct cla_problem *problem);

/* UNSUPPORTED where they cannot be numbered, which kernels do in int, a tile past the last one included. */
clattn_status cla_packed_rows_fit(const struct cla_problem *problem, clattn_error *why);

/*
 * Splits the keys where the tiles of rows are too few work-groups for the device, into parts of at least 256 keys that
 * are a multiple of `tile_keys`, and sets the workspace that the parts take.
 */
struct cla_split cla_split_keys(clattn_plan *plan, int64_t tile_rows, int64_t tile_keys);

/* The arguments of a flash kernel, whose columns are the parts. `split` may be NULL: one part, the result. */
void cla_flash_args(struct cla_step *step, const struct cla_problem *problem, const struct cla_split *split);

/*
 * Gives the step of such a kernel its arguments and extents, and adds the one that merges the parts, where there is
 * something to merge. `name` receives the tile's name.
 */
clattn_status cla_finish_split(clattn_plan *plan, struct cla_step *step, const struct cla_split *split,
                               struct cla_text *name, clattn_error *error);

/* The steps of cl/flash_vector.cl, with products as `dot` says. */
clattn_status cla_flash_vector_add(clattn_plan *plan, enum cla_dot dot, struct cla_text *name, clattn_error *error);

/* UNSUPPORTED where the kernel does not take the problem. */
clattn_status cla_flash_vector_accepts(const struct cla_problem *problem, const struct cla_device *device,
                                       clattn_error *why);

#endif
