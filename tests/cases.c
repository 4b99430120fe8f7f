/* SPDX-License-Identifier: Apache-2.0 */
/* Implements cases.h: the values of the axes, which of them may meet, and the descriptor of a case. */
#include "cases.h"

#include "cover.h"
#include "oracle.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the axes ------------------------------------------------------------------------------------------------- */

struct types {
    const char *name;
    clattn_dtype query, key, value, output;
};

static const struct types types[] = {
    {"f32", CLATTN_F32, CLATTN_F32, CLATTN_F32, CLATTN_F32},
    {"f16", CLATTN_F16, CLATTN_F16, CLATTN_F16, CLATTN_F16},
    {"bf16", CLATTN_BF16, CLATTN_BF16, CLATTN_BF16, CLATTN_BF16},
    {"f32-f16-f16-f32", CLATTN_F32, CLATTN_F16, CLATTN_F16, CLATTN_F32},
    {"f16-f16-f32-bf16", CLATTN_F16, CLATTN_F16, CLATTN_F32, CLATTN_BF16},
    {"bf16-f32-bf16-f16", CLATTN_BF16, CLATTN_F32, CLATTN_BF16, CLATTN_F16},
};

static const int64_t q_lens[] = {1, 3, 17, 64, 65, 100, 203};
static const int64_t kv_lens[] = {1, 3, 17, 64, 65, 100, 203};
static const int64_t head_dims[] = {1, 3, 21, 64, 80, 128, 203, 256};
static const int64_t value_dims[] = {0, 1, 21, 72, 128, 203};

struct heads {
    int64_t batch, query, key_value;
};

static const struct heads heads[] = {{1, 1, 1}, {2, 2, 2}, {1, 4, 2}, {3, 3, 1}, {2, 8, 1}};

struct band {
    clattn_alignment alignment;
    int64_t offset;
    bool causal, window;
    int64_t left, right;
    int64_t shift;
};

static const struct band bands[] = {
    {CLATTN_ALIGN_NONE, 0, false, false, 0, 0, 0},        {CLATTN_ALIGN_TOP_LEFT, 0, true, false, 0, 0, 0},
    {CLATTN_ALIGN_BOTTOM_RIGHT, 0, true, false, 0, 0, 0}, {CLATTN_ALIGN_OFFSET, -3, true, false, 0, 0, 0},
    {CLATTN_ALIGN_TOP_LEFT, 0, false, true, 4, 2, 0},     {CLATTN_ALIGN_BOTTOM_RIGHT, 0, true, true, 20, 4, 0},
    {CLATTN_ALIGN_OFFSET, 6, false, true, -1, 5, 0},      {CLATTN_ALIGN_BOTTOM_RIGHT, 0, false, false, 0, 0, 0},
    {CLATTN_ALIGN_TOP_LEFT, 0, true, false, 0, 0, -1},    {CLATTN_ALIGN_BOTTOM_RIGHT, 0, false, true, 3, 2, -9},
};

/* Letters of a shape: B, H, Q, K the extent of the problem, 1 broadcast, S short in the keys. */
struct mask {
    clattn_mask_kind kind;
    clattn_dtype dtype;
    const char *shape;
};

static const struct mask masks[] = {
    {CLATTN_MASK_NONE, CLATTN_F32, "1111"},
    {CLATTN_MASK_BOOL, CLATTN_BOOL, "BHQK"},
    {CLATTN_MASK_BOOL, CLATTN_BOOL, "11QK"},
    {CLATTN_MASK_BOOL, CLATTN_BOOL, "B11K"},
    {CLATTN_MASK_BOOL, CLATTN_BOOL, "1HQS"},
    {CLATTN_MASK_ADDITIVE, CLATTN_F32, "BHQK"},
    {CLATTN_MASK_ADDITIVE, CLATTN_F16, "1H1K"},
    {CLATTN_MASK_ADDITIVE, CLATTN_BF16, "11QS"},
    {CLATTN_MASK_ADDITIVE, CLATTN_F32, "B1Q1"},
    /* the backward's */
    {CLATTN_MASK_ADDITIVE, CLATTN_F16, "1HQK"},
    {CLATTN_MASK_ADDITIVE, CLATTN_BF16, "1111"},
    {CLATTN_MASK_ADDITIVE, CLATTN_F32, "B11K"},
    {CLATTN_MASK_ADDITIVE, CLATTN_F32, "BH11"},
};

enum { NUM_FORWARD_MASKS = 9 };

struct storage {
    const char *name;
    clattn_storage kind;
    int64_t page_size;
    int64_t spare_blocks;  /* in the pool, needed by nobody */
    int64_t spare_entries; /* between the rows of the table */
};

