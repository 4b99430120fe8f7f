/* SPDX-License-Identifier: Apache-2.0 */
/* A call on host arrays: a plan made, run and given up, and the device's memory for as long. */
#ifndef CLA_API_HOST_H
#define CLA_API_HOST_H

#include "ops/variant.h"

/* The arrays, by the numbers of the operands; those of operands that the problem does not have are not looked at. */
struct cla_host_call {
    const void *input[CLA_MAX_OPERANDS];
    void *output[CLA_MAX_OPERANDS];
    struct cla_dropout dropout;
    bool apart; /* an output may not be an input's array */
};

/*
 * Runs `problem`, whose descriptor named `variant`, on these arrays with its greatest lengths, and waits. `context`
 * NULL: one on the default device is made for the call. Outputs change only on success. Fails as making and running a
 * plan do, and with INVALID_ARGUMENT where an array is missing or outputs share bytes, with INVALID_VALUE by
 * host_check.h.
 */
clattn_status cla_host_run(clattn_context *context, const struct cla_problem *problem,
                           const struct cla_registry *registry, const char *variant, const struct cla_host_call *call,
                           clattn_error *error);

#endif
