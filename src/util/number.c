/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as text. The C library reads and prints floating point with the decimal point of the program's locale, which
 * is not ours to set: reading hands it digits and an exponent only, printing puts the point back.
 */
#include "util/number.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool cla_parse_int64(const char *text, size_t length, int64_t *value)
{
    bool negative = length > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t result = 0;
    if (i == length)
        return false;
    for (; i < length; i++) {
        if (!is_digit(text[i]))
            return false;
        int64_t digit = text[i] - '0';
        if (__builtin_mul_overflow(result, (int64_t)10, &result) ||
            __builtin_add_overflow(result, negative ? -digit : digit, &result))
            return false;
    }
    *value = result;
    return true;
}

bool cla_parse_float(const char *text, size_t length, float *value)
{
    char plain[96]; /* sign, digits, exponent */
    size_t used = 0, digits = 0, fraction = 0, i = 0;
    bool point = false, zero = true;
    int64_t exponent = 0;

    if (length > 60)
        return false;
    if (i < length && (text[i] == '-' || text[i] == '+'))
        plain[used++] = text[i++];
    for (; i < length && (is_digit(text[i]) || (text[i] == '.' && !point)); i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        plain[used++] = text[i];
        digits++;
        fraction += point;
        zero = zero && text[i] == '0';
    }
    if (digits == 0)
        return false;
    if (i < length) {
        if (text[i] != 'e' && text[i] != 'E')
            return false;
        i++;
        if (i < length && text[i] == '+' && i + 1 < length && is_digit(text[i + 1]))
            i++;
        if (!cla_parse_int64(text + i, length - i, &exponent))
            return false;
    }
    /* Past these exponents the result is 0 or infinite for any 60 digits; within them no sum overflows. */
    exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
    snprintf(plain + used, sizeof plain - used, "e%d", (int)(exponent - (int64_t)fraction));
    *value = strtof(plain, NULL);
    return isfinite(*value) && (*value != 0.0f || zero);
}

const char *cla_format_float(char text[CLA_FLOAT_TEXT], float value)
{
    if (value == truncf(value) && fabsf(value) < 1e9f) { /* 50, where %g would say 5e+01; no point to put back */
        snprintf(text, CLA_FLOAT_TEXT, "%.0f", (double)value);
        return text;
    }
    for (int precision = 1; precision <= 9; precision++) { /* 9 digits tell any two floats apart */
        char printed[CLA_FLOAT_TEXT], *to = text;
        bool point = false;
        float back;
        snprintf(printed, sizeof printed, "%.*g", precision, (double)value);
        for (const char *c = printed; *c != 0; c++) {
            if (is_digit(*c) || strchr("+-e", *c) != NULL) {
                *to++ = *c;
            } else if (!point) { /* the locale's decimal point, of one byte or several */
                *to++ = '.';
                point = true;
            }
        }
        *to = 0;
        if (cla_parse_float(text, strlen(text), &back) && back == value)
            break;
    }
    return text;
}