static const struct storage storages[] = {
    {"linear", CLATTN_STORAGE_LINEAR, 0, 0, 0}, {"circular", CLATTN_STORAGE_CIRCULAR, 0, 0, 0},
    {"paged", CLATTN_STORAGE_PAGED, 1, 3, 0},   {"paged", CLATTN_STORAGE_PAGED, 5, 0, 2},
    {"paged", CLATTN_STORAGE_PAGED, 16, 2, 5},
};

/* The types of cumulative lengths. */
static const struct {
    clattn_lengths query, key;
} raggeds[] = {
    {CLATTN_LENGTHS_NONE, CLATTN_LENGTHS_NONE},
    {CLATTN_LENGTHS_I32, CLATTN_LENGTHS_NONE},
    {CLATTN_LENGTHS_NONE, CLATTN_LENGTHS_I64},
    {CLATTN_LENGTHS_I64, CLATTN_LENGTHS_I32},
};

/* The table of relative biases ends within the lengths. */
static const struct {
    bool alibi;
    int64_t relative_extent;
    bool by_batch; /* the slopes */
} biases[] = {{false, 0, false}, {true, 0, false}, {false, 3, false}, {true, 20, true}};

static const struct {
    float scale;
    bool set;
} scales[] = {{0.0F, false}, {0.3F, false}, {-0.2F, false}, {0.0F, true}};
static const float softcaps[] = {0.0F, 2.5F, 30.0F};

static const float dropouts[] = {0.0F, 0.3F};

/* Any two gradients are wanted together, and one without the other. */
static const unsigned gradient_sets[] = {
    CASE_ALL_GRADIENTS,
    CASE_D_QUERY | CASE_D_MASK | CASE_D_ALIBI_SLOPES,
    CASE_D_KEY | CASE_D_SINKS | CASE_D_RELATIVE_BIAS,
    CASE_D_VALUE | CASE_D_MASK | CASE_D_SINKS | CASE_D_RELATIVE_BIAS,
    CASE_D_KEY | CASE_D_VALUE | CASE_D_ALIBI_SLOPES,
};

static const char *const layout_names[] = {"dense", "bshd", "packed", "padded", "one-head", "one-batch", "hsbd"};
static const char *const place_names[] = {"aligned", "odd", "tight"};
static const char *const run_names[] = {"full", "short-q", "short-k", "short"};
static const char *const input_names[] = {"unit", "large", "peaked", "biased", "tiny", "poison"};

const char *const case_axis_names[NUM_AXES] = {
    "types",   "q_len",  "kv_len", "head_dim", "value_dim", "heads",      "band", "mask",   "lengths",
    "storage", "ragged", "bias",   "sinks",    "scale",     "softcap",    "lse",  "scores", "layout",
    "place",   "run",    "input",  "dropout",  "gradients", "accumulate", "d_lse"};

#define COUNT(array) ((unsigned char)(sizeof(array) / sizeof *(array)))

static const unsigned char num_values[NUM_AXES] = {COUNT(types),
                                                   COUNT(q_lens),
                                                   COUNT(kv_lens),
                                                   COUNT(head_dims),
                                                   COUNT(value_dims),
                                                   COUNT(heads),
                                                   COUNT(bands),
                                                   NUM_FORWARD_MASKS,
                                                   CLATTN_LENGTHS_I64 + 1,
                                                   COUNT(storages),
                                                   COUNT(raggeds),
                                                   COUNT(biases),
                                                   2,
                                                   COUNT(scales),
                                                   COUNT(softcaps),
                                                   2,
                                                   CLATTN_SCORES_WEIGHTS + 1,
                                                   NUM_LAYOUTS,
                                                   NUM_PLACES,
                                                   NUM_RUNS,
                                                   NUM_INPUTS,
                                                   1,
                                                   1,
                                                   1,
                                                   1};

/* Of these axes small cases take the first values only: lengths up to 17, dims up to 21. */
static const unsigned char num_small[NUM_AXES] = {
    [AXIS_Q_LEN] = 3, [AXIS_KV_LEN] = 3, [AXIS_HEAD_DIM] = 3, [AXIS_VALUE_DIM] = 2};

/* Types are put in place of each %s. Lengths beyond one tile of any variant. */
static const char *const wide_problems[] = {
    "b1h4q130k200d64:%s:lse",
    "b1h2q300k520d128:%s:causal",
    "b2h4g2q100k333d512v72:%s:mask=add",
    "b1h3q257k257d40:%s:window=50,20@bottom-right:scores=weights",
    "b1h8g1q16k1000d64:%s:softcap=15",
};

