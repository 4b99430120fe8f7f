/* SPDX-License-Identifier: Apache-2.0 */
/* What all problems have in common: operands cut to a run, and the problem string. */
#include "problem/problem.h"
#include "util/size.h"
#include <inttypes.h>

bool cla_problem_is_empty(const struct cla_problem *problem, int64_t q_len)
{
    return problem->batch == 0 || problem->q_heads == 0 || (q_len == 0 && !problem->operation->writes_without_queries);
}

/* Rows of keys: those of a pool or of a circular cache are all there whatever the length. */
static int64_t rows_of_keys(const struct cla_problem *problem, int64_t most, const struct cla_lengths *lengths)
{
    if (problem->semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE)
        return lengths->kv_total;
    return problem->semantics.kv_storage == CLATTN_STORAGE_LINEAR ? lengths->kv_len : most;
}

struct cla_tensor cla_problem_cut(const struct cla_problem *problem, int operand, const struct cla_lengths *lengths)
{
    struct cla_tensor tensor = problem->tensor[operand];
    int64_t *extent = tensor.extent;
    switch (problem->operation->operands[operand].cut) {
    case CLA_CUT_NONE:
        break;
    case CLA_CUT_ROWS:
        extent[2] = problem->semantics.q_cu_lengths != CLATTN_LENGTHS_NONE ? lengths->q_total : lengths->q_len;
        break;
    case CLA_CUT_KEYS:
        extent[2] = rows_of_keys(problem, extent[2], lengths);
        break;
    case CLA_CUT_SCORES:
        extent[2] = lengths->q_len;
        extent[3] = lengths->kv_len;
        break;
    case CLA_CUT_MASK: /* what is repeated is read even where the lengths are 0 or 1 */
        if (extent[2] > 1 || lengths->q_len == 0)
            extent[2] = lengths->q_len;
        extent[3] = cla_min(extent[3], lengths->kv_len);
        break;
    case CLA_CUT_SUMMED:
        if (extent[2] > 1)
            extent[2] = lengths->q_len;
        if (extent[3] > 1)
            extent[3] = cla_min(extent[3], lengths->kv_len);
        break;
    case CLA_CUT_PAGES:
        extent[3] = cla_ceil_div(lengths->kv_len, problem->semantics.page_size);
        break;
    case CLA_CUT_REPEATED:
        extent[2] = cla_min(extent[2], lengths->q_len);
        break;
    case CLA_CUT_PARTS:
        extent[0] = lengths->kv_len;
        extent[2] = lengths->q_len;
        break;
    }
    cla_tensor_set_span(&tensor);
    return tensor;
}

size_t cla_problem_string(const struct cla_problem *problem, char *text, size_t size)
{
    struct cla_line line = {text, size, 0};
    if (size > 0)
        text[0] = 0;
    problem->operation->format(problem, &line);
    return line.length;
}

const char *cla_problem_type(const struct cla_problem *problem)
{
    const struct cla_operation *operation = problem->operation;
    for (int i = 0; i < operation->num_typed; i++) {
        if (problem->tensor[operation->typed[i]].present)
            return clattn_dtype_string(problem->tensor[operation->typed[i]].dtype);
    }
    return "f32";
}

void cla_format_sizes(const struct cla_problem *problem, struct cla_line *line)
{
    cla_line_add(line, "b%" PRId64 "h%" PRId64, problem->batch, problem->q_heads);
    if (problem->kv_heads != problem->q_heads)
        cla_line_add(line, "g%" PRId64, problem->kv_heads);
    cla_line_add(line, "q%" PRId64 "k%" PRId64, problem->q_len, problem->kv_len);
    if (problem->head_dim != 0)
        cla_line_add(line, "d%" PRId64, problem->head_dim);
    if (problem->value_dim != 0 && problem->value_dim != problem->head_dim)
        cla_line_add(line, "v%" PRId64, problem->value_dim);
}

/* One type where all agree, else all of them. */
void cla_format_types(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_operation *operation = problem->operation;
    clattn_dtype types[CLA_MAX_TYPED];
    int count = 0;
    bool same = true;
    for (int i = 0; i < operation->num_typed; i++) {
        if (!problem->tensor[operation->typed[i]].present)
            continue;
        types[count] = problem->tensor[operation->typed[i]].dtype;
        same = same && types[count] == types[0];
        count++;
    }
    for (int i = 0; i < (same && count > 0 ? 1 : count); i++)
        cla_line_add(line, "%c%s", i == 0 ? ':' : '-', clattn_dtype_string(types[i]));
}
