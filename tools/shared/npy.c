/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing .npy files. The header is a Python dictionary; only the form that NumPy writes is taken. */
#include "shared/npy.h"
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC      "\x93NUMPY"
#define MAGIC_SIZE 6

/* No header of NPY_MAX_RANK extents needs more than a few hundred bytes; NumPy itself pads to 64. */
#define MAX_HEADER 65536

/* Of one write() call: below the 2 GiB at which systems cut calls short. */
#define MAX_TRANSFER ((size_t)1 << 30)

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define NATIVE '>'
#else
#define NATIVE '<'
#endif

static const struct type_row {
    enum npy_type type;
    const char *code; /* in a header, after the byte order */
    const char *name;
    size_t size; /* bytes */
} type_rows[] = {
    {NPY_BOOL, "b1", "bool", 1},   {NPY_I8, "i1", "int8", 1},       {NPY_I16, "i2", "int16", 2},
    {NPY_I32, "i4", "int32", 4},   {NPY_I64, "i8", "int64", 8},     {NPY_U8, "u1", "uint8", 1},
    {NPY_U16, "u2", "uint16", 2},  {NPY_U32, "u4", "uint32", 4},    {NPY_U64, "u8", "uint64", 8},
    {NPY_F16, "f2", "float16", 2}, {NPY_BF16, "V2", "bfloat16", 2}, {NPY_F32, "f4", "float32", 4},
    {NPY_F64, "f8", "float64", 8},
};

#define NUM_TYPES (sizeof type_rows / sizeof *type_rows)

static const struct type_row *row_of(enum npy_type type)
{
    size_t i = 0;
    while (i + 1 < NUM_TYPES && type_rows[i].type != type)
        i++;
    return &type_rows[i];
}

size_t npy_type_size(enum npy_type type)
{
    return row_of(type)->size;
}

const char *npy_type_string(enum npy_type type)
{
    return row_of(type)->name;
}

size_t npy_describe(enum npy_type type, int rank, const int64_t *shape, char *text, size_t size)
{
    size_t length = (size_t)snprintf(text, size, "%s [", npy_type_string(type));
    for (int i = 0; i < rank; i++)
        length += (size_t)snprintf(length < size ? text + length : NULL, length < size ? size - length : 0, "%s%lld",
                                   i > 0 ? ", " : "", (long long)shape[i]);
    length += (size_t)snprintf(length < size ? text + length : NULL, length < size ? size - length : 0, "]");
    return length;
}

/* ---- the header ---- */

struct header {
    struct npy array; /* without data */
    bool swapped;     /* the file has the other byte order */
    bool fortran;     /* the first extent is innermost */
};

struct cursor {
    const char *at;
    const char *end;
};

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) != NULL && *cursor->at != '\0')
        cursor->at++;
}

/* Takes `text`, with white space before it, if it comes next. */
static bool take(struct cursor *cursor, const char *text)
{
    skip_space(cursor);
    size_t length = strlen(text);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, text, length) != 0)
        return false;
    cursor->at += length;
    return true;
}

/* Takes a quoted string without escapes, cut to `size`. */
static bool take_string(struct cursor *cursor, char *text, size_t size)
{
    skip_space(cursor);
    if (cursor->at == cursor->end || (*cursor->at != '\'' && *cursor->at != '"'))
        return false;
    char quote = *cursor->at++;
    size_t length = 0;
    while (cursor->at < cursor->end && *cursor->at != quote && *cursor->at != '\\') {
        if (length + 1 < size)
            text[length++] = *cursor->at;
        cursor->at++;
    }
    text[length] = '\0';
    return cursor->at < cursor->end && *cursor->at++ == quote;
}

