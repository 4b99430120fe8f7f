/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subcommands and their options. A subcommand describes itself in a struct command, from which its help is made and
 * its command line read; the values come out as text and are parsed by the functions below, which name the option, the
 * value and what was expected.
 */
#ifndef TOOL_OPTIONS_H
#define TOOL_OPTIONS_H

#include "shared/message.h"
#include <clattn/backward.h>
#include <popt.h>

#define OPTION_MAX 64

/* The `val` of --version and --help, which end every table of options; others follow these two. */
#define OPTION_VERSION 1
#define OPTION_HELP    2

#define OPTIONS_END                                                                                                    \
    {"help", 'h', POPT_ARG_NONE, NULL, OPTION_HELP, "this text", NULL},                                                \
        {"version", 'V', POPT_ARG_NONE, NULL, OPTION_VERSION, "the version of the library", NULL}, POPT_TABLEEND

struct command {
    const char *name;
    const char *summary;  /* a sentence without its full stop, in lower case */
    const char *details;  /* lines for --help, after the summary */
    const char *examples; /* command lines for --help, two spaces before each */
    const char *argument; /* what arguments that are no options are called in "Usage:"; NULL: there are none */
    int most_arguments;   /* how many of them there may be; INT_MAX: any number */
    /* Ends with OPTIONS_END; has POPT_ARG_NONE and POPT_ARG_STRING only, no pointers, and a `val` below OPTION_MAX.
     */
    const struct poptOption *options;
    enum exit_code (*run)(const struct command *command, int argc, const char **argv);
};

/* What the command line gave. */
struct option_values {
    char *text[OPTION_MAX]; /* by `val`: NULL where it was not given, "" for an option without an argument */
    char **arguments;       /* that are no options */
    int num_arguments;
};

/*
 * Reads the command line of a subcommand, argv[0] being its name. Where --help or --version was given, answers it and
 * sets *answered: there is nothing else to do. `values` is to be freed in any case.
 */
enum exit_code options_parse(const struct command *command, int argc, const char **argv, struct option_values *values,
                             bool *answered);

/* What --version prints. */
void options_print_version(void);

void options_free(struct option_values *values);

/* The parts of every help text that tell of the environment and of exit codes. */
extern const char options_environment[];
extern const char options_exit_codes[];

/* The text of an option as a value. `option` is its name for messages, such as "--scale". */
enum exit_code parse_integer(const char *option, const char *text, int64_t least, int64_t most, int64_t *value);
enum exit_code parse_seed(const char *option, const char *text, uint64_t *value);

/* A finite number that is not rounded to zero unless it is zero. */
enum exit_code parse_float(const char *option, const char *text, float *value);

/* One of `names`, which ends with NULL; *index is its place. */
enum exit_code parse_name(const char *option, const char *text, const char *const *names, int *index);

/* The name of a variant, those being what `variant` gives for 0, 1, ... to NULL. `expected` is what to say before their
 * list, such as "auto or one of these". */
enum exit_code parse_kernel(const char *option, const char *text, const char *expected,
                            const char *(*variant)(size_t index));

/* top-left, bottom-right or the position of the first query among the keys. */
enum exit_code parse_alignment(const char *option, const char *text, clattn_alignment *alignment, int64_t *offset);

/* Two ends, such as 128,0; -1 is an end without bound. */
enum exit_code parse_window(const char *option, const char *text, int64_t *left, int64_t *right);

#endif
