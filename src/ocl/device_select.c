/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a device by a selector. The one place where the environment is read. */
#include "ocl/device.h"
#include "util/error.h"
#include "util/number.h"
#include "util/text.h"
#include <ctype.h>
#include <stdlib.h>

#define PLATFORM_NOT_FOUND (-1001) /* CL_PLATFORM_NOT_FOUND_KHR, of cl_khr_icd: the loader knows no platform */

/* A device that OpenCL lists. One whose facts cannot be read is unusable, the error being the reason. */
struct candidate {
    int64_t platform; /* numbers as OpenCL lists them */
    int64_t number;
    cl_int cl_code; /* of the call that failed, where the facts cannot be read */
    struct cla_device device;
};

struct listing {
    size_t count;
    struct candidate *candidates;
    struct cla_text silent; /* the platforms without a device, and why */
    cl_int silent_code;     /* what clGetDeviceIDs said of the first of them */
};

struct selector {
    enum { ANY, TYPE, PLACE, NAME } kind;
    cl_device_type type;
    int64_t platform;
    int64_t number;
    const char *name;
};

/* ---- what there is -------------------------------------------------------------------------------------------- */

/* What platforms lack that are there and list no device, last looked at 2026-11. */
static const struct {
    const char *platform;
    const char *remedy;
} silences[] = {
    {"Portable Computing Language",
     "as PoCL does where it cannot write its cache: set POCL_CACHE_DIR to a folder where it can, or HOME"},
    {"", "install the driver package for the device that this machine has, or pocl-opencl-icd for its CPU"},
};

/* A platform without a device hides nobody else's, a broken one neither: it is kept for when there is none at all. */
static void add_silent(struct listing *listing, cl_platform_id platform, int64_t number, cl_int code)
{
    char name[128] = "";
    size_t row = 0;
    if (listing->silent.length == 0)
        listing->silent_code = code;
    if (clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL) != CL_SUCCESS)
        name[0] = 0;
    cla_text_add(&listing->silent, "%splatform %d (%s) ", listing->silent.length > 0 ? "; " : "", (int)number,
                 name[0] != 0 ? name : "without a name");
    if (code != CL_DEVICE_NOT_FOUND && code != CL_SUCCESS) {
        cla_text_add(&listing->silent, "cannot list its devices: clGetDeviceIDs failed with %s (%d)",
                     cla_cl_code_string(code), (int)code);
        return;
    }
    while (strstr(name, silences[row].platform) == NULL)
        row++;
    cla_text_add(&listing->silent, "lists no device, %s", silences[row].remedy);
}

static clattn_status add_device(struct listing *listing, cl_device_id id, int64_t platform, int64_t number,
                                clattn_error *error)
{
    struct candidate *candidate = &listing->candidates[listing->count++];
    clattn_error failure;
    candidate->platform = platform;
    candidate->number = number;
    candidate->cl_code = CL_SUCCESS;
    clattn_status status = cla_device_query(id, &candidate->device, &failure);
    if (status == CLATTN_SUCCESS)
        return CLATTN_SUCCESS;
    if (failure.cl_code == CL_SUCCESS) /* no memory of our own, which says nothing of the device */
        return cla_fail(error, status, "%s", failure.message);
    candidate->cl_code = failure.cl_code;
    candidate->device.info.verdict = CLATTN_VERDICT_UNUSABLE;
    memcpy(candidate->device.info.reason, failure.message, sizeof candidate->device.info.reason - 1);
    return CLATTN_SUCCESS;
}

static clattn_status add_platform(struct listing *listing, cl_platform_id platform, int64_t number, clattn_error *error)
{
    cl_uint count = 0;
    clattn_status status = CLATTN_SUCCESS;
    cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    if (code != CL_SUCCESS || count == 0) {
        add_silent(listing, platform, number, code);
        return CLATTN_SUCCESS;
    }
    cl_device_id *ids = calloc(count, sizeof *ids);
    struct candidate *grown = realloc(listing->candidates, (listing->count + count) * sizeof *grown);
    if (grown != NULL)
        listing->candidates = grown;
    if (ids == NULL || grown == NULL) {
        free(ids);
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory to list %u devices", (unsigned)count);
    }
    code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL);
    if (code != CL_SUCCESS)
        add_silent(listing, platform, number, code);
    for (cl_uint i = 0; code == CL_SUCCESS && status == CLATTN_SUCCESS && i < count; i++)
        status = add_device(listing, ids[i], number, i, error);
    free(ids);
    return status;
}

