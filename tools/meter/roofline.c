/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels that measure a device, and how they are run. Rates are the best of several short runs, since they are to
 * be limits; the cost of a launch is a median, since it is a price.
 */
#include "meter/roofline.h"
#include "meter/matrix_unit.h"
#include "shared/timing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Parameters: VEC the vector type, CHAINS(DO) which applies DO to 0, 1, ... for each chain, GROUP the work-items of a
 * group.
 *
 *   fma_peak    each chain is a sequence of multiply-adds, x = x / 2 + 1, that wait for each other; chains do not. All
 *               of it is in registers but a store at the end
 *   read_rate   a group works through count vectors a work-item, which lie together in memory; count is a multiple of 4
 *   copy_rate   the same
 *
 * That of the matrix unit is in matrix_unit.cl.
 */
static const char source[] =
    "#pragma OPENCL FP_CONTRACT ON\n"
    "#if defined(__has_attribute)\n"
    "#if __has_attribute(min_vector_width)\n" /* without it LLVM takes half of the widest registers */
    "#define WIDE __attribute__((min_vector_width(512)))\n"
    "#endif\n"
    "#endif\n"
    "#ifndef WIDE\n"
    "#define WIDE\n"
    "#endif\n"
    "#define KERNEL WIDE __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void\n"
    "#define CHAINS_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)\n"
    "#define CHAINS_16(DO) CHAINS_12(DO) DO(12) DO(13) DO(14) DO(15)\n"
    "#define BEGIN(n) VEC x##n = start + n;\n"
    "#define STEP(n) x##n = x##n * a + b;\n"
    "#define ADD(n) sum += x##n;\n"
    "KERNEL fma_peak(__global VEC *out, int count, float a, float b)\n"
    "{\n"
    "    const VEC start = (VEC)((float)get_global_id(0));\n"
    "    VEC sum = start;\n"
    "    CHAINS(BEGIN)\n"
    "    for (int i = 0; i < count; i++) {\n"
    "        CHAINS(STEP) CHAINS(STEP) CHAINS(STEP) CHAINS(STEP)\n"
    "    }\n"
    "    CHAINS(ADD)\n"
    "    out[get_global_id(0)] = sum;\n"
    "}\n"
    "#define AHEAD(p)\n"
    /* a CPU's own prefetching stops at the end of every page; compilers that make no CPU's code know no such thing */
    "#if GROUP == 1 && defined(__has_builtin) && (defined(__x86_64__) || defined(__i386__) || \\\n"
    "    defined(__aarch64__) || defined(__arm__) || defined(__riscv) || defined(__powerpc64__))\n"
    "#if __has_builtin(__builtin_prefetch)\n"
    "#undef AHEAD\n"
    "#define AHEAD(p) __builtin_prefetch((const void *)((size_t)(p) + 4096))\n"
    "#endif\n"
    "#endif\n"
    "KERNEL read_rate(__global VEC *out, __global const VEC *in, int count)\n"
    "{\n"
    "    __global const VEC *p = in + get_group_id(0) * GROUP * (size_t)count + get_local_id(0);\n"
    "    VEC x0 = (VEC)(0.0f), x1 = x0, x2 = x0, x3 = x0;\n"
    "    for (int i = 0; i < count; i += 4, p += 4 * GROUP) {\n"
    "        AHEAD(p); AHEAD(p + 1); AHEAD(p + 2); AHEAD(p + 3);\n"
    "        x0 += p[0];\n"
    "        x1 += p[GROUP];\n"
    "        x2 += p[2 * GROUP];\n"
    "        x3 += p[3 * GROUP];\n"
    "    }\n"
    "    out[get_global_id(0)] = x0 + x1 + x2 + x3;\n"
    "}\n"
    "KERNEL copy_rate(__global VEC *out, __global const VEC *in, int count)\n"
    "{\n"
    "    const size_t start = get_group_id(0) * GROUP * (size_t)count + get_local_id(0);\n"
    "    __global const VEC *from = in + start;\n"
    "    __global VEC *to = out + start;\n"
    "    for (int i = 0; i < count; i += 4, from += 4 * GROUP, to += 4 * GROUP) {\n"
    "        const VEC x0 = from[0], x1 = from[GROUP], x2 = from[2 * GROUP], x3 = from[3 * GROUP];\n"
    "        to[0] = x0;\n"
    "        to[GROUP] = x1;\n"
    "        to[2 * GROUP] = x2;\n"
    "        to[3 * GROUP] = x3;\n"
    "    }\n"
    "}\n"
    "KERNEL empty(void)\n"
    "{\n"
    "}\n";

