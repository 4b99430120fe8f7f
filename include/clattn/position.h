/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where tokens stand, told to a model: rotary embedding of queries and keys, sinusoidal encodings, ALiBi's slopes.
 *
 *   rotary       pairs of elements of a head turned by angles that grow with the position (Su et al. 2021, "RoFormer"):
 *                the product of a query and a key then depends on the distance of their positions only
 *   sinusoidal   sines and cosines of the position, to add to a token (Vaswani et al. 2017, "Attention Is All You
 *                Need", section 3.5), in one dimension or over the rows and columns of an image (Carion et al. 2020,
 *                "End-to-End Object Detection with Transformers", as DETR)
 *   slopes       what ALiBi multiplies distances by (Press et al. 2022); attention adds the bias itself
 *
 * Additive relative biases need nothing from here: see relative_extent in attention.h. Plans, runs, buffers, events and
 * errors are as in attention.h, with `length` for q_len.
 *
 * Angles. Position p and pair k of n give the angle p * scale * base^(-k / n), scale being 1 for rotary embedding. It
 * is reduced to one turn exactly, in integers, so far positions lose nothing: the sine and the cosine of each are
 * within 10^-6 of the true ones for all positions of up to 2^31 in size, with scales of up to 1 in size. Beyond, the
 * angle's error grows by 2 * 10^-19 a position. Negative positions turn the other way.
 *
 * Arithmetic is in f32 for every storage type. Conversions round to nearest even, and the same plan on the same inputs
 * gives the same bits every time.
 */
#ifndef CLATTN_POSITION_H
#define CLATTN_POSITION_H

#include <clattn/attention.h>
#include <clattn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rotary embedding ----------------------------------------------------------------------------------------- */

/* Which elements of a head are turned together as pair k, of r = rotary_dim elements. */
typedef enum clattn_rotary_pairs {
    CLATTN_ROTARY_HALVES = 0,     /* k and k + r / 2 (GPT-NeoX, Llama as Hugging Face has it, ONNX's default) */
    CLATTN_ROTARY_INTERLEAVED = 1 /* 2k and 2k + 1 (RoFormer, GPT-J, Llama as published, ONNX's interleaved) */
} clattn_rotary_pairs;

/*
 * output[b,h,i] is input[b,h,i] with each pair (x, y) replaced by (x cos a - y sin a, x sin a + y cos a), and with the
 * elements from rotary_dim on as they are. The angle a is that of pair k at the token's position p, with n =
 * rotary_dim / 2; or its cosine and sine are element k of row p of the tables. A run of queries and one of keys make an
 * attention relative.
 *
 * Each result is within 10^-6 (|x| + |y|) of the true one, plus the rounding to the output's type; with tables within
 * 2^-22 (|x cos a| + |y sin a|), or the other two, for the cosines and sines that are given.
 *
 * An extent of 0 in batch, heads or length is allowed and makes a run do nothing.
 */
typedef struct clattn_rotary_desc {
    size_t struct_size;
    int64_t batch;
    int64_t heads; /* query heads, key/value heads, or the sum of both where they are neighbours; heads * head_dim is at
                      most 2^31 - 1 */
    int64_t length;     /* the most tokens of any run */
    int64_t head_dim;   /* 1 or more */
    int64_t rotary_dim; /* how many elements are turned, from the first on: even, up to head_dim. 0: head_dim */
    clattn_rotary_pairs pairs;
    double base; /* 0: 10000. 1 to 10^30. Not read with tables */
    int tables;  /* not 0: a run brings cosines and sines, dense [table_batch, table_length, rotary_dim / 2]; 0: they
                    are computed */
    clattn_dtype table;       /* of both tables: F32, F16 or BF16 */
    int64_t table_batch;      /* 1 or 0: one table for the whole batch; `batch`: a table each */
    int64_t table_length;     /* rows of a table, 1 or more; a position is the number of a row */
    clattn_lengths positions; /* not NONE: a run brings a position for each token, integers of this type, dense
                                 [batch, length] with the plan's length. Any number will do; with tables those below 0
                                 are taken as 0, those past the table as its last row. NONE: token i of every batch
                                 stands at position offset + i. Packed sequences are one batch with positions */
    clattn_layout input;      /* dtypes F32, F16 or BF16, each its own, over [batch, heads, length, head_dim] */
    clattn_layout output;     /* the same; the two may be one buffer if offset, strides and type are the same */
    int backward; /* not 0: every pair is turned the other way, (x cos a + y sin a, y cos a - x sin a), and all else is
                     the same. That makes the gradient by the input out of the gradient by the output, which are then
                     what the names input and output stand for; without tables it also undoes the turn */
} clattn_rotary_desc;

typedef struct clattn_rotary_args {
    size_t struct_size;
    int64_t length; /* at most the plan's; 0: none */
    int64_t offset; /* the position of the first token, up to 2^39 in size; with tables offset + length is at most
                       table_length. Read where the plan has no positions */
    clattn_buffer input;
    clattn_buffer output;
    clattn_buffer cos;
    clattn_buffer sin;
    clattn_buffer positions;
} clattn_rotary_args;

static inline void clattn_rotary_desc_init(clattn_rotary_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the length to the plan's, 0 where that is NULL, and the offset to 0. */
static inline void clattn_rotary_args_init(clattn_rotary_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->length, CLATTN_NULL, CLATTN_NULL);
}

/*
 * Fails as clattn_attention_plan_create does; INVALID_VALUE for sizes out of range, a rotary_dim (or the head_dim that
 * it stands for) that is odd or above head_dim, a base out of its range, a table_batch that is none of the
 * above, an unknown enum, and layouts that are not what base.h says.
 */
