/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn demo`: the systems from which attention came, each in a file of demo/. */
#include "demo/common.h"
#include "shared/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order in which they are listed. */
extern const struct demo_entry demo_convolution, demo_crossvit, demo_decoder, demo_encoder, demo_generate,
    demo_gradients, demo_hierarchical_perceiver, demo_image_text, demo_perceiver_io, demo_selfdoc, demo_seq2seq,
    demo_train, demo_train_seq2seq, demo_train_perceiver_io;

static const struct demo_entry *const demos[] = {
    &demo_seq2seq,       &demo_encoder,           &demo_decoder,
    &demo_crossvit,      &demo_perceiver_io,      &demo_hierarchical_perceiver,
    &demo_selfdoc,       &demo_image_text,        &demo_convolution,
    &demo_generate,      &demo_gradients,         &demo_train,
    &demo_train_seq2seq, &demo_train_perceiver_io};

#define NUM_DEMOS (sizeof demos / sizeof *demos)

enum demo_option { DEMO_OUTPUT = OPTION_HELP + 1, DEMO_IMAGE, DEMO_DEVICE };

static const struct poptOption demo_options[] = {
    {"output", 'o', POPT_ARG_STRING, NULL, DEMO_OUTPUT, "where the picture goes, as PNG", "FILE"},
    {"image", '\0', POPT_ARG_STRING, NULL, DEMO_IMAGE, "a PNG picture of your own, where the demo looks at one",
     "FILE"},
    {"device", '\0', POPT_ARG_STRING, NULL, DEMO_DEVICE, "gpu, cpu, accelerator, any, P:D or name=TEXT", "SPEC"},
    OPTIONS_END,
};

static enum exit_code list(const struct option_values *values)
{
    if (values->text[DEMO_OUTPUT] != NULL || values->text[DEMO_IMAGE] != NULL || values->text[DEMO_DEVICE] != NULL)
        return fail(EXIT_USAGE, "expected the name of a demo; clattn demo lists them");
    for (size_t i = 0; i < NUM_DEMOS; i++)
        printf("%-22s  %s\n", demos[i]->name, demos[i]->summary);
    return EXIT_DONE;
}

static enum exit_code find(const char *name, const struct demo_entry **entry)
{
    char names[512] = "";
    for (size_t i = 0; i < NUM_DEMOS; i++) {
        *entry = demos[i];
        if (strcmp(name, demos[i]->name) == 0)
            return EXIT_DONE;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", length > 0 ? ", " : "", demos[i]->name);
    }
    return fail(EXIT_USAGE, "%s is no demo: expected one of these: %s", name, names);
}

/* The user's files first, then the device: what can be refused early is. */
static enum exit_code prepare(struct demo *demo, const struct demo_entry *entry, const struct option_values *values,
                              struct outputs *outputs)
{
    if (values->text[DEMO_IMAGE] != NULL && !entry->takes_image)
        return fail(EXIT_USAGE, "--image is given: the demo %s looks at no picture", entry->name);
    if (values->text[DEMO_IMAGE] != NULL)
        TRY(picture_read(values->text[DEMO_IMAGE], &demo->image));
    if (entry->bytes > 0 && (demo->memory = calloc(1, entry->bytes)) == NULL)
        return fail(EXIT_FAILED, "no memory for the %zu bytes of the demo", entry->bytes);
    demo->path = values->text[DEMO_OUTPUT];
    if (demo->path != NULL && strcmp(demo->path, OUTPUT_STANDARD) == 0)
        return fail(EXIT_USAGE, "--output is -: standard output has what the demo says: expected a file");
    if (demo->path != NULL)
        TRY(outputs_open(outputs, demo->path, &demo->descriptor));
    if (clattn_context_create_default(values->text[DEMO_DEVICE], NULL, &demo->context, &demo->error) != CLATTN_SUCCESS)
        return fail_library(&demo->error);
    cl_int code;
    demo->queue = clCreateCommandQueue(clattn_context_cl_context(demo->context),
                                       clattn_context_cl_device(demo->context), 0, &code);
    return code == CL_SUCCESS ? EXIT_DONE
                              : fail(EXIT_FAILED, "clCreateCommandQueue failed with OpenCL error %d", (int)code);
}

static void release(struct demo *demo)
{
    if (demo->queue != NULL) {
        clFinish(demo->queue);
        clReleaseCommandQueue(demo->queue);
    }
    for (int i = 0; i < demo->num_buffers; i++)
        clReleaseMemObject(demo->buffers[i]);
    for (int i = 0; i < demo->num_plans; i++)
        clattn_plan_release(demo->plans[i]);
    clattn_context_release(demo->context);
    for (int i = 0; i < demo->num_pictures; i++)
        picture_free(&demo->pictures[i]);
    picture_free(&demo->image);
    free(demo->memory);
}

static enum exit_code show(const struct option_values *values)
{
    struct demo demo = {0};
    struct outputs outputs = {0};
    const struct demo_entry *entry;
    TRY(find(values->arguments[0], &entry));
    enum exit_code code = prepare(&demo, entry, values, &outputs);
    if (code == EXIT_DONE)
        code = entry->run(&demo);
    if (code == EXIT_DONE)
        code = outputs_commit(&outputs);
    outputs_close(&outputs);
    release(&demo);
    return code;
}

static enum exit_code demo_main(const struct command *command, int argc, const char **argv)
{
    struct option_values values;
    bool answered;
    enum exit_code code = options_parse(command, argc, argv, &values, &answered);
    if (code == EXIT_DONE && !answered)
        code = values.num_arguments == 0 ? list(&values) : show(&values);
    options_free(&values);
    return code;
}

const struct command demo_command = {
    .name = "demo",
    .summary = "show the systems from which attention came, each with a picture of the weights it computed",
    .details = "Without a NAME, lists them. Each checks what it shows, and exits 6 where that does not hold. The\n"
               "picture appears when everything has succeeded. Those that train take up to a minute. What each does\n"
               "and how is in tools/demo/NAME.c.\n",
    .examples = "  clattn demo\n"
                "  clattn demo seq2seq -o alignment.png\n"
                "  clattn demo image-text -o attention.png --image holiday.png\n",
    .argument = "[NAME]",
    .most_arguments = 1,
    .options = demo_options,
    .run = demo_main,
};
