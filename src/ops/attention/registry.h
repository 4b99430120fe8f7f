/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of attention, one file each, and what the flash kernels have in common. */
#ifndef CLA_OPS_ATTENTION_REGISTRY_H
#define CLA_OPS_ATTENTION_REGISTRY_H

#include "ops/variant.h"

extern const struct cla_variant cla_attention_flash;
extern const struct cla_variant cla_attention_flash_vector;
extern const struct cla_variant cla_attention_unfused;

/* Appends CLA_HEAD_DIM, CLA_VALUE_DIM and CLA_LSE. */
void cla_flash_options(struct cla_text *options, const struct cla_problem *problem);

/* The arguments of a flash kernel, which is one launch over the whole problem without columns. */
void cla_flash_args(struct cla_step *step, const struct cla_problem *problem);

#endif