#define NUM_WIDE_TYPES 4
#define NUM_WIDE       (sizeof wide_problems / sizeof *wide_problems)

/* Few queries over many keys, one type each in turn. */
static const char *const decode_problems[] = {
    "b4h16g1q1k1500d20:%s:lse",
    "b4h32g4q1k3000d64:%s:causal:lengths:paged=16",
    "b1h32g8q1k5000d128:%s:lse",
    "b4h16g2q4k900d64:%s:causal:lse:ragged=qkv:sinks",
    "b4h16g2q1k777d64:%s:causal:lengths",
    "b2h8q16k1000d64:%s:causal",
    "b3h24g8q3k300d80:%s:window=100,0@bottom-right:lengths:lse:sinks",
    "b2h32g4q1k1d128:%s:lengths",
    "b2h32g4q1k2050d128v64:%s:mask=bool:lengths",
    "b4h8g1q1k1024d128:%s:causal:lengths:circular:sinks",
    "b2h8g4q5k600d72:%s:causal:lse:paged=64x25",
    "b1h64g8q1k4097d128:%s:lengths:alibi@bottom-right",
    "b2h8g1q7k65d512:%s:mask=add:relative=16@top-left",
};

#define NUM_DECODE       (sizeof decode_problems / sizeof *decode_problems)
#define NUM_QUICK_DECODE 2

int case_axis_values(enum case_axis axis)
{
    return num_values[axis];
}

int case_backward_values(enum case_axis axis)
{
    switch (axis) {
    case AXIS_MASK:
        return COUNT(masks);
    case AXIS_STORAGE:
    case AXIS_LSE:
    case AXIS_SCORES:
        return 1;
    case AXIS_DROPOUT:
        return COUNT(dropouts);
    case AXIS_GRADIENTS:
        return COUNT(gradient_sets);
    case AXIS_ACCUMULATE:
    case AXIS_D_LSE:
        return 2;
    default:
        return num_values[axis];
    }
}

/* ---- random numbers ------------------------------------------------------------------------------------------- */

uint64_t case_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double case_normal(uint64_t *state)
{
    double radius = ((double)(case_random(state) >> 11) + 1.0) * 0x1p-53;
    double angle = (double)(case_random(state) >> 11) * 0x1p-53 * 6.283185307179586;

    return sqrt(-2.0 * log(radius)) * cos(angle);
}

/* ---- which pairs there are ------------------------------------------------------------------------------------ */

/* One order of the two axes; the other is legal where this one is. */
static bool is_legal(int a, int va, int b, int vb)
{
    bool banned = false;

    if (a == AXIS_RAGGED && raggeds[va].query != CLATTN_LENGTHS_NONE)
        banned = (b == AXIS_SCORES && vb != CLATTN_SCORES_NONE) ||
                 (b == AXIS_LAYOUT && vb == LAYOUT_PACKED && raggeds[va].key == CLATTN_LENGTHS_NONE);
    if (a == AXIS_RAGGED && raggeds[va].key != CLATTN_LENGTHS_NONE)
        banned = banned || (b == AXIS_STORAGE && vb != 0) || (b == AXIS_LENGTHS && vb != CLATTN_LENGTHS_NONE) ||
                 (b == AXIS_LAYOUT && vb == LAYOUT_PACKED && raggeds[va].query == CLATTN_LENGTHS_NONE);
    if (a == AXIS_STORAGE && storages[va].kind == CLATTN_STORAGE_CIRCULAR)
        banned = (b == AXIS_LENGTHS && vb == CLATTN_LENGTHS_NONE) ||
                 (b == AXIS_RUN && (vb == RUN_SHORT_KEY || vb == RUN_SHORT_BOTH));
    if (a == AXIS_STORAGE && storages[va].kind == CLATTN_STORAGE_PAGED)
        banned = b == AXIS_LAYOUT && vb == LAYOUT_PACKED;
    if (a == AXIS_BIAS && va != 0)
        banned = b == AXIS_BAND && bands[vb].alignment == CLATTN_ALIGN_NONE;
    return !banned;
}

bool case_pair_is_legal(enum case_axis a, int value_a, enum case_axis b, int value_b)
{
    return is_legal((int)a, value_a, (int)b, value_b) && is_legal((int)b, value_b, (int)a, value_a);
}

/* ---- which values share a program ------------------------------------------------------------------------------ */

static int mask_class(const struct mask *mask)
{
    return mask->kind == CLATTN_MASK_ADDITIVE ? 8 + (int)mask->dtype : (int)mask->kind;
}

