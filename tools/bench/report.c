/* SPDX-License-Identifier: Apache-2.0 */
/* The report of `clattn bench`: the table for people, as text and in Markdown, and the objects for machines. */
#include "bench/bench.h"
#include <libsmartcols.h>
#include <string.h>

/* ---- what follows from a measurement; 0 where there is none ---- */

static double rate(double amount, const struct bench_result *result)
{
    return result->timing.median > 0 ? amount / result->timing.median * 1e-9 : 0;
}

static double fma_share(const struct bench_report *report, const struct bench_result *result)
{
    return report->has_roofline ? rate(result->work.flop, result) / result->beside.fma_gflops : 0;
}

/*
 * The floor: multiply-adds, or bytes at the speed of reading, whichever takes longer, and one launch. Exponentials take
 * some ten instructions a pair of query and key, in the same pipe as the head_dim + value_dim multiply-adds, and never
 * bound a problem by themselves.
 */
static double floor_share(const struct bench_report *report, const struct bench_result *result)
{
    const struct roofline *beside = &result->beside;
    if (!report->has_roofline || result->timing.runs == 0)
        return 0;
    double arithmetic = result->work.flop / beside->fma_gflops * 1e-9;
    double memory = result->work.bytes / beside->read_gbs * 1e-9;
    double launch = *result->tile != '\0' ? beside->launch_us * 1e-6 : 0; /* none where nothing is computed */
    double floor = (arithmetic > memory ? arithmetic : memory) + launch;
    return floor / result->timing.median;
}

/* ---- the table ---- */

#define CELL 96

static void put_seconds(double seconds, char cell[CELL])
{
    if (seconds >= 1)
        snprintf(cell, CELL, "%.4g s", seconds);
    else if (seconds >= 1e-3)
        snprintf(cell, CELL, "%.4g ms", seconds * 1e3);
    else
        snprintf(cell, CELL, "%.4g us", seconds * 1e6);
}

static void put_bytes(size_t bytes, char cell[CELL])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        number /= 1024;
        unit++;
    }
    snprintf(cell, CELL, "%.4g %s", number, units[unit]);
}

enum column {
    PROBLEM,
    KERNEL,
    TILE,
    VERIFIED,
    MEDIAN,
    LEAST,
    SPREAD,
    GFLOPS,
    GBS,
    FMA,
    FLOOR,
    EXTRA,
    FIRST,
    CHANGE,
    NUM_COLUMNS
};

static const struct {
    const char *name;
    bool right;
    bool timed; /* empty where nothing was timed */
} columns[NUM_COLUMNS] = {
    [PROBLEM] = {"PROBLEM", false, false}, [KERNEL] = {"KERNEL", false, false},
    [TILE] = {"TILE", false, false},       [VERIFIED] = {"VERIFIED", false, false},
    [MEDIAN] = {"MEDIAN", true, true},     [LEAST] = {"MIN", true, true},
    [SPREAD] = {"SPREAD", true, true},     [GFLOPS] = {"GFLOP/s", true, true},
    [GBS] = {"GB/s", true, true},          [FMA] = {"FMA", true, true},
    [FLOOR] = {"FLOOR", true, true},       [EXTRA] = {"EXTRA", true, false},
    [FIRST] = {"FIRST", true, false},      [CHANGE] = {"CHANGE", true, true},
};

static bool shown(const struct bench_report *report, enum column column)
{
    return column == CHANGE ? report->has_baseline : column == FMA || column == FLOOR ? report->has_roofline : true;
}

static void put_cell(const struct bench_report *report, const struct bench_result *result, enum column column,
                     char cell[CELL])
{
    *cell = '\0';
    if (columns[column].timed && result->timing.runs == 0)
        return;
    switch (column) {
    case TILE:
        snprintf(cell, CELL, "%s", result->tile);
        break;
    case KERNEL:
        snprintf(cell, CELL, "%s", result->kernel);
        break;
    case VERIFIED:
        snprintf(cell, CELL, "%s", result->verified ? "yes" : "NO");
        break;
    case MEDIAN:
        put_seconds(result->timing.median, cell);
        break;
    case LEAST:
        put_seconds(result->timing.least, cell);
        break;
    case SPREAD:
        snprintf(cell, CELL, "%.1f %%", 100 * result->timing.spread);
        break;
    case GFLOPS:
        snprintf(cell, CELL, "%.4g", rate(result->work.flop, result));
        break;
    case GBS:
        snprintf(cell, CELL, "%.4g", rate(result->work.bytes, result));
        break;
    case FMA:
        snprintf(cell, CELL, "%.1f %%", 100 * fma_share(report, result));
        break;
    case FLOOR:
        snprintf(cell, CELL, "%.1f %%", 100 * floor_share(report, result));
        break;
    case EXTRA:
        put_bytes(result->extra_bytes, cell);
        break;
    case FIRST:
        put_seconds(result->first_call, cell);
        break;
    case CHANGE:
        if (result->baseline > 0)
            snprintf(cell, CELL, "%+.1f %%", 100 * (result->timing.median / result->baseline - 1));
        break;
    default:
        break;
    }
}

