/* SPDX-License-Identifier: Apache-2.0 */
/* Dot products of pairs in bf16: known answers and a rate, of the kernels of cl/dot_probe.cl. */
#include "ops/dot.h"
#include "ops/kernel.h"
#include "util/error.h"
#include "util/os.h"
#include <stdio.h>
#include <string.h>

/* Rounds of the kernel that is timed, some 50 us of them; and how often. The best of each is undisturbed. */
enum { ROUNDS = 16384, TIMES = 5 };

/* A dot product does the work of two multiply-adds. Copying and rounding take up to a tenth of what is gained. */
static const double least_gain = 1.4;

enum { LANES = 16, INPUTS = 4, RESULTS = 2 };

/* Whether the processor that runs this has the instruction, and the system keeps its registers. */
static bool processor_has_it(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t rounded(float x)
{
    const uint32_t bits = bits_of(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Sums of small integers, which are exact in any order, and numbers to round that lie between two bf16, half-way too.
 */
static void make_question(float in[INPUTS][LANES], uint32_t expected[RESULTS][LANES])
{
    for (int n = 0; n < LANES; n++) {
        const float a_low = (float)(n - 7), a_high = (float)(2 * n + 1), b_low = (float)(5 - n),
                    b_high = (float)(3 * n);
        in[0][n] = from_bits((n % 2 != 0 ? 0xc3800000u : 0x43800000u) + (uint32_t)n * 0x4000u);
        in[1][n] = -from_bits(0x3f807fffu + (uint32_t)n);
        in[2][n] = from_bits(rounded(a_low) | rounded(a_high) << 16);
        in[3][n] = from_bits(rounded(b_low) | rounded(b_high) << 16);
        expected[0][n] = bits_of(in[0][n] + (a_low * b_low + a_high * b_high));
        expected[1][n] = rounded(in[0][n]) | rounded(in[1][n]) << 16;
    }
}

struct probe {
    clattn_context *context;
    cl_command_queue queue;
    cl_mem in, out;
    cl_kernel answers, rate;
};

static clattn_status create_kernel(struct probe *probe, const char *name, cl_kernel *kernel, clattn_error *error)
{
    struct cla_text options = {0};
    struct cla_build build = {.dot = CLA_DOT_INSTRUCTION};
    build.vector_block = cla_vector_block_for(&probe->context->device);
    cla_build_options(&options, &build);
    clattn_status status = options.failed
                               ? cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for build options")
                               : cla_context_kernel(probe->context, "dot_probe.cl", options.data, name, kernel, error);
    cla_text_free(&options);
    return status;
}

static clattn_status create(struct probe *probe, clattn_error *error)
{
    cl_int code;
    probe->queue = clCreateCommandQueue(probe->context->cl_ctx, probe->context->device.id, 0, &code);
    if (probe->queue == NULL)
        return cla_fail_cl(error, code, "clCreateCommandQueue");
    probe->in = clCreateBuffer(probe->context->cl_ctx, CL_MEM_READ_ONLY, INPUTS * LANES * sizeof(float), NULL, &code);
    if (probe->in == NULL)
        return cla_fail_cl(error, code, "clCreateBuffer");
    probe->out =
        clCreateBuffer(probe->context->cl_ctx, CL_MEM_READ_WRITE, RESULTS * LANES * sizeof(float), NULL, &code);
    if (probe->out == NULL)
        return cla_fail_cl(error, code, "clCreateBuffer");
    CLA_TRY(create_kernel(probe, "dot_answers", &probe->answers, error));
    return create_kernel(probe, "dot_rate", &probe->rate, error);
}

static void release(struct probe *probe)
{
    if (probe->answers != NULL)
        clReleaseKernel(probe->answers);
    if (probe->rate != NULL)
        clReleaseKernel(probe->rate);
    if (probe->in != NULL)
        clReleaseMemObject(probe->in);
    if (probe->out != NULL)
        clReleaseMemObject(probe->out);
    if (probe->queue != NULL)
        clReleaseCommandQueue(probe->queue);
}

/* Runs one work-item, and waits for it. */
static clattn_status run(const struct probe *probe, cl_kernel kernel, clattn_error *error)
{
    const size_t one = 1;
    cl_int code = clEnqueueNDRangeKernel(probe->queue, kernel, 1, NULL, &one, &one, 0, NULL, NULL);
    if (code == CL_SUCCESS)
        code = clFinish(probe->queue);
    return code == CL_SUCCESS ? CLATTN_SUCCESS : cla_fail_cl(error, code, "clEnqueueNDRangeKernel(dot_probe.cl)");
}

static clattn_status check_answers(const struct probe *probe, clattn_error *error)
{
    float in[INPUTS][LANES];
    uint32_t expected[RESULTS][LANES], found[RESULTS][LANES] = {{0}};
    make_question(in, expected);
    cl_int code = clEnqueueWriteBuffer(probe->queue, probe->in, CL_TRUE, 0, sizeof in, in, 0, NULL, NULL);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(probe->answers, 0, sizeof probe->out, &probe->out);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(probe->answers, 1, sizeof probe->in, &probe->in);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clSetKernelArg(dot_answers)");
    CLA_TRY(run(probe, probe->answers, error));
    code = clEnqueueReadBuffer(probe->queue, probe->out, CL_TRUE, 0, sizeof found, found, 0, NULL, NULL);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clEnqueueReadBuffer");
    for (int r = 0; r < RESULTS; r++) {
        for (int n = 0; n < LANES; n++) {
            if (found[r][n] != expected[r][n])
                return cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "%s is wrong: 0x%08x, expected 0x%08x",
                                r == 0 ? "a product" : "a pair", (unsigned)found[r][n], (unsigned)expected[r][n]);
        }
    }
    return CLATTN_SUCCESS;
}

static clattn_status time_loop(const struct probe *probe, cl_int floats, double *best, clattn_error *error)
{
    const cl_int count = ROUNDS;
    const cl_float x = 0.5f;
    cl_int code = clSetKernelArg(probe->rate, 0, sizeof probe->out, &probe->out);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(probe->rate, 1, sizeof floats, &floats);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(probe->rate, 2, sizeof count, &count);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(probe->rate, 3, sizeof x, &x);
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clSetKernelArg(dot_rate)");
    const double start = cla_os_seconds();
    CLA_TRY(run(probe, probe->rate, error));
    const double seconds = cla_os_seconds() - start;
    *best = *best == 0.0 || seconds < *best ? seconds : *best;
    return CLATTN_SUCCESS;
}

/* Success where the instruction is right and worth using. */
static clattn_status judge(struct probe *probe, double *gain, clattn_error *error)
{
    double dots = 0.0, floats = 0.0;
    if (probe->context->device.vector_lanes != LANES)
        return cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "vectors have %u lanes", probe->context->device.vector_lanes);
    CLA_TRY(create(probe, error));
    CLA_TRY(check_answers(probe, error));
    for (int i = 0; i < TIMES; i++) {
        CLA_TRY(time_loop(probe, 0, &dots, error));
        CLA_TRY(time_loop(probe, 1, &floats, error));
    }
    *gain = 2.0 * floats / dots;
    if (*gain < least_gain)
        return cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "%.2f times the products of float multiply-adds", *gain);
    return CLATTN_SUCCESS;
}

