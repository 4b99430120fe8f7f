/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text, the same in every locale. */
#ifndef CLA_UTIL_NUMBER_H
#define CLA_UTIL_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True where the whole of text[0..length) is a decimal integer, with a minus sign if any, that fits. */
bool cla_parse_int64(const char *text, size_t length, int64_t *value);

/*
 * True where the whole of text[0..length), up to 60 bytes, is a decimal number such as -1.5e3 whose nearest float is
 * finite, and is 0 only if the number is.
 */
bool cla_parse_float(const char *text, size_t length, float *value);

/* The shortest decimal number that cla_parse_float reads back as `value`, which is finite. */
#define CLA_FLOAT_TEXT 32
const char *cla_format_float(char text[CLA_FLOAT_TEXT], float value);

#endif
