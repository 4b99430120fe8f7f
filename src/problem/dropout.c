/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of the mask are numbered in the problem's lengths, so that neither a run's nor a kernel's matter. */
#include "problem/dropout.h"
#include "util/philox.h"

uint32_t cla_dropout_threshold(const struct cla_problem *problem)
{
    return (uint32_t)((double)problem->semantics.dropout * 0x1p32 + 0.5); /* below 2^32: a float below 1 */
}

float cla_dropout_scale(const struct cla_problem *problem)
{
    return (float)(1.0 / (1.0 - (double)problem->semantics.dropout));
}

struct cla_dropout_strides cla_dropout_strides(const struct cla_problem *problem)
{
    struct cla_dropout_strides strides = {.query = (uint64_t)problem->kv_len};
    strides.head = strides.query * (uint64_t)problem->q_len;
    strides.batch = strides.head * (uint64_t)problem->q_heads;
    return strides;
}

uint64_t cla_dropout_element(const struct cla_problem *problem, int64_t b, int64_t h, int64_t i)
{
    const struct cla_dropout_strides strides = cla_dropout_strides(problem);
    return (uint64_t)b * strides.batch + (uint64_t)h * strides.head + (uint64_t)i * strides.query;
}

void cla_dropout_mask(const struct cla_problem *problem, const struct cla_dropout *dropout, uint64_t first,
                      int64_t count, unsigned char *kept)
{
    const uint32_t key[2] = {(uint32_t)dropout->seed, (uint32_t)(dropout->seed >> 32)};
    const uint32_t threshold = cla_dropout_threshold(problem);
    uint32_t words[4] = {0};
    for (int64_t n = 0; n < count; n++) {
        const uint64_t element = first + (uint64_t)n;
        const uint64_t block = element & ~(uint64_t)3;
        const uint32_t counter[4] = {(uint32_t)dropout->offset, (uint32_t)(dropout->offset >> 32), (uint32_t)block,
                                     (uint32_t)(block >> 32)};
        if (n == 0 || element == block)
            cla_philox(counter, key, words);
        kept[n] = words[element & 3] >= threshold;
    }
}
