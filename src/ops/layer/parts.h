/* SPDX-License-Identifier: Apache-2.0 */
/* Plans that are made of plans: what the layer and its backward pass have in common. */
#ifndef CLA_OPS_LAYER_PARTS_H
#define CLA_OPS_LAYER_PARTS_H

#include "ops/variant.h"
#include "problem/layer.h"

/*
 * Makes the plan of a part, by `variant` unless that is NULL or "auto", and adds it. `name` is how messages and the
 * description call it; what the part says of itself is added to `lines`.
 */
clattn_status cla_add_part(clattn_plan *plan, const char *name, const struct cla_problem *problem,
                           const struct cla_registry *registry, const char *variant, struct cla_text *lines,
                           struct cla_part **part, clattn_error *error);

/* Says that an operand of the part lies in the whole's workspace, or in an operand of the whole, `place` bytes on. */
void cla_link_workspace(struct cla_part *part, int operand, size_t place);
void cla_link(struct cla_part *part, int operand, int of_whole, size_t place);

/* OUT_OF_DEVICE_MEMORY where the device does not allocate as much at once. */
clattn_status cla_check_places(const clattn_plan *plan, const struct cla_layer_places *places, clattn_error *error);

/* The place of what a projection writes, of query, key or value. */
size_t cla_place_of(const struct cla_layer_places *places, enum cla_projection number);

/* Sets the workspace: `end` bytes of what passes between the parts, then what they need themselves, which is one part's
 * at a time. */
clattn_status cla_set_parts_workspace(clattn_plan *plan, size_t end, clattn_error *error);

/*
 * Freezes the strings: the problem is that of the whole and then, behind spaces, those of the layer's `inner` problems,
 * up to a NULL. The variant is that of part `leading`, the name that behind the operation's.
 */
clattn_status cla_explain_parts(clattn_plan *plan, const struct cla_problem *const inner[], size_t leading,
                                const struct cla_text *lines, clattn_error *error);

#endif
