/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backward pass of attention on its table of cases (cases.h): the forward, then the gradients, within the bounds of
 * backward.h of the oracle's. Gaps between rows of the gradients follow from a case's number, their types from those of
 * its tensors. NaN fills rows of d_output of queries that see nothing.
 *
 *   CLATTN_CASES     the cases to run, as test_attention has it
 *   CLATTN_VARIANT   a variant to run alone; "auto": the one that is best for the device, whichever that is
 */
#include "harness.h"
#include "oracle_backward.h"
#include "tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Numbered as the bits of a case's gradients. */
enum gradient { D_QUERY, D_KEY, D_VALUE, D_MASK, D_SINKS, D_ALIBI_SLOPES, D_RELATIVE_BIAS, NUM_GRADIENTS };

static const char *const names[NUM_GRADIENTS] = {"d_query", "d_key",          "d_value",        "d_mask",
                                                 "d_sinks", "d_alibi_slopes", "d_relative_bias"};

/* What a gradient is of, where that is a tensor of four extents. */
static const enum oracle_tensor inputs[] = {ORACLE_QUERY, ORACLE_KEY, ORACLE_VALUE, ORACLE_MASK};

/* What follows from a case and its number. */
struct choice {
    bool there[NUM_GRADIENTS]; /* that of which it is the gradient */
    bool wanted[NUM_GRADIENTS];
    clattn_dtype dtype[NUM_GRADIENTS];
    int64_t padding;
    bool accumulate;
    bool d_lse;
};

/* All that a backward run has besides the forward's arrays, and what its gradients should be. */
struct backward {
    struct choice choice;
    struct tensor d_output;
    struct tensor d_lse;
    struct tensor gradient[NUM_GRADIENTS];
    double *expected[NUM_GRADIENTS];
    double *magnitude[NUM_GRADIENTS];
    double *terms[NUM_GRADIENTS];
    double amplitude;
};

static struct choice choose(const struct test_case *c, size_t number)
{
    static const clattn_dtype dtypes[] = {CLATTN_F32, CLATTN_F16, CLATTN_BF16};
    struct choice choice = {.padding = number % 2 == 0 ? 0 : 3, .accumulate = c->accumulate, .d_lse = c->d_lse};
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        choice.there[g] = true;
        choice.dtype[g] = dtypes[g > D_VALUE ? 0 : (c->axes[AXIS_TYPES] + g) % 3];
    }
    choice.there[D_MASK] = c->desc.mask_kind == CLATTN_MASK_ADDITIVE;
    choice.there[D_SINKS] = c->desc.sinks;
    choice.there[D_ALIBI_SLOPES] = c->desc.alibi;
    choice.there[D_RELATIVE_BIAS] = c->desc.relative_extent > 0;
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        choice.wanted[g] = choice.there[g] && (c->gradients >> g & 1) != 0;
    return choice;
}

/* The extents of the oracle's gradient, and which of them are summed for that of the library: what is repeated. */
static void get_shape(const clattn_attention_desc *desc, enum gradient g, int64_t extent[4], bool summed[4])
{
    int64_t strides[4] = {1, 1, 1, 1};
    extent[0] = g == D_ALIBI_SLOPES && desc->alibi_batch > 1 ? desc->batch : 1;
    extent[1] = desc->q_heads;
    extent[2] = 1;
    extent[3] = g == D_RELATIVE_BIAS ? 2 * desc->relative_extent + 1 : 1;
    if (g <= D_MASK)
        oracle_tensor_shape(desc, inputs[g], extent, strides);
    for (int d = 0; d < 4; ++d)
        summed[d] = g <= D_MASK && strides[d] == 0;
}

static struct tensor make_gradient(const clattn_attention_desc *desc, const struct choice *choice, enum gradient g)
{
    int64_t extent[4] = {1, 1, 1, 1};
    bool summed[4] = {false};
    if (choice->there[g])
        get_shape(desc, g, extent, summed);
    for (int d = 0; d < 4; ++d)
        extent[d] = summed[d] ? 1 : extent[d];
    return tensor_make(choice->dtype[g], extent[0], extent[1], extent[2], extent[3], g <= D_MASK ? choice->padding : 0);
}

/*
 * NaN in rows of d_output of queries that see nothing, and in those of packed tensors that no sequence has. 0 where the
 * mask is the least finite number throughout: lse does not tell how many keys share the weight (backward.h).
 */
