/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing string: after the first failed allocation it stays as it is and `failed` says so. A line of a given size.
 * And the quoting of text that came from outside, for messages.
 */
#ifndef CLA_UTIL_TEXT_H
#define CLA_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Has the compiler check arguments against a format, as __attribute__((format(printf, ...))) does. For Windows gcc
 * means by "printf" that of the system's old library, which knows no %zu; what is called is a standard one.
 */
#if defined(__MINGW32__) && !defined(__clang__)
#define CLA_PRINTF(format_index, first_index) __attribute__((format(gnu_printf, format_index, first_index)))
#else
#define CLA_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#endif

struct cla_text {
    char *data; /* NULL or 0-terminated */
    size_t length;
    size_t capacity;
    bool failed;
};

CLA_PRINTF(2, 3) void cla_text_add(struct cla_text *text, const char *format, ...);
void cla_text_free(struct cla_text *text);

/* Text as snprintf leaves it: cut at `size`, 0-terminated if that is not 0, `length` counting all of it. */
struct cla_line {
    char *text;
    size_t size;
    size_t length;
};

CLA_PRINTF(2, 3) void cla_line_add(struct cla_line *line, const char *format, ...);

/*
 * Writes text[0..length) into `out` between double quotes, bytes that do not print as \xNN, and returns `out`. What
 * does not fit into `size` bytes, at least 8, is cut and ends in three dots inside the quotes.
 */
const char *cla_quote(char *out, size_t size, const char *text, size_t length);

#endif