CLATTN_API clattn_status clattn_rotary_plan_create(clattn_context *context, const clattn_rotary_desc *desc,
                                                   clattn_plan **plan, clattn_error *error);

/*
 * Fails as clattn_attention_run does; INVALID_VALUE for a length outside the plan's or an offset outside its range;
 * INVALID_BUFFER where input and output share bytes in any other way than in place.
 */
CLATTN_API clattn_status clattn_rotary_run(clattn_plan *plan, cl_command_queue queue, const clattn_rotary_args *args,
                                           cl_uint num_events, const cl_event *wait_list, cl_event *event,
                                           clattn_error *error);

/* ---- sinusoidal encoding -------------------------------------------------------------------------------------- */

/*
 * output[b,i] is the encoding of token i's position, or input[b,i] and the encoding added up. The encoding is `width`
 * wide, and each pair k of n has the sine of its angle in element 2k and the cosine in element 2k + 1:
 *
 *   one dimension    n = width / 2, at the token's position, times row_scale
 *   two dimensions   n = width / 4. The first half of the width encodes the row i / columns + offset, times row_scale,
 *                    the second half the column i % columns + offset, times column_scale: y before x, as in DETR
 *
 * DETR's normalised form, in which positions count from 1 and run up to 2 pi whatever the image's size, is an offset of
 * 1, a row_scale of 2 pi / rows and a column_scale of 2 pi / columns. (DETR adds 10^-6 to these divisors.)
 *
 * Sines and cosines are within 10^-6 of the true ones; then they are rounded to the output's type or added in f32.
 *
 * An extent of 0 in batch or length is allowed and makes a run do nothing.
 */
typedef struct clattn_sinusoidal_desc {
    size_t struct_size;
    int64_t batch;
    int64_t length;           /* the most tokens of any run; with columns it is rows * columns */
    int64_t width;            /* divisible by 2, in two dimensions by 4 */
    double base;              /* 0: 10000. 1 to 10^30 */
    int64_t rows;             /* of the image; 0 in one dimension */
    int64_t columns;          /* of the image, whose tokens come row by row; 0: one dimension */
    double row_scale;         /* positions or rows are multiplied by it. 0: 1, unless scales_set. Finite */
    double column_scale;      /* columns are multiplied by it, in the same way. Finite; not read in one dimension */
    int scales_set;           /* not 0: both are what they say, 0 too, with which a position counts for nothing */
    int add;                  /* not 0: a run brings an input, to which the encoding is added */
    clattn_lengths positions; /* one dimension only, as in clattn_rotary_desc: [batch, length]. NONE: token i of every
                                 batch stands at position offset + i */
    clattn_layout input;      /* dtypes F32, F16 or BF16, each its own, over [batch, 1, length, width]; read with add */
    clattn_layout output;     /* the same; the two may be one buffer if offset, strides and type are the same */
} clattn_sinusoidal_desc;

typedef struct clattn_sinusoidal_args {
    size_t struct_size;
    int64_t length; /* at most the plan's, 0: none; in two dimensions the first tokens of the image */
    int64_t offset; /* the position of the first token, in two dimensions the first row and the first column, up to 2^39
                       in size. Read where the plan has no positions */
    clattn_buffer input;
    clattn_buffer output;
    clattn_buffer positions;
} clattn_sinusoidal_args;

static inline void clattn_sinusoidal_desc_init(clattn_sinusoidal_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* Sets the length to the plan's, 0 where that is NULL, and the offset to 0. */
static inline void clattn_sinusoidal_args_init(clattn_sinusoidal_args *args, const clattn_plan *plan)
{
    memset(args, 0, sizeof *args);
    args->struct_size = sizeof *args;
    clattn_plan_lengths(plan, &args->length, CLATTN_NULL, CLATTN_NULL);
}

/*
 * Fails as clattn_attention_plan_create does; INVALID_VALUE for sizes out of range, a width that is not divisible as it
 * must be, a length that is not rows * columns, rows without columns, a base out of its range, a scale
 * that is not finite, positions in two dimensions, an unknown enum, and layouts that are not what base.h says.
 */
CLATTN_API clattn_status clattn_sinusoidal_plan_create(clattn_context *context, const clattn_sinusoidal_desc *desc,
                                                       clattn_plan **plan, clattn_error *error);

/* Fails as clattn_rotary_run does. */
CLATTN_API clattn_status clattn_sinusoidal_run(clattn_plan *plan, cl_command_queue queue,
                                               const clattn_sinusoidal_args *args, cl_uint num_events,
                                               const cl_event *wait_list, cl_event *event, clattn_error *error);

/* ---- ALiBi ---------------------------------------------------------------------------------------------------- */

/*
 * Writes the slopes of ALiBi for `heads` heads to `slopes`, the numbers that attention takes as alibi_slopes: for a
 * power of two 2^(-8 (h + 1) / heads), for other numbers those of the power of two below, and after them the first,
 * third, fifth, ... of the power of two above, as the authors do it. Head 0 has the steepest. Each is the float nearest
 * to the true value, but for one unit in its last place.
 *
 *   INVALID_ARGUMENT   `slopes` is NULL and heads is not 0
 *   INVALID_VALUE      heads is negative or above 2^31 - 1
 */
CLATTN_API clattn_status clattn_alibi_slopes(int64_t heads, float *slopes, clattn_error *error);

#ifdef __cplusplus
}
#endif

#endif