static bool parse_descr(struct cursor *cursor, unsigned types, struct header *header, char message[NPY_MESSAGE])
{
    char descr[24];
    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[')
        return input_refuse(message, "its elements are records: expected plain numbers");
    if (!take_string(cursor, descr, sizeof descr))
        return input_refuse(message, "its header has no element type: not a .npy file that NumPy wrote");
    for (size_t i = 0; i < NUM_TYPES; i++) {
        const struct type_row *row = &type_rows[i];
        bool none = descr[0] == '|' && (row->size == 1 || row->type == NPY_BF16); /* no byte order is named */
        bool order_fits = none || (row->size > 1 && (descr[0] == '<' || descr[0] == '>'));
        if ((types & row->type) != 0 && order_fits && strcmp(descr + 1, row->code) == 0) {
            header->array.type = row->type;
            header->swapped = row->size > 1 && (none ? '<' : descr[0]) != NATIVE;
            return true;
        }
    }
    char expected[160] = "";
    for (size_t i = 0; i < NUM_TYPES; i++) {
        unsigned rest = types & ~(unsigned)(type_rows[i].type * 2 - 1); /* the types after this one */
        if ((types & type_rows[i].type) != 0) {
            size_t length = strlen(expected);
            snprintf(expected + length, sizeof expected - length, "%s%s", type_rows[i].name,
                     rest == 0                  ? ""
                     : (rest & (rest - 1)) == 0 ? " or "
                                                : ", ");
        }
    }
    return input_refuse(message, "its element type is '%s': expected %s", descr, expected);
}

static bool parse_shape(struct cursor *cursor, struct header *header, char message[NPY_MESSAGE])
{
    struct npy *array = &header->array;
    bool comma = true;
    array->rank = 0;
    if (!take(cursor, "("))
        return input_refuse(message, "its header has no shape: not a .npy file that NumPy wrote");
    while (!take(cursor, ")")) {
        skip_space(cursor);
        int64_t extent = 0;
        const char *first = cursor->at;
        while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
            if (__builtin_mul_overflow(extent, 10, &extent) ||
                __builtin_add_overflow(extent, *cursor->at - '0', &extent))
                return input_refuse(message, "its shape has an extent beyond 2^63");
            cursor->at++;
        }
        if (cursor->at == first || !comma)
            return input_refuse(message, "its shape is not a tuple of numbers that are not negative");
        if (array->rank == NPY_MAX_RANK)
            return input_refuse(message, "it has more than %d dimensions", NPY_MAX_RANK);
        array->shape[array->rank++] = extent;
        comma = take(cursor, ",");
    }
    if (array->rank == 1 && !comma)
        return input_refuse(message, "its shape is not a tuple");
    return true;
}

/*
 * The elements and that their bytes can be counted. Extents of 0 are left out of the check, so that no product of the
 * others, such as a stride, overflows later.
 */
static bool count_elements(struct npy *array, char message[NPY_MESSAGE])
{
    int64_t bytes = (int64_t)npy_type_size(array->type);
    bool empty = false;
    for (int i = 0; i < array->rank; i++) {
        if (array->shape[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(bytes, array->shape[i], &bytes))
            return input_refuse(message, "its shape has more elements than any memory");
    }
    array->count = empty ? 0 : bytes / (int64_t)npy_type_size(array->type);
    return true;
}

static bool parse_header(const char *text, size_t size, unsigned types, struct header *header,
                         char message[NPY_MESSAGE])
{
    struct cursor cursor = {text, text + size};
    bool has_descr = false, has_order = false, has_shape = false, comma = true;
    if (!take(&cursor, "{"))
        return input_refuse(message, "its header is not a dictionary: not a .npy file that NumPy wrote");
    while (!take(&cursor, "}")) {
        char key[24];
        if (!comma || !take_string(&cursor, key, sizeof key) || !take(&cursor, ":"))
            return input_refuse(message, "its header is not a dictionary: not a .npy file that NumPy wrote");
        if (strcmp(key, "descr") == 0 && !has_descr) {
            has_descr = true;
            if (!parse_descr(&cursor, types, header, message))
                return false;
        } else if (strcmp(key, "fortran_order") == 0 && !has_order) {
            has_order = true;
            header->fortran = take(&cursor, "True");
            if (!header->fortran && !take(&cursor, "False"))
                return input_refuse(message, "its fortran_order is neither True nor False");
        } else if (strcmp(key, "shape") == 0 && !has_shape) {
            has_shape = true;
            if (!parse_shape(&cursor, header, message))
                return false;
        } else {
            return input_refuse(
                message, "its header has '%s' where descr, fortran_order and shape are expected, once each", key);
        }
        comma = take(&cursor, ",");
    }
    skip_space(&cursor);
    if (cursor.at != cursor.end || !has_descr || !has_order || !has_shape)
        return input_refuse(message, "its header does not consist of descr, fortran_order and shape");
    return count_elements(&header->array, message);
}

/* ---- reading ---- */

/* Reads magic, version and header; *position is the bytes read. */
static bool read_header(struct input *input, unsigned types, struct header *header, int64_t *position,
                        char message[NPY_MESSAGE])
{
    unsigned char start[12];
    ssize_t got = input_read(input, start, 10, message);
    if (got < 0)
        return false;
    if (got < MAGIC_SIZE || memcmp(start, MAGIC, MAGIC_SIZE) != 0)
        return input_refuse(message, "it does not begin as a .npy file does");
    if (got < 10)
        return input_refuse(message, "it is truncated in its header");
    if (start[6] < 1 || start[6] > 3 || start[7] != 0)
        return input_refuse(message, "it has format version %d.%d: expected 1.0, 2.0 or 3.0", start[6], start[7]);
    *position = 10;
    size_t length = (size_t)start[8] | (size_t)start[9] << 8;
    if (start[6] > 1) {
        if (input_read(input, start + 10, 2, message) != 2)
            return input_refuse(message, "it is truncated in its header");
        *position = 12;
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    }
    if (length > MAX_HEADER)
        return input_refuse(message, "its header has %zu bytes: expected at most %d", length, MAX_HEADER);
    if (input->size >= 0 && (int64_t)length > input->size - *position)
        return input_refuse(message, "it is truncated in its header");
    char *text = malloc(length + 1);
    if (text == NULL)
        return input_refuse(message, "%s", strerror(errno));
    got = input_read(input, text, length, message);
    *position += (int64_t)length;
    bool good = got >= 0 && ((size_t)got == length ? parse_header(text, length, types, header, message)
                                                   : input_refuse(message, "it is truncated in its header"));
    free(text);
    return good;
}

/*
 * The data of an array, and that nothing follows it. What is on the disk was checked before; of all else, such as a
 * pipe, no more is allocated than twice what has come.
 */
static void *read_data(struct input *input, size_t size, char message[NPY_MESSAGE])
{
    size_t capacity = input->stored || size < 65536 ? size : 65536, done = 0;
    char *data = malloc(capacity + 1); /* one more: never 0, and room to see that nothing follows */
    while (data != NULL) {
        ssize_t got = input_read(input, data + done, capacity - done, message);
        if (got < 0)
            goto failed;
        done += (size_t)got;
        if (done < capacity) {
            input_refuse(message, "it is truncated: %zu bytes of data, expected %zu", done, size);
            goto failed;
        }
        if (done == size) {
            got = input_read(input, data + done, 1, message);
            if (got == 0)
                return data;
            if (got > 0)
                input_refuse(message, "it goes on after its %zu bytes of data", size);
            goto failed;
        }
        capacity = capacity < size / 2 ? capacity * 2 : size;
        char *grown = realloc(data, capacity + 1);
        if (grown == NULL)
            free(data);
        data = grown;
    }
    input_refuse(message, "no memory for its %zu bytes of data", size);
    return NULL;
failed:
    free(data);
    return NULL;
}

static void swap_bytes(struct npy *array)
{
    size_t size = npy_type_size(array->type);
    unsigned char *element = array->data;
    for (int64_t i = 0; i < array->count; i++, element += size)
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            unsigned char byte = element[a];
            element[a] = element[b];
            element[b] = byte;
        }
}

