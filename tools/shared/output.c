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

/* Those that do not end a program unless it says so. */
static const int harmless[] = {SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};

#define NUM_HARMLESS (sizeof harmless / sizeof *harmless)

static void remove_and_die(int number)
{
    for (int i = 0; i < OUTPUT_MAX; i++)
        if (doomed[i] != NULL)
            unlink(doomed[i]);
    raise(number); /* its default action is restored: SA_RESETHAND */
}

static bool ends_program(int number)
{
    for (size_t i = 0; i < NUM_HARMLESS; i++)
        if (number == harmless[i])
            return false;
    return true;
}

/*
 * Every signal whose default action ends the program: a limit of time, a timer and a crash in a driver among them.
 * Signals that are ignored, as nohup does, stay so. A file beyond the limit of its size is an error of write().
 */
static void catch_signals(void)
{
    signal(SIGXFSZ, SIG_IGN);
    for (int number = 1; number <= SIGRTMAX; number++) {
        struct sigaction action;
        if (ends_program(number) && sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
            memset(&action, 0, sizeof action);
            action.sa_handler = remove_and_die;
            action.sa_flags = (int)SA_RESETHAND;
            sigemptyset(&action.sa_mask);
            sigaction(number, &action, NULL);
        }
    }
}

/* Makes the staged file; no signal falls between its appearing and its being on the list. */
static int stage(struct output *output, int slot)
{
    sigset_t set, old;
    sigfillset(&set);
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

static enum exit_code cannot_write(const struct output *output)
{
    return fail(EXIT_FAILED, "%s: cannot be written: %s", output->path, strerror(errno));
}

/* It is the folder of `path`, which is the output's or its target's, that is not there or cannot be written. */
static enum exit_code folder_refuses(const struct output *output, const char *path)
{
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    return fail(EXIT_FAILED, "%s: cannot be written: its folder %.*s: %s", output->path, length,
                slash == NULL ? "." : path, strerror(errno));
}

/* Sets the target of a file that does not exist: its absolute path, the folder's links resolved. */
static enum exit_code resolve(struct output *output)
{
    const char *path = output->path, *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (*name == '\0') {
        errno = *path == '\0' ? ENOENT : EISDIR;
        return cannot_write(output);
    }
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    char *real = folder == NULL ? NULL : realpath(folder, NULL);
    output->target = real == NULL ? NULL : join(real, name);
    int error = errno;
    free(folder);
    free(real);
    errno = error;
    return output->target != NULL ? EXIT_DONE : folder_refuses(output, path);
}

/* Opens the staged file of a target that is regular or does not exist. `mode` are its permissions. */
static enum exit_code open_staged(struct output *output, int slot, mode_t mode)
{
    char *folder = strndup(output->target, (size_t)(strrchr(output->target, '/') - output->target) + 1);
    output->staged = folder == NULL ? NULL : join(folder, ".clattn-XXXXXX");
    free(folder);
    if (output->staged == NULL)
        return cannot_write(output);
    output->descriptor = stage(output, slot);
    if (output->descriptor < 0) {
        enum exit_code code = folder_refuses(output, output->target);
        free(output->staged);
        output->staged = NULL;
        return code;
    }
    fchmod(output->descriptor, mode);
    return EXIT_DONE;
}

/* What there is and is no regular file, or standard output. */
static enum exit_code open_in_place(struct output *output)
{
    output->descriptor = strcmp(output->path, OUTPUT_STANDARD) == 0
                             ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                             : open(output->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return output->descriptor >= 0 ? EXIT_DONE : cannot_write(output);
}

static enum exit_code open_output(struct output *output, int slot)
{
    struct stat status;
    if (strcmp(output->path, OUTPUT_STANDARD) == 0)
        return open_in_place(output);
    if (stat(output->path, &status) == 0) {
        if (S_ISDIR(status.st_mode)) {
            errno = EISDIR;
            return cannot_write(output);
        }
        if (!S_ISREG(status.st_mode))
            return open_in_place(output);
        if (access(output->path, W_OK) != 0) /* renaming would not ask */
            return cannot_write(output);
        output->target = realpath(output->path, NULL);
        return output->target != NULL ? open_staged(output, slot, status.st_mode & 0777) : cannot_write(output);
    }
    if (errno != ENOENT)
        return cannot_write(output);
    if (lstat(output->path, &status) == 0)
        return fail(EXIT_FAILED, "%s: cannot be written: it is a symbolic link to a file that does not exist",
                    output->path);
    mode_t mask = umask(0);
    umask(mask);
    TRY(resolve(output));
    return open_staged(output, slot, 0666 & ~mask);
}

/* Whether both go to one place. What is written in place may be the same file under two names, such as a terminal. */
static bool same_place(const struct output *a, const struct output *b)
{
    if (a->target == NULL || b->target == NULL)
        return strcmp(a->path, OUTPUT_STANDARD) == 0 && strcmp(b->path, OUTPUT_STANDARD) == 0;
    return strcmp(a->target, b->target) == 0;
}

enum exit_code outputs_open(struct outputs *outputs, const char *path, int *descriptor)
{
    struct output *output = &outputs->file[outputs->count];
    *output = (struct output){.path = path, .descriptor = -1};
    catch_signals();
    enum exit_code code = open_output(output, outputs->count);
    if (code != EXIT_DONE) {
        free(output->target);
        return code;
    }
    outputs->count++;
    for (struct output *other = outputs->file; other < output; other++)
        if (same_place(other, output))
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
