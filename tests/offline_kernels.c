/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the library would give a device's compiler, written to files. This program is its own OpenCL: one GPU that runs
 * nothing, takes every program for built, and keeps the source and options of each. So tools/compile-offline compiles
 * what a device with the same limits would get, to the letter.
 *
 * usage: offline_kernels FOLDER LOCAL_MEMORY MAX_WORK_GROUP
 *
 * Writes FOLDER/N.cl and, to standard output, a line for each: N, kernel, work-items a group, options, between tabs.
 */
#include <clattn/clattn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const char *folder;
static cl_ulong local_memory;
static size_t max_work_group;

static void give_up(const char *what, const char *why)
{
    fprintf(stderr, "offline_kernels: %s: %s\n", what, why);
    exit(1);
}

/* ---- the OpenCL ------------------------------------------------------------------------------------------------- */

struct _cl_program {
    int number;
    bool listed;
    char *options;
};

struct _cl_kernel {
    int references;
    cl_program program;
    char *name;
};

/* Objects that are only passed around. */
static char platform_object, device_object, context_object, queue_object, buffer_object;
#define PLATFORM ((cl_platform_id)(void *)&platform_object)
#define DEVICE   ((cl_device_id)(void *)&device_object)
#define CONTEXT  ((cl_context)(void *)&context_object)
#define QUEUE    ((cl_command_queue)(void *)&queue_object)
#define BUFFER   ((cl_mem)(void *)&buffer_object)

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        give_up("memory", "none left");
    return memory;
}

static char *copy_string(const char *text)
{
    char *copy = allocate(strlen(text) + 1);
    return strcpy(copy, text);
}

/* An answer as OpenCL gives it: the value where there is room, its size where that is asked. */
static cl_int answer(const void *value, size_t value_size, size_t size, void *to, size_t *to_size)
{
    if (to != NULL && size < value_size)
        return CL_INVALID_VALUE;
    if (to != NULL)
        memcpy(to, value, value_size);
    if (to_size != NULL)
        *to_size = value_size;
    return CL_SUCCESS;
}

#define ANSWER(type, value)                                                                                            \
    do {                                                                                                               \
        const type answered = (value);                                                                                 \
        return answer(&answered, sizeof answered, size, to, to_size);                                                  \
    } while (0)

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *to, size_t *to_size)
{
    (void)device;
    switch (what) {
    case CL_DEVICE_PLATFORM:
        ANSWER(cl_platform_id, PLATFORM);
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
    case CL_DRIVER_VERSION:
        return answer("offline", sizeof "offline", size, to, to_size);
    case CL_DEVICE_VERSION:
        return answer("OpenCL 1.2 ", sizeof "OpenCL 1.2 ", size, to, to_size);
    case CL_DEVICE_OPENCL_C_VERSION:
        return answer("OpenCL C 1.2 ", sizeof "OpenCL C 1.2 ", size, to, to_size);
    case CL_DEVICE_PROFILE:
        return answer("FULL_PROFILE", sizeof "FULL_PROFILE", size, to, to_size);
    case CL_DEVICE_EXTENSIONS:
        return answer("", 1, size, to, to_size);
    case CL_DEVICE_TYPE:
        ANSWER(cl_device_type, CL_DEVICE_TYPE_GPU);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
    case CL_DEVICE_ENDIAN_LITTLE:
        ANSWER(cl_bool, CL_TRUE);
    case CL_DEVICE_SINGLE_FP_CONFIG:
        ANSWER(cl_device_fp_config, CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST | CL_FP_FMA);
    case CL_DEVICE_LOCAL_MEM_TYPE:
        ANSWER(cl_device_local_mem_type, CL_LOCAL);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        ANSWER(cl_uint, 64);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        ANSWER(cl_ulong, (cl_ulong)1 << 34);
    case CL_DEVICE_LOCAL_MEM_SIZE:
        ANSWER(cl_ulong, local_memory);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        ANSWER(size_t, max_work_group);
    default:
        return CL_INVALID_VALUE;
    }
}

cl_int clGetContextInfo(cl_context context, cl_context_info what, size_t size, void *to, size_t *to_size)
{
    (void)context;
    switch (what) {
    case CL_CONTEXT_NUM_DEVICES:
        ANSWER(cl_uint, 1);
    case CL_CONTEXT_DEVICES:
        ANSWER(cl_device_id, DEVICE);
    default:
        return CL_INVALID_VALUE;
    }
}

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *lengths,
                                     cl_int *code)
{
    static int number;
    char path[4096];
    (void)context;
    cl_program program = allocate(sizeof *program);
    program->number = number++;
    snprintf(path, sizeof path, "%s/%d.cl", folder, program->number);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        give_up(path, "cannot be written");
    for (cl_uint i = 0; i < count; i++)
        fwrite(texts[i], 1, lengths[i], file);
    if (fclose(file) != 0)
        give_up(path, "cannot be written");
    *code = CL_SUCCESS;
    return program;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void(CL_CALLBACK *notify)(cl_program, void *), void *user_data)
{
    (void)count, (void)devices, (void)notify, (void)user_data;
    program->options = copy_string(options);
    return CL_SUCCESS;
}