static int band_class(const struct band *band)
{
    return 2 * (band->causal || band->window) + (band->alignment == CLATTN_ALIGN_BOTTOM_RIGHT);
}

/* Of the queries and the heads that share a key/value head, kernels for few rows are told how many there are. */
static int rows_class(int64_t rows)
{
    return rows < 16 ? (int)rows : 0;
}

int case_program_class(enum case_axis axis, int value)
{
    switch (axis) {
    case AXIS_Q_LEN:
        return rows_class(q_lens[value]);
    case AXIS_HEADS:
        return rows_class(heads[value].query / heads[value].key_value);
    case AXIS_BAND:
        return band_class(&bands[value]);
    case AXIS_MASK:
        return mask_class(&masks[value]);
    case AXIS_STORAGE:
        return (int)storages[value].kind;
    case AXIS_BIAS:
        return 2 * (biases[value].relative_extent != 0) + biases[value].alibi;
    case AXIS_SOFTCAP:
        return softcaps[value] != 0.0F;
    case AXIS_SCORES: /* masked ones are computed in any case */
        return value == CLATTN_SCORES_RAW || value == CLATTN_SCORES_SOFTCAP ? value : 0;
    case AXIS_TYPES:
    case AXIS_HEAD_DIM:
    case AXIS_VALUE_DIM:
    case AXIS_LENGTHS:
    case AXIS_RAGGED:
    case AXIS_SINKS:
    case AXIS_LSE:
        return value;
    default:
        return 0; /* what differs at run time only */
    }
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

enum { SMALL_PROGRAMS = 8, NUM_SMALL = 30, NUM_QUICK = 90 };

/* Computed once: the tests that use it have one thread when they do. */
static const struct cover *the_cover(void)
{
    static struct cover cover = {.axes = NUM_FORWARD_AXES, .class_of = case_program_class};
    uint64_t state = 2017;
    unsigned char small[NUM_AXES];

    if (cover.count == 0) {
        for (int a = 0; a < NUM_AXES; ++a)
            small[a] = num_small[a] != 0 ? num_small[a] : num_values[a];
        cover_add_rows(&cover, COVER_PROGRAMS, small, SMALL_PROGRAMS, &state);
        cover_add_rows(&cover, COVER_RUNS, small, NUM_SMALL, &state);
        cover_add_rows(&cover, COVER_VALUES, num_values, NUM_QUICK, &state);
        cover_add_rows(&cover, COVER_RUNS, num_values, NUM_QUICK, &state);
        cover_add_rows(&cover, COVER_PROGRAMS, num_values, COVER_MAX_ROWS, &state);
        cover_add_rows(&cover, COVER_RUNS, num_values, COVER_MAX_ROWS, &state);
        cover_add_rows(&cover, COVER_PAIRS, num_values, COVER_MAX_ROWS, &state);
    }
    return &cover;
}

/* Dims are what most kernels are told when they run, and few rows are like many. */
static int backward_class(enum case_axis axis, int value)
{
    switch (axis) {
    case AXIS_Q_LEN:
    case AXIS_HEADS:
    case AXIS_HEAD_DIM:
    case AXIS_VALUE_DIM:
    case AXIS_SINKS:
        return 0;
    case AXIS_DROPOUT:
    case AXIS_GRADIENTS:
    case AXIS_ACCUMULATE:
        return value;
    default:
        return case_program_class(axis, value);
    }
}

enum { NUM_SMALL_BACKWARD = 20, NUM_QUICK_BACKWARD = 60 };

static const struct cover *the_backward_cover(void)
{
    static struct cover cover = {.axes = NUM_AXES, .class_of = backward_class};
    uint64_t state = 2022;
    unsigned char all[NUM_AXES];
    unsigned char small[NUM_AXES];

    if (cover.count == 0) {
        for (int a = 0; a < NUM_AXES; ++a) {
            all[a] = (unsigned char)case_backward_values((enum case_axis)a);
            small[a] = num_small[a] != 0 ? num_small[a] : all[a];
        }
        cover_add_rows(&cover, COVER_PROGRAMS, small, SMALL_PROGRAMS, &state);
        cover_add_rows(&cover, COVER_RUNS, small, NUM_SMALL_BACKWARD, &state);
        cover_add_rows(&cover, COVER_VALUES, all, NUM_QUICK_BACKWARD, &state);
        cover_add_rows(&cover, COVER_RUNS, all, NUM_QUICK_BACKWARD, &state);
        cover_add_rows(&cover, COVER_PROGRAMS, all, COVER_MAX_ROWS, &state);
        cover_add_rows(&cover, COVER_RUNS, all, COVER_MAX_ROWS, &state);
        cover_add_rows(&cover, COVER_PAIRS, all, COVER_MAX_ROWS, &state);
    }
    return &cover;
}

/* ---- strides -------------------------------------------------------------------------------------------------- */

static void set_strides(clattn_layout *layout, int64_t batch, int64_t head, int64_t row)
{
    layout->strides[0] = batch;
    layout->strides[1] = head;
    layout->strides[2] = row;
    layout->strides[3] = 1;
}

/* Mask and scores have an order of their own: padded, or with one mask for all heads or batches. */
static void lay_out_matrix(clattn_layout *layout, const int64_t extent[4], enum case_layout kind, bool input)
{
    int64_t row = extent[3];
    int64_t head = extent[2] * row;

    if (kind == LAYOUT_PADDED)
        set_strides(layout, extent[1] * (extent[2] * (row + 5) + 2) + 3, extent[2] * (row + 5) + 2, row + 5);
    if (kind == LAYOUT_BROADCAST_HEADS && input)
        set_strides(layout, head, 0, row);
    if (kind == LAYOUT_BROADCAST_BATCH && input)
        set_strides(layout, 0, head, row);
    if (kind == LAYOUT_HSBD)
        set_strides(layout, row, extent[0] * row * extent[2], extent[0] * row);
}

static void lay_out_tensor(clattn_layout *layout, const int64_t extent[4], enum case_layout kind, bool shared_heads,
                           bool input)
{
    int64_t batch = extent[0];
    int64_t num_heads = extent[1];
    int64_t length = extent[2];
    int64_t dim = extent[3];

    if (kind == LAYOUT_BSHD || (kind == LAYOUT_PACKED && !input))
        set_strides(layout, length * num_heads * dim, dim, num_heads * dim);
    if (kind == LAYOUT_PADDED)
        set_strides(layout, num_heads * (length * (dim + 3) + 1) + 7, length * (dim + 3) + 1, dim + 3);
    if (kind == LAYOUT_BROADCAST_HEADS && shared_heads)
        set_strides(layout, length * dim, 0, dim);
    if (kind == LAYOUT_BROADCAST_BATCH && input)
        set_strides(layout, 0, length * dim, dim);
    if (kind == LAYOUT_HSBD)
        set_strides(layout, dim, length * batch * dim, batch * dim);
}

static void lay_out(clattn_attention_desc *desc, enum case_layout kind)
{
    clattn_layout *layouts[] = {&desc->query, &desc->key, &desc->value, &desc->output};
    int64_t extent[4];
    int64_t ignored[4];

    for (int t = 0; t < 4; ++t) {
        oracle_tensor_shape(desc, (enum oracle_tensor)t, extent, ignored);
        lay_out_tensor(layouts[t], extent, kind, t == ORACLE_KEY || t == ORACLE_VALUE, t != ORACLE_OUTPUT);
    }
    if (kind == LAYOUT_PACKED) {
        int64_t dim = desc->q_heads * desc->head_dim + desc->kv_heads * (desc->head_dim + oracle_value_dim(desc));
        int64_t rows = desc->q_cu_lengths != CLATTN_LENGTHS_NONE ? desc->q_total : desc->q_len;
        int64_t keys = desc->kv_cu_lengths != CLATTN_LENGTHS_NONE ? desc->kv_total : desc->kv_len;
        int64_t length = rows > keys ? rows : keys;
        set_strides(&desc->query, length * dim, desc->head_dim, dim);
        set_strides(&desc->key, length * dim, desc->head_dim, dim);
        set_strides(&desc->value, length * dim, oracle_value_dim(desc), dim);
    }
    if (oracle_tensor_shape(desc, ORACLE_MASK, extent, ignored))
        lay_out_matrix(&desc->mask, extent, kind, true);
    if (oracle_tensor_shape(desc, ORACLE_SCORES, extent, ignored))
        lay_out_matrix(&desc->scores, extent, kind, false);
}

/* ---- a case --------------------------------------------------------------------------------------------------- */

static void set_mask(clattn_attention_desc *desc, const struct mask *mask)
{
    const char letters[] = "BHQK";
    const int64_t full[4] = {desc->batch, desc->q_heads, desc->q_len, desc->kv_len};

    desc->mask_kind = mask->kind;
    desc->mask.dtype = mask->dtype;
    if (mask->kind == CLATTN_MASK_NONE || strcmp(mask->shape, letters) == 0)
        return;
    for (int d = 0; d < 4; ++d)
        desc->mask_shape[d] = mask->shape[d] == letters[d] ? full[d] : 1;
    if (mask->shape[3] == 'S' && desc->kv_len > 2)
        desc->mask_shape[3] = 2 + (desc->kv_len - 2) / 2;
    if (mask->shape[3] == 'S') /* with lengths it may be short unasked */
        desc->mask_pad = mask->kind == CLATTN_MASK_BOOL ||
                         (desc->kv_lengths == CLATTN_LENGTHS_NONE && desc->kv_cu_lengths == CLATTN_LENGTHS_NONE);
}

static void set_desc(struct test_case *c)
{
    clattn_attention_desc *desc = &c->desc;
    const unsigned char *axes = c->axes;
    const struct types *type = &types[axes[AXIS_TYPES]];
    const struct band *band = &bands[axes[AXIS_BAND]];
    const struct storage *storage = &storages[axes[AXIS_STORAGE]];

    clattn_attention_desc_init(desc);
    desc->batch = heads[axes[AXIS_HEADS]].batch;
    desc->q_heads = heads[axes[AXIS_HEADS]].query;
    desc->kv_heads = heads[axes[AXIS_HEADS]].key_value;
    desc->q_len = q_lens[axes[AXIS_Q_LEN]];
    desc->kv_len = kv_lens[axes[AXIS_KV_LEN]];
    desc->head_dim = head_dims[axes[AXIS_HEAD_DIM]];
    desc->value_dim = value_dims[axes[AXIS_VALUE_DIM]];
    desc->query.dtype = type->query;
    desc->key.dtype = type->key;
    desc->value.dtype = type->value;
    desc->output.dtype = type->output;
    desc->scale = scales[axes[AXIS_SCALE]].scale;
    desc->scale_set = scales[axes[AXIS_SCALE]].set;
    desc->softcap = softcaps[axes[AXIS_SOFTCAP]];
    desc->alignment = band->alignment;
    desc->offset = band->offset;
    desc->causal = band->causal;
    desc->window = band->window;
    desc->window_left = band->left;
    desc->window_right = band->right;
    desc->window_shift = band->shift;
    desc->kv_lengths = (clattn_lengths)axes[AXIS_LENGTHS];
    desc->lse = axes[AXIS_LSE];
    desc->scores_stage = (clattn_scores_stage)axes[AXIS_SCORES];
    desc->kv_storage = storage->kind;
    if (storage->kind == CLATTN_STORAGE_PAGED) {
        int64_t blocks = (desc->kv_len + storage->page_size - 1) / storage->page_size;
        desc->page_size = storage->page_size;
        desc->num_blocks = desc->batch * blocks + storage->spare_blocks;
        desc->block_table_stride = storage->spare_entries != 0 ? blocks + storage->spare_entries : 0;
    }
    desc->q_cu_lengths = raggeds[axes[AXIS_RAGGED]].query;
    desc->kv_cu_lengths = raggeds[axes[AXIS_RAGGED]].key;
    desc->alibi = biases[axes[AXIS_BIAS]].alibi;
    desc->alibi_batch = biases[axes[AXIS_BIAS]].by_batch ? desc->batch : 0;
    desc->relative_extent = biases[axes[AXIS_BIAS]].relative_extent;
    desc->sinks = axes[AXIS_SINKS];
    set_mask(desc, &masks[axes[AXIS_MASK]]);
}

/*
 * Sequences of up to `length` rows, one of them empty and one longer, which is cut. Cumulative lengths begin at 0, 1 or
 * 2; the last sequence ends one row after the total, at it or before it.
 */
static struct case_rows make_rows(uint64_t seed, int64_t batch, int64_t length)
{
    const int64_t choices[] = {length, length / 2 + 1, 0, length + 2, 1, (length + 2) / 3};
    struct case_rows rows = {.first = (int64_t)(seed % 3)};

    rows.total = rows.first;
    for (int b = 0; b < CASE_MAX_BATCH; ++b) {
        rows.length[b] = choices[(seed + (uint64_t)b) % (sizeof choices / sizeof *choices)];
        rows.total += b < batch ? rows.length[b] : 0;
    }
    rows.total += (int64_t)(seed / 3 % 4) - 1;
    if (rows.total < 1)
        rows.total = 1;
    return rows;
}

/*
 * The lengths of the run and of its batches: full, none, some, and two that are to be clamped, unless what they count
 * is the keys that ever went around a circle.
 */
static void set_run(struct test_case *c, enum case_run run)
{
    bool short_query = run == RUN_SHORT_QUERY || run == RUN_SHORT_BOTH;
    bool short_key = run == RUN_SHORT_KEY || run == RUN_SHORT_BOTH;
    clattn_attention_desc *desc = &c->desc;

    c->q_len = short_query ? (desc->q_len * 2 + 2) / 3 : desc->q_len;
    c->kv_len = short_key ? (desc->kv_len * 3 + 3) / 5 : desc->kv_len;
    c->offset = run == RUN_SHORT_BOTH ? desc->offset + 2 : desc->offset;
    const int64_t choices[] = {c->kv_len / 2 + 1, c->kv_len, 0, c->kv_len + 7, c->kv_len - 1, -4};
    const int64_t written[] = {c->kv_len / 2 + 1, c->kv_len, c->kv_len * 3 + 2, c->kv_len + 1, INT32_MAX, 0};
    for (int b = 0; b < CASE_MAX_BATCH; ++b) {
        uint64_t choice = (c->seed + (uint64_t)b) % (sizeof choices / sizeof *choices);
        c->lengths[b] = desc->kv_storage == CLATTN_STORAGE_CIRCULAR ? written[choice] : choices[choice];
    }
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE) {
        c->q_rows = make_rows(c->seed, desc->batch, c->q_len);
        desc->q_total = c->q_rows.total + (short_query ? 4 : 0);
    }
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE) {
        c->kv_rows = make_rows(c->seed + 1, desc->batch, c->kv_len);
        desc->kv_total = c->kv_rows.total + (short_key ? 3 : 0);
    }
}

