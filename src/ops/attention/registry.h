/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of attention, one file each. */
#ifndef CLA_OPS_ATTENTION_REGISTRY_H
#define CLA_OPS_ATTENTION_REGISTRY_H

#include "ops/variant.h"

extern const struct cla_variant cla_attention_flash;
extern const struct cla_variant cla_attention_flash_vector;
extern const struct cla_variant cla_attention_unfused;

#endif