/* From Fortran's order to C's: the elements in C order are fetched, the last index running fastest. */
static bool reorder(struct npy *array)
{
    size_t size = npy_type_size(array->type);
    char *ordered = malloc((size_t)array->count * size + 1);
    if (ordered == NULL)
        return false;
    int64_t index[NPY_MAX_RANK] = {0}, stride[NPY_MAX_RANK], from = 0, next = 1;
    for (int d = 0; d < array->rank; d++) {
        stride[d] = next;
        next *= array->shape[d];
    }
    for (int64_t to = 0; to < array->count; to++) {
        memcpy(ordered + (size_t)to * size, (const char *)array->data + (size_t)from * size, size);
        for (int d = array->rank - 1; d >= 0; d--) {
            from += stride[d];
            if (++index[d] < array->shape[d])
                break;
            from -= stride[d] * array->shape[d];
            index[d] = 0;
        }
    }
    free(array->data);
    array->data = ordered;
    return true;
}

static bool read_array(struct input *input, unsigned types, struct npy *array, char message[NPY_MESSAGE])
{
    struct header header = {.swapped = false};
    int64_t position = 0;
    if (!read_header(input, types, &header, &position, message))
        return false;
    int64_t bytes = header.array.count * (int64_t)npy_type_size(header.array.type);
    if (input->size >= 0 && input->size - position < bytes)
        return input_refuse(message, "it is truncated: %lld bytes of data, expected %lld",
                            (long long)(input->size - position), (long long)bytes);
    if (input->size >= 0 && input->size - position > bytes)
        return input_refuse(message, "it goes on after its %lld bytes of data", (long long)bytes);
    header.array.data = read_data(input, (size_t)bytes, message);
    if (header.array.data == NULL)
        return false;
    if (header.swapped)
        swap_bytes(&header.array);
    if (header.fortran && header.array.rank > 1 && !reorder(&header.array)) {
        npy_free(&header.array);
        return input_refuse(message, "no memory for its %lld bytes of data", (long long)bytes);
    }
    *array = header.array;
    return true;
}

