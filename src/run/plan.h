/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan: a problem, the strings that explain the choice, and a list of steps, or of plans. A step is one kernel
 * launch: the kernel, how many work-groups follow from the lengths of a run, and where each argument comes from.
 * Whoever adds a step says what is fixed and what a run fills in; the executor knows nothing else, so every operation
 * and every algorithm is the same to it. Every kernel is launched in one dimension: other dimensions of the index space
 * have limits as low as 65 535 groups on some devices.
 */
#ifndef CLA_RUN_PLAN_H
#define CLA_RUN_PLAN_H

#include "ocl/context.h"
#include "problem/dropout.h"
#include "util/text.h"

/* Where a kernel argument comes from. */
enum cla_arg_kind {
    CLA_ARG_BUFFER,       /* the cl_mem of an operand; NULL where the problem has none */
    CLA_ARG_VIEW,         /* long4: element offset of an operand in its buffer, then the strides of three extents */
    CLA_ARG_WORKSPACE,    /* the cl_mem of the workspace */
    CLA_ARG_CONSTANT,     /* the cl_mem of a constant of the plan; NULL where there is none */
    CLA_ARG_PLACE,        /* long4 like a view, of a float tensor in the workspace that holds the step's slice alone */
    CLA_ARG_SLICE,        /* int4: first head, first row and rows of the step's slice */
    CLA_ARG_Q_LEN,        /* int */
    CLA_ARG_KV_LEN,       /* int */
    CLA_ARG_Q_TOTAL,      /* int */
    CLA_ARG_KV_TOTAL,     /* int */
    CLA_ARG_OFFSET,       /* long: position of the first query among the keys */
    CLA_ARG_DROPOUT_KEY,  /* uint4: seed and offset of dropout, low word first */
    CLA_ARG_DROPOUT_VIEW, /* long4 like a view: the number of a weight among those that dropout decides on */
    CLA_ARG_INT,
    CLA_ARG_INT2,
    CLA_ARG_LONG,
    CLA_ARG_FLOAT
};

struct cla_arg {
    enum cla_arg_kind kind;
    int operand;
    union {
        cl_mem constant; /* the plan's */
        cl_long4 view;
        cl_int4 i4;
        cl_uint4 u4;
        cl_int2 i2;
        cl_int i;
        cl_long l;
        cl_float f;
    } value;
};

enum { CLA_MAX_ARGS = 56 };

/*
 * A launch covers a slice of the problem: `heads` pairs of batch and head from `first_head` on, and of each the query
 * rows from `first_row` on, at most `rows`. Work-groups: heads * ceil(rows of this run / tile_rows) * columns, where
 * the rows of `packed_heads` query heads count together if that is not 0, and columns is column_groups, times
 * ceil(kv_len of this run / tile_keys) if tile_keys is not 0. With a tile_rows of 0 the rows do not count.
 */
struct cla_step {
    cl_kernel kernel;
    size_t group_size; /* work-items */
    int64_t first_head;
    int64_t heads;
    int64_t first_row;
    int64_t rows;
    int64_t tile_rows;
    int64_t packed_heads;
    int64_t tile_keys;
    int64_t column_groups;
    unsigned num_args;
    struct cla_arg args[CLA_MAX_ARGS];
};

/* Which length of a run is q_len to a plan within a plan. */
enum cla_part_length {
    CLA_PART_AS_WHOLE, /* both lengths pass */
    CLA_PART_Q_LEN,    /* the other is 0 */
    CLA_PART_KV_LEN
};

/* Where an operand of a plan within a plan comes from. */
struct cla_link {
    bool in_workspace; /* the whole's */
    int operand;       /* of the whole, in which it lies otherwise */
    size_t place;      /* bytes from the start of either */
};

/* A plan within a plan, owned by it and run by nobody else. */
struct cla_part {
    clattn_plan *plan;
    enum cla_part_length length;
    struct cla_link link[CLA_MAX_OPERANDS];
    size_t workspace; /* bytes from the start of the whole's: where the part's own begins */
};

struct clattn_plan {
    clattn_context *context;
    struct cla_problem problem;
    char *problem_string;
    const char *variant; /* static */
    char *name;
    char *description;
    size_t workspace_size;  /* bytes */
    uint64_t fixed_strides; /* a bit an operand: kernels were built for the strides that the problem gives it */
    struct cla_step *steps;
    size_t num_steps;
    cl_mem *constants; /* released with the steps */
    size_t num_constants;
    struct cla_part *parts; /* not NULL: these run one after the other, there are no steps */
    size_t num_parts;
    struct cla_lock lock; /* from the first argument set to the last step enqueued */
};