static void fill_d_output(struct backward *backward, const struct oracle_operands *operands, const float *lse)
{
    const bool packed = operands->desc->q_cu_lengths != CLATTN_LENGTHS_NONE;
    tensor_fill(&backward->d_output, 1.0, 77);
    tensor_fill(&backward->d_lse, 1.0, 78);
    for (int64_t b = 0; b < operands->desc->batch; ++b)
        for (int64_t h = 0; h < operands->desc->q_heads; ++h)
            for (int64_t i = 0; i < oracle_sequence(operands, b).q_len; ++i) {
                const int64_t at_b = packed ? 0 : b;
                const int64_t at_i = i + (packed ? oracle_sequence(operands, b).q_first : 0);
                const bool least = lse[oracle_lse_at(operands, b, h, i)] < -1e30F;
                bool sees = false;
                for (int64_t j = 0; j < operands->kv_len; ++j)
                    sees = sees || oracle_visible(operands, b, h, i, j);
                for (int64_t d = 0; d < backward->d_output.extent[3] && (!sees || least); ++d)
                    tensor_put(&backward->d_output, at_b, h, at_i, d, sees ? 0.0 : NAN);
                if (sees && least)
                    tensor_put(&backward->d_lse, at_b, h, at_i, 0, 0.0);
            }
}

static bool keeps(void *operands, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return oracle_dropout_keeps(operands, b, h, i, j);
}

/* Adds up what is summed: numbers of the oracle's shape become those of the library's. */
static void reduce(const clattn_attention_desc *desc, enum gradient g, double *numbers)
{
    int64_t extent[4], stride[4];
    bool summed[4];
    int64_t elements = 1;
    get_shape(desc, g, extent, summed);
    for (int d = 3; d >= 0; --d) {
        stride[d] = summed[d] ? 0 : elements;
        elements *= summed[d] ? 1 : extent[d];
    }
    double *sums = calloc((size_t)elements + 1, sizeof(double));
    assert_non_null(sums);
    const double *number = numbers;
    for (int64_t b = 0; b < extent[0]; ++b)
        for (int64_t h = 0; h < extent[1]; ++h)
            for (int64_t i = 0; i < extent[2]; ++i)
                for (int64_t j = 0; j < extent[3]; ++j)
                    sums[b * stride[0] + h * stride[1] + i * stride[2] + j * stride[3]] += *number++;
    memcpy(numbers, sums, (size_t)elements * sizeof(double));
    free(sums);
}

/* Room for numbers of the oracle; NULL where the gradient is of what is not there. */
static double *make_numbers(const clattn_attention_desc *desc, const struct choice *choice, enum gradient g)
{
    int64_t extent[4];
    bool summed[4];
    if (!choice->there[g])
        return NULL;
    get_shape(desc, g, extent, summed);
    double *numbers = calloc((size_t)(extent[0] * extent[1] * extent[2] * extent[3]) + 1, sizeof(double));
    assert_non_null(numbers);
    return numbers;
}

static void expect_gradients(struct backward *backward, const struct arrays *arrays)
{
    struct oracle_operands operands = arrays_operands(arrays);
    const clattn_attention_desc *desc = operands.desc;
    const struct oracle_dropout dropout = {(double)desc->dropout, keeps, &operands};
    double **of[] = {backward->expected, backward->magnitude, backward->terms};
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        for (int n = 0; n < 3; ++n)
            of[n][g] = make_numbers(desc, &backward->choice, (enum gradient)g);
    struct oracle_gradients gradients = {
        .d_query = backward->expected[D_QUERY],
        .d_key = backward->expected[D_KEY],
        .d_value = backward->expected[D_VALUE],
        .d_mask = backward->expected[D_MASK],
        .d_sinks = backward->expected[D_SINKS],
        .d_alibi_slopes = backward->expected[D_ALIBI_SLOPES],
        .d_relative_bias = backward->expected[D_RELATIVE_BIAS],
        .query_magnitude = backward->magnitude[D_QUERY],
        .key_magnitude = backward->magnitude[D_KEY],
        .value_magnitude = backward->magnitude[D_VALUE],
        .mask_magnitude = backward->magnitude[D_MASK],
        .sinks_magnitude = backward->magnitude[D_SINKS],
        .alibi_magnitude = backward->magnitude[D_ALIBI_SLOPES],
        .relative_magnitude = backward->magnitude[D_RELATIVE_BIAS],
        .query_terms = backward->terms[D_QUERY],
        .key_terms = backward->terms[D_KEY],
        .value_terms = backward->terms[D_VALUE],
        .mask_terms = backward->terms[D_MASK],
        .sinks_terms = backward->terms[D_SINKS],
        .alibi_terms = backward->terms[D_ALIBI_SLOPES],
        .relative_terms = backward->terms[D_RELATIVE_BIAS],
    };
    const unsigned char *d_output = backward->d_output.data + TENSOR_ROOM * tensor_element_size(&backward->d_output);
    const void *d_lse = backward->d_lse.data + TENSOR_ROOM * sizeof(float);
    assert_true(oracle_backward(&operands, d_output, backward->choice.d_lse ? d_lse : NULL,
                                arrays_at(arrays, ARRAY_OUTPUT), dropout.dropout > 0.0 ? &dropout : NULL, &gradients));
    backward->amplitude = gradients.amplitude;
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        for (int n = 0; n < 3 && backward->choice.there[g]; ++n)
            reduce(desc, (enum gradient)g, of[n][g]);
}

