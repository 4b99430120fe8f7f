/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a .npz archive, which is a zip file, as NumPy's savez and savez_compressed write them; libzip reads it.
 * Archives are not trusted: no memory is taken for a size that a member's compressed bytes could not have, or that is
 * more than there is, and what was read is checked against the archive's sum.
 */
#ifndef TOOL_ARCHIVE_H
#define TOOL_ARCHIVE_H

#include "shared/input.h"

struct archive_member {
    char name[256];
    uint64_t index;
    int64_t size; /* bytes, as the archive says */
    bool stored;  /* not compressed: as many are in the file */
};

/* Whether a file begins as an archive does. The position in it is not changed. */
bool archive_begins(int descriptor);

/* Opens what a descriptor, which stays the caller's, has from its beginning on. NULL where that is no archive. */
struct archive *archive_open(int descriptor, char message[INPUT_MESSAGE]);
void archive_close(struct archive *archive); /* accepts NULL */

/* Member `index`, from 0 on. False past the last one, *message being empty, and where it cannot be read. */
bool archive_member(struct archive *archive, uint64_t index, struct archive_member *member,
                    char message[INPUT_MESSAGE]);

/* How much of a member's name is that of its array: all but .npy. */
int archive_array_name(const struct archive_member *member);

/* The one member that is called `name` or `name`.npy; with NULL the only one there is. */
bool archive_find(struct archive *archive, const char *name, struct archive_member *member,
                  char message[INPUT_MESSAGE]);

/* Begins to read a member; archive_read then reads as input_read does. One member at a time. */
bool archive_begin(struct archive *archive, const struct archive_member *member, char message[INPUT_MESSAGE]);
ssize_t archive_read(struct archive *archive, void *data, size_t size, char message[INPUT_MESSAGE]);

#endif
