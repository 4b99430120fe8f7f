/* SPDX-License-Identifier: Apache-2.0 */
/* What of an archive is believed; all that is of its format is libzip's. */
#include "shared/archive.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

/* No deflated byte stands for more: the longest match is 258 bytes, and takes two bits at least. */
#define MAX_RATIO 1032

struct archive {
    zip_t *zip;
    zip_file_t *file; /* of the member that is being read; NULL: none */
    int64_t left;     /* bytes of it that have not been read */
};

bool archive_begins(int descriptor)
{
    char start[4];
    bool read = lseek(descriptor, 0, SEEK_CUR) == 0 && pread(descriptor, start, sizeof start, 0) == sizeof start;
    return read && (memcmp(start, "PK\3\4", 4) == 0 || memcmp(start, "PK\5\6", 4) == 0); /* the latter has no members */
}

struct archive *archive_open(int descriptor, char message[INPUT_MESSAGE])
{
    struct archive *archive = calloc(1, sizeof *archive);
    int code = ZIP_ER_MEMORY;
    int own = archive != NULL ? dup(descriptor) : -1; /* libzip closes it */
    if (own >= 0)
        archive->zip = zip_fdopen(own, 0, &code);
    if (archive != NULL && archive->zip != NULL)
        return archive;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    input_refuse(message, "it is no zip archive, or damaged: %s", zip_error_strerror(&error));
    zip_error_fini(&error);
    if (own >= 0)
        close(own);
    free(archive);
    return NULL;
}

void archive_close(struct archive *archive)
{
    if (archive == NULL)
        return;
    if (archive->file != NULL)
        zip_fclose(archive->file);
    zip_discard(archive->zip);
    free(archive);
}

bool archive_member(struct archive *archive, uint64_t index, struct archive_member *member, char message[INPUT_MESSAGE])
{
    const zip_uint64_t known =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    zip_stat_t stat;
    *message = '\0';
    if (index >= (uint64_t)zip_get_num_entries(archive->zip, 0))
        return false;
    if (zip_stat_index(archive->zip, index, ZIP_FL_ENC_RAW, &stat) != 0 || (stat.valid & known) != known)
        return input_refuse(message, "its directory is damaged: %s", zip_strerror(archive->zip));
    if (strlen(stat.name) >= sizeof member->name)
        return input_refuse(message, "its directory has a name that is none of an array's");
    strcpy(member->name, stat.name);
    if (stat.encryption_method != ZIP_EM_NONE)
        return input_refuse(message, "its member %s is encrypted", member->name);
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE)
        return input_refuse(message, "its member %s is compressed by method %u: expected stored or deflated",
                            member->name, (unsigned)stat.comp_method);
    member->index = index;
    member->stored = stat.comp_method == ZIP_CM_STORE;
    if (stat.size > INT64_MAX ||
        (member->stored ? stat.size != stat.comp_size : stat.size / MAX_RATIO > stat.comp_size))
        return input_refuse(message, "its member %s claims to have %llu bytes in %llu, which cannot be", member->name,
                            (unsigned long long)stat.size, (unsigned long long)stat.comp_size);
    member->size = (int64_t)stat.size;
    return true;
}

int archive_array_name(const struct archive_member *member)
{
    size_t length = strlen(member->name);
    bool ends = length > 4 && strcmp(member->name + length - 4, ".npy") == 0;
    return (int)(ends ? length - 4 : length);
}

bool archive_find(struct archive *archive, const char *name, struct archive_member *member, char message[INPUT_MESSAGE])
{
    char names[INPUT_MESSAGE / 2] = "";
    struct archive_member next;
    uint64_t count = 0;
    int found = 0;
    for (; archive_member(archive, count, &next, message); count++) {
        size_t length = strlen(names);
        int array = archive_array_name(&next);
        snprintf(names + length, sizeof names - length, "%s%.*s", count > 0 ? ", " : "", array, next.name);
        if (name == NULL || strcmp(next.name, name) == 0 ||
            (strlen(name) == (size_t)array && strncmp(next.name, name, (size_t)array) == 0)) {
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

bool archive_begin(struct archive *archive, const struct archive_member *member, char message[INPUT_MESSAGE])
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && member->size / page > pages)
        return input_refuse(message, "it has %lld bytes, more than this machine's memory", (long long)member->size);
    archive->file = zip_fopen_index(archive->zip, member->index, 0);
    archive->left = member->size;
    return archive->file != NULL ||
           input_refuse(message, "it is not where the archive says, or damaged: %s", zip_strerror(archive->zip));
}

ssize_t archive_read(struct archive *archive, void *data, size_t size, char message[INPUT_MESSAGE])
{
    size_t wanted = (int64_t)size < archive->left ? size : (size_t)archive->left;
    char more; /* at its end: nothing follows, and libzip compares sum and size */
    zip_int64_t got = zip_fread(archive->file, data, wanted);
    zip_int64_t rest = got == (zip_int64_t)wanted && wanted < size ? zip_fread(archive->file, &more, 1) : 0;
    if (got < 0 || rest < 0)
        input_refuse(message, "it is damaged: %s", zip_file_strerror(archive->file));
    else if (got < (zip_int64_t)wanted)
        input_refuse(message, "it is truncated: expected %lld bytes more", (long long)archive->left - got);
    else if (rest > 0)
        input_refuse(message, "it goes on after the bytes that the directory of the archive gives it");
    if (got < (zip_int64_t)wanted || rest != 0)
        return -1;
    archive->left -= got;
    return (ssize_t)got;
}
