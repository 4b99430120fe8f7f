/* SPDX-License-Identifier: Apache-2.0 */
/* Options and arguments that every kernel has. Their names and order are those of cl/lib. */
#include "ops/kernel.h"
#include "util/error.h"

void cla_option(struct cla_text *options, const char *name, int64_t value)
{
    cla_text_add(options, "%s-D %s=%lld", options->length > 0 ? " " : "", name, (long long)value);
}

/* The storage types of types.cl are numbered as clattn_dtype is. */
static int64_t type_of(const struct cla_problem *problem, enum cla_operand operand)
{
    return problem->tensor[operand].present ? (int64_t)problem->tensor[operand].dtype : (int64_t)CLATTN_F32;
}

/* The problem without what a kernel does not use: its options and its arguments follow from what is left. */
static struct cla_problem used_part(const struct cla_problem *problem, unsigned uses)
{
    struct cla_problem used = *problem;
    if (problem->operation == CLA_OP_LINEAR) { /* a product of rows with rows, as scores are */
        used.tensor[CLA_QUERY] = used.tensor[CLA_INPUT];
        used.tensor[CLA_KEY] = used.tensor[CLA_WEIGHT];
        used.tensor[CLA_VALUE] = used.tensor[CLA_BIAS];
    }
    if ((uses & CLA_USES_QUERY_KEY) == 0)
        used.tensor[CLA_QUERY].present = used.tensor[CLA_KEY].present = false;
    if ((uses & CLA_USES_VALUE_OUTPUT) == 0)
        used.tensor[CLA_VALUE].present = used.tensor[CLA_OUTPUT].present = false;
    if ((uses & CLA_USES_PLACES) == 0) {
        used.kv_lengths = used.q_cu_lengths = used.kv_cu_lengths = CLATTN_LENGTHS_NONE;
        used.kv_storage = CLATTN_STORAGE_LINEAR;
    }
    if ((uses & CLA_USES_EXCLUSIONS) == 0) {
        used.band = false;
        used.mask_kind = CLATTN_MASK_NONE;
        used.tensor[CLA_MASK].present = false;
    }
    if ((uses & CLA_USES_BIASES) == 0)
        used.tensor[CLA_ALIBI_SLOPES].present = used.tensor[CLA_RELATIVE_BIAS].present = false;
    if ((uses & CLA_USES_SOFTCAP) == 0)
        used.softcap = 0.0f;
    if ((uses & CLA_USES_SINKS) == 0)
        used.tensor[CLA_SINKS].present = false;
    if (!used.band && !used.tensor[CLA_ALIBI_SLOPES].present && !used.tensor[CLA_RELATIVE_BIAS].present)
        used.alignment = CLATTN_ALIGN_NONE;
    return used;
}

void cla_common_options(struct cla_text *options, const struct cla_problem *problem, unsigned uses,
                        const struct cla_tile *tile, const struct cla_vector_block *vector_block)
{
    static const struct cla_tile smallest_tile = {1, 1, 4, 0};
    static const struct cla_vector_block smallest_block = {4, 1, 1};
    if (tile == NULL)
        tile = &smallest_tile;
    if (vector_block == NULL)
        vector_block = &smallest_block;
    const struct cla_problem used = used_part(problem, uses);
    cla_option(options, "CLA_QUERY_TYPE", type_of(&used, CLA_QUERY));
    cla_option(options, "CLA_KEY_TYPE", type_of(&used, CLA_KEY));
    cla_option(options, "CLA_VALUE_TYPE", type_of(&used, CLA_VALUE));
    cla_option(options, "CLA_OUTPUT_TYPE", type_of(&used, CLA_OUTPUT));
    cla_option(options, "CLA_MASK_TYPE", type_of(&used, CLA_MASK));
    cla_option(options, "CLA_LENGTHS", (int64_t)used.kv_lengths);
    cla_option(options, "CLA_STORAGE", (int64_t)used.kv_storage);
    cla_option(options, "CLA_Q_CU_LENGTHS", (int64_t)used.q_cu_lengths);
    cla_option(options, "CLA_KV_CU_LENGTHS", (int64_t)used.kv_cu_lengths);
    cla_option(options, "CLA_BAND", used.band);
    cla_option(options, "CLA_BOTTOM_RIGHT", used.alignment == CLATTN_ALIGN_BOTTOM_RIGHT);
    cla_option(options, "CLA_MASK", (int64_t)used.mask_kind);
    cla_option(options, "CLA_ALIBI", used.tensor[CLA_ALIBI_SLOPES].present);
    cla_option(options, "CLA_RELATIVE", used.tensor[CLA_RELATIVE_BIAS].present);
    cla_option(options, "CLA_SOFTCAP", used.softcap > 0.0f);
    cla_option(options, "CLA_SINKS", used.tensor[CLA_SINKS].present);
    cla_option(options, "CLA_WIDTH", tile->width);
    cla_option(options, "CLA_HEIGHT", tile->height);
    cla_option(options, "CLA_CHUNK", tile->chunk);
    cla_option(options, "CLA_LANES", vector_block->lanes);
    cla_option(options, "CLA_VECTORS", vector_block->vectors);
    cla_option(options, "CLA_BLOCK", vector_block->block);
}

