/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the registry is that of the public list; which one is tried first on a device is select/rank.c's
 * business. */
#include "ops/attention/registry.h"

static const struct cla_variant *const variants[] = {
    &cla_attention_flash,    &cla_attention_flash_dot,       &cla_attention_flash_vector,
    &cla_attention_split_kv, &cla_attention_split_kv_vector, &cla_attention_unfused,
};

const struct cla_registry cla_attention_registry = {variants, sizeof variants / sizeof *variants};