static void name_rows(char text[80], const char *which, clattn_lengths type, const struct case_rows *rows,
                      int64_t batch)
{
    size_t length = 0;

    text[0] = '\0';
    if (type == CLATTN_LENGTHS_NONE)
        return;
    length += (size_t)snprintf(text, 80, " %s[%" PRId64 "+", which, rows->first);
    for (int64_t b = 0; b < batch && b < CASE_MAX_BATCH; ++b)
        length += (size_t)snprintf(text + length, 80 - length, "%s%" PRId64, b > 0 ? "," : "", rows->length[b]);
    snprintf(text + length, 80 - length, " of %" PRId64 "]", rows->total);
}

static void name_case(struct test_case *c, const char *group, size_t number)
{
    const char *share = c->quick ? "quick" : "more";
    char problem[220];
    char shape[48] = "";
    char rows[2][80];
    const int64_t *extent = c->desc.mask_shape;

    clattn_attention_desc_format(&c->desc, problem, sizeof problem);
    if (c->desc.mask_kind != CLATTN_MASK_NONE && extent[0] != 0)
        snprintf(shape, sizeof shape, " mask[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", extent[0], extent[1],
                 extent[2], extent[3]);
    name_rows(rows[0], "q", c->desc.q_cu_lengths, &c->q_rows, c->desc.batch);
    name_rows(rows[1], "k", c->desc.kv_cu_lengths, &c->kv_rows, c->desc.batch);
    snprintf(c->name, sizeof c->name, "%s/%s/%03zu %s%s %s %s %s q%" PRId64 "k%" PRId64 "%s%s %s", share, group, number,
             problem, shape, layout_names[c->layout], place_names[c->place], run_names[c->axes[AXIS_RUN]], c->q_len,
             c->kv_len, rows[0], rows[1], input_names[c->input]);
}

