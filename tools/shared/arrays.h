/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operands of attention as host arrays: read from files or made up on the way in, made ready for files on the way
 * out. In memory they are in the types and strides of the descriptor, which is what both the library and the reference
 * computation take; each also knows the shape and type of its file.
 */
#ifndef TOOL_ARRAYS_H
#define TOOL_ARRAYS_H

#include "shared/message.h"
#include "shared/npy.h"
#include <clattn/backward.h>

/* What the library takes, inputs first; from NUM_OPERANDS on, what files hold besides. */
enum operand {
    QUERY,
    KEY,
    VALUE,
    MASK,
    KV_LENGTHS,
    BLOCK_TABLE,
    Q_CU_LENGTHS,
    KV_CU_LENGTHS,
    SINKS,
    ALIBI_SLOPES,
    RELATIVE_BIAS,
    D_OUTPUT,
    D_LSE,
    OUTPUT,
    LSE,
    SCORES,
    D_QUERY,
    D_KEY,
    D_VALUE,
    D_MASK,
    D_SINKS,
    D_ALIBI_SLOPES,
    D_RELATIVE_BIAS,
    NUM_OPERANDS,
    PAST_KEY = NUM_OPERANDS,
    PAST_VALUE,
    NUM_ARRAYS
};

extern const char *const operand_names[NUM_ARRAYS];

/* How files hold query, key, value and output. */
enum array_form {
    FORM_BHSD,  /* [batch, heads, length, dim] */
    FORM_BSHD,  /* [batch, length, heads, dim] */
    FORM_PACKED /* [batch, length, heads * dim] */
};

struct array {
    enum npy_type file_type; /* of what was read, after what arrays_read makes of it; of what is to be written */
    enum npy_type read_type; /* that the file had; 0 where none was read */
    int rank;                /* as in the file, like the shape */
    int64_t shape[4];
    size_t bytes; /* of data */
    void *data;   /* malloc'ed; NULL: not there, or not yet */
};

struct arrays {
    clattn_attention_desc desc;              /* what the arrays are operands of */
    clattn_attention_backward_desc backward; /* which gradients are wanted, and how they lie; its `attention` is desc
                                                where it is read */
    enum array_form form;                    /* of query and output */
    enum array_form kv_form;                 /* of key and value */
    enum npy_type output_type;               /* of the output's file: F32, F16 or BF16 */
    uint64_t dropout_seed;                   /* of a run, where desc has dropout */
    uint64_t dropout_offset;
    struct array array[NUM_ARRAYS];
};

/* In which type a file's floats are computed with: F16 and BF16 in themselves, others in F32. */
clattn_dtype arrays_dtype(enum npy_type type);

/* Whether the descriptor has such an operand. */
bool arrays_has(const struct arrays *arrays, enum operand operand);

/* Whether any gradient is wanted. */
bool arrays_have_gradients(const struct arrays *arrays);

/* The descriptor of the backward pass, for as long as `arrays` stays where it is. */
clattn_attention_backward_desc arrays_backward(const struct arrays *arrays);

/* From desc and forms: sets types and strides of query, key, value and output, and of what is a gradient of them. */
void arrays_set_strides(struct arrays *arrays);

/* From desc and forms: sets shape, file type and bytes of an operand. EXIT_FAILED where the bytes cannot be counted. */
enum exit_code arrays_set_shape(struct arrays *arrays, enum operand operand);

/* Allocates the data of an operand whose bytes are known. */
enum exit_code arrays_allocate(struct arrays *arrays, enum operand operand);

/*
 * Allocates an input and fills it: normal numbers, half of a boolean mask true, lengths from 1 up, blocks of a pool in
 * no order, the slopes that ALiBi has for so many heads.
 */
enum exit_code arrays_make_up(struct arrays *arrays, enum operand operand, uint64_t seed);

/* Makes up every input that has no data, and allocates every output. */
enum exit_code arrays_fill(struct arrays *arrays, uint64_t seed);

/* What an operand's file may be made of. */
enum array_kind {
    ARRAY_NUMBERS, /* any float; float64 is rounded to float32 */
    ARRAY_MASK,    /* the same, or booleans; whole numbers become booleans, true where they are not 0 */
    ARRAY_WHOLE    /* any whole numbers; they become int64 where int32 may be too small, and int32 otherwise */
};

/*
 * Reads an operand's file, an array with at most four dimensions; all else is EXIT_BAD_FILE. File type, shape and data
 * are then what the kind makes of it.
 */
enum exit_code arrays_read(struct arrays *arrays, enum operand operand, const char *path, enum array_kind kind);

/*
 * Reads query, key and value from one file, [batch, length, 3, heads, dim], as three arrays [batch, length, heads,
 * dim].
 */
enum exit_code arrays_read_packed(struct arrays *arrays, const char *path);

/* Whole numbers that were read become int32. EXIT_BAD_FILE where one is beyond that. */
enum exit_code arrays_narrow(struct arrays *arrays, enum operand operand, const char *path);

/*
 * Key or value, being read, becomes [batch, heads, length, dim] whatever its form, with the rows of `past`, where that
 * has data, before its own. `extent` has batch, heads, length and dim of what was read and gets the new length.
 */
enum exit_code arrays_prepend(struct arrays *arrays, enum operand operand, enum operand past, int64_t extent[4]);

/* Brings floating-point data that was read into the type of the descriptor. */
enum exit_code arrays_convert(struct arrays *arrays, enum operand operand);

/* Element `index` of an operand of whole numbers. */
int64_t arrays_integer(const struct arrays *arrays, enum operand operand, int64_t index);

/* The queries and the keys that batch `batch` has, by lengths and cumulative lengths. */
void arrays_lengths(const struct arrays *arrays, int64_t batch, int64_t *q_len, int64_t *kv_len);

/* The keys that a batch may have so that its mask covers them all, or is to be padded. */
int64_t arrays_covered(const clattn_attention_desc *desc);

/* Writes an operand to the open file of `path`. */
enum exit_code arrays_write(const struct arrays *arrays, enum operand operand, const char *path, int descriptor);

void arrays_free(struct arrays *arrays);

#endif
