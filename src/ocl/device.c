/* SPDX-License-Identifier: Apache-2.0 */
/* The facts of a device, and what follows from them: class, vector width, verdict. */
#include "ocl/device.h"
#include "util/error.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Queries that are newer than OpenCL 1.2, or extensions': made only where the device says that it knows them. */
#define MAX_NUM_SUB_GROUPS    0x105C /* CL_DEVICE_MAX_NUM_SUB_GROUPS, OpenCL 2.1: cl_uint */
#define SUB_GROUP_SIZES_INTEL 0x4108 /* CL_DEVICE_SUB_GROUP_SIZES_INTEL, cl_intel_required_subgroup_size: size_t[] */
#define WAVEFRONT_WIDTH_AMD   0x4043 /* CL_DEVICE_WAVEFRONT_WIDTH_AMD, cl_amd_device_attribute_query: cl_uint */

/* Below these only tiles are left that are too small to be fast. */
#define LEAST_LOCAL_MEMORY (16 * 1024)
#define LEAST_WORK_GROUP   64

/* What the verdict needs and nobody else does. */
struct facts {
    cl_bool available;
    cl_bool compiler;
    cl_bool little_endian;
    cl_device_fp_config float_config;
    cl_device_local_mem_type local_type;
    char *profile;
    char *extensions;
};

/* ---- asking the driver ---------------------------------------------------------------------------------------- */

#define ASK(id, what, value, error) ask((id), (what), #what, sizeof *(value), (value), (error))

static clattn_status ask(cl_device_id id, cl_device_info what, const char *name, size_t size, void *value,
                         clattn_error *error)
{
    char call[96];
    memset(value, 0, size);
    cl_int code = clGetDeviceInfo(id, what, size, value, NULL);
    if (code == CL_SUCCESS)
        return CLATTN_SUCCESS;
    snprintf(call, sizeof call, "clGetDeviceInfo(%s)", name);
    return cla_fail_cl(error, code, call);
}

#define ASK_OPTIONAL(id, what, value, error) ask_optional((id), (what), #what, sizeof(value), &(value), (error))

/* What older or stranger drivers do not know is 0 there. That one had no memory to answer is another matter. */
static clattn_status ask_optional(cl_device_id id, cl_device_info what, const char *name, size_t size, void *value,
                                  clattn_error *error)
{
    clattn_error failure;
    if (ask(id, what, name, size, value, &failure) == CLATTN_SUCCESS)
        return CLATTN_SUCCESS;
    if (failure.cl_code == CL_OUT_OF_HOST_MEMORY || failure.cl_code == CL_OUT_OF_RESOURCES)
        return cla_fail_code(error, failure.status, failure.cl_code, "%s", failure.message);
    memset(value, 0, size);
    return CLATTN_SUCCESS;
}

#define ASK_TEXT(id, what, text, error) ask_text((id), (what), #what, (text), (error))

/* *text is the caller's to free. */
static clattn_status ask_text(cl_device_id id, cl_device_info what, const char *name, char **text, clattn_error *error)
{
    char call[96];
    size_t size = 0;
    cl_int code = clGetDeviceInfo(id, what, 0, NULL, &size);
    if (code == CL_SUCCESS) {
        char *data = calloc(size + 1, 1);
        if (data == NULL)
            return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu bytes of %s", size, name);
        code = size == 0 ? CL_SUCCESS : clGetDeviceInfo(id, what, size, data, NULL);
        if (code == CL_SUCCESS) {
            *text = data;
            return CLATTN_SUCCESS;
        }
        free(data);
    }
    snprintf(call, sizeof call, "clGetDeviceInfo(%s)", name);
    return cla_fail_cl(error, code, call);
}

#define ASK_FIELD(id, what, field, error) ask_field((id), (what), #what, (field), sizeof(field), (error))

