/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on standard error: prefix, escaping, progress. */
#include "shared/message.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

static const char *command = "";
static bool progress_shown;

void message_set_command(const char *name)
{
    command = name;
}

/* Characters that the locale can print pass, every other byte becomes \xNN, so that a message stays on its line. */
static void put_escaped(const char *text)
{
    const char *end = text + strlen(text);
    while (text < end) {
        wchar_t wide;
        mbstate_t state;
        memset(&state, 0, sizeof state);
        size_t used = mbrtowc(&wide, text, (size_t)(end - text), &state);
        if (used >= 1 && used <= (size_t)(end - text) && iswprint((wint_t)wide)) {
            fwrite(text, 1, used, stderr);
            text += used;
        } else {
            fprintf(stderr, "\\x%02x", (unsigned)(unsigned char)*text);
            text++;
        }
    }
}

static void put_line(const char *prefix, const char *format, va_list arguments)
{
    char text[8192]; /* a path at its longest, and a sentence around it */
    vsnprintf(text, sizeof text, format, arguments);
    progress(NULL);
    fputs(prefix, stderr);
    put_escaped(text);
    fputc('\n', stderr);
}

enum exit_code fail(enum exit_code code, const char *format, ...)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "clattn%s%s: ", *command ? " " : "", command);
    va_list arguments;
    va_start(arguments, format);
    put_line(prefix, format, arguments);
    va_end(arguments);
    return code;
}

enum exit_code exit_code_of(const clattn_error *error)
{
    return error->status == CLATTN_ERROR_NO_DEVICE       ? EXIT_NO_DEVICE
           : error->status == CLATTN_ERROR_UNSUPPORTED   ? EXIT_UNSUPPORTED
           : error->status == CLATTN_ERROR_INVALID_VALUE ? EXIT_USAGE
                                                         : EXIT_FAILED;
}

enum exit_code fail_library(const clattn_error *error)
{
    return fail(exit_code_of(error), "%s", error->message);
}

void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_line("", format, arguments);
    va_end(arguments);
}

void progress(const char *text)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = text != NULL && isatty(STDERR_FILENO);
    if (progress_shown)
        fprintf(stderr, "%s ...", text);
    fflush(stderr);
}

void progress_bar(double share, const char *text)
{
    static const char full[] = "####################";
    if (!message_colour(STDERR_FILENO))
        return;
    int length = (int)(share * (double)(sizeof full - 1));
    char line[80]; /* no terminal is narrower: a bar that wraps would stay */
    snprintf(line, sizeof line, "[%-20.*s] %.52s", length, full, text);
    progress(line);
}

bool message_colour(int descriptor)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(descriptor) && (no_color == NULL || *no_color == '\0');
}
