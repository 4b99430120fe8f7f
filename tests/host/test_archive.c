/* SPDX-License-Identifier: Apache-2.0 */
/* The tool's reader of .npz archives: what NumPy writes is read, what lies is refused before memory is taken for it. */
#include "shared/archive.h"
#include "shared/npy.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
/* after those: */
#include <cmocka.h>

#define FLOATS 1000

static char folder[] = "/tmp/clattn-test-archive-XXXXXX", path[sizeof folder + 8];
static float numbers[FLOATS];

static int make_file(void **state)
{
    (void)state;
    for (int i = 0; i < FLOATS; i++)
        numbers[i] = (float)(i % 7);
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a.npz", folder);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* ---- making archives ---- */

/* What a record of an archive says of a member, right or wrong. */
struct member {
    const char *name;
    bool deflated;
    bool zip64;                        /* sizes and offset are in the extra field alone */
    int method, flags;                 /* 0 and 0: what is right */
    int64_t size, packed, offset, sum; /* -1: what is right */
    int64_t cut;                       /* bytes of the data that are left out at the end */
};

static const struct member right = {.name = "q.npy", .size = -1, .packed = -1, .offset = -1, .sum = -1};

struct bytes {
    unsigned char at[64 * 1024];
    size_t size;
    uint64_t count; /* of a directory: its entries */
};

static void put(struct bytes *bytes, uint64_t value, int count)
{
    for (int i = 0; i < count; i++)
        bytes->at[bytes->size++] = (unsigned char)(i < 8 ? value >> 8 * i : 0);
}

static void put_text(struct bytes *bytes, const void *text, size_t size)
{
    memcpy(bytes->at + bytes->size, text, size);
    bytes->size += size;
}

/* An array of FLOATS numbers as a .npy file. */
static size_t compose(unsigned char data[8192])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_true(npy_write(ends[1], NPY_F32, 1, (int64_t[]){FLOATS}, numbers));
    close(ends[1]);
    ssize_t size = read(ends[0], data, 8192);
    close(ends[0]);
    assert_true(size > FLOATS * 4);
    return (size_t)size;
}

static size_t deflate_raw(const unsigned char *data, size_t size, unsigned char *packed, size_t room)
{
    z_stream stream = {.next_in = (unsigned char *)data, .avail_in = (uInt)size, .next_out = packed};
    stream.avail_out = (uInt)room;
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t written = stream.total_out;
    deflateEnd(&stream);
    return written;
}

/* A member and its entry of the directory. */
static void put_member(struct bytes *file, struct bytes *directory, const struct member *member)
{
    unsigned char data[8192], packed[8192];
    size_t size = compose(data), packed_size = size;
    memcpy(packed, data, size);
    if (member->deflated)
        packed_size = deflate_raw(data, size, packed, sizeof packed);
    uint64_t method = member->method != 0 ? (uint64_t)member->method : member->deflated ? 8 : 0;
    uint64_t sum = member->sum >= 0 ? (uint64_t)member->sum : crc32(0, data, (uInt)size);
    uint64_t values[3] = {member->size >= 0 ? (uint64_t)member->size : size,
                          member->packed >= 0 ? (uint64_t)member->packed : packed_size,
                          member->offset >= 0 ? (uint64_t)member->offset : file->size};
    put_text(file, "PK\3\4\x14\0", 6);
    put(file, (uint64_t)member->flags, 2);
    put(file, method, 2);
    put(file, 0, 4);
    put(file, sum, 4);
    put(file, UINT32_MAX, 4); /* as NumPy has it, which writes zip64 here in any case; nobody reads it */
    put(file, UINT32_MAX, 4);
    put(file, strlen(member->name), 2);
    put(file, 20, 2);
    put_text(file, member->name, strlen(member->name));
    put(file, 1, 2);
    put(file, 16, 2);
    put(file, size, 8);
    put(file, packed_size, 8);
    put_text(file, packed, packed_size - (size_t)member->cut);
    directory->count++;
    put_text(directory, "PK\1\2\x14\0\x14\0", 8);
    put(directory, (uint64_t)member->flags, 2);
    put(directory, method, 2);
    put(directory, 0, 4);
    put(directory, sum, 4);
    put(directory, member->zip64 ? UINT32_MAX : values[1], 4);
    put(directory, member->zip64 ? UINT32_MAX : values[0], 4);
    put(directory, strlen(member->name), 2);
    put(directory, member->zip64 ? 4 + 5 + 4 + 24 : 0, 2);
    put(directory, 0, 2 + 2 + 2 + 4);
    put(directory, member->zip64 ? UINT32_MAX : values[2], 4);
    put_text(directory, member->name, strlen(member->name));
    if (!member->zip64)
        return;
    put(directory, 0x5455, 2); /* another field before it */
    put(directory, 5, 2);
    put(directory, 0, 5);
    put(directory, 1, 2);
    put(directory, 24, 2);
    for (int i = 0; i < 3; i++)
        put(directory, values[i], 8);
}