/* Text into a field of fixed size, cut between two UTF-8 characters. */
static clattn_status ask_field(cl_device_id id, cl_device_info what, const char *name, char *field, size_t size,
                               clattn_error *error)
{
    char *text = NULL;
    CLA_TRY(ask_text(id, what, name, &text, error));
    size_t length = strlen(text);
    if (length >= size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    memcpy(field, text, length);
    field[length] = 0;
    free(text);
    return CLATTN_SUCCESS;
}

/* Whether `name` is one of the words of `extensions`. */
static bool has_extension(const char *extensions, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = strstr(extensions, name); at != NULL; at = strstr(at + length, name))
        if ((at == extensions || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
            return true;
    return false;
}

static unsigned opencl_version(const clattn_device_info *info) /* 102 for OpenCL 1.2 */
{
    unsigned major = 0, minor = 0;
    return sscanf(info->opencl, "OpenCL %u.%u", &major, &minor) == 2 ? 100 * major + minor : 0;
}

static clattn_status read_facts(struct cla_device *device, struct facts *facts, clattn_error *error)
{
    cl_device_id id = device->id;
    clattn_device_info *info = &device->info;
    cl_uint compute_units;
    cl_ulong global_memory, largest_buffer, local_memory;
    size_t max_work_group;

    CLA_TRY(ASK(id, CL_DEVICE_PLATFORM, &device->platform, error));
    CLA_TRY(ASK_FIELD(id, CL_DEVICE_NAME, info->name, error));
    CLA_TRY(ASK_FIELD(id, CL_DEVICE_VENDOR, info->vendor, error));
    CLA_TRY(ASK_FIELD(id, CL_DRIVER_VERSION, info->driver, error));
    CLA_TRY(ASK_FIELD(id, CL_DEVICE_VERSION, info->opencl, error));
    CLA_TRY(ASK_FIELD(id, CL_DEVICE_OPENCL_C_VERSION, info->opencl_c, error));
    CLA_TRY(ASK_TEXT(id, CL_DEVICE_PROFILE, &facts->profile, error));
    CLA_TRY(ASK_TEXT(id, CL_DEVICE_EXTENSIONS, &facts->extensions, error));
    CLA_TRY(ASK(id, CL_DEVICE_TYPE, &info->type, error));
    CLA_TRY(ASK(id, CL_DEVICE_AVAILABLE, &facts->available, error));
    CLA_TRY(ASK(id, CL_DEVICE_COMPILER_AVAILABLE, &facts->compiler, error));
    CLA_TRY(ASK(id, CL_DEVICE_ENDIAN_LITTLE, &facts->little_endian, error));
    CLA_TRY(ASK(id, CL_DEVICE_SINGLE_FP_CONFIG, &facts->float_config, error));
    CLA_TRY(ASK(id, CL_DEVICE_LOCAL_MEM_TYPE, &facts->local_type, error));
    CLA_TRY(ASK(id, CL_DEVICE_MAX_COMPUTE_UNITS, &compute_units, error));
    CLA_TRY(ASK(id, CL_DEVICE_GLOBAL_MEM_SIZE, &global_memory, error));
    CLA_TRY(ASK(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &largest_buffer, error));
    CLA_TRY(ASK(id, CL_DEVICE_LOCAL_MEM_SIZE, &local_memory, error));
    CLA_TRY(ASK(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, &max_work_group, error));
    CLA_TRY(ASK_OPTIONAL(id, CL_DEVICE_MAX_CLOCK_FREQUENCY, info->clock_mhz, error));
    CLA_TRY(ASK_OPTIONAL(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, info->vector_width, error));

    info->compute_units = compute_units;
    info->global_memory = global_memory;
    info->largest_buffer = largest_buffer;
    info->local_memory = local_memory;
    info->max_work_group = max_work_group;
    info->has_fp16 = has_extension(facts->extensions, "cl_khr_fp16");
    info->has_fp64 = has_extension(facts->extensions, "cl_khr_fp64");
    device->has_fma = (facts->float_config & CL_FP_FMA) != 0;
    return CLATTN_SUCCESS;
}

/* ---- what follows --------------------------------------------------------------------------------------------- */

/* Sub-groups are an extension in OpenCL 2.0, core in 2.1, and optional again in 3.0, where their number is then 0. */
static clattn_status find_sub_groups(struct cla_device *device, const char *extensions, clattn_error *error)
{
    clattn_device_info *info = &device->info;
    size_t sizes[32] = {0}; /* as many as there are, then 0 */
    cl_uint most = 0;

    if (opencl_version(info) >= 201)
        CLA_TRY(ASK_OPTIONAL(device->id, MAX_NUM_SUB_GROUPS, most, error));
    info->has_sub_groups =
        has_extension(extensions, "cl_khr_subgroups") || has_extension(extensions, "cl_intel_subgroups") || most > 0;
    if (!info->has_sub_groups)
        return CLATTN_SUCCESS;
    if (has_extension(extensions, "cl_intel_required_subgroup_size"))
        CLA_TRY(ASK_OPTIONAL(device->id, SUB_GROUP_SIZES_INTEL, sizes, error));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] != 0 && (info->sub_group == 0 || sizes[i] < info->sub_group))
            info->sub_group = (uint32_t)sizes[i];
    if (info->sub_group == 0 && has_extension(extensions, "cl_amd_device_attribute_query"))
        CLA_TRY(ASK_OPTIONAL(device->id, WAVEFRONT_WIDTH_AMD, info->sub_group, error));
    return CLATTN_SUCCESS;
}

