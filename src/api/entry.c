/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the entry points. */
#include "api/entry.h"
#include "util/error.h"
#include "util/struct_size.h"

clattn_status cla_check_plan_create(const clattn_context *context, const void *desc, clattn_plan *const *plan,
                                    clattn_error *error)
{
    CLA_CHECK(context != NULL, error, "context is NULL");
    CLA_CHECK(desc != NULL, error, "desc is NULL");
    CLA_CHECK(plan != NULL, error, "plan is NULL: expected where to put it");
    return CLATTN_SUCCESS;
}

clattn_status cla_read_args(const clattn_plan *plan, const struct cla_operation *operation, const void *args,
                            void *copy, size_t size, const char *name, clattn_error *error)
{
    CLA_CHECK(plan != NULL, error, "plan is NULL");
    CLA_CHECK(plan->problem.operation == operation, error, "plan is one of %s: expected one of %s",
              plan->problem.operation->name, operation->name);
    return cla_struct_read(args, size, copy, size, name, error);
}
