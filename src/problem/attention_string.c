/* SPDX-License-Identifier: Apache-2.0 */
/* The problem string of attention.h as it is written, and what it leaves out; attention_parse.c reads it. */
#include "problem/attention.h"
#include "util/number.h"
#include "util/size.h"
#include <inttypes.h>
#include <math.h>

float cla_default_scale(int64_t head_dim)
{
    return (float)(1.0 / sqrt((double)head_dim));
}

int64_t cla_default_blocks(int64_t batch, int64_t kv_len, int64_t page_size)
{
    int64_t blocks;
    if (!cla_mul(batch, cla_ceil_div(kv_len, page_size), &blocks))
        return INT64_MAX;
    return cla_max(blocks, 1);
}

int64_t cla_default_total(int64_t batch, int64_t length)
{
    int64_t total;
    return cla_mul(batch, length, &total) ? total : INT64_MAX;
}

static void add_alignment(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_semantics *semantics = &problem->semantics;
    if (semantics->alignment == CLATTN_ALIGN_TOP_LEFT)
        cla_line_add(line, "@top-left");
    else if (semantics->alignment == CLATTN_ALIGN_BOTTOM_RIGHT)
        cla_line_add(line, "@bottom-right");
    else
        cla_line_add(line, "@%" PRId64, semantics->offset);
}

/* A negative end is written as 0, by the shift that makes it so. */
static void add_band(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_semantics *semantics = &problem->semantics;
    if (!semantics->band)
        return;
    const int64_t shift = semantics->right < 0 ? semantics->right : semantics->left < 0 ? -semantics->left : 0;
    const int64_t left = semantics->left == CLA_UNBOUNDED ? -1 : semantics->left + shift;
    const int64_t right = semantics->right == CLA_UNBOUNDED ? -1 : semantics->right - shift;
    const bool causal = left == -1 && right == 0;
    if (causal)
        cla_line_add(line, ":causal");
    else
        cla_line_add(line, ":window=%" PRId64 ",%" PRId64, left, right);
    if (!causal || semantics->alignment != CLATTN_ALIGN_BOTTOM_RIGHT)
        add_alignment(problem, line);
    if (shift != 0)
        cla_line_add(line, ":shift=%" PRId64, shift);
}

static void add_position_biases(const struct cla_problem *problem, struct cla_line *line)
{
    if (problem->tensor[CLA_ALIBI_SLOPES].present) {
        cla_line_add(line, problem->tensor[CLA_ALIBI_SLOPES].extent[0] == 1 ? ":alibi" : ":alibi=batch");
        add_alignment(problem, line);
    }
    if (problem->tensor[CLA_RELATIVE_BIAS].present) {
        cla_line_add(line, ":relative=%" PRId64, problem->semantics.relative_extent);
        add_alignment(problem, line);
    }
}

/* Where keys and values lie, and which sequences are packed; sizes that are their defaults are left out. */
static void add_storage(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_semantics *semantics = &problem->semantics;
    const bool queries = semantics->q_cu_lengths != CLATTN_LENGTHS_NONE;
    const bool keys = semantics->kv_cu_lengths != CLATTN_LENGTHS_NONE;
    if (semantics->kv_storage == CLATTN_STORAGE_CIRCULAR)
        cla_line_add(line, ":circular");
    if (semantics->kv_storage == CLATTN_STORAGE_PAGED) {
        cla_line_add(line, ":paged=%" PRId64, semantics->page_size);
        if (semantics->num_blocks != cla_default_blocks(problem->batch, problem->kv_len, semantics->page_size))
            cla_line_add(line, "x%" PRId64, semantics->num_blocks);
    }
    if (!queries && !keys)
        return;
    cla_line_add(line, ":ragged=%s%s", queries ? "q" : "", keys ? "kv" : "");
    if ((!queries || semantics->q_total == cla_default_total(problem->batch, problem->q_len)) &&
        (!keys || semantics->kv_total == cla_default_total(problem->batch, problem->kv_len)))
        return;
    if (queries)
        cla_line_add(line, "@%" PRId64, semantics->q_total);
    if (keys)
        cla_line_add(line, "%c%" PRId64, queries ? ',' : '@', semantics->kv_total);
}

/* Its shape where it is not that of the scores. */
static void add_mask(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_semantics *semantics = &problem->semantics;
    const int64_t *shape = problem->tensor[CLA_MASK].extent;
    if (semantics->mask_kind == CLATTN_MASK_NONE)
        return;
    cla_line_add(line, semantics->mask_kind == CLATTN_MASK_BOOL ? ":mask=bool" : ":mask=add");
    if (shape[0] != problem->batch || shape[1] != problem->q_heads || shape[2] != problem->q_len ||
        shape[3] != problem->kv_len)
        cla_line_add(line, "@%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, shape[0], shape[1], shape[2], shape[3]);
    if (problem->semantics.mask_pad)
        cla_line_add(line, ":mask_pad");
}

void cla_format_attention(const struct cla_problem *problem, struct cla_line *line)
{
    static const char *const stages[] = {"", ":scores=raw", ":scores=softcap", ":scores=masked", ":scores=weights"};
    const struct cla_semantics *semantics = &problem->semantics;
    char number[CLA_FLOAT_TEXT];

    cla_format_sizes(problem, line);
    cla_format_types(problem, line);
    add_band(problem, line);
    add_position_biases(problem, line);
    if (semantics->softcap != 0.0f)
        cla_line_add(line, ":softcap=%s", cla_format_float(number, semantics->softcap));
    if (problem->tensor[CLA_QUERY].present && semantics->scale != cla_default_scale(problem->head_dim))
        cla_line_add(line, ":scale=%s", cla_format_float(number, semantics->scale));
    add_mask(problem, line);
    if (semantics->kv_lengths != CLATTN_LENGTHS_NONE)
        cla_line_add(line, ":lengths");
    add_storage(problem, line);
    if (problem->tensor[CLA_SINKS].present)
        cla_line_add(line, ":sinks");
    if (semantics->dropout != 0.0f)
        cla_line_add(line, ":dropout=%s", cla_format_float(number, semantics->dropout));
    if (problem->tensor[CLA_LSE].written) /* read by the backward pass, always */
        cla_line_add(line, ":lse");
    cla_line_add(line, "%s", stages[semantics->scores_stage]);
}

void cla_format_stage(const struct cla_problem *problem, struct cla_line *line)
{
    cla_line_add(line, "%s ", problem->operation->name);
    cla_format_attention(problem, line);
}