/* What changes from run to run. */
struct cla_run {
    struct cla_lengths lengths;
    struct cla_dropout dropout;
    clattn_buffer buffer[CLA_MAX_OPERANDS];
    clattn_buffer workspace;
};

/* A plan without steps. */
clattn_status cla_plan_create(clattn_context *context, const struct cla_problem *problem, clattn_plan **plan,
                              clattn_error *error);
void cla_plan_release(clattn_plan *plan); /* accepts NULL */

/* Gives up the steps, the constants and the workspace, for the next variant to start from nothing. */
void cla_plan_clear(clattn_plan *plan);

/*
 * Adds a step with the kernel `kernel_name` of cl/`file`, built with `options` (see cla_context_kernel), and gives it
 * out to be filled in: zero but for kernel and group_size. It stays valid until the next one is added. Fails with
 * UNSUPPORTED where the compiled kernel does not allow `group_size` work-items or needs more local memory than there
 * is, OUT_OF_HOST_MEMORY where `options` could not be collected.
 */
clattn_status cla_plan_add_step(clattn_plan *plan, const char *file, const struct cla_text *options,
                                const char *kernel_name, size_t group_size, struct cla_step **step,
                                clattn_error *error);

/* Adds steps like the first `count` for another slice: the same kernels and arguments. */
clattn_status cla_plan_repeat_steps(clattn_plan *plan, size_t count, int64_t first_head, int64_t heads,
                                    int64_t first_row, int64_t rows, clattn_error *error);

/* Makes a buffer with the `bytes` bytes of `data` that kernels read. It lives as long as the plan's steps. */
clattn_status cla_plan_constant(clattn_plan *plan, size_t bytes, const void *data, cl_mem *constant,
                                clattn_error *error);

/*
 * Adds a part, `made` by and from then on owned by the plan, whose operands are those of the same name until the caller
 * says otherwise. It stays valid until the next one is added. On failure `made` stays the caller's.
 */
clattn_status cla_plan_add_part(clattn_plan *plan, clattn_plan *made, struct cla_part **part, clattn_error *error);

/* Says that kernels of the plan were built for the strides that the problem gives an operand: no run may change them.
 */
void cla_plan_fix_strides(clattn_plan *plan, int operand);

/* Whether they are fixed, by the plan itself or by one of its parts that has the operand. */
bool cla_plan_strides_are_fixed(const clattn_plan *plan, int operand);

/* Append arguments to a step, in the order of the kernel's parameters. */
void cla_step_operand(struct cla_step *step, const struct cla_problem *problem, int operand);
void cla_step_workspace(struct cla_step *step, int64_t batch_stride, int64_t head_stride, int64_t row_stride);
void cla_step_workspace_from(struct cla_step *step, int64_t start, int64_t batch_stride, int64_t head_stride,
                             int64_t row_stride); /* `start`: floats from the beginning of the workspace */
void cla_step_constant(struct cla_step *step, cl_mem constant);
void cla_step_slice(struct cla_step *step);
void cla_step_run_value(struct cla_step *step, enum cla_arg_kind kind);          /* Q_LEN to OFFSET */
void cla_step_dropout(struct cla_step *step, const struct cla_problem *problem); /* all four of philox.cl */
void cla_step_int(struct cla_step *step, int64_t value);
void cla_step_int2(struct cla_step *step, int64_t x, int64_t y);
void cla_step_long(struct cla_step *step, int64_t value);
void cla_step_float(struct cla_step *step, float value);

/*
 * Launches every step once on a private queue with lengths of 0 and no buffers, and waits: drivers that compile at the
 * first launch do it now, and one whose compiler fails there fails here.
 */
clattn_status cla_plan_warm_up(clattn_plan *plan, clattn_error *error);

/* Checks everything about a run, then enqueues it; see clattn_attention_run for what can fail. */
clattn_status cla_plan_run(clattn_plan *plan, cl_command_queue queue, const struct cla_run *run, cl_uint num_events,
                           const cl_event *wait_list, cl_event *event, clattn_error *error);

/*
 * The part of that which looks at lengths and buffers. Enqueues nothing. Takes buffers out of `run` that it does not
 * touch, unchecked as they are, so that they meet no kernel, and leaves in the others' strides what kernels are given.
 */
clattn_status cla_run_check(const clattn_plan *plan, struct cla_run *run, clattn_error *error);

#endif
