/* SPDX-License-Identifier: Apache-2.0 */
/* What the entry points of all operations check before anything else. */
#ifndef CLA_API_ENTRY_H
#define CLA_API_ENTRY_H

#include "ops/variant.h"

/* INVALID_ARGUMENT where a pointer is NULL. */
clattn_status cla_check_plan_create(const clattn_context *context, const void *desc, clattn_plan *const *plan,
                                    clattn_error *error);

/*
 * Copies the arguments of a run to `copy`, of `size` bytes. INVALID_ARGUMENT where a pointer is NULL, the plan is
 * another operation's or struct_size is not one of `name`, INVALID_VALUE where a field is set that this version does
 * not know.
 */
clattn_status cla_read_args(const clattn_plan *plan, const struct cla_operation *operation, const void *args,
                            void *copy, size_t size, const char *name, clattn_error *error);

#endif