clattn_status cla_add_tiled_step(clattn_plan *plan, const struct cla_tiled_kernel *kernel, const struct cla_text *extra,
                                 struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                                 clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    clattn_status status =
        cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "no tile of kernel %s fits the device", kernel->name);
    /* Some compilers refuse a tile that is too large for them by failing to build it. */
    for (size_t i = 0; status == CLATTN_ERROR_UNSUPPORTED || status == CLATTN_ERROR_BUILD_FAILED; i++) {
        *tile = cla_tile_for(&plan->context->device, problem, kernel->needs, i);
        if (*tile == NULL)
            break;
        struct cla_text options = {0};
        cla_common_options(&options, problem, kernel->uses, *tile, NULL);
        if (extra != NULL) {
            options.failed = options.failed || extra->failed;
            cla_text_add(&options, " %s", extra->data);
        }
        status = cla_plan_add_step(plan, kernel->file, &options, kernel->name,
                                   (size_t)((*tile)->width * (*tile)->height), step, error);
        cla_text_free(&options);
    }
    if (status != CLATTN_SUCCESS)
        return status;
    (*step)->heads = problem->batch * problem->q_heads;
    (*step)->rows = problem->q_len;
    (*step)->tile_rows = 4 * (*tile)->height;
    if (name != NULL)
        cla_text_add(name, "q%dk%d", 4 * (*tile)->height, 4 * (*tile)->width);
    return CLATTN_SUCCESS;
}

/* An operand that is there only where the kernel's options say so. */
static void optional_operand(struct cla_step *step, const struct cla_problem *used, enum cla_operand operand)
{
    if (used->tensor[operand].present)
        cla_step_operand(step, used, operand);
}

void cla_step_semantics(struct cla_step *step, const struct cla_problem *problem, unsigned uses)
{
    const struct cla_problem used = used_part(problem, uses);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_run_value(step, CLA_ARG_KV_LEN);
    if (used.kv_lengths != CLATTN_LENGTHS_NONE)
        cla_step_operand(step, &used, CLA_KV_LENGTHS);
    if (used.kv_storage == CLATTN_STORAGE_PAGED) {
        cla_step_operand(step, &used, CLA_BLOCK_TABLE);
        cla_step_int2(step, used.page_size, used.num_blocks);
    }
    if (used.q_cu_lengths != CLATTN_LENGTHS_NONE) {
        cla_step_operand(step, &used, CLA_Q_CU_LENGTHS);
        cla_step_run_value(step, CLA_ARG_Q_TOTAL);
    }
    if (used.kv_cu_lengths != CLATTN_LENGTHS_NONE) {
        cla_step_operand(step, &used, CLA_KV_CU_LENGTHS);
        cla_step_run_value(step, CLA_ARG_KV_TOTAL);
    }
    cla_step_float(step, used.scale);
    cla_step_float(step, used.softcap);
    if (used.alignment != CLATTN_ALIGN_NONE) {
        cla_step_run_value(step, CLA_ARG_OFFSET);
        cla_step_long(step, used.left);
        cla_step_long(step, used.right);
    }
    if (used.mask_kind != CLATTN_MASK_NONE) {
        cla_step_operand(step, &used, CLA_MASK);
        cla_step_int2(step, used.tensor[CLA_MASK].stride[3], used.mask_keys);
    }
    optional_operand(step, &used, CLA_ALIBI_SLOPES);
    if (used.tensor[CLA_RELATIVE_BIAS].present) {
        cla_step_operand(step, &used, CLA_RELATIVE_BIAS);
        cla_step_int(step, used.relative_extent);
    }
    optional_operand(step, &used, CLA_SINKS);
}

size_t cla_row_group(const struct cla_device *device, int64_t pieces)
{
    size_t most = device->info.device_class == CLATTN_DEVICE_CLASS_CPU ? 1 : 256;
    size_t size = 1;
    while ((int64_t)size < pieces && 2 * size <= most && 2 * size <= device->info.max_work_group)
        size *= 2;
    return size;
}

int64_t cla_heads_per_kv(const struct cla_problem *problem)
{
    return problem->kv_heads == 0 ? 1 : problem->q_heads / problem->kv_heads;
}

void cla_step_intermediate(struct cla_step *step, const struct cla_problem *problem, const struct cla_intermediate *at)
{
    if (at->in_workspace)
        cla_step_workspace(step, at->batch_stride, at->head_stride, at->row_stride);
    else
        cla_step_operand(step, problem, at->operand);
}
