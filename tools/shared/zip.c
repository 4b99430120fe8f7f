/* SPDX-License-Identifier: Apache-2.0 */
/* The directory at the end of a zip archive, and the bytes of its members; zlib inflates. */
#include "shared/zip.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Fixed parts of the records, in bytes, and the longest comment. */
#define LOCAL_SIZE   30
#define ENTRY_SIZE   46
#define END_SIZE     22
#define LOCATOR_SIZE 20
#define END64_SIZE   56
#define MAX_COMMENT  65535

/* Of some ten thousand members: more than an archive of arrays has. */
#define MAX_DIRECTORY (1 << 20)

/* No deflated byte stands for more: the longest match is 258 bytes, and takes two bits at least. */
#define MAX_RATIO 1032

static const char local_mark[] = "PK\3\4", entry_mark[] = "PK\1\2", end_mark[] = "PK\5\6", locator_mark[] = "PK\6\7",
                  end64_mark[] = "PK\6\6";

/* `bytes` of them, the lowest first. */
static uint64_t number(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static bool marked(const unsigned char *record, const char *mark)
{
    return memcmp(record, mark, 4) == 0;
}

/* Whether `size` bytes are there from `offset` on. errno is 0 where the file ends before. */
static bool read_at(int descriptor, int64_t offset, void *data, size_t size)
{
    errno = 0;
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(descriptor, (char *)data + done, size - done, (off_t)(offset + (int64_t)done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static bool refuse_read(const char *what, char message[INPUT_MESSAGE])
{
    return input_refuse(message, "%s: %s", what, errno != 0 ? strerror(errno) : "the archive is truncated or damaged");
}

bool zip_begins(int descriptor)
{
    unsigned char start[4];
    bool read = lseek(descriptor, 0, SEEK_CUR) == 0 && read_at(descriptor, 0, start, sizeof start);
    return read && (marked(start, local_mark) || marked(start, end_mark)); /* the latter is one without members */
}

/* ---- the directory ---- */

struct directory {
    uint64_t offset, size;
};

/* Where the record at the file's end is: the last one whose comment ends with the file. -1 where there is none. */
static int64_t find_end(const unsigned char *tail, int64_t size)
{
    for (int64_t at = size - END_SIZE; at >= 0; at--)
        if (marked(tail + at, end_mark) && at + END_SIZE + (int64_t)number(tail + at + 20, 2) == size)
            return at;
    return -1;
}

/* The numbers of an archive past 4 GiB, which stand before the record at its end. */
static bool read_end64(int descriptor, int64_t end, struct directory *directory, char message[INPUT_MESSAGE])
{
    unsigned char locator[LOCATOR_SIZE], record[END64_SIZE];
    if (end < LOCATOR_SIZE || !read_at(descriptor, end - LOCATOR_SIZE, locator, sizeof locator) ||
        !marked(locator, locator_mark))
        return input_refuse(message, "its directory is beyond 4 GiB, and no zip64 record says where");
    uint64_t at = number(locator + 8, 8);
    if (at > (uint64_t)end || !read_at(descriptor, (int64_t)at, record, sizeof record) || !marked(record, end64_mark))
        return input_refuse(message, "its zip64 record is not where it says");
    directory->size = number(record + 40, 8);
    directory->offset = number(record + 48, 8);
    return true;
}

/* Where the directory is, from the records at the end of the file. */
static bool locate(int descriptor, struct directory *directory, char message[INPUT_MESSAGE])
{
    int64_t file = (int64_t)lseek(descriptor, 0, SEEK_END);
    lseek(descriptor, 0, SEEK_SET);
    if (file < 0)
        return input_refuse(message, "an archive is read from a file, not from a pipe");
    int64_t size = file < END_SIZE + MAX_COMMENT ? file : END_SIZE + MAX_COMMENT;
    unsigned char *tail = malloc((size_t)size + 1);
    if (tail == NULL)
        return input_refuse(message, "%s", strerror(errno));
    bool good = read_at(descriptor, file - size, tail, (size_t)size);
    int64_t at = good ? find_end(tail, size) : -1;
    unsigned char record[END_SIZE] = {0};
    if (at >= 0)
        memcpy(record, tail + at, sizeof record);
    free(tail);
    if (!good)
        return refuse_read("its end", message);
    if (at < 0)
        return input_refuse(message, "it is no zip archive, or truncated: it has no directory at its end");
    if (number(record + 4, 2) != 0 || number(record + 6, 2) != 0)
        return input_refuse(message, "it is one of several parts of an archive");
    int64_t end = file - size + at;
    directory->size = number(record + 12, 4);
    directory->offset = number(record + 16, 4);
    if ((directory->size == UINT32_MAX || directory->offset == UINT32_MAX) &&
        !read_end64(descriptor, end, directory, message))
        return false;
    if (directory->offset > (uint64_t)end || directory->size > (uint64_t)end - directory->offset)
        return input_refuse(message, "its directory is not where it says");
    return true;
}

bool zip_open(int descriptor, struct zip *zip, char message[INPUT_MESSAGE])
{
    struct directory directory = {0, 0};
    *zip = (struct zip){.descriptor = descriptor};
    if (!locate(descriptor, &directory, message))
        return false;
    if (directory.size > MAX_DIRECTORY)
        return input_refuse(message, "its directory has %llu bytes: expected at most %d",
                            (unsigned long long)directory.size, MAX_DIRECTORY);
    zip->end = (int64_t)directory.offset;
    zip->size = (size_t)directory.size;
    zip->directory = malloc(zip->size + 1);
    if (zip->directory == NULL)
        return input_refuse(message, "%s", strerror(errno));
    if (read_at(descriptor, zip->end, zip->directory, zip->size))
        return true;
    zip_close(zip);
    return refuse_read("its directory", message);
}

void zip_close(struct zip *zip)
{
    free(zip->directory);
    zip->directory = NULL;
}

/* Numbers that do not fit an entry's 32 bits stand in its extra field, in this order, those alone that do not. */
static bool read_extra(const unsigned char *extra, size_t size, uint64_t values[3])
{
    size_t at = 0, end = 0; /* of the field that has them */
    while (at + 4 <= size && end == 0) {
        size_t length = (size_t)number(extra + at + 2, 2);
        bool zip64 = number(extra + at, 2) == 1;
        at += 4;
        if (length > size - at)
            return false;
        if (zip64)
            end = at + length;
        else
            at += length;
    }
    for (int i = 0; i < 3; i++) {
        if (values[i] != UINT32_MAX)
            continue;
        if (at + 8 > end)
            return false;
        values[i] = number(extra + at, 8);
        at += 8;
    }
    return true;
}

/* What an entry says against what can be: the file, and the method. */
static bool check_member(const struct zip *zip, struct zip_member *member, const unsigned char *entry,
                         const uint64_t values[3], char message[INPUT_MESSAGE])
{
    uint64_t size = values[0], packed = values[1], header = values[2], method = number(entry + 10, 2);
    uint64_t end = (uint64_t)zip->end;
    if ((number(entry + 8, 2) & 1) != 0)
        return input_refuse(message, "its member %s is encrypted", member->name);
    if (method != 0 && method != 8)
        return input_refuse(message, "its member %s is compressed by method %u: expected stored or deflated",
                            member->name, (unsigned)method);
    if (header > end || packed > end - header || LOCAL_SIZE > end - header - packed)
        return input_refuse(message, "its member %s is not where its directory says", member->name);
    if (method == 0 ? size != packed : size / MAX_RATIO > packed)
        return input_refuse(message, "its member %s claims to have %llu bytes in %llu, which cannot be", member->name,
                            (unsigned long long)size, (unsigned long long)packed);
    member->header = (int64_t)header;
    member->end = zip->end;
    member->packed = (int64_t)packed;
    member->size = (int64_t)size; /* at most MAX_RATIO times a file's: no overflow */
    member->sum = (uint32_t)number(entry + 16, 4);
    member->deflated = method == 8;
    return true;
}

bool zip_next(struct zip *zip, struct zip_member *member, char message[INPUT_MESSAGE])
{
    *message = '\0';
    if (zip->at == zip->size)
        return false;
    const unsigned char *entry = zip->directory + zip->at;
    size_t left = zip->size - zip->at;
    if (left < ENTRY_SIZE || !marked(entry, entry_mark))
        return input_refuse(message, "its directory is damaged");
    size_t name = (size_t)number(entry + 28, 2), extra = (size_t)number(entry + 30, 2);
    size_t length = ENTRY_SIZE + name + extra + (size_t)number(entry + 32, 2);
    uint64_t values[3] = {number(entry + 24, 4), number(entry + 20, 4), number(entry + 42, 4)};
    if (length > left || !read_extra(entry + ENTRY_SIZE + name, extra, values))
        return input_refuse(message, "its directory is damaged");
    if (name >= sizeof member->name || memchr(entry + ENTRY_SIZE, '\0', name) != NULL)
        return input_refuse(message, "its directory has a name that is none of an array's");
    zip->at += length;
    memcpy(member->name, entry + ENTRY_SIZE, name);
    member->name[name] = '\0';
    return check_member(zip, member, entry, values, message);
}

int zip_array_name(const struct zip_member *member)
{
    size_t length = strlen(member->name);
    bool ends = length > 4 && strcmp(member->name + length - 4, ".npy") == 0;
    return (int)(ends ? length - 4 : length);
}

bool zip_find(struct zip *zip, const char *name, struct zip_member *member, char message[INPUT_MESSAGE])
{
    char names[INPUT_MESSAGE / 2] = "";
    struct zip_member next;
    int found = 0, count = 0;
    while (zip_next(zip, &next, message)) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%.*s", count++ > 0 ? ", " : "", zip_array_name(&next),
                 next.name);
        if (name == NULL || strcmp(next.name, name) == 0 ||
            (strlen(name) == (size_t)zip_array_name(&next) && strncmp(next.name, name, strlen(name)) == 0)) {
            *member = next;
            found++;
        }
    }
    if (*message != '\0')
        return false;
    if (count == 0)
        return input_refuse(message, "it is an archive without a member");
    if (found > 1 && name != NULL)
        return input_refuse(message, "it has more than one member %s", name);
    if (found != 1)
        return input_refuse(message, "it is an archive%s%s: expected FILE.npz:NAME, one of %s",
                            name != NULL ? " without " : "", name != NULL ? name : "", names);
    return true;
}

/* ---- a member ---- */

struct zip_stream {
    struct zip_member member;
    int descriptor;
    int64_t at;   /* in the file */
    int64_t left; /* bytes of the member that are still in the file */
    int64_t done; /* bytes that were given out */
    uLong sum;    /* of those */
    z_stream inflater;
    unsigned char buffer[65536];
};

/* Where a member's bytes begin: after its local header, which says the same of it as the directory. */
static bool find_bytes(struct zip_stream *stream, char message[INPUT_MESSAGE])
{
    const struct zip_member *member = &stream->member;
    unsigned char local[LOCAL_SIZE];
    char name[sizeof member->name];
    size_t length = strlen(member->name);
    if (!read_at(stream->descriptor, member->header, local, sizeof local) ||
        !read_at(stream->descriptor, member->header + LOCAL_SIZE, name, length))
        return refuse_read("its local header", message);
    if (!marked(local, local_mark) || number(local + 8, 2) != (member->deflated ? 8U : 0U) ||
        number(local + 26, 2) != length || memcmp(name, member->name, length) != 0)
        return input_refuse(message, "its local header and the directory of the archive differ");
    stream->at = member->header + LOCAL_SIZE + (int64_t)number(local + 26, 2) + (int64_t)number(local + 28, 2);
    if (stream->at > member->end - member->packed)
        return input_refuse(message, "it is not where the directory of the archive says");
    return true;
}

struct zip_stream *zip_stream_open(int descriptor, const struct zip_member *member, char message[INPUT_MESSAGE])
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && member->size / page > pages) {
        input_refuse(message, "it has %lld bytes, more than this machine's memory", (long long)member->size);
        return NULL;
    }
    struct zip_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        input_refuse(message, "%s", strerror(errno));
        return NULL;
    }
    *stream = (struct zip_stream){.member = *member, .descriptor = descriptor, .left = member->packed};
    stream->sum = crc32(0, NULL, 0);
    if (!find_bytes(stream, message)) {
        free(stream);
        return NULL;
    }
    if (member->deflated && inflateInit2(&stream->inflater, -MAX_WBITS) != Z_OK) { /* negative: without zlib's header */
        input_refuse(message, "no memory to inflate it");
        free(stream);
        return NULL;
    }
    return stream;
}