cl_int clReleaseProgram(cl_program program)
{
    free(program->options);
    free(program);
    return CL_SUCCESS;
}

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *code)
{
    cl_kernel kernel = allocate(sizeof *kernel);
    kernel->references = 1;
    kernel->program = program;
    kernel->name = copy_string(name);
    *code = CL_SUCCESS;
    return kernel;
}

cl_int clRetainKernel(cl_kernel kernel)
{
    kernel->references++;
    return CL_SUCCESS;
}

cl_int clReleaseKernel(cl_kernel kernel)
{
    if (--kernel->references > 0)
        return CL_SUCCESS;
    free(kernel->name);
    free(kernel);
    return CL_SUCCESS;
}

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what, size_t size,
                                void *to, size_t *to_size)
{
    (void)kernel, (void)device;
    switch (what) {
    case CL_KERNEL_WORK_GROUP_SIZE:
        ANSWER(size_t, max_work_group);
    case CL_KERNEL_LOCAL_MEM_SIZE: /* known to the compiler alone, which is yet to be asked */
        ANSWER(cl_ulong, 0);
    default:
        return CL_INVALID_VALUE;
    }
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint num_events, const cl_event *wait_list,
                              cl_event *event)
{
    (void)queue, (void)dims, (void)offset, (void)global, (void)num_events, (void)wait_list, (void)event;
    cl_program program = kernel->program;
    if (!program->listed)
        printf("%d\t%s\t%zu\t%s\n", program->number, kernel->name, *local, program->options);
    program->listed = true;
    return CL_SUCCESS;
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *data, cl_int *code)
{
    (void)context, (void)flags, (void)size, (void)data;
    *code = CL_SUCCESS;
    return BUFFER;
}

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device, cl_command_queue_properties properties,
                                      cl_int *code)
{
    (void)context, (void)device, (void)properties;
    *code = CL_SUCCESS;
    return QUEUE;
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    (void)kernel, (void)index, (void)size, (void)value;
    return CL_SUCCESS;
}

cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info what, size_t size, void *to,
                             size_t *to_size)
{
    (void)program, (void)device, (void)what;
    return answer("", 1, size, to, to_size);
}

/* What one object a kind needs no counting for. */
#define TAKE_NOTE_OF_NOTHING(name, type)                                                                               \
    cl_int name(type object)                                                                                           \
    {                                                                                                                  \
        (void)object;                                                                                                  \
        return CL_SUCCESS;                                                                                             \
    }

TAKE_NOTE_OF_NOTHING(clRetainDevice, cl_device_id)
TAKE_NOTE_OF_NOTHING(clReleaseDevice, cl_device_id)
TAKE_NOTE_OF_NOTHING(clRetainContext, cl_context)
TAKE_NOTE_OF_NOTHING(clReleaseContext, cl_context)
TAKE_NOTE_OF_NOTHING(clFinish, cl_command_queue)
TAKE_NOTE_OF_NOTHING(clReleaseCommandQueue, cl_command_queue)
TAKE_NOTE_OF_NOTHING(clReleaseMemObject, cl_mem)

/* ---- the cases -------------------------------------------------------------------------------------------------- */

static clattn_context *context;

static void release(clattn_status status, clattn_plan *plan, const char *what, const clattn_error *error)
{
    if (status != CLATTN_SUCCESS)
        give_up(what, error->message);
    clattn_plan_release(plan);
}

/* Kernels for vectors in one work-item are for CPUs and are not here. "unfused" is made of the three primitives. */
static void ask_for_attention(const char *variant, const char *sizes, int dim, const char *type, const char *semantics)
{
    char problem[128];
    clattn_attention_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    snprintf(problem, sizeof problem, "%sd%d:%s%s", sizes, dim, type, semantics);
    clattn_attention_desc_init(&desc);
    clattn_status status = clattn_attention_desc_parse(problem, &desc, &error);
    desc.variant = variant;
    if (status == CLATTN_SUCCESS)
        status = clattn_attention_plan_create(context, &desc, &plan, &error);
    release(status, plan, problem, &error);
}

