/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of a variant where the registry is not the library's: shorter, or with a variant that does not build. And
 * that making, running and releasing, or failing to, leaves no OpenCL object behind.
 */
#include "ops/variant.h"
#include "problem/attention.h"
#include "util/error.h"
#include "util/os.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

/* How often the library has warned, and what it said last. */
struct log {
    int warnings;
    char last_warning[2000];
};

static struct log log_kept;
static cl_context cl_ctx;
static cl_device_id device;

static void keep_log(clattn_log_level level, const char *text, void *user_data)
{
    struct log *log = user_data;
    if (level == CLATTN_LOG_WARNING) {
        log->warnings++;
        snprintf(log->last_warning, sizeof log->last_warning, "%s", text);
    }
}

static int make_cl_context(void **state)
{
    clattn_error error;
    cl_int code;
    (void)state;
    if (clattn_device_select(NULL, &device, &error) != CLATTN_SUCCESS) {
        print_error("%s\n", error.message);
        return -1;
    }
    cl_ctx = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    return cl_ctx != NULL ? 0 : -1;
}

static int release_cl_context(void **state)
{
    (void)state;
    return clReleaseContext(cl_ctx) == CL_SUCCESS ? 0 : -1;
}

static clattn_context *make_context(void)
{
    clattn_context *context = NULL;
    clattn_context_desc desc;
    clattn_error error;
    clattn_context_desc_init(&desc);
    desc.log = keep_log;
    desc.log_data = &log_kept;
    memset(&log_kept, 0, sizeof log_kept);
    if (clattn_context_create(cl_ctx, device, &desc, &context, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    return context;
}

static struct cla_problem problem_of(const char *text)
{
    struct cla_problem problem = {.batch = 0};
    clattn_attention_desc desc;
    clattn_error error;
    clattn_attention_desc_init(&desc);
    clattn_status status = clattn_attention_desc_parse(text, &desc, &error);
    if (status == CLATTN_SUCCESS)
        status = cla_problem_from_attention(&desc, &problem, &error);
    if (status != CLATTN_SUCCESS)
        fail_msg("%s: %s", text, error.message);
    return problem;
}

static clattn_plan *choose(clattn_context *context, const char *problem_string, const struct cla_registry *registry)
{
    const struct cla_problem problem = problem_of(problem_string);
    clattn_plan *plan = NULL;
    clattn_error error;
    if (cla_choose(context, &problem, registry, NULL, &plan, &error) != CLATTN_SUCCESS)
        fail_msg("%s: %s", problem_string, error.message);
    return plan;
}

/* The library's own variant of that name. */
static const struct cla_variant *variant_named(const char *name)
{
    for (size_t i = 0; i < cla_attention_registry.count; i++) {
        if (strcmp(cla_attention_registry.variants[i]->name, name) == 0)
            return cla_attention_registry.variants[i];
    }
    fail_msg("no variant is named %s", name);
    return NULL;
}

/* ---- registries that are not the library's -------------------------------------------------------------------- */

static clattn_status refuse(const struct cla_problem *problem, const struct cla_device *on, clattn_error *why)
{
    (void)problem;
    (void)on;
    return cla_fail(why, CLATTN_ERROR_UNSUPPORTED, "takes nothing");
}

/* Builds without the options that its kernel needs: the kernel says so with #error. */
static clattn_status add_broken_step(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    struct cla_step *step = NULL;
    struct cla_text options = {0};
    cla_text_add(&options, "-D BROKEN=1");
    clattn_status status = cla_plan_add_step(plan, "flash.cl", &options, "flash", 1, &step, error);
    cla_text_free(&options);
    if (status == CLATTN_SUCCESS)
        cla_text_add(tile, "q1k1");
    return status;
}

static clattn_status find_no_tile(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    (void)plan;
    (void)tile;
    return cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "no tile fits");
}

static clattn_status fail_to_launch(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    (void)plan;
    (void)tile;
    return cla_fail_cl(error, CL_OUT_OF_RESOURCES, "clEnqueueNDRangeKernel");
}

static clattn_status run_out_of_memory(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    (void)plan;
    (void)tile;
    return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the steps of a plan");
}

/* Named so that every device class tries it first. */
static const struct cla_variant broken = {"flash", NULL, add_broken_step};
static const struct cla_variant picky = {"flash", refuse, add_broken_step};

/* As unfused, with kernels that are said to be built for the strides of keys. */
static clattn_status add_steps_for_strides(clattn_plan *plan, struct cla_text *tile, clattn_error *error)
{
    cla_plan_fix_strides(plan, CLA_KEY);
    return variant_named("unfused")->add_steps(plan, tile, error);
}

static const struct cla_variant strict = {"unfused", NULL, add_steps_for_strides};

static cl_command_queue make_queue(cl_command_queue_properties properties)
{
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(cl_ctx, device, properties, &code);
    assert_int_equal(code, CL_SUCCESS);
    return queue;
}

/* Runs on arrays of one number, f32 or two bf16 of 1, which the weighted mean is too, whatever the weights are. */
static void check_run(clattn_plan *plan, cl_command_queue queue, bool with_event)
{
    enum { COUNT = 2 * 40 * 8 };
    static const float number = 0x1.007fp0f;
    const int count = plan->problem.tensor[CLA_OUTPUT].dtype == CLATTN_BF16 ? COUNT / 2 : COUNT;
    float ones[COUNT];
    float output[COUNT];
    clattn_attention_args args;
    clattn_error error;
    cl_event event = NULL;
    cl_int code;
    for (int i = 0; i < COUNT; i++) {
        ones[i] = number;
        output[i] = -7.0f;
    }
    cl_mem input = clCreateBuffer(cl_ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof ones, ones, &code);
    assert_int_equal(code, CL_SUCCESS);
    cl_mem result = clCreateBuffer(cl_ctx, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, sizeof output, output, &code);
    assert_int_equal(code, CL_SUCCESS);
    clattn_attention_args_init(&args, plan);
    args.query.mem = args.key.mem = args.value.mem = input;
    args.output.mem = result;
    if (clattn_attention_run(plan, queue, &args, 0, NULL, with_event ? &event : NULL, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    assert_int_equal(clFinish(queue), CL_SUCCESS);
    assert_int_equal(clEnqueueReadBuffer(queue, result, CL_TRUE, 0, sizeof output, output, 0, NULL, NULL), CL_SUCCESS);
    for (int i = 0; i < COUNT; i++) {
        const float expected = i < count ? number : -7.0f;
        assert_float_equal(output[i], expected, 1e-5f);
    }
    if (with_event)
        assert_int_equal(clReleaseEvent(event), CL_SUCCESS);
    clReleaseMemObject(input);
    clReleaseMemObject(result);
}

/* In order and, where the device can, out of order, with an event and without. */
static void check_runs(clattn_plan *plan)
{
    static const cl_command_queue_properties orders[] = {0, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE};
    cl_command_queue_properties possible = 0;
    clGetDeviceInfo(device, CL_DEVICE_QUEUE_PROPERTIES, sizeof possible, &possible, NULL);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        if ((orders[i] & ~possible) != 0)
            continue;
        cl_command_queue queue = make_queue(orders[i]);
        check_run(plan, queue, false);
        check_run(plan, queue, true);
        clReleaseCommandQueue(queue);
    }
}

/* Without the flash variants everything is still served. */
static void unfused_alone_serves_everything(void **state)
{
    static const char *const problems[] = {
        "b1h2q40k40d8:f32",
        "b1h2q40k40d8:f32:causal",
        "b2h4g2q3k70d5v9:f16:window=9,3@bottom-right:lengths:lse",
        "b1h2q40k40d8:bf16:softcap=20:mask=add",
        "b1h2q4k50d8:f32:mask=bool:scores=weights",
        "b1h1q5k6d3000:f32",
    };
    const struct cla_variant *const variants[] = {variant_named("unfused")};
    const struct cla_registry registry = {variants, 1};
    clattn_context *context = make_context();
    (void)state;
    for (size_t p = 0; p < sizeof problems / sizeof *problems; p++) {
        clattn_plan *plan = choose(context, problems[p], &registry);
        assert_string_equal(clattn_plan_variant(plan), "unfused");
        assert_string_equal(clattn_plan_problem(plan), problems[p]);
        assert_null(strstr(clattn_plan_describe(plan), "\nflash")); /* what is not there has refused nothing */
        if (p < 2)
            check_runs(plan);
        clattn_plan_release(plan);
    }
    assert_int_equal(log_kept.warnings, 0);
    clattn_context_release(context);
}

/* Each variant that was ranked before the chosen one has a line with its reason, in the order of trying. */
static void a_description_lists_refusals(void **state)
{
    const struct cla_variant *const variants[] = {variant_named("unfused"), variant_named("flash_vector"), &picky};
    const struct cla_registry registry = {variants, 3};
    clattn_context *context = make_context();
    (void)state;
    clattn_plan *plan = choose(context, "b1h2q40k40d8:f32:scores=weights", &registry);
    const char *description = clattn_plan_describe(plan);
    assert_string_equal(clattn_plan_variant(plan), "unfused");
    const char *chosen = strstr(description, "b1h2q40k40d8:f32:scores=weights -> unfused/f32/d8/");
    assert_ptr_equal(chosen, description);
    assert_non_null(strstr(description, "\nflash: takes nothing\n"));
    const char *vector = strstr(description, "\nflash_vector: gives no scores out\n");
    if (context->device.info.device_class == CLATTN_DEVICE_CLASS_CPU) {
        assert_non_null(vector);
        assert_true(vector < strstr(description, "\nflash: "));
    } else {
        assert_null(vector); /* ranked behind the chosen one */
    }
    assert_int_equal(log_kept.warnings, 0); /* a refusal is no cause for alarm */
    clattn_plan_release(plan);
    clattn_context_release(context);
}

/* Strides that kernels were built for are said, and refused in a run; all others are free. */
static void fixed_strides_are_said_and_refused(void **state)
{
    const struct cla_variant *const variants[] = {&strict};
    const struct cla_registry registry = {variants, 1};
    clattn_context *context = make_context();
    clattn_attention_args args;
    clattn_error error;
    cl_int code;
    (void)state;
    clattn_plan *plan = choose(context, "b1h2q40k40d8:f32", &registry);
    assert_non_null(strstr(clattn_plan_describe(plan), "\nkey.strides: the descriptor's in every run\n"));
    assert_null(strstr(clattn_plan_describe(plan), "query.strides"));
    cl_mem input = clCreateBuffer(cl_ctx, CL_MEM_READ_WRITE, 4096, NULL, &code);
    cl_mem output = clCreateBuffer(cl_ctx, CL_MEM_READ_WRITE, 4096, NULL, &code);
    cl_command_queue queue = make_queue(0);
    clattn_attention_args_init(&args, plan);
    args.query.mem = args.key.mem = args.value.mem = input;
    args.output.mem = output;
    args.query.strides[3] = 1;
    if (clattn_attention_run(plan, queue, &args, 0, NULL, NULL, &error) != CLATTN_SUCCESS)
        fail_msg("%s", error.message);
    args.key.strides[3] = 1;
    assert_int_equal(clattn_attention_run(plan, queue, &args, 0, NULL, NULL, &error), CLATTN_ERROR_INVALID_VALUE);
    assert_non_null(strstr(error.message, "key.strides are given: expected 0"));
    clFinish(queue);
    clReleaseCommandQueue(queue);
    clReleaseMemObject(input);
    clReleaseMemObject(output);
    check_runs(plan);
    clattn_plan_release(plan);
    clattn_context_release(context);
}

/* A driver that cannot compile one variant costs speed, not the result; the log warns. */
static void a_variant_that_does_not_build_is_passed_over(void **state)
{
    const struct cla_variant *const variants[] = {variant_named("unfused"), &broken};
    const struct cla_registry registry = {variants, 2};
    clattn_context *context = make_context();
    (void)state;
    clattn_plan *plan = choose(context, "b1h2q40k40d8:f32", &registry);
    assert_string_equal(clattn_plan_variant(plan), "unfused");
    assert_non_null(strstr(clattn_plan_describe(plan), "\nflash: flash.cl does not build: "));
    assert_int_equal(log_kept.warnings, 1);
    assert_ptr_equal(strstr(log_kept.last_warning, "b1h2q40k40d8:f32: flash: flash.cl does not build: "),
                     log_kept.last_warning);
    check_runs(plan);
    clattn_plan_release(plan);
    clattn_context_release(context);
}

/* Where no variant is left, the failure is that of the one that tells most, with the driver's code. */
static void a_failure_of_all_is_the_most_telling_one(void **state)
{
    /* Names that no row of the ranking has, so that they are tried as they come. */
    static const struct cla_variant picky1 = {"a", refuse, find_no_tile}, picky2 = {"b", refuse, find_no_tile};
    static const struct cla_variant large1 = {"c", NULL, find_no_tile}, large2 = {"d", NULL, find_no_tile};
    static const struct cla_variant down1 = {"e", NULL, fail_to_launch}, down2 = {"f", NULL, fail_to_launch};
    static const struct cla_variant poor = {"g", NULL, run_out_of_memory};
    static const struct {
        const struct cla_variant *variants[3];
        clattn_status status;
        cl_int cl_code;
        const char *message;
    } cases[] = {
        {{&picky1, &picky2, &picky2}, CLATTN_ERROR_UNSUPPORTED, CL_SUCCESS, "a: takes nothing"},
        {{&picky1, &large1, &picky2}, CLATTN_ERROR_UNSUPPORTED, CL_SUCCESS, "c: no tile fits"},
        {{&large1, &large2, &picky2}, CLATTN_ERROR_UNSUPPORTED, CL_SUCCESS, "c: no tile fits"},
        {{&down1, &down2, &picky1},
         CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
         CL_OUT_OF_RESOURCES,
         "e: clEnqueueNDRangeKernel failed with CL_OUT_OF_RESOURCES (-5)"},
        {{&large1, &picky1, &down2},
         CLATTN_ERROR_OUT_OF_DEVICE_MEMORY,
         CL_OUT_OF_RESOURCES,
         "f: clEnqueueNDRangeKernel failed with CL_OUT_OF_RESOURCES (-5)"},
        {{&poor, &large1, &picky1},
         CLATTN_ERROR_OUT_OF_HOST_MEMORY,
         CL_SUCCESS,
         "g: no memory for the steps of a plan"},
    };
    const struct cla_problem problem = problem_of("b1h2q40k40d8:f32");
    clattn_context *context = make_context();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct cla_registry registry = {cases[i].variants, 3};
        clattn_plan *plan = NULL;
        clattn_error error = {.message = ""};
        assert_int_equal(cla_choose(context, &problem, &registry, NULL, &plan, &error), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_int_equal(error.cl_code, cases[i].cl_code);
        assert_string_equal(error.message, cases[i].message);
        assert_null(plan);
    }
    clattn_context_release(context);
}

/* A worse algorithm is not what a moment without memory should end in. */
static void no_memory_of_our_own_ends_the_search(void **state)
{
    static const struct cla_variant poor = {"flash", NULL, run_out_of_memory};
    const struct cla_variant *const variants[] = {&poor, variant_named("unfused")};
    const struct cla_registry registry = {variants, 2};
    const struct cla_problem problem = problem_of("b1h2q40k40d8:f32");
    clattn_context *context = make_context();
    clattn_plan *plan = NULL;
    (void)state;
    assert_int_equal(cla_choose(context, &problem, &registry, NULL, &plan, NULL), CLATTN_ERROR_OUT_OF_HOST_MEMORY);
    assert_null(plan);
    clattn_context_release(context);
}

/* A message has room for the compiler's line: the options, which have not, are in the log. */
static void a_build_that_fails_tells_the_compiler_s_line(void **state)
{
    const struct cla_variant *const variants[] = {&broken};
    const struct cla_registry registry = {variants, 1};
    const struct cla_problem problem = problem_of("b1h2q40k40d8:f32");
    clattn_context *context = make_context();
    clattn_plan *plan = NULL;
    clattn_error error = {.message = ""};
    (void)state;
    assert_int_equal(cla_choose(context, &problem, &registry, NULL, &plan, &error), CLATTN_ERROR_BUILD_FAILED);
    assert_int_equal(error.status, CLATTN_ERROR_BUILD_FAILED);
    assert_int_equal(error.cl_code, CL_BUILD_PROGRAM_FAILURE);
    assert_ptr_equal(strstr(error.message, "flash: flash.cl does not build: "), error.message);
    assert_null(plan);
    assert_int_equal(cla_choose(context, &problem, &registry, "no_such", &plan, &error), CLATTN_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no_such"));
    assert_null(plan);
    clattn_context_release(context);
}

/* ---- nothing is left behind ----------------------------------------------------------------------------------- */

static cl_uint references(void)
{
    cl_uint count = 0;
    assert_int_equal(clGetContextInfo(cl_ctx, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL), CL_SUCCESS);
    return count;
}

/*
 * Every OpenCL object holds its context, so a context that counts as many references as before has lost all of them.
 * Drivers may let go a moment after the last command has completed; that is waited for.
 */
static void check_references(cl_uint before, const char *what)
{
    const double start = cla_os_seconds();
    while (references() != before) {
        if (cla_os_seconds() - start > 5.0)
            fail_msg("%s: the cl_context has %u references, %u before", what, (unsigned)references(), (unsigned)before);
    }
}

static void cycles_leave_no_object_behind(void **state)
{
    (void)state;
    for (size_t i = 0; i < cla_attention_registry.count; i++) {
        const char *name = cla_attention_registry.variants[i]->name;
        const cl_uint before = references();
        clattn_context *context = make_context();
        assert_true(references() > before); /* or the count says nothing */
        for (int cycle = 0; cycle < 3; cycle++) {
            const struct cla_variant *const variants[] = {cla_attention_registry.variants[i]};
            const struct cla_registry registry = {variants, 1};
            clattn_plan *plan = choose(context, "b1h2q40k40d8:bf16", &registry);
            check_runs(plan);
            if (cycle == 1) { /* the plan keeps its context */
                clattn_context_release(context);
                check_runs(plan);
                clattn_plan_release(plan);
                check_references(before, name);
                context = make_context();
            } else {
                clattn_plan_release(plan);
            }
        }
        clattn_context_release(context);
        check_references(before, name);
    }
}

static void failures_leave_no_object_behind(void **state)
{
    const struct cla_variant *const variants[] = {variant_named("unfused"), &broken};
    const struct cla_registry all = {variants, 2};
    const struct cla_registry none = {variants + 1, 1};
    const struct cla_problem problem = problem_of("b1h2q40k40d8:f32");
    const cl_uint before = references();
    clattn_context *context = make_context();
    clattn_attention_args args;
    clattn_plan *plan = NULL;
    (void)state;
    for (int cycle = 0; cycle < 3; cycle++) {
        assert_int_equal(cla_choose(context, &problem, &none, NULL, &plan, NULL), CLATTN_ERROR_BUILD_FAILED);
        plan = choose(context, "b1h2q40k40d8:f32", &all);
        cl_command_queue queue = make_queue(0);
        clattn_attention_args_init(&args, plan); /* without buffers */
        assert_int_equal(clattn_attention_run(plan, queue, &args, 0, NULL, NULL, NULL), CLATTN_ERROR_INVALID_BUFFER);
        clReleaseCommandQueue(queue);
        clattn_plan_release(plan);
        plan = NULL;
    }
    clattn_context_release(context);
    check_references(before, "failures");
}

/* The call on host arrays, on a context of ours: its buffers, queue and plan are gone afterwards. */
static void host_calls_leave_no_object_behind(void **state)
{
    float query[2] = {1.0f, 2.0f};
    float output[2] = {0.0f, 0.0f};
    const cl_uint before = references();
    clattn_context *context = make_context();
    clattn_attention_desc desc;
    clattn_attention_host_args args;
    clattn_error error;
    (void)state;
    clattn_attention_desc_init(&desc);
    assert_int_equal(clattn_attention_desc_parse("b1h1q1k1d2:f32", &desc, &error), CLATTN_SUCCESS);
    clattn_attention_host_args_init(&args);
    args.query = args.key = args.value = query;
    args.output = output;
    for (int cycle = 0; cycle < 3; cycle++) {
        if (clattn_attention_host(context, &desc, &args, &error) != CLATTN_SUCCESS)
            fail_msg("%s", error.message);
        assert_true(output[0] == 1.0f && output[1] == 2.0f);
        args.output = NULL;
        assert_int_not_equal(clattn_attention_host(context, &desc, &args, NULL), CLATTN_SUCCESS);
        args.output = output;
    }
    clattn_context_release(context);
    check_references(before, "host calls");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unfused_alone_serves_everything),
        cmocka_unit_test(a_description_lists_refusals),
        cmocka_unit_test(fixed_strides_are_said_and_refused),
        cmocka_unit_test(a_variant_that_does_not_build_is_passed_over),
        cmocka_unit_test(a_failure_of_all_is_the_most_telling_one),
        cmocka_unit_test(no_memory_of_our_own_ends_the_search),
        cmocka_unit_test(a_build_that_fails_tells_the_compiler_s_line),
        cmocka_unit_test(cycles_leave_no_object_behind),
        cmocka_unit_test(failures_leave_no_object_behind),
        cmocka_unit_test(host_calls_leave_no_object_behind),
    };
    return cmocka_run_group_tests(tests, make_cl_context, release_cl_context);
}
