/* SPDX-License-Identifier: Apache-2.0 */
/* Options that every kernel has, tiles, and arguments. */
#include "ops/kernel.h"
#include "util/error.h"

void cla_option(struct cla_text *options, const char *name, int64_t value)
{
    cla_text_add(options, "%s-D %s=%lld", options->length > 0 ? " " : "", name, (long long)value);
}

void cla_build_options(struct cla_text *options, const struct cla_build *build)
{
    static const struct cla_tile smallest_tile = {1, 1, 4, 0};
    static const struct cla_vector_block smallest_block = {4, 1, 1};
    const struct cla_tile *tile = build->tile != NULL ? build->tile : &smallest_tile;
    const struct cla_vector_block *block = build->vector_block != NULL ? build->vector_block : &smallest_block;
    cla_option(options, "CLA_QUERY_TYPE", (int64_t)build->query); /* types.cl numbers them as clattn_dtype does */
    cla_option(options, "CLA_KEY_TYPE", (int64_t)build->key);
    cla_option(options, "CLA_VALUE_TYPE", (int64_t)build->value);
    cla_option(options, "CLA_OUTPUT_TYPE", (int64_t)build->output);
    cla_option(options, "CLA_MASK_TYPE", (int64_t)build->mask);
    cla_option(options, "CLA_LENGTHS", (int64_t)build->kv_lengths);
    cla_option(options, "CLA_STORAGE", (int64_t)build->kv_storage);
    cla_option(options, "CLA_Q_CU_LENGTHS", (int64_t)build->q_cu_lengths);
    cla_option(options, "CLA_KV_CU_LENGTHS", (int64_t)build->kv_cu_lengths);
    cla_option(options, "CLA_BAND", build->band);
    cla_option(options, "CLA_BOTTOM_RIGHT", build->bottom_right);
    cla_option(options, "CLA_MASK", (int64_t)build->mask_kind);
    cla_option(options, "CLA_ALIBI", build->alibi);
    cla_option(options, "CLA_RELATIVE", build->relative);
    cla_option(options, "CLA_SOFTCAP", build->softcap);
    cla_option(options, "CLA_SINKS", build->sinks);
    cla_option(options, "CLA_DROPOUT", build->dropout);
    cla_option(options, "CLA_WIDTH", tile->width);
    cla_option(options, "CLA_HEIGHT", tile->height);
    cla_option(options, "CLA_CHUNK", tile->chunk);
    cla_option(options, "CLA_LANES", block->lanes);
    cla_option(options, "CLA_VECTORS", block->vectors);
    cla_option(options, "CLA_BLOCK", block->block);
    cla_option(options, "CLA_DOT", (int64_t)build->dot);
}

/* Chunks after which the tiled kernels hold their sums: they are added in order, and errors grow with their number. */
enum { HELD_CHUNKS = 64 };

clattn_status cla_add_tiled_step(clattn_plan *plan, const struct cla_tiled_kernel *kernel,
                                 const struct cla_build *build, int64_t terms, const struct cla_text *extra,
                                 struct cla_text *name, struct cla_step **step, const struct cla_tile **tile,
                                 clattn_error *error)
{
    const struct cla_problem *problem = &plan->problem;
    struct cla_build tiled = *build;
    clattn_status status =
        cla_fail(error, CLATTN_ERROR_UNSUPPORTED, "no tile of kernel %s fits the device", kernel->name);
    /* Some compilers refuse a tile that is too large for them by failing to build it. */
    for (size_t i = 0; status == CLATTN_ERROR_UNSUPPORTED || status == CLATTN_ERROR_BUILD_FAILED; i++) {
        *tile = cla_tile_for(&plan->context->device, problem, kernel->needs, i);
        if (*tile == NULL)
            break;
        struct cla_text options = {0};
        tiled.tile = *tile;
        cla_build_options(&options, &tiled);
        cla_option(&options, "CLA_HELD", terms > HELD_CHUNKS * (*tile)->chunk ? HELD_CHUNKS : 0);
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

size_t cla_row_group(const struct cla_device *device, int64_t pieces)
{
    size_t most = device->info.device_class == CLATTN_DEVICE_CLASS_CPU ? 1 : 256;
    size_t size = 1;
    while ((int64_t)size < pieces && 2 * size <= most && 2 * size <= device->info.max_work_group)
        size *= 2;
    return size;
}

void cla_step_intermediate(struct cla_step *step, const struct cla_problem *problem, const struct cla_intermediate *at)
{
    if (at->in_workspace)
        cla_step_workspace(step, at->batch_stride, at->head_stride, at->row_stride);
    else
        cla_step_operand(step, problem, at->operand);
}