static void make_backward(struct backward *backward, const struct arrays *arrays, size_t number)
{
    const clattn_attention_desc *desc = &arrays->of->desc;
    const struct oracle_operands operands = arrays_operands(arrays);
    int64_t extent[4], strides[4];
    memset(backward, 0, sizeof *backward);
    backward->choice = choose(arrays->of, number);
    oracle_tensor_shape(desc, ORACLE_OUTPUT, extent, strides);
    backward->d_output = tensor_make_as(&desc->output, extent); /* as the oracle takes it */
    backward->d_lse = tensor_make(CLATTN_F32, extent[0], extent[1], extent[2], 1, 0);
    const void *lse = arrays_at(arrays, ARRAY_LSE);
    fill_d_output(backward, &operands, lse);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        backward->gradient[g] = make_gradient(desc, &backward->choice, (enum gradient)g);
        if (backward->choice.accumulate)
            tensor_fill(&backward->gradient[g], 1.0, 79);
    }
    expect_gradients(backward, arrays);
}

static void free_backward(struct backward *backward)
{
    tensor_free(&backward->d_output);
    tensor_free(&backward->d_lse);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        tensor_free(&backward->gradient[g]);
        free(backward->expected[g]);
        free(backward->magnitude[g]);
        free(backward->terms[g]);
    }
}

static clattn_attention_backward_desc describe(const clattn_attention_desc *forward, const struct backward *backward,
                                               const char *variant)
{
    clattn_attention_backward_desc desc;
    clattn_attention_backward_desc_init(&desc);
    desc.attention = forward;
    desc.d_query = backward->choice.wanted[D_QUERY];
    desc.d_key = backward->choice.wanted[D_KEY];
    desc.d_value = backward->choice.wanted[D_VALUE];
    desc.d_mask = backward->choice.wanted[D_MASK];
    desc.d_sinks = backward->choice.wanted[D_SINKS];
    desc.d_alibi_slopes = backward->choice.wanted[D_ALIBI_SLOPES];
    desc.d_relative_bias = backward->choice.wanted[D_RELATIVE_BIAS];
    desc.d_lse = backward->choice.d_lse;
    desc.accumulate = backward->choice.accumulate;
    desc.d_output_layout = backward->d_output.layout;
    desc.d_query_layout = backward->gradient[D_QUERY].layout;
    desc.d_key_layout = backward->gradient[D_KEY].layout;
    desc.d_value_layout = backward->gradient[D_VALUE].layout;
    desc.d_mask_layout = backward->gradient[D_MASK].layout;
    desc.variant = variant;
    return desc;
}

static clattn_attention_backward_args arguments(const struct harness *harness, clattn_plan *plan,
                                                const struct arrays *arrays, const struct harness_buffers *buffers,
                                                struct backward *backward)
{
    const clattn_attention_args forward = harness_args(NULL, arrays, buffers);
    clattn_attention_backward_args args;
    clattn_attention_backward_args_init(&args, plan);
    args.q_len = forward.q_len;
    args.kv_len = forward.kv_len;
    args.offset = forward.offset;
    args.q_total = forward.q_total;
    args.kv_total = forward.kv_total;
    args.query = forward.query;
    args.key = forward.key;
    args.value = forward.value;
    args.output = forward.output;
    args.lse = forward.lse;
    args.mask = forward.mask;
    args.kv_lengths = forward.kv_lengths;
    args.q_cu_lengths = forward.q_cu_lengths;
    args.kv_cu_lengths = forward.kv_cu_lengths;
    args.sinks = forward.sinks;
    args.alibi_slopes = forward.alibi_slopes;
    args.relative_bias = forward.relative_bias;
    args.dropout_seed_set = forward.dropout_seed_set;
    args.dropout_seed = forward.dropout_seed;
    args.dropout_offset = forward.dropout_offset;
    args.dropout_batch = forward.dropout_batch;
    args.d_output = tensor_upload(harness, &backward->d_output);
    args.d_lse = tensor_upload(harness, &backward->d_lse);
    clattn_buffer *slots[NUM_GRADIENTS] = {&args.d_query, &args.d_key,          &args.d_value,        &args.d_mask,
                                           &args.d_sinks, &args.d_alibi_slopes, &args.d_relative_bias};
    for (int g = 0; g < NUM_GRADIENTS; ++g)
        *slots[g] = tensor_upload(harness, &backward->gradient[g]);
    return args;
}

