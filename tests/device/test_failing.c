/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of OpenCL calls that fail: status, code and message, and that nothing is released twice or left behind.
 */
#include "failing_layer.h"
#include <clattn/clattn.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct failing_layer *layer;

/* From now on the call `number` of `name` fails with `code`, 0: all of them; NULL: none does. */
static void make_fail(const char *name, long number, cl_int code)
{
    snprintf(layer->name, sizeof layer->name, "%s", name != NULL ? name : "");
    layer->number = number;
    layer->code = code;
}

static clattn_context *make_context(void)
{
    clattn_context *context = NULL;
    clattn_error error;
    make_fail(NULL, 0, CL_SUCCESS);
    if (clattn_context_create_default(NULL, NULL, &context, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return context;
}

static clattn_status make_plan(clattn_context *context, const char *problem, const char *variant, clattn_plan **plan,
                               clattn_error *error)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse(problem, &desc, NULL), CLATTN_SUCCESS);
    desc.variant = variant;
    return clattn_attention_plan_create(context, &desc, plan, error);
}

/* A slice of the scores after the first has the kernels of the first, which are retained for it. */
static void kernels_that_cannot_be_retained(void **state)
{
    static const char problem[] = "b1h4q4096k4096d8:f32";
    clattn_context *context = make_context();
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};
    int refusals = 0;
    (void)state;
    for (long number = 1;; number++) {
        make_fail("clRetainKernel", number, CL_OUT_OF_HOST_MEMORY);
        clattn_status status = make_plan(context, problem, "unfused", &plan, &error);
        const bool spared = layer->name[0] != '\0';
        make_fail(NULL, 0, CL_SUCCESS);
        if (spared) {
            assert_int_equal(status, CLATTN_SUCCESS);
            break;
        }
        assert_int_equal(status, CLATTN_ERROR_OUT_OF_HOST_MEMORY);
        assert_int_equal(error.cl_code, CL_OUT_OF_HOST_MEMORY);
        assert_non_null(strstr(error.message, "clRetainKernel"));
        assert_int_equal(layer->kernels, 0);
        assert_null(plan);
        refusals++;
    }
    assert_true(refusals >= 3);
    assert_true(layer->kernels > 3);
    clattn_plan_release(plan);
    assert_int_equal(layer->kernels, 0);
    clattn_context_release(context);
}

/* A driver that launches nothing: the failure is that of the best variant, whatever the others say. */
static void launches_that_fail(void **state)
{
    static const char problem[] = "b1h2q40k40d8:f32";
    clattn_context *context = make_context();
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};
    char expected[200];
    (void)state;
    assert_int_equal(make_plan(context, problem, NULL, &plan, &error), CLATTN_SUCCESS);
    snprintf(expected, sizeof expected, "%s: clEnqueueNDRangeKernel failed with CL_OUT_OF_RESOURCES (-5)",
             clattn_plan_variant(plan));
    clattn_plan_release(plan);
    plan = NULL;
    make_fail("clEnqueueNDRangeKernel", 0, CL_OUT_OF_RESOURCES);
    assert_int_equal(make_plan(context, problem, NULL, &plan, &error), CLATTN_ERROR_OUT_OF_DEVICE_MEMORY);
    make_fail(NULL, 0, CL_SUCCESS);
    assert_int_equal(error.cl_code, CL_OUT_OF_RESOURCES);
    assert_string_equal(error.message, expected);
    assert_null(plan);
    assert_int_equal(layer->kernels, 0);
    clattn_context_release(context);
}

/* What cannot be asked is not what is not there: nothing that is to be installed. */
static void devices_that_cannot_be_listed(void **state)
{
    cl_device_id device = NULL;
    clattn_error error = {.message = ""};
    (void)state;
    make_fail("clGetDeviceIDs", 0, CL_OUT_OF_HOST_MEMORY);
    assert_int_equal(clattn_device_select("any", &device, &error), CLATTN_ERROR_NO_DEVICE);
    make_fail(NULL, 0, CL_SUCCESS);
    assert_int_equal(error.cl_code, CL_OUT_OF_HOST_MEMORY);
    assert_non_null(strstr(error.message, "clGetDeviceIDs failed with CL_OUT_OF_HOST_MEMORY (-6)"));
    assert_null(strstr(error.message, "install"));
    assert_null(device);

    make_fail("clGetPlatformIDs", 1, CL_OUT_OF_HOST_MEMORY);
    assert_int_equal(clattn_device_select("any", &device, &error), CLATTN_ERROR_OUT_OF_HOST_MEMORY);
    assert_int_equal(error.cl_code, CL_OUT_OF_HOST_MEMORY);
    assert_null(strstr(error.message, "install"));
}

/* Each question about the first device: it is unusable then, for that reason, or another one is found. */
static void devices_that_do_not_answer(void **state)
{
    const cl_int codes[] = {CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES, CL_INVALID_VALUE};
    cl_device_id usual = NULL;
    int refusals[3] = {0};
    (void)state;
    make_fail(NULL, 0, CL_SUCCESS);
    assert_int_equal(clattn_device_select("any", &usual, NULL), CLATTN_SUCCESS);
    for (int c = 0; c < 3; c++) {
        for (long number = 1;; number++) {
            cl_device_id device = NULL;
            clattn_error error = {.message = ""};
            make_fail("clGetDeviceInfo", number, codes[c]);
            clattn_status status = clattn_device_select("any", &device, &error);
            if (layer->name[0] != '\0')
                break;
            if (status == CLATTN_SUCCESS)
                continue;
            assert_int_equal(status, CLATTN_ERROR_NO_DEVICE);
            assert_int_equal(error.cl_code, codes[c]);
            assert_non_null(strstr(error.message, "clGetDeviceInfo("));
            refusals[c]++;
        }
    }
    make_fail(NULL, 0, CL_SUCCESS);
    /* Some questions are not every driver's to know, which is another code than having no memory. */
    assert_true(refusals[0] == 0 || refusals[2] < refusals[0]);
    assert_int_equal(refusals[0], refusals[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_cannot_be_retained),
        cmocka_unit_test(launches_that_fail),
        cmocka_unit_test(devices_that_cannot_be_listed),
        cmocka_unit_test(devices_that_do_not_answer),
    };
    const char *path = getenv("OPENCL_LAYERS");
    void *module = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
    cl_device_id device;
    if (module == NULL || (layer = dlsym(module, "failing_layer")) == NULL) {
        fprintf(stderr, "expected the path of the layer in OPENCL_LAYERS\n");
        return 1;
    }
    clattn_device_select("any", &device, NULL);
    if (layer->calls == 0) {
        printf("SKIPPED: the OpenCL loader knows no layers\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
