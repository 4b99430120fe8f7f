/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the append to a key/value cache. */
#include "problem/check.h"
#include "problem/layout.h"
#include "util/error.h"
#include "util/struct_size.h"

static clattn_status set_sizes(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(cla_check_range("batch", desc->batch, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("kv_heads", desc->kv_heads, 0, CLA_MAX_HEADS, error));
    CLA_TRY(cla_check_range("capacity", desc->capacity, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("length", desc->length, 0, CLA_MAX_LENGTH, error));
    if (desc->length > desc->capacity)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "length is %lld: expected at most capacity (%lld)",
                        (long long)desc->length, (long long)desc->capacity);
    CLA_TRY(cla_check_range("head_dim", desc->head_dim, 1, CLA_MAX_LENGTH, error));
    problem->batch = desc->batch;
    problem->q_heads = problem->kv_heads = desc->kv_heads;
    problem->q_len = desc->length;
    problem->kv_len = problem->mask_keys = desc->capacity;
    problem->head_dim = desc->head_dim;
    return cla_check_heads(problem, "kv_heads", error);
}

static clattn_status set_storage(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if ((unsigned)desc->storage > CLATTN_STORAGE_PAGED)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "storage is %d: expected a clattn_storage, 0 to 2",
                        (int)desc->storage);
    problem->kv_storage = desc->storage;
    if (desc->storage != CLATTN_STORAGE_PAGED)
        return CLATTN_SUCCESS;
    return cla_set_pages(problem, desc->page_size, desc->num_blocks, desc->block_table_stride, desc->capacity, error);
}

static clattn_status set_positions(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if ((unsigned)desc->positions > CLATTN_LENGTHS_I64)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "positions is %d: expected a clattn_lengths, 0 to 2",
                        (int)desc->positions);
    if (desc->positions == CLATTN_LENGTHS_NONE)
        return CLATTN_SUCCESS;
    return cla_set_integers(problem, CLA_POSITIONS, desc->positions, desc->batch, error);
}

/* New rows of `columns` elements, and the cache that they go to. */
static clattn_status set_pair(struct cla_problem *problem, enum cla_operand from, const clattn_layout *from_layout,
                              enum cla_operand cache, const clattn_layout *cache_layout, int64_t columns,
                              clattn_error *error)
{
    const bool paged = problem->kv_storage == CLATTN_STORAGE_PAGED;
    const int64_t new_rows[4] = {problem->batch, problem->kv_heads, problem->q_len, columns};
    const int64_t kept_rows[4] = {paged ? problem->num_blocks : problem->batch, problem->kv_heads,
                                  paged ? problem->page_size : problem->kv_len, columns};
    CLA_TRY(cla_check_dtype(from, from_layout->dtype, CLA_DTYPES_FLOATING, error));
    CLA_TRY(cla_tensor_resolve(problem, from, from_layout, new_rows, false, error));
    CLA_TRY(cla_check_dtype(cache, cache_layout->dtype, CLA_DTYPES_FLOATING, error));
    return cla_tensor_resolve(problem, cache, cache_layout, kept_rows, true, error);
}

clattn_status cla_problem_from_append(const clattn_append_desc *given, struct cla_problem *problem, clattn_error *error)
{
    clattn_append_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_append_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = CLA_OP_APPEND;
    CLA_TRY(set_sizes(&desc, problem, error));
    CLA_TRY(set_storage(&desc, problem, error));
    CLA_TRY(set_positions(&desc, problem, error));
    CLA_TRY(set_pair(problem, CLA_KEY, &desc.key, CLA_KEY_CACHE, &desc.key_cache, desc.head_dim, error));
    if (desc.key_only)
        return CLATTN_SUCCESS;
    CLA_TRY(cla_check_range("value_dim", desc.value_dim, 0, CLA_MAX_LENGTH, error));
    problem->value_dim = desc.value_dim == 0 ? desc.head_dim : desc.value_dim;
    return set_pair(problem, CLA_VALUE, &desc.value, CLA_VALUE_CACHE, &desc.value_cache, problem->value_dim, error);
}
