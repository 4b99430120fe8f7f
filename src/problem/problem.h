/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The normalised problem: what is asked, with every default filled in and every rule checked. Plain data without
 * pointers, padding zeroed, so two problems are the same if their bytes are. Nothing behind this header reads a public
 * descriptor. Knows no OpenCL object and no device.
 */
#ifndef CLA_PROBLEM_PROBLEM_H
#define CLA_PROBLEM_PROBLEM_H

#include <clattn/attention.h>
#include <clattn/cache.h>
#include <clattn/layer.h>
#include <clattn/position.h>
#include <clattn/primitive.h>
#include <stdbool.h>

enum cla_operation {
    CLA_OP_ATTENTION,
    CLA_OP_SCORES,
    CLA_OP_SOFTMAX,
    CLA_OP_WEIGHTED_SUM,
    CLA_OP_MERGE,
    CLA_OP_APPEND,
    CLA_OP_ROTARY,
    CLA_OP_SINUSOIDAL,
    CLA_OP_LINEAR,
    CLA_OP_LAYER
};

/* "attention", "weighted_sum" and so on. */
const char *cla_operation_string(enum cla_operation operation);

/* The operands of every operation. Their order is that of the kernel parameters in cl/. */
enum cla_operand {
    CLA_QUERY,
    CLA_KEY,
    CLA_VALUE,
    CLA_OUTPUT,
    CLA_MASK,
    CLA_KV_LENGTHS,
    CLA_LSE,
    CLA_SCORES,  /* written by attention and scores, read by softmax */
    CLA_WEIGHTS, /* written by softmax, read by weighted sum */
    CLA_SINKS,
    CLA_ALIBI_SLOPES,
    CLA_RELATIVE_BIAS,
    CLA_BLOCK_TABLE,
    CLA_Q_CU_LENGTHS,
    CLA_KV_CU_LENGTHS,
    CLA_KEY_CACHE,   /* append */
    CLA_VALUE_CACHE, /* append */
    CLA_POSITIONS,   /* append, rotary, sinusoidal */
    CLA_COS,         /* rotary */
    CLA_SIN,         /* rotary */
    CLA_PARTS,       /* merge: outputs of the parts, [parts, batch * heads, q_len, value_dim] */
    CLA_PART_LSE,    /* merge: [parts, batch * heads, q_len, 1] */
    CLA_INPUT,       /* rotary, sinusoidal, linear, layer */
    CLA_CONTEXT,     /* layer */
    CLA_WEIGHT,      /* linear */
    CLA_BIAS,        /* linear */
    CLA_W_Q,         /* layer, from here on */
    CLA_W_K,
    CLA_W_V,
    CLA_W_O,
    CLA_W_QKV,
    CLA_B_Q,
    CLA_B_K,
    CLA_B_V,
    CLA_B_O,
    CLA_B_QKV,
    CLA_NUM_OPERANDS
};

/* The name a user knows it by, such as "query". */
const char *cla_operand_string(enum cla_operand operand);

/*
 * A tensor as the kernels see it, over [batch, heads, rows, columns]. `present` is false where the problem has none.
 * Strides count elements. Those of extents of 1 are 0, dense ones are filled in.
 */
struct cla_tensor {
    bool present;
    bool written;
    uint8_t element_size; /* bytes */
    clattn_dtype dtype;   /* not for kv_lengths */
    int64_t extent[4];
    int64_t stride[4];
    int64_t span; /* elements from the first to the last, both included; 0 where an extent is 0 */
};

/* A bound of the visible band that is none. Far from overflow when positions are added to it. */
#define CLA_UNBOUNDED ((int64_t)1 << 40)

struct cla_problem {
    enum cla_operation operation;
    int64_t batch;
    int64_t q_heads; /* softmax, merge: heads; append: kv_heads */
    int64_t kv_heads;
    int64_t q_len;     /* append: length */
    int64_t kv_len;    /* merge: parts; append: capacity */
    int64_t head_dim;  /* 0 where the operation has none */
    int64_t value_dim; /* 0 where the operation has none */
    struct cla_tensor tensor[CLA_NUM_OPERANDS];

    float scale;
    float softcap; /* 0: none */

    /* Query i sees keys from p - left to p + right, with p = i + offset; causal is right = 0. */
    bool band;                  /* false: every key, and the four below are 0 */
    clattn_alignment alignment; /* as asked: with TOP_LEFT a run's offset is 0 whatever its arguments say */
    int64_t offset;             /* default of a run's, clamped to +-CLA_UNBOUNDED / 2; with OFFSET only */
    int64_t left;               /* 0 to CLA_UNBOUNDED */
    int64_t right;

