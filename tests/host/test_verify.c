/* SPDX-License-Identifier: Apache-2.0 */
/* The tool's --verify where there is no memory for the reference: that is no verdict on the outputs. */
#include "../../tools/shared/verify.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool memory;

void *__wrap_calloc(size_t count, size_t size)
{
    return memory ? __real_calloc(count, size) : NULL;
}

void arrays_lengths(const struct arrays *arrays, int64_t batch, int64_t *q_len, int64_t *kv_len)
{
    (void)batch;
    *q_len = arrays->desc.q_len;
    *kv_len = arrays->desc.kv_len;
}

static void no_memory_is_no_verdict(void **state)
{
    float right[2] = {1, 2}, wrong[2] = {2, 1};
    struct arrays arrays;
    struct verification verification;
    (void)state;
    memset(&arrays, 0, sizeof arrays);
    clattn_attention_desc_init(&arrays.desc);
    assert_int_equal(clattn_attention_desc_parse("b1h1q1k1d2:f32", &arrays.desc, NULL), CLATTN_SUCCESS);
    arrays.array[QUERY].data = arrays.array[KEY].data = arrays.array[VALUE].data = right;
    arrays.array[OUTPUT].data = right;
    memory = true;
    assert_int_equal(verify_outputs(&arrays, false, 1e9, &verification), EXIT_DONE);
    assert_true(verification.passed);
    assert_int_equal(verification.compared, 1);
    arrays.array[OUTPUT].data = wrong;
    assert_int_equal(verify_outputs(&arrays, false, 1e9, &verification), EXIT_DONE);
    assert_false(verification.passed);
    memory = false;
    assert_int_equal(verify_outputs(&arrays, false, 1e9, &verification), EXIT_FAILED);
    memory = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_memory_is_no_verdict)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
