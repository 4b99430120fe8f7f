/* SPDX-License-Identifier: Apache-2.0 */
/* The layer's descriptor: checked as a whole, then cut into the descriptors of attention and of the projections. */
#include "problem/check.h"
#include "problem/layer.h"
#include "problem/linear.h"
#include "util/error.h"
#include "util/size.h"
#include "util/struct_size.h"

static const struct cla_operand operands[] = {
    CLA_LAYER_OPERANDS,
};
_Static_assert(CLA_NUM_LAYER_OPERANDS <= CLA_MAX_OPERANDS, "every operand has a tensor");

/* "layer cross 512,768->512:f32:bias"; behind a space follows attention's own string. */
static void format(const struct cla_problem *problem, struct cla_line *line)
{
    static const char *const names[] = {"self", "cross", "key"};
    const struct cla_tensor *tensor = problem->tensor;
    cla_line_add(line, "layer %s %lld", problem->layer_packed ? "packed" : names[problem->layer_inputs],
                 (long long)tensor[CLA_INPUT].extent[3]);
    if (tensor[CLA_CONTEXT].present)
        cla_line_add(line, ",%lld", (long long)tensor[CLA_CONTEXT].extent[3]);
    cla_line_add(line, "->%lld", (long long)tensor[CLA_OUTPUT].extent[3]);
    cla_format_types(problem, line);
    if (tensor[CLA_B_O].present)
        cla_line_add(line, ":bias");
    if (tensor[CLA_KEPT].present)
        cla_line_add(line, ":keep");
}

clattn_status cla_check_layer_lengths(const struct cla_problem *problem, const struct cla_lengths *lengths,
                                      clattn_error *error)
{
    if (problem->layer_inputs == CLATTN_LAYER_KEY && lengths->kv_len != lengths->q_len)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "kv_len is %lld: expected q_len (%lld) with CLATTN_LAYER_KEY, every key needs a value",
                        (long long)lengths->kv_len, (long long)lengths->q_len);
    return CLATTN_SUCCESS;
}

const struct cla_operation cla_layer_operation = {
    .name = "layer",
    .operands = operands,
    .typed = {CLA_INPUT, CLA_CONTEXT, CLA_W_O, CLA_OUTPUT},
    .num_typed = 4,
    .q_len = "q_len",
    .kv_len = "kv_len",
    .format = format,
    .check_lengths = cla_check_layer_lengths,
};

/* The sizes that follow from the two descriptors, defaults filled in. Features are columns of projected tensors. */
struct sizes {
    int64_t batch;
    int64_t q_len;
    int64_t kv_len;
    int64_t width;
    int64_t key_width; /* of the sequence that keys come from */
    int64_t value_width;
    int64_t output_width;
    int64_t query_features;
    int64_t key_features;
    int64_t value_features;
    int64_t packed_features; /* the three together */
    int64_t attention_features;
};

static clattn_status refuse(clattn_error *error, const char *name, long long value, const char *expected)
{
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s is %lld: expected %s", name, value, expected);
}

/* The layer decides how projected tensors lie, so the caller cannot. */
static clattn_status check_dense(const char *name, const clattn_layout *layout, clattn_error *error)
{
    for (int d = 0; d < 4; d++)
        if (layout->strides[d] != 0)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "%s.strides[%d] is %lld: expected 0, a layer lays out what it projects", name, d,
                            (long long)layout->strides[d]);
    return CLATTN_SUCCESS;
}

/* Reads the attention descriptor into `desc` and checks all that does not depend on the layer's. Its own rules come
   last: what they would say about a layout is of no use here. */
