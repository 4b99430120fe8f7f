/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a zip archive, stored or deflated, as NumPy's savez and savez_compressed write them, those past 4 GiB too
 * (PKWARE's appnote 6.3, zip64). Archives are not trusted: every offset and length is checked against the file before
 * it is used, what is read is checked against the directory's size and sum, and nothing is taken for a size that its
 * compressed bytes could not have.
 */
#ifndef TOOL_ZIP_H
#define TOOL_ZIP_H

#include "shared/input.h"

struct zip {
    int descriptor; /* the caller's */
    int64_t end;    /* where the directory begins, and members end */
    unsigned char *directory;
    size_t size, at; /* of the directory; the entry that is next */
};

struct zip_member {
    char name[256];
    int64_t header; /* offset of its local header */
    int64_t end;    /* where its bytes must end at the latest */
    int64_t packed; /* bytes in the file */
    int64_t size;   /* bytes that they stand for */
    uint32_t sum;   /* CRC-32 of those */
    bool deflated;
};

/* Whether a file begins as an archive does. The position in it is not changed, by the functions below neither. */
bool zip_begins(int descriptor);

/* Reads the directory of a file. zip_close frees it. */
bool zip_open(int descriptor, struct zip *zip, char message[INPUT_MESSAGE]);
void zip_close(struct zip *zip);

/* The next entry of the directory. False at its end, *message being empty, and where the entry makes no sense. */
bool zip_next(struct zip *zip, struct zip_member *member, char message[INPUT_MESSAGE]);

/* How much of a member's name is that of its array: all but .npy. */
int zip_array_name(const struct zip_member *member);

/* The one member that is called `name` or `name`.npy; with NULL the only one there is. */
bool zip_find(struct zip *zip, const char *name, struct zip_member *member, char message[INPUT_MESSAGE]);

/* Reads what a member holds from its beginning on, as input_read does. NULL where it cannot be read. */
struct zip_stream *zip_stream_open(int descriptor, const struct zip_member *member, char message[INPUT_MESSAGE]);
ssize_t zip_stream_read(struct zip_stream *stream, void *data, size_t size, char message[INPUT_MESSAGE]);
void zip_stream_close(struct zip_stream *stream);

#endif
