/* SPDX-License-Identifier: Apache-2.0 */
/* How a failure is reported: one call that fills the caller's clattn_error and returns the status. */
#ifndef CLA_UTIL_ERROR_H
#define CLA_UTIL_ERROR_H

#include "util/text.h"
#include <clattn/base.h>

/* Fills `error` unless it is NULL, with a printf-formatted message of one line, and returns `status`. */
CLA_PRINTF(3, 4) clattn_status cla_fail(clattn_error *error, clattn_status status, const char *format, ...);

/* The same where an OpenCL call is behind it that returned `code`. */
CLA_PRINTF(4, 5)
clattn_status cla_fail_code(clattn_error *error, clattn_status status, cl_int code, const char *format, ...);

/*
 * The same with the words for it: `call` is the name of the call, with what it was for in parentheses if that helps.
 * Codes that mean lack of memory give the two out-of-memory statuses, build failures BUILD_FAILED, others
 * OPENCL.
 */
clattn_status cla_fail_cl(clattn_error *error, cl_int code, const char *call);

/* "CL_OUT_OF_RESOURCES" for -5; "an unknown code" for a number that is none. */
const char *cla_cl_code_string(cl_int code);

/* Leaves the enclosing function, which returns clattn_status, where `expr` is a status that is not success. */
#define CLA_TRY(expr)                                                                                                  \
    do {                                                                                                               \
        clattn_status try_status_ = (expr);                                                                            \
        if (try_status_ != CLATTN_SUCCESS)                                                                             \
            return try_status_;                                                                                        \
    } while (0)

/* Leaves it with INVALID_ARGUMENT where a contract of the header is broken: for the entry of public functions. */
#define CLA_CHECK(cond, error, ...)                                                                                    \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            return cla_fail((error), CLATTN_ERROR_INVALID_ARGUMENT, __VA_ARGS__);                                      \
    } while (0)

#endif
