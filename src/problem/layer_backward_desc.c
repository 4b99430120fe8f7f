/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of the layer's backward pass: checked as a whole, then cut into those of its parts. */
#include "problem/attention_backward.h"
#include "problem/check.h"
#include "problem/layer_backward.h"
#include "problem/linear_backward.h"
#include "util/error.h"
#include "util/struct_size.h"

static const struct cla_operand operands[] = {
    CLA_LAYER_OPERANDS,
    [CLA_LAYER_D_OUTPUT] = {"d_output", CLA_CUT_ROWS, CLA_STRIDED},
    [CLA_LAYER_D_LSE] = {"d_lse", CLA_CUT_ROWS, 0},
    [CLA_LAYER_D_INPUT] = {"d_input", CLA_CUT_ROWS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_LAYER_D_CONTEXT] = {"d_context", CLA_CUT_KEYS, CLA_STRIDED | CLA_READ_BACK},
    [CLA_D_W_Q] = {"d_w_q", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_W_K] = {"d_w_k", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_W_V] = {"d_w_v", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_W_O] = {"d_w_o", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_W_QKV] = {"d_w_qkv", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_B_Q] = {"d_b_q", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_B_K] = {"d_b_k", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_B_V] = {"d_b_v", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_B_O] = {"d_b_o", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_D_B_QKV] = {"d_b_qkv", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_LAYER_D_MASK] = {"d_mask", CLA_CUT_SUMMED, CLA_STRIDED | CLA_READ_BACK},
    [CLA_LAYER_D_SINKS] = {"d_sinks", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_LAYER_D_ALIBI_SLOPES] = {"d_alibi_slopes", CLA_CUT_NONE, CLA_READ_BACK},
    [CLA_LAYER_D_RELATIVE_BIAS] = {"d_relative_bias", CLA_CUT_NONE, CLA_READ_BACK},
};
_Static_assert(CLA_NUM_LAYER_BACKWARD_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");
_Static_assert(CLA_D_B_QKV - CLA_D_W_Q == CLA_B_QKV - CLA_W_Q, "gradients are numbered as weights and biases are");

/* "layer_backward:f32:d_input:d_w_q"; behind a space follows the layer's own string. */
static void format(const struct cla_problem *problem, struct cla_line *line)
{
    cla_line_add(line, "layer_backward");
    cla_format_types(problem, line);
    for (int o = CLA_LAYER_D_LSE; o < CLA_NUM_LAYER_BACKWARD_OPERANDS; o++) {
        if (problem->tensor[o].present)
            cla_line_add(line, ":%s", operands[o].name);
    }
    if (problem->accumulate)
        cla_line_add(line, ":accumulate");
    if (problem->accumulate_input)
        cla_line_add(line, ":accumulate_inputs");
}

const struct cla_operation cla_layer_backward_operation = {
    .name = "layer_backward",
    .operands = operands,
    .typed = {CLA_LAYER_D_OUTPUT, CLA_INPUT, CLA_CONTEXT, CLA_LAYER_D_INPUT, CLA_LAYER_D_CONTEXT},
    .num_typed = 5,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .writes_without_queries = true,
    .format = format,
    .check_lengths = cla_check_layer_lengths,
};

/* Which gradients are wanted, by the number of the operand that they are of. */
struct wanted {
    bool of[CLA_NUM_LAYER_OPERANDS];
};

static bool any(const struct wanted *wanted, int first, int last)
{
    for (int o = first; o <= last; o++) {
        if (wanted->of[o])
            return true;
    }
    return false;
}

static struct wanted read_wanted(const clattn_layer_backward_desc *desc)
{
    return (struct wanted){.of = {
                               [CLA_INPUT] = desc->d_input != 0,
                               [CLA_CONTEXT] = desc->d_context != 0,
                               [CLA_W_Q] = desc->d_w_q != 0,
                               [CLA_W_K] = desc->d_w_k != 0,
                               [CLA_W_V] = desc->d_w_v != 0,
                               [CLA_W_O] = desc->d_w_o != 0,
                               [CLA_W_QKV] = desc->d_w_qkv != 0,
                               [CLA_B_Q] = desc->d_b_q != 0,
                               [CLA_B_K] = desc->d_b_k != 0,
                               [CLA_B_V] = desc->d_b_v != 0,
                               [CLA_B_O] = desc->d_b_o != 0,
                               [CLA_B_QKV] = desc->d_b_qkv != 0,
                               [CLA_MASK] = desc->d_mask != 0,
                               [CLA_SINKS] = desc->d_sinks != 0,
                               [CLA_ALIBI_SLOPES] = desc->d_alibi_slopes != 0,
                               [CLA_RELATIVE_BIAS] = desc->d_relative_bias != 0,
                           }};
}

/* The operand that is the gradient of a layer's input, weight or bias. */
static int gradient_of(int operand)
{
    if (operand == CLA_INPUT)
        return CLA_LAYER_D_INPUT;
    return operand == CLA_CONTEXT ? CLA_LAYER_D_CONTEXT : operand - CLA_W_Q + CLA_D_W_Q;
}

static clattn_status check_wanted(const struct cla_problem *whole, const struct wanted *wanted, clattn_error *error)
{
    bool some = any(wanted, 0, CLA_NUM_LAYER_OPERANDS - 1);
    if (!some)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_input, d_context, d_w_q and the others are 0: expected one of them set, nothing is wanted");
    for (int o = CLA_INPUT; o < CLA_KEPT; o++) {
        if (wanted->of[o] && !whole->tensor[o].present)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is set: expected 0, the layer has no %s",
                            operands[gradient_of(o)].name, operands[o].name);
    }
    return CLATTN_SUCCESS;
}