static clattn_status check_attention(const clattn_attention_desc *given, clattn_attention_desc *desc,
                                     struct cla_problem *problem, clattn_error *error)
{
    CLA_TRY(cla_struct_read(given, sizeof *desc, desc, sizeof *desc, "clattn_attention_desc", error));
    CLA_TRY(check_dense("query", &desc->query, error));
    CLA_TRY(check_dense("key", &desc->key, error));
    CLA_TRY(check_dense("value", &desc->value, error));
    CLA_TRY(check_dense("output", &desc->output, error));
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR)
        return refuse(error, "kv_storage", (int)desc->kv_storage, "0 (linear), a layer projects its keys itself");
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        return refuse(error, "q_cu_lengths", (int)desc->q_cu_lengths, "0, a layer's sequences are not ragged");
    if (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        return refuse(error, "kv_cu_lengths", (int)desc->kv_cu_lengths, "0, a layer's sequences are not ragged");
    CLA_TRY(cla_check_range("q_heads", desc->q_heads, 1, CLA_MAX_HEADS, error));
    return cla_problem_from_attention(desc, problem, error);
}

static clattn_status count_features(int64_t heads, const char *heads_name, int64_t dim, const char *dim_name,
                                    int64_t *features, clattn_error *error)
{
    if (dim > CLA_MAX_LENGTH / heads)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "%s is %lld and %s is %lld: expected a product of at most %lld", heads_name, (long long)heads,
                        dim_name, (long long)dim, (long long)CLA_MAX_LENGTH);
    *features = heads * dim;
    return CLATTN_SUCCESS;
}

/* The fields of the layer's descriptor that are no layouts, with the attention that is already checked. */
static clattn_status set_sizes(const clattn_layer_desc *desc, const struct cla_problem *attention, struct sizes *sizes,
                               clattn_error *error)
{
    const bool self = desc->inputs == CLATTN_LAYER_SELF;
    if ((unsigned)desc->inputs > CLATTN_LAYER_KEY)
        return refuse(error, "inputs", (int)desc->inputs, "a clattn_layer_inputs, 0 to 2");
    if (desc->packed && !self)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "packed is set and inputs is %d (%s): expected 0 (self), packed weights have one input",
                        (int)desc->inputs, desc->inputs == CLATTN_LAYER_CROSS ? "cross" : "key");
    if (desc->inputs != CLATTN_LAYER_CROSS && attention->kv_len != attention->q_len)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "attention: kv_len is %lld: expected q_len (%lld) with %s",
                        (long long)attention->kv_len, (long long)attention->q_len,
                        self ? "CLATTN_LAYER_SELF, keys are of the same sequence"
                             : "CLATTN_LAYER_KEY, every key needs a value");
    CLA_TRY(cla_check_range("width", desc->width, 1, CLA_MAX_LENGTH, error));
    if (!self)
        CLA_TRY(cla_check_range("context_width", desc->context_width, 0, CLA_MAX_LENGTH, error));
    CLA_TRY(cla_check_range("output_width", desc->output_width, 0, CLA_MAX_LENGTH, error));
    if (desc->packed && (attention->tensor[CLA_KEY].dtype != attention->tensor[CLA_QUERY].dtype ||
                         attention->tensor[CLA_VALUE].dtype != attention->tensor[CLA_QUERY].dtype))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "attention: query, key and value are %s, %s and %s: expected one type with packed weights",
                        clattn_dtype_string(attention->tensor[CLA_QUERY].dtype),
                        clattn_dtype_string(attention->tensor[CLA_KEY].dtype),
                        clattn_dtype_string(attention->tensor[CLA_VALUE].dtype));

    const int64_t context_width = self || desc->context_width == 0 ? desc->width : desc->context_width;
    sizes->batch = attention->batch;
    sizes->q_len = attention->q_len;
    sizes->kv_len = attention->kv_len;
    sizes->width = desc->width;
    sizes->key_width = context_width;
    sizes->value_width = desc->inputs == CLATTN_LAYER_KEY ? desc->width : context_width;
    sizes->output_width = desc->output_width == 0 ? desc->width : desc->output_width;
    CLA_TRY(count_features(attention->q_heads, "attention: q_heads", attention->head_dim, "head_dim",
                           &sizes->query_features, error));
    CLA_TRY(count_features(attention->q_heads, "attention: q_heads", attention->value_dim, "value_dim",
                           &sizes->attention_features, error));
    sizes->key_features = attention->kv_heads * attention->head_dim; /* kv_heads is at most q_heads */
    sizes->value_features = attention->kv_heads * attention->value_dim;
    sizes->packed_features = sizes->query_features + sizes->key_features + sizes->value_features;
    if (desc->packed && sizes->packed_features > CLA_MAX_LENGTH)
        return refuse(error, "the number of rows of w_qkv", (long long)sizes->packed_features, "at most 2^30");
    return CLATTN_SUCCESS;
}

