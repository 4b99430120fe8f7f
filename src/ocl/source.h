/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel files of cl/, embedded by cl/embed.cmake as byte arrays. Files of cl/lib come first, in the order of
 * inclusion. */
#ifndef CLA_OCL_SOURCE_H
#define CLA_OCL_SOURCE_H

#include <stddef.h>

struct cla_source {
    const char *name; /* path below cl/, such as "lib/types.cl" or "flash.cl" */
    const unsigned char *text;
    size_t size; /* bytes, without a final 0 */
};

extern const struct cla_source cla_sources[];
extern const size_t cla_num_sources;

#endif