bool case_from_problem(const char *problem, struct test_case *c)
{
    memset(c, 0, sizeof *c);
    clattn_attention_desc_init(&c->desc);
    if (clattn_attention_desc_parse(problem, &c->desc, NULL) != CLATTN_SUCCESS)
        return false;
    c->types = "";
    c->q_len = c->desc.q_len;
    c->kv_len = c->desc.kv_len;
    c->offset = c->desc.offset;
    c->q_rows.total = c->desc.q_total;
    c->kv_rows.total = c->desc.kv_total;
    for (int b = 0; b < CASE_MAX_BATCH; ++b) {
        c->lengths[b] = c->kv_rows.length[b] = c->kv_len;
        c->q_rows.length[b] = c->q_len;
    }
    snprintf(c->name, sizeof c->name, "%s", problem);
    return true;
}

/*
 * Case `number` of the wide ones: each of the first problems in four types, then those of decoding. Quick are the first
 * problems, in another type each, and of decoding one that shares programs with other tests and one of pages.
 */
static bool get_wide(size_t number, struct test_case *c)
{
    char problem[160];
    bool decode = number >= NUM_WIDE * NUM_WIDE_TYPES;
    size_t of_kind = decode ? number - NUM_WIDE * NUM_WIDE_TYPES : number / NUM_WIDE_TYPES;
    const char *format = decode ? decode_problems[of_kind] : wide_problems[of_kind];
    const char *type = types[number % NUM_WIDE_TYPES].name;
    const char *at = strstr(format, "%s");

    snprintf(problem, sizeof problem, "%.*s%s%s", (int)(at - format), format, type, at + 2);
    if (!case_from_problem(problem, c))
        return false;
    c->types = type;
    c->seed = number;
    c->program = the_cover()->programs + number;
    c->quick = decode ? of_kind < NUM_QUICK_DECODE : of_kind % NUM_WIDE_TYPES == number % NUM_WIDE_TYPES;
    for (int b = 0; b < CASE_MAX_BATCH && decode; ++b) { /* all, none, some, and more than there is room for */
        const int64_t quarters[] = {4, 0, 2, 5};
        c->lengths[b] = c->kv_len * quarters[b] / 4;
        c->kv_rows.length[b] = c->kv_len * (4 - b) / 4;
        c->q_rows.length[b] = c->q_len * (4 - b) / 4;
    }
    name_case(c, "wide", number);
    return true;
}

