/* SPDX-License-Identifier: Apache-2.0 */
/* What things are called, and the problem string of attention.h as it is written; problem_parse.c reads it. */
#include "problem/check.h"
#include "util/number.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char *cla_operation_string(enum cla_operation operation)
{
    static const char *const names[] = {
        [CLA_OP_ATTENTION] = "attention", [CLA_OP_SCORES] = "scores",
        [CLA_OP_SOFTMAX] = "softmax",     [CLA_OP_WEIGHTED_SUM] = "weighted_sum",
        [CLA_OP_MERGE] = "merge",         [CLA_OP_APPEND] = "append",
        [CLA_OP_ROTARY] = "rotary",       [CLA_OP_SINUSOIDAL] = "sinusoidal",
        [CLA_OP_LINEAR] = "linear",       [CLA_OP_LAYER] = "layer",
    };
    return names[operation];
}

const char *cla_operand_string(enum cla_operand operand)
{
    static const char *const names[CLA_NUM_OPERANDS] = {
        [CLA_QUERY] = "query",
        [CLA_KEY] = "key",
        [CLA_VALUE] = "value",
        [CLA_OUTPUT] = "output",
        [CLA_MASK] = "mask",
        [CLA_KV_LENGTHS] = "kv_lengths",
        [CLA_LSE] = "lse",
        [CLA_SCORES] = "scores",
        [CLA_WEIGHTS] = "weights",
        [CLA_SINKS] = "sinks",
        [CLA_ALIBI_SLOPES] = "alibi_slopes",
        [CLA_RELATIVE_BIAS] = "relative_bias",
        [CLA_BLOCK_TABLE] = "block_table",
        [CLA_Q_CU_LENGTHS] = "q_cu_lengths",
        [CLA_KV_CU_LENGTHS] = "kv_cu_lengths",
        [CLA_KEY_CACHE] = "key_cache",
        [CLA_VALUE_CACHE] = "value_cache",
        [CLA_POSITIONS] = "positions",
        [CLA_COS] = "cos",
        [CLA_SIN] = "sin",
        [CLA_PARTS] = "parts_output",
        [CLA_PART_LSE] = "part_lse",
        [CLA_INPUT] = "input",
        [CLA_CONTEXT] = "context",
        [CLA_WEIGHT] = "weight",
        [CLA_BIAS] = "bias",
        [CLA_W_Q] = "w_q",
        [CLA_W_K] = "w_k",
        [CLA_W_V] = "w_v",
        [CLA_W_O] = "w_o",
        [CLA_W_QKV] = "w_qkv",
        [CLA_B_Q] = "b_q",
        [CLA_B_K] = "b_k",
        [CLA_B_V] = "b_v",
        [CLA_B_O] = "b_o",
        [CLA_B_QKV] = "b_qkv",
    };
    return names[operand];
}

