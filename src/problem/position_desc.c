/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of rotary embedding and of sinusoidal encoding: every rule of position.h, every default. */
#include "problem/check.h"
#include "problem/position.h"
#include "util/error.h"
#include "util/number.h"
#include "util/struct_size.h"
#include <inttypes.h>
#include <math.h>

static const struct cla_operand operands[] = {
    [CLA_TOKENS_IN] = {"input", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_TOKENS_OUT] = {"output", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_POSITIONS] = {"positions", CLA_CUT_REPEATED, 0},
    [CLA_COS] = {"cos", CLA_CUT_NONE, 0},
    [CLA_SIN] = {"sin", CLA_CUT_NONE, 0},
};
_Static_assert(CLA_NUM_POSITION_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

static void format_base(const struct cla_problem *problem, struct cla_line *line)
{
    if (problem->angles.base != 10000.0) {
        char number[CLA_FLOAT_TEXT];
        cla_line_add(line, ":base=%s", cla_format_float(number, (float)problem->angles.base));
    }
}

static void format_positions(const struct cla_problem *problem, struct cla_line *line)
{
    if (problem->tensor[CLA_POSITIONS].present)
        cla_line_add(line, ":positions");
}

static void format_rotary(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_angles *angles = &problem->angles;
    cla_line_add(line, "rotary b%" PRId64 "h%" PRId64 "l%" PRId64 "d%" PRId64, problem->batch, problem->q_heads,
                 problem->q_len, problem->head_dim);
    if (angles->rotary_dim != problem->head_dim)
        cla_line_add(line, "r%" PRId64, angles->rotary_dim);
    cla_format_types(problem, line);
    if (angles->rotary_pairs == CLATTN_ROTARY_INTERLEAVED)
        cla_line_add(line, ":interleaved");
    if (angles->rotary_backward)
        cla_line_add(line, ":backward");
    if (problem->tensor[CLA_COS].present)
        cla_line_add(line, problem->tensor[CLA_COS].dtype == CLATTN_F32   ? ":tables"
                           : problem->tensor[CLA_COS].dtype == CLATTN_F16 ? ":tables=f16"
                                                                          : ":tables=bf16");
    else
        format_base(problem, line);
    format_positions(problem, line);
}

static void format_sinusoidal(const struct cla_problem *problem, struct cla_line *line)
{
    const struct cla_angles *angles = &problem->angles;
    cla_line_add(line, "sinusoidal b%" PRId64 "l%" PRId64 "w%" PRId64, problem->batch, problem->q_len,
                 problem->head_dim);
    cla_format_types(problem, line);
    if (angles->columns != 0)
        cla_line_add(line, ":grid=%" PRId64 "x%" PRId64, problem->q_len / angles->columns, angles->columns);
    format_base(problem, line);
    if (problem->tensor[CLA_TOKENS_IN].present)
        cla_line_add(line, ":add");
    format_positions(problem, line);
}

/* Where tokens stand at offset + i, far from overflow and, with tables, in these. */
static clattn_status check_lengths(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                   clattn_error *error)
{
    const struct cla_tensor *table = &problem->tensor[CLA_COS];
    if (problem->tensor[CLA_POSITIONS].present)
        return CLATTN_SUCCESS;
    const int64_t least = table->present ? 0 : -CLA_UNBOUNDED / 2;
    const int64_t greatest = table->present ? table->extent[2] - lengths->q_len : CLA_UNBOUNDED / 2;
    if (greatest < 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "length is %lld: expected at most table_length (%lld)",
                        (long long)lengths->q_len, (long long)table->extent[2]);
    if (lengths->offset < least || lengths->offset > greatest)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "offset is %lld: expected %lld to %lld%s",
                        (long long)lengths->offset, (long long)least, (long long)greatest,
                        table->present ? ", table_length less the length" : "");
    return CLATTN_SUCCESS;
}