static clattn_status list_devices(struct listing *listing, clattn_error *error)
{
    cl_uint count = 0;
    clattn_status status = CLATTN_SUCCESS;
    cl_int code = clGetPlatformIDs(0, NULL, &count);

    if (code == PLATFORM_NOT_FOUND || (code == CL_SUCCESS && count == 0))
        return cla_fail_code(error, CLATTN_ERROR_NO_DEVICE, code,
                             "no OpenCL platform: install a driver package, such as pocl-opencl-icd (any CPU), "
                             "intel-opencl-icd, mesa-opencl-icd or rocm-opencl-icd (AMD), nvidia-opencl-icd");
    if (code != CL_SUCCESS)
        return cla_fail_cl(error, code, "clGetPlatformIDs");

    cl_platform_id *platforms = calloc(count, sizeof *platforms);
    if (platforms == NULL)
        return cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory to list %u platforms", (unsigned)count);
    code = clGetPlatformIDs(count, platforms, NULL);
    if (code != CL_SUCCESS)
        status = cla_fail_cl(error, code, "clGetPlatformIDs");
    for (cl_uint i = 0; i < count && status == CLATTN_SUCCESS; i++)
        status = add_platform(listing, platforms[i], i, error);
    if (status == CLATTN_SUCCESS && listing->silent.failed)
        status = cla_fail(error, CLATTN_ERROR_OUT_OF_HOST_MEMORY, "no memory to list %u platforms", (unsigned)count);
    free(platforms);
    return status;
}

/* ---- what is asked for ---------------------------------------------------------------------------------------- */

/* `origin` is what a message calls the selector. */
static clattn_status parse(const char *text, const char *origin, struct selector *selector, clattn_error *error)
{
    static const struct {
        const char *word;
        struct selector selector;
    } words[] = {
        {"any", {.kind = ANY}},
        {"gpu", {.kind = TYPE, .type = CL_DEVICE_TYPE_GPU}},
        {"cpu", {.kind = TYPE, .type = CL_DEVICE_TYPE_CPU}},
        {"accelerator", {.kind = TYPE, .type = CL_DEVICE_TYPE_ACCELERATOR}},
    };
    char quoted[100];

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i].word) == 0) {
            *selector = words[i].selector;
            return CLATTN_SUCCESS;
        }
    }
    memset(selector, 0, sizeof *selector);
    if (strncmp(text, "name=", 5) == 0 && text[5] != 0) {
        selector->kind = NAME;
        selector->name = text + 5;
        return CLATTN_SUCCESS;
    }
    const char *colon = strchr(text, ':');
    if (colon != NULL && cla_parse_int64(text, (size_t)(colon - text), &selector->platform) &&
        cla_parse_int64(colon + 1, strlen(colon + 1), &selector->number) && selector->platform >= 0 &&
        selector->number >= 0) {
        selector->kind = PLACE;
        return CLATTN_SUCCESS;
    }
    return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                    "%s is %s: expected any, gpu, cpu, accelerator, P:D (device D of platform P) or name=TEXT", origin,
                    cla_quote(quoted, sizeof quoted, text, strlen(text)));
}

/* The one bit that counts of a type with several. */
static cl_device_type main_type(cl_device_type type)
{
    const cl_device_type order[] = {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_CPU};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if ((type & order[i]) != 0)
            return order[i];
    return type;
}

/* Small is better. */
static int rank(cl_device_type type)
{
    switch (main_type(type)) {
    case CL_DEVICE_TYPE_GPU:
        return 0;
    case CL_DEVICE_TYPE_ACCELERATOR:
        return 1;
    case CL_DEVICE_TYPE_CPU:
        return 2;
    default:
        return 3;
    }
}

