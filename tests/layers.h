/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A multi-head layer for tests: its descriptor and operands made up from a few words, a run, and the comparison with a
 * composition on the host.
 */
#ifndef CLATTN_TESTS_LAYERS_H
#define CLATTN_TESTS_LAYERS_H

#include "tensors.h"

enum layer_operand {
    LAYER_INPUT,
    LAYER_CONTEXT,
    LAYER_W_Q,
    LAYER_W_K,
    LAYER_W_V,
    LAYER_W_O,
    LAYER_W_QKV,
    LAYER_B_Q,
    LAYER_B_K,
    LAYER_B_V,
    LAYER_B_O,
    LAYER_B_QKV,
    LAYER_OUTPUT,
    LAYER_MASK,
    LAYER_LENGTHS,
    LAYER_LSE,
    LAYER_SCORES,
    LAYER_SINKS,
    LAYER_ALIBI_SLOPES,
    LAYER_RELATIVE_BIAS,
    LAYER_NUM_OPERANDS
};

extern const char *const layer_operand_names[LAYER_NUM_OPERANDS];

/* The bias that goes with a weight. */
#define LAYER_BIAS_OF(weight) ((enum layer_operand)((int)(weight) + LAYER_B_Q - LAYER_W_Q))

struct layer_case {
    const char *attention; /* problem string; its types are those of the projected tensors */
    clattn_layer_inputs inputs;
    int64_t width;
    int64_t context_width;
    int64_t output_width;
    int packed;
    int bias;
    clattn_dtype weight;
    clattn_dtype input;
    clattn_dtype context;
    clattn_dtype output;
    int padding;   /* elements behind each row and each batch of input, context and output; 0: dense */
    int64_t q_len; /* of the run, -1: the plan's */
    int64_t kv_len;
    int64_t offset;
};

struct layer_scene {
    clattn_attention_desc attention;
    clattn_layer_desc desc;
    clattn_plan *plan;
    clattn_layer_args args;
    struct tensor t[LAYER_NUM_OPERANDS]; /* zero where there is none */
    const struct layer_case *of;
};

/* Descriptors for the case, to change as a test likes; no plan and no operands yet. These functions fail the current
 * test where they cannot. */
void layer_describe(struct layer_scene *scene, const struct layer_case *c);

/* The rest of what was described: a plan, operands on the device, and arguments for the run of the case. */
void layer_open(const struct harness *harness, struct layer_scene *scene);
void layer_close(struct layer_scene *scene);

/* The keys of a batch, where the case has lengths. */
int64_t layer_kv_length(const struct layer_scene *scene, int64_t b);

/* The field of the arguments that an operand has. */
clattn_buffer *layer_slot(clattn_layer_args *args, enum layer_operand operand);

/* Enqueues a run of scene->args on the harness's queue and reads everything back. */
void layer_run(const struct harness *harness, struct layer_scene *scene);

/* Waits and reads everything back: nothing but the elements of outputs in the run's q_len may have changed. */
void layer_read(const struct harness *harness, struct layer_scene *scene);

/* The oracle's operands for the run, on projected tensors that are dense in the types of the descriptor. */
struct oracle_operands layer_operands(const struct layer_scene *scene, const void *query, const void *key,
                                      const void *value);

/*
 * Compares what a run has left with projections in double, rounded to the types in which the layer keeps them, the
 * oracle's attention, and the last projection in double. Each element must be within what the bounds of the parts add
 * up to, and, as that is far above what errors of both signs make, all together within 4 eps of the coarsest type.
 */
void layer_check(const struct layer_scene *scene);

#endif