/* The problem, which may be longer than any other cell, or the cell. */
static const char *text_of(const struct bench_report *report, const struct bench_result *result, enum column column,
                           char cell[CELL])
{
    if (column == PROBLEM)
        return result->problem;
    put_cell(report, result, column, cell);
    return cell;
}

/* Devices with matrix units have thousands of GFLOP/s. */
static void put_peak(const char *name, double gflops, FILE *stream)
{
    const bool large = gflops >= 1e4;
    fprintf(stream, "%s %.4g %s, ", name, large ? gflops * 1e-3 : gflops, large ? "TFLOP/s" : "GFLOP/s");
}

/* What holds for all results, a line each, `end` being the end of a line. */
static void print_head(const struct bench_report *report, const char *end, FILE *stream)
{
    const struct roofline *roofline = &report->roofline;
    fprintf(stream, "device    %s, driver %s, clattn %s%s\n", report->device.name, report->device.driver,
            clattn_version_string(), report->has_roofline ? end : "");
    if (report->has_roofline) {
        put_peak("roofline  FMA", roofline->fma_gflops, stream);
        if (roofline->matrix_gflops > 0)
            put_peak("matrix unit", roofline->matrix_gflops, stream);
        fprintf(stream, "read %.4g GB/s, copy %.4g GB/s, launch %.3g us\n", roofline->read_gbs, roofline->copy_gbs,
                roofline->launch_us);
    }
    fprintf(stream, "\n");
}

static bool print_table(const struct bench_report *report, FILE *stream)
{
    struct libscols_table *table = scols_new_table();
    if (table == NULL)
        return false;
    int result = scols_table_set_stream(table, stream);
    for (enum column column = 0; column < NUM_COLUMNS && result == 0; column++)
        if (shown(report, column))
            result = scols_table_new_column(table, columns[column].name, 0,
                                            columns[column].right ? SCOLS_FL_RIGHT : 0) == NULL
                         ? -1
                         : 0;
    for (int i = 0; i < report->num_results && result == 0; i++) {
        struct libscols_line *line = scols_table_new_line(table, NULL);
        result = line == NULL ? -1 : 0;
        size_t place = 0;
        for (enum column column = 0; column < NUM_COLUMNS && result == 0; column++)
            if (shown(report, column)) {
                char cell[CELL];
                result = scols_line_set_data(line, place++, text_of(report, &report->results[i], column, cell));
            }
    }
    print_head(report, "", stream);
    if (result == 0)
        result = scols_print_table(table);
    scols_unref_table(table);
    return result == 0;
}

static void print_markdown(const struct bench_report *report, FILE *stream)
{
    print_head(report, "  ", stream); /* two spaces break a line */
    for (enum column column = 0; column < NUM_COLUMNS; column++)
        if (shown(report, column))
            fprintf(stream, "| %s ", columns[column].name);
    fprintf(stream, "|\n");
    for (enum column column = 0; column < NUM_COLUMNS; column++)
        if (shown(report, column))
            fprintf(stream, "|---%s", columns[column].right ? ":" : "");
    fprintf(stream, "|\n");
    for (int i = 0; i < report->num_results; i++) {
        for (enum column column = 0; column < NUM_COLUMNS; column++)
            if (shown(report, column)) {
                char cell[CELL];
                fprintf(stream, "| %s ", text_of(report, &report->results[i], column, cell));
            }
        fprintf(stream, "|\n");
    }
}

/* ---- for machines ---- */

