/* SPDX-License-Identifier: Apache-2.0 */
/* What a run says of itself: the comparison with the reference, the summary, the JSON object. */
#include "compare.h"
#include "json.h"
#include "run.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * Products of one element of key or value that the reference may compute: a few seconds. Beyond, it is rows in equal
 * steps that are compared.
 */
#define MOST_PRODUCTS 2e9

enum exit_code run_verify(const struct request *request, const struct arrays *arrays, struct report *report)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const struct array *array = arrays->array;
    struct oracle_operands operands = {
        .desc = desc,
        .q_len = desc->q_len,
        .kv_len = desc->kv_len,
        .offset = desc->offset,
        .query = array[QUERY].data,
        .key = array[KEY].data,
        .value = array[VALUE].data,
        .mask = array[MASK].data,
        .kv_lengths = array[KV_LENGTHS].data,
        .q_total = desc->q_total,
        .kv_total = desc->kv_total,
        .block_table = array[BLOCK_TABLE].data,
        .q_cu_lengths = array[Q_CU_LENGTHS].data,
        .kv_cu_lengths = array[KV_CU_LENGTHS].data,
        .sinks = array[SINKS].data,
        .alibi_slopes = array[ALIBI_SLOPES].data,
        .relative_bias = array[RELATIVE_BIAS].data,
    };
    int64_t dims = desc->head_dim + (desc->value_dim > 0 ? desc->value_dim : desc->head_dim);
    double products = (double)desc->kv_len * (double)dims;
    report->rows = 0;
    for (int64_t b = 0; b < desc->batch; b++) {
        int64_t queries, keys;
        arrays_lengths(arrays, b, &queries, &keys);
        report->rows += desc->q_heads * queries;
    }
    /* an odd step: lengths are often powers of two, and every position in them should come up */
    int64_t step = (int64_t)((double)report->rows * products / MOST_PRODUCTS);
    step = step < 1 ? 1 : step | 1;
    struct compare_result result = compare_attention(&operands, array[OUTPUT].data, array[LSE].data, array[SCORES].data,
                                                     step, false, request->made_up);
    report->verified = true;
    report->passed = result.passed;
    report->error = result.largest_error;
    report->share = result.worst_share;
    report->rows_compared = result.compared;
    return result.passed ? EXIT_DONE : fail(EXIT_VERIFICATION, "verification failed: %s", result.message);
}

/* A plan's name is algorithm, type, dims and tile; the tile is absent where nothing is to be computed. */
static const char *tile_of(const clattn_plan *plan)
{
    const char *part = clattn_plan_name(plan);
    for (int i = 0; i < 3 && part != NULL; i++)
        part = strchr(part, '/') == NULL ? NULL : strchr(part, '/') + 1;
    return part == NULL ? "" : part;
}

void run_summary(const struct request *request, const struct arrays *arrays, const struct report *report)
{
    note("problem   %s", clattn_plan_problem(report->plan));
    note("kernel    %s", clattn_plan_name(report->plan));
    note("device    %s, driver %s", report->device.name, report->device.driver);
    if (report->verified && report->rows_compared < report->rows)
        note("verified  %s: largest error %.3g, %.1f %% of the bound (%" PRId64 " of %" PRId64 " rows)",
             report->passed ? "yes" : "NO", report->error, 100 * report->share, report->rows_compared, report->rows);
    else if (report->verified)
        note("verified  %s: largest error %.3g, %.1f %% of the bound (all %" PRId64 " rows)",
             report->passed ? "yes" : "NO", report->error, 100 * report->share, report->rows);
    if (report->timed)
        note("time      %.4g s, median of %d runs, %.4g GFLOP/s", report->time.median, report->time.runs,
             report->gflops);
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        const struct run_output *output = &run_outputs[i];
        const struct array *array = &arrays->array[output->operand];
        if (!requested(request, output->option) || (report->verified && !report->passed))
            continue;
        char shape[128];
        npy_describe(array->file_type, array->rank, array->shape, shape, sizeof shape);
        note("%-8s  %s: %s", output->name, request->values.text[output->option], shape);
    }
    if (requested(request, RUN_HEATMAP) && !(report->verified && !report->passed))
        run_heatmap_summary(request, arrays);
}

static json_t *shapes(const struct arrays *arrays)
{
    json_t *object = json_object();
    for (enum operand operand = QUERY; operand < NUM_OPERANDS; operand++) {
        if (!arrays_has(arrays, operand))
            continue;
        json_t *shape = json_array();
        for (int i = 0; i < arrays->array[operand].rank; i++)
            json_array_append_new(shape, json_integer(arrays->array[operand].shape[i]));
        json_object_set_new(object, operand_names[operand], shape);
    }
    return object;
}

enum exit_code run_json(const struct arrays *arrays, const struct report *report)
{
    json_t *object = json_object();
    json_object_set_new(object, "version", json_text(clattn_version_string()));
    json_object_set_new(object, "problem", json_text(clattn_plan_problem(report->plan)));
    json_object_set_new(object, "variant", json_text(clattn_plan_variant(report->plan)));
    json_object_set_new(object, "name", json_text(clattn_plan_name(report->plan)));
    json_object_set_new(object, "tile", json_text(tile_of(report->plan)));
    json_object_set_new(object, "device", json_text(report->device.name));
    json_object_set_new(object, "driver", json_text(report->device.driver));
    json_object_set_new(object, "dtype", json_text(clattn_dtype_string(arrays->desc.query.dtype)));
    json_object_set_new(object, "shapes", shapes(arrays));
    json_object_set_new(object, "verified", report->verified ? json_boolean(report->passed) : json_null());
    json_object_set_new(object, "error", json_number(report->error, report->verified));
    json_object_set_new(object, "share", json_number(report->share, report->verified));
    json_object_set_new(object, "rows", report->verified ? json_integer(report->rows_compared) : json_null());
    json_object_set_new(object, "seconds", json_number(report->time.median, report->timed));
    json_object_set_new(object, "runs", report->timed ? json_integer(report->time.runs) : json_null());
    json_object_set_new(object, "gflops", json_number(report->gflops, report->timed));
    return json_print(object);
}
