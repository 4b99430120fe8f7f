/* SPDX-License-Identifier: Apache-2.0 */
/* Options and arguments of cl/lib/load.cl and visible.cl. Their names and order are those of the kernels. */
#include "ops/semantics.h"

/* The problem without what a kernel does not use: its options and its arguments follow from what is left. */
static struct cla_problem used_part(const struct cla_problem *problem, unsigned uses)
{
    static const struct cla_tensor none = {.present = false};
    struct cla_problem used = *problem;
    if ((uses & CLA_USES_QUERY_KEY) == 0)
        used.tensor[CLA_QUERY] = used.tensor[CLA_KEY] = none;
    if ((uses & CLA_USES_VALUE_OUTPUT) == 0)
        used.tensor[CLA_VALUE] = used.tensor[CLA_OUTPUT] = none;
    if ((uses & CLA_USES_PLACES) == 0) {
        used.semantics.kv_lengths = used.semantics.q_cu_lengths = used.semantics.kv_cu_lengths = CLATTN_LENGTHS_NONE;
        used.semantics.kv_storage = CLATTN_STORAGE_LINEAR;
    }
    if ((uses & CLA_USES_EXCLUSIONS) == 0) {
        used.semantics.band = false;
        used.semantics.mask_kind = CLATTN_MASK_NONE;
        used.tensor[CLA_MASK] = none;
    }
    if ((uses & CLA_USES_BIASES) == 0)
        used.tensor[CLA_ALIBI_SLOPES] = used.tensor[CLA_RELATIVE_BIAS] = none;
    if ((uses & CLA_USES_SOFTCAP) == 0)
        used.semantics.softcap = 0.0f;
    if ((uses & CLA_USES_SINKS) == 0)
        used.tensor[CLA_SINKS] = none;
    if ((uses & CLA_USES_DROPOUT) == 0)
        used.semantics.dropout = 0.0f;
    if (!used.semantics.band && !used.tensor[CLA_ALIBI_SLOPES].present && !used.tensor[CLA_RELATIVE_BIAS].present)
        used.semantics.alignment = CLATTN_ALIGN_NONE;
    return used;
}

struct cla_build cla_semantics_build(const struct cla_problem *problem, unsigned uses)
{
    const struct cla_problem used = used_part(problem, uses);
    const struct cla_tensor *tensor = used.tensor;
    const struct cla_semantics *semantics = &used.semantics;
    return (struct cla_build){
        .query = tensor[CLA_QUERY].dtype,
        .key = tensor[CLA_KEY].dtype,
        .value = tensor[CLA_VALUE].dtype,
        .output = tensor[CLA_OUTPUT].dtype,
        .mask = tensor[CLA_MASK].dtype,
        .kv_lengths = semantics->kv_lengths,
        .q_cu_lengths = semantics->q_cu_lengths,
        .kv_cu_lengths = semantics->kv_cu_lengths,
        .kv_storage = semantics->kv_storage,
        .mask_kind = semantics->mask_kind,
        .band = semantics->band,
        .bottom_right = semantics->alignment == CLATTN_ALIGN_BOTTOM_RIGHT,
        .alibi = tensor[CLA_ALIBI_SLOPES].present,
        .relative = tensor[CLA_RELATIVE_BIAS].present,
        .softcap = semantics->softcap > 0.0f,
        .sinks = tensor[CLA_SINKS].present,
        .dropout = semantics->dropout > 0.0f,
    };
}

/* An operand that is there only where the kernel's options say so. */
static void optional_operand(struct cla_step *step, const struct cla_problem *used, int operand)
{
    if (used->tensor[operand].present)
        cla_step_operand(step, used, operand);
}

void cla_step_semantics(struct cla_step *step, const struct cla_problem *problem, unsigned uses)
{
    const struct cla_problem used = used_part(problem, uses);
    cla_step_run_value(step, CLA_ARG_Q_LEN);
    cla_step_run_value(step, CLA_ARG_KV_LEN);
    if (used.semantics.kv_lengths != CLATTN_LENGTHS_NONE)
        cla_step_operand(step, &used, CLA_KV_LENGTHS);
    if (used.semantics.kv_storage == CLATTN_STORAGE_PAGED) {
        cla_step_operand(step, &used, CLA_BLOCK_TABLE);
        cla_step_int2(step, used.semantics.page_size, used.semantics.num_blocks);
    }
    if (used.semantics.q_cu_lengths != CLATTN_LENGTHS_NONE) {
        cla_step_operand(step, &used, CLA_Q_CU_LENGTHS);
        cla_step_run_value(step, CLA_ARG_Q_TOTAL);
    }
    if (used.semantics.kv_cu_lengths != CLATTN_LENGTHS_NONE) {
        cla_step_operand(step, &used, CLA_KV_CU_LENGTHS);
        cla_step_run_value(step, CLA_ARG_KV_TOTAL);
    }
    cla_step_float(step, used.semantics.scale);
    cla_step_float(step, used.semantics.softcap);
    if (used.semantics.alignment != CLATTN_ALIGN_NONE) {
        cla_step_run_value(step, CLA_ARG_OFFSET);
        cla_step_long(step, used.semantics.left);
        cla_step_long(step, used.semantics.right);
    }
    if (used.semantics.mask_kind != CLATTN_MASK_NONE) {
        cla_step_operand(step, &used, CLA_MASK);
        cla_step_int2(step, used.tensor[CLA_MASK].stride[3], used.semantics.mask_keys);
    }
    optional_operand(step, &used, CLA_ALIBI_SLOPES);
    if (used.tensor[CLA_RELATIVE_BIAS].present) {
        cla_step_operand(step, &used, CLA_RELATIVE_BIAS);
        cla_step_int(step, used.semantics.relative_extent);
    }
    optional_operand(step, &used, CLA_SINKS);
    if (used.semantics.dropout > 0.0f)
        cla_step_dropout(step, &used);
}

int64_t cla_heads_per_kv(const struct cla_problem *problem)
{
    return problem->kv_heads == 0 ? 1 : problem->q_heads / problem->kv_heads;
}
