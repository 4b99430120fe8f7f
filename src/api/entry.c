/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the entry points. */
#include "api/entry.h"
#include "util/error.h"

clattn_status cla_check_plan_create(const clattn_context *context, const void *desc, clattn_plan *const *plan,
                                    clattn_error *error)
{
    CLA_CHECK(context != NULL, error, "context is NULL");
    CLA_CHECK(desc != NULL, error, "desc is NULL");
    CLA_CHECK(plan != NULL, error, "plan is NULL: expected where to put it");
    return CLATTN_SUCCESS;
}

clattn_status cla_check_run(const clattn_plan *plan, enum cla_operation operation, const void *args,
                            size_t expected_size, clattn_error *error)
{
    CLA_CHECK(plan != NULL, error, "plan is NULL");
    CLA_CHECK(args != NULL, error, "args is NULL");
    CLA_CHECK(plan->problem.operation == operation, error, "plan is one of %s: expected one of %s",
              cla_operation_string(plan->problem.operation), cla_operation_string(operation));
    const size_t struct_size = *(const size_t *)args;
    CLA_CHECK(struct_size >= expected_size, error, "args.struct_size is %zu: expected %zu, as set by init", struct_size,
              expected_size);
    return CLATTN_SUCCESS;
}
