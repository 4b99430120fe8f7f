/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels, and PNG files by libpng's simplified interface, which checks what it reads. */
#include "shared/picture.h"
#include "shared/input.h"
#include <errno.h>
#include <inttypes.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum exit_code picture_create(struct picture *picture, int64_t width, int64_t height, colour background)
{
    if (width < 1 || height < 1 || width > PICTURE_MAX_PIXELS / height)
        return fail(EXIT_FAILED, "a picture of %" PRId64 " x %" PRId64 " pixels: expected 1 to %" PRId64 " in all",
                    width, height, PICTURE_MAX_PIXELS);
    picture->pixels = malloc(3 * (size_t)(width * height));
    if (picture->pixels == NULL)
        return fail(EXIT_FAILED, "no memory for a picture of %" PRId64 " x %" PRId64 " pixels", width, height);
    picture->width = (int)width;
    picture->height = (int)height;
    picture_rectangle(picture, 0, 0, width, height, background);
    return EXIT_DONE;
}

void picture_free(struct picture *picture)
{
    free(picture->pixels);
    *picture = (struct picture){0};
}

/* ---- files ---- */

/* The rest of picture_read, the header being read. */
static enum exit_code read_pixels(const char *path, png_image *image, struct picture *picture)
{
    if ((int64_t)image->width > PICTURE_MAX_PIXELS / image->height)
        return fail(EXIT_BAD_FILE, "%s: is a picture of %lu x %lu pixels: expected at most %" PRId64 " in all", path,
                    (unsigned long)image->width, (unsigned long)image->height, PICTURE_MAX_PIXELS);
    image->format = PNG_FORMAT_RGB;
    const png_color white = {255, 255, 255};
    TRY(picture_create(picture, image->width, image->height, COLOUR_WHITE));
    if (png_image_finish_read(image, &white, picture->pixels, 0, NULL) == 0) {
        picture_free(picture);
        return fail(EXIT_BAD_FILE, "%s: cannot be read as a PNG picture: %s", path, image->message);
    }
    return EXIT_DONE;
}

enum exit_code picture_read(const char *path, struct picture *picture)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    *picture = (struct picture){0};
    FILE *file = input_stream(path);
    if (file == NULL)
        return fail(EXIT_BAD_FILE, "%s: cannot be read: %s", path, strerror(errno));
    enum exit_code code;
    if (png_image_begin_read_from_stdio(&image, file) == 0)
        code = fail(EXIT_BAD_FILE, "%s: cannot be read as a PNG picture: %s", path, image.message);
    else
        code = read_pixels(path, &image, picture);
    png_image_free(&image);
    fclose(file);
    return code;
}

enum exit_code picture_write(const struct picture *picture, const char *path, int descriptor)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)picture->width,
                       .height = (png_uint_32)picture->height,
                       .format = PNG_FORMAT_RGB};
    int copy = dup(descriptor);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "wb");
    if (file == NULL) {
        int error = errno;
        if (copy >= 0)
            close(copy);
        return fail(EXIT_FAILED, "%s: cannot be written: %s", path, strerror(error));
    }
    errno = 0;
    bool good = png_image_write_to_stdio(&image, file, 0, picture->pixels, 0, NULL) != 0;
    int error = errno;
    if (fclose(file) != 0 && good) {
        error = errno;
        good = false;
    }
    return good ? EXIT_DONE
                : fail(EXIT_FAILED, "%s: cannot be written: %s", path, error != 0 ? strerror(error) : image.message);
}

/* ---- pixels ---- */

/* Pixel `to` of `size` new ones covers [first, last) of `from` old ones; shares of an edge are what it has of them. */
static float covered(int old, int new, int to, int from)
{
    double first = (double)to * old / new, last = (double)(to + 1) * old / new;
    double begin = first > from ? first : from, end = last < from + 1 ? last : from + 1;
    return end > begin ? (float)(end - begin) : 0.0f;
}

enum exit_code picture_resize(const struct picture *picture, int width, int height, struct picture *to)
{
    TRY(picture_create(to, width, height, COLOUR_WHITE));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            float sum[3] = {0}, area = 0;
            int top = (int)((int64_t)y * picture->height / height), left = (int)((int64_t)x * picture->width / width);
            for (int v = top; v < picture->height; v++) {
                float rows = covered(picture->height, height, y, v);
                if (rows <= 0)
                    break;
                for (int u = left; u < picture->width; u++) {
                    float share = rows * covered(picture->width, width, x, u);
                    if (share <= 0)
                        break;
                    area += share;
                    for (int c = 0; c < 3; c++)
                        sum[c] +=
                            share * picture->pixels[3 * ((size_t)v * (size_t)picture->width + (size_t)u) + (size_t)c];
                }
            }
            for (int c = 0; c < 3; c++)
                to->pixels[3 * ((size_t)y * (size_t)width + (size_t)x) + (size_t)c] =
                    (unsigned char)(sum[c] / area + 0.5f);
        }
    return EXIT_DONE;
}

void picture_blend(struct picture *picture, int64_t x, int64_t y, colour ink, float share)
{
    if (x < 0 || y < 0 || x >= picture->width || y >= picture->height)
        return;
    unsigned char *pixel = picture->pixels + 3 * (y * picture->width + x);
    for (int c = 0; c < 3; c++) {
        float wanted = (float)(ink >> (16 - 8 * c) & 255);
        pixel[c] = (unsigned char)((float)pixel[c] + share * (wanted - (float)pixel[c]) + 0.5f);
    }
}

void picture_rectangle(struct picture *picture, int64_t x, int64_t y, int64_t width, int64_t height, colour ink)
{
    int64_t right = x + width < picture->width ? x + width : picture->width;
    int64_t bottom = y + height < picture->height ? y + height : picture->height;
    for (int64_t v = y > 0 ? y : 0; v < bottom; v++)
        for (int64_t u = x > 0 ? x : 0; u < right; u++) {
            unsigned char *pixel = picture->pixels + 3 * (v * picture->width + u);
            for (int c = 0; c < 3; c++)
                pixel[c] = (unsigned char)(ink >> (16 - 8 * c) & 255);
        }
}

void picture_paste(struct picture *picture, int64_t x, int64_t y, const struct picture *other)
{
    const unsigned char *pixel = other->pixels;
    for (int v = 0; v < other->height; v++)
        for (int u = 0; u < other->width; u++, pixel += 3)
            picture_blend(picture, x + u, y + v, (colour)pixel[0] << 16 | (colour)pixel[1] << 8 | pixel[2], 1);
}
