/* SPDX-License-Identifier: Apache-2.0 */
/* Public structs across versions of the header. */
#include "util/struct_size.h"
#include "util/error.h"

/* Beyond any struct to come: a size above it is memory that was never initialised, and must not be followed. */
#define LARGEST 4096

static size_t struct_size(const void *given)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

clattn_status cla_struct_check(const void *given, size_t oldest, const char *name, clattn_error *error)
{
    CLA_CHECK(given != NULL, error, "%s is NULL", name);
    CLA_CHECK(struct_size(given) >= oldest && struct_size(given) <= LARGEST, error,
              "%s.struct_size is %zu: expected at least %zu, as %s_init sets it", name, struct_size(given), oldest,
              name);
    return CLATTN_SUCCESS;
}

clattn_status cla_struct_read(const void *given, size_t oldest, void *copy, size_t size, const char *name,
                              clattn_error *error)
{
    CLA_TRY(cla_struct_check(given, oldest, name, error));
    const unsigned char *bytes = given;
    for (size_t i = size; i < struct_size(given); i++)
        if (bytes[i] != 0)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "%s has a field at byte %zu that is set and unknown to clattn %s: expected at most %zu "
                            "bytes in use",
                            name, i, clattn_version_string(), size);
    memset(copy, 0, size);
    memcpy(copy, given, size < struct_size(given) ? size : struct_size(given));
    memcpy(copy, &size, sizeof size); /* whoever reads the copy again must not follow a larger size past its end */
    return CLATTN_SUCCESS;
}

void cla_struct_write(void *given, const void *filled, size_t size)
{
    size_t given_size = struct_size(given);
    memset(given, 0, given_size);
    memcpy(given, filled, size < given_size ? size : given_size);
    memcpy(given, &given_size, sizeof given_size);
}