const struct cla_operation cla_rotary_operation = {
    .name = "rotary",
    .operands = operands,
    .typed = {CLA_TOKENS_IN, CLA_TOKENS_OUT},
    .num_typed = 2,
    .q_len = "length",
    .kv_len = "kv_len",
    .in_place = {.output = CLA_TOKENS_OUT, .input = CLA_TOKENS_IN},
    .format = format_rotary,
    .check_lengths = check_lengths,
};

const struct cla_operation cla_sinusoidal_operation = {
    .name = "sinusoidal",
    .operands = operands,
    .typed = {CLA_TOKENS_IN, CLA_TOKENS_OUT},
    .num_typed = 2,
    .q_len = "length",
    .kv_len = "kv_len",
    .in_place = {.output = CLA_TOKENS_OUT, .input = CLA_TOKENS_IN},
    .format = format_sinusoidal,
    .check_lengths = check_lengths,
};

static clattn_status set_base(double base, struct cla_problem *problem, clattn_error *error)
{
    problem->angles.base = base == 0.0 ? 10000.0 : base;
    if (problem->angles.base >= 1.0 && problem->angles.base <= 1e30)
        return CLATTN_SUCCESS;
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "base is %g: expected 1 to 1e+30", base);
}

/* [batch, length] integers, as [batch, 1, length, 1]. */
static clattn_status set_positions(clattn_lengths positions, struct cla_problem *problem, clattn_error *error)
{
    static const clattn_layout dense = {CLATTN_F32, {0}}; /* integers are no dtype: only the strides are of use */
    const int64_t extent[4] = {problem->batch, 1, problem->q_len, 1};
    if ((unsigned)positions > CLATTN_LENGTHS_I64)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "positions is %d: expected a clattn_lengths, 0 to 2",
                        (int)positions);
    if (positions == CLATTN_LENGTHS_NONE)
        return CLATTN_SUCCESS;
    CLA_TRY(cla_set_tensor(problem, CLA_POSITIONS, &dense, CLA_DTYPES_F32, extent, false, error));
    problem->tensor[CLA_POSITIONS].element_size = positions == CLATTN_LENGTHS_I32 ? 4 : 8;
    return CLATTN_SUCCESS;
}

static clattn_status set_tensor(struct cla_problem *problem, int operand, const clattn_layout *layout,
                                clattn_error *error)
{
    const int64_t extent[4] = {problem->batch, problem->q_heads, problem->q_len, problem->head_dim};
    return cla_set_tensor(problem, operand, layout, CLA_DTYPES_FLOATING, extent, operand == CLA_TOKENS_OUT, error);
}