/* Reads the layer's descriptor and checks that its run leaves what is needed. */
static clattn_status read_layer(const clattn_layer_desc *given, clattn_layer_desc *desc,
                                struct cla_layer_problem *layer, clattn_error *error)
{
    clattn_error why = {0};
    clattn_status status = cla_problem_from_layer(given, layer, &why);
    if (status != CLATTN_SUCCESS)
        return cla_fail(error, status, "layer: %s", why.message);
    CLA_TRY(cla_struct_read(given, sizeof *desc, desc, sizeof *desc, "clattn_layer_desc", error));
    if (!desc->keep)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "layer.keep is 0: expected it set, the backward pass reads what the forward run kept");
    return CLATTN_SUCCESS;
}

static void remove_tensor(struct cla_problem *problem, int operand)
{
    memset(&problem->tensor[operand], 0, sizeof problem->tensor[operand]);
}

static clattn_status set_gradient(struct cla_problem *whole, int of, const clattn_layout *layout, clattn_error *error)
{
    return cla_set_tensor(whole, gradient_of(of), layout, CLA_DTYPES_FLOATING, whole->tensor[of].extent, true, error);
}

/* The gradients of inputs, weights and biases, and that of the output. */
static clattn_status set_gradients(const clattn_layer_backward_desc *desc, const struct wanted *wanted,
                                   struct cla_problem *whole, clattn_error *error)
{
    const clattn_layout dense = {desc->d_weight, {0}};
    if ((unsigned)desc->d_weight > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "d_weight is %d (%s): expected f32, f16 or bf16",
                        (int)desc->d_weight, clattn_dtype_string(desc->d_weight));
    CLA_TRY(cla_set_tensor(whole, CLA_LAYER_D_OUTPUT, &desc->d_output_layout, CLA_DTYPES_FLOATING,
                           whole->tensor[CLA_OUTPUT].extent, false, error));
    if (wanted->of[CLA_INPUT])
        CLA_TRY(set_gradient(whole, CLA_INPUT, &desc->d_input_layout, error));
    if (wanted->of[CLA_CONTEXT])
        CLA_TRY(set_gradient(whole, CLA_CONTEXT, &desc->d_context_layout, error));
    for (int o = CLA_W_Q; o <= CLA_B_QKV; o++) {
        if (wanted->of[o])
            CLA_TRY(set_gradient(whole, o, &dense, error));
    }
    return CLATTN_SUCCESS;
}

/* A projection's part: nothing where neither its weight's gradient nor its input's is wanted. `more`: the input's has
 * something in it already, to which this one adds. */
