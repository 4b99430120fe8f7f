/* SPDX-License-Identifier: Apache-2.0 */
/* Implements host_check.h. */
#include "api/host_check.h"
#include "util/error.h"
#include "util/size.h"

int64_t cla_host_integer(const struct cla_problem *problem, int operand, const void *array, int64_t index)
{
    return problem->tensor[operand].element_size == 8 ? ((const int64_t *)array)[index]
                                                      : ((const int32_t *)array)[index];
}

/* Of a batch with `keys` keys, as element `index` of `array` says: the mask covers them, or is to be padded. */
static clattn_status check_covered(const struct cla_problem *problem, int array, int64_t index, int64_t keys,
                                   clattn_error *error)
{
    if (problem->semantics.mask_kind == CLATTN_MASK_NONE || problem->semantics.mask_pad ||
        keys <= problem->semantics.mask_keys)
        return CLATTN_SUCCESS;
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                    "%s[%lld] gives a batch %lld keys: expected at most %lld, those that the mask covers, or mask_pad",
                    cla_operand_name(problem, array), (long long)index, (long long)keys,
                    (long long)problem->semantics.mask_keys);
}

static clattn_status check_lengths(const struct cla_problem *problem, const void *lengths, clattn_error *error)
{
    const bool circular = problem->semantics.kv_storage == CLATTN_STORAGE_CIRCULAR;
    for (int64_t b = 0; b < problem->batch; b++) {
        int64_t length = cla_host_integer(problem, CLA_KV_LENGTHS, lengths, b);
        if (circular && length < 0)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "kv_lengths[%lld] is %lld: expected 0 or more, all keys that were ever written",
                            (long long)b, (long long)length);
        if (!circular && (length < 0 || length > problem->kv_len))
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "kv_lengths[%lld] is %lld: expected 0 to kv_len (%lld)",
                            (long long)b, (long long)length, (long long)problem->kv_len);
        CLA_TRY(check_covered(problem, CLA_KV_LENGTHS, b, cla_min(length, problem->kv_len), error));
    }
    return CLATTN_SUCCESS;
}

/* Cumulative lengths of queries or of keys, `most` rows a sequence, `total` rows in all. */
static clattn_status check_cumulative(const struct cla_problem *problem, int operand, const void *array, int64_t most,
                                      int64_t total, clattn_error *error)
{
    const char *name = cla_operand_name(problem, operand);
    const char *side = operand == CLA_Q_CU_LENGTHS ? "q" : "kv";
    int64_t before = 0;
    for (int64_t b = 0; b <= problem->batch; b++) {
        int64_t end = cla_host_integer(problem, operand, array, b);
        if (end < before)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s[%lld] is %lld: expected at least %lld%s", name,
                            (long long)b, (long long)end, (long long)before, b > 0 ? ", the one before it" : "");
        if (end > total)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s[%lld] is %lld: expected at most %s_total (%lld)",
                            name, (long long)b, (long long)end, side, (long long)total);
        if (b > 0 && end - before > most)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "%s[%lld] is %lld: expected at most %lld, %s_len (%lld) after the one before it", name,
                            (long long)b, (long long)end, (long long)(before + most), side, (long long)most);
        if (b > 0 && operand == CLA_KV_CU_LENGTHS)
            CLA_TRY(check_covered(problem, operand, b, end - before, error));
        before = end;
    }
    return CLATTN_SUCCESS;
}

/* The blocks of keys that a batch has; entries past them may be anything. */
static clattn_status check_block_table(const struct cla_problem *problem, const int32_t *table, const void *lengths,
                                       clattn_error *error)
{
    for (int64_t b = 0; b < problem->batch; b++) {
        int64_t keys = lengths != NULL ? cla_host_integer(problem, CLA_KV_LENGTHS, lengths, b) : problem->kv_len;
        int64_t pages = cla_ceil_div(keys, problem->semantics.page_size);
        for (int64_t page = 0; page < pages; page++) {
            int32_t block = table[b * problem->tensor[CLA_BLOCK_TABLE].stride[0] + page];
            if (block < 0 || block >= problem->semantics.num_blocks)
                return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                                "block_table[%lld][%lld] is %lld: expected 0 to %lld, num_blocks being %lld",
                                (long long)b, (long long)page, (long long)block,
                                (long long)(problem->semantics.num_blocks - 1),
                                (long long)problem->semantics.num_blocks);
        }
    }
    return CLATTN_SUCCESS;
}

clattn_status cla_check_host_integers(const struct cla_problem *problem, const void *const input[CLA_MAX_OPERANDS],
                                      clattn_error *error)
{
    const void *lengths = problem->tensor[CLA_KV_LENGTHS].present ? input[CLA_KV_LENGTHS] : NULL;
    if (lengths != NULL)
        CLA_TRY(check_lengths(problem, lengths, error));
    if (problem->tensor[CLA_Q_CU_LENGTHS].present && input[CLA_Q_CU_LENGTHS] != NULL)
        CLA_TRY(check_cumulative(problem, CLA_Q_CU_LENGTHS, input[CLA_Q_CU_LENGTHS], problem->q_len,
                                 problem->semantics.q_total, error));
    if (problem->tensor[CLA_KV_CU_LENGTHS].present && input[CLA_KV_CU_LENGTHS] != NULL)
        CLA_TRY(check_cumulative(problem, CLA_KV_CU_LENGTHS, input[CLA_KV_CU_LENGTHS], problem->kv_len,
                                 problem->semantics.kv_total, error));
    if (problem->tensor[CLA_BLOCK_TABLE].present && input[CLA_BLOCK_TABLE] != NULL)
        CLA_TRY(check_block_table(problem, input[CLA_BLOCK_TABLE], lengths, error));
    return CLATTN_SUCCESS;
}
