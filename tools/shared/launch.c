/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers, runs, time and work of one plan on one device. */
#include "shared/launch.h"
#include <string.h>

/* Runs to time: enough for a median, about a second of them, and few where each takes long. */
#define LEAST_RUNS   3
#define MOST_RUNS    1000
#define MOST_SECONDS 1.0

static enum exit_code fail_opencl(const char *call, const char *operand, cl_int code)
{
    return fail(EXIT_FAILED, "%s%s%s%s failed with OpenCL error %d", call, *operand ? " (" : "", operand,
                *operand ? ")" : "", (int)code);
}

static enum exit_code create_buffer(struct launch *launch, clattn_context *context, enum operand operand, size_t bytes)
{
    cl_int code;
    cl_mem_flags flags = operand < OUTPUT ? CL_MEM_READ_ONLY : CL_MEM_READ_WRITE;
    cl_mem buffer = clCreateBuffer(clattn_context_cl_context(context), flags, bytes, NULL, &code);
    if (code != CL_SUCCESS) {
        cl_ulong most = 0;
        clGetDeviceInfo(clattn_context_cl_device(context), CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof most, &most, NULL);
        return fail(EXIT_FAILED,
                    "%s needs %zu bytes of the device, which has not as much, or not at once: the largest buffer is "
                    "%llu bytes (clCreateBuffer: OpenCL error %d)",
                    operand_names[operand], bytes, (unsigned long long)most, (int)code);
    }
    launch->buffer[operand] = buffer;
    return EXIT_DONE;
}

enum exit_code launch_create(struct launch *launch, clattn_context *context, const struct arrays *arrays)
{
    memset(launch, 0, sizeof *launch);
    launch->dropout_seed = arrays->dropout_seed;
    launch->dropout_offset = arrays->dropout_offset;
    cl_int code;
    launch->queue =
        clCreateCommandQueue(clattn_context_cl_context(context), clattn_context_cl_device(context), 0, &code);
    if (code != CL_SUCCESS)
        return fail_opencl("clCreateCommandQueue", "", code);
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++) {
        size_t bytes = arrays->array[operand].bytes;
        enum exit_code exit_code = EXIT_DONE;
        if (arrays_has(arrays, operand) && bytes > 0)
            exit_code = create_buffer(launch, context, operand, bytes);
        if (exit_code != EXIT_DONE)
            return exit_code;
    }
    return EXIT_DONE;
}

clattn_status launch_plan(clattn_context *context, const struct arrays *arrays, enum pass pass, const char *variant,
                          clattn_plan **plan, clattn_error *error)
{
    if (pass == BACKWARD) {
        clattn_attention_backward_desc desc = arrays_backward(arrays);
        desc.variant = variant;
        return clattn_attention_backward_plan_create(context, &desc, plan, error);
    }
    clattn_attention_desc desc = arrays->desc;
    desc.variant = variant;
    return clattn_attention_plan_create(context, &desc, plan, error);
}

static void set_backward_args(struct launch *launch)
{
    clattn_attention_backward_args *args = &launch->backward_args;
    clattn_attention_backward_args_init(args, launch->plan[BACKWARD]);
    args->query.mem = launch->buffer[QUERY];
    args->key.mem = launch->buffer[KEY];
    args->value.mem = launch->buffer[VALUE];
    args->output.mem = launch->buffer[OUTPUT];
    args->lse.mem = launch->buffer[LSE];
    args->mask.mem = launch->buffer[MASK];
    args->kv_lengths.mem = launch->buffer[KV_LENGTHS];
    args->q_cu_lengths.mem = launch->buffer[Q_CU_LENGTHS];
    args->kv_cu_lengths.mem = launch->buffer[KV_CU_LENGTHS];
    args->sinks.mem = launch->buffer[SINKS];
    args->alibi_slopes.mem = launch->buffer[ALIBI_SLOPES];
    args->relative_bias.mem = launch->buffer[RELATIVE_BIAS];
    args->d_output.mem = launch->buffer[D_OUTPUT];
    args->d_lse.mem = launch->buffer[D_LSE];
    args->d_query.mem = launch->buffer[D_QUERY];
    args->d_key.mem = launch->buffer[D_KEY];
    args->d_value.mem = launch->buffer[D_VALUE];
    args->d_mask.mem = launch->buffer[D_MASK];
    args->d_sinks.mem = launch->buffer[D_SINKS];
    args->d_alibi_slopes.mem = launch->buffer[D_ALIBI_SLOPES];
    args->d_relative_bias.mem = launch->buffer[D_RELATIVE_BIAS];
    args->dropout_seed_set = 1;
    args->dropout_seed = launch->dropout_seed;
    args->dropout_offset = launch->dropout_offset;
}

