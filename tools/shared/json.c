/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers around jansson. */
#include "shared/json.h"
#include <math.h>
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

bool json_write(const json_t *object, FILE *stream)
{
    return object != NULL && json_dumpf(object, stream, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
           putc('\n', stream) != EOF;
}

enum exit_code json_print(json_t *object)
{
    if (object == NULL)
        return fail(EXIT_FAILED, "no memory for the JSON text");
    bool written = json_write(object, stdout);
    json_decref(object);
    if (!written || fflush(stdout) != 0)
        return fail(EXIT_FAILED, "standard output cannot be written");
    return EXIT_DONE;
}
