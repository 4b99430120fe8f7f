/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tool's reference of gradients against the tests' oracle of them, which goes the other way through the formulas:
 * what the oracle computes passes, and one element of it that is changed does not.
 */
#include "../../tools/shared/verify.c"
#include "../../tools/shared/verify_backward.c"
#include "cases.h"
#include "oracle_backward.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

const char *const operand_names[NUM_ARRAYS] = {[D_QUERY] = "d_query",
                                               [D_KEY] = "d_key",
                                               [D_VALUE] = "d_value",
                                               [D_MASK] = "d_mask",
                                               [D_SINKS] = "d_sinks",
                                               [D_ALIBI_SLOPES] = "d_alibi_slopes",
                                               [D_RELATIVE_BIAS] = "d_relative_bias"};

void arrays_lengths(const struct arrays *arrays, int64_t batch, int64_t *q_len, int64_t *kv_len)
{
    (void)batch;
    *q_len = arrays->desc.q_len;
    *kv_len = arrays->desc.kv_len;
}

/* `count` floats, normal numbers. */
static void make(struct arrays *arrays, enum operand operand, int64_t count)
{
    uint64_t seed = 100 + (uint64_t)operand;
    float *data = calloc((size_t)count, sizeof *data);
    assert_non_null(data);
    for (int64_t n = 0; n < count; n++)
        data[n] = (float)case_normal(&seed);
    arrays->array[operand].data = data;
    arrays->array[operand].bytes = (size_t)count * sizeof *data;
}

/* Everything that a backward pass reads, in f32 and dense; output and lse by the oracle. */
static void make_inputs(struct arrays *arrays)
{
    const clattn_attention_desc *d = &arrays->desc;
    const int64_t value_dim = oracle_value_dim(d),
                  rows = d->q_heads * (d->q_total > 0 ? d->q_total : d->batch * d->q_len);
    const int64_t keys = d->kv_heads * (d->kv_total > 0 ? d->kv_total : d->batch * d->kv_len);
    static int32_t q_cu[] = {1, 6, 6, 9}, kv_cu[] = {2, 11, 15, 15}, lengths[] = {9, 4, 0};
    int64_t extent[4], strides[4];
    struct oracle_row row;
    make(arrays, QUERY, rows * d->head_dim);
    make(arrays, KEY, keys * d->head_dim);
    make(arrays, VALUE, keys * value_dim);
    if (oracle_tensor_shape(d, ORACLE_MASK, extent, strides)) /* a boolean one has as many bytes and more */
        make(arrays, MASK, extent[0] * extent[1] * extent[2] * extent[3]);
    make(arrays, SINKS, d->q_heads);
    make(arrays, ALIBI_SLOPES, d->q_heads * (d->alibi_batch > 1 ? d->batch : 1));
    make(arrays, RELATIVE_BIAS, d->q_heads * (2 * d->relative_extent + 1));
    make(arrays, D_OUTPUT, rows * value_dim);
    if (arrays->backward.d_lse)
        make(arrays, D_LSE, rows);
    make(arrays, OUTPUT, rows * value_dim);
    make(arrays, LSE, rows);
    arrays->array[Q_CU_LENGTHS].data = q_cu;
    arrays->array[KV_CU_LENGTHS].data = kv_cu;
    arrays->array[KV_LENGTHS].data = lengths;
    const struct oracle_operands operands = verify_operands(arrays);
    assert_true(oracle_row_init(&row, &operands));
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t h = 0; h < d->q_heads; h++)
            for (int64_t i = 0; i < oracle_sequence(&operands, b).q_len; i++) {
                oracle_row_compute(&operands, b, h, i, &row);
                ((float *)arrays->array[LSE].data)[oracle_lse_at(&operands, b, h, i)] = (float)row.lse;
                float *output = arrays->array[OUTPUT].data;
                for (int64_t n = 0; n < value_dim; n++)
                    output[oracle_query_at(&operands, ORACLE_OUTPUT, b, h, i) + n] = (float)row.output[n];
            }
    oracle_row_free(&row);
}

static bool keeps(void *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return oracle_dropout_keeps(operands, b, h, i, j);
}

