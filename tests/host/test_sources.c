/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded kernel files: each once, those of cl/lib first, every byte as in the file. */
#include "ocl/source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

/* CL_FOLDER is the folder cl/ of the tree, given by the build. */

static void library_files_come_first(void **state)
{
    bool in_library = true;
    (void)state;
    assert_true(cla_num_sources > 1);
    assert_string_equal(cla_sources[0].name, "lib/types.cl"); /* every other file uses it */
    for (size_t i = 0; i < cla_num_sources; i++) {
        bool of_library = strncmp(cla_sources[i].name, "lib/", 4) == 0;
        assert_true(in_library || !of_library);
        in_library = of_library;
    }
    assert_false(in_library);
}

static void each_file_is_there_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < cla_num_sources; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(cla_sources[i].name, cla_sources[j].name);
}

static void bytes_are_those_of_the_file(void **state)
{
    static unsigned char bytes[1 << 20];
    char path[4096];
    (void)state;
    for (size_t i = 0; i < cla_num_sources; i++) {
        const struct cla_source *source = &cla_sources[i];
        snprintf(path, sizeof path, "%s/%s", CL_FOLDER, source->name);
        FILE *file = fopen(path, "rb");
        if (file == NULL)
            fail_msg("cannot open %s", path);
        assert_int_equal(fread(bytes, 1, sizeof bytes, file), source->size);
        fclose(file);
        assert_memory_equal(bytes, source->text, source->size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_files_come_first),
        cmocka_unit_test(each_file_is_there_once),
        cmocka_unit_test(bytes_are_those_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