static void set_forward_args(struct launch *launch)
{
    clattn_attention_args *args = &launch->args;
    clattn_attention_args_init(args, launch->plan[FORWARD]);
    args->query.mem = launch->buffer[QUERY];
    args->key.mem = launch->buffer[KEY];
    args->value.mem = launch->buffer[VALUE];
    args->mask.mem = launch->buffer[MASK];
    args->kv_lengths.mem = launch->buffer[KV_LENGTHS];
    args->block_table.mem = launch->buffer[BLOCK_TABLE];
    args->q_cu_lengths.mem = launch->buffer[Q_CU_LENGTHS];
    args->kv_cu_lengths.mem = launch->buffer[KV_CU_LENGTHS];
    args->sinks.mem = launch->buffer[SINKS];
    args->alibi_slopes.mem = launch->buffer[ALIBI_SLOPES];
    args->relative_bias.mem = launch->buffer[RELATIVE_BIAS];
    args->output.mem = launch->buffer[OUTPUT];
    args->lse.mem = launch->buffer[LSE];
    args->scores.mem = launch->buffer[SCORES];
    args->dropout_seed_set = 1;
    args->dropout_seed = launch->dropout_seed;
    args->dropout_offset = launch->dropout_offset;
}

void launch_set_plan(struct launch *launch, enum pass pass, clattn_plan *plan)
{
    launch->plan[pass] = plan;
    if (pass == FORWARD)
        set_forward_args(launch);
    else
        set_backward_args(launch);
}

enum exit_code launch_upload(struct launch *launch, const struct arrays *arrays, enum operand first, enum operand end)
{
    launch->started = true;
    for (enum operand operand = first; operand < end; operand++) {
        const struct array *array = &arrays->array[operand];
        cl_int code = launch->buffer[operand] == NULL
                          ? CL_SUCCESS
                          : clEnqueueWriteBuffer(launch->queue, launch->buffer[operand], CL_TRUE, 0, array->bytes,
                                                 array->data, 0, NULL, NULL);
        if (code != CL_SUCCESS)
            return fail_opencl("clEnqueueWriteBuffer", operand_names[operand], code);
    }
    return EXIT_DONE;
}

enum exit_code launch_once(struct launch *launch, enum pass pass)
{
    clattn_error error;
    launch->started = true;
    clattn_status status =
        pass == FORWARD
            ? clattn_attention_run(launch->plan[FORWARD], launch->queue, &launch->args, 0, NULL, NULL, &error)
            : clattn_attention_backward_run(launch->plan[BACKWARD], launch->queue, &launch->backward_args, 0, NULL,
                                            NULL, &error);
    if (status != CLATTN_SUCCESS)
        return fail_library(&error);
    cl_int code = clFinish(launch->queue);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clFinish", "", code);
}

enum exit_code launch_download(struct launch *launch, struct arrays *arrays)
{
    for (enum operand operand = OUTPUT; operand < NUM_OPERANDS; operand++) {
        const struct array *array = &arrays->array[operand];
        cl_int code = launch->buffer[operand] == NULL
                          ? CL_SUCCESS
                          : clEnqueueReadBuffer(launch->queue, launch->buffer[operand], CL_TRUE, 0, array->bytes,
                                                array->data, 0, NULL, NULL);
        if (code != CL_SUCCESS)
            return fail_opencl("clEnqueueReadBuffer", operand_names[operand], code);
    }
    return EXIT_DONE;
}

enum exit_code launch_run(struct launch *launch, struct arrays *arrays)
{
    /* the outputs too, all 0, where a run leaves rows of no sequence or, without batches or heads, all as it is, or
     * adds to them */
    bool start = arrays->desc.batch == 0 || arrays->desc.q_heads == 0 ||
                 arrays->desc.q_cu_lengths != CLATTN_LENGTHS_NONE ||
                 arrays->desc.kv_cu_lengths != CLATTN_LENGTHS_NONE || arrays->backward.accumulate;
    TRY(launch_upload(launch, arrays, QUERY, start ? NUM_OPERANDS : OUTPUT));
    for (enum pass pass = FORWARD; pass < NUM_PASSES; pass++)
        if (launch->plan[pass] != NULL)
            TRY(launch_once(launch, pass));
    return launch_download(launch, arrays);
}

