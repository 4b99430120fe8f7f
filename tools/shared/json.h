/* SPDX-License-Identifier: Apache-2.0 */
/* What jansson leaves to its user: texts that may not be UTF-8, numbers that JSON has not, output that is checked. */
#ifndef TOOL_JSON_H
#define TOOL_JSON_H

#include "shared/message.h"
#include <jansson.h>
#include <stdio.h>

/* A string; where `text` is not UTF-8, its bytes beyond ASCII become question marks. */
json_t *json_text(const char *text);

/* A number; null where `known` is false or the number is not finite. */
json_t *json_number(double number, bool known);

/* Writes `object`; false where that fails, or `object` is NULL from lack of memory. */
bool json_write(const json_t *object, FILE *stream);

/* Prints `object` on standard output and releases it. NULL, from lack of memory, is a failure too. */
enum exit_code json_print(json_t *object);

#endif
