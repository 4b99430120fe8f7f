/* SPDX-License-Identifier: Apache-2.0 */
/* What the entry points of all operations check before anything else. */
#ifndef CLA_API_ENTRY_H
#define CLA_API_ENTRY_H

#include "ops/variant.h"

/* INVALID_ARGUMENT where a pointer is NULL. */
clattn_status cla_check_plan_create(const clattn_context *context, const void *desc, clattn_plan *const *plan,
                                    clattn_error *error);

/* INVALID_ARGUMENT where a pointer is NULL, the plan is another operation's or struct_size is too small. */
clattn_status cla_check_run(const clattn_plan *plan, enum cla_operation operation, const void *args,
                            size_t expected_size, clattn_error *error);

#endif
