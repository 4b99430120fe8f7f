/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tool says on standard error, and the codes it exits with. Whatever a message contains (file names, device
 * names, the library's own text), bytes that do not print are shown as \xNN.
 */
#ifndef TOOL_MESSAGE_H
#define TOOL_MESSAGE_H

#include <clattn/base.h>
#include <stdbool.h>

/*
 * Functions of the tool that can fail return one of these, having said why. EXIT_USAGE is for what the command line
 * gets wrong by itself, EXIT_BAD_FILE for whatever depends on the content of a file.
 */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* a full disk, no memory, a driver error */
    EXIT_USAGE = 2,
    EXIT_NO_DEVICE = 3,
    EXIT_BAD_FILE = 4,
    EXIT_UNSUPPORTED = 5,
    EXIT_VERIFICATION = 6,
    EXIT_SLOWER = 7
};

/* Leaves the enclosing function, which returns an exit code, where `expr` is not EXIT_DONE. */
#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        enum exit_code try_code_ = (expr);                                                                             \
        if (try_code_ != EXIT_DONE)                                                                                    \
            return try_code_;                                                                                          \
    } while (0)

/* Every error begins with "clattn: ", or "clattn NAME: " once the subcommand is known. */
void message_set_command(const char *name);

/* Prints one line and returns `code`. */
__attribute__((format(printf, 2, 3))) enum exit_code fail(enum exit_code code, const char *format, ...);

/* The exit code for the status of a failed call of the library. */
enum exit_code exit_code_of(const clattn_error *error);

/* Prints the message of a failed call of the library and returns the exit code for its status. */
enum exit_code fail_library(const clattn_error *error);

/* Prints one line without a prefix: a part of a summary. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);

/* Shows what is going on, on a terminal only; the next message or NULL takes it away. */
void progress(const char *text);

/* The same with a bar of which `share`, from 0 to 1, is full; not at all where NO_COLOR is set. */
void progress_bar(double share, const char *text);

/* Whether to colour what goes to `descriptor`: a terminal, and NO_COLOR is not set. */
bool message_colour(int descriptor);

#endif
