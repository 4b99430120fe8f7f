/* SPDX-License-Identifier: Apache-2.0 */
/* Policy: in which order the variants of an operation are tried for a problem on a device. Data, no algorithm. */
#ifndef CLA_SELECT_RANK_H
#define CLA_SELECT_RANK_H

#include "ocl/device.h"
#include "problem/problem.h"

/*
 * Puts the indices 0 to count - 1 of `names` in the order of trying into `order`: first those that the table has for
 * the device's class, then the others as they come.
 */
void cla_rank(const struct cla_problem *problem, const struct cla_device *device, const char *const *names,
              size_t count, size_t *order);

#endif