size_t case_count(size_t *with_axes)
{
    size_t count = the_cover()->count;

    if (with_axes != NULL)
        *with_axes = count;
    return count + NUM_WIDE * NUM_WIDE_TYPES + NUM_DECODE;
}

/* Row `index` of a table, but for what names it. */
static void get_row(const struct cover *cover, size_t index, struct test_case *c)
{
    memset(c, 0, sizeof *c);
    c->seed = index;
    c->program = cover->program[index];
    memcpy(c->axes, cover->rows[index], sizeof c->axes);
    c->types = types[c->axes[AXIS_TYPES]].name;
    c->layout = (enum case_layout)c->axes[AXIS_LAYOUT];
    c->place = (enum case_place)c->axes[AXIS_PLACE];
    c->input = (enum case_input)c->axes[AXIS_INPUT];
    set_desc(c);
    set_run(c, (enum case_run)c->axes[AXIS_RUN]);
    lay_out(&c->desc, c->layout);
}

void case_make_bf16(struct test_case *c)
{
    clattn_attention_desc *desc = &c->desc;

    desc->query.dtype = desc->key.dtype = desc->value.dtype = desc->output.dtype = CLATTN_BF16;
    desc->head_dim -= desc->head_dim > 1 ? desc->head_dim % 2 : 0;
    c->types = "bf16";
}

