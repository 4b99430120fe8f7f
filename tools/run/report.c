/* SPDX-License-Identifier: Apache-2.0 */
/* What a run says of itself: the summary, the JSON object. */
#include "run/run.h"
#include "shared/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The inputs that were float64, with commas between them. */
static void list_rounded(const struct arrays *arrays, char *text, size_t size)
{
    *text = '\0';
    for (enum operand operand = QUERY; operand < NUM_ARRAYS; operand++) {
        size_t length = strlen(text);
        if (arrays->array[operand].read_type == NPY_F64)
            snprintf(text + length, size - length, "%s%s", length > 0 ? ", " : "", operand_names[operand]);
    }
}

void run_summary(const struct request *request, const struct arrays *arrays, const struct report *report)
{
    note("problem   %s", clattn_plan_problem(report->plan));
    note("kernel    %s", clattn_plan_name(report->plan));
    note("device    %s, driver %s", report->device.name, report->device.driver);
    char rounded[256];
    list_rounded(arrays, rounded, sizeof rounded);
    if (*rounded != '\0')
        note("rounded   %s: float64 to float32", rounded);
    if (report->verified && report->verification.compared < report->verification.rows)
        note("verified  %s: largest error %.3g, %.1f %% of the bound (%" PRId64 " of %" PRId64 " rows)",
             report->verification.passed ? "yes" : "NO", report->verification.error, 100 * report->verification.share,
             report->verification.compared, report->verification.rows);
    else if (report->verified)
        note("verified  %s: largest error %.3g, %.1f %% of the bound (all %" PRId64 " rows)",
             report->verification.passed ? "yes" : "NO", report->verification.error, 100 * report->verification.share,
             report->verification.rows);
    if (report->timed)
        note("time      %.4g s, median of %d runs, %.4g GFLOP/s", report->timing.median, report->timing.runs,
             report->gflops);
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        const struct run_output *output = &run_outputs[i];
        const struct array *array = &arrays->array[output->operand];
        if (!requested(request, output->option) || (report->verified && !report->verification.passed))
            continue;
        char shape[128];
        npy_describe(array->file_type, array->rank, array->shape, shape, sizeof shape);
        note("%-8s  %s: %s", output->name, request->values.text[output->option], shape);
    }
    if (requested(request, RUN_HEATMAP) && !(report->verified && !report->verification.passed))
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
    json_object_set_new(object, "tile", json_text(launch_tile(report->plan)));
    json_object_set_new(object, "device", json_text(report->device.name));
    json_object_set_new(object, "driver", json_text(report->device.driver));
    json_object_set_new(object, "dtype", json_text(clattn_dtype_string(arrays->desc.query.dtype)));
    json_object_set_new(object, "shapes", shapes(arrays));
    json_t *rounded = json_array();
    for (enum operand operand = QUERY; operand < NUM_ARRAYS; operand++)
        if (arrays->array[operand].read_type == NPY_F64)
            json_array_append_new(rounded, json_text(operand_names[operand]));
    json_object_set_new(object, "rounded", rounded);
    json_object_set_new(object, "verified", report->verified ? json_boolean(report->verification.passed) : json_null());
    json_object_set_new(object, "error", json_number(report->verification.error, report->verified));
    json_object_set_new(object, "share", json_number(report->verification.share, report->verified));
    json_object_set_new(object, "rows", report->verified ? json_integer(report->verification.compared) : json_null());
    json_object_set_new(object, "seconds", json_number(report->timing.median, report->timed));
    json_object_set_new(object, "runs", report->timed ? json_integer(report->timing.runs) : json_null());
    json_object_set_new(object, "gflops", json_number(report->gflops, report->timed));
    return json_print(object);
}