/* The directory and what is behind it. */
static void put_end(struct bytes *file, const struct bytes *directory, bool zip64)
{
    uint64_t offset = file->size;
    put_text(file, directory->at, directory->size);
    uint64_t end64 = file->size;
    if (zip64) {
        put_text(file, "PK\6\6", 4);
        put(file, 44, 8);
        put(file, 0x2d002d, 4);
        put(file, 0, 4 + 4);
        put(file, directory->count, 8);
        put(file, directory->count, 8);
        put(file, directory->size, 8);
        put(file, offset, 8);
        put_text(file, "PK\6\7", 4);
        put(file, 0, 4);
        put(file, end64, 8);
        put(file, 1, 4);
    }
    put_text(file, "PK\5\6", 4);
    put(file, 0, 2 + 2);
    put(file, directory->count, 2);
    put(file, directory->count, 2);
    put(file, zip64 ? UINT32_MAX : directory->size, 4);
    put(file, zip64 ? UINT32_MAX : offset, 4);
    put(file, 0, 2);
}

static void write_file(const struct bytes *file)
{
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(file->at, 1, file->size, stream), file->size);
    assert_int_equal(fclose(stream), 0);
}

static void make_archive(const struct member *members, int count, bool zip64, struct bytes *file)
{
    struct bytes *directory = calloc(1, sizeof *directory);
    assert_non_null(directory);
    file->size = 0;
    for (int i = 0; i < count; i++)
        put_member(file, directory, &members[i]);
    put_end(file, directory, zip64);
    free(directory);
    write_file(file);
}

/* ---- reading them ---- */

/* `name` NULL: the file without a name. */
static bool read_member(const char *name, char message[NPY_MESSAGE])
{
    char full[64];
    struct npy array = {.rank = 77};
    snprintf(full, sizeof full, "%s%s%s", path, name != NULL ? ":" : "", name != NULL ? name : "");
    *message = '\0';
    bool good = npy_read(full, NPY_F32, &array, message);
    if (good) {
        assert_int_equal(array.count, FLOATS);
        assert_memory_equal(array.data, numbers, sizeof numbers);
        npy_free(&array);
    } else {
        assert_int_equal(array.rank, 77);
        assert_null(array.data);
    }
    return good;
}

static void assert_read(const char *name)
{
    char message[NPY_MESSAGE];
    if (!read_member(name, message))
        fail_msg("%s: %s", name != NULL ? name : "", message);
}

static void assert_refused(const char *name, const char *expected)
{
    char message[NPY_MESSAGE];
    if (read_member(name, message) || strstr(message, expected) == NULL)
        fail_msg("expected a refusal with \"%s\", found \"%s\"", expected, message);
}

static void test_read(void **state)
{
    (void)state;
    static struct bytes file;
    struct member members[3] = {right, right, right};
    members[1].name = "long_name.npy";
    members[1].deflated = true;
    members[2].name = "bare";
    for (int zip64 = 0; zip64 < 2; zip64++) {
        for (int i = 0; i < 3; i++)
            members[i].zip64 = zip64 != 0;
        make_archive(members, 3, zip64 != 0, &file);
        assert_read("q");
        assert_read("q.npy");
        assert_read("long_name");
        assert_read("bare");
        assert_refused("Q", "an archive without Q: expected FILE.npz:NAME, one of q, long_name, bare");
        assert_refused("", "archive without : expected");
        assert_refused(NULL, "it is an archive: expected FILE.npz:NAME, one of q, long_name, bare");
        make_archive(members + 1, 1, zip64 != 0, &file);
        assert_read(NULL);
    }
}