/* Text as snprintf leaves it: cut at `size`, 0-terminated if that is not 0, `length` counting all of it. */
struct line {
    char *text;
    size_t size;
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    bool room = line->length < line->size;
    va_start(arguments, format);
    int length =
        vsnprintf(room ? line->text + line->length : NULL, room ? line->size - line->length : 0, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->length += (size_t)length;
}

/* Sizes of the operations on tokens, which have no keys. */
static void add_token_sizes(struct line *line, const struct cla_problem *problem)
{
    if (problem->operation == CLA_OP_SINUSOIDAL) {
        add(line, "b%" PRId64 "l%" PRId64 "w%" PRId64, problem->batch, problem->q_len, problem->head_dim);
        return;
    }
    add(line, "b%" PRId64 "h%" PRId64 "l%" PRId64 "d%" PRId64, problem->batch, problem->q_heads, problem->q_len,
        problem->head_dim);
    if (problem->rotary_dim != problem->head_dim)
        add(line, "r%" PRId64, problem->rotary_dim);
}

static void add_angles(struct line *line, const struct cla_problem *problem)
{
    char number[CLA_FLOAT_TEXT];
    if (problem->rotary_pairs == CLATTN_ROTARY_INTERLEAVED)
        add(line, ":interleaved");
    if (problem->columns != 0)
        add(line, ":grid=%" PRId64 "x%" PRId64, problem->q_len / problem->columns, problem->columns);
    if (problem->tensor[CLA_COS].present)
        add(line, ":tables");
    else if (problem->angle_base != 10000.0)
        add(line, ":base=%s", cla_format_float(number, (float)problem->angle_base));
    if (problem->operation == CLA_OP_SINUSOIDAL && problem->tensor[CLA_INPUT].present)
        add(line, ":add");
    if (problem->tensor[CLA_POSITIONS].present)
        add(line, ":positions");
}

static void add_sizes(struct line *line, const struct cla_problem *problem)
{
    if (problem->operation == CLA_OP_LINEAR) {
        add(line, "b%" PRId64 "l%" PRId64 "i%" PRId64 "o%" PRId64, problem->batch, problem->q_len, problem->head_dim,
            problem->value_dim);
        return;
    }
    add(line, "b%" PRId64 "h%" PRId64, problem->batch, problem->q_heads);
    if (problem->kv_heads != problem->q_heads)
        add(line, "g%" PRId64, problem->kv_heads);
    add(line, "q%" PRId64 "k%" PRId64, problem->q_len, problem->kv_len);
    if (problem->head_dim != 0)
        add(line, "d%" PRId64, problem->head_dim);
    if (problem->value_dim != 0 && problem->value_dim != problem->head_dim)
        add(line, "v%" PRId64, problem->value_dim);
}

/* Of the operands that have a choice: one type where they agree, else all of them in this order. */
static void add_types(struct line *line, const struct cla_problem *problem)
{
    static const enum cla_operand order[] = {CLA_QUERY, CLA_KEY,   CLA_VALUE,  CLA_KEY_CACHE, CLA_VALUE_CACHE,
                                             CLA_PARTS, CLA_INPUT, CLA_WEIGHT, CLA_BIAS,      CLA_OUTPUT};
    clattn_dtype types[sizeof order / sizeof *order];
    int count = 0;
    bool same = true;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (!problem->tensor[order[i]].present)
            continue;
        types[count] = problem->tensor[order[i]].dtype;
        same = same && types[count] == types[0];
        count++;
    }
    for (int i = 0; i < (same && count > 0 ? 1 : count); i++)
        add(line, "%c%s", i == 0 ? ':' : '-', clattn_dtype_string(types[i]));
}

static void add_alignment(struct line *line, const struct cla_problem *problem)
{
    if (problem->alignment == CLATTN_ALIGN_TOP_LEFT)
        add(line, "@top-left");
    else if (problem->alignment == CLATTN_ALIGN_BOTTOM_RIGHT)
        add(line, "@bottom-right");
    else
        add(line, "@%" PRId64, problem->offset);
}

static void add_band(struct line *line, const struct cla_problem *problem)
{
    if (!problem->band)
        return;
    if (problem->left == CLA_UNBOUNDED && problem->right == 0) {
        add(line, ":causal");
        if (problem->alignment != CLATTN_ALIGN_BOTTOM_RIGHT)
            add_alignment(line, problem);
        return;
    }
    add(line, ":window=%" PRId64 ",%" PRId64, problem->left == CLA_UNBOUNDED ? -1 : problem->left,
        problem->right == CLA_UNBOUNDED ? -1 : problem->right);
    add_alignment(line, problem);
}

static void add_position_biases(struct line *line, const struct cla_problem *problem)
{
    if (problem->tensor[CLA_ALIBI_SLOPES].present) {
        add(line, ":alibi");
        add_alignment(line, problem);
    }
    if (problem->tensor[CLA_RELATIVE_BIAS].present) {
        add(line, ":relative=%" PRId64, problem->relative_extent);
        add_alignment(line, problem);
    }
}

