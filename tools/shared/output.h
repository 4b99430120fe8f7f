/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output files that appear whole or not at all. Each that is a regular file, or will be one, is written beside its
 * target under another name; outputs_commit renames them all. Until then a failure, or a signal that ends the program,
 * leaves no trace. What is not a regular file, such as a pipe or /dev/full, is written in place, and so is standard
 * output, which "-" stands for.
 */
#ifndef TOOL_OUTPUT_H
#define TOOL_OUTPUT_H

#include "shared/message.h"
#include <stdbool.h>

#define OUTPUT_MAX      8
#define OUTPUT_STANDARD "-"

struct output {
    const char *path; /* as the user gave it */
    char *target;     /* where it really goes: symbolic links followed */
    char *staged;     /* the other name; NULL where it is written in place */
    int descriptor;
};

struct outputs {
    struct output file[OUTPUT_MAX];
    int count;
};

/*
 * Opens an output for writing, before the work begins, so that a folder that does not exist or cannot be written is
 * found out early. `path` stays the caller's. *descriptor is what to write to; outputs_close or outputs_commit close
 * it.
 */
enum exit_code outputs_open(struct outputs *outputs, const char *path, int *descriptor);

/* After everything is written: puts all of them in their places. */
enum exit_code outputs_commit(struct outputs *outputs);

/* Closes what is open and removes what was not committed. */
void outputs_close(struct outputs *outputs);

#endif
