/* SPDX-License-Identifier: Apache-2.0 */
/* Hands the operands to the oracle and its comparison. */
#include "shared/verify.h"
#include "compare.h"
#include <stdio.h>

struct oracle_operands verify_operands(const struct arrays *arrays)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const struct array *array = arrays->array;
    return (struct oracle_operands){
        .desc = desc,
        .q_len = desc->q_len,
        .kv_len = desc->kv_len,
        .offset = desc->offset,
        .query = array[QUERY].data,
        .key = array[KEY].data,
        .value = array[VALUE].data,
        .mask = array[MASK].data,
        .kv_lengths = array[KV_LENGTHS].data,
        .q_total = desc->q_total,
        .kv_total = desc->kv_total,
        .block_table = array[BLOCK_TABLE].data,
        .q_cu_lengths = array[Q_CU_LENGTHS].data,
        .kv_cu_lengths = array[KV_CU_LENGTHS].data,
        .sinks = array[SINKS].data,
        .alibi_slopes = array[ALIBI_SLOPES].data,
        .relative_bias = array[RELATIVE_BIAS].data,
        .dropout_seed = arrays->dropout_seed,
        .dropout_offset = arrays->dropout_offset,
    };
}

enum exit_code verify_outputs(const struct arrays *arrays, bool unit_variance, double most_products,
                              struct verification *verification)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const struct array *array = arrays->array;
    const struct oracle_operands operands = verify_operands(arrays);
    int64_t dims = desc->head_dim + (desc->value_dim > 0 ? desc->value_dim : desc->head_dim);
    double products = (double)desc->kv_len * (double)dims;
    int64_t rows = 0;
    for (int64_t b = 0; b < desc->batch; b++) {
        int64_t queries, keys;
        arrays_lengths(arrays, b, &queries, &keys);
        rows += desc->q_heads * queries;
    }
    /* an odd step: lengths are often powers of two, and every position in them should come up */
    int64_t step = (int64_t)((double)rows * products / most_products);
    step = step < 1 ? 1 : step | 1;
    struct compare_result result = compare_attention(&operands, array[OUTPUT].data, array[LSE].data, array[SCORES].data,
                                                     step, false, !unit_variance, unit_variance);
    if (result.no_memory)
        return fail(EXIT_FAILED, "no memory to verify the outputs");
    *verification = (struct verification){.passed = result.passed,
                                          .error = result.largest_error,
                                          .share = result.worst_share,
                                          .rows = rows,
                                          .compared = result.compared};
    snprintf(verification->message, sizeof verification->message, "%s", result.message);
    return EXIT_DONE;
}