    clattn_mask_kind mask_kind;
    int64_t mask_keys; /* keys from here on are excluded by the mask: its last extent; kv_len where that is 1 or there
                          is no mask */
    bool mask_pad;     /* it excludes some, and is to do so whatever the lengths are */
    clattn_lengths kv_lengths;
    clattn_scores_stage scores_stage;

    clattn_storage kv_storage;
    int64_t page_size;  /* 0 where nothing is paged */
    int64_t num_blocks; /* 0 where nothing is paged */
    clattn_lengths q_cu_lengths;
    clattn_lengths kv_cu_lengths;
    int64_t q_total;  /* 0 where queries are not ragged */
    int64_t kv_total; /* 0 where keys are not ragged */
    int64_t relative_extent;

    /* Rotary embedding and sinusoidal encoding. Positions, tables and additions are there where their tensors are. */
    int64_t rotary_dim;
    clattn_rotary_pairs rotary_pairs;
    double angle_base;   /* 0 with tables */
    int64_t columns;     /* of the grid of tokens; 0: one dimension */
    double row_scale;    /* of positions, in two dimensions of rows */
    double column_scale; /* 0 in one dimension */

    clattn_layer_inputs layer_inputs; /* layer */
};

/*
 * Check a public descriptor and normalise it. Fail with INVALID_ARGUMENT for a wrong struct_size and INVALID_VALUE for
 * anything else, with the field, its value and what was expected.
 */
clattn_status cla_problem_from_attention(const clattn_attention_desc *desc, struct cla_problem *problem,
                                         clattn_error *error);
clattn_status cla_problem_from_scores(const clattn_attention_desc *desc, struct cla_problem *problem,
                                      clattn_error *error);
clattn_status cla_problem_from_softmax(const clattn_softmax_desc *desc, struct cla_problem *problem,
                                       clattn_error *error);
clattn_status cla_problem_from_weighted_sum(const clattn_weighted_sum_desc *desc, struct cla_problem *problem,
                                            clattn_error *error);
clattn_status cla_problem_from_merge(const clattn_merge_desc *desc, struct cla_problem *problem, clattn_error *error);
clattn_status cla_problem_from_append(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error);

/* q_len is the length, and head_dim the width of sinusoidal encoding, whose q_heads is 1. There are no keys. */
clattn_status cla_problem_from_rotary(const clattn_rotary_desc *desc, struct cla_problem *problem, clattn_error *error);
clattn_status cla_problem_from_sinusoidal(const clattn_sinusoidal_desc *desc, struct cla_problem *problem,
                                          clattn_error *error);
/*
 * q_len is the length, head_dim in_features and value_dim out_features; q_heads and kv_heads are 1, kv_len is 0. The
 * tensors are CLA_INPUT, CLA_WEIGHT, CLA_OUTPUT and, where there is one, CLA_BIAS, [1, 1, 1, out_features].
 */
clattn_status cla_problem_from_linear(const clattn_linear_desc *desc, struct cla_problem *problem, clattn_error *error);

/* The projections of a layer. With packed weights the first one is for query, key and value, and the next two are not.
 */
enum cla_projection { CLA_PROJECT_QUERY, CLA_PROJECT_KEY, CLA_PROJECT_VALUE, CLA_PROJECT_OUTPUT, CLA_NUM_PROJECTIONS };

/*
 * A layer and its parts. `whole` is attention's problem with the layer's operands in place of query, key, value and
 * output. The parts pass to one another: what the projections of query, key and value write, attention reads, and what
 * it writes, the last one reads.
 */
struct cla_layer_problem {
    struct cla_problem whole;
    struct cla_problem attention;
    struct cla_problem projection[CLA_NUM_PROJECTIONS]; /* linear; zero where there is none */
};

clattn_status cla_problem_from_layer(const clattn_layer_desc *desc, struct cla_layer_problem *problem,
                                     clattn_error *error);

/* The problem string of attention.h, for any operation ("softmax b1h8q512k512", ...). As snprintf. */
size_t cla_problem_string(const struct cla_problem *problem, char *text, size_t size);

/*
 * Whether two placed tensors have a byte in common. `start` is the byte of the first element in the memory object that
 * both are in. Exact but for strides so tangled that comparing them row by row would take too long; then true.
 */
bool cla_tensors_overlap(const struct cla_tensor *a, int64_t start_a, const struct cla_tensor *b, int64_t start_b);

#endif
