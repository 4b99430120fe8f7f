/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the device, numbers and checks for the demos. */
#include "demo/common.h"
#include "shared/random.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

clattn_plan **demo_plan(struct demo *demo)
{
    assert(demo->num_plans < DEMO_MOST);
    return &demo->plans[demo->num_plans++];
}

static enum exit_code fail_opencl(const char *call, size_t bytes, cl_int code)
{
    return fail(EXIT_FAILED, "%s of %zu bytes failed with OpenCL error %d", call, bytes, (int)code);
}

enum exit_code demo_buffer(struct demo *demo, const void *data, size_t bytes, clattn_buffer *buffer)
{
    cl_int code;
    void *zeros = data == NULL ? calloc(1, bytes) : NULL;
    if (data == NULL && zeros == NULL)
        return fail(EXIT_FAILED, "no memory for %zu bytes", bytes);
    cl_mem mem = clCreateBuffer(clattn_context_cl_context(demo->context), CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                bytes, data != NULL ? (void *)data : zeros, &code);
    free(zeros);
    if (code != CL_SUCCESS)
        return fail_opencl("clCreateBuffer", bytes, code);
    assert(demo->num_buffers < DEMO_MOST);
    demo->buffers[demo->num_buffers++] = mem;
    demo->bytes += bytes;
    *buffer = (clattn_buffer){.mem = mem};
    return EXIT_DONE;
}

size_t demo_memory(const struct demo *demo)
{
    size_t workspace = 0;
    for (int i = 0; i < demo->num_plans; i++)
        if (clattn_plan_workspace_size(demo->plans[i]) > workspace)
            workspace = clattn_plan_workspace_size(demo->plans[i]);
    return demo->bytes + workspace;
}

enum exit_code demo_write(struct demo *demo, clattn_buffer buffer, const void *data, size_t bytes)
{
    cl_int code = clEnqueueWriteBuffer(demo->queue, buffer.mem, CL_TRUE, buffer.offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clEnqueueWriteBuffer", bytes, code);
}

enum exit_code demo_read(struct demo *demo, clattn_buffer buffer, void *data, size_t bytes)
{
    cl_int code = clEnqueueReadBuffer(demo->queue, buffer.mem, CL_TRUE, buffer.offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? EXIT_DONE : fail_opencl("clEnqueueReadBuffer", bytes, code);
}

clattn_buffer demo_at(clattn_buffer buffer, size_t bytes)
{
    buffer.offset += bytes;
    return buffer;
}

void demo_normal(float *numbers, size_t count, float deviation, uint64_t stream)
{
    for (size_t i = 0; i < count; i++)
        numbers[i] = deviation * (float)random_normal(0, stream, i);
}

double demo_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = isnan(difference) ? INFINITY : fmax(largest, difference);
    }
    return largest;
}

enum exit_code demo_check(const char *what, double found, double allowed)
{
    if (!(found <= allowed))
        return fail(EXIT_VERIFICATION, "%s: off by %.3g, expected at most %.3g", what, found, allowed);
    printf("check     %s: off by %.3g, allowed %.3g\n", what, found, allowed);
    return EXIT_DONE;
}

enum exit_code demo_picture(struct demo *demo, const struct heatmap *heatmap)
{
    struct picture picture = {0};
    if (demo->path == NULL)
        return EXIT_DONE;
    enum exit_code code = heatmap_draw(heatmap, &picture);
    if (code == EXIT_DONE)
        code = picture_write(&picture, demo->path, demo->descriptor);
    if (code == EXIT_DONE)
        printf("picture   %s: %d x %d pixels\n", demo->path, picture.width, picture.height);
    picture_free(&picture);
    return code;
}