/* Whether a run writes elements of this row and column; those of rows of no sequence and past its lengths stay. */
static bool is_written(const struct oracle_operands *operands, const struct tensor *found, enum gradient g, int64_t row,
                       int64_t column)
{
    const bool of_query = g == D_QUERY;
    const bool packed =
        (of_query ? operands->desc->q_cu_lengths : operands->desc->kv_cu_lengths) != CLATTN_LENGTHS_NONE;
    if (g == D_MASK)
        return (found->extent[2] == 1 || row < operands->q_len) && (found->extent[3] == 1 || column < operands->kv_len);
    if (g > D_MASK)
        return true;
    if (!packed)
        return row < (of_query ? operands->q_len : operands->kv_len);
    for (int64_t b = 0; b < operands->desc->batch; ++b) {
        const struct oracle_sequence sequence = oracle_sequence(operands, b);
        const int64_t first = of_query ? sequence.q_first : sequence.kv_first;
        if (row >= first && row < first + (of_query ? sequence.q_len : sequence.kv_len))
            return true;
    }
    return false;
}

/* No element of these is larger, but for what nobody sees. */
static double largest(const struct arrays *arrays, const struct backward *backward)
{
    double most = 1.0;
    for (int o = ARRAY_QUERY; o <= ARRAY_OUTPUT; ++o) {
        const struct array *array = &arrays->array[o];
        for (int64_t b = 0; b < array->extent[0]; ++b)
            for (int64_t h = 0; h < array->extent[1]; ++h)
                for (int64_t i = 0; i < array->extent[2]; ++i)
                    for (int64_t d = 0; d < array->extent[3]; ++d) {
                        const double x = fabs(oracle_load(array->dtype, arrays_at(arrays, (enum array_operand)o),
                                                          array_index(array, b, h, i, d)));
                        most = isfinite(x) && x > most ? x : most;
                    }
    }
    TENSOR_FOR_EACH(&backward->d_output)
    {
        const double x = fabs(tensor_get(&backward->d_output, b, h, i, j));
        most = x > most ? x : most;
    }
    return most;
}

/* What becomes of 2^-126 in every weight, of one term; distances of the cases are far below 2^10. */
static double faint(const struct arrays *arrays, const struct backward *backward, enum gradient g)
{
    const struct oracle_operands operands = arrays_operands(arrays);
    const double most = largest(arrays, backward);
    const double scale = fmax(fabs((double)operands.desc->scale), g == D_ALIBI_SLOPES ? 0x1p10 : 1.0);
    return 0x1p-126 * 4.0 * (double)oracle_value_dim(operands.desc) * most * most * most * scale;
}

static bool compare(const struct arrays *arrays, const struct backward *backward, const struct tensor *found,
                    enum gradient g, double *worst, char message[600])
{
    const struct oracle_operands operands = arrays_operands(arrays);
    const struct tensor *before = &backward->gradient[g];
    const clattn_dtype dtype = found->layout.dtype;
    const double eps = compare_epsilon(dtype), eps32 = compare_epsilon(CLATTN_F32);
    const double by_faint = faint(arrays, backward, g);
    TENSOR_FOR_EACH(found)
    {
        const int64_t n = ((b * found->extent[1] + h) * found->extent[2] + i) * found->extent[3] + j;
        const double was = tensor_get(before, b, h, i, j);
        const double is = tensor_get(found, b, h, i, j);
        const double bound = eps + 4 * eps32 * (2 + backward->amplitude + sqrt(backward->terms[g][n]) / 16);
        if (!is_written(&operands, found, g, i, j)) {
            if (memcmp(&was, &is, sizeof was) == 0)
                continue;
            snprintf(message, 600, "%s[%d,%d,%d,%d] is %g: it was to stay %g", names[g], (int)b, (int)h, (int)i, (int)j,
                     is, was);
            return false;
        }
        const double start = backward->choice.accumulate ? was : 0.0;
        const double expected = start + backward->expected[g][n];
        double within = bound * backward->magnitude[g][n] + eps * fabs(start) + by_faint * backward->terms[g][n];
        if (backward->terms[g][n] > 0.0 && fabs(expected) < compare_smallest_normal(dtype))
            within += compare_smallest_normal(dtype);
        const double share = compare_share(dtype, is, expected, within);
        *worst = share > *worst ? share : *worst;
        if (share <= 1.0)
            continue;
        snprintf(message, 600, "%s[%d,%d,%d,%d] is %.9g: expected %.9g, within %.3g", names[g], (int)b, (int)h, (int)i,
                 (int)j, is, expected, within);
        return false;
    }
    return true;
}