static json_t *result_json(const struct bench_report *report, const struct bench_result *result)
{
    bool timed = result->timing.runs > 0, shares = timed && report->has_roofline;
    json_t *object = json_object();
    json_object_set_new(object, "problem", json_text(result->problem));
    json_object_set_new(object, "kernel", json_text(result->kernel));
    json_object_set_new(object, "tile", json_text(result->tile));
    json_object_set_new(object, "verified", json_boolean(result->verified));
    json_object_set_new(object, "median_s", json_number(result->timing.median, timed));
    json_object_set_new(object, "min_s", json_number(result->timing.least, timed));
    json_object_set_new(object, "gflops", json_number(rate(result->work.flop, result), timed));
    json_object_set_new(object, "gbs", json_number(rate(result->work.bytes, result), timed));
    json_object_set_new(object, "fma_share", json_number(fma_share(report, result), shares));
    json_object_set_new(object, "floor_share", json_number(floor_share(report, result), shares));
    json_object_set_new(object, "extra_bytes", json_integer((json_int_t)result->extra_bytes));
    json_object_set_new(object, "first_call_s", json_number(result->first_call, true));
    return object;
}

static bool print_json(const struct bench_report *report, FILE *stream)
{
    const struct roofline *roofline = &report->roofline;
    bool known = report->has_roofline;
    json_t *limits = json_object(), *results = json_array(), *object = json_object();
    json_object_set_new(limits, "fma_gflops", json_number(roofline->fma_gflops, known));
    json_object_set_new(limits, "matrix_gflops", json_number(roofline->matrix_gflops, roofline->matrix_gflops > 0));
    json_object_set_new(limits, "read_gbs", json_number(roofline->read_gbs, known));
    json_object_set_new(limits, "copy_gbs", json_number(roofline->copy_gbs, known));
    json_object_set_new(limits, "launch_us", json_number(roofline->launch_us, known));
    for (int i = 0; i < report->num_results; i++)
        json_array_append_new(results, result_json(report, &report->results[i]));
    json_object_set_new(object, "device", json_text(report->device.name));
    json_object_set_new(object, "driver", json_text(report->device.driver));
    json_object_set_new(object, "version", json_text(clattn_version_string()));
    json_object_set_new(object, "roofline", limits);
    json_object_set_new(object, "results", results);
    bool good = json_write(object, stream);
    json_decref(object);
    return good;
}

/* In quotes where it has to be (RFC 4180). */
static void put_csv(const char *text, FILE *stream)
{
    if (strpbrk(text, ",\"\n\r") == NULL) {
        fputs(text, stream);
        return;
    }
    putc('"', stream);
    for (; *text != '\0'; text++)
        fprintf(stream, *text == '"' ? "\"%c" : "%c", *text);
    putc('"', stream);
}

/* A line for each result: device, driver, version, then the fields of its JSON object, empty where they are null. */
static bool print_csv(const struct bench_report *report, FILE *stream)
{
    for (int i = 0; i < report->num_results; i++) {
        const char *key;
        json_t *value, *object = result_json(report, &report->results[i]);
        if (object == NULL)
            return false;
        if (i == 0) {
            fprintf(stream, "device,driver,version");
            json_object_foreach(object, key, value)
            {
                fprintf(stream, ",%s", key);
            }
            fprintf(stream, "\n");
        }
        put_csv(report->device.name, stream);
        putc(',', stream);
        put_csv(report->device.driver, stream);
        fprintf(stream, ",%s", clattn_version_string());
        json_object_foreach(object, key, value)
        {
            putc(',', stream);
            if (json_is_string(value))
                put_csv(json_string_value(value), stream);
            else if (json_is_boolean(value))
                fprintf(stream, "%s", json_boolean_value(value) ? "true" : "false");
            else if (json_is_integer(value))
                fprintf(stream, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
            else if (json_is_real(value))
                fprintf(stream, "%.9g", json_real_value(value));
        }
        fprintf(stream, "\n");
        json_decref(object);
    }
    return true;
}

bool bench_write(const struct bench_request *request, const struct bench_report *report, FILE *stream)
{
    if (bench_requested(request, BENCH_JSON))
        return print_json(report, stream);
    if (bench_requested(request, BENCH_CSV))
        return print_csv(report, stream);
    if (!bench_requested(request, BENCH_MARKDOWN))
        return print_table(report, stream);
    print_markdown(report, stream);
    return true;
}
