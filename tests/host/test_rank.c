/* SPDX-License-Identifier: Apache-2.0 */
/* The ranking: the order of trying for each device class, and what becomes of variants that it does not know. */
#include "ops/variant.h"
#include "problem/attention.h"
#include "problem/linear.h"
#include "problem/primitive.h"
#include "select/rank.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

enum { MOST = 8 };

static const clattn_device_class classes[] = {CLATTN_DEVICE_CLASS_GPU, CLATTN_DEVICE_CLASS_MOBILE,
                                              CLATTN_DEVICE_CLASS_CPU};

/* `names` in the order of trying for q_len queries, put into `ranked`. */
static void rank_with_dot(const struct cla_operation *operation, clattn_device_class device_class, enum cla_dot dot,
                          int64_t q_len, const char *const *names, size_t count, const char **ranked)
{
    struct cla_problem problem;
    struct cla_device device;
    size_t order[MOST];
    memset(&problem, 0, sizeof problem);
    memset(&device, 0, sizeof device);
    problem.operation = operation;
    problem.q_len = q_len;
    device.info.device_class = device_class;
    device.dot = dot;
    cla_rank(&problem, &device, names, count, order);
    for (size_t i = 0; i < count; i++) {
        assert_true(order[i] < count);
        ranked[i] = names[order[i]];
    }
}

static void rank_queries(const struct cla_operation *operation, clattn_device_class device_class, int64_t q_len,
                         const char *const *names, size_t count, const char **ranked)
{
    rank_with_dot(operation, device_class, CLA_DOT_PLAIN, q_len, names, count, ranked);
}

static void rank(const struct cla_operation *operation, clattn_device_class device_class, const char *const *names,
                 size_t count, const char **ranked)
{
    rank_queries(operation, device_class, 1000, names, count, ranked);
}

static void check(const struct cla_operation *operation, clattn_device_class device_class, const char *const *names,
                  const char *const *expected, size_t count)
{
    const char *ranked[MOST];
    rank(operation, device_class, names, count, ranked);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(ranked[i], expected[i]);
}

static void each_class_has_its_order(void **state)
{
    static const char *const names[] = {"unfused", "flash", "flash_vector"};
    static const char *const on_cpu[] = {"flash_vector", "flash", "unfused"};
    static const char *const on_gpu[] = {"flash", "unfused", "flash_vector"};
    (void)state;
    check(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, names, on_cpu, 3);
    check(&cla_attention_operation, CLATTN_DEVICE_CLASS_GPU, names, on_gpu, 3);
    check(&cla_attention_operation, CLATTN_DEVICE_CLASS_MOBILE, names, on_gpu, 3);
}

static void few_queries_have_a_row_of_their_own(void **state)
{
    static const char *const names[] = {"unfused", "flash_vector", "split_kv_vector"};
    const char *ranked[3];
    (void)state;
    rank_queries(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, 16, names, 3, ranked);
    assert_string_equal(ranked[0], "split_kv_vector");
    assert_string_equal(ranked[1], "flash_vector");
    rank_queries(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, 17, names, 3, ranked);
    assert_string_equal(ranked[0], "flash_vector");
    assert_string_equal(ranked[1], "split_kv_vector");

    static const char *const shared[] = {"unfused", "flash", "split_kv"};
    for (int c = 0; c < 2; c++) { /* GPU and mobile */
        rank_queries(&cla_attention_operation, classes[c], 16, shared, 3, ranked);
        assert_string_equal(ranked[0], "split_kv");
        assert_string_equal(ranked[1], "flash");
        rank_queries(&cla_attention_operation, classes[c], 17, shared, 3, ranked);
        assert_string_equal(ranked[0], "flash");
    }
}

static void dot_products_come_first_where_they_are_an_instruction(void **state)
{
    static const char *const names[] = {"flash_dot", "unfused", "flash_vector"};
    const char *ranked[3];
    (void)state;
    rank_with_dot(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, CLA_DOT_INSTRUCTION, 17, names, 3, ranked);
    assert_string_equal(ranked[0], "flash_dot");
    assert_string_equal(ranked[1], "flash_vector");
    rank_queries(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, 17, names, 3, ranked);
    assert_string_equal(ranked[0], "flash_vector");
    assert_string_equal(ranked[2], "flash_dot");
}

static void unknown_variants_come_last_as_they_come(void **state)
{
    static const char *const names[] = {"later", "flash", "newer", "unfused"};
    static const char *const expected[] = {"flash", "unfused", "later", "newer"};
    (void)state;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        check(&cla_attention_operation, classes[i], names, expected, 4);
}

static void an_operation_without_a_row_keeps_its_order(void **state)
{
    static const char *const names[] = {"unfused", "flash", "softmax"};
    (void)state;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        check(&cla_softmax_operation, classes[i], names, names, 3);
}

static void linear_has_an_order_too(void **state)
{
    static const char *const names[] = {"tiled", "dot", "vector"};
    static const char *const on_cpu[] = {"vector", "tiled", "dot"};
    const char *ranked[3];
    (void)state;
    check(&cla_linear_operation, CLATTN_DEVICE_CLASS_CPU, names, on_cpu, 3);
    check(&cla_linear_operation, CLATTN_DEVICE_CLASS_GPU, names, names, 3);
    check(&cla_linear_operation, CLATTN_DEVICE_CLASS_MOBILE, names, names, 3);
    rank_with_dot(&cla_linear_operation, CLATTN_DEVICE_CLASS_CPU, CLA_DOT_INSTRUCTION, 1, names, 3, ranked);
    assert_string_equal(ranked[0], "dot");
    assert_string_equal(ranked[1], "vector");
    for (size_t i = 0; i < cla_linear_registry.count; i++) { /* each of them is ranked by a name that it has */
        size_t n = 0;
        while (n < 3 && strcmp(cla_linear_registry.variants[i]->name, names[n]) != 0)
            n++;
        assert_true(n < 3);
    }
    assert_int_equal(cla_linear_registry.count, 3);
}

static void what_is_not_there_is_passed_over(void **state)
{
    static const char *const names[] = {"unfused"};
    (void)state;
    check(&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, names, names, 1);
}

/* Of the variants that there are, each comes once, and the one that takes every problem is tried on every class. */
static void the_registry_is_ranked_whole(void **state)
{
    const size_t count = cla_attention_registry.count;
    const char *names[MOST];
    const char *ranked[MOST];
    (void)state;
    assert_in_range(count, 1, MOST);
    for (size_t i = 0; i < count; i++)
        names[i] = cla_attention_registry.variants[i]->name;
    for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
        rank(&cla_attention_operation, classes[c], names, count, ranked);
        for (size_t n = 0; n < count; n++) {
            int times = 0;
            for (size_t i = 0; i < count; i++)
                times += strcmp(ranked[i], names[n]) == 0;
            assert_int_equal(times, 1);
        }
        assert_string_equal(ranked[0], classes[c] == CLATTN_DEVICE_CLASS_CPU ? "flash_vector" : "flash");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_class_has_its_order),
        cmocka_unit_test(few_queries_have_a_row_of_their_own),
        cmocka_unit_test(dot_products_come_first_where_they_are_an_instruction),
        cmocka_unit_test(unknown_variants_come_last_as_they_come),
        cmocka_unit_test(an_operation_without_a_row_keeps_its_order),
        cmocka_unit_test(linear_has_an_order_too),
        cmocka_unit_test(what_is_not_there_is_passed_over),
        cmocka_unit_test(the_registry_is_ranked_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
