/* SPDX-License-Identifier: Apache-2.0 */
/* From a public layout to the tensor that kernels see. */
#ifndef CLA_PROBLEM_LAYOUT_H
#define CLA_PROBLEM_LAYOUT_H

#include "problem/problem.h"

/*
 * Fills problem->tensor[operand] from `layout` over `extent`: dense strides filled in, those of extents of 1 made 0,
 * the span computed. The dtype is checked already. A tensor without elements has strides of 0. Fails with INVALID_VALUE
 * for a negative stride, rows that are not contiguous, a size in bytes that does not fit 63 bits, and, where `written`,
 * strides that put two elements in one place.
 */
clattn_status cla_tensor_resolve(struct cla_problem *problem, enum cla_operand operand, const clattn_layout *layout,
                                 const int64_t extent[4], bool written, clattn_error *error);

#endif
