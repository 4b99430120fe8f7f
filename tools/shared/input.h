/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of an input come from: a file, a pipe, standard input, or a member of a .npz archive. Nothing in them
 * is trusted; what goes wrong is a message without the name of the file.
 */
#ifndef TOOL_INPUT_H
#define TOOL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define INPUT_MESSAGE  256
#define INPUT_STANDARD "-"

struct archive;

struct input {
    int descriptor;
    int64_t size;            /* bytes; -1: not known before they have come */
    bool stored;             /* `size` bytes are on the disk: so much memory may be taken for them */
    struct archive *archive; /* whose member is read; NULL: the bytes of the descriptor itself */
};

/* A message and false, for functions that end so. */
__attribute__((format(printf, 2, 3))) bool input_refuse(char message[INPUT_MESSAGE], const char *format, ...);

/*
 * Opens `path`: a file, "-" for standard input, or "FILE.npz:NAME" for the member NAME or NAME.npy of an archive.
 * "FILE.npz" alone will do for an archive of one member. input_close closes it.
 */
bool input_open(const char *path, struct input *input, char message[INPUT_MESSAGE]);
void input_close(struct input *input);

/* Reads up to `size` bytes; fewer only at the end, where a member is also checked to be whole. -1 where it fails. */
ssize_t input_read(struct input *input, void *data, size_t size, char message[INPUT_MESSAGE]);

/*
 * A plain file or standard input for readers of other formats: a descriptor or a stream, which the caller closes. -1 or
 * NULL with errno where it fails.
 */
int input_descriptor(const char *path);
FILE *input_stream(const char *path);

#endif
