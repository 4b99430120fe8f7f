/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and contexts: facts, selectors and their errors, own OpenCL objects, the log, programs shared, fork. */
#include <clattn/clattn.h>
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program; /* argv[0] */

static cl_device_id any_device(void)
{
    cl_device_id device = NULL;
    clattn_error error;
    if (clattn_device_select("any", &device, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return device;
}

static clattn_device_info info_of(cl_device_id device)
{
    clattn_device_info info;
    clattn_device_info_init(&info);
    assert_int_equal(clattn_device_query(device, &info, NULL), CLATTN_SUCCESS);
    return info;
}

static void expect_success(pid_t child)
{
    int ended;
    assert_true(child >= 0);
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended)); /* a child that hangs is ended by its alarm */
    assert_int_equal(WEXITSTATUS(ended), 0);
}

/* The status and, in its message, each of up to two texts. */
static void expect(clattn_status got, const clattn_error *error, clattn_status status, const char *first,
                   const char *second)
{
    assert_int_equal(got, status);
    assert_int_equal(error->status, status);
    if (strstr(error->message, first) == NULL || strstr(error->message, second) == NULL)
        fail_msg("the message is \"%s\": expected \"%s\" and \"%s\" in it", error->message, first, second);
}

/* ---- devices -------------------------------------------------------------------------------------------------- */

static void facts_are_the_driver_s(void **state)
{
    cl_device_id device = any_device();
    clattn_device_info info = info_of(device);
    char text[sizeof info.name] = "";
    cl_uint units = 0;
    cl_ulong memory = 0;
    cl_device_type type = 0;
    (void)state;

    clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof text, text, NULL);
    assert_string_equal(info.name, text);
    clGetDeviceInfo(device, CL_DEVICE_VERSION, sizeof text, text, NULL);
    assert_string_equal(info.opencl, text);
    clGetDeviceInfo(device, CL_DRIVER_VERSION, sizeof text, text, NULL);
    assert_string_equal(info.driver, text);
    clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    assert_int_equal(info.compute_units, units);
    clGetDeviceInfo(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof memory, &memory, NULL);
    assert_int_equal(info.local_memory, memory);
    clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof memory, &memory, NULL);
    assert_int_equal(info.largest_buffer, memory);
    clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    assert_int_equal(info.type, type);
    assert_int_equal(info.device_class == CLATTN_DEVICE_CLASS_CPU, (type & CL_DEVICE_TYPE_GPU) == 0);
    assert_int_equal(info.struct_size, sizeof info);

    assert_int_not_equal(info.verdict, CLATTN_VERDICT_UNUSABLE); /* or "any" would not have found it */
    assert_int_equal(info.reason[0] == 0, info.verdict == CLATTN_VERDICT_READY);
    if (strstr(info.opencl, "PoCL") != NULL && strchr("56", info.driver[0]) != NULL)
        assert_int_equal(info.verdict, CLATTN_VERDICT_LIMITED); /* its faults are known */
    assert_true(info.has_sub_groups || info.sub_group == 0);
}