/* Runs on fresh copies of the gradients and gives them back, for the caller to free. */
static void run(const struct harness *harness, clattn_plan *plan, const struct arrays *arrays,
                const struct harness_buffers *buffers, const struct backward *backward,
                struct tensor results[NUM_GRADIENTS])
{
    struct backward copy = *backward;
    clattn_error error;
    copy.d_output.mem = copy.d_lse.mem = NULL;
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        copy.gradient[g].data = malloc(copy.gradient[g].bytes);
        assert_non_null(copy.gradient[g].data);
        memcpy(copy.gradient[g].data, backward->gradient[g].data, copy.gradient[g].bytes);
    }
    const clattn_attention_backward_args args = arguments(harness, plan, arrays, buffers, &copy);
    harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error,
                  arrays->of->name);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        results[g] = copy.gradient[g];
        tensor_download(harness, &results[g]);
    }
    clReleaseMemObject(copy.d_output.mem);
    clReleaseMemObject(copy.d_lse.mem);
}

static bool check(const struct harness *harness, clattn_plan *plan, const struct arrays *arrays,
                  const struct backward *backward, double *worst, char message[600])
{
    struct harness_buffers buffers;
    struct tensor first[NUM_GRADIENTS], second[NUM_GRADIENTS];
    bool right = true;
    harness_buffers_create(harness, arrays, &buffers);
    run(harness, plan, arrays, &buffers, backward, first);
    run(harness, plan, arrays, &buffers, backward, second);
    for (int g = 0; g < NUM_GRADIENTS; ++g) {
        if (right && memcmp(first[g].data, second[g].data, first[g].bytes) != 0) {
            snprintf(message, 600, "%s: two runs differ", names[g]);
            right = false;
        }
        const struct tensor *unwanted = &backward->gradient[g];
        if (right && !backward->choice.wanted[g])
            assert_memory_equal(first[g].data, unwanted->data, unwanted->bytes);
        else if (right)
            right = compare(arrays, backward, &first[g], (enum gradient)g, worst, message);
        tensor_free(&first[g]);
        tensor_free(&second[g]);
    }
    harness_buffers_release(&buffers);
    return right;
}

/* `may_refuse`: the variant is none that takes everything, but refuses what is shared by strides of 0. */
static bool run_case(const struct harness *harness, struct test_case *c, size_t number, const char *variant,
                     bool may_refuse, double *worst)
{
    struct arrays arrays;
    struct backward backward;
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};
    char message[600] = "";
    assert_true(arrays_init(&arrays, c));
    clattn_plan *forward = harness_plan(harness, c, NULL);
    bool right = harness_run(harness, forward, &arrays, message);
    clattn_plan_release(forward);
    if (right) {
        make_backward(&backward, &arrays, number);
        const clattn_attention_backward_desc desc = describe(&c->desc, &backward, variant);
        const clattn_status status = clattn_attention_backward_plan_create(harness->context, &desc, &plan, &error);
        const bool is_shared = c->layout == LAYOUT_BROADCAST_HEADS || c->layout == LAYOUT_BROADCAST_BATCH;
        if (status != CLATTN_ERROR_UNSUPPORTED || !may_refuse || !is_shared)
            harness_check(status, &error, c->name);
        if (status == CLATTN_SUCCESS)
            right = check(harness, plan, &arrays, &backward, worst, message);
        free_backward(&backward);
    }
    if (!right)
        print_error("  %s %s\n      %s\n", plan != NULL ? clattn_plan_name(plan) : "forward", c->name, message);
    clattn_plan_release(plan);
    arrays_free(&arrays);
    return right;
}

