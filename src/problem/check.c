/* SPDX-License-Identifier: Apache-2.0 */
/* The checks that descriptors have in common. */
#include "problem/check.h"
#include "problem/layout.h"
#include "util/error.h"
#include "util/size.h"
#include <math.h>

clattn_status cla_check_range(const char *name, int64_t value, int64_t least, int64_t greatest, clattn_error *error)
{
    if (value < least)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %lld: expected %lld or more", name, (long long)value,
                        (long long)least);
    if (value > greatest)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %lld: expected at most %lld", name, (long long)value,
                        (long long)greatest);
    return CLATTN_SUCCESS;
}

clattn_status cla_check_heads(const struct cla_problem *problem, const char *heads, clattn_error *error)
{
    if (problem->kv_heads == 0 ? problem->q_heads != 0 : problem->q_heads % problem->kv_heads != 0)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "kv_heads is %lld: expected a divisor of %s (%lld)",
                        (long long)problem->kv_heads, heads, (long long)problem->q_heads);
    if (problem->batch * problem->q_heads > CLA_MAX_HEADS)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "batch is %lld and %s is %lld: expected a product of at most %lld", (long long)problem->batch,
                        heads, (long long)problem->q_heads, (long long)CLA_MAX_HEADS);
    return CLATTN_SUCCESS;
}

clattn_status cla_check_dtype(enum cla_operand operand, clattn_dtype dtype, unsigned allowed, clattn_error *error)
{
    if ((unsigned)dtype < 32 && (allowed >> dtype & 1) != 0)
        return CLATTN_SUCCESS;
    const char *expected = allowed == CLA_DTYPES_F32 ? "f32" : allowed == CLA_DTYPES_BOOL ? "bool" : "f32, f16 or bf16";
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s.dtype is %d (%s): expected %s", cla_operand_string(operand),
                    (int)dtype, clattn_dtype_string(dtype), expected);
}

/* Integers are no dtype: only the extents and strides are of use. */
clattn_status cla_set_integers(struct cla_problem *problem, enum cla_operand operand, clattn_lengths type,
                               int64_t count, clattn_error *error)
{
    static const clattn_layout dense = {CLATTN_F32, {0}};
    const int64_t extent[4] = {count, 1, 1, 1};
    CLA_TRY(cla_tensor_resolve(problem, operand, &dense, extent, false, error));
    problem->tensor[operand].element_size = type == CLATTN_LENGTHS_I32 ? 4 : 8;
    return CLATTN_SUCCESS;
}

clattn_status cla_set_pages(struct cla_problem *problem, int64_t page_size, int64_t num_blocks,
                            int64_t block_table_stride, int64_t length, clattn_error *error)
{
    CLA_TRY(cla_check_range("page_size", page_size, 1, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("num_blocks", num_blocks, 1, CLA_MAX_HEADS, error));
    const int64_t extent[4] = {problem->batch, 1, 1, cla_ceil_div(length, page_size)};
    if (block_table_stride != 0)
        CLA_TRY(cla_check_range("block_table_stride", block_table_stride, extent[3], INT64_MAX, error));
    problem->page_size = page_size;
    problem->num_blocks = num_blocks;
    const clattn_layout layout = {CLATTN_F32, {block_table_stride, 0, 0, block_table_stride != 0}};
    return cla_tensor_resolve(problem, CLA_BLOCK_TABLE, &layout, extent, false, error);
}

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
