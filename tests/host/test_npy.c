/* SPDX-License-Identifier: Apache-2.0 */
/* The tool's reader and writer of .npy files: what NumPy writes is read, whatever else there is is refused. */
#include "../../tools/shared/npy.c"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
/* after those: */
#include <cmocka.h>

#define ALL_TYPES ((unsigned)NPY_BOOL | NPY_INTEGERS | NPY_FLOATS)

static char path[] = "/tmp/clattn-test-npy-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int descriptor = mkstemp(path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void put_file(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A file of version `major`.0 in `bytes`, its data being 1, 2, 3 ... in bytes. Returns its size. */
static size_t compose(unsigned char *bytes, int major, const char *header, size_t data)
{
    size_t length = strlen(header) + 1, start = major == 1 ? 10 : 12;
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)major;
    bytes[7] = 0;
    bytes[8] = (unsigned char)(length & 0xff);
    bytes[9] = (unsigned char)(length >> 8);
    bytes[10] = bytes[11] = 0;
    memcpy(bytes + start, header, length - 1);
    bytes[start + length - 1] = '\n';
    for (size_t i = 0; i < data; i++)
        bytes[start + length + i] = (unsigned char)(i + 1);
    return start + length + data;
}

static void put_composed(int major, const char *header, size_t data)
{
    unsigned char bytes[1024] = {0};
    put_file(bytes, compose(bytes, major, header, data));
}

static void assert_refused(const char *file, unsigned types, const char *expected)
{
    struct npy array = {.rank = 77};
    char message[NPY_MESSAGE] = "";
    if (npy_read(file, types, &array, message) || strstr(message, expected) == NULL)
        fail_msg("expected a refusal with \"%s\", found \"%s\"", expected, message);
    assert_int_equal(array.rank, 77);
    assert_null(array.data);
}

static void test_round_trip(void **state)
{
    (void)state;
    const int64_t shape[NPY_MAX_RANK] = {2, 1, 3, 5, 1, 1, 2, 1};
    unsigned char data[8 * 60];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    for (unsigned type = NPY_BOOL; type <= NPY_F64; type *= 2)
        for (int rank = 0; rank <= NPY_MAX_RANK; rank++) {
            struct npy array;
            struct stat status;
            char message[NPY_MESSAGE];
            int descriptor = open(path, O_WRONLY | O_TRUNC);
            assert_true(npy_write(descriptor, (enum npy_type)type, rank, shape, data));
            close(descriptor);
            assert_true(npy_read(path, (enum npy_type)type, &array, message));
            assert_int_equal(array.type, (enum npy_type)type);
            assert_int_equal(array.rank, rank);
            assert_memory_equal(array.shape, shape, (size_t)rank * sizeof *shape);
            int64_t count = 1;
            for (int i = 0; i < rank; i++)
                count *= shape[i];
            assert_int_equal(array.count, count);
            assert_memory_equal(array.data, data, (size_t)count * npy_type_size((enum npy_type)type));
            assert_int_equal(stat(path, &status), 0);
            assert_int_equal(((size_t)status.st_size - (size_t)count * npy_type_size((enum npy_type)type)) % 64, 0);
            npy_free(&array);
            assert_refused(path, ALL_TYPES & ~type, "its element type is");
        }
}

/* Byte for byte what numpy.save writes for numpy.array([[1, 2]], numpy.float32) on a little-endian machine. */
static void test_same_as_numpy(void **state)
{
    (void)state;
    static const char header[] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
    unsigned char expected[136], found[137];
    memset(expected, ' ', sizeof expected);
    memcpy(expected, header, sizeof header - 1);
    expected[127] = '\n';
    memcpy(expected + 128, "\x00\x00\x80\x3f\x00\x00\x00\x40", 8);
    int descriptor = open(path, O_WRONLY | O_TRUNC);
    assert_true(npy_write(descriptor, NPY_F32, 2, (int64_t[]){1, 2}, (float[]){1, 2}));
    close(descriptor);
    FILE *file = fopen(path, "rb");
    size_t size = fread(found, 1, sizeof found, file);
    fclose(file);
    if (NATIVE == '<') {
        assert_int_equal(size, sizeof expected);
        assert_memory_equal(found, expected, sizeof expected);
    }
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }",
        "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<i4\"}    ",
        "  {'fortran_order' : False , 'shape' : ( 2 , 3 , ) , 'descr' : '<i4' , }\t",
    };
    for (int major = 1; major <= 3; major++)
        for (size_t i = 0; i < 3; i++) {
            struct npy array;
            char message[NPY_MESSAGE];
            put_composed(major, headers[i], 24);
            assert_true(npy_read(path, NPY_I32, &array, message));
            assert_int_equal(array.count, 6);
            assert_int_equal(((int32_t *)array.data)[0], 0x04030201);
            assert_int_equal(((int32_t *)array.data)[5], 0x18171615);
            npy_free(&array);
        }
}