/*
 * Chains that fill a core's pipelines: 12 for two of up to six cycles, with what is constant in 16 registers; 16 for
 * four of four cycles, as cores with 32 registers have. Work-items that share a compute unit fill them all the more.
 */
static const int chains[] = {12, 16};
#define NUM_CHAINS         2
#define STEPS_AN_ITERATION 4 /* of each chain, in fma_peak */

/*
 * Lengths of a loop of arithmetic, in seconds: shorter ones are undisturbed more often where a machine does other
 * things too, longer ones lose less until all cores are awake.
 */
static const double lengths[] = {1e-3, 4e-3, 16e-3};
#define NUM_LENGTHS  3
#define BURST_LENGTH 1 /* the one that meter_burst takes */

#define SECONDS        0.3 /* for each of what meter_measure measures */
#define LEAST_RUNS     3
#define BURST_READS    2 /* memory takes long, and is slow for all runs or for none */
#define LAUNCHES       4001
#define BURST_LAUNCHES 101
#define LEAST_BYTES    ((size_t)256 << 20) /* of a buffer that is read, and at least eight times the cache */

/* A kernel that does nothing but arithmetic, as often as its second argument says. */
struct loop {
    cl_kernel kernel;
    double flop;  /* of all work-items in each iteration */
    cl_int count; /* iterations that take BURST_LENGTH */
};

struct meter {
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;
    cl_program program[NUM_CHAINS];
    struct loop fma[NUM_CHAINS], matrix;
    struct loop *burst_fma; /* of fma, the one that was fastest */
    cl_kernel read, copy, empty;
    struct matrix_unit matrix_unit;
    cl_mem in, out;
    clattn_device_info info;
    size_t lanes;      /* of a vector */
    size_t group;      /* work-items */
    size_t work_items; /* of a launch that uses all of the device */
    size_t bytes;      /* of each buffer */
};

static enum exit_code fail_opencl(const char *call, cl_int code)
{
    return fail(EXIT_FAILED, "measuring the device: %s failed with OpenCL error %d", call, (int)code);
}

/*
 * On a CPU a group is one work-item, with vectors of the native width, and there are several groups a core, so that one
 * that is held up leaves its work to the others. Elsewhere groups are large and many, to hide latency.
 */
static void set_shape(struct meter *meter)
{
    bool cpu = meter->info.device_class == CLATTN_DEVICE_CLASS_CPU;
    size_t group = meter->info.max_work_group < 256 ? (size_t)meter->info.max_work_group : 256;
    meter->lanes = 1;
    while (meter->lanes < 16 && 2 * meter->lanes <= meter->info.vector_width)
        meter->lanes *= 2;
    meter->group = cpu ? 1 : group;
    meter->work_items = (cpu ? 8 : 64) * meter->group * meter->info.compute_units;
}

static enum exit_code build(struct meter *meter, int index)
{
    char options[128], lanes[16] = "";
    const char *text = source;
    cl_int code;
    if (meter->lanes > 1)
        snprintf(lanes, sizeof lanes, "%u", (unsigned)meter->lanes);
    snprintf(options, sizeof options, "-D VEC=float%s -D CHAINS=CHAINS_%d -D GROUP=%zu", lanes, chains[index],
             meter->group);
    meter->program[index] = clCreateProgramWithSource(meter->context, 1, &text, NULL, &code);
    if (code != CL_SUCCESS)
        return fail_opencl("clCreateProgramWithSource", code);
    code = clBuildProgram(meter->program[index], 1, &meter->device, options, NULL, NULL);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clBuildProgram", code);
}