static void every_case_on_every_variant(void **state)
{
    const struct harness *harness = *state;
    const char *only_variant = getenv("CLATTN_VARIANT");
    int runs = 0, failures = 0;
    for (size_t v = 0; clattn_attention_backward_variant(v) != NULL; ++v) {
        const char *variant = clattn_attention_backward_variant(v);
        double worst = 0.0;
        const bool is_best = only_variant != NULL && strcmp(only_variant, "auto") == 0 && v == 0;
        if (is_best)
            variant = "auto";
        else if (only_variant != NULL && strcmp(only_variant, variant) != 0)
            continue;
        for (size_t n = 0; n < case_backward_count(); ++n) {
            struct test_case c;
            case_backward_get(n, &c);
            if (!case_matches(&c, n, getenv("CLATTN_CASES")))
                continue;
            failures += !run_case(harness, &c, n, variant, !is_best && clattn_attention_backward_variant(v + 1) != NULL,
                                  &worst);
            runs++;
        }
        print_message("%s: the largest share of a bound is %.3f\n", variant, worst);
    }
    if (runs == 0)
        fail_msg("no case and variant are named by CLATTN_CASES and CLATTN_VARIANT");
    if (failures != 0)
        fail_msg("%d of %d failed", failures, runs);
}

/* ---- one problem ---------------------------------------------------------------------------------------------- */

enum { HEADS = 2, QUERIES = 5, KEYS = 9, DIM = 4 };

/* The operands of b1h2q5k9d4 in f32, by the names of the arguments. */
struct operands {
    struct tensor query, key, value, output, lse, d_output, d_query, d_key, d_value;
};

static struct operands make_operands(void)
{
    struct operands o = {.query = tensor_make(CLATTN_F32, 1, HEADS, QUERIES, DIM, 0),
                         .key = tensor_make(CLATTN_F32, 1, HEADS, KEYS, DIM, 0),
                         .value = tensor_make(CLATTN_F32, 1, HEADS, KEYS, DIM, 0),
                         .output = tensor_make(CLATTN_F32, 1, HEADS, QUERIES, DIM, 0),
                         .lse = tensor_make(CLATTN_F32, 1, HEADS, QUERIES, 1, 0),
                         .d_output = tensor_make(CLATTN_F32, 1, HEADS, QUERIES, DIM, 0),
                         .d_query = tensor_make(CLATTN_F32, 1, HEADS, QUERIES, DIM, 0),
                         .d_key = tensor_make(CLATTN_F32, 1, HEADS, KEYS, DIM, 0),
                         .d_value = tensor_make(CLATTN_F32, 1, HEADS, KEYS, DIM, 0)};
    tensor_fill(&o.query, 1.0, 1);
    tensor_fill(&o.key, 1.0, 2);
    tensor_fill(&o.value, 1.0, 3);
    tensor_fill(&o.d_output, 1.0, 4);
    return o;
}

static void free_operands(struct operands *o)
{
    struct tensor *all[] = {&o->query,    &o->key,     &o->value, &o->output, &o->lse,
                            &o->d_output, &o->d_query, &o->d_key, &o->d_value};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        tensor_free(all[n]);
}

static clattn_attention_desc plain_forward(void)
{
    clattn_attention_desc forward;
    clattn_attention_desc_init(&forward);
    assert_int_equal(clattn_attention_desc_parse("b1h2q5k9d4:f32:lse", &forward, NULL), CLATTN_SUCCESS);
    return forward;
}

static clattn_plan *plain_plan(const struct harness *harness)
{
    const clattn_attention_desc forward = plain_forward();
    clattn_attention_backward_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_attention_backward_desc_init(&desc);
    desc.attention = &forward;
    desc.d_query = desc.d_key = desc.d_value = 1;
    harness_check(clattn_attention_backward_plan_create(harness->context, &desc, &plan, &error), &error, "plan");
    return plan;
}

static clattn_attention_backward_args plain_args(const struct harness *harness, clattn_plan *plan, struct operands *o)
{
    clattn_attention_backward_args args;
    clattn_attention_backward_args_init(&args, plan);
    args.query = tensor_upload(harness, &o->query);
    args.key = tensor_upload(harness, &o->key);
    args.value = tensor_upload(harness, &o->value);
    args.output = tensor_upload(harness, &o->output);
    args.lse = tensor_upload(harness, &o->lse);
    args.d_output = tensor_upload(harness, &o->d_output);
    args.d_query = tensor_upload(harness, &o->d_query);
    args.d_key = tensor_upload(harness, &o->d_key);
    args.d_value = tensor_upload(harness, &o->d_value);
    return args;
}

static void attend(const struct harness *harness, struct operands *o)
{
    const clattn_attention_desc forward = plain_forward();
    clattn_attention_host_args args;
    clattn_error error;
    clattn_attention_host_args_init(&args);
    args.query = o->query.data + TENSOR_ROOM * sizeof(float);
    args.key = o->key.data + TENSOR_ROOM * sizeof(float);
    args.value = o->value.data + TENSOR_ROOM * sizeof(float);
    args.output = o->output.data + TENSOR_ROOM * sizeof(float);
    void *lse = o->lse.data + TENSOR_ROOM * sizeof(float);
    args.lse = lse;
    harness_check(clattn_attention_host(harness->context, &forward, &args, &error), &error, "forward");
}