static void test_byte_order(void **state)
{
    (void)state;
    struct npy array;
    char message[NPY_MESSAGE];
    put_composed(1, "{'descr': '>i8', 'fortran_order': False, 'shape': (2,), }", 16);
    assert_true(npy_read(path, NPY_I64, &array, message));
    assert_int_equal(((int64_t *)array.data)[0], INT64_C(0x0102030405060708));
    assert_int_equal(((int64_t *)array.data)[1], INT64_C(0x090a0b0c0d0e0f10));
    npy_free(&array);
}

/* An array of shape (2, 3, 4) whose elements, one byte each, lie in the file with the first index running fastest. */
static void test_fortran_order(void **state)
{
    (void)state;
    struct npy array;
    char message[NPY_MESSAGE];
    put_composed(1, "{'descr': '|b1', 'fortran_order': True, 'shape': (2, 3, 4), }", 24);
    assert_true(npy_read(path, NPY_BOOL, &array, message));
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 3; b++)
            for (int c = 0; c < 4; c++)
                assert_int_equal(((unsigned char *)array.data)[(a * 3 + b) * 4 + c], 1 + a + 2 * b + 6 * c);
    npy_free(&array);
    put_composed(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 0, 4), }", 0);
    assert_true(npy_read(path, NPY_F32, &array, message));
    assert_int_equal(array.count, 0);
    npy_free(&array);
}

static void test_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } rows[] = {
        {"", 0, "not a dictionary"},
        {"{", 0, "not a dictionary"},
        {"{'descr'", 0, "not a dictionary"},
        {"{'descr': '<f4", 0, "no element type"},
        {"{'descr': '<f4' 'shape': (1,)}", 4, "not a dictionary"},
        {"{'descr': '<f4', 'fortran_order': False}", 4, "does not consist of"},
        {"{'descr': '<f4', 'shape': (1,)}", 4, "does not consist of"},
        {"{'fortran_order': False, 'shape': (1,)}", 4, "does not consist of"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, "does not consist of"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "has 'descr' where"},
        {"{'descr': '<f4', 'order': False, 'shape': (1,)}", 4, "has 'order' where"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, "neither True nor False"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "'|O': expected float32"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 8, "'<f8': expected float32"},
        {"{'descr': '|f4', 'fortran_order': False, 'shape': (1,)}", 4, "'|f4': expected float32"},
        {"{'descr': '<f44', 'fortran_order': False, 'shape': (1,)}", 4, "'<f44': expected float32"},
        {"{'descr': '<f4aaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'fortran_order': False, 'shape': (1,)}", 4, "element type"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, "records"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 1}", 4, "no shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", 4, "no shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", 4, "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}", 4, "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", 4, "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,", 4, "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4, "more than 8 dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", 4, "beyond 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4, "beyond 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}", 4, "than any memory"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0, "than any memory"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296)}", 0, "than any memory"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}", 4, "truncated: 4 bytes of data"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 5, "goes on after its 4 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_composed(1 + (int)(i % 3), rows[i].header, rows[i].data);
        assert_refused(path, NPY_F32, rows[i].message);
    }
}

static void test_bad_files(void **state)
{
    (void)state;
    unsigned char bytes[1024] = {0};
    size_t size = compose(bytes, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24);
    for (size_t cut = 0; cut < size; cut++) {
        put_file(bytes, cut);
        assert_refused(path, ALL_TYPES, cut < 6 ? "does not begin" : "truncated");
    }
    bytes[6] = 4;
    put_file(bytes, size);
    assert_refused(path, ALL_TYPES, "format version 4.0");
    bytes[6] = 2;
    memset(bytes + 8, 0xff, 4);
    put_file(bytes, size);
    assert_refused(path, ALL_TYPES, "its header has 4294967295 bytes");
    bytes[6] = 1;
    bytes[5] = 'X';
    put_file(bytes, size);
    assert_refused(path, ALL_TYPES, "does not begin");
    assert_refused("/", ALL_TYPES, "directory");
    assert_refused("/nonexistent", ALL_TYPES, "No such file");
}