/* Memory that a page table cannot make up: it is written before it is read. */
static enum exit_code create_buffer(struct meter *meter, cl_mem *buffer)
{
    const cl_float one = 1;
    cl_int code;
    *buffer = clCreateBuffer(meter->context, CL_MEM_READ_WRITE, meter->bytes, NULL, &code);
    if (code != CL_SUCCESS)
        return fail_opencl("clCreateBuffer", code);
    code = clEnqueueFillBuffer(meter->queue, *buffer, &one, sizeof one, 0, meter->bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clEnqueueFillBuffer", code);
}

static enum exit_code create_kernel(cl_program program, const char *name, cl_kernel *kernel)
{
    cl_int code;
    *kernel = clCreateKernel(program, name, &code);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clCreateKernel", code);
}

static enum exit_code create_kernels(struct meter *meter)
{
    for (int i = 0; i < NUM_CHAINS; i++) {
        TRY(build(meter, i));
        TRY(create_kernel(meter->program[i], "fma_peak", &meter->fma[i].kernel));
        meter->fma[i].flop = 2.0 * STEPS_AN_ITERATION * chains[i] * (double)(meter->lanes * meter->work_items);
    }
    TRY(create_kernel(meter->program[0], "read_rate", &meter->read));
    TRY(create_kernel(meter->program[0], "copy_rate", &meter->copy));
    return create_kernel(meter->program[0], "empty", &meter->empty);
}

static void set_arguments(struct meter *meter)
{
    const cl_float half = 0.5f, one = 1;
    const cl_kernel memory[] = {meter->read, meter->copy};
    const cl_int count = (cl_int)(meter->bytes / (sizeof(cl_float) * meter->lanes * meter->work_items));
    for (int i = 0; i < NUM_CHAINS; i++) {
        clSetKernelArg(meter->fma[i].kernel, 0, sizeof meter->out, &meter->out);
        clSetKernelArg(meter->fma[i].kernel, 2, sizeof half, &half);
        clSetKernelArg(meter->fma[i].kernel, 3, sizeof one, &one);
    }
    for (int i = 0; i < 2; i++) {
        clSetKernelArg(memory[i], 0, sizeof meter->out, &meter->out);
        clSetKernelArg(memory[i], 1, sizeof meter->in, &meter->in);
        clSetKernelArg(memory[i], 2, sizeof count, &count);
    }
}

static enum exit_code prepare(struct meter *meter)
{
    clattn_error error;
    cl_int code;
    cl_ulong cache = 0;
    clattn_device_info_init(&meter->info);
    if (clattn_device_query(meter->device, &meter->info, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    set_shape(meter);
    meter->queue = clCreateCommandQueue(meter->context, meter->device, 0, &code);
    if (code != CL_SUCCESS)
        return fail_opencl("clCreateCommandQueue", code);
    TRY(create_kernels(meter));
    clGetDeviceInfo(meter->device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, sizeof cache, &cache, NULL);
    size_t most = (size_t)(meter->info.largest_buffer < meter->info.global_memory / 8 ? meter->info.largest_buffer
                                                                                      : meter->info.global_memory / 8);
    meter->bytes = 8 * (size_t)cache > LEAST_BYTES ? 8 * (size_t)cache : LEAST_BYTES;
    meter->bytes = meter->bytes < most ? meter->bytes : most;
    /* what every work-item reads: a multiple of four vectors */
    size_t unit = 4 * sizeof(cl_float) * meter->lanes * meter->work_items;
    meter->bytes = meter->bytes < unit ? unit : meter->bytes / unit * unit;
    TRY(create_buffer(meter, &meter->in));
    TRY(create_buffer(meter, &meter->out));
    set_arguments(meter);
    return EXIT_DONE;
}

/* Enqueues `work_items` of a kernel, waits for them, and says how long that took. */
static enum exit_code run(struct meter *meter, cl_kernel kernel, size_t work_items, double *seconds)
{
    double begin = timing_now();
    cl_int code = clEnqueueNDRangeKernel(meter->queue, kernel, 1, NULL, &work_items, &meter->group, 0, NULL, NULL);
    if (code != CL_SUCCESS)
        return fail_opencl("clEnqueueNDRangeKernel", code);
    code = clFinish(meter->queue);
    *seconds = timing_now() - begin;
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clFinish", code);
}

/* The least time of launches that use all of the device: `runs` of them, and as many more as `duration` allows. */
static enum exit_code best(struct meter *meter, cl_kernel kernel, int runs, double duration, double *least)
{
    double end = timing_now() + duration;
    *least = HUGE_VAL;
    for (int i = 0; i < runs || timing_now() < end; i++) {
        double seconds = 0;
        TRY(run(meter, kernel, meter->work_items, &seconds));
        *least = seconds < *least ? seconds : *least;
    }
    return EXIT_DONE;
}

static double byte_rate(const struct meter *meter, double seconds)
{
    return (double)meter->bytes / seconds * 1e-9;
}

/* The best rate of a loop, which is left at a count for bursts. */
static enum exit_code measure_loop(struct meter *meter, struct loop *loop, double *gflops)
{
    cl_kernel kernel = loop->kernel;
    double seconds;
    cl_int count = 256;
    *gflops = 0;
    clSetKernelArg(kernel, 1, sizeof count, &count);
    TRY(run(meter, kernel, meter->work_items, &seconds)); /* drivers compile at the first launch */
    for (int i = 0; i < NUM_LENGTHS; i++) {
        for (seconds = 0; seconds < lengths[i] && count <= INT32_MAX / 2;) {
            count *= 2;
            clSetKernelArg(kernel, 1, sizeof count, &count);
            TRY(best(meter, kernel, LEAST_RUNS, 0, &seconds));
        }
        TRY(best(meter, kernel, LEAST_RUNS, SECONDS, &seconds));
        *gflops = fmax(*gflops, loop->flop * count / seconds * 1e-9);
        if (i == BURST_LENGTH)
            loop->count = count;
    }
    clSetKernelArg(kernel, 1, sizeof loop->count, &loop->count);
    return EXIT_DONE;
}

/* The rate of the matrix unit, 0 where there is none; one that cannot be measured, which has been said, is none. */
static double matrix_rate(struct meter *meter)
{
    double gflops = 0;
    bool measured = meter->matrix.kernel != NULL && measure_loop(meter, &meter->matrix, &gflops) == EXIT_DONE;
    return measured ? gflops : 0;
}

static enum exit_code measure_launch(struct meter *meter, int launches, double *microseconds)
{
    double seconds[LAUNCHES];
    struct timing timing;
    for (int i = 0; i < launches; i++)
        TRY(run(meter, meter->empty, meter->group, &seconds[i]));
    timing_summarise(seconds, launches, &timing);
    *microseconds = timing.median * 1e6;
    return EXIT_DONE;
}

enum exit_code meter_measure(struct meter *meter, struct roofline *roofline)
{
    double seconds, gflops;
    roofline->fma_gflops = 0;
    for (int i = 0; i < NUM_CHAINS; i++) {
        TRY(measure_loop(meter, &meter->fma[i], &gflops));
        meter->burst_fma = gflops > roofline->fma_gflops ? &meter->fma[i] : meter->burst_fma;
        roofline->fma_gflops = fmax(gflops, roofline->fma_gflops);
    }
    roofline->matrix_gflops = matrix_rate(meter);
    TRY(run(meter, meter->read, meter->work_items, &seconds)); /* the first launch, as above */
    TRY(best(meter, meter->read, LEAST_RUNS, SECONDS, &seconds));
    roofline->read_gbs = byte_rate(meter, seconds);
    TRY(run(meter, meter->copy, meter->work_items, &seconds));
    TRY(best(meter, meter->copy, LEAST_RUNS, SECONDS, &seconds));
    roofline->copy_gbs = 2 * byte_rate(meter, seconds);
    TRY(run(meter, meter->empty, meter->group, &seconds));
    return measure_launch(meter, LAUNCHES, &roofline->launch_us);
}

enum exit_code meter_burst(struct meter *meter, struct roofline *roofline)
{
    double seconds;
    TRY(best(meter, meter->read, BURST_READS, 0, &seconds));
    roofline->read_gbs = byte_rate(meter, seconds);
    TRY(measure_launch(meter, BURST_LAUNCHES, &roofline->launch_us));
    TRY(best(meter, meter->burst_fma->kernel, LEAST_RUNS, 0, &seconds));
    roofline->fma_gflops = meter->burst_fma->flop * meter->burst_fma->count / seconds * 1e-9;
    return EXIT_DONE;
}

/* What is wrong with a matrix unit is no failure: it is not measured then. */
static void find_matrix_unit(struct meter *meter, const char *matrix_source)
{
    struct matrix_unit *unit = &meter->matrix_unit;
    matrix_unit_create(unit, meter->queue, matrix_source, meter->info.sub_group, meter->group, meter->work_items,
                       meter->out);
    if (*unit->refusal != '\0')
        note("the matrix unit is not measured: %s", unit->refusal);
    meter->matrix.kernel = unit->kernel;
    meter->matrix.flop = unit->flop * (double)meter->work_items;
}

enum exit_code meter_create(clattn_context *context, const char *matrix_source, struct meter **meter)
{
    *meter = calloc(1, sizeof **meter);
    if (*meter == NULL)
        return fail(EXIT_FAILED, "no memory for measuring the device");
    (*meter)->context = clattn_context_cl_context(context);
    (*meter)->device = clattn_context_cl_device(context);
    TRY(prepare(*meter));
    find_matrix_unit(*meter, matrix_source);
    return EXIT_DONE;
}

void meter_release(struct meter *meter)
{
    if (meter == NULL)
        return;
    const cl_kernel kernels[] = {meter->fma[0].kernel, meter->fma[1].kernel, meter->read, meter->copy, meter->empty};
    if (meter->queue != NULL)
        clFinish(meter->queue);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (kernels[i] != NULL)
            clReleaseKernel(kernels[i]);
    matrix_unit_release(&meter->matrix_unit);
    for (int i = 0; i < NUM_CHAINS; i++)
        if (meter->program[i] != NULL)
            clReleaseProgram(meter->program[i]);
    if (meter->in != NULL)
        clReleaseMemObject(meter->in);
    if (meter->out != NULL)
        clReleaseMemObject(meter->out);
    if (meter->queue != NULL)
        clReleaseCommandQueue(meter->queue);
    free(meter);
}
