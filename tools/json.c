/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers around jansson. */
#include "json.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    if (string != NULL)
        return string;
    char ascii[512];
    size_t length = 0;
    for (; text[length] != '\0' && length + 1 < sizeof ascii; length++)
        ascii[length] = text[length];
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)ascii[i] >= 0x80)
            ascii[i] = '?';
    return json_stringn(ascii, length);
}

json_t *json_number(double number, bool known)
{
    return known && isfinite(number) ? json_real(number) : json_null();
}

enum exit_code json_print(json_t *object)
{
    if (object == NULL)
        return fail(EXIT_FAILED, "no memory for the JSON text");
    int result = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(object);
    if (result != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
        return fail(EXIT_FAILED, "standard output cannot be written");
    return EXIT_DONE;
}
