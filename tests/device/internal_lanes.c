/* SPDX-License-Identifier: Apache-2.0 */
/* What cl/lib/lanes.cl says of its power of two, for each width of a vector. */
#include "harness.h"
#include "ocl/source.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As stated there. */
static const struct {
    const char *function;
    double relative_error;
} powers[] = {{"vec_exp2", 1.9e-7}, {"vec_exp2_bf16", 9e-5}};
#define LEAST      (-126.0) /* from here on; below, a result may be 0 already */
#define ZERO_BELOW (-126.5)
#define MOST       16.0

enum { COUNT = 1 << 18, MOST_LANES = 16 };

static const char kernel_text[] = "\n__kernel void powers(__global float *x)\n"
                                  "{\n"
                                  "    __global float *p = x + get_global_id(0) * CLA_LANES;\n"
                                  "    vec_store(POWER(vec_load(p)), p);\n"
                                  "}\n";

static const struct cla_source *source(const char *name)
{
    for (size_t n = 0; n < cla_num_sources; ++n)
        if (strcmp(cla_sources[n].name, name) == 0)
            return &cla_sources[n];
    fail_msg("no source %s", name);
    return NULL;
}

static cl_program build(const struct harness *harness, const char *function, int lanes)
{
    const struct cla_source *types = source("lib/types.cl");
    const struct cla_source *vectors = source("lib/lanes.cl");
    const char *texts[] = {(const char *)types->text, (const char *)vectors->text, kernel_text};
    const size_t sizes[] = {types->size, vectors->size, sizeof kernel_text - 1};
    char options[240];
    cl_int code = CL_SUCCESS;
    cl_program program = clCreateProgramWithSource(harness->cl_ctx, 3, (const char **)texts, sizes, &code);

    assert_int_equal(code, CL_SUCCESS);
    snprintf(
        options, sizeof options,
        "-D POWER=%s -D CLA_LANES=%d -D CLA_QUERY_TYPE=0 -D CLA_KEY_TYPE=0 -D CLA_VALUE_TYPE=0 -D CLA_OUTPUT_TYPE=0 "
        "-D CLA_MASK_TYPE=0 -cl-std=CL1.2",
        function, lanes);
    assert_int_equal(clBuildProgram(program, 1, &harness->device, options, NULL, NULL), CL_SUCCESS);
    return program;
}

/* Replaces each x by its power. */
static void powers_of(const struct harness *harness, const char *function, int lanes, float *x)
{
    const size_t size = COUNT * sizeof *x, items = COUNT / (size_t)lanes;
    cl_int code = CL_SUCCESS;
    cl_program program = build(harness, function, lanes);
    cl_kernel kernel = clCreateKernel(program, "powers", &code);
    cl_mem mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, size, x, &code);

    assert_int_equal(code, CL_SUCCESS);
    assert_int_equal(clSetKernelArg(kernel, 0, sizeof mem, &mem), CL_SUCCESS);
    assert_int_equal(clEnqueueNDRangeKernel(harness->queue, kernel, 1, NULL, &items, NULL, 0, NULL, NULL), CL_SUCCESS);
    assert_int_equal(clEnqueueReadBuffer(harness->queue, mem, CL_TRUE, 0, size, x, 0, NULL, NULL), CL_SUCCESS);
    clReleaseMemObject(mem);
    clReleaseKernel(kernel);
    clReleaseProgram(program);
}

/* Integers, halves and what is next to them, what is no number, and the rest evenly from -150 to MOST. */
static void fill(float *x)
{
    static const float special[] = {-INFINITY, NAN, -FLT_MAX, -1e30F, -150.0F, -127.0F, 0.0F, -0.0F, FLT_MIN, -FLT_MIN};
    int n = 0;

    for (size_t s = 0; s < sizeof special / sizeof *special; ++s)
        x[n++] = special[s];
    for (int half = -300; half <= 2 * (int)MOST; ++half) {
        const float at = (float)half / 2;
        x[n++] = at;
        x[n++] = nextafterf(at, -INFINITY);
        x[n++] = nextafterf(at, (float)MOST);
    }
    for (const int first = n; n < COUNT; ++n)
        x[n] = (float)(-150.0 + (MOST + 150.0) * (n - first) / (COUNT - 1 - first));
}

static void check_powers(const struct harness *harness, const char *function, double relative_error)
{
    float *x = malloc(COUNT * sizeof *x), *power = malloc(COUNT * sizeof *power);

    assert_non_null(x);
    assert_non_null(power);
    fill(x);
    for (int lanes = 4; lanes <= MOST_LANES; lanes *= 2) {
        double worst = 0;
        memcpy(power, x, COUNT * sizeof *x);
        powers_of(harness, function, lanes, power);
        for (int n = 0; n < COUNT; ++n) {
            const double exact = exp2((double)x[n]), error = fabs((double)power[n] - exact);
            const bool whole = x[n] >= LEAST && x[n] == rintf(x[n]);
            const bool good = isnan(x[n])         ? isnan(power[n])
                              : x[n] < ZERO_BELOW ? power[n] == 0
                              : x[n] < LEAST      ? power[n] == 0 || error < relative_error * exact + 0x1p-149
                                                  : error < relative_error * exact && !(whole && error != 0);
            if (!good)
                fail_msg("%s, %d lanes: 2^%.9g is %.9g: expected %.9g", function, lanes, (double)x[n], (double)power[n],
                         exact);
            if (x[n] >= LEAST)
                worst = fmax(worst, error / exact);
        }
        print_message("%s, %d lanes: relative error at most %.3g\n", function, lanes, worst);
    }
    free(x);
    free(power);
}

static void powers_of_two_are_within_the_bound(void **state)
{
    for (size_t n = 0; n < sizeof powers / sizeof *powers; ++n)
        check_powers(*state, powers[n].function, powers[n].relative_error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(powers_of_two_are_within_the_bound)};

    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