/* [batch, length, heads, dim] in rows of `row` elements, as [batch, heads, length, dim]. */
static void lay_out(clattn_layout *layout, int64_t length, int64_t dim, int64_t row)
{
    layout->strides[0] = length * row;
    layout->strides[1] = dim;
    layout->strides[2] = row;
    layout->strides[3] = 1;
}

/* Attention again, on what the projections leave. The backward pass needs its lse. */
static clattn_status set_attention(const clattn_layer_desc *desc, const struct sizes *sizes,
                                   clattn_attention_desc *attention, struct cla_problem *problem, clattn_error *error)
{
    const bool packed = desc->packed != 0;
    attention->lse = attention->lse || desc->keep;
    const int64_t head_dim = problem->head_dim, value_dim = problem->value_dim;
    lay_out(&attention->query, sizes->q_len, head_dim, packed ? sizes->packed_features : sizes->query_features);
    lay_out(&attention->key, sizes->kv_len, head_dim, packed ? sizes->packed_features : sizes->key_features);
    lay_out(&attention->value, sizes->kv_len, value_dim, packed ? sizes->packed_features : sizes->value_features);
    lay_out(&attention->output, sizes->q_len, value_dim, sizes->attention_features);
    return cla_problem_from_attention(attention, problem, error);
}

static clattn_status set_tensor(struct cla_problem *whole, int operand, const clattn_layout *layout, int64_t batch,
                                int64_t rows, int64_t columns, clattn_error *error)
{
    const int64_t extent[4] = {batch, 1, rows, columns};
    return cla_set_tensor(whole, operand, layout, CLA_DTYPES_FLOATING, extent, operand == CLA_OUTPUT, error);
}

/* A weight and its bias. */
static clattn_status set_weight(struct cla_problem *whole, const clattn_layer_desc *desc, int weight, int bias,
                                int64_t rows, int64_t columns, clattn_error *error)
{
    const clattn_layout dense = {desc->weight, {0}};
    CLA_TRY(set_tensor(whole, weight, &dense, 1, rows, columns, error));
    return desc->bias ? set_tensor(whole, bias, &dense, 1, 1, rows, error) : CLATTN_SUCCESS;
}

static clattn_status set_whole(const clattn_layer_desc *desc, const struct sizes *sizes, struct cla_problem *whole,
                               clattn_error *error)
{
    static const int inner[] = {CLA_QUERY, CLA_KEY, CLA_VALUE, CLA_OUTPUT};
    whole->operation = &cla_layer_operation;
    whole->layer_inputs = desc->inputs;
    whole->layer_packed = desc->packed != 0;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        memset(&whole->tensor[inner[i]], 0, sizeof whole->tensor[inner[i]]);

    CLA_TRY(set_tensor(whole, CLA_INPUT, &desc->input, sizes->batch, sizes->q_len, sizes->width, error));
    if (desc->inputs != CLATTN_LAYER_SELF)
        CLA_TRY(set_tensor(whole, CLA_CONTEXT, &desc->context, sizes->batch, sizes->kv_len, sizes->key_width, error));
    CLA_TRY(set_tensor(whole, CLA_OUTPUT, &desc->output, sizes->batch, sizes->q_len, sizes->output_width, error));
    CLA_TRY(set_weight(whole, desc, CLA_W_O, CLA_B_O, sizes->output_width, sizes->attention_features, error));
    if (desc->packed)
        return set_weight(whole, desc, CLA_W_QKV, CLA_B_QKV, sizes->packed_features, sizes->width, error);
    CLA_TRY(set_weight(whole, desc, CLA_W_Q, CLA_B_Q, sizes->query_features, sizes->width, error));
    CLA_TRY(set_weight(whole, desc, CLA_W_K, CLA_B_K, sizes->key_features, sizes->key_width, error));
    return set_weight(whole, desc, CLA_W_V, CLA_B_V, sizes->value_features, sizes->value_width, error);
}