bool case_get(size_t index, struct test_case *c)
{
    const struct cover *cover = the_cover();

    if (index >= cover->count)
        return get_wide(index - cover->count, c);
    get_row(cover, index, c);
    c->quick = index < NUM_QUICK;
    name_case(c, index < NUM_SMALL ? "small" : "pair", index);
    return true;
}

size_t case_backward_count(void)
{
    return the_backward_cover()->count;
}

void case_backward_get(size_t index, struct test_case *c)
{
    size_t length;

    get_row(the_backward_cover(), index, c);
    c->quick = index < NUM_QUICK_BACKWARD;
    c->desc.lse = 1;
    c->desc.dropout = dropouts[c->axes[AXIS_DROPOUT]];
    c->dropout_seed = 0x123456789abcdefu + index;
    c->dropout_offset = (uint64_t)index << 40;
    c->dropout_batch = (int64_t)(index % 2) * 1000000;
    c->gradients = gradient_sets[c->axes[AXIS_GRADIENTS]];
    c->accumulate = c->axes[AXIS_ACCUMULATE] != 0;
    c->d_lse = c->axes[AXIS_D_LSE] != 0;
    name_case(c, index < NUM_SMALL_BACKWARD ? "small" : "pair", index);
    length = strlen(c->name);
    snprintf(c->name + length, sizeof c->name - length, " gradients=%x%s%s", c->gradients, c->d_lse ? " d_lse" : "",
             c->accumulate ? " accumulate" : "");
}

/* One condition of a filter, of `length` characters. */
static bool matches(const struct test_case *c, size_t index, const char *condition, size_t length)
{
    size_t first;
    size_t last;
    char text[64];
    char rest;

    snprintf(text, sizeof text, "%.*s", (int)length, condition);
    if (sscanf(text, "%zu-%zu%c", &first, &last, &rest) == 2)
        return index >= first && index <= last;
    if (sscanf(text, "%zu/%zu%c", &first, &last, &rest) == 2 && last > 0)
        return c->program % last == first;
    return strstr(c->name, text) != NULL;
}

bool case_matches(const struct test_case *c, size_t index, const char *filter)
{
    for (size_t length; filter != NULL && *filter != '\0'; filter += length + (filter[length] == ' ')) {
        length = strcspn(filter, " ");
        if (length > 0 && !matches(c, index, filter, length))
            return false;
    }
    return true;
}
