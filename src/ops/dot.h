/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a device has an instruction for dot products of pairs in bf16, whether it is right and worth using. */
#ifndef CLA_OPS_DOT_H
#define CLA_OPS_DOT_H

#include "ocl/context.h"

/*
 * Sets device.dot and matrix_unit of the context, the first time that it is asked: INSTRUCTION where the processor has
 * one, a compiled kernel gives known answers by it, and it is so much faster than multiply-adds of floats that it is
 * worth using, which differs between processors that have it; PLAIN elsewhere. The reason is logged. Whoever reads
 * them has called this before, in the same thread. Fails with OUT_OF_HOST_MEMORY where malloc does, to be asked again.
 */
clattn_status cla_dot_find(clattn_context *context, clattn_error *error);

#endif