static clattn_device_class classify(cl_device_type type, cl_device_local_mem_type local_type)
{
    if ((type & CL_DEVICE_TYPE_GPU) == 0)
        return CLATTN_DEVICE_CLASS_CPU;
    return local_type == CL_LOCAL ? CLATTN_DEVICE_CLASS_GPU : CLATTN_DEVICE_CLASS_MOBILE;
}

/* Drivers with faults of their own, each with when that was last looked at. cl/README.md has the causes. */
struct quirk {
    const char *opencl;   /* what CL_DEVICE_VERSION contains */
    unsigned first, last; /* versions of CL_DRIVER_VERSION, 301 for 3.1 */
    uint32_t most_lanes;  /* float lanes that its compiler takes; 0: all that the device has */
    bool uses_released;   /* see uses_released of struct cla_device */
    const char *reason;   /* what may show in results; NULL: nothing does */
};

static const struct quirk quirks[] = {
    /* 2026-11: LLVM 14 of PyPI's build of 3.0 ends the process at a float16 on some CPUs ("how to scalarize"). */
    {"PoCL", 300, 300, 8, false, NULL},
    /* 2026-11: seen in 6.0; 5.0 has the same source, 3.1 another, and 7.1 gave no wrong kernel. Only code for CPUs. */
    {"PoCL", 500, 699, 0, false,
     "PoCL 5 and 6 now and then compile a kernel with barriers wrongly: here those of flash, split_kv, unfused and "
     "tiled, and so scores; for these use another version or driver"},
    /*
     * 2026-12: its threads ask the device of an event's queue how to free the event, which may be after a wait for the
     * event has returned; a queue does not hold its device. Seen in 3.1; the source of August 2026 has it too.
     */
    {"PoCL", 0, UINT_MAX, 0, true, NULL},
};

/* What the rows that fit a driver say together. */
static struct quirk quirk_of(const clattn_device_info *info)
{
    struct quirk all = {.opencl = ""};
    unsigned major = 0, minor = 0;
    if (info->device_class != CLATTN_DEVICE_CLASS_CPU || sscanf(info->driver, "%u.%u", &major, &minor) != 2)
        return all;
    const unsigned version = 100 * major + minor;
    for (size_t i = 0; i < sizeof quirks / sizeof *quirks; i++) {
        const struct quirk *one = &quirks[i];
        if (strstr(info->opencl, one->opencl) == NULL || version < one->first || version > one->last)
            continue;
        if (one->most_lanes != 0)
            all.most_lanes = one->most_lanes;
        if (one->reason != NULL)
            all.reason = one->reason;
        all.uses_released |= one->uses_released;
    }
    return all;
}

/*
 * The widest of the two widths that a driver gives: compilers that vectorise over work-items prefer 1, but take vectors
 * as they are written. No CPU has vectors of fewer than 4 floats.
 */
