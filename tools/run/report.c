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

static void summarise_verification(const struct verification *verification)
{
    char rows[80];
    if (verification->compared < verification->rows)
        snprintf(rows, sizeof rows, "%" PRId64 " of %" PRId64, verification->compared, verification->rows);
    else
        snprintf(rows, sizeof rows, "all %" PRId64, verification->rows);
    note("verified  %s: largest error %.3g, %.1f %% of the bound (%s rows)", verification->passed ? "yes" : "NO",
         verification->error, 100 * verification->share, rows);
}

static void summarise_pass(const struct pass_report *pass)
{
    if (pass->verified)
        summarise_verification(&pass->verification);
    if (pass->timed)
        note("time      %.4g s, median of %d runs, %.4g GFLOP/s", pass->timing.median, pass->timing.runs, pass->gflops);
}

void run_summary(const struct request *request, const struct arrays *arrays, const struct report *report)
{
    const struct pass_report *forward = &report->pass[FORWARD], *backward = &report->pass[BACKWARD];
    note("problem   %s", clattn_plan_problem(forward->plan));
    note("kernel    %s", clattn_plan_name(forward->plan));
    note("device    %s, driver %s", report->device.name, report->device.driver);
    char rounded[256];
    list_rounded(arrays, rounded, sizeof rounded);
    if (*rounded != '\0')
        note("rounded   %s: float64 to float32", rounded);
    summarise_pass(forward);
    if (backward->plan != NULL) {
        note("backward  %s", clattn_plan_problem(backward->plan));
        note("kernel    %s", clattn_plan_name(backward->plan));
        summarise_pass(backward);
    }
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        const struct run_output *output = &run_outputs[i];
        const struct array *array = &arrays->array[output->operand];
        if (!requested(request, output->option) || report_failed(report))
            continue;
        char shape[128];
        npy_describe(array->file_type, array->rank, array->shape, shape, sizeof shape);
        note("%-8s  %s: %s", output->name, request->values.text[output->option], shape);
    }
    if (requested(request, RUN_HEATMAP) && !report_failed(report))
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

/* What is known of a pass, in `object`. */
static void add_pass(json_t *object, const struct pass_report *pass)
{
    const struct verification *verification = &pass->verification;
    json_object_set_new(object, "problem", json_text(clattn_plan_problem(pass->plan)));
    json_object_set_new(object, "variant", json_text(clattn_plan_variant(pass->plan)));
    json_object_set_new(object, "name", json_text(clattn_plan_name(pass->plan)));
    json_object_set_new(object, "tile", json_text(launch_tile(pass->plan)));
    json_object_set_new(object, "verified", pass->verified ? json_boolean(verification->passed) : json_null());
    json_object_set_new(object, "error", json_number(verification->error, pass->verified));
    json_object_set_new(object, "share", json_number(verification->share, pass->verified));
    json_object_set_new(object, "rows", pass->verified ? json_integer(verification->compared) : json_null());
    json_object_set_new(object, "seconds", json_number(pass->timing.median, pass->timed));
    json_object_set_new(object, "runs", pass->timed ? json_integer(pass->timing.runs) : json_null());
    json_object_set_new(object, "gflops", json_number(pass->gflops, pass->timed));
}

enum exit_code run_json(const struct arrays *arrays, const struct report *report)
{
    json_t *object = json_object(), *backward = json_null();
    json_object_set_new(object, "version", json_text(clattn_version_string()));
    json_object_set_new(object, "device", json_text(report->device.name));
    json_object_set_new(object, "driver", json_text(report->device.driver));
    json_object_set_new(object, "dtype", json_text(clattn_dtype_string(arrays->desc.query.dtype)));
    json_object_set_new(object, "shapes", shapes(arrays));
    json_t *rounded = json_array();
    for (enum operand operand = QUERY; operand < NUM_ARRAYS; operand++)
        if (arrays->array[operand].read_type == NPY_F64)
            json_array_append_new(rounded, json_text(operand_names[operand]));
    json_object_set_new(object, "rounded", rounded);
    add_pass(object, &report->pass[FORWARD]);
    if (report->pass[BACKWARD].plan != NULL) {
        backward = json_object();
        add_pass(backward, &report->pass[BACKWARD]);
    }
    json_object_set_new(object, "backward", backward);
    return json_print(object);
}
