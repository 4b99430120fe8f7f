/* SPDX-License-Identifier: Apache-2.0 */
/* The program `clattn`: finds the subcommand and hands over to it. */
#include "shared/options.h"
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const struct command bench_command, demo_command, devices_command, run_command;

static const struct command *const commands[] = {&devices_command, &run_command, &bench_command, &demo_command};

#define NUM_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
    printf("clattn: attention on any OpenCL device.\n\n"
           "Examples:\n"
           "  clattn devices\n"
           "  clattn run -q q.npy -k k.npy -v v.npy -o out.npy\n"
           "  clattn run --random b1h8q512k512d64:f32:causal --verify --time\n"
           "  clattn bench --roofline\n"
           "  clattn demo seq2seq -o alignment.png\n\n"
           "Usage: clattn COMMAND [OPTION...]\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        printf("  %-8s  %s\n", commands[i]->name, commands[i]->summary);
    printf("\nOptions:\n"
           "  -h, --help     this text; after a command, or as clattn help COMMAND, the command's\n"
           "  -V, --version  the version of the library\n\n"
           "%s\n%s",
           options_environment, options_exit_codes);
}

static enum exit_code find(const char *name, const struct command **command)
{
    char names[256] = "";
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        *command = commands[i];
        if (strcmp(name, commands[i]->name) == 0)
            return EXIT_DONE;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", length > 0 ? ", " : "", commands[i]->name);
    }
    return fail(EXIT_USAGE, "%s is no command: expected one of these: %s", name, names);
}

/* `clattn help COMMAND` is `clattn COMMAND --help`. */
static enum exit_code help(int argc, const char **argv)
{
    const struct command *command;
    const char *arguments[] = {argv[0], "--help", NULL};
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        print_help();
        return EXIT_DONE;
    }
    TRY(find(argv[0], &command));
    if (argc > 1)
        return fail(EXIT_USAGE, "%s: unexpected argument: expected clattn help [COMMAND]", argv[1]);
    return command->run(command, 2, arguments);
}

static enum exit_code dispatch(int argc, const char **argv)
{
    const struct command *command;
    if (argc < 2)
        return fail(EXIT_USAGE, "expected a command; see clattn --help");
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        options_print_version();
        return EXIT_DONE;
    }
    TRY(find(argv[1], &command));
    message_set_command(command->name);
    return command->run(command, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    /* Where standard descriptors are closed, what is opened later must not become one of them. */
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDONLY);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0)
        close(descriptor);
    setlocale(LC_CTYPE, ""); /* which bytes print, and how wide; numbers keep their point */
    enum exit_code code = dispatch(argc, (const char **)argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE)
        code = fail(EXIT_FAILED, "standard output cannot be written");
    return (int)code;
}
