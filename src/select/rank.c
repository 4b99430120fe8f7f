/* SPDX-License-Identifier: Apache-2.0 */
/* The ranking table. A row is for one operation and one device class; of several that fit, all
 * variants are tried, the first row's first. */
#include "select/rank.h"
#include "problem/attention.h"
#include "problem/attention_backward.h"
#include "problem/linear.h"
#include "problem/linear_backward.h"
#include <stdbool.h>
#include <string.h>

static const struct {
    const struct cla_operation *operation;
    clattn_device_class device_class;
    int64_t most_queries; /* the row is for problems of at most so many; 0: any number */
    enum cla_dot dot;     /* what a device must have at least */
    const char *best_first[4];
} table[] = {
    /*
     * On a CPU a vector of queries in one work-item beats work-items that share memory, which is only cache there; with
     * twice the products an instruction, all the more.
     */
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, 16, CLA_DOT_NONE, {"split_kv_vector"}},
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_CPU, 0, CLA_DOT_INSTRUCTION, {"flash_dot"}},
    {&cla_attention_operation,
     CLATTN_DEVICE_CLASS_CPU,
     0,
     CLA_DOT_NONE,
     {"flash_vector", "split_kv_vector", "flash", "unfused"}},
    /* Few queries are bound by bandwidth: what reads keys and values once for all heads of a group comes first. */
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_GPU, 16, CLA_DOT_NONE, {"split_kv"}},
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_GPU, 0, CLA_DOT_NONE, {"flash", "unfused"}},
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_MOBILE, 16, CLA_DOT_NONE, {"split_kv"}},
    {&cla_attention_operation, CLATTN_DEVICE_CLASS_MOBILE, 0, CLA_DOT_NONE, {"flash", "unfused"}},
    {&cla_attention_backward_operation, CLATTN_DEVICE_CLASS_CPU, 0, CLA_DOT_NONE, {"vector", "tiled"}},
    {&cla_attention_backward_operation, CLATTN_DEVICE_CLASS_GPU, 0, CLA_DOT_NONE, {"tiled"}},
    {&cla_attention_backward_operation, CLATTN_DEVICE_CLASS_MOBILE, 0, CLA_DOT_NONE, {"tiled"}},
    {&cla_linear_operation, CLATTN_DEVICE_CLASS_CPU, 0, CLA_DOT_INSTRUCTION, {"dot"}},
    {&cla_linear_operation, CLATTN_DEVICE_CLASS_CPU, 0, CLA_DOT_NONE, {"vector", "tiled"}},
    {&cla_linear_operation, CLATTN_DEVICE_CLASS_GPU, 0, CLA_DOT_NONE, {"tiled"}},
    {&cla_linear_operation, CLATTN_DEVICE_CLASS_MOBILE, 0, CLA_DOT_NONE, {"tiled"}},
    {&cla_linear_backward_operation, CLATTN_DEVICE_CLASS_CPU, 0, CLA_DOT_NONE, {"vector", "tiled"}},
    {&cla_linear_backward_operation, CLATTN_DEVICE_CLASS_GPU, 0, CLA_DOT_NONE, {"tiled"}},
    {&cla_linear_backward_operation, CLATTN_DEVICE_CLASS_MOBILE, 0, CLA_DOT_NONE, {"tiled"}},
};

enum { NUM_ROWS = sizeof table / sizeof *table, NUM_RANKED = sizeof table[0].best_first / sizeof *table[0].best_first };

static bool placed(const size_t *order, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (order[i] == index)
            return true;
    }
    return false;
}

void cla_rank(const struct cla_problem *problem, const struct cla_device *device, const char *const *names,
              size_t count, size_t *order)
{
    size_t done = 0;
    for (size_t row = 0; row < NUM_ROWS; row++) {
        if (table[row].operation != problem->operation || table[row].device_class != device->info.device_class ||
            (table[row].most_queries != 0 && problem->q_len > table[row].most_queries) || device->dot < table[row].dot)
            continue;
        for (size_t rank = 0; rank < NUM_RANKED && table[row].best_first[rank] != NULL; rank++) {
            for (size_t i = 0; i < count; i++) {
                if (strcmp(names[i], table[row].best_first[rank]) == 0 && !placed(order, done, i))
                    order[done++] = i;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!placed(order, done, i))
            order[done++] = i;
    }
}