enum exit_code launch_measure(struct launch *launch, enum pass pass, struct timing *timing)
{
    double seconds[MOST_RUNS];
    int runs = 0;
    TRY(launch_once(launch, pass)); /* one more to warm up: the first ran on cold caches */
    for (double begin = timing_now(), start = begin;; start = timing_now()) {
        if (runs == MOST_RUNS || (runs >= LEAST_RUNS && start - begin > MOST_SECONDS))
            break;
        TRY(launch_once(launch, pass));
        seconds[runs++] = timing_now() - start;
    }
    timing_summarise(seconds, runs, timing);
    return EXIT_DONE;
}

void launch_release(struct launch *launch)
{
    if (launch->started)
        clFinish(launch->queue); /* memory of the host may be in use after a failure */
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++)
        if (launch->buffer[operand] != NULL)
            clReleaseMemObject(launch->buffer[operand]);
    if (launch->queue != NULL)
        clReleaseCommandQueue(launch->queue);
    memset(launch, 0, sizeof *launch);
}

/* The keys that a query at `position` sees, of `keys`: those from *first to the one before *end. */
static void visible_keys(const clattn_attention_desc *desc, int64_t position, int64_t keys, int64_t *first,
                         int64_t *end)
{
    int64_t last = keys - 1;
    *first = 0;
    position += desc->window_shift;
    if (desc->causal && position < last)
        last = position;
    if (desc->window && desc->window_right >= 0 && desc->window_right < last - position)
        last = position + desc->window_right;
    if (desc->window && desc->window_left >= 0 && desc->window_left < position)
        *first = position - desc->window_left;
    *end = last >= *first ? last + 1 : *first;
}

struct launch_work launch_work(const struct arrays *arrays, enum pass pass)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const int64_t far = INT64_C(1) << 40; /* beyond any length that has memory, and far from overflow */
    double pairs = 0, queries_in_all = 0, keys_in_all = 0;
    for (int64_t b = 0; b < desc->batch && desc->q_heads > 0 && desc->q_len > 0; b++) {
        int64_t queries, keys, seen = 0; /* all keys before it are counted: what queries see moves on with them */
        arrays_lengths(arrays, b, &queries, &keys);
        int64_t offset = desc->alignment == CLATTN_ALIGN_BOTTOM_RIGHT ? keys - queries
                         : desc->alignment == CLATTN_ALIGN_OFFSET     ? desc->offset
                                                                      : 0;
        offset = offset > far ? far : offset < -far ? -far : offset;
        for (int64_t i = 0; i < queries; i++) {
            int64_t first, end;
            visible_keys(desc, i + offset, keys, &first, &end);
            pairs += (double)(end - first);
            first = first > seen ? first : seen;
            keys_in_all += end > first ? (double)(end - first) : 0;
            seen = end > seen ? end : seen;
        }
        queries_in_all += (double)queries;
    }
    int64_t value_dim = desc->value_dim > 0 ? desc->value_dim : desc->head_dim;
    double query_bytes = (double)(clattn_dtype_size(desc->query.dtype) * (size_t)desc->head_dim +
                                  clattn_dtype_size(desc->output.dtype) * (size_t)value_dim);
    double key_bytes = (double)(clattn_dtype_size(desc->key.dtype) * (size_t)desc->head_dim +
                                clattn_dtype_size(desc->value.dtype) * (size_t)value_dim);
    struct launch_work work = {
        .flop = 2 * (double)desc->q_heads * pairs * (double)(desc->head_dim + value_dim),
        .bytes =
            (double)desc->q_heads * queries_in_all * query_bytes + (double)desc->kv_heads * keys_in_all * key_bytes,
    };
    if (pass == BACKWARD) {
        work.flop *= 2.5; /* five products where the forward has two, whatever a kernel computes twice */
        work.bytes *= 2;
    }
    return work;
}

const char *launch_tile(const clattn_plan *plan)
{
    const char *part = clattn_plan_name(plan);
    for (int i = 0; i < 3 && part != NULL; i++)
        part = strchr(part, '/') == NULL ? NULL : strchr(part, '/') + 1;
    return part == NULL ? "" : part;
}
