/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: put together from the embedded kernel files, built once, kept in their context. */
#include "ocl/context.h"
#include "ocl/process.h"
#include "ocl/source.h"
#include "util/error.h"
#include "util/os.h"
#include "util/text.h"
#include <stdio.h>
#include <stdlib.h>

/*
 * One string, since some drivers do badly with many and with included files. Each file begins with a line directive,
 * so that a compiler's message says where the line is found.
 */
static clattn_status put_together(const char *file, struct cla_text *text, clattn_error *error)
{
    bool found = false;
    for (size_t i = 0; i < cla_num_sources; i++) {
        const struct cla_source *source = &cla_sources[i];
        bool asked = strcmp(source->name, file) == 0;
        found = found || asked;
        if (asked || strncmp(source->name, "lib/", 4) == 0)
            cla_text_add(text, "#line 1 \"%s\"\n%.*s\n", source->name, (int)source->size, (const char *)source->text);
    }
    if (text->failed)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for the source of %s", file);
    if (!found)
        return cla_fail(error, CLATTN_ERROR_BUILD_FAILED, "%s is no kernel file of this library", file);
    return CLATTN_SUCCESS;
}

/* The driver's log, the caller's to free; NULL where there is none. */
static char *build_log(cl_program program, cl_device_id device)
{
    size_t size = 0;
    if (clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size == 0)
        return NULL;
    char *log = calloc(size + 1, 1);
    if (log != NULL && clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, size, log, NULL) != CL_SUCCESS)
        log[0] = 0;
    if (log != NULL && log[strspn(log, " \t\r\n")] == 0) {
        free(log);
        return NULL;
    }
    return log;
}

/* The line of a log that is worth a message of one line: the first that speaks of an error, else the first not blank.
 */
static const char *telling_line(const char *log, int *length)
{
    const char *line = strstr(log, "error");
    if (line == NULL)
        line = log + strspn(log, " \t\r\n");
    while (line > log && line[-1] != '\n')
        line--;
    *length = (int)strcspn(line, "\r\n");
    return line;
}

/* The options are for the log, which has room for them: a message has some 500 bytes, and there are 400 of options. */
static clattn_status report_failure(const clattn_context *context, const char *file, const char *key, cl_int code,
                                    const char *log, clattn_error *error)
{
    char call[128];
    cla_log(context, CLATTN_LOG_ERROR, "%s: clBuildProgram failed with %s (%d)\n%s", key, cla_cl_code_string(code),
            (int)code, log != NULL ? log : "the driver gives no log");
    snprintf(call, sizeof call, "clBuildProgram(%s)", file);
    clattn_status status = cla_fail_cl(error, code, call);
    if (status != CLATTN_ERROR_BUILD_FAILED || log == NULL)
        return status;
    int length;
    const char *line = telling_line(log, &length);
    return cla_fail_code(error, status, code, "%s does not build: %.*s", file, length, line);
}

/* `key` is "file options". */
static clattn_status build(clattn_context *context, const char *file, const char *options, const char *key,
                           cl_program *program, clattn_error *error)
{
    struct cla_text source = {0};
    struct cla_text all_options = {0};
    cl_program made = NULL;
    cl_device_id device = context->device.id;
    cl_int code;

    clattn_status status = put_together(file, &source, error);
    cla_text_add(&all_options, "%s%s-cl-std=CL1.2", options, options[0] != 0 ? " " : "");
    if (status == CLATTN_SUCCESS && all_options.failed)
        status = cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for build options");
    if (status == CLATTN_SUCCESS) {
        const char *text = source.data;
        made = clCreateProgramWithSource(context->cl_ctx, 1, &text, &source.length, &code);
        if (made == NULL)
            status = cla_fail_cl(error, code, "clCreateProgramWithSource");
    }
    if (made != NULL) {
        double start = cla_os_seconds();
        code = clBuildProgram(made, 1, &device, all_options.data, NULL, NULL);
        char *log = build_log(made, device);
        if (code != CL_SUCCESS)
            status = report_failure(context, file, key, code, log, error);
        else
            cla_log(context, CLATTN_LOG_INFO, "%s: built in %.3f s%s%s", key, cla_os_seconds() - start,
                    log != NULL ? "\n" : "", log != NULL ? log : "");
        free(log);
    }
    cla_text_free(&source);
    cla_text_free(&all_options);
    if (status != CLATTN_SUCCESS && made != NULL)
        clReleaseProgram(made);
    else
        *program = made;
    return status;
}

/* Failures are not kept: what failed for lack of memory may succeed the next time. */
static clattn_status add(clattn_context *context, const char *file, const char *options, const char *key,
                         cl_program *program, clattn_error *error)
{
    struct cla_program *entry = calloc(1, sizeof *entry);
    char *own_key = strdup(key);
    clattn_status status = CLATTN_SUCCESS;

    if (entry == NULL || own_key == NULL)
        status = cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for a program");
    if (status == CLATTN_SUCCESS)
        status = build(context, file, options, key, program, error);
    if (status != CLATTN_SUCCESS) {
        free(own_key);
        free(entry);
        return status;
    }
    entry->key = own_key;
    entry->program = *program;
    entry->next = context->programs;
    context->programs = entry;
    return CLATTN_SUCCESS;
}

/* The context's lock is held. */
static clattn_status find_or_add(clattn_context *context, const char *file, const char *options, cl_program *program,
                                 clattn_error *error)
{
    struct cla_text key = {0};
    clattn_status status = CLATTN_SUCCESS;

    cla_text_add(&key, "%s %s", file, options);
    if (key.failed)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for build options");
    const struct cla_program *entry = context->programs;
    while (entry != NULL && strcmp(entry->key, key.data) != 0)
        entry = entry->next;
    if (entry != NULL)
        *program = entry->program;
    else
        status = add(context, file, options, key.data, program, error);
    cla_text_free(&key);
    return status;
}

clattn_status cla_context_kernel(clattn_context *context, const char *file, const char *options,
                                 const char *kernel_name, cl_kernel *kernel, clattn_error *error)
{
    cl_program program = NULL;

    CLA_TRY(cla_process_check(error));
    cla_lock_take(&context->lock);
    clattn_status status = find_or_add(context, file, options, &program, error);
    cla_lock_give(&context->lock);
    CLA_TRY(status);

    cl_int code;
    *kernel = clCreateKernel(program, kernel_name, &code);
    if (*kernel == NULL) {
        char call[128];
        snprintf(call, sizeof call, "clCreateKernel(%s of %s)", kernel_name, file);
        return cla_fail_cl(error, code, call);
    }
    return CLATTN_SUCCESS;
}
