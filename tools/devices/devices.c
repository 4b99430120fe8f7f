/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn devices`: every OpenCL platform and device, and whether attention can run there. */
#include "shared/json.h"
#include "shared/options.h"
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLATFORM_NOT_FOUND (-1001) /* CL_PLATFORM_NOT_FOUND_KHR: the loader's way to say that there is none */

enum devices_option { DEVICES_JSON = OPTION_HELP + 1, DEVICES_LONG };

static const struct poptOption devices_options[] = {
    {"json", '\0', POPT_ARG_NONE, NULL, DEVICES_JSON, "JSON in place of tables", NULL},
    {"long", '\0', POPT_ARG_NONE, NULL, DEVICES_LONG, "everything that is known, a line each", NULL},
    OPTIONS_END,
};

struct device {
    cl_device_id id;
    bool known; /* the driver has answered: `info` is more than a verdict and its reason */
    clattn_device_info info;
    bool preferred; /* what the tool uses where no device is named */
};

struct platform {
    char name[128], vendor[128], version[128];
    char reason[64]; /* why its devices are not listed, where that is not for want of any */
    struct device *devices;
    unsigned num_devices;
};

struct platforms {
    struct platform *platform;
    unsigned count;
    clattn_error no_default; /* why no device is preferred; "" where one is */
};

/* ---- what there is ---- */

static enum exit_code fail_call(const char *call, cl_int code)
{
    return fail(EXIT_FAILED, "%s failed with OpenCL error %d", call, (int)code);
}

static enum exit_code platform_text(cl_platform_id id, cl_platform_info what, char text[128])
{
    char whole[1024] = "";
    cl_int code = clGetPlatformInfo(id, what, sizeof whole, whole, NULL);
    snprintf(text, 128, "%.127s", whole);
    return code == CL_SUCCESS ? EXIT_DONE : fail_call("clGetPlatformInfo", code);
}

static enum exit_code find_devices(cl_platform_id id, cl_device_id preferred, struct platform *platform)
{
    TRY(platform_text(id, CL_PLATFORM_NAME, platform->name));
    TRY(platform_text(id, CL_PLATFORM_VENDOR, platform->vendor));
    TRY(platform_text(id, CL_PLATFORM_VERSION, platform->version));
    cl_uint count = 0;
    cl_int code = clGetDeviceIDs(id, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    if (code == CL_DEVICE_NOT_FOUND || (code == CL_SUCCESS && count == 0))
        return EXIT_DONE;
    if (code != CL_SUCCESS) { /* a broken driver, which must not hide the devices of another */
        snprintf(platform->reason, sizeof platform->reason, "clGetDeviceIDs failed with OpenCL error %d", (int)code);
        return EXIT_DONE;
    }
    cl_device_id *ids = calloc(count, sizeof(cl_device_id));
    platform->devices = calloc(count, sizeof *platform->devices);
    if (ids == NULL || platform->devices == NULL) {
        free(ids);
        return fail(EXIT_FAILED, "no memory for %u devices", count);
    }
    code = clGetDeviceIDs(id, CL_DEVICE_TYPE_ALL, count, ids, NULL);
    for (cl_uint i = 0; code == CL_SUCCESS && i < count; i++) {
        struct device *device = &platform->devices[platform->num_devices++];
        clattn_error error;
        device->id = ids[i];
        device->preferred = ids[i] == preferred;
        clattn_device_info_init(&device->info);
        device->known = clattn_device_query(ids[i], &device->info, &error) == CLATTN_SUCCESS;
        if (!device->known) {
            device->info.verdict = CLATTN_VERDICT_UNUSABLE;
            snprintf(device->info.reason, sizeof device->info.reason, "%.255s", error.message);
        }
    }
    free(ids);
    return code == CL_SUCCESS ? EXIT_DONE : fail_call("clGetDeviceIDs", code);
}

static enum exit_code find_platforms(struct platforms *platforms)
{
    cl_device_id preferred = NULL;
    cl_uint count = 0;
    cl_int called = clGetPlatformIDs(0, NULL, &count);
    if (called == PLATFORM_NOT_FOUND || (called == CL_SUCCESS && count == 0))
        return EXIT_DONE;
    if (called != CL_SUCCESS)
        return fail_call("clGetPlatformIDs", called);
    if (clattn_device_select(NULL, &preferred, &platforms->no_default) != CLATTN_SUCCESS)
        preferred = NULL;
    cl_platform_id *ids = calloc(count, sizeof(cl_platform_id));
    platforms->platform = calloc(count, sizeof *platforms->platform);
    if (ids == NULL || platforms->platform == NULL) {
        free(ids);
        return fail(EXIT_FAILED, "no memory for %u platforms", count);
    }
    called = clGetPlatformIDs(count, ids, NULL);
    enum exit_code code = called == CL_SUCCESS ? EXIT_DONE : fail_call("clGetPlatformIDs", called);
    for (cl_uint i = 0; i < count && code == EXIT_DONE; i++)
        code = find_devices(ids[i], preferred, &platforms->platform[platforms->count++]);
    free(ids);
    return code;
}

static void free_platforms(struct platforms *platforms)
{
    for (unsigned p = 0; p < platforms->count; p++)
        free(platforms->platform[p].devices);
    free(platforms->platform);
}

/* ---- words for it ---- */

static const char *type_string(const clattn_device_info *info)
{
    return (info->type & CL_DEVICE_TYPE_GPU) != 0   ? "gpu"
           : (info->type & CL_DEVICE_TYPE_CPU) != 0 ? "cpu"
                                                    : "accelerator";
}

static const char *class_string(const clattn_device_info *info)
{
    return info->device_class == CLATTN_DEVICE_CLASS_GPU      ? "gpu"
           : info->device_class == CLATTN_DEVICE_CLASS_MOBILE ? "mobile"
                                                              : "cpu";
}

static const char *verdict_string(const clattn_device_info *info)
{
    return info->verdict == CLATTN_VERDICT_READY     ? "ready"
           : info->verdict == CLATTN_VERDICT_LIMITED ? "limited"
                                                     : "unusable";
}

static const char *yes_no(int yes)
{
    return yes ? "yes" : "no";
}

/* "15.6 GiB". */
static const char *bytes_string(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        number /= 1024;
        unit++;
    }
    snprintf(text, 32, "%.4g %s", number, units[unit]);
    return text;
}

/* ---- JSON ---- */

static json_t *device_json(const struct device *device, unsigned p, unsigned d)
{
    const clattn_device_info *info = &device->info;
    json_t *object = json_object();
    char id[32];
    snprintf(id, sizeof id, "%u:%u", p, d);
    json_object_set_new(object, "id", json_text(id));
    json_object_set_new(object, "verdict", json_text(verdict_string(info)));
    json_object_set_new(object, "ready", json_boolean(info->verdict != CLATTN_VERDICT_UNUSABLE));
    json_object_set_new(object, "reason", json_text(info->reason));
    json_object_set_new(object, "default", json_boolean(device->preferred));
    if (!device->known)
        return object;
    json_object_set_new(object, "name", json_text(info->name));
    json_object_set_new(object, "vendor", json_text(info->vendor));
    json_object_set_new(object, "type", json_text(type_string(info)));
    json_object_set_new(object, "class", json_text(class_string(info)));
    json_object_set_new(object, "driver", json_text(info->driver));
    json_object_set_new(object, "opencl", json_text(info->opencl));
    json_object_set_new(object, "opencl_c", json_text(info->opencl_c));
    json_object_set_new(object, "compute_units", json_integer(info->compute_units));
    json_object_set_new(object, "clock_mhz", json_integer(info->clock_mhz));
    json_object_set_new(object, "global_memory", json_integer((json_int_t)info->global_memory));
    json_object_set_new(object, "largest_buffer", json_integer((json_int_t)info->largest_buffer));
    json_object_set_new(object, "local_memory", json_integer((json_int_t)info->local_memory));
    json_object_set_new(object, "max_work_group", json_integer((json_int_t)info->max_work_group));
    json_object_set_new(object, "vector_width", json_integer(info->vector_width));
    json_object_set_new(object, "sub_group", json_integer(info->sub_group));
    json_object_set_new(object, "fp16", json_boolean(info->has_fp16));
    json_object_set_new(object, "fp64", json_boolean(info->has_fp64));
    json_object_set_new(object, "sub_groups", json_boolean(info->has_sub_groups));
    return object;
}

static enum exit_code print_json(const struct platforms *platforms)
{
    json_t *list = json_array();
    for (unsigned p = 0; p < platforms->count; p++) {
        const struct platform *platform = &platforms->platform[p];
        json_t *devices = json_array();
        for (unsigned d = 0; d < platform->num_devices; d++)
            json_array_append_new(devices, device_json(&platform->devices[d], p, d));
        json_t *object = json_object();
        json_object_set_new(object, "name", json_text(platform->name));
        json_object_set_new(object, "vendor", json_text(platform->vendor));
        json_object_set_new(object, "version", json_text(platform->version));
        json_object_set_new(object, "reason", json_text(platform->reason));
        json_object_set_new(object, "devices", devices);
        json_array_append_new(list, object);
    }
    json_t *whole = json_object();
    json_object_set_new(whole, "platforms", list);
    return json_print(whole);
}

/* ---- tables ---- */

static const char *verdict_colour(const clattn_device_info *info)
{
    return info->verdict == CLATTN_VERDICT_READY     ? "green"
           : info->verdict == CLATTN_VERDICT_LIMITED ? "brown" /* what terminals show as yellow */
                                                     : "red";
}

static const struct {
    const char *name;
    int flags;
} columns[] = {
    {"DEVICE", 0},
    {"NAME", 0},
    {"TYPE", 0},
    {"CLASS", 0},
    {"DRIVER", 0},
    {"UNITS", SCOLS_FL_RIGHT},
    {"MEMORY", SCOLS_FL_RIGHT},
    {"LARGEST", SCOLS_FL_RIGHT},
    {"LOCAL", SCOLS_FL_RIGHT},
    {"FP16", 0},
    {"SUBGROUPS", 0},
    {"VERDICT", 0},
};

#define NUM_COLUMNS (sizeof columns / sizeof *columns)

static int add_row(struct libscols_table *table, const struct device *device, unsigned p, unsigned d, bool colour)
{
    const clattn_device_info *info = &device->info;
    char id[32], units[16], memory[32], largest[32], local[32];
    struct libscols_line *line = scols_table_new_line(table, NULL);
    if (line == NULL)
        return -1;
    snprintf(id, sizeof id, "%u:%u%s", p, d, device->preferred ? "*" : "");
    snprintf(units, sizeof units, "%" PRIu32, info->compute_units);
    const char *const cells[NUM_COLUMNS] = {
        id,
        info->name,
        type_string(info),
        class_string(info),
        info->driver,
        units,
        bytes_string(info->global_memory, memory),
        bytes_string(info->largest_buffer, largest),
        bytes_string(info->local_memory, local),
        yes_no(info->has_fp16),
        yes_no(info->has_sub_groups),
        verdict_string(info),
    };
    int result = 0;
    for (size_t i = 0; i < NUM_COLUMNS && result == 0; i++) {
        const bool ours = i == 0 || i + 1 == NUM_COLUMNS; /* not the driver's to answer */
        result = scols_line_set_data(line, i, ours || device->known ? cells[i] : "?");
    }
    if (result == 0 && colour)
        result = scols_cell_set_color(scols_line_get_cell(line, NUM_COLUMNS - 1), verdict_colour(info));
    return result;
}

static void print_reasons(const struct platforms *platforms)
{
    for (unsigned p = 0; p < platforms->count; p++)
        for (unsigned d = 0; d < platforms->platform[p].num_devices; d++) {
            const clattn_device_info *info = &platforms->platform[p].devices[d].info;
            if (info->reason[0] != '\0')
                printf("%u:%u is %s: %s\n", p, d, verdict_string(info), info->reason);
        }
}

/* " (no devices)", with the reason where there is one; "" where there are some. */
static const char *nothing_listed(const struct platform *platform, char text[128])
{
    if (platform->num_devices > 0)
        return "";
    snprintf(text, 128, " (no devices%s%s)", platform->reason[0] != '\0' ? ": " : "", platform->reason);
    return text;
}

static enum exit_code print_table(const struct platforms *platforms)
{
    char text[128];
    bool colour = message_colour(STDOUT_FILENO);
    struct libscols_table *table = scols_new_table();
    int result = table == NULL ? -1 : scols_table_enable_colors(table, colour);
    for (size_t i = 0; i < NUM_COLUMNS && result == 0; i++)
        result = scols_table_new_column(table, columns[i].name, 0, columns[i].flags) == NULL ? -1 : 0;
    for (unsigned p = 0; p < platforms->count; p++)
        for (unsigned d = 0; d < platforms->platform[p].num_devices && result == 0; d++)
            result = add_row(table, &platforms->platform[p].devices[d], p, d, colour);
    for (unsigned p = 0; p < platforms->count && result == 0; p++)
        printf("platform %u: %s, %s%s\n", p, platforms->platform[p].name, platforms->platform[p].version,
               nothing_listed(&platforms->platform[p], text));
    if (result == 0 && !scols_table_is_empty(table)) {
        printf("\n");
        result = scols_print_table(table);
    }
    scols_unref_table(table);
    print_reasons(platforms);
    return result == 0 ? EXIT_DONE : fail(EXIT_FAILED, "no memory for the table");
}

/* What the library knows of a device's matrix unit, which it looks for by running a kernel; -> `text`. */
static const char *matrix_unit_string(const struct device *device, char *text, size_t size)
{
    clattn_context *context = NULL;
    clattn_matrix_unit unit;
    clattn_error error;
    int code;
    clattn_matrix_unit_init(&unit);
    cl_context cl_ctx = clCreateContext(NULL, 1, &device->id, NULL, NULL, &code);
    if (cl_ctx == NULL)
        snprintf(text, size, "?: clCreateContext failed with OpenCL error %d", code);
    else if (clattn_context_create(cl_ctx, device->id, NULL, &context, &error) != CLATTN_SUCCESS ||
             clattn_context_matrix_unit(context, &unit, &error) != CLATTN_SUCCESS)
        snprintf(text, size, "?: %.300s", error.message);
    else if (unit.name[0] == '\0')
        snprintf(text, size, "none that the library knows");
    else if (unit.used)
        snprintf(text, size, "%s (%s): right, %.2f times the products of float multiply-adds", unit.name, unit.types,
                 unit.gain);
    else
        snprintf(text, size, "%s (%s): not used: %s", unit.name, unit.types, unit.reason);
    clattn_context_release(context);
    if (cl_ctx != NULL)
        clReleaseContext(cl_ctx);
    return text;
}

static void print_device(const struct device *device, unsigned p, unsigned d)
{
    const clattn_device_info *info = &device->info;
    char text[400];
    printf("  device %u:%u: %s%s\n", p, d, device->known ? info->name : "?", device->preferred ? " (the default)" : "");
    printf("    verdict         %s%s%s\n", verdict_string(info), info->reason[0] ? ": " : "", info->reason);
    if (!device->known)
        return;
    printf("    type            %s\n", type_string(info));
    printf("    class           %s\n", class_string(info));
    printf("    vendor          %s\n", info->vendor);
    printf("    driver          %s\n", info->driver);
    printf("    OpenCL          %s\n", info->opencl);
    printf("    OpenCL C        %s\n", info->opencl_c);
    printf("    compute units   %" PRIu32 "\n", info->compute_units);
    printf("    clock           %" PRIu32 " MHz\n", info->clock_mhz);
    printf("    global memory   %s\n", bytes_string(info->global_memory, text));
    printf("    largest buffer  %s\n", bytes_string(info->largest_buffer, text));
    printf("    local memory    %s\n", bytes_string(info->local_memory, text));
    printf("    work-group      at most %" PRIu64 "\n", info->max_work_group);
    printf("    float vectors   of %" PRIu32 "\n", info->vector_width);
    printf("    fp16, fp64      %s, %s\n", yes_no(info->has_fp16), yes_no(info->has_fp64));
    printf("    matrix unit     %s\n", matrix_unit_string(device, text, sizeof text));
    if (info->sub_group > 0)
        printf("    sub-groups      yes, of at least %" PRIu32 "\n", info->sub_group);
    else
        printf("    sub-groups      %s\n", yes_no(info->has_sub_groups));
}

static void print_long(const struct platforms *platforms)
{
    char text[128];
    for (unsigned p = 0; p < platforms->count; p++) {
        const struct platform *platform = &platforms->platform[p];
        printf("platform %u: %s, %s, %s%s\n", p, platform->name, platform->version, platform->vendor,
               nothing_listed(platform, text));
        for (unsigned d = 0; d < platform->num_devices; d++)
            print_device(&platform->devices[d], p, d);
    }
}

/* ---- the command ---- */

static enum exit_code check_usable(const struct platforms *platforms)
{
    unsigned usable = 0;
    for (unsigned p = 0; p < platforms->count; p++)
        for (unsigned d = 0; d < platforms->platform[p].num_devices; d++)
            usable += platforms->platform[p].devices[d].info.verdict != CLATTN_VERDICT_UNUSABLE;
    if (usable > 0) {
        if (platforms->no_default.message[0] != '\0')
            note("none of these is the default: %s", platforms->no_default.message);
        return EXIT_DONE;
    }
    cl_device_id device;
    clattn_error error;
    if (clattn_device_select("any", &device, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    return fail(EXIT_NO_DEVICE, "no OpenCL device is usable");
}

static enum exit_code devices_main(const struct command *command, int argc, const char **argv)
{
    struct option_values values;
    struct platforms platforms = {.count = 0};
    bool answered;
    enum exit_code code = options_parse(command, argc, argv, &values, &answered);
    if (code == EXIT_DONE && !answered) {
        code = find_platforms(&platforms);
        if (code == EXIT_DONE && values.text[DEVICES_JSON] != NULL)
            code = print_json(&platforms);
        else if (code == EXIT_DONE && values.text[DEVICES_LONG] != NULL)
            print_long(&platforms);
        else if (code == EXIT_DONE)
            code = print_table(&platforms);
        fflush(stdout);
        if (code == EXIT_DONE)
            code = check_usable(&platforms);
    }
    free_platforms(&platforms);
    options_free(&values);
    return code;
}

const struct command devices_command = {
    .name = "devices",
    .summary = "list OpenCL platforms and devices, and whether attention can run there",
    .details =
        "A device is ready, limited (usable, with something missing, slow or at fault) or unusable; the reason says\n"
        "why and what to do. The one that is used where none is named has a star.\n",
    .examples = "  clattn devices\n"
                "  clattn devices --long\n"
                "  clattn devices --json\n",
    .options = devices_options,
    .run = devices_main,
};
