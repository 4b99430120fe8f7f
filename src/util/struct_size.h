/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public structs that begin with struct_size and grow: a program may have been compiled with an earlier or a later
 * header than the library. `oldest` is the size that the struct had in the first release, `size` the size it has here.
 */
#ifndef CLA_UTIL_STRUCT_SIZE_H
#define CLA_UTIL_STRUCT_SIZE_H

#include <clattn/base.h>

/*
 * INVALID_ARGUMENT where `given` is NULL or its struct_size is below `oldest` or absurdly large. `name` is what the
 * message calls it, such as "clattn_attention_desc".
 */
clattn_status cla_struct_check(const void *given, size_t oldest, const char *name, clattn_error *error);

/*
 * Checks `given` and copies it to `copy`, of `size` bytes, fields that an earlier header lacks being 0 and struct_size
 * being `size`. INVALID_VALUE where it has a field that is not 0 and unknown here: the program asks for what this
 * version cannot do.
 */
clattn_status cla_struct_read(const void *given, size_t oldest, void *copy, size_t size, const char *name,
                              clattn_error *error);

/* The way back: fills `given`, which was checked, from `filled`, keeping its struct_size; fields unknown here become 0.
 */
void cla_struct_write(void *given, const void *filled, size_t size);

#endif
