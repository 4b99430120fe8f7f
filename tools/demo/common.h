/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the demos share: a device, memory on it, a check, a picture. A demo is a function over struct demo; what it
 * takes from here is given back when it is over.
 */
#ifndef TOOL_DEMO_COMMON_H
#define TOOL_DEMO_COMMON_H

#include "shared/heatmap.h"
#include "shared/output.h"
#include <clattn/clattn.h>

#define DEMO_MOST 64 /* buffers, plans and pictures that a demo has, of each */

struct demo {
    clattn_context *context;
    cl_command_queue queue; /* in order */
    clattn_error error;
    struct picture image; /* what the user gave; zeroed: nothing */
    void *memory;         /* zeroed, as large as the demo's entry says; NULL where that is 0 */

    /* what is behind the functions below */
    cl_mem buffers[DEMO_MOST];
    clattn_plan *plans[DEMO_MOST];
    struct picture pictures[DEMO_MOST];
    int num_buffers, num_plans, num_pictures;
    size_t bytes;     /* of the buffers */
    const char *path; /* of the picture to draw; NULL: none is wanted */
    int descriptor;
};

/* A row of the table in demo.c. */
struct demo_entry {
    const char *name;
    const char *summary; /* one line */
    bool takes_image;
    enum exit_code (*run)(struct demo *demo);
    size_t bytes; /* of demo->memory, for what is too much to have in every run of the program */
};

/* Leaves the enclosing function, which has a `demo`, where a call of the library with &demo->error fails. */
#define CALL(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != CLATTN_SUCCESS)                                                                                  \
            return fail_library(&demo->error);                                                                         \
    } while (0)

/* Where to put a plan that is to be released in the end. */
clattn_plan **demo_plan(struct demo *demo);

/* Memory of the device with a copy of `data`, or with zeros where that is NULL. */
enum exit_code demo_buffer(struct demo *demo, const void *data, size_t bytes, clattn_buffer *buffer);

/* Copies to the buffer and, when what was enqueued is done, from it. */
enum exit_code demo_write(struct demo *demo, clattn_buffer buffer, const void *data, size_t bytes);
enum exit_code demo_read(struct demo *demo, clattn_buffer buffer, void *data, size_t bytes);

/* The same buffer from `bytes` further on. */
clattn_buffer demo_at(clattn_buffer buffer, size_t bytes);

/* Normal random numbers, the same for a stream every time. */
void demo_normal(float *numbers, size_t count, float deviation, uint64_t stream);

/* The largest |a - b|; infinite where there is a NaN. */
double demo_difference(const float *a, const float *b, size_t count);

/* Says what was found and what is allowed. EXIT_VERIFICATION where it is not found <= allowed. */
enum exit_code demo_check(const char *what, double found, double allowed);

/*
 * A multi-head layer on the host: queries from `input`, keys from `keys`, values from `values`, each [length, width];
 * w_q, w_k and w_v [heads * dim, width], w_o [output_width, heads * dim]. No mask, no bias, the usual scale.
 */
struct demo_layer {
    clattn_layer_inputs inputs;
    int heads, dim, q_len, kv_len, width, key_width, value_width, output_width;
    const float *input, *keys, *values, *w_q, *w_k, *w_v, *w_o;
};

/* A plan for it, which also gives out the weights [heads, q_len, kv_len] if so wished. */
enum exit_code demo_layer_plan(struct demo *demo, const struct demo_layer *layer, bool weights, clattn_plan ***plan);

/* Says what is run, and runs it on the device. `weights` may be NULL. */
enum exit_code demo_layer_run(struct demo *demo, const struct demo_layer *layer, float *output, float *weights);

/* The output in double precision, on the host. */
enum exit_code demo_layer_reference(const struct demo_layer *layer, float *output);

/* Bytes of the device so far: all buffers, and the largest workspace of a plan. */
size_t demo_memory(const struct demo *demo);

/* Draws the picture, if one is wanted. */
enum exit_code demo_picture(struct demo *demo, const struct heatmap *heatmap);

/* The user's image, or where there is none a drawn scene of sun, house and trees, in this size. */
enum exit_code demo_image(struct demo *demo, int width, int height, const struct picture **picture);

/* Levels of red, green and blue [height, width, 3], from 0 to 1, as a picture. */
enum exit_code demo_colours(struct demo *demo, const float *levels, int width, int height,
                            const struct picture **picture);

/* The curve of `count` finite numbers, from 0 at the bottom to the largest at the top, which is written beside it. */
enum exit_code demo_curve(struct demo *demo, const float *numbers, int count, const struct picture **picture);

/* Grey levels as a picture, 0 being black and 1 white. That of a pixel is `stride` floats after the one before it. */
enum exit_code demo_grey(struct demo *demo, const float *levels, int stride, int width, int height,
                         const struct picture **picture);

#endif
