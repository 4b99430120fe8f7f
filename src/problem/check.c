/* SPDX-License-Identifier: Apache-2.0 */
/* The checks that descriptors have in common. */
#include "problem/check.h"
#include "util/error.h"
#include "util/size.h"

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

static clattn_status check_dtype(const char *name, clattn_dtype dtype, unsigned allowed, clattn_error *error)
{
    if ((unsigned)dtype < 32 && (allowed >> dtype & 1) != 0)
        return CLATTN_SUCCESS;
    const char *expected = allowed == CLA_DTYPES_F32 ? "f32" : allowed == CLA_DTYPES_BOOL ? "bool" : "f32, f16 or bf16";
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s.dtype is %d (%s): expected %s", name, (int)dtype,
                    clattn_dtype_string(dtype), expected);
}

clattn_status cla_set_tensor(struct cla_problem *problem, int operand, const clattn_layout *layout, unsigned allowed,
                             const int64_t extent[4], bool written, clattn_error *error)
{
    const char *name = cla_operand_name(problem, operand);
    struct cla_tensor *tensor = &problem->tensor[operand];
    CLA_TRY(check_dtype(name, layout->dtype, allowed, error));
    tensor->present = true;
    tensor->written = written;
    tensor->element_size = (uint8_t)clattn_dtype_size(layout->dtype);
    tensor->dtype = layout->dtype;
    memcpy(tensor->extent, extent, sizeof tensor->extent);
    return cla_tensor_lay_out(tensor, layout->strides, name, error);
}

/* Integers are no dtype: only the extents and strides are of use. */
clattn_status cla_set_integers(struct cla_problem *problem, int operand, clattn_lengths type, int64_t count,
                               clattn_error *error)
{
    static const clattn_layout dense = {CLATTN_F32, {0}};
    const int64_t extent[4] = {count, 1, 1, 1};
    CLA_TRY(cla_set_tensor(problem, operand, &dense, CLA_DTYPES_F32, extent, false, error));
    problem->tensor[operand].element_size = type == CLATTN_LENGTHS_I32 ? 4 : 8;
    return CLATTN_SUCCESS;
}