static clattn_status find(clattn_context *context, clattn_error *error)
{
    clattn_matrix_unit unit;
    clattn_matrix_unit_init(&unit);
    /* cppcheck-suppress knownConditionTrueFalse; not on every processor */
    if (context->device.info.device_class != CLATTN_DEVICE_CLASS_CPU || !processor_has_it()) {
        snprintf(unit.reason, sizeof unit.reason, "the device has none that is known here");
        context->matrix_unit = unit;
        return CLATTN_SUCCESS;
    }
    snprintf(unit.name, sizeof unit.name, "vdpbf16ps");
    snprintf(unit.types, sizeof unit.types, "bf16");
    struct probe probe = {.context = context};
    clattn_error why = {0};
    const clattn_status status = judge(&probe, &unit.gain, &why);
    release(&probe);
    if (status == CLATTN_ERROR_OUT_OF_HOST_MEMORY)
        return cla_fail_code(error, why.status, why.cl_code, "%s", why.message);
    unit.used = status == CLATTN_SUCCESS;
    snprintf(unit.reason, sizeof unit.reason, "%.255s", why.message);
    cla_log(context, CLATTN_LOG_INFO, "%s: %.2f times the products of float multiply-adds%s%s", unit.name, unit.gain,
            unit.used ? "" : ", not used: ", unit.reason);
    context->device.dot = unit.used ? CLA_DOT_INSTRUCTION : CLA_DOT_PLAIN;
    context->matrix_unit = unit;
    return CLATTN_SUCCESS;
}

clattn_status cla_dot_find(clattn_context *context, clattn_error *error)
{
    clattn_status status = CLATTN_SUCCESS;
    cla_lock_take(&context->facts_lock);
    if (context->matrix_unit.struct_size == 0)
        status = find(context, error);
    cla_lock_give(&context->facts_lock);
    return status;
}