/* Of another operation, described by what follows. */
#define ASK_FOR(operation, ...)                                                                                        \
    do {                                                                                                               \
        clattn_##operation##_desc desc;                                                                                \
        clattn_plan *plan = NULL;                                                                                      \
        clattn_error error;                                                                                            \
        clattn_##operation##_desc_init(&desc);                                                                         \
        __VA_ARGS__;                                                                                                   \
        const clattn_status status = clattn_##operation##_plan_create(context, &desc, &plan, &error);                  \
        release(status, plan, #operation, &error);                                                                     \
    } while (0)

static void ask_for_others(int dim, clattn_dtype type)
{
    ASK_FOR(append, desc.batch = 1, desc.kv_heads = 8, desc.length = 512, desc.capacity = 4096, desc.head_dim = dim,
            desc.key.dtype = desc.value.dtype = desc.key_cache.dtype = desc.value_cache.dtype = type);
    ASK_FOR(rotary, desc.batch = 1, desc.heads = 32, desc.length = 512, desc.head_dim = dim,
            desc.input.dtype = desc.output.dtype = type);
    ASK_FOR(sinusoidal, desc.batch = 1, desc.length = 512, desc.width = 8 * dim, desc.add = 1,
            desc.input.dtype = desc.output.dtype = type);
    ASK_FOR(linear, desc.batch = 1, desc.length = 512, desc.in_features = desc.out_features = 8 * dim, desc.bias = 1,
            desc.input.dtype = desc.weight.dtype = desc.bias_dtype = desc.output.dtype = type);
    clattn_linear_desc linear;
    clattn_linear_desc_init(&linear);
    linear.batch = 1;
    linear.length = 512;
    linear.in_features = linear.out_features = 8 * dim;
    linear.bias = 1;
    linear.input.dtype = linear.weight.dtype = type;
    ASK_FOR(linear_backward, desc.linear = &linear, desc.d_input = desc.d_weight = desc.d_bias = 1,
            desc.d_output_layout.dtype = desc.d_input_layout.dtype = desc.d_weight_layout.dtype = desc.d_bias_dtype =
                type);
}

static void ask_for_backward(int dim, clattn_dtype type, const char *semantics)
{
    char problem[128];
    clattn_attention_desc forward;
    clattn_attention_desc_init(&forward);
    snprintf(problem, sizeof problem, "b1h32g8q512k4096d%d:%s:lse%s", dim, clattn_dtype_string(type), semantics);
    if (clattn_attention_desc_parse(problem, &forward, NULL) != CLATTN_SUCCESS)
        give_up("desc_parse", problem);
    ASK_FOR(attention_backward, desc.attention = &forward, desc.d_query = desc.d_key = desc.d_value = 1,
            desc.d_output_layout.dtype = desc.d_query_layout.dtype = desc.d_key_layout.dtype =
                desc.d_value_layout.dtype = type);
}

/* The gradients of all that can be added to scores, with a mask that has an element for some pairs. */
static void ask_for_biases(int dim, clattn_dtype type, const char *mask_shape)
{
    char problem[160];
    clattn_attention_desc forward;
    clattn_attention_desc_init(&forward);
    snprintf(problem, sizeof problem,
             "b1h32g8q512k4096d%d:%s:lse:causal:mask=add@%s:alibi@bottom-right:relative=100@bottom-right", dim,
             clattn_dtype_string(type), mask_shape);
    if (clattn_attention_desc_parse(problem, &forward, NULL) != CLATTN_SUCCESS)
        give_up("desc_parse", problem);
    ASK_FOR(attention_backward, desc.attention = &forward, desc.d_mask = desc.d_alibi_slopes = desc.d_relative_bias = 1,
            desc.d_output_layout.dtype = desc.d_query_layout.dtype = desc.d_key_layout.dtype =
                desc.d_value_layout.dtype = type);
}

static void ask_for_all(void)
{
    static const struct {
        const char *variant;
        const char *sizes;
    } attention[] = {
        {"flash", "b1h32g8q512k4096"},
        {"split_kv", "b1h32g32q1k4096"},
        {"split_kv", "b1h32g8q4k4096"},
        {"unfused", "b1h32g8q512k4096"},
    };
    static const int dims[] = {64, 128, 256, 512};
    static const clattn_dtype types[] = {CLATTN_F32, CLATTN_F16};
    static const char *const semantics[] = {"",
                                            ":causal:mask=bool"}; /* the least and the most that is often asked for */
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            for (size_t a = 0; a < sizeof attention / sizeof *attention; a++) {
                for (size_t s = 0; s < sizeof semantics / sizeof *semantics; s++)
                    ask_for_attention(attention[a].variant, attention[a].sizes, dims[d], clattn_dtype_string(types[t]),
                                      semantics[s]);
            }
            ask_for_attention("flash", "b1h32g8q512k4096", dims[d], clattn_dtype_string(types[t]),
                              ":causal:dropout=0.1:lse"); /* as training asks */
            for (size_t s = 0; s < sizeof semantics / sizeof *semantics; s++)
                ask_for_backward(dims[d], types[t], semantics[s]);
            ask_for_biases(dims[d], types[t], "1x32x512x4096");
            ask_for_biases(dims[d], types[t], "1x1x1x4096");
            ask_for_others(dims[d], types[t]);
        }
    }
}

int main(int argc, char **argv)
{
    clattn_error error;
    if (argc != 4)
        give_up("usage", "offline_kernels FOLDER LOCAL_MEMORY MAX_WORK_GROUP");
    folder = argv[1];
    local_memory = strtoull(argv[2], NULL, 10);
    max_work_group = strtoull(argv[3], NULL, 10);
    if (clattn_context_create(CONTEXT, DEVICE, NULL, &context, &error) != CLATTN_SUCCESS)
        give_up("context", error.message);
    ask_for_all();
    clattn_context_release(context);
    return 0;
}
