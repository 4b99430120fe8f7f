/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of a context: what they are made of, sharing, failing builds, threads, fork. The kernel files are this
 * test's own: its definitions of cla_sources and cla_num_sources take the place of the embedded ones.
 */
#include "ocl/context.h"
#include "ocl/process.h"
#include "ocl/source.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

/* The definition and the use of a function are in two files, and the result depends on an option. */
static const unsigned char lib_text[] = "int lib_value(int x) { return FACTOR * x; }\n";
static const unsigned char good_text[] = "kernel void good(global int *out)\n"
                                         "{\n"
                                         "    out[0] = lib_value(21);\n"
                                         "}\n"
                                         "kernel void other(global int *out) { out[0] = 1; }";
static const unsigned char bad_text[] = "\n"
                                        "kernel void bad(global int *out) { out[0] = this_is_not_declared; }\n";

const struct cla_source cla_sources[] = {
    {"lib/value.cl", lib_text, sizeof lib_text - 1},
    {"bad.cl", bad_text, sizeof bad_text - 1},
    {"good.cl", good_text, sizeof good_text - 1},
};
const size_t cla_num_sources = 3;

struct record {
    int errors;
    int infos;
    char last_error[20000];
};

static void keep_log(clattn_log_level level, const char *text, void *user_data)
{
    struct record *record = user_data;
    if (level == CLATTN_LOG_INFO)
        record->infos++;
    if (level == CLATTN_LOG_ERROR) {
        record->errors++;
        snprintf(record->last_error, sizeof record->last_error, "%s", text);
    }
}

static struct record record;
static clattn_context *context;

static int make_context(void **state)
{
    clattn_context_desc desc;
    clattn_error error;
    (void)state;
    memset(&record, 0, sizeof record);
    clattn_context_desc_init(&desc);
    desc.log = keep_log;
    desc.log_data = &record;
    if (clattn_context_create_default(NULL, &desc, &context, &error) != CLATTN_SUCCESS) {
        print_error("%s\n", error.message);
        return -1;
    }
    return 0;
}

static int release_context(void **state)
{
    (void)state;
    clattn_context_release(context);
    return 0;
}

static cl_kernel get(const char *options, const char *name)
{
    cl_kernel kernel = NULL;
    clattn_error error;
    if (cla_context_kernel(context, "good.cl", options, name, &kernel, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return kernel;
}

/* What the kernel writes. */
static int run(cl_kernel kernel)
{
    cl_int code, value = -1;
    size_t one = 1;
    cl_mem out = clCreateBuffer(context->cl_ctx, CL_MEM_READ_WRITE, sizeof value, NULL, &code);
    cl_command_queue queue = clCreateCommandQueue(context->cl_ctx, context->device.id, 0, &code);
    assert_int_equal(clSetKernelArg(kernel, 0, sizeof out, &out), CL_SUCCESS);
    assert_int_equal(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, &one, 0, NULL, NULL), CL_SUCCESS);
    assert_int_equal(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof value, &value, 0, NULL, NULL), CL_SUCCESS);
    clReleaseCommandQueue(queue);
    clReleaseMemObject(out);
    return value;
}

static void library_files_and_options_are_in(void **state)
{
    (void)state;
    cl_kernel twice = get("-D FACTOR=2", "good");
    cl_kernel thrice = get("-D FACTOR=3", "good");
    assert_int_equal(run(twice), 42);
    assert_int_equal(run(thrice), 63);
    clReleaseKernel(twice);
    clReleaseKernel(thrice);
}

static void the_same_is_built_once(void **state)
{
    (void)state;
    cl_kernel kernels[] = {get("-D FACTOR=2", "good"), get("-D FACTOR=2", "good"), get("-D FACTOR=2", "other")};
    assert_int_equal(record.infos, 1);
    assert_ptr_not_equal(kernels[0], kernels[1]); /* arguments are set in the kernel object: each asker has its own */
    clReleaseKernel(kernels[0]);
    assert_int_equal(run(kernels[1]), 42);
    assert_int_equal(run(kernels[2]), 1);
    clReleaseKernel(kernels[1]);
    clReleaseKernel(kernels[2]);

    clReleaseKernel(get("-D FACTOR=4", "good"));
    assert_int_equal(record.infos, 2);
}

