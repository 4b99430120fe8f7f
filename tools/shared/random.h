/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made-up numbers. Element `index` of `stream` is a function of the seed alone: the same on every machine up to the
 * last bit of the C library's log, sin and cos, in any order, and whatever type it is stored in.
 */
#ifndef TOOL_RANDOM_H
#define TOOL_RANDOM_H

#include <stdint.h>

/* Uniform over all 64-bit numbers. */
uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Standard normal. */
double random_normal(uint64_t seed, uint64_t stream, uint64_t index);

#endif