void zip_stream_close(struct zip_stream *stream)
{
    if (stream != NULL && stream->member.deflated)
        inflateEnd(&stream->inflater);
    free(stream);
}

/* The next bytes of the file, at most `size`; false where it cannot be read. */
static bool fetch(struct zip_stream *stream, void *data, size_t size, char message[INPUT_MESSAGE])
{
    if (!read_at(stream->descriptor, stream->at, data, size))
        return refuse_read("its data", message);
    stream->at += (int64_t)size;
    stream->left -= (int64_t)size;
    return true;
}

/* Inflates up to `size` bytes into `data`: fewer only at the end of the compressed ones. -1 where they are damaged. */
static ssize_t inflate_some(struct zip_stream *stream, unsigned char *data, size_t size, char message[INPUT_MESSAGE])
{
    z_stream *inflater = &stream->inflater;
    int status = Z_OK;
    inflater->next_out = data;
    inflater->avail_out = (uInt)size;
    while (inflater->avail_out > 0 && status != Z_STREAM_END) {
        if (inflater->avail_in == 0 && stream->left > 0) {
            size_t part = stream->left < (int64_t)sizeof stream->buffer ? (size_t)stream->left : sizeof stream->buffer;
            if (!fetch(stream, stream->buffer, part, message))
                return -1;
            inflater->next_in = stream->buffer;
            inflater->avail_in = (uInt)part;
        }
        status = inflate(inflater, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END) {
            input_refuse(message, "its compressed data is damaged or truncated");
            return -1;
        }
    }
    return (ssize_t)(size - inflater->avail_out);
}