bool npy_read(const char *path, unsigned types, struct npy *array, char message[NPY_MESSAGE])
{
    struct input input;
    if (!input_open(path, &input, message))
        return false;
    bool good = read_array(&input, types, array, message);
    input_close(&input);
    return good;
}

void npy_free(struct npy *array)
{
    free(array->data);
    array->data = NULL;
}

/* ---- other types ---- */

/* Element `index` of whole numbers; false where it is beyond int64. */
static bool whole_number(const struct npy *array, int64_t index, int64_t *value)
{
    switch (array->type) {
    case NPY_I8:
        *value = ((const int8_t *)array->data)[index];
        return true;
    case NPY_I16:
        *value = ((const int16_t *)array->data)[index];
        return true;
    case NPY_I32:
        *value = ((const int32_t *)array->data)[index];
        return true;
    case NPY_U8:
        *value = ((const uint8_t *)array->data)[index];
        return true;
    case NPY_U16:
        *value = ((const uint16_t *)array->data)[index];
        return true;
    case NPY_U32:
        *value = ((const uint32_t *)array->data)[index];
        return true;
    default: /* int64, or uint64 below 2^63 */
        *value = ((const int64_t *)array->data)[index];
        return array->type == NPY_I64 || *value >= 0;
    }
}

static bool convert_whole(const struct npy *array, enum npy_type to, void *data, char message[NPY_MESSAGE])
{
    for (int64_t i = 0; i < array->count; i++) {
        int64_t value;
        bool fits = whole_number(array, i, &value);
        if (to == NPY_BOOL)
            ((unsigned char *)data)[i] = value != 0;
        else if (!fits)
            return input_refuse(message, "its element %lld is beyond 2^63", (long long)i);
        else if (to == NPY_I64)
            ((int64_t *)data)[i] = value;
        else if (value < INT32_MIN || value > INT32_MAX)
            return input_refuse(message, "its element %lld is %lld: expected what int32 has", (long long)i,
                                (long long)value);
        else
            ((int32_t *)data)[i] = (int32_t)value;
    }
    return true;
}

static bool convert_double(const struct npy *array, bool saturate, float *data, char message[NPY_MESSAGE])
{
    for (int64_t i = 0; i < array->count; i++) {
        double value = ((const double *)array->data)[i];
        data[i] = (float)value;
        if (!isinf(data[i]) || isinf(value))
            continue;
        if (!saturate)
            return input_refuse(message, "its element %lld is %g: expected what float32 has", (long long)i, value);
        data[i] = value > 0 ? FLT_MAX : -FLT_MAX;
    }
    return true;
}

bool npy_convert(struct npy *array, enum npy_type to, bool saturate, char message[NPY_MESSAGE])
{
    if (array->type == to)
        return true;
    void *data = malloc((size_t)array->count * npy_type_size(to) + 1);
    if (data == NULL)
        return input_refuse(message, "no memory to convert it to %s", npy_type_string(to));
    bool good = array->type == NPY_F64 ? convert_double(array, saturate, data, message)
                                       : convert_whole(array, to, data, message);
    free(good ? array->data : data);
    if (good) {
        array->type = to;
        array->data = data;
    }
    return good;
}

/* ---- writing ---- */

static bool write_fully(int descriptor, const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        size_t part = size - done < MAX_TRANSFER ? size - done : MAX_TRANSFER;
        ssize_t written = write(descriptor, (const char *)data + done, part);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        done += (size_t)written;
    }
    return true;
}

bool npy_write(int descriptor, enum npy_type type, int rank, const int64_t *shape, const void *data)
{
    const struct type_row *row = row_of(type);
    char header[512]; /* at most NPY_MAX_RANK extents of 19 digits, and the words around them */
    int length = snprintf(header, sizeof header, MAGIC "%c%c%c%c{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                          1, 1, 1, 1, row->size == 1 || row->type == NPY_BF16 ? '|' : NATIVE, row->code);
    size_t elements = 1;
    for (int i = 0; i < rank; i++) {
        length += snprintf(header + length, sizeof header - (size_t)length, "%lld%s", (long long)shape[i],
                           i + 1 < rank ? ", "
                           : rank == 1  ? ","
                                        : "");
        elements *= (size_t)shape[i];
    }
    length += snprintf(header + length, sizeof header - (size_t)length, "), }");
    while ((length + 1) % 64 != 0)
        header[length++] = ' ';
    header[length++] = '\n';
    header[7] = 0; /* version 1.0, and the header's length after itself */
    header[8] = (char)((length - 10) & 0xff);
    header[9] = (char)((length - 10) >> 8);
    return write_fully(descriptor, header, (size_t)length) && write_fully(descriptor, data, elements * row->size);
}
