/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between f32, f16 and bf16 on the host, to nearest, ties to even. */
#ifndef TOOL_CONVERT_H
#define TOOL_CONVERT_H

#include <clattn/base.h>

/* Element `index` of an array of type F32, F16 or BF16. */
float convert_load(clattn_dtype dtype, const void *array, int64_t index);
void convert_store(clattn_dtype dtype, void *array, int64_t index, float value);

/* `count` elements from one array into another that does not overlap it. */
void convert_array(clattn_dtype to_dtype, void *to, clattn_dtype from_dtype, const void *from, int64_t count);

#endif