/* One projection, dense where `from` and `to` are. */
static clattn_status set_projection(const clattn_layer_desc *desc, struct cla_layer_problem *layer,
                                    enum cla_projection number, int64_t length, const clattn_layout *from,
                                    int64_t in_features, const clattn_layout *to, int64_t out_features,
                                    clattn_error *error)
{
    clattn_linear_desc *linear = &layer->projection_desc[number];
    clattn_linear_desc_init(linear);
    linear->batch = layer->attention.batch;
    linear->length = length;
    linear->in_features = in_features;
    linear->out_features = out_features;
    linear->bias = desc->bias;
    linear->input = *from;
    linear->weight.dtype = desc->weight;
    linear->bias_dtype = desc->weight;
    linear->output = *to;
    return cla_problem_from_linear(linear, &layer->projection[number], error);
}

static clattn_status set_projections(const clattn_layer_desc *desc, const struct sizes *sizes,
                                     struct cla_layer_problem *layer, clattn_error *error)
{
    const struct cla_tensor *inner = layer->attention.tensor;
    const clattn_layout query = {inner[CLA_QUERY].dtype, {0}}, key = {inner[CLA_KEY].dtype, {0}};
    const clattn_layout value = {inner[CLA_VALUE].dtype, {0}}, output = {inner[CLA_OUTPUT].dtype, {0}};
    const clattn_layout *keys_from = desc->inputs == CLATTN_LAYER_SELF ? &desc->input : &desc->context;
    const clattn_layout *values_from = desc->inputs == CLATTN_LAYER_CROSS ? &desc->context : &desc->input;

    CLA_TRY(set_projection(desc, layer, CLA_PROJECT_OUTPUT, sizes->q_len, &output, sizes->attention_features,
                           &desc->output, sizes->output_width, error));
    CLA_TRY(set_projection(desc, layer, CLA_PROJECT_QUERY, sizes->q_len, &desc->input, sizes->width, &query,
                           desc->packed ? sizes->packed_features : sizes->query_features, error));
    if (desc->packed)
        return CLATTN_SUCCESS;
    CLA_TRY(set_projection(desc, layer, CLA_PROJECT_KEY, sizes->kv_len, keys_from, sizes->key_width, &key,
                           sizes->key_features, error));
    return set_projection(desc, layer, CLA_PROJECT_VALUE, sizes->kv_len, values_from, sizes->value_width, &value,
                          sizes->value_features, error);
}

int cla_layer_projections(const struct cla_problem *whole, struct cla_layer_projection projections[3])
{
    const int keys_from = whole->layer_inputs == CLATTN_LAYER_SELF ? CLA_INPUT : CLA_CONTEXT;
    const int values_from = whole->layer_inputs == CLATTN_LAYER_CROSS ? CLA_CONTEXT : CLA_INPUT;
    if (whole->layer_packed) {
        projections[0] = (struct cla_layer_projection){CLA_W_QKV, CLA_INPUT, CLA_PROJECT_QUERY};
        return 1;
    }
    projections[0] = (struct cla_layer_projection){CLA_W_Q, CLA_INPUT, CLA_PROJECT_QUERY};
    projections[1] = (struct cla_layer_projection){CLA_W_K, keys_from, CLA_PROJECT_KEY};
    projections[2] = (struct cla_layer_projection){CLA_W_V, values_from, CLA_PROJECT_VALUE};
    return 3;
}

/* Every place begins at a multiple of 256 bytes, as a workspace does. */
enum { ALIGNMENT = 256 };

/* Takes `count` elements from `end` on and gives out where they begin. */
static size_t take_place(int64_t *end, int64_t count, int64_t element_size)
{
    const int64_t start = *end;
    int64_t bytes = 0;
    if (!cla_mul(count, element_size, &bytes) || !cla_add(start, bytes, end) || *end > INT64_MAX - ALIGNMENT)
        *end = INT64_MAX - ALIGNMENT;
    *end = cla_round_up(*end, ALIGNMENT);
    return (size_t)start;
}