/* At its end: nothing follows, and the sum is right. */
static bool check_end(struct zip_stream *stream, char message[INPUT_MESSAGE])
{
    unsigned char more;
    ssize_t got = stream->member.deflated ? inflate_some(stream, &more, 1, message) : 0;
    if (got < 0)
        return false;
    if (got > 0)
        return input_refuse(message, "it goes on after the %lld bytes that the directory of the archive gives it",
                            (long long)stream->member.size);
    if (stream->left > 0 || stream->inflater.avail_in > 0)
        return input_refuse(message, "its compressed data goes on after its end");
    if (stream->sum != stream->member.sum)
        return input_refuse(message, "its sum is %08lx: expected %08lx, it is damaged", (unsigned long)stream->sum,
                            (unsigned long)stream->member.sum);
    return true;
}

ssize_t zip_stream_read(struct zip_stream *stream, void *data, size_t size, char message[INPUT_MESSAGE])
{
    int64_t left = stream->member.size - stream->done;
    size_t wanted = (int64_t)size < left ? size : (size_t)left;
    for (size_t done = 0; done < wanted;) {
        unsigned char *to = (unsigned char *)data + done;
        size_t part = wanted - done < (1U << 30) ? wanted - done : 1U << 30; /* fits a uInt */
        ssize_t got = (ssize_t)part;
        if (stream->member.deflated)
            got = inflate_some(stream, to, part, message);
        else if (!fetch(stream, to, part, message))
            got = -1;
        if (got == 0)
            input_refuse(message, "it is truncated: %lld bytes, expected %lld", (long long)stream->done,
                         (long long)stream->member.size);
        if (got <= 0)
            return -1;
        stream->sum = crc32(stream->sum, to, (uInt)got);
        stream->done += got;
        done += (size_t)got;
    }
    bool whole = wanted == size || check_end(stream, message);
    return whole ? (ssize_t)wanted : -1;
}