/* Any byte of a header changed to any other: refused, or an array whose bytes can be counted. */
static void test_mutations(void **state)
{
    (void)state;
    static const char text[] = "{'descr': '<f2', 'fortran_order': True, 'shape': (2, 1, 12), }\n";
    const size_t size = sizeof text - 1;
    int taken = 0;
    for (size_t at = 0; at < size; at++)
        for (int value = 0; value < 256; value++) {
            struct header header = {.swapped = false};
            char message[NPY_MESSAGE], *copy = malloc(size); /* its end is guarded where a sanitizer looks */
            assert_non_null(copy);
            memcpy(copy, text, size);
            copy[at] = (char)value;
            if (parse_header(copy, size, ALL_TYPES, &header, message)) {
                int64_t count = 1, bytes;
                assert_in_range(header.array.rank, 0, NPY_MAX_RANK);
                for (int i = 0; i < header.array.rank; i++)
                    count *= header.array.shape[i];
                assert_int_equal(header.array.count, count);
                assert_false(__builtin_mul_overflow(count, (int64_t)npy_type_size(header.array.type), &bytes));
                taken++;
            }
            free(copy);
        }
    assert_true(taken > 0); /* such as those that change a digit */
}

/* What has no size is read as far as it goes, and no memory is taken for what a header merely claims. */
static void test_pipe(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        size_t data;
        const char *message; /* NULL: it is read */
    } rows[] = {
        {"(2, 3)", 24, NULL},
        {"(0, 3)", 0, NULL},
        {"(2, 3)", 23, "truncated: 23 bytes of data, expected 24"},
        {"(2, 3)", 25, "goes on after its 24 bytes"},
        {"(1048576, 1048576, 1048576)", 24, "truncated: 24 bytes of data"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char bytes[1024] = {0};
        char header[128], name[32];
        int ends[2];
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s}", rows[i].shape);
        size_t size = compose(bytes, 2, header, rows[i].data);
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], bytes, size), size);
        close(ends[1]);
        snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
        if (rows[i].message != NULL) {
            assert_refused(name, NPY_F32, rows[i].message);
        } else {
            struct npy array;
            char message[NPY_MESSAGE];
            assert_true(npy_read(name, NPY_F32, &array, message));
            assert_int_equal((size_t)array.count * 4, rows[i].data);
            npy_free(&array);
        }
        close(ends[0]);
    }
}

/* More than the reader asks for at first. */
static void test_large_pipe(void **state)
{
    (void)state;
    const int64_t count = 1000003;
    unsigned char *data = malloc((size_t)count);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (unsigned char)(i % 251);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        _exit(npy_write(ends[1], NPY_BOOL, 1, &count, data) ? 0 : 1);
    }
    close(ends[1]);
    char name[32], message[NPY_MESSAGE];
    struct npy array;
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    assert_true(npy_read(name, NPY_BOOL, &array, message));
    close(ends[0]);
    assert_int_equal(array.count, count);
    assert_memory_equal(array.data, data, (size_t)count);
    npy_free(&array);
    free(data);
}

/* Two bytes of no type are bfloat16, in the lower byte first unless the file says otherwise. */
static void test_bfloat16(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint16_t first;
    } rows[] = {
        {"{'descr': '|V2', 'fortran_order': False, 'shape': (2,), }", 0x0201},
        {"{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }", 0x0201},
        {"{'descr': '>V2', 'fortran_order': False, 'shape': (2,), }", 0x0102},
    };
    for (size_t i = 0; i < 3; i++) {
        struct npy array;
        char message[NPY_MESSAGE];
        put_composed(1, rows[i].header, 4);
        assert_true(npy_read(path, NPY_FLOATS, &array, message));
        assert_int_equal(array.type, NPY_BF16);
        assert_int_equal(((uint16_t *)array.data)[0], rows[i].first);
        npy_free(&array);
    }
    put_composed(1, "{'descr': '|V4', 'fortran_order': False, 'shape': (1,), }", 4);
    assert_refused(path, ALL_TYPES, "its element type is '|V4'");
    put_composed(1, "{'descr': '|i2', 'fortran_order': False, 'shape': (1,), }", 2);
    assert_refused(path, ALL_TYPES, "its element type is '|i2'");
}

/* Converts `count` numbers of `type`; returns the data, or NULL where `message` is to be looked at. */
static void *convert(enum npy_type type, const void *numbers, int64_t count, enum npy_type to, bool saturate,
                     char message[NPY_MESSAGE])
{
    struct npy array = {.type = type, .rank = 1, .shape = {count}, .count = count};
    size_t bytes = (size_t)count * npy_type_size(type);
    array.data = malloc(bytes + 1);
    assert_non_null(array.data);
    memcpy(array.data, numbers, bytes);
    if (npy_convert(&array, to, saturate, message)) {
        assert_int_equal(array.type, to);
        return array.data;
    }
    assert_int_equal(array.type, type);
    assert_memory_equal(array.data, numbers, bytes);
    npy_free(&array);
    return NULL;
}

#define ASSERT_CONVERTED(type, numbers, to, saturate, ...)                                                             \
    do {                                                                                                               \
        char message_[NPY_MESSAGE] = "";                                                                               \
        void *found_ = convert(type, numbers, 3, to, saturate, message_);                                              \
        if (found_ == NULL)                                                                                            \
            fail_msg("%s", message_);                                                                                  \
        assert_memory_equal(found_, (__VA_ARGS__), 3 * npy_type_size(to));                                             \
        free(found_);                                                                                                  \
    } while (0)