/* Where keys and values lie, and which sequences are packed; sizes that are their defaults are left out. */
static void add_storage(struct line *line, const struct cla_problem *problem)
{
    const bool queries = problem->q_cu_lengths != CLATTN_LENGTHS_NONE;
    const bool keys = problem->kv_cu_lengths != CLATTN_LENGTHS_NONE;
    if (problem->kv_storage == CLATTN_STORAGE_CIRCULAR)
        add(line, ":circular");
    if (problem->kv_storage == CLATTN_STORAGE_PAGED) {
        add(line, ":paged=%" PRId64, problem->page_size);
        if (problem->num_blocks != cla_default_blocks(problem->batch, problem->kv_len, problem->page_size))
            add(line, "x%" PRId64, problem->num_blocks);
    }
    if (!queries && !keys)
        return;
    add(line, ":ragged=%s%s", queries ? "q" : "", keys ? "kv" : "");
    if ((!queries || problem->q_total == cla_default_total(problem->batch, problem->q_len)) &&
        (!keys || problem->kv_total == cla_default_total(problem->batch, problem->kv_len)))
        return;
    if (queries)
        add(line, "@%" PRId64, problem->q_total);
    if (keys)
        add(line, "%c%" PRId64, queries ? ',' : '@', problem->kv_total);
}

/* Its shape where it is not that of the scores. */
static void add_mask(struct line *line, const struct cla_problem *problem)
{
    const int64_t *shape = problem->tensor[CLA_MASK].extent;
    if (problem->mask_kind == CLATTN_MASK_NONE)
        return;
    add(line, problem->mask_kind == CLATTN_MASK_BOOL ? ":mask=bool" : ":mask=add");
    if (shape[0] != problem->batch || shape[1] != problem->q_heads || shape[2] != problem->q_len ||
        shape[3] != problem->kv_len)
        add(line, "@%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, shape[0], shape[1], shape[2], shape[3]);
    if (problem->mask_pad)
        add(line, ":mask_pad");
}

size_t cla_problem_string(const struct cla_problem *problem, char *text, size_t size)
{
    static const char *const stages[] = {"", ":scores=raw", ":scores=softcap", ":scores=masked", ":scores=weights"};
    struct line line = {text, size, 0};
    char number[CLA_FLOAT_TEXT];

    if (size > 0)
        text[0] = 0;
    if (problem->operation != CLA_OP_ATTENTION)
        add(&line, "%s ", cla_operation_string(problem->operation));
    if (problem->operation == CLA_OP_ROTARY || problem->operation == CLA_OP_SINUSOIDAL) {
        add_token_sizes(&line, problem);
        add_types(&line, problem);
        add_angles(&line, problem);
        return line.length;
    }
    add_sizes(&line, problem);
    add_types(&line, problem);
    if (problem->tensor[CLA_BIAS].present)
        add(&line, ":bias");
    add_band(&line, problem);
    add_position_biases(&line, problem);
    if (problem->softcap != 0.0f)
        add(&line, ":softcap=%s", cla_format_float(number, problem->softcap));
    if (problem->scale != 0.0f && problem->scale != cla_default_scale(problem->head_dim))
        add(&line, ":scale=%s", cla_format_float(number, problem->scale));
    add_mask(&line, problem);
    if (problem->kv_lengths != CLATTN_LENGTHS_NONE)
        add(&line, ":lengths");
    add_storage(&line, problem);
    if (problem->tensor[CLA_SINKS].present)
        add(&line, ":sinks");
    if (problem->tensor[CLA_LSE].present)
        add(&line, ":lse");
    add(&line, "%s", stages[problem->scores_stage]);
    return line.length;
}

size_t clattn_attention_desc_format(const clattn_attention_desc *desc, char *text, size_t size)
{
    struct cla_problem problem;
    if (cla_problem_from_attention(desc, &problem, NULL) == CLATTN_SUCCESS)
        return cla_problem_string(&problem, text, size);
    if (size > 0)
        text[0] = 0;
    return 0;
}
