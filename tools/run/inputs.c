/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs that come in one file together, and standard input, of which there is one. */
#include "run/run.h"
#include "shared/archive.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options whose value is a file that is read, and so the arrays that an archive may have. */
static const enum run_option inputs[] = {RUN_QUERY,        RUN_KEY,           RUN_VALUE,       RUN_QKV,
                                         RUN_PAST_KEY,     RUN_PAST_VALUE,    RUN_MASK,        RUN_KV_LENGTHS,
                                         RUN_Q_CU_LENGTHS, RUN_KV_CU_LENGTHS, RUN_BLOCK_TABLE, RUN_SINKS,
                                         RUN_ALIBI,        RUN_RELATIVE_BIAS, RUN_D_OUTPUT,    RUN_D_LSE};

#define NUM_INPUTS (sizeof inputs / sizeof *inputs)

static const struct poptOption *option_of(enum run_option input)
{
    const struct poptOption *option = run_options;
    while (option->val != (int)input)
        option++;
    return option;
}

/* Whether an array's name is that of an option: its letter, or its name, in which NumPy's keywords have _ for -. */
static bool is_name(const struct poptOption *option, const char *name, int length)
{
    if (length == 1 && option->shortName != '\0')
        return *name == option->shortName;
    if (strlen(option->longName) != (size_t)length)
        return false;
    for (int i = 0; i < length; i++)
        if (name[i] != option->longName[i] && !(name[i] == '_' && option->longName[i] == '-'))
            return false;
    return true;
}

static enum exit_code unknown_array(const char *path, const struct archive_member *member)
{
    char names[256] = "";
    for (size_t i = 0; i < NUM_INPUTS; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", i > 0 ? ", " : "", option_of(inputs[i])->longName);
    }
    return fail(EXIT_BAD_FILE, "%s: its array %.*s has the name of no input: expected q, k, v or these: %s", path,
                archive_array_name(member), member->name, names);
}

/* Sets the value of an option to `path`, or to path:name where the name has a length. */
static enum exit_code set_value(struct request *request, enum run_option option, const char *path, const char *name,
                                int length)
{
    size_t size = strlen(path) + (size_t)length + 2;
    char *text = malloc(size);
    if (text == NULL)
        return fail(EXIT_FAILED, "no memory for the command line");
    snprintf(text, size, "%s%s%.*s", path, length > 0 ? ":" : "", length, name);
    request->values.text[option] = text;
    return EXIT_DONE;
}

/* One array of an archive: that of an option which is given beside it is left alone. */
static enum exit_code take_array(struct request *request, const struct archive_member *member, bool taken[NUM_INPUTS])
{
    const char *path = request->values.text[RUN_NPZ];
    int length = archive_array_name(member);
    for (size_t i = 0; i < NUM_INPUTS; i++) {
        if (!is_name(option_of(inputs[i]), member->name, length))
            continue;
        if (taken[i])
            return fail(EXIT_BAD_FILE, "%s: has %s twice", path, option_of(inputs[i])->longName);
        if (requested(request, inputs[i]))
            return EXIT_DONE;
        taken[i] = true;
        return set_value(request, inputs[i], path, member->name, length);
    }
    return unknown_array(path, member);
}

static enum exit_code take_archive(struct request *request)
{
    const char *path = request->values.text[RUN_NPZ];
    size_t length = strlen(path);
    char message[INPUT_MESSAGE];
    struct archive_member member;
    bool taken[NUM_INPUTS] = {false};
    if (length < 5 || strcmp(path + length - 4, ".npz") != 0)
        return fail(EXIT_USAGE, "--npz is %s: expected a file whose name ends in .npz", path);
    int descriptor = input_descriptor(path);
    if (descriptor < 0)
        return fail(EXIT_BAD_FILE, "%s: cannot be read as an archive: %s", path, strerror(errno));
    struct archive *archive = archive_open(descriptor, message);
    close(descriptor);
    if (archive == NULL)
        return fail(EXIT_BAD_FILE, "%s: cannot be read as an archive: %s", path, message);
    enum exit_code code = EXIT_DONE;
    for (uint64_t i = 0; code == EXIT_DONE && archive_member(archive, i, &member, message); i++)
        code = take_array(request, &member, taken);
    if (code == EXIT_DONE && *message != '\0')
        code = fail(EXIT_BAD_FILE, "%s: cannot be read as an archive: %s", path, message);
    archive_close(archive);
    return code;
}

enum exit_code run_inputs(struct request *request)
{
    const char *standard = NULL;
    if (requested(request, RUN_NPZ))
        TRY(take_archive(request));
    for (size_t i = 0; i < NUM_INPUTS; i++) {
        if (!requested(request, inputs[i]) || strcmp(request->values.text[inputs[i]], INPUT_STANDARD) != 0)
            continue;
        if (standard != NULL)
            return fail(EXIT_USAGE, "--%s and --%s are -: expected one input from standard input", standard,
                        option_of(inputs[i])->longName);
        standard = option_of(inputs[i])->longName;
    }
    if (!requested(request, RUN_QKV))
        return EXIT_DONE;
    for (enum run_option option = RUN_QUERY; option <= RUN_VALUE; option++) {
        if (requested(request, option))
            return fail(EXIT_USAGE, "--qkv and --%s are given: expected one of them", option_of(option)->longName);
        TRY(set_value(request, option, request->values.text[RUN_QKV], "", 0));
    }
    return EXIT_DONE;
}