static clattn_status set_rotary_sizes(const clattn_rotary_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(cla_check_range("batch", desc->batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("heads", desc->heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("length", desc->length, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("head_dim", desc->head_dim, 1, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("rotary_dim", desc->rotary_dim, 0, desc->head_dim, error));
    if (desc->heads * desc->head_dim > INT32_MAX) /* a work-group counts the elements of a token in int */
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "heads is %lld and head_dim is %lld: expected a product of at most %lld",
                        (long long)desc->heads, (long long)desc->head_dim, (long long)INT32_MAX);
    if (desc->rotary_dim % 2 != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "rotary_dim is %lld: expected an even number",
                        (long long)desc->rotary_dim);
    if (desc->rotary_dim == 0 && desc->head_dim % 2 != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "head_dim is %lld: expected an even number, or an even rotary_dim below it",
                        (long long)desc->head_dim);
    problem->batch = desc->batch;
    problem->q_heads = problem->kv_heads = desc->heads;
    problem->q_len = desc->length;
    problem->head_dim = desc->head_dim;
    problem->angles.rotary_dim = desc->rotary_dim == 0 ? desc->head_dim : desc->rotary_dim;
    return cla_check_heads(problem, "heads", error);
}

static clattn_status set_tables(const clattn_rotary_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    const clattn_layout dense = {desc->table, {0}};
    const int64_t own = desc->table_batch > 1 ? desc->table_batch : 1;
    const int64_t extent[4] = {own, 1, desc->table_length, problem->angles.rotary_dim / 2};
    if (desc->table_batch < 0 || (own != 1 && own != desc->batch))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "table_batch is %lld: expected 0, 1 or batch (%lld)",
                        (long long)desc->table_batch, (long long)desc->batch);
    CLA_TRY(cla_check_range("table_length", desc->table_length, 1, CLA_MAX_LENGTH, error));
    if ((unsigned)desc->table > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "table is %d (%s): expected f32, f16 or bf16",
                        (int)desc->table, clattn_dtype_string(desc->table));
    CLA_TRY(cla_set_tensor(problem, CLA_COS, &dense, CLA_DTYPES_FLOATING, extent, false, error));
    return cla_set_tensor(problem, CLA_SIN, &dense, CLA_DTYPES_FLOATING, extent, false, error);
}

clattn_status cla_problem_from_rotary(const clattn_rotary_desc *given, struct cla_problem *problem, clattn_error *error)
{
    clattn_rotary_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_rotary_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_rotary_operation;
    CLA_TRY(set_rotary_sizes(&desc, problem, error));
    if ((unsigned)desc.pairs > CLATTN_ROTARY_INTERLEAVED)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "pairs is %d: expected a clattn_rotary_pairs, 0 or 1",
                        (int)desc.pairs);
    problem->angles.rotary_pairs = desc.pairs;
    problem->angles.rotary_backward = desc.backward != 0;
    CLA_TRY(desc.tables ? set_tables(&desc, problem, error) : set_base(desc.base, problem, error));
    CLA_TRY(set_positions(desc.positions, problem, error));
    CLA_TRY(set_tensor(problem, CLA_TOKENS_IN, &desc.input, error));
    return set_tensor(problem, CLA_TOKENS_OUT, &desc.output, error);
}

/* 0 stands for 1 unless it is meant. */
static clattn_status set_scale(const char *name, double scale, bool meant, double *set, clattn_error *error)
{
    *set = scale != 0.0 ? scale : meant ? 0.0 : 1.0;
    return isfinite(scale)
               ? CLATTN_SUCCESS
               : cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %g: expected a finite number", name, scale);
}

static clattn_status set_grid(const clattn_sinusoidal_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(cla_check_range("rows", desc->rows, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("columns", desc->columns, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(set_scale("row_scale", desc->row_scale, desc->scales_set, &problem->angles.row_scale, error));
    if (desc->columns == 0) {
        if (desc->rows != 0)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "rows is %lld and columns is 0: expected both or neither", (long long)desc->rows);
        return CLATTN_SUCCESS;
    }
    if (desc->length != desc->rows * desc->columns)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "length is %lld: expected rows * columns (%lld)",
                        (long long)desc->length, (long long)(desc->rows * desc->columns));
    if (desc->positions != CLATTN_LENGTHS_NONE)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "positions is %d and columns is %lld: expected no positions in two dimensions",
                        (int)desc->positions, (long long)desc->columns);
    problem->angles.columns = desc->columns;
    return set_scale("column_scale", desc->column_scale, desc->scales_set, &problem->angles.column_scale, error);
}

clattn_status cla_problem_from_sinusoidal(const clattn_sinusoidal_desc *given, struct cla_problem *problem,
                                          clattn_error *error)
{
    clattn_sinusoidal_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_sinusoidal_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_sinusoidal_operation;
    CLA_TRY(cla_check_range("batch", desc.batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("length", desc.length, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("width", desc.width, 1, CLA_MAX_LENGTH, error));
    CLA_TRY(set_grid(&desc, problem, error));
    const int divisor = problem->angles.columns != 0 ? 4 : 2;
    if (desc.width % divisor != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "width is %lld: expected a multiple of %d",
                        (long long)desc.width, divisor);
    problem->batch = desc.batch;
    problem->q_heads = problem->kv_heads = 1;
    problem->q_len = desc.length;
    problem->head_dim = desc.width;
    CLA_TRY(set_base(desc.base, problem, error));
    CLA_TRY(set_positions(desc.positions, problem, error));
    if (desc.add)
        CLA_TRY(set_tensor(problem, CLA_TOKENS_IN, &desc.input, error));
    return set_tensor(problem, CLA_TOKENS_OUT, &desc.output, error);
}