static clattn_status set_projection(const clattn_layer_backward_desc *desc, const struct cla_layer_problem *layer,
                                    const struct cla_layer_projection *p, const struct wanted *wanted,
                                    const clattn_layout *d_output, const clattn_layout *d_input, bool wants_input,
                                    bool more, struct cla_problem *problem, clattn_error *error)
{
    clattn_linear_backward_desc linear;
    clattn_linear_backward_desc_init(&linear);
    linear.linear = &layer->projection_desc[p->number];
    linear.d_input = wants_input;
    linear.d_weight = wanted->of[p->weight];
    linear.d_bias = wanted->of[p->weight + CLA_B_Q - CLA_W_Q];
    linear.accumulate = desc->accumulate;
    linear.accumulate_input = more;
    linear.d_output_layout = *d_output;
    linear.d_input_layout = *d_input;
    linear.d_weight_layout.dtype = linear.d_bias_dtype = desc->d_weight;
    if (!linear.d_input && !linear.d_weight && !linear.d_bias)
        return CLATTN_SUCCESS;
    return cla_problem_from_linear_backward(&linear, problem, error);
}

/* The projections of query, key and value. Where several have one input, all but the first add to its gradient. */
static clattn_status set_projections(const clattn_layer_backward_desc *desc, const struct cla_layer_problem *layer,
                                     const struct wanted *wanted, struct cla_layer_backward_problem *problem,
                                     clattn_error *error)
{
    static const clattn_layout inner = {CLATTN_F32, {0}};
    struct cla_layer_projection projections[3];
    const int count = cla_layer_projections(&layer->whole, projections);
    bool more[2] = {desc->accumulate_inputs != 0, desc->accumulate_inputs != 0};
    for (int i = 0; i < count; i++) {
        const struct cla_layer_projection *p = &projections[i];
        const bool of_context = p->input == CLA_CONTEXT;
        CLA_TRY(set_projection(desc, layer, p, wanted, &inner,
                               of_context ? &desc->d_context_layout : &desc->d_input_layout, wanted->of[p->input],
                               more[of_context], &problem->projection[p->number], error));
        more[of_context] = true;
    }
    return CLATTN_SUCCESS;
}

/* A gradient of what the forward keeps lies as that does, in f32. */
static clattn_layout in_f32(const clattn_layout *layout)
{
    clattn_layout as = *layout;
    as.dtype = CLATTN_F32;
    return as;
}

static clattn_status set_attention(const clattn_layer_backward_desc *desc, const struct cla_layer_problem *layer,
                                   const struct wanted *wanted, struct cla_layer_backward_problem *problem,
                                   clattn_error *error)
{
    const struct cla_problem *projection = problem->projection;
    const bool packed = layer->whole.layer_packed && projection[CLA_PROJECT_QUERY].operation != NULL;
    clattn_attention_backward_desc attention;
    clattn_attention_backward_desc_init(&attention);
    attention.attention = &layer->attention_desc;
    attention.d_query = projection[CLA_PROJECT_QUERY].operation != NULL;
    attention.d_key = packed || projection[CLA_PROJECT_KEY].operation != NULL;
    attention.d_value = packed || projection[CLA_PROJECT_VALUE].operation != NULL;
    attention.d_mask = wanted->of[CLA_MASK];
    attention.d_sinks = wanted->of[CLA_SINKS];
    attention.d_alibi_slopes = wanted->of[CLA_ALIBI_SLOPES];
    attention.d_relative_bias = wanted->of[CLA_RELATIVE_BIAS];
    attention.d_lse = desc->d_lse;
    attention.d_output_layout = in_f32(&layer->attention_desc.output);
    attention.d_query_layout = in_f32(&layer->attention_desc.query);
    attention.d_key_layout = in_f32(&layer->attention_desc.key);
    attention.d_value_layout = in_f32(&layer->attention_desc.value);
    attention.d_mask_layout = desc->d_mask_layout;
    if (!attention.d_query && !attention.d_key && !attention.d_value && !any(wanted, CLA_MASK, CLA_RELATIVE_BIAS))
        return CLATTN_SUCCESS;
    CLA_TRY(cla_problem_from_attention_backward(&attention, &problem->attention, error));
    problem->attention.accumulate = desc->accumulate != 0; /* but its inputs' gradients are the workspace's */
    return CLATTN_SUCCESS;
}

