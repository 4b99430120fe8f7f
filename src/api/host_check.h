/* SPDX-License-Identifier: Apache-2.0 */
/* What a call on host arrays can check that a run on buffers cannot: the integers among its operands. */
#ifndef CLA_API_HOST_CHECK_H
#define CLA_API_HOST_CHECK_H

#include "problem/attention.h"

/* Element `index` of an operand of integers, of either width. */
int64_t cla_host_integer(const struct cla_problem *problem, int operand, const void *array, int64_t index);

/*
 * Checks lengths, cumulative lengths and block tables of `input`; those that are NULL are not looked at. Fails with
 * INVALID_VALUE for what kernels would clamp, cut or exclude.
 */
clattn_status cla_check_host_integers(const struct cla_problem *problem, const void *const input[CLA_MAX_OPERANDS],
                                      clattn_error *error);

#endif