static void a_failing_build_is_explained_and_not_kept(void **state)
{
    cl_kernel kernel = NULL;
    clattn_error error;
    (void)state;
    for (int attempt = 1; attempt <= 2; attempt++) {
        memset(&error, 0, sizeof error);
        assert_int_equal(cla_context_kernel(context, "bad.cl", "-D FACTOR=1", "bad", &kernel, &error),
                         CLATTN_ERROR_BUILD_FAILED);
        assert_int_equal(error.status, CLATTN_ERROR_BUILD_FAILED);
        assert_int_equal(error.cl_code, CL_BUILD_PROGRAM_FAILURE);
        assert_ptr_equal(strstr(error.message, "bad.cl does not build: "), error.message);
        assert_null(kernel);
        assert_int_equal(record.errors, attempt);
        assert_non_null(strstr(record.last_error, "bad.cl -D FACTOR=1"));
        assert_non_null(strstr(record.last_error, "this_is_not_declared")); /* the driver's log */
    }
    assert_int_equal(cla_context_kernel(context, "bad.cl", "-D FACTOR=1", "bad", &kernel, NULL),
                     CLATTN_ERROR_BUILD_FAILED);
    assert_int_equal(record.infos, 0);
    kernel = get("-D FACTOR=2", "good");
    assert_int_equal(run(kernel), 42);
    clReleaseKernel(kernel);
}

static void unknown_names_are_refused(void **state)
{
    cl_kernel kernel = NULL;
    clattn_error error;
    (void)state;
    assert_int_equal(cla_context_kernel(context, "no_such.cl", "", "good", &kernel, &error), CLATTN_ERROR_BUILD_FAILED);
    assert_non_null(strstr(error.message, "no_such.cl"));
    assert_int_equal(cla_context_kernel(context, "good.cl", "-D FACTOR=2", "no_such", &kernel, &error),
                     CLATTN_ERROR_OPENCL);
    assert_int_equal(error.cl_code, CL_INVALID_KERNEL_NAME);
    assert_non_null(strstr(error.message, "no_such"));
    assert_null(kernel);
}

static void *ask(void *result)
{
    cl_kernel *kernel = result;
    cla_context_kernel(context, "good.cl", "-D FACTOR=2", "good", kernel, NULL);
    return NULL;
}

static void threads_share_a_build(void **state)
{
    enum { COUNT = 8 };
    pthread_t threads[COUNT];
    cl_kernel kernels[COUNT] = {0};
    (void)state;
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &kernels[i]), 0);
    for (int i = 0; i < COUNT; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(record.infos, 1);
    for (int i = 0; i < COUNT; i++) {
        assert_non_null(kernels[i]);
        assert_int_equal(run(kernels[i]), 42);
        clReleaseKernel(kernels[i]);
    }
}

static void references_keep_a_context(void **state)
{
    clattn_context *second = cla_context_retain(context);
    (void)state;
    clattn_context_release(context);
    context = second;
    cl_kernel kernel = get("-D FACTOR=2", "good");
    assert_int_equal(run(kernel), 42);
    clReleaseKernel(kernel);
}

static void a_forked_child_is_refused(void **state)
{
    int ended;
    (void)state;
    clReleaseKernel(get("-D FACTOR=2", "good"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cl_kernel kernel = NULL;
        clattn_error error;
        clattn_status status = cla_context_kernel(context, "good.cl", "-D FACTOR=2", "good", &kernel, &error);
        bool refused = status == CLATTN_ERROR_FORKED && kernel == NULL && strstr(error.message, "fork") != NULL;
        clattn_context_release(context); /* and giving it back neither crashes nor waits */
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
    assert_int_equal(cla_process_check(NULL), CLATTN_SUCCESS);
    cl_kernel kernel = get("-D FACTOR=2", "good");
    assert_int_equal(run(kernel), 42);
    clReleaseKernel(kernel);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, release_context)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(library_files_and_options_are_in),
        TEST(the_same_is_built_once),
        TEST(a_failing_build_is_explained_and_not_kept),
        TEST(unknown_names_are_refused),
        TEST(threads_share_a_build),
        TEST(references_keep_a_context),
        TEST(a_forked_child_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
