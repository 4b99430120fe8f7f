/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The variant: one algorithm for one operation. It says why it cannot serve a problem, or adds the steps that do. Every
 * file of a variant has the same silhouette: accepts, then add_steps, then the variant object.
 */
#ifndef CLA_OPS_VARIANT_H
#define CLA_OPS_VARIANT_H

#include "run/plan.h"
#include "util/text.h"

struct cla_variant {
    const char *name; /* words joined by '_' */

    /*
     * Fails with UNSUPPORTED, and with the reason in a few words, where the variant cannot compute the problem on the
     * device. It refuses only what it cannot compute: what is merely slow is the ranking's business. NULL: every
     * problem on every device.
     */
    clattn_status (*accepts)(const struct cla_problem *problem, const struct cla_device *device, clattn_error *why);

    /*
     * Adds the steps for plan->problem and sets plan->workspace_size. `tile` receives the tile as it stands in the
     * plan's name, such as "q64k64". On failure the caller clears the plan.
     */
    clattn_status (*add_steps)(clattn_plan *plan, struct cla_text *tile, clattn_error *error);
};

/* The variants of an operation; the last one accepts every problem. */
struct cla_registry {
    const struct cla_variant *const *variants;
    size_t count;
};

extern const struct cla_registry cla_attention_registry;
extern const struct cla_registry cla_attention_backward_registry;
extern const struct cla_registry cla_scores_registry;
extern const struct cla_registry cla_softmax_registry;
extern const struct cla_registry cla_weighted_sum_registry;
extern const struct cla_registry cla_merge_registry;
extern const struct cla_registry cla_append_registry;
extern const struct cla_registry cla_rotary_registry;
extern const struct cla_registry cla_sinusoidal_registry;
extern const struct cla_registry cla_linear_registry;
extern const struct cla_registry cla_linear_backward_registry;

/*
 * Makes the plan for a problem: tries the registry's variants in the order of the ranking, or only the one named
 * `forced` unless that is NULL or "auto", until one accepts, builds and passes its first launch.
 */
clattn_status cla_choose(clattn_context *context, const struct cla_problem *problem,
                         const struct cla_registry *registry, const char *forced, clattn_plan **plan,
                         clattn_error *error);

#endif
