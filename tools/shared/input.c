/* SPDX-License-Identifier: Apache-2.0 */
/* Files, pipes, standard input and members of archives behind one function that reads. */
#include "shared/input.h"
#include "shared/archive.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of one read() call: below the 2 GiB at which systems cut calls short. */
#define MAX_TRANSFER ((size_t)1 << 30)

#define ARCHIVE_END ".npz"

bool input_refuse(char message[INPUT_MESSAGE], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, INPUT_MESSAGE, format, arguments);
    va_end(arguments);
    return false;
}

int input_descriptor(const char *path)
{
    return strcmp(path, INPUT_STANDARD) == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                             : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

FILE *input_stream(const char *path)
{
    int descriptor = input_descriptor(path);
    FILE *stream = descriptor < 0 ? NULL : fdopen(descriptor, "rb");
    if (stream == NULL && descriptor >= 0) {
        int error = errno;
        close(descriptor);
        errno = error;
    }
    return stream;
}

/* What is after "FILE.npz:", NULL where `path` is nothing of that form, or a file whose name happens to be. */
static const char *member_of(const char *path)
{
    struct stat status;
    const char *colon = strrchr(path, ':'), *end = colon != NULL ? colon - strlen(ARCHIVE_END) : NULL;
    bool archive = end != NULL && end > path && memcmp(end, ARCHIVE_END, strlen(ARCHIVE_END)) == 0;
    return archive && stat(path, &status) != 0 ? colon + 1 : NULL;
}

static bool open_file(const char *path, size_t length, struct input *input, char message[INPUT_MESSAGE])
{
    struct stat status;
    char *name = strndup(path, length);
    if (name == NULL)
        return input_refuse(message, "%s", strerror(errno));
    input->descriptor = input_descriptor(name);
    if (input->descriptor < 0)
        input_refuse(message, "%s", strerror(errno));
    free(name);
    if (input->descriptor < 0)
        return false;
    if (fstat(input->descriptor, &status) != 0)
        return input_refuse(message, "%s", strerror(errno));
    if (S_ISDIR(status.st_mode))
        return input_refuse(message, "it is a directory");
    off_t position = S_ISREG(status.st_mode) ? lseek(input->descriptor, 0, SEEK_CUR) : -1;
    input->stored = position >= 0; /* standard input may have been read from before */
    input->size = input->stored ? (int64_t)status.st_size - (int64_t)position : -1;
    return true;
}

static bool open_member(const char *name, struct input *input, char message[INPUT_MESSAGE])
{
    struct archive_member member;
    input->archive = archive_open(input->descriptor, message);
    if (input->archive == NULL || !archive_find(input->archive, name, &member, message) ||
        !archive_begin(input->archive, &member, message))
        return false;
    input->size = member.size;
    input->stored = member.stored;
    return true;
}

bool input_open(const char *path, struct input *input, char message[INPUT_MESSAGE])
{
    const char *name = member_of(path);
    size_t length = name != NULL ? (size_t)(name - path) - 1 : strlen(path);
    *input = (struct input){.descriptor = -1, .size = -1};
    bool good = open_file(path, length, input, message);
    if (good && (name != NULL || (input->stored && archive_begins(input->descriptor))))
        good = open_member(name, input, message);
    if (!good)
        input_close(input);
    return good;
}

void input_close(struct input *input)
{
    archive_close(input->archive);
    if (input->descriptor >= 0)
        close(input->descriptor);
    *input = (struct input){.descriptor = -1};
}

ssize_t input_read(struct input *input, void *data, size_t size, char message[INPUT_MESSAGE])
{
    if (input->archive != NULL)
        return archive_read(input->archive, data, size, message);
    size_t done = 0;
    while (done < size) {
        size_t part = size - done < MAX_TRANSFER ? size - done : MAX_TRANSFER;
        ssize_t got = read(input->descriptor, (char *)data + done, part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            input_refuse(message, "%s", strerror(errno));
            return -1;
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}