static bool contains(const char *text, const char *part) /* upper and lower case being the same */
{
    for (; *text != 0; text++) {
        size_t i = 0;
        while (part[i] != 0 && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (part[i] == 0)
            return true;
    }
    return false;
}

static bool matches(const struct selector *selector, const struct candidate *candidate)
{
    switch (selector->kind) {
    case TYPE:
        return main_type(candidate->device.info.type) == selector->type;
    case PLACE:
        return candidate->platform == selector->platform && candidate->number == selector->number;
    case NAME:
        return contains(candidate->device.info.name, selector->name);
    case ANY:
        break;
    }
    return true;
}

/* ---- the choice ----------------------------------------------------------------------------------------------- */

/* What there is instead of what was asked for. */
static clattn_status explain(const char *text, const struct listing *listing, const struct candidate *unusable,
                             clattn_error *error)
{
    char quoted[100];
    struct cla_text names = {0};

    cla_quote(quoted, sizeof quoted, text, strlen(text));
    if (unusable != NULL)
        return cla_fail_code(error, CLATTN_ERROR_NO_DEVICE, unusable->cl_code,
                             "no usable OpenCL device for %s: device %d:%d%s%s: %s", quoted, (int)unusable->platform,
                             (int)unusable->number, unusable->device.info.name[0] != 0 ? ", " : "",
                             unusable->device.info.name, unusable->device.info.reason);
    for (size_t i = 0; i < listing->count; i++) {
        const struct candidate *candidate = &listing->candidates[i];
        cla_text_add(&names, "%s%d:%d %s", i == 0 ? "" : ", ", (int)candidate->platform, (int)candidate->number,
                     candidate->device.info.name);
    }
    if (listing->silent.length > 0)
        cla_text_add(&names, "; %s", listing->silent.data);
    clattn_status status = cla_fail_code(error, CLATTN_ERROR_NO_DEVICE, listing->silent_code,
                                         "no OpenCL device for %s: expected one of %s", quoted,
                                         names.failed ? "those listed by OpenCL" : names.data);
    cla_text_free(&names);
    return status;
}

static clattn_status choose(const char *text, const struct selector *selector, const struct listing *listing,
                            cl_device_id *id, clattn_error *error)
{
    const struct candidate *best = NULL;
    const struct candidate *unusable = NULL;

    if (listing->count == 0)
        return cla_fail_code(error, CLATTN_ERROR_NO_DEVICE, listing->silent_code, "no OpenCL device: %s",
                             listing->silent.data);
    for (size_t i = 0; i < listing->count; i++) {
        const struct candidate *candidate = &listing->candidates[i];
        if (!matches(selector, candidate))
            continue;
        /* A device named by its place is what it is; clattn_context_create says so if it is unusable. */
        bool usable = candidate->device.info.verdict != CLATTN_VERDICT_UNUSABLE || selector->kind == PLACE;
        if (!usable && unusable == NULL)
            unusable = candidate;
        if (usable && (best == NULL ||
                       (selector->kind == ANY && rank(candidate->device.info.type) < rank(best->device.info.type))))
            best = candidate;
    }
    if (best == NULL)
        return explain(text, listing, unusable, error);
    *id = best->device.id;
    return CLATTN_SUCCESS;
}

clattn_status cla_device_select(const char *selector, cl_device_id *id, clattn_error *error)
{
    struct selector asked;
    struct listing listing = {0};
    const char *origin = "the device selector";
    const char *text = selector;

    if (text == NULL || text[0] == 0) {
        origin = "CLATTN_DEVICE";
        text = getenv(origin);
    }
    if (text == NULL || text[0] == 0)
        text = "any";
    CLA_TRY(parse(text, origin, &asked, error));
    clattn_status status = list_devices(&listing, error);
    if (status == CLATTN_SUCCESS)
        status = choose(text, &asked, &listing, id, error);
    cla_text_free(&listing.silent);
    free(listing.candidates);
    return status;
}
