/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines by popt, help texts, and values out of text. */
#include "shared/options.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char options_environment[] = "Environment:\n"
                                   "  CLATTN_DEVICE   the device where --device is not given, in the same form\n"
                                   "  NO_COLOR        where set and not empty, no colours and no bar on a terminal\n";

const char options_exit_codes[] = "Exit codes:\n"
                                  "  0  done\n"
                                  "  1  failed: a full disk, no memory, a driver error\n"
                                  "  2  usage: the command line is wrong\n"
                                  "  3  no usable device\n"
                                  "  4  bad file: it cannot be read, or its content does not fit\n"
                                  "  5  unsupported: no kernel, or not the one asked for, can compute it\n"
                                  "  6  verification failed\n"
                                  "  7  slower than the baseline\n";

static void print_help(const struct command *command, poptContext context)
{
    printf("clattn %s: %s.\n\n%s", command->name, command->summary, command->details);
    printf("%sExamples:\n%s\n", *command->details != '\0' ? "\n" : "", command->examples);
    poptPrintHelp(context, stdout, 0);
    printf("\n%s\n%s", options_environment, options_exit_codes);
}

void options_print_version(void)
{
    printf("clattn %s\n", clattn_version_string());
}

/* The name of the option with `val`, as it is written on a command line. */
static const char *long_name(const struct command *command, int val)
{
    const struct poptOption *option = command->options;
    while (option->val != val)
        option++;
    return option->longName;
}

/* What popt found besides options. */
static enum exit_code take_arguments(poptContext context, const struct command *command, struct option_values *values)
{
    for (const char *text; (text = poptGetArg(context)) != NULL;) {
        if (values->num_arguments == command->most_arguments)
            return fail(EXIT_USAGE, "%s: unexpected argument; see clattn %s --help", text, command->name);
        char **arguments = realloc(values->arguments, (size_t)(values->num_arguments + 1) * sizeof *arguments);
        char *copy = strdup(text);
        values->arguments = arguments != NULL ? arguments : values->arguments;
        if (arguments == NULL || copy == NULL) {
            free(copy);
            return fail(EXIT_FAILED, "no memory for the command line");
        }
        arguments[values->num_arguments++] = copy;
    }
    return EXIT_DONE;
}

static enum exit_code parse_with(poptContext context, const struct command *command, struct option_values *values)
{
    int val;
    while ((val = poptGetNextOpt(context)) > 0) {
        char *argument = poptGetOptArg(context);
        char *text = argument != NULL ? argument : strdup("");
        if (text == NULL)
            return fail(EXIT_FAILED, "no memory for the command line");
        if (values->text[val] != NULL && val != OPTION_HELP && val != OPTION_VERSION) {
            free(text);
            return fail(EXIT_USAGE, "--%s is given twice", long_name(command, val));
        }
        free(values->text[val]);
        values->text[val] = text;
    }
    if (values->text[OPTION_HELP] != NULL || values->text[OPTION_VERSION] != NULL)
        return EXIT_DONE;
    if (val < -1)
        return fail(EXIT_USAGE, "%s: %s; see clattn %s --help", poptBadOption(context, POPT_BADOPTION_NOALIAS),
                    poptStrerror(val), command->name);
    return take_arguments(context, command, values);
}

enum exit_code options_parse(const struct command *command, int argc, const char **argv, struct option_values *values,
                             bool *answered)
{
    memset(values, 0, sizeof *values);
    char name[64];
    snprintf(name, sizeof name, "clattn %s", command->name); /* what popt calls the program in "Usage:" */
    argv[0] = name;
    poptContext context = poptGetContext(NULL, argc, argv, command->options, 0);
    if (context == NULL)
        return fail(EXIT_FAILED, "no memory for the command line");
    char usage[64];
    snprintf(usage, sizeof usage, "%s%s[OPTION...]", command->argument != NULL ? command->argument : "",
             command->argument != NULL ? " " : "");
    poptSetOtherOptionHelp(context, usage);
    enum exit_code code = parse_with(context, command, values);
    bool help = values->text[OPTION_HELP] != NULL, version = values->text[OPTION_VERSION] != NULL;
    *answered = code == EXIT_DONE && (help || version);
    if (*answered && help)
        print_help(command, context);
    else if (*answered)
        options_print_version();
    poptFreeContext(context);
    return code;
}