static int64_t size_in(const struct cla_tensor *tensor, size_t element_size)
{
    return element_size != 0 ? (int64_t)element_size : tensor->element_size;
}

struct cla_layer_places cla_layer_places(const struct cla_layer_problem *layer, size_t element_size, bool lse)
{
    const struct cla_problem *attention = &layer->attention;
    const struct cla_tensor *query = &attention->tensor[CLA_QUERY], *key = &attention->tensor[CLA_KEY];
    const struct cla_tensor *value = &attention->tensor[CLA_VALUE], *output = &attention->tensor[CLA_OUTPUT];
    const int64_t query_size = size_in(query, element_size);
    int64_t end = 0;
    struct cla_layer_places places = {0};
    places.query = take_place(&end, layer->projection[CLA_PROJECT_QUERY].tensor[CLA_LINEAR_OUTPUT].span, query_size);
    if (layer->whole.layer_packed) {
        places.key = (size_t)(attention->q_heads * attention->head_dim * query_size);
        places.value = places.key + (size_t)(attention->kv_heads * attention->head_dim * query_size);
    } else {
        places.key = take_place(&end, key->span, size_in(key, element_size));
        places.value = take_place(&end, value->span, size_in(value, element_size));
    }
    places.output = take_place(&end, output->span, size_in(output, element_size));
    places.lse = take_place(&end, lse ? attention->tensor[CLA_LSE].span : 0, sizeof(float));
    places.end = (size_t)end;
    return places;
}

/* What a run keeps for the backward pass. */
static clattn_status set_kept(struct cla_layer_problem *layer, clattn_error *error)
{
    static const clattn_layout dense_f32 = {CLATTN_F32, {0}};
    const int64_t extent[4] = {1, 1, 1, (int64_t)(layer->places.end / sizeof(float))};
    return cla_set_tensor(&layer->whole, CLA_KEPT, &dense_f32, CLA_DTYPES_F32, extent, true, error);
}

static clattn_status of_attention(clattn_status status, const clattn_error *why, clattn_error *error)
{
    return status == CLATTN_SUCCESS ? status : cla_fail(error, status, "attention: %s", why->message);
}

clattn_status cla_problem_from_layer(const clattn_layer_desc *given, struct cla_layer_problem *layer,
                                     clattn_error *error)
{
    clattn_layer_desc desc;
    clattn_attention_desc *attention = &layer->attention_desc;
    clattn_error why = {0};
    struct sizes sizes = {0};
    CLA_TRY(cla_struct_read(given, sizeof desc, &desc, sizeof desc, "clattn_layer_desc", error));
    CLA_CHECK(desc.attention != NULL, error, "attention is NULL: expected a clattn_attention_desc");
    memset(layer, 0, sizeof *layer);
    CLA_TRY(of_attention(check_attention(desc.attention, attention, &layer->attention, &why), &why, error));
    if ((unsigned)desc.weight > CLATTN_BF16)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "weight is %d (%s): expected f32, f16 or bf16",
                        (int)desc.weight, clattn_dtype_string(desc.weight));
    CLA_TRY(set_sizes(&desc, &layer->attention, &sizes, error));
    const bool lse = attention->lse != 0;
    CLA_TRY(of_attention(set_attention(&desc, &sizes, attention, &layer->attention, &why), &why, error));
    layer->whole = layer->attention;
    if (!lse)
        memset(&layer->whole.tensor[CLA_LSE], 0, sizeof layer->whole.tensor[CLA_LSE]);
    CLA_TRY(set_whole(&desc, &sizes, &layer->whole, error));
    CLA_TRY(set_projections(&desc, &sizes, layer, error));
    layer->places = cla_layer_places(layer, 0, desc.keep && !lse);
    return desc.keep ? set_kept(layer, error) : CLATTN_SUCCESS;
}
