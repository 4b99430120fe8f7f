/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the kernel of matrix_unit.cl can be had for a device, and whether what it computes there is right. */
#include "meter/matrix_unit.h"
#include <stdio.h>
#include <string.h>

#define RESULT 4 /* floats that a work-item writes: sum, same, flop, products */

/* The elements of the operands, and a number of iterations whose sums f32 has exactly. */
static const cl_uint a_bits = 0x4200, b_bits = 0xc000; /* in f16 */
static const double a = 3, b = -2;
static const cl_int check_count = 100;

static cl_int build(struct matrix_unit *unit, cl_command_queue queue, const char *source, unsigned sub_group,
                    size_t group)
{
    char options[128];
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL);
    if (code == CL_SUCCESS)
        unit->program = clCreateProgramWithSource(context, 1, &source, NULL, &code);
    if (code != CL_SUCCESS)
        return code;
    snprintf(options, sizeof options, "-D CLA_GROUP=%zu -D CLA_SUB_GROUP=%u -D CLA_REQUIRED=0", group, sub_group);
    code = clBuildProgram(unit->program, 1, &device, options, NULL, NULL);
    if (code == CL_SUCCESS)
        unit->kernel = clCreateKernel(unit->program, "matrix_peak", &code);
    return code;
}

static cl_int run(cl_kernel kernel, cl_command_queue queue, size_t group, size_t work_items, cl_mem out)
{
    const cl_uint zero = 0;
    clSetKernelArg(kernel, 0, sizeof out, &out);
    clSetKernelArg(kernel, 1, sizeof check_count, &check_count);
    clSetKernelArg(kernel, 2, sizeof a_bits, &a_bits);
    clSetKernelArg(kernel, 3, sizeof b_bits, &b_bits);
    clSetKernelArg(kernel, 4, sizeof zero, &zero);
    cl_int code = clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &work_items, &group, 0, NULL, NULL);
    return code == CL_SUCCESS ? clFinish(queue) : code;
}

/* Looks at what every work-item wrote. */
static void check(struct matrix_unit *unit, const float *results, size_t work_items)
{
    const float flop = results[2], products = results[3];
    const double expected = check_count * (double)products * a * b;
    unit->flop = (double)flop;
    for (size_t i = 0; i < work_items && flop != 0; i++) {
        const float *result = results + RESULT * i;
        if ((double)result[0] != expected || result[1] != 1 || result[2] != flop || result[3] != products) {
            snprintf(unit->refusal, sizeof unit->refusal, "its sums are wrong: %g%s, expected %g everywhere",
                     (double)result[0], result[1] != 1 ? " and others" : "", expected);
            return;
        }
    }
}

void matrix_unit_create(struct matrix_unit *unit, cl_command_queue queue, const char *source, unsigned sub_group,
                        size_t group, size_t work_items, cl_mem out)
{
    memset(unit, 0, sizeof *unit);
    float *results = NULL;
    const char *step = "build";
    cl_int code = build(unit, queue, source, sub_group, group);
    if (code == CL_SUCCESS) {
        step = "run";
        code = run(unit->kernel, queue, group, work_items, out);
    }
    if (code == CL_SUCCESS)
        results = clEnqueueMapBuffer(queue, out, CL_TRUE, CL_MAP_READ, 0, RESULT * sizeof *results * work_items, 0,
                                     NULL, NULL, &code);
    if (code == CL_SUCCESS) {
        check(unit, results, work_items);
        clEnqueueUnmapMemObject(queue, out, results, 0, NULL, NULL);
    } else {
        snprintf(unit->refusal, sizeof unit->refusal, "its kernel does not %s: OpenCL error %d", step, (int)code);
    }
    if (unit->flop == 0 || *unit->refusal != '\0') {
        if (unit->kernel != NULL)
            clReleaseKernel(unit->kernel);
        unit->kernel = NULL;
    }
}

void matrix_unit_release(struct matrix_unit *unit)
{
    if (unit->kernel != NULL)
        clReleaseKernel(unit->kernel);
    if (unit->program != NULL)
        clReleaseProgram(unit->program);
    memset(unit, 0, sizeof *unit);
}