void options_free(struct option_values *values)
{
    for (int i = 0; i < OPTION_MAX; i++)
        free(values->text[i]);
    for (int i = 0; i < values->num_arguments; i++)
        free(values->arguments[i]);
    free(values->arguments);
    memset(values, 0, sizeof *values);
}

/* A decimal number and nothing else, not even the white space that strtoll skips. */
static bool read_integer(const char *text, const char **end, int64_t *value)
{
    if (!isdigit((unsigned char)text[*text == '-']))
        return false;
    char *stop;
    errno = 0;
    long long number = strtoll(text, &stop, 10);
    *end = stop;
    *value = number;
    return errno == 0;
}

enum exit_code parse_integer(const char *option, const char *text, int64_t least, int64_t most, int64_t *value)
{
    const char *end;
    if (!read_integer(text, &end, value) || *end != '\0' || *value < least || *value > most)
        return fail(EXIT_USAGE, "%s is %s: expected a whole number from %" PRId64 " to %" PRId64, option, text, least,
                    most);
    return EXIT_DONE;
}

enum exit_code parse_seed(const char *option, const char *text, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    *value = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0)
        return fail(EXIT_USAGE, "%s is %s: expected a whole number from 0 to 2^64 - 1", option, text);
    return EXIT_DONE;
}

enum exit_code parse_float(const char *option, const char *text, float *value)
{
    char *end = NULL;
    errno = 0;
    double number = *text != '\0' && !isspace((unsigned char)*text) ? strtod(text, &end) : 0;
    if (end == NULL || end == text || *end != '\0')
        return fail(EXIT_USAGE, "%s is %s: expected a number", option, text);
    *value = (float)number;
    if (!isfinite(*value))
        return fail(EXIT_USAGE, "%s is %s: expected a finite number of type float", option, text);
    if (*value == 0.0f && (number != 0 || errno == ERANGE))
        return fail(EXIT_USAGE, "%s is %s: expected a number that type float tells from 0", option, text);
    return EXIT_DONE;
}

enum exit_code parse_name(const char *option, const char *text, const char *const *names, int *index)
{
    char expected[256] = "";
    for (*index = 0; names[*index] != NULL; ++*index) {
        if (strcmp(text, names[*index]) == 0)
            return EXIT_DONE;
        size_t length = strlen(expected);
        snprintf(expected + length, sizeof expected - length, "%s%s", length > 0 ? ", " : "", names[*index]);
    }
    return fail(EXIT_USAGE, "%s is %s: expected one of these: %s", option, text, expected);
}

enum exit_code parse_kernel(const char *option, const char *text, const char *expected,
                            const char *(*variant)(size_t index))
{
    char names[512] = "";
    for (size_t i = 0; variant(i) != NULL; i++) {
        const char *name = variant(i);
        if (strcmp(text, name) == 0)
            return EXIT_DONE;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", length > 0 ? ", " : "", name);
    }
    return fail(EXIT_USAGE, "%s is %s: expected %s: %s", option, text, expected, names);
}

enum exit_code parse_alignment(const char *option, const char *text, clattn_alignment *alignment, int64_t *offset)
{
    const char *end;
    *offset = 0;
    if (strcmp(text, "top-left") == 0) {
        *alignment = CLATTN_ALIGN_TOP_LEFT;
    } else if (strcmp(text, "bottom-right") == 0) {
        *alignment = CLATTN_ALIGN_BOTTOM_RIGHT;
    } else {
        *alignment = CLATTN_ALIGN_OFFSET;
        if (!read_integer(text, &end, offset) || *end != '\0')
            return fail(EXIT_USAGE,
                        "%s is %s: expected top-left, bottom-right or the position of the first query among the keys",
                        option, text);
    }
    return EXIT_DONE;
}

enum exit_code parse_window(const char *option, const char *text, int64_t *left, int64_t *right)
{
    const char *end;
    if (!read_integer(text, &end, left) || *end != ',' || !read_integer(end + 1, &end, right) || *end != '\0' ||
        *left < -1 || *right < -1)
        return fail(EXIT_USAGE,
                    "%s is %s: expected LEFT,RIGHT, the keys seen before and after a query's position, -1 for no bound",
                    option, text);
    return EXIT_DONE;
}