static void test_refused_members(void **state)
{
    (void)state;
    static struct bytes file;
    static const struct {
        struct member member; /* what is not 0 takes the place of what is right; 0 is said by ZERO */
        const char *message;
    } rows[] = {
        {{.flags = 1}, "its member q.npy is encrypted"},
        {{.method = 12}, "is compressed by method 12: expected stored or deflated"},
        {{.size = 4129}, "claims to have 4129 bytes in 4128, which cannot be"},
        {{.size = 4127}, "claims to have 4127 bytes in 4128"},
        {{.packed = 1 << 20}, "claims to have 4128 bytes in 1048576, which cannot be"},
        {{.offset = 1 << 20}, "damaged: Invalid argument"},
        {{.offset = 1}, "damaged: "},
        {{.sum = 1}, "it is damaged: CRC error"},
        {{.zip64 = true, .packed = INT64_MAX}, "which cannot be"},
        {{.zip64 = true, .offset = INT64_MAX}, "damaged: Invalid argument"},
        {{.deflated = true, .size = 1 << 30}, "claims to have 1073741824 bytes in"},
        {{.deflated = true, .zip64 = true, .size = INT64_MAX}, "claims to have 9223372036854775807 bytes in"},
        {{.deflated = true, .size = 5000},
         "goes on after its 4000 bytes of data"}, /* by its size: nothing is inflated */
        {{.deflated = true, .size = 4000}, "is truncated: 3872 bytes of data"},
        {{.deflated = true, .packed = 40}, "it is truncated"},
        {{.deflated = true, .sum = 1}, "it is damaged"},
        {{.deflated = true, .method = 9}, "by method 9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct member member = rows[i].member;
        member.name = right.name;
        member.size = member.size > 0 ? member.size : -1;
        member.packed = member.packed > 0 ? member.packed : -1;
        member.offset = member.offset > 0 ? member.offset : -1;
        member.sum = member.sum > 0 ? member.sum : -1;
        make_archive(&member, 1, member.zip64, &file);
        assert_refused("q", rows[i].message);
    }
    struct member twice[2] = {right, right};
    make_archive(twice, 2, false, &file);
    assert_refused("q", "it has more than one member q");
}

/* What deflates to a header and less than it says, or more, though its directory agrees with the header. */
static void test_lying_stream(void **state)
{
    (void)state;
    static struct bytes file, directory;
    unsigned char data[8192], packed[8192];
    size_t size = compose(data);
    for (int more = -1; more <= 1; more += 2) {
        file.size = directory.size = directory.count = 0;
        struct member member = right;
        member.deflated = true;
        member.size = (int64_t)size;
        put_member(&file, &directory, &member); /* then another stream in its place, no longer than it */
        size_t length = deflate_raw(data, size - (more < 0 ? 2000 : 0), packed, sizeof packed);
        if (more > 0) {
            memset(data + size, 0, 100);
            length = deflate_raw(data, size + 100, packed, sizeof packed);
        }
        file.size = 30 + strlen(member.name) + 20;
        put_text(&file, packed, length);
        for (int i = 0; i < 4; i++)
            directory.at[20 + i] = (unsigned char)(length >> 8 * i);
        put_end(&file, &directory, false);
        write_file(&file);
        assert_refused("q", more > 0 ? "it goes on after the bytes that the directory"
                                     : "it is truncated: expected 2000 bytes more");
    }
}

/* However a file is cut, and whatever single byte of it is changed, it is read as it was or refused. */
static void test_damaged(void **state)
{
    (void)state;
    static struct bytes file, copy;
    char message[NPY_MESSAGE];
    struct member member = right;
    member.deflated = true;
    make_archive(&member, 1, true, &file);
    for (size_t cut = 0; cut < file.size; cut++) {
        copy = file;
        copy.size = cut;
        write_file(&copy);
        assert_false(read_member("q", message));
        assert_true(*message != '\0');
    }
    for (size_t at = 0; at < file.size; at++)
        for (int bit = 0; bit < 8; bit++) {
            copy = file;
            copy.at[at] ^= (unsigned char)(1 << bit);
            write_file(&copy);
            assert_true(read_member("q", message) || *message != '\0');
        }
}

/* More than there is memory: refused before anything is inflated. The file has the bytes, on a disk that makes holes.
 */
static void test_bomb(void **state)
{
    (void)state;
    static struct bytes file, directory;
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), packed = memory / 1000 + 4096;
    struct member member = right;
    file.size = directory.size = directory.count = 0;
    member.deflated = member.zip64 = true;
    member.packed = packed;
    member.size = memory + 8192;
    put_member(&file, &directory, &member);
    size_t front = file.size;
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(file.at, 1, front, stream), front);
    assert_int_equal(fseeko(stream, (off_t)packed, SEEK_CUR), 0);
    file.size = 0;
    put_end(&file, &directory, false);
    for (int i = 0; i < 4; i++) /* the directory's offset is beyond what was put so far */
        file.at[directory.size + 16 + (size_t)i] = (unsigned char)((front + (uint64_t)packed) >> 8 * i);
    assert_int_equal(fwrite(file.at, 1, file.size, stream), file.size);
    assert_int_equal(fclose(stream), 0);
    assert_refused("q", "more than this machine's memory");
}

static void test_no_archive(void **state)
{
    (void)state;
    static struct bytes file;
    static const char npy[] = "\x93NUMPY\x01\x00 an array, by its name an archive";
    file.size = 0;
    put_text(&file, npy, sizeof npy);
    write_file(&file);
    assert_refused("q", "it is no zip archive, or damaged");
    assert_refused(NULL, "it is truncated in its header"); /* read as what it is */
    struct npy array;
    char message[NPY_MESSAGE];
    assert_false(npy_read("/nonexistent.npz:q", NPY_F32, &array, message));
    assert_non_null(strstr(message, "No such file"));
    struct bytes *none = calloc(1, sizeof *none);
    assert_non_null(none);
    file.size = 0;
    put_end(&file, none, false);
    free(none);
    write_file(&file);
    assert_refused("q", "it is an archive without a member");
    assert_refused(NULL, "it is an archive without a member");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),         cmocka_unit_test(test_refused_members),
        cmocka_unit_test(test_lying_stream), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bomb),         cmocka_unit_test(test_no_archive),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