static void without_queries_gradients_of_keys_are_0(void **state)
{
    const struct harness *harness = *state;
    struct operands o = make_operands();
    clattn_plan *plan = plain_plan(harness);
    clattn_attention_backward_args args = plain_args(harness, plan, &o);
    clattn_error error;
    args.q_len = 0;
    harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
    tensor_download(harness, &o.d_key);
    tensor_download(harness, &o.d_value);
    TENSOR_FOR_EACH(&o.d_key)
    assert_true(tensor_get(&o.d_key, b, h, i, j) == 0.0 && tensor_get(&o.d_value, b, h, i, j) == 0.0);
    clattn_plan_release(plan);
    free_operands(&o);
}

/* With the output and lse of the whole, the gradients of parts of the keys are those of the whole, or add up to them.
 */
static void parts_add_up(void **state)
{
    const struct harness *harness = *state;
    enum { FIRST = 4 }; /* keys of the first part */
    struct operands whole = make_operands();
    double d_query[HEADS][QUERIES][DIM] = {{{0}}};
    attend(harness, &whole);
    clattn_plan *plan = plain_plan(harness);
    clattn_attention_backward_args args = plain_args(harness, plan, &whole);
    clattn_error error;
    harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "run");
    tensor_download(harness, &whole.d_query);
    tensor_download(harness, &whole.d_key);
    for (int part = 0; part < 2; part++) {
        struct operands o = make_operands();
        const int64_t first = part == 0 ? 0 : FIRST;
        attend(harness, &o);
        args = plain_args(harness, plan, &o);
        args.kv_len = part == 0 ? FIRST : KEYS - FIRST;
        args.key.offset += (size_t)(first * DIM) * sizeof(float);
        args.value.offset += (size_t)(first * DIM) * sizeof(float);
        args.d_key.offset += (size_t)(first * DIM) * sizeof(float);
        args.d_value.offset += (size_t)(first * DIM) * sizeof(float);
        harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error,
                      "part");
        tensor_download(harness, &o.d_query);
        tensor_download(harness, &o.d_key);
        TENSOR_FOR_EACH(&o.d_query)
        d_query[h][i][j] += tensor_get(&o.d_query, b, h, i, j);
        TENSOR_FOR_EACH(&o.d_key)
        {
            if (i >= first && i < first + args.kv_len)
                assert_true(fabs(tensor_get(&o.d_key, b, h, i, j) - tensor_get(&whole.d_key, b, h, i, j)) < 1e-6);
        }
        free_operands(&o);
    }
    TENSOR_FOR_EACH(&whole.d_query)
    assert_true(fabs(d_query[h][i][j] - tensor_get(&whole.d_query, b, h, i, j)) < 1e-5);
    clattn_plan_release(plan);
    free_operands(&whole);
}

/* Plans of every variant, and runs that have nothing to do. */
static void without_batches_or_heads_nothing_is_done(void **state)
{
    static const char *const problems[] = {"b0h2q4k4d4:f32:lse:sinks:alibi@0:relative=1@0:mask=add",
                                           "b2h0q4k4d4:f32:lse:sinks:alibi@0:relative=1@0:mask=add"};
    const struct harness *harness = *state;
    for (size_t n = 0; n < 2; n++)
        for (size_t v = 0; clattn_attention_backward_variant(v) != NULL; ++v) {
            clattn_attention_desc forward;
            clattn_attention_backward_desc desc;
            clattn_attention_backward_args args;
            clattn_plan *plan = NULL;
            clattn_error error;
            clattn_attention_desc_init(&forward);
            clattn_attention_backward_desc_init(&desc);
            assert_int_equal(clattn_attention_desc_parse(problems[n], &forward, &error), CLATTN_SUCCESS);
            desc.attention = &forward;
            desc.d_query = desc.d_key = desc.d_value = desc.d_mask = 1;
            desc.d_sinks = desc.d_alibi_slopes = desc.d_relative_bias = 1;
            desc.variant = clattn_attention_backward_variant(v);
            harness_check(clattn_attention_backward_plan_create(harness->context, &desc, &plan, &error), &error,
                          "plan");
            clattn_attention_backward_args_init(&args, plan);
            harness_check(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error,
                          "run");
            clattn_plan_release(plan);
        }
}