#define ASSERT_NOT_CONVERTED(type, numbers, to, expected)                                                              \
    do {                                                                                                               \
        char message_[NPY_MESSAGE] = "";                                                                               \
        assert_null(convert(type, numbers, 3, to, false, message_));                                                   \
        assert_non_null(strstr(message_, expected));                                                                   \
    } while (0)

static void test_convert(void **state)
{
    (void)state;
    ASSERT_CONVERTED(NPY_I8, ((int8_t[]){-1, 0, 2}), NPY_I32, false, (int32_t[]){-1, 0, 2});
    ASSERT_CONVERTED(NPY_U8, ((uint8_t[]){255, 0, 2}), NPY_I32, false, (int32_t[]){255, 0, 2});
    ASSERT_CONVERTED(NPY_I16, ((int16_t[]){-7, 0, 2}), NPY_I64, false, (int64_t[]){-7, 0, 2});
    ASSERT_CONVERTED(NPY_U16, ((uint16_t[]){65535, 0, 2}), NPY_I32, false, (int32_t[]){65535, 0, 2});
    ASSERT_CONVERTED(NPY_U32, ((uint32_t[]){4294967295U, 0, 2}), NPY_I64, false, (int64_t[]){4294967295, 0, 2});
    ASSERT_CONVERTED(NPY_U64, ((uint64_t[]){1, 0, 2}), NPY_I64, false, (int64_t[]){1, 0, 2});
    ASSERT_CONVERTED(NPY_I64, ((int64_t[]){-5, 0, 2}), NPY_I32, false, (int32_t[]){-5, 0, 2});
    ASSERT_CONVERTED(NPY_I64, ((int64_t[]){1LL << 40, 0, -1}), NPY_BOOL, false, (unsigned char[]){1, 0, 1});
    ASSERT_CONVERTED(NPY_U64, ((uint64_t[]){1ULL << 63, 0, 256}), NPY_BOOL, false, (unsigned char[]){1, 0, 1});
    ASSERT_CONVERTED(NPY_U8, ((uint8_t[]){255, 0, 2}), NPY_BOOL, false, (unsigned char[]){1, 0, 1});
    ASSERT_CONVERTED(NPY_I32, ((int32_t[]){-256, 0, 2}), NPY_BOOL, false, (unsigned char[]){1, 0, 1});
    ASSERT_CONVERTED(NPY_F64, ((double[]){0.1, -HUGE_VAL, 3e38}), NPY_F32, false, (float[]){0.1f, -INFINITY, 3e38f});
    ASSERT_CONVERTED(NPY_F64, ((double[]){1e300, -1.7e308, -INFINITY}), NPY_F32, true,
                     (float[]){FLT_MAX, -FLT_MAX, -INFINITY});
    ASSERT_NOT_CONVERTED(NPY_U64, ((uint64_t[]){1, 1ULL << 63, 2}), NPY_I64, "its element 1 is beyond 2^63");
    ASSERT_NOT_CONVERTED(NPY_I64, ((int64_t[]){1, 1, 1LL << 31}), NPY_I32, "its element 2 is 2147483648: expected");
    ASSERT_NOT_CONVERTED(NPY_F64, ((double[]){1, 1e39, 2}), NPY_F32, "its element 1 is 1e+39: expected what float32");
}

static void test_write_fails(void **state)
{
    (void)state;
    int descriptor = open("/dev/full", O_WRONLY);
    if (descriptor < 0)
        return; /* not every system has it */
    assert_false(npy_write(descriptor, NPY_BOOL, 1, (int64_t[]){1}, "x"));
    assert_int_equal(errno, ENOSPC);
    close(descriptor);
}

static void test_describe(void **state)
{
    (void)state;
    char text[64];
    assert_int_equal(npy_describe(NPY_F16, 3, (int64_t[]){1, 20, 3}, text, sizeof text), 18);
    assert_string_equal(text, "float16 [1, 20, 3]");
    assert_int_equal(npy_describe(NPY_F16, 3, (int64_t[]){1, 20, 3}, text, 10), 18);
    assert_string_equal(text, "float16 [");
    npy_describe(NPY_BOOL, 0, NULL, text, sizeof text);
    assert_string_equal(text, "bool []");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_same_as_numpy), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_byte_order),    cmocka_unit_test(test_bad_headers),   cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_fortran_order), cmocka_unit_test(test_mutations),     cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_large_pipe),    cmocka_unit_test(test_write_fails),   cmocka_unit_test(test_describe),
        cmocka_unit_test(test_bfloat16),      cmocka_unit_test(test_convert),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
