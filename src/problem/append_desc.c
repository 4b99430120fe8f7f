/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the append to a key/value cache. */
#include "problem/append.h"
#include "problem/check.h"
#include "util/error.h"
#include "util/struct_size.h"

static const struct cla_operand operands[] = {
    [CLA_KEY] = {"key", CLA_CUT_ROWS, CLA_STRIDED}, /* the new ones */
    [CLA_VALUE] = {"value", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_BLOCK_TABLE] = {"block_table", CLA_CUT_PAGES, CLA_STRIDED},
    [CLA_KEY_CACHE] = {"key_cache", CLA_CUT_KEYS, CLA_STRIDED},
    [CLA_VALUE_CACHE] = {"value_cache", CLA_CUT_KEYS, CLA_STRIDED},
    [CLA_APPEND_POSITIONS] = {"positions", CLA_CUT_NONE, 0},
};
_Static_assert(CLA_NUM_APPEND_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

/* A ring of another size has its keys elsewhere. */
static clattn_status check_lengths(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                   clattn_error *error)
{
    if (problem->semantics.kv_storage != CLATTN_STORAGE_CIRCULAR || lengths->kv_len == problem->kv_len)
        return CLATTN_SUCCESS;
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "capacity is %lld: expected the plan's %lld, that of the ring",
                    (long long)lengths->kv_len, (long long)problem->kv_len);
}

const struct cla_operation cla_append_operation = {
    .name = "append",
    .operands = operands,
    .typed = {CLA_KEY, CLA_VALUE, CLA_KEY_CACHE, CLA_VALUE_CACHE},
    .num_typed = 4,
    .q_len = "length",
    .kv_len = "capacity",
    .format = cla_format_stage,
    .check_lengths = check_lengths,
};

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
    problem->kv_len = desc->capacity;
    problem->head_dim = desc->head_dim;
    return cla_check_heads(problem, "kv_heads", error);
}

static clattn_status set_storage(const clattn_append_desc *desc, struct cla_problem *problem, clattn_error *error)
{
    if ((unsigned)desc->storage > CLATTN_STORAGE_PAGED)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "storage is %d: expected a clattn_storage, 0 to 2",
                        (int)desc->storage);
    problem->semantics.kv_storage = desc->storage;
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
    return cla_set_integers(problem, CLA_APPEND_POSITIONS, desc->positions, desc->batch, error);
}

/* New rows of `columns` elements, and the cache that they go to. */
static clattn_status set_pair(struct cla_problem *problem, int from, const clattn_layout *from_layout, int cache,
                              const clattn_layout *cache_layout, int64_t columns, clattn_error *error)
{
    const bool paged = problem->semantics.kv_storage == CLATTN_STORAGE_PAGED;
    const int64_t new_rows[4] = {problem->batch, problem->kv_heads, problem->q_len, columns};
    const int64_t kept_rows[4] = {paged ? problem->semantics.num_blocks : problem->batch, problem->kv_heads,
                                  paged ? problem->semantics.page_size : problem->kv_len, columns};
    CLA_TRY(cla_set_tensor(problem, from, from_layout, CLA_DTYPES_FLOATING, new_rows, false, error));
    return cla_set_tensor(problem, cache, cache_layout, CLA_DTYPES_FLOATING, kept_rows, true, error);
}

clattn_status cla_problem_from_append(const clattn_append_desc *given, struct cla_problem *problem, clattn_error *error)
{
    clattn_append_desc desc;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_append_desc", error));
    memset(problem, 0, sizeof *problem);
    problem->operation = &cla_append_operation;
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