/* The parts, those before whose gradients they need. */
static clattn_status set_parts(const clattn_layer_backward_desc *desc, const struct cla_layer_problem *layer,
                               const struct wanted *wanted, struct cla_layer_backward_problem *problem,
                               clattn_error *error)
{
    static const struct cla_layer_projection last = {CLA_W_O, CLA_OUTPUT, CLA_PROJECT_OUTPUT};
    static const clattn_layout inner = {CLATTN_F32, {0}};
    CLA_TRY(set_projections(desc, layer, wanted, problem, error));
    CLA_TRY(set_attention(desc, layer, wanted, problem, error));
    return set_projection(desc, layer, &last, wanted, &desc->d_output_layout, &inner,
                          problem->attention.operation != NULL, false, &problem->projection[CLA_PROJECT_OUTPUT], error);
}

/* Of attention's backward part to the whole: the gradients of what is added to scores. */
static void take_gradients(struct cla_problem *whole, const struct cla_problem *attention)
{
    static const int pairs[][2] = {{CLA_LAYER_D_MASK, CLA_D_MASK},
                                   {CLA_LAYER_D_SINKS, CLA_D_SINKS},
                                   {CLA_LAYER_D_ALIBI_SLOPES, CLA_D_ALIBI_SLOPES},
                                   {CLA_LAYER_D_RELATIVE_BIAS, CLA_D_RELATIVE_BIAS},
                                   {CLA_LAYER_D_LSE, CLA_D_LSE}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        whole->tensor[pairs[i][0]] = attention->tensor[pairs[i][1]];
}

/* Leaves in the whole those of the forward's operands that some part reads. */
static void keep_what_is_read(struct cla_layer_backward_problem *problem)
{
    struct cla_problem *whole = &problem->whole;
    struct cla_layer_projection projections[3];
    const int count = cla_layer_projections(whole, projections);
    bool read[CLA_NUM_LAYER_OPERANDS] = {[CLA_KEPT] = true};
    for (int i = 0; i < count; i++) {
        const struct cla_problem *part = &problem->projection[projections[i].number];
        read[projections[i].input] = read[projections[i].input] || part->tensor[CLA_LINEAR_INPUT].present;
        read[projections[i].weight] = part->tensor[CLA_LINEAR_WEIGHT].present;
    }
    read[CLA_W_O] = problem->projection[CLA_PROJECT_OUTPUT].tensor[CLA_LINEAR_WEIGHT].present;
    for (int o = CLA_MASK; o < CLA_NUM_ATTENTION_OPERANDS; o++)
        read[o] = problem->attention.tensor[o].present;
    for (int o = 0; o < CLA_NUM_LAYER_OPERANDS; o++) {
        if (!read[o])
            remove_tensor(whole, o);
        whole->tensor[o].written = false;
    }
}

clattn_status cla_problem_from_layer_backward(const clattn_layer_backward_desc *given,
                                              struct cla_layer_backward_problem *problem, clattn_error *error)
{
    clattn_layer_backward_desc desc;
    clattn_layer_desc forward;
    struct cla_layer_problem *layer = &problem->forward;
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_layer_backward_desc", error));
    CLA_CHECK(desc.layer != NULL, error, "layer is NULL: expected the forward's descriptor");
    memset(problem, 0, sizeof *problem);
    CLA_TRY(read_layer(desc.layer, &forward, layer, error));
    const struct wanted wanted = read_wanted(&desc);
    problem->whole = layer->whole;
    problem->whole.operation = &cla_layer_backward_operation;
    CLA_TRY(check_wanted(&problem->whole, &wanted, error));
    if (desc.d_lse && !layer->whole.tensor[CLA_LSE].present)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "d_lse is %d and layer.attention.lse is 0: expected 0, the layer gives out no lse", desc.d_lse);
    CLA_TRY(set_gradients(&desc, &wanted, &problem->whole, error));
    CLA_TRY(set_parts(&desc, layer, &wanted, problem, error));
    take_gradients(&problem->whole, &problem->attention);
    keep_what_is_read(problem);
    problem->whole.accumulate = desc.accumulate != 0;
    problem->whole.accumulate_input = desc.accumulate_inputs != 0;
    problem->places = cla_layer_places(layer, sizeof(float), false);
    return CLATTN_SUCCESS;
}
