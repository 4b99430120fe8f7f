/* SPDX-License-Identifier: Apache-2.0 */
/* Staged output files and their removal when the program is ended by a signal. */
#define _XOPEN_SOURCE 700 /* realpath is an extension of POSIX */
#include "shared/output.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a signal handler removes: the same strings as in struct output. */
static const char *volatile doomed[OUTPUT_MAX];

static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM};

#define NUM_SIGNALS (sizeof signals / sizeof *signals)

static void remove_and_die(int number)
{
    for (int i = 0; i < OUTPUT_MAX; i++)
        if (doomed[i] != NULL)
            unlink(doomed[i]);
    raise(number); /* its default action is restored: SA_RESETHAND */
}

/* Signals that are ignored, as nohup does, stay so. A file beyond the limit of its size is an error of write(). */
static void catch_signals(void)
{
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < NUM_SIGNALS; i++) {
        struct sigaction action;
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
            memset(&action, 0, sizeof action);
            action.sa_handler = remove_and_die;
            action.sa_flags = (int)SA_RESETHAND;
            sigemptyset(&action.sa_mask);
            sigaction(signals[i], &action, NULL);
        }
    }
}

/* Makes the staged file; no signal falls between its appearing and its being on the list. */
static int stage(struct output *output, int slot)
{
    sigset_t set, old;
    sigemptyset(&set);
    for (size_t i = 0; i < NUM_SIGNALS; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, &old);
    int descriptor = mkstemp(output->staged);
    int error = errno;
    if (descriptor >= 0)
        doomed[slot] = output->staged;
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (descriptor >= 0)
        fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    errno = error;
    return descriptor;
}

static void unstage(struct output *output)
{
    for (int i = 0; i < OUTPUT_MAX; i++)
        if (doomed[i] == output->staged)
            doomed[i] = NULL;
    free(output->staged);
    output->staged = NULL;
}

/* `folder`/`name`, malloc'ed. */
static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name);
    return path;
}

/* The absolute path of a file that need not exist, its folder's links resolved. NULL with errno where it fails. */
static char *resolve(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (*name == '\0') {
        errno = *path == '\0' ? ENOENT : EISDIR;
        return NULL;
    }
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    char *real = folder == NULL ? NULL : realpath(folder, NULL);
    char *target = real == NULL ? NULL : join(real, name);
    int error = errno;
    free(folder);
    free(real);
    errno = error;
    return target;
}

/* Opens the staged file of a target that is regular or does not exist. `mode` are its permissions. */
static int open_staged(struct output *output, int slot, mode_t mode)
{
    if (output->target == NULL)
        return -1;
    char *folder = strndup(output->target, (size_t)(strrchr(output->target, '/') - output->target) + 1);
    output->staged = folder == NULL ? NULL : join(folder, ".clattn-XXXXXX");
    free(folder);
    if (output->staged == NULL)
        return -1;
    int descriptor = stage(output, slot);
    if (descriptor < 0) {
        int error = errno;
        free(output->staged);
        output->staged = NULL;
        errno = error;
    } else {
        fchmod(descriptor, mode);
    }
    return descriptor;
}

static int open_output(struct output *output, int slot)
{
    struct stat status;
    if (stat(output->path, &status) == 0) {
        if (S_ISDIR(status.st_mode)) {
            errno = EISDIR;
            return -1;
        }
        if (!S_ISREG(status.st_mode))
            return open(output->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (access(output->path, W_OK) != 0) /* renaming would not ask */
            return -1;
        output->target = realpath(output->path, NULL);
        return open_staged(output, slot, status.st_mode & 0777);
    }
    if (errno != ENOENT || lstat(output->path, &status) == 0) /* also a link to nothing */
        return -1;
    mode_t mask = umask(0);
    umask(mask);
    output->target = resolve(output->path);
    return open_staged(output, slot, 0666 & ~mask);
}

enum exit_code outputs_open(struct outputs *outputs, const char *path, int *descriptor)
{
    struct output *output = &outputs->file[outputs->count];
    *output = (struct output){.path = path};
    catch_signals();
    output->descriptor = open_output(output, outputs->count);
    if (output->descriptor < 0) {
        enum exit_code code = fail(EXIT_FAILED, "%s: cannot be written: %s", path, strerror(errno));
        free(output->target);
        return code;
    }
    outputs->count++;
    for (struct output *other = outputs->file; output->target != NULL && other < output; other++)
        if (other->target != NULL && strcmp(other->target, output->target) == 0)
            return fail(EXIT_USAGE, "%s: is given for two outputs: expected a file each", path);
    *descriptor = output->descriptor;
    return EXIT_DONE;
}

/* Closes a file, its data being safe: a disk may turn out to be full only now. */
static bool finish(struct output *output)
{
    bool good = output->staged == NULL || fsync(output->descriptor) == 0;
    int error = errno;
    if (close(output->descriptor) != 0) {
        error = good ? errno : error;
        good = false;
    }
    output->descriptor = -1;
    errno = error;
    return good;
}

enum exit_code outputs_commit(struct outputs *outputs)
{
    struct output *end = outputs->file + outputs->count;
    for (struct output *output = outputs->file; output < end; output++)
        if (!finish(output))
            return fail(EXIT_FAILED, "%s: cannot be written: %s", output->path, strerror(errno));
    for (struct output *output = outputs->file; output < end; output++) {
        if (output->staged == NULL)
            continue;
        if (rename(output->staged, output->target) != 0)
            return fail(EXIT_FAILED, "%s: cannot be written: %s", output->path, strerror(errno));
        unstage(output);
    }
    return EXIT_DONE;
}

void outputs_close(struct outputs *outputs)
{
    for (struct output *output = outputs->file; output < outputs->file + outputs->count; output++) {
        if (output->descriptor >= 0)
            close(output->descriptor);
        if (output->staged != NULL) {
            unlink(output->staged);
            unstage(output);
        }
        free(output->target);
    }
    outputs->count = 0;
}