static void query_refuses_misuse(void **state)
{
    cl_device_id device = any_device();
    clattn_device_info info;
    clattn_error error;
    (void)state;

    clattn_device_info_init(&info);
    expect(clattn_device_query(NULL, &info, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "device", "NULL");
    expect(clattn_device_query(device, NULL, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "info", "NULL");
    info.struct_size = sizeof info - 1;
    expect(clattn_device_query(device, &info, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "struct_size",
           "expected");
    assert_int_equal(info.name[0], 0);
}

/* A program compiled with a later header, whose struct has more fields. */
static void query_fills_what_it_knows_of_a_later_struct(void **state)
{
    struct {
        clattn_device_info info;
        uint64_t later;
    } longer;
    (void)state;
    memset(&longer, 0, sizeof longer);
    longer.info.struct_size = sizeof longer;
    assert_int_equal(clattn_device_query(any_device(), &longer.info, NULL), CLATTN_SUCCESS);
    assert_int_equal(longer.info.struct_size, sizeof longer);
    assert_string_equal(longer.info.name, info_of(any_device()).name);
    assert_int_equal(longer.later, 0);
}

/* ---- selectors ------------------------------------------------------------------------------------------------ */

static cl_device_id listed(cl_uint platform, cl_uint number)
{
    cl_platform_id platforms[64];
    cl_device_id devices[64];
    cl_uint num_platforms = 0, num_devices = 0;
    assert_int_equal(clGetPlatformIDs(64, platforms, &num_platforms), CL_SUCCESS);
    assert_true(platform < num_platforms);
    assert_int_equal(clGetDeviceIDs(platforms[platform], CL_DEVICE_TYPE_ALL, 64, devices, &num_devices), CL_SUCCESS);
    assert_true(number < num_devices);
    return devices[number];
}

static void selectors_find(void **state)
{
    cl_device_id device = NULL;
    cl_device_id any = any_device();
    clattn_device_info info = info_of(any);
    char name[sizeof info.name + 8] = "name=";
    const char *type = (info.type & CL_DEVICE_TYPE_GPU) != 0           ? "gpu"
                       : (info.type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? "accelerator"
                                                                       : "cpu";
    (void)state;

    unsetenv("CLATTN_DEVICE");
    assert_int_equal(clattn_device_select(NULL, &device, NULL), CLATTN_SUCCESS);
    assert_ptr_equal(device, any);
    assert_int_equal(clattn_device_select("", &device, NULL), CLATTN_SUCCESS);
    assert_ptr_equal(device, any);
    assert_int_equal(clattn_device_select(type, &device, NULL), CLATTN_SUCCESS);
    assert_ptr_equal(device, any); /* the first of the best type is the first of that type */
    assert_int_equal(clattn_device_select("0:0", &device, NULL), CLATTN_SUCCESS);
    assert_ptr_equal(device, listed(0, 0));

    /* The end of the name, upper and lower case exchanged. */
    strcat(name, info.name + strlen(info.name) / 2);
    for (char *c = name + 5; *c != 0; c++)
        *c = (char)(isupper((unsigned char)*c) ? tolower((unsigned char)*c) : toupper((unsigned char)*c));
    assert_int_equal(clattn_device_select(name, &device, NULL), CLATTN_SUCCESS);
    assert_non_null(strstr(info_of(device).name, info.name + strlen(info.name) / 2));
}

static void selectors_are_refused(void **state)
{
    static const char *const malformed[] = {
        "xyz", "GPU", "0", "0:", ":0", "-1:0", "0:0x", "0:-1", "name=", "gpu ", "99999999999999999999:0"};
    cl_device_id device = NULL;
    clattn_error error;
    (void)state;

    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
        expect(clattn_device_select(malformed[i], &device, &error), &error, CLATTN_ERROR_INVALID_VALUE, malformed[i],
               "expected any, gpu, cpu");
    expect(clattn_device_select("\x1b\n", &device, &error), &error, CLATTN_ERROR_INVALID_VALUE, "\\x1b", "\\x0a");
    expect(clattn_device_select("99:0", &device, &error), &error, CLATTN_ERROR_NO_DEVICE, "99:0", "0:0");
    expect(clattn_device_select("0:99", &device, &error), &error, CLATTN_ERROR_NO_DEVICE, "0:99", "0:0");
    expect(clattn_device_select("name=no such device", &device, &error), &error, CLATTN_ERROR_NO_DEVICE,
           "name=no such device", info_of(any_device()).name);
    assert_null(device);
    expect(clattn_device_select("any", NULL, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "device", "NULL");
}

static void the_environment_is_the_default(void **state)
{
    cl_device_id device = NULL;
    clattn_error error;
    (void)state;

    setenv("CLATTN_DEVICE", "nonsense", 1);
    expect(clattn_device_select(NULL, &device, &error), &error, CLATTN_ERROR_INVALID_VALUE, "CLATTN_DEVICE",
           "nonsense");
    expect(clattn_device_select("", &device, &error), &error, CLATTN_ERROR_INVALID_VALUE, "CLATTN_DEVICE", "nonsense");
    assert_int_equal(clattn_device_select("any", &device, NULL), CLATTN_SUCCESS); /* what is given counts */
    setenv("CLATTN_DEVICE", "0:0", 1);
    assert_int_equal(clattn_device_select(NULL, &device, NULL), CLATTN_SUCCESS);
    assert_ptr_equal(device, listed(0, 0));
    unsetenv("CLATTN_DEVICE");
}

/* The loader reads its configuration once, so this needs a process of its own: see without_platform. */
static void no_platform_names_packages(void **state)
{
    char folder[] = "/tmp/clattn-no-icd-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    pid_t child = fork();
    if (child == 0) {
        setenv("OCL_ICD_VENDORS", folder, 1);
        setenv("OPENCL_VENDOR_PATH", folder, 1); /* the same for another loader */
        unsetenv("OCL_ICD_FILENAMES");
        execl(program, program, "without-platform", (char *)NULL);
        _exit(99);
    }
    expect_success(child);
    rmdir(folder);
}

static int without_platform(void)
{
    cl_device_id device = NULL;
    clattn_context *context = NULL;
    clattn_error error;
    bool right = clattn_device_select("any", &device, &error) == CLATTN_ERROR_NO_DEVICE && device == NULL &&
                 error.cl_code == -1001 && /* CL_PLATFORM_NOT_FOUND_KHR */
                 strstr(error.message, "pocl-opencl-icd") != NULL &&
                 strstr(error.message, "intel-opencl-icd") != NULL &&
                 clattn_context_create_default(NULL, NULL, &context, &error) == CLATTN_ERROR_NO_DEVICE &&
                 context == NULL && strstr(error.message, "install") != NULL;
    if (!right)
        fprintf(stderr, "without a platform: \"%s\"\n", error.message);
    return right ? 0 : 1;
}

/* What PoCL lacks where it cannot write its cache is not PoCL: see without_cache. Another driver does not mind. */
static void a_platform_without_devices_tells_what_it_lacks(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        setenv("POCL_CACHE_DIR", "/proc/no such folder", 1);
        execl(program, program, "without-cache", (char *)NULL);
        _exit(99);
    }
    expect_success(child);
}

static int without_cache(void)
{
    cl_device_id device = NULL;
    clattn_error error = {.message = ""};
    clattn_status status = clattn_device_select("any", &device, &error);
    bool right = status == CLATTN_SUCCESS ||
                 (status == CLATTN_ERROR_NO_DEVICE && error.cl_code == CL_DEVICE_NOT_FOUND &&
                  strstr(error.message, "platform 0 (Portable Computing Language)") != NULL &&
                  strstr(error.message, "POCL_CACHE_DIR") != NULL && strstr(error.message, "install") == NULL);
    if (!right)
        fprintf(stderr, "without a cache: %s, %d: \"%s\"\n", clattn_status_string(status), (int)error.cl_code,
                error.message);
    return right ? 0 : 1;
}

/* ---- contexts ------------------------------------------------------------------------------------------------- */

static cl_uint references(cl_context cl_ctx)
{
    cl_uint count = 0;
    clGetContextInfo(cl_ctx, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL);
    return count;
}

static void the_caller_s_objects_are_retained(void **state)
{
    cl_int code;
    cl_device_id device = any_device();
    cl_context cl_ctx = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    clattn_context *context = NULL;
    (void)state;

    assert_non_null(cl_ctx);
    cl_uint before = references(cl_ctx);
    assert_int_equal(clattn_context_create(cl_ctx, device, NULL, &context, NULL), CLATTN_SUCCESS);
    assert_int_equal(references(cl_ctx), before + 1);
    assert_ptr_equal(clattn_context_cl_context(context), cl_ctx);
    assert_ptr_equal(clattn_context_cl_device(context), device);
    clattn_context_release(context);
    assert_int_equal(references(cl_ctx), before);
    clReleaseContext(cl_ctx);
    clattn_context_release(NULL);
}

static void contexts_refuse_misuse(void **state)
{
    cl_int code;
    cl_device_id device = any_device();
    cl_context cl_ctx = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    cl_uint before = references(cl_ctx);
    clattn_context *context = NULL;
    clattn_context_desc desc;
    clattn_error error;
    (void)state;

    expect(clattn_context_create(NULL, device, NULL, &context, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "cl_ctx",
           "NULL");
    expect(clattn_context_create(cl_ctx, NULL, NULL, &context, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "device",
           "NULL");
    expect(clattn_context_create(cl_ctx, device, NULL, NULL, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "context",
           "NULL");
    memset(&desc, 0, sizeof desc);
    expect(clattn_context_create(cl_ctx, device, &desc, &context, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT,
           "clattn_context_desc.struct_size", "0");
    expect(clattn_context_create_default("nonsense", NULL, &context, &error), &error, CLATTN_ERROR_INVALID_VALUE,
           "nonsense", "expected");
    expect(clattn_context_create_default(NULL, NULL, NULL, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "context",
           "NULL");
    assert_null(context);
    assert_int_equal(references(cl_ctx), before);
    clReleaseContext(cl_ctx);
}

/* A driver that can be told to have two devices: see two_devices. Others need not know the variable. */
static void devices_of_another_context_are_refused(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        setenv("POCL_DEVICES", "basic basic", 1);
        execl(program, program, "two-devices", (char *)NULL);
        _exit(99);
    }
    expect_success(child);
}

static int two_devices(void)
{
    cl_platform_id platform;
    cl_device_id devices[2];
    cl_uint count = 0;
    cl_int code;
    clattn_context *context = NULL;
    clattn_error error = {.message = ""};
    if (clGetPlatformIDs(1, &platform, NULL) != CL_SUCCESS ||
        clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 2, devices, &count) != CL_SUCCESS || count < 2) {
        printf("without a second device, one of another context is not tried\n");
        return 0;
    }
    cl_context cl_ctx = clCreateContext(NULL, 1, devices, NULL, NULL, &code);
    clattn_status status = clattn_context_create(cl_ctx, devices[1], NULL, &context, &error);
    const bool right = status == CLATTN_ERROR_INVALID_ARGUMENT && context == NULL &&
                       strstr(error.message, "expected one of the 1 devices of cl_ctx") != NULL;
    if (!right)
        fprintf(stderr, "two devices: %s: \"%s\"\n", clattn_status_string(status), error.message);
    clReleaseContext(cl_ctx);
    return right ? 0 : 1;
}

struct record {
    int builds;
    int calls;
};

static void count_log(clattn_log_level level, const char *text, void *user_data)
{
    struct record *record = user_data;
    record->calls++;
    if (level == CLATTN_LOG_INFO && strstr(text, "built in") != NULL)
        record->builds++;
}

static clattn_plan *make_plan(clattn_context *context)
{
    clattn_softmax_desc desc;
    clattn_plan *plan = NULL;
    clattn_error error;
    clattn_softmax_desc_init(&desc);
    desc.batch = desc.heads = 1;
    desc.q_len = desc.kv_len = 8;
    if (clattn_softmax_plan_create(context, &desc, &plan, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return plan;
}

static void plans_of_a_context_share_programs(void **state)
{
    struct record record = {0}, other_record = {0};
    clattn_context_desc desc;
    clattn_context *context = NULL, *other = NULL;
    (void)state;

    clattn_context_desc_init(&desc);
    desc.log = count_log;
    desc.log_data = &record;
    assert_int_equal(clattn_context_create_default(NULL, &desc, &context, NULL), CLATTN_SUCCESS);
    desc.log_data = &other_record;
    assert_int_equal(clattn_context_create_default(NULL, &desc, &other, NULL), CLATTN_SUCCESS);
    assert_int_equal(record.builds, 0); /* a context builds nothing */

    clattn_plan *first = make_plan(context);
    int builds = record.builds;
    assert_true(builds > 0);
    clattn_plan *second = make_plan(context);
    assert_int_equal(record.builds, builds);
    assert_int_equal(other_record.calls, 0); /* messages go to the context that they are about */
    clattn_plan *third = make_plan(other);
    assert_int_equal(other_record.builds, builds);

    clattn_context_release(context); /* before its plans */
    clattn_plan_release(first);
    clattn_plan_release(second);
    clattn_plan_release(third);
    clattn_context_release(other);
}

/* ---- sub-devices ---------------------------------------------------------------------------------------------- */

/* Runs a softmax over one key, whose weight is 1, on `queue`. */
static clattn_status run_on(clattn_context *context, cl_command_queue queue, clattn_error *error)
{
    const float zero = 0;
    float weight = -1;
    cl_int code;
    clattn_softmax_desc desc;
    clattn_softmax_args args;
    clattn_plan *plan = NULL;
    cl_context cl_ctx = clattn_context_cl_context(context);
    clattn_softmax_desc_init(&desc);
    desc.batch = desc.heads = desc.q_len = desc.kv_len = 1;
    if (clattn_softmax_plan_create(context, &desc, &plan, error) != CLATTN_SUCCESS)
        fail_msg("%s", error->message);
    clattn_softmax_args_init(&args, plan);
    args.scores.mem =
        clCreateBuffer(cl_ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof zero, (void *)&zero, &code);
    assert_int_equal(code, CL_SUCCESS);
    args.weights.mem = clCreateBuffer(cl_ctx, CL_MEM_READ_WRITE, sizeof weight, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    clattn_status status = clattn_softmax_run(plan, queue, &args, 0, NULL, NULL, error);
    if (status == CLATTN_SUCCESS) {
        assert_int_equal(
            clEnqueueReadBuffer(queue, args.weights.mem, CL_TRUE, 0, sizeof weight, &weight, 0, NULL, NULL),
            CL_SUCCESS);
        assert_true(weight == 1.0f);
    }
    clReleaseMemObject(args.scores.mem);
    clReleaseMemObject(args.weights.mem);
    clattn_plan_release(plan);
    return status;
}

static cl_uint device_references(cl_device_id device)
{
    cl_uint count = 0;
    clGetDeviceInfo(device, CL_DEVICE_REFERENCE_COUNT, sizeof count, &count, NULL);
    return count;
}

static void check_host_call(clattn_context *context)
{
    const float value[2] = {1, 2};
    float output[2] = {0, 0};
    clattn_attention_desc desc;
    clattn_attention_host_args args;
    clattn_error error;
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse("b1h1q1k1d2:f32", &desc, NULL), CLATTN_SUCCESS);
    clattn_attention_host_args_init(&args);
    args.query = args.key = args.value = value;
    args.output = output;
    if (clattn_attention_host(context, &desc, &args, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    assert_true(output[0] == 1.0f && output[1] == 2.0f);
}

/* Contexts on sub-devices, of the whole device's cl_context and of one made of them, and the queues that fit. */
static void check_sub_devices(cl_device_id device, const cl_device_id subs[2], cl_context cl_ctx)
{
    cl_int code;
    clattn_context *whole = NULL, *part = NULL;
    clattn_error error = {.message = ""};
    cl_command_queue queues[2], root_queue = clCreateCommandQueue(cl_ctx, device, 0, &code);
    const cl_uint before = device_references(subs[0]);
    clattn_status status = clattn_context_create(cl_ctx, subs[0], NULL, &part, &error);
    if (status != CLATTN_SUCCESS && error.cl_code == CL_INVALID_DEVICE && root_queue != NULL) {
        expect(status, &error, CLATTN_ERROR_INVALID_ARGUMENT, "device", "this driver does not take");
        clReleaseCommandQueue(root_queue);
        return;
    }
    if (status != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    assert_true(device_references(subs[0]) > before);
    assert_ptr_equal(clattn_context_cl_device(part), subs[0]);
    check_host_call(part);
    for (int i = 0; i < 2; i++) {
        queues[i] = clCreateCommandQueue(cl_ctx, subs[i], 0, &code);
        assert_int_equal(code, CL_SUCCESS);
    }
    assert_int_equal(run_on(part, queues[0], &error), CLATTN_SUCCESS);
    expect(run_on(part, queues[1], &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "queue", "another device");
    if (root_queue != NULL) {
        expect(run_on(part, root_queue, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "queue", "another device");
        if (clattn_context_create(cl_ctx, device, NULL, &whole, &error) != CLATTN_SUCCESS)
            fail_msg("%s", error.message);
        assert_int_equal(run_on(whole, root_queue, &error), CLATTN_SUCCESS);
        assert_int_equal(run_on(whole, queues[0], &error), CLATTN_SUCCESS);
        assert_int_equal(run_on(whole, queues[1], &error), CLATTN_SUCCESS);
        clattn_context_release(whole);
        clReleaseCommandQueue(root_queue);
    }
    for (int i = 0; i < 2; i++)
        clReleaseCommandQueue(queues[i]);
    clattn_context_release(part);
    assert_in_range(device_references(subs[0]), before, before + 1); /* some drivers must keep it */
}

static void sub_devices_are_devices(void **state)
{
    const cl_device_id device = any_device();
    const clattn_device_info info = info_of(device);
    const cl_device_partition_property halves[] = {CL_DEVICE_PARTITION_EQUALLY, info.compute_units / 2, 0};
    static cl_device_id subs[8]; /* static: what a driver must keep stays reachable */
    cl_uint count = 0;
    cl_int code;
    (void)state;
    if (info.compute_units < 2 || clCreateSubDevices(device, halves, 8, subs, &count) != CL_SUCCESS || count < 2) {
        print_message("the device cannot be divided: nothing is tried\n");
        return;
    }
    assert_int_equal(info_of(subs[0]).compute_units, info.compute_units / 2);
    assert_ptr_equal(any_device(), device);
    cl_context whole = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    check_sub_devices(device, subs, whole);
    clReleaseContext(whole);
    cl_context parts = clCreateContext(NULL, 2, subs, NULL, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    check_sub_devices(device, subs, parts);
    clReleaseContext(parts);

    /* Those that nobody else holds any more. */
    clattn_context *context[2] = {NULL, NULL};
    whole = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    for (int i = 0; i < 2; i++)
        clattn_context_create(whole, subs[i], NULL, &context[i], NULL); /* where the driver takes them, see above */
    clReleaseContext(whole);
    for (cl_uint i = 0; i < count; i++)
        clReleaseDevice(subs[i]);
    for (int i = 0; i < 2; i++) {
        if (context[i] != NULL)
            check_host_call(context[i]);
        clattn_context_release(context[i]);
    }
}

/* ---- fork ----------------------------------------------------------------------------------------------------- */

#define REFUSED(call)                                                                                                  \
    do {                                                                                                               \
        error.message[0] = 0;                                                                                          \
        clattn_status refused_ = (call);                                                                               \
        if (refused_ != CLATTN_ERROR_FORKED || error.status != CLATTN_ERROR_FORKED ||                                  \
            strstr(error.message, "exec") == NULL || strstr(error.message, "spawn") == NULL) {                         \
            fprintf(stderr, "%s: %s: \"%s\"\n", #call, clattn_status_string(refused_), error.message);                 \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Every function that would call OpenCL, after the parent has: none may try. */
static void use_all_in_child(cl_context cl_ctx, cl_device_id device, cl_command_queue queue, clattn_context *context,
                             clattn_plan *plan)
{
    cl_device_id found;
    clattn_context *other;
    clattn_plan *none;
    clattn_error error;
    clattn_device_info info;
    clattn_attention_desc attention;
    clattn_attention_host_args host_args;
    clattn_softmax_desc softmax;
    clattn_softmax_args softmax_args;
    clattn_weighted_sum_desc weighted_sum;
    clattn_merge_desc merge;
    clattn_linear_desc linear;
    clattn_layer_desc layer;
    clattn_rotary_desc rotary;
    clattn_sinusoidal_desc sinusoidal;
    clattn_append_desc append;
    float two[2] = {1, 2}, output[2];

    alarm(60);
    clattn_device_info_init(&info);
    REFUSED(clattn_device_select(NULL, &found, &error));
    REFUSED(clattn_device_query(device, &info, &error));
    REFUSED(clattn_context_create(cl_ctx, device, NULL, &other, &error));
    REFUSED(clattn_context_create_default(NULL, NULL, &other, &error));

    clattn_attention_desc_init(&attention);
    clattn_attention_desc_parse("b1h1q1k1d2:f32", &attention, NULL);
    REFUSED(clattn_attention_plan_create(context, &attention, &none, &error));
    clattn_attention_host_args_init(&host_args);
    host_args.query = host_args.key = host_args.value = two;
    host_args.output = output;
    REFUSED(clattn_attention_host(context, &attention, &host_args, &error));
    REFUSED(clattn_attention_host(NULL, &attention, &host_args, &error));
    clattn_layer_desc_init(&layer);
    layer.attention = &attention;
    layer.width = layer.output_width = 2;
    REFUSED(clattn_layer_plan_create(context, &layer, &none, &error));
    attention.scores_stage = CLATTN_SCORES_RAW;
    REFUSED(clattn_scores_plan_create(context, &attention, &none, &error));
    clattn_softmax_desc_init(&softmax);
    softmax.batch = softmax.heads = softmax.q_len = softmax.kv_len = 1;
    REFUSED(clattn_softmax_plan_create(context, &softmax, &none, &error));
    clattn_softmax_args_init(&softmax_args, plan);
    REFUSED(clattn_softmax_run(plan, queue, &softmax_args, 0, NULL, NULL, &error));
    clattn_weighted_sum_desc_init(&weighted_sum);
    weighted_sum.batch = weighted_sum.q_heads = weighted_sum.kv_heads = 1;
    weighted_sum.q_len = weighted_sum.kv_len = weighted_sum.value_dim = 1;
    REFUSED(clattn_weighted_sum_plan_create(context, &weighted_sum, &none, &error));
    clattn_merge_desc_init(&merge);
    merge.parts = merge.batch = merge.heads = merge.q_len = merge.value_dim = 1;
    REFUSED(clattn_merge_plan_create(context, &merge, &none, &error));
    clattn_linear_desc_init(&linear);
    linear.batch = linear.length = linear.in_features = linear.out_features = 1;
    REFUSED(clattn_linear_plan_create(context, &linear, &none, &error));
    clattn_rotary_desc_init(&rotary);
    rotary.batch = rotary.heads = rotary.length = 1;
    rotary.head_dim = 2;
    REFUSED(clattn_rotary_plan_create(context, &rotary, &none, &error));
    clattn_sinusoidal_desc_init(&sinusoidal);
    sinusoidal.batch = sinusoidal.length = 1;
    sinusoidal.width = 2;
    REFUSED(clattn_sinusoidal_plan_create(context, &sinusoidal, &none, &error));
    clattn_append_desc_init(&append);
    append.batch = append.kv_heads = append.length = append.capacity = append.head_dim = 1;
    REFUSED(clattn_append_plan_create(context, &append, &none, &error));

    clattn_plan_release(plan); /* giving them back is no use of the driver */
    clattn_context_release(context);
}

static void a_matrix_unit_is_used_or_has_a_reason(void **state)
{
    clattn_context *context = NULL;
    clattn_matrix_unit unit, again;
    clattn_error error;
    (void)state;
    clattn_matrix_unit_init(&unit);
    clattn_matrix_unit_init(&again);
    assert_int_equal(clattn_context_create_default(NULL, NULL, &context, &error), CLATTN_SUCCESS);
    assert_int_equal(clattn_context_matrix_unit(context, &unit, &error), CLATTN_SUCCESS);
    assert_int_equal(clattn_context_matrix_unit(context, &again, &error), CLATTN_SUCCESS);
    assert_memory_equal(&unit, &again, sizeof unit); /* once found, nothing is timed again */
    if (unit.used) {
        assert_string_equal(unit.name, "vdpbf16ps");
        assert_string_equal(unit.types, "bf16");
        assert_true(unit.gain > 1.0);
        assert_string_equal(unit.reason, "");
    } else {
        assert_string_not_equal(unit.reason, "");
    }
    unit.struct_size = 3;
    expect(clattn_context_matrix_unit(context, &unit, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT,
           "clattn_matrix_unit.struct_size is 3", "expected");
    expect(clattn_context_matrix_unit(context, NULL, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "NULL", "");
    expect(clattn_context_matrix_unit(NULL, &again, &error), &error, CLATTN_ERROR_INVALID_ARGUMENT, "context", "NULL");
    clattn_context_release(context);
}

static void a_forked_child_is_refused(void **state)
{
    clattn_context *context = NULL;
    cl_int code;
    (void)state;

    assert_int_equal(clattn_context_create_default(NULL, NULL, &context, NULL), CLATTN_SUCCESS);
    cl_context cl_ctx = clattn_context_cl_context(context);
    cl_device_id device = clattn_context_cl_device(context);
    cl_command_queue queue = clCreateCommandQueue(cl_ctx, device, 0, &code);
    assert_int_equal(code, CL_SUCCESS);
    clattn_plan *plan = make_plan(context);
    pid_t child = fork();
    if (child == 0) {
        use_all_in_child(cl_ctx, device, queue, context, plan);
        _exit(0);
    }
    expect_success(child);
    clattn_plan_release(plan);
    clReleaseCommandQueue(queue);
    clattn_context_release(context);
}

/* What the message advises: a new process. And what is free to do: to fork before OpenCL is used, see fork_first. */
static void a_new_process_is_not_refused(void **state)
{
    (void)state;
    any_device();
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, "fork-first", (char *)NULL);
        _exit(99);
    }
    expect_success(child);
}

static int fork_first(void)
{
    int ended = -1;
    pid_t child = fork();
    clattn_context *context = NULL;
    clattn_error error = {.message = ""};
    if (clattn_context_create_default(NULL, NULL, &context, &error) != CLATTN_SUCCESS)
        fprintf(stderr, "process %ld: \"%s\"\n", (long)getpid(), error.message);
    const bool made = context != NULL;
    clattn_context_release(context);
    if (child == 0)
        _exit(made ? 0 : 1);
    return made && waitpid(child, &ended, 0) == child && ended == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_the_driver_s),
        cmocka_unit_test(query_refuses_misuse),
        cmocka_unit_test(query_fills_what_it_knows_of_a_later_struct),
        cmocka_unit_test(selectors_find),
        cmocka_unit_test(selectors_are_refused),
        cmocka_unit_test(the_environment_is_the_default),
        cmocka_unit_test(no_platform_names_packages),
        cmocka_unit_test(a_platform_without_devices_tells_what_it_lacks),
        cmocka_unit_test(the_caller_s_objects_are_retained),
        cmocka_unit_test(contexts_refuse_misuse),
        cmocka_unit_test(devices_of_another_context_are_refused),
        cmocka_unit_test(plans_of_a_context_share_programs),
        cmocka_unit_test(sub_devices_are_devices),
        cmocka_unit_test(a_matrix_unit_is_used_or_has_a_reason),
        cmocka_unit_test(a_forked_child_is_refused),
        cmocka_unit_test(a_new_process_is_not_refused),
    };
    program = argv[0];
    if (argc > 1 && strcmp(argv[1], "without-platform") == 0)
        return without_platform();
    if (argc > 1 && strcmp(argv[1], "without-cache") == 0)
        return without_cache();
    if (argc > 1 && strcmp(argv[1], "two-devices") == 0)
        return two_devices();
    if (argc > 1 && strcmp(argv[1], "fork-first") == 0)
        return fork_first();
    unsetenv("CLATTN_DEVICE");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