/* The gradients that are wanted, by the oracle, rounded. */
static void make_gradients(struct arrays *arrays)
{
    struct oracle_operands operands = verify_operands(arrays);
    const struct oracle_dropout dropout = {(double)arrays->desc.dropout, keeps, &operands};
    const clattn_attention_backward_desc *wanted = &arrays->backward;
    struct oracle_gradients gradients;
    struct {
        bool wanted;
        enum operand operand, of;
        double **slot;
    } all[] = {
        {wanted->d_query, D_QUERY, QUERY, &gradients.d_query},
        {wanted->d_key, D_KEY, KEY, &gradients.d_key},
        {wanted->d_value, D_VALUE, VALUE, &gradients.d_value},
        {wanted->d_mask, D_MASK, MASK, &gradients.d_mask},
        {wanted->d_sinks, D_SINKS, SINKS, &gradients.d_sinks},
        {wanted->d_alibi_slopes, D_ALIBI_SLOPES, ALIBI_SLOPES, &gradients.d_alibi_slopes},
        {wanted->d_relative_bias, D_RELATIVE_BIAS, RELATIVE_BIAS, &gradients.d_relative_bias},
    };
    memset(&gradients, 0, sizeof gradients);
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        if (!all[n].wanted)
            continue;
        make(arrays, all[n].operand, (int64_t)(arrays->array[all[n].of].bytes / sizeof(float)));
        *all[n].slot = calloc(arrays->array[all[n].of].bytes / sizeof(float), sizeof(double));
        assert_non_null(*all[n].slot);
    }
    assert_true(oracle_backward(&operands, arrays->array[D_OUTPUT].data, arrays->array[D_LSE].data,
                                arrays->array[OUTPUT].data, dropout.dropout > 0 ? &dropout : NULL, &gradients));
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        float *data = arrays->array[all[n].operand].data;
        for (size_t i = 0; all[n].wanted && i < arrays->array[all[n].operand].bytes / sizeof *data; i++)
            data[i] = (float)(*all[n].slot)[i];
        free(*all[n].slot);
    }
}

static void free_arrays(struct arrays *arrays)
{
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (operand != KV_LENGTHS && operand != Q_CU_LENGTHS && operand != KV_CU_LENGTHS)
            free(arrays->array[operand].data);
}

static struct arrays made(const char *problem)
{
    struct arrays arrays;
    clattn_error error = {.message = ""};
    memset(&arrays, 0, sizeof arrays);
    clattn_attention_desc_init(&arrays.desc);
    clattn_attention_backward_desc_init(&arrays.backward);
    if (clattn_attention_backward_desc_parse(problem, &arrays.desc, &arrays.backward, &error) != CLATTN_SUCCESS)
        fail_msg("%s: %s", problem, error.message);
    arrays.dropout_seed = 5;
    return arrays;
}

static void the_oracle_passes_and_what_is_changed_does_not(void **state)
{
    static const char *const problems[] = {
        "b2h4g2q5k9d8v3:f32:causal:backward",
        "b2h4g2q5k9d8:f32:softcap=1.5:dropout=0.3:scale=-0.7:backward:d_lse",
        "b3h2q5k9d8:f32:lengths:window=3,1@bottom-right:sinks:backward=query,key,value,sinks",
        ("b3h4g1q5k9d8:f32:ragged=qkv:causal:sinks:alibi=batch@bottom-right:relative=2@bottom-right:mask=add@1x4x1x9:"
         "backward=query,key,value,mask,sinks,alibi,relative"),
        "b2h2q5k9d8:f32:mask=add@2x1x5x6:mask_pad:alibi@-3:relative=3@-3:backward=mask,alibi,relative:d_lse",
        "b2h2q5k9d8:f32:mask=add@1x1x5x1:backward=mask:d_lse",
        "b2h2q5k9d8:f32:mask=bool@1x1x5x9:backward=value",
    };
    (void)state;
    for (size_t n = 0; n < sizeof problems / sizeof *problems; n++) {
        struct arrays arrays = made(problems[n]);
        struct verification all, some;
        arrays.backward.attention = &arrays.desc;
        make_inputs(&arrays);
        make_gradients(&arrays);
        assert_int_equal(verify_gradients(&arrays, 1e9, &all), EXIT_DONE);
        if (!all.passed || all.share > 0.5 || all.compared != all.rows || all.rows == 0)
            fail_msg("%s: %g of the bound, %s", problems[n], all.share, all.message);
        assert_int_equal(verify_gradients(&arrays, 1e3, &some), EXIT_DONE);
        assert_true(some.passed && some.compared > 0 && some.compared <= all.compared);
        for (enum operand operand = D_QUERY; operand < NUM_OPERANDS; operand++) {
            float *data = arrays.array[operand].data;
            if (data == NULL)
                continue;
            const size_t last = arrays.array[operand].bytes / sizeof *data - 1;
            size_t at = 0; /* in a sequence, where there are some */
            while (at < last && data[at] == 0.0f)
                at++;
            const float was = data[at];
            data[at] = was + 1e-3f;
            assert_int_equal(verify_gradients(&arrays, 1e9, &some), EXIT_DONE);
            if (some.passed || strstr(some.message, operand_names[operand]) == NULL)
                fail_msg("%s: a wrong %s passes: %s", problems[n], operand_names[operand], some.message);
            data[at] = was;
        }
        free_arrays(&arrays);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_oracle_passes_and_what_is_changed_does_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
