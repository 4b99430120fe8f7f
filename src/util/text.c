/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string, a line of a given size, and the quoting of text that is not ours. */
#include "util/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct cla_text *text, size_t capacity)
{
    if (capacity <= text->capacity)
        return true;
    if (capacity < 2 * text->capacity) /* doubling keeps the sum of all copies linear */
        capacity = 2 * text->capacity;
    char *data = realloc(text->data, capacity);
    if (data == NULL)
        return false;
    text->data = data;
    text->capacity = capacity;
    return true;
}

void cla_text_add(struct cla_text *text, const char *format, ...)
{
    va_list arguments, again;
    if (text->failed)
        return;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0 || !reserve(text, text->length + (size_t)length + 1)) {
        text->failed = true;
    } else {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

void cla_text_free(struct cla_text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

void cla_line_add(struct cla_line *line, const char *format, ...)
{
    va_list arguments;
    const bool room = line->length < line->size;
    va_start(arguments, format);
    const int length =
        vsnprintf(room ? line->text + line->length : NULL, room ? line->size - line->length : 0, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->length += (size_t)length;
}

const char *cla_quote(char *out, size_t size, const char *text, size_t length)
{
    const size_t tail = sizeof "...\""; /* what a cut text ends with */
    char *to = out;
    *to++ = '"';
    for (size_t i = 0; i < length; i++) {
        char piece[8];
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            snprintf(piece, sizeof piece, "\\%c", c);
        else if (c >= ' ' && c < 0x7f)
            snprintf(piece, sizeof piece, "%c", c);
        else
            snprintf(piece, sizeof piece, "\\x%02x", c);
        if ((size_t)(to - out) + strlen(piece) + tail > size) {
            memcpy(to, "...", 3);
            to += 3;
            break;
        }
        memcpy(to, piece, strlen(piece));
        to += strlen(piece);
    }
    *to++ = '"';
    *to = 0;
    return out;
}