static clattn_status choose_lanes(struct cla_device *device, clattn_error *error)
{
    cl_uint preferred;
    device->vector_lanes = 1;
    if (device->info.device_class != CLATTN_DEVICE_CLASS_CPU)
        return CLATTN_SUCCESS;
    CLA_TRY(ASK_OPTIONAL(device->id, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, preferred, error));
    cl_uint width = preferred > device->info.vector_width ? preferred : device->info.vector_width;
    const uint32_t most = quirk_of(&device->info).most_lanes;
    if (most != 0 && width > most)
        width = most;
    device->vector_lanes = width >= 16 ? 16 : width >= 8 ? 8 : 4;
    return CLATTN_SUCCESS;
}

static void judge(clattn_device_info *info, const struct facts *facts)
{
    const cl_device_fp_config ieee = CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST;
    unsigned version = opencl_version(info);
    bool embedded = strcmp(facts->profile, "EMBEDDED_PROFILE") == 0;
    const struct quirk quirk = quirk_of(info);

    info->verdict = CLATTN_VERDICT_UNUSABLE;
    if (!facts->available) {
        snprintf(info->reason, sizeof info->reason,
                 "the driver says that the device is not available: another program may hold it, or it needs another "
                 "driver");
    } else if (version < 102) {
        snprintf(info->reason, sizeof info->reason,
                 "the device offers %.60s: OpenCL 1.2 is needed; a newer driver may offer it", info->opencl);
    } else if (!facts->compiler) {
        snprintf(info->reason, sizeof info->reason,
                 "the driver has no compiler for OpenCL C: install the vendor's full driver");
    } else if (embedded && !has_extension(facts->extensions, "cles_khr_int64")) {
        snprintf(info->reason, sizeof info->reason,
                 "an embedded profile without 64-bit integers (cles_khr_int64): choose another device");
    } else if ((facts->float_config & ieee) != ieee) {
        snprintf(info->reason, sizeof info->reason,
                 "float arithmetic lacks infinities or rounding to nearest: choose another device");
    } else if (!facts->little_endian) {
        snprintf(info->reason, sizeof info->reason, "the device is big-endian: choose another device");
    } else if (info->local_memory < LEAST_LOCAL_MEMORY || info->max_work_group < LEAST_WORK_GROUP) {
        info->verdict = CLATTN_VERDICT_LIMITED;
        snprintf(
            info->reason, sizeof info->reason,
            "%llu bytes of local memory and work-groups of %llu: with less than %d and %d kernels are slow; choose "
            "another device for speed",
            (unsigned long long)info->local_memory, (unsigned long long)info->max_work_group, LEAST_LOCAL_MEMORY,
            LEAST_WORK_GROUP);
    } else if (quirk.reason != NULL) {
        info->verdict = CLATTN_VERDICT_LIMITED;
        snprintf(info->reason, sizeof info->reason, "%s", quirk.reason);
    } else {
        info->verdict = CLATTN_VERDICT_READY;
    }
}

clattn_status cla_device_parent(cl_device_id id, cl_device_id *parent, clattn_error *error)
{
    return ASK_OPTIONAL(id, CL_DEVICE_PARENT_DEVICE, *parent, error);
}

clattn_status cla_device_query(cl_device_id id, struct cla_device *device, clattn_error *error)
{
    struct facts facts = {0};

    memset(device, 0, sizeof *device);
    device->id = id;
    device->dot = CLA_DOT_PLAIN;
    clattn_device_info_init(&device->info);
    clattn_status status = read_facts(device, &facts, error);
    if (status == CLATTN_SUCCESS)
        status = find_sub_groups(device, facts.extensions, error);
    if (status == CLATTN_SUCCESS) {
        device->info.device_class = classify(device->info.type, facts.local_type);
        status = choose_lanes(device, error);
    }
    if (status == CLATTN_SUCCESS) {
        judge(&device->info, &facts);
        device->uses_released = quirk_of(&device->info).uses_released;
    }
    free(facts.profile);
    free(facts.extensions);
    return status;
}