/* A tile of keys that begins where a window does ends within its span, and reaches none of what lies behind. */
static void nan_reaches_values_that_are_seen(void **state)
{
    enum { WINDOW = 10, ROWS = 48, SPAN = 64, WIDTH = 16 };
    static float query[ROWS * WIDTH], key[SPAN * WIDTH], value[SPAN * WIDTH], output[ROWS * WIDTH], lse[ROWS];
    static float d_output[ROWS * WIDTH], d_query[ROWS * WIDTH], d_key[SPAN * WIDTH], d_value[SPAN * WIDTH];
    const struct harness *harness = *state;
    clattn_attention_desc forward;
    clattn_error error;
    clattn_attention_desc_init(&forward);
    assert_int_equal(clattn_attention_desc_parse("b1h1q48k64d16:f32:lse:window=10,0@bottom-right", &forward, NULL),
                     CLATTN_SUCCESS);
    for (int n = 0; n < SPAN * WIDTH; ++n)
        key[n] = value[n] = 0.01F * (float)(n % 7);
    for (int n = 0; n < ROWS * WIDTH; ++n)
        query[n] = output[n] = d_output[n] = 0.01F * (float)(n % 5);
    query[(ROWS - 1) * WIDTH] = NAN; /* the last query alone; an lse of 0 will do for the others */
    for (size_t v = 0; clattn_attention_backward_variant(v) != NULL; ++v) {
        clattn_attention_backward_desc desc;
        clattn_attention_backward_host_args args;
        clattn_attention_backward_desc_init(&desc);
        desc.attention = &forward;
        desc.d_query = desc.d_key = desc.d_value = 1;
        desc.variant = clattn_attention_backward_variant(v);
        clattn_attention_backward_host_args_init(&args);
        args.query = query;
        args.key = key;
        args.value = value;
        args.output = output;
        args.lse = lse;
        args.d_output = d_output;
        args.d_query = d_query;
        args.d_key = d_key;
        args.d_value = d_value;
        harness_check(clattn_attention_backward_host(harness->context, &desc, &args, &error), &error, desc.variant);
        for (int n = 0; n < (ROWS - 1) * WIDTH; ++n)
            if (isnan(d_query[n]))
                fail_msg("%s: d_query of query %d is NaN", desc.variant, n / WIDTH);
        for (int n = 0; n < SPAN * WIDTH; ++n) {
            const bool seen = n / WIDTH >= SPAN - 1 - WINDOW;
            if (seen != (isnan(d_value[n]) != 0))
                fail_msg("%s: d_value of key %d is %g", desc.variant, n / WIDTH, (double)d_value[n]);
        }
    }
}

#define REFUSED(status, text, ...)                                                                                     \
    do {                                                                                                               \
        clattn_attention_backward_args args = good;                                                                    \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(clattn_attention_backward_run(plan, harness->queue, &args, 0, NULL, NULL, &error), status);   \
        if (strstr(error.message, text) == NULL)                                                                       \
            fail_msg("the message is \"%s\": expected \"%s\" in it", error.message, text);                             \
    } while (0)

static void bad_runs_are_refused(void **state)
{
    const struct harness *harness = *state;
    struct operands o = make_operands();
    clattn_plan *plan = plain_plan(harness);
    const clattn_attention_backward_args good = plain_args(harness, plan, &o);
    clattn_error error;
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer lse is missing: expected at least 40 bytes", args.lse.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer output is missing: expected at least 160 bytes",
            args.output.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_output is missing: expected at least 160 bytes",
            args.d_output.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_output has 424 bytes: expected at least 160 from offset 268 on",
            args.d_output.offset += 136);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_key is missing: expected at least 288 bytes", args.d_key.mem = NULL);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_query shares bytes with query", args.d_query = args.query);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_query shares bytes with output", args.d_query = args.output);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_query shares bytes with d_output", args.d_query = args.d_output);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "buffer d_key shares bytes with d_value", args.d_key = args.d_value);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "kv_len is 10: expected 0 to the plan's 9", args.kv_len = KEYS + 1);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "q_len is -1: expected 0 to the plan's 5", args.q_len = -1);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "d_value.strides", args.d_value.strides[2] = 1, args.d_value.strides[3] = 1);
    clattn_plan_release(plan);
    free_operands(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_on_every_variant),
                                       cmocka_unit_test(without_queries_gradients_of_keys_are_0),
                                       cmocka_unit_test(without_batches_or_heads_nothing_is_done),
                                       cmocka_unit_test(parts_add_up),
                                       cmocka_unit_test(nan_reaches_values_that_are_seen),
                                       cmocka_unit_test(bad_runs_are_refused)};
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
