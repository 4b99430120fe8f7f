/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `clattn run`, and the request that they add up to, before any file is looked at. */
#include "run.h"
#include <stdio.h>
#include <string.h>

#define TEXT_OPTION(letter, name, val, help, argument)                                                                 \
    {                                                                                                                  \
        name, letter, POPT_ARG_STRING, NULL, val, help, argument                                                       \
    }
#define FLAG_OPTION(name, val, help)                                                                                   \
    {                                                                                                                  \
        name, '\0', POPT_ARG_NONE, NULL, val, help, NULL                                                               \
    }

const struct poptOption run_options[] = {
    TEXT_OPTION('q', "query", RUN_QUERY, "queries, a .npy file of float32 or float16", "FILE"),
    TEXT_OPTION('k', "key", RUN_KEY, "keys", "FILE"),
    TEXT_OPTION('v', "value", RUN_VALUE, "values", "FILE"),
    TEXT_OPTION('o', "output", RUN_OUTPUT, "where the result goes, in the query's type and form", "FILE"),
    TEXT_OPTION('\0', "past-key", RUN_PAST_KEY, "keys before those of -k, [batch, heads, length, dim]", "FILE"),
    TEXT_OPTION('\0', "past-value", RUN_PAST_VALUE, "values before those of -v", "FILE"),
    TEXT_OPTION('\0', "present-key", RUN_PRESENT_KEY, "where all keys go, [batch, heads, length, dim]", "FILE"),
    TEXT_OPTION('\0', "present-value", RUN_PRESENT_VALUE, "where all values go", "FILE"),
    TEXT_OPTION('\0', "random", RUN_RANDOM, "made-up arrays in place of -q, -k and -v", "PROBLEM"),
    TEXT_OPTION('\0', "seed", RUN_SEED, "which made-up arrays (default 0)", "N"),
    TEXT_OPTION('\0', "layout", RUN_LAYOUT, "order of 4-D arrays: bhsd (default) or bshd", "ORDER"),
    TEXT_OPTION('\0', "q-heads", RUN_Q_HEADS, "heads of 3-D queries", "N"),
    TEXT_OPTION('\0', "kv-heads", RUN_KV_HEADS, "heads of 3-D keys and values", "N"),
    TEXT_OPTION('\0', "scale", RUN_SCALE, "factor of the scores (default 1/sqrt(dim))", "X"),
    TEXT_OPTION('\0', "softcap", RUN_SOFTCAP, "scores become X tanh(score / X)", "X"),
    TEXT_OPTION('\0', "causal", RUN_CAUSAL, "a query sees no later key", "ALIGN"),
    TEXT_OPTION('\0', "window", RUN_WINDOW, "keys seen before and after a query's position, -1 for all", "L,R"),
    TEXT_OPTION('\0', "align", RUN_ALIGN, "where the first query stands, for --window", "ALIGN"),
    TEXT_OPTION('\0', "mask", RUN_MASK, "bool (true is seen) or float (added), broadcast from the right", "FILE"),
    TEXT_OPTION('\0', "kv-lengths", RUN_KV_LENGTHS, "keys of each batch, int32 or int64", "FILE"),
    TEXT_OPTION('\0', "lse", RUN_LSE, "where the log-sum-exp goes", "FILE"),
    TEXT_OPTION('\0', "scores", RUN_SCORES, "where the scores go", "FILE"),
    TEXT_OPTION('\0', "scores-stage", RUN_SCORES_STAGE, "which scores: raw, softcap, masked or weights", "STAGE"),
    TEXT_OPTION('\0', "dtype", RUN_DTYPE, "type to compute in: f32, f16 or bf16 (default the query's)", "TYPE"),
    TEXT_OPTION('\0', "kernel", RUN_KERNEL, "algorithm (default auto)", "NAME"),
    TEXT_OPTION('\0', "device", RUN_DEVICE, "gpu, cpu, accelerator, any, P:D or name=TEXT", "SPEC"),
    FLAG_OPTION("verify", RUN_VERIFY, "compare with a computation in double precision"),
    FLAG_OPTION("time", RUN_TIME, "measure the median time of a run"),
    FLAG_OPTION("json", RUN_JSON, "summary as JSON on standard output"),
    FLAG_OPTION("verbose", RUN_VERBOSE, "show what the library logs and why it chose the kernel"),
    {"help", 'h', POPT_ARG_NONE, NULL, OPTION_HELP, "this text", NULL},
    POPT_TABLEEND,
};

const struct run_output run_outputs[RUN_OUTPUTS] = {{OUTPUT, RUN_OUTPUT, "output"},
                                                    {LSE, RUN_LSE, "lse"},
                                                    {SCORES, RUN_SCORES, "scores"},
                                                    {KEY, RUN_PRESENT_KEY, "present_key"},
                                                    {VALUE, RUN_PRESENT_VALUE, "present_value"}};

static enum exit_code contradicts_problem(const struct request *request, enum run_option option, const char *name)
{
    return fail(EXIT_USAGE, "%s is %s: the problem %s says something else", name, request->values.text[option],
                request->values.text[RUN_RANDOM]);
}

/* Which files and flags go together. */
static enum exit_code check_combinations(const struct request *request)
{
    bool files = requested(request, RUN_QUERY) || requested(request, RUN_KEY) || requested(request, RUN_VALUE);
    bool all_files = requested(request, RUN_QUERY) && requested(request, RUN_KEY) && requested(request, RUN_VALUE);
    if (request->made_up && files)
        return fail(EXIT_USAGE, "--random excludes -q, -k and -v");
    if (!request->made_up && !all_files)
        return fail(EXIT_USAGE, "expected -q, -k and -v with a file each, or --random; see clattn run --help");
    if (requested(request, RUN_SEED) && !request->made_up)
        return fail(EXIT_USAGE, "--seed is given without --random");
    bool wanted = request->made_up || requested(request, RUN_VERIFY) || requested(request, RUN_TIME) ||
                  requested(request, RUN_JSON);
    for (int i = 0; i < RUN_OUTPUTS; i++)
        wanted = wanted || requested(request, run_outputs[i].option);
    if (!wanted)
        return fail(EXIT_USAGE, "nothing is to be done with the result: expected -o FILE, or at least one of --lse, "
                                "--scores, --present-key, --present-value, --verify, --time and --json");
    bool past = requested(request, RUN_PAST_KEY);
    if (past != requested(request, RUN_PAST_VALUE))
        return fail(EXIT_USAGE, "--past-key and --past-value: expected both or neither");
    if (past && request->made_up)
        return fail(EXIT_USAGE, "--random excludes --past-key and --past-value");
    if (requested(request, RUN_Q_HEADS) != requested(request, RUN_KV_HEADS))
        return fail(EXIT_USAGE, "--q-heads and --kv-heads: expected both or neither");
    return EXIT_DONE;
}

static enum exit_code read_problem(struct request *request)
{
    clattn_error error;
    clattn_attention_desc_init(&request->desc);
    if (!request->made_up)
        return EXIT_DONE;
    if (clattn_attention_desc_parse(request->values.text[RUN_RANDOM], &request->desc, &error) != CLATTN_SUCCESS)
        return fail(EXIT_USAGE, "--random: %s", error.message);
    if (requested(request, RUN_SEED))
        return parse_seed("--seed", request->values.text[RUN_SEED], &request->seed);
    return EXIT_DONE;
}

static enum exit_code read_heads(struct request *request)
{
    clattn_attention_desc *desc = &request->desc;
    if (!requested(request, RUN_Q_HEADS))
        return EXIT_DONE;
    TRY(parse_integer("--q-heads", request->values.text[RUN_Q_HEADS], 1, INT32_MAX, &request->q_heads));
    TRY(parse_integer("--kv-heads", request->values.text[RUN_KV_HEADS], 1, INT32_MAX, &request->kv_heads));
    if (request->q_heads % request->kv_heads != 0)
        return fail(EXIT_USAGE, "--kv-heads is %s: expected a divisor of --q-heads (%s)",
                    request->values.text[RUN_KV_HEADS], request->values.text[RUN_Q_HEADS]);
    if (request->made_up && request->q_heads != desc->q_heads)
        return contradicts_problem(request, RUN_Q_HEADS, "--q-heads");
    if (request->made_up && request->kv_heads != desc->kv_heads)
        return contradicts_problem(request, RUN_KV_HEADS, "--kv-heads");
    return EXIT_DONE;
}

static enum exit_code read_scores(struct request *request)
{
    clattn_attention_desc *desc = &request->desc;
    const char *scale = request->values.text[RUN_SCALE], *softcap = request->values.text[RUN_SOFTCAP];
    float number;
    if (scale != NULL) {
        TRY(parse_float("--scale", scale, &number));
        if (number == 0.0f)
            return fail(EXIT_USAGE, "--scale is %s: expected a finite number other than 0", scale);
        if (desc->scale != 0.0f && desc->scale != number)
            return contradicts_problem(request, RUN_SCALE, "--scale");
        desc->scale = number;
    }
    if (softcap != NULL) {
        TRY(parse_float("--softcap", softcap, &number));
        if (number < 0.0f)
            return fail(EXIT_USAGE, "--softcap is %s: expected a finite number that is not negative", softcap);
        if (desc->softcap != 0.0f && desc->softcap != number)
            return contradicts_problem(request, RUN_SOFTCAP, "--softcap");
        desc->softcap = number;
    }
    desc->lse = desc->lse != 0 || requested(request, RUN_LSE);
    if (requested(request, RUN_SCORES_STAGE)) {
        static const char *const stages[] = {"raw", "softcap", "masked", "weights", NULL};
        int stage;
        TRY(parse_name("--scores-stage", request->values.text[RUN_SCORES_STAGE], stages, &stage));
        if (desc->scores_stage != CLATTN_SCORES_NONE && (int)desc->scores_stage != stage + 1)
            return contradicts_problem(request, RUN_SCORES_STAGE, "--scores-stage");
        if (desc->scores_stage == CLATTN_SCORES_NONE && !requested(request, RUN_SCORES))
            return fail(EXIT_USAGE, "--scores-stage is given without --scores FILE");
        desc->scores_stage = (clattn_scores_stage)(stage + 1);
    }
    if (requested(request, RUN_SCORES) && desc->scores_stage == CLATTN_SCORES_NONE)
        return fail(EXIT_USAGE, "--scores is given without --scores-stage: expected raw, softcap, masked or weights");
    return EXIT_DONE;
}

/* --causal, --window, --align and what the problem says of them: one alignment for all. */
static enum exit_code read_band(struct request *request)
{
    static const struct {
        enum run_option option;
        const char *name;
    } alignments[] = {{RUN_CAUSAL, "--causal"}, {RUN_ALIGN, "--align"}};
    clattn_attention_desc *desc = &request->desc;
    const char *window = request->values.text[RUN_WINDOW];
    const char *said = desc->alignment != CLATTN_ALIGN_NONE ? request->values.text[RUN_RANDOM] : NULL;
    for (int i = 0; i < 2; i++) {
        const char *text = request->values.text[alignments[i].option];
        clattn_alignment alignment;
        int64_t offset;
        if (text == NULL)
            continue;
        TRY(parse_alignment(alignments[i].name, text, &alignment, &offset));
        if (said != NULL &&
            (alignment != desc->alignment || (alignment == CLATTN_ALIGN_OFFSET && offset != desc->offset)))
            return fail(EXIT_USAGE, "%s is %s: expected the alignment that %s has", alignments[i].name, text,
                        said == request->values.text[RUN_RANDOM] ? "the problem" : "--causal");
        desc->alignment = alignment;
        desc->offset = offset;
        said = text;
    }
    desc->causal = desc->causal != 0 || requested(request, RUN_CAUSAL);
    if (window != NULL) {
        int64_t left, right;
        TRY(parse_window("--window", window, &left, &right));
        if (desc->window && (left != desc->window_left || right != desc->window_right))
            return contradicts_problem(request, RUN_WINDOW, "--window");
        if (desc->alignment == CLATTN_ALIGN_NONE)
            return fail(EXIT_USAGE, "--window is given without --align: expected top-left, bottom-right or the "
                                    "position of the first query among the keys");
        desc->window = 1;
        desc->window_left = left;
        desc->window_right = right;
    }
    if (requested(request, RUN_ALIGN) && !desc->causal && !desc->window)
        return fail(EXIT_USAGE, "--align is given without --window or --causal");
    return EXIT_DONE;
}

static enum exit_code read_types(struct request *request)
{
    static const char *const dtypes[] = {"f32", "f16", "bf16", NULL};
    static const char *const layouts[] = {"bhsd", "bshd", NULL};
    clattn_attention_desc *desc = &request->desc;
    if (requested(request, RUN_DTYPE)) {
        int dtype;
        TRY(parse_name("--dtype", request->values.text[RUN_DTYPE], dtypes, &dtype));
        request->dtype_given = true;
        request->dtype = (clattn_dtype)dtype;
        if (request->made_up && (request->dtype != desc->query.dtype || request->dtype != desc->key.dtype ||
                                 request->dtype != desc->value.dtype || request->dtype != desc->output.dtype))
            return contradicts_problem(request, RUN_DTYPE, "--dtype");
    }
    if (requested(request, RUN_LAYOUT)) {
        int layout;
        TRY(parse_name("--layout", request->values.text[RUN_LAYOUT], layouts, &layout));
        request->form = layout == 0 ? FORM_BHSD : FORM_BSHD;
    }
    if (request->made_up && requested(request, RUN_MASK) && desc->mask_kind != CLATTN_MASK_NONE)
        return contradicts_problem(request, RUN_MASK, "--mask");
    if (request->made_up && requested(request, RUN_KV_LENGTHS) && desc->kv_lengths != CLATTN_LENGTHS_NONE)
        return contradicts_problem(request, RUN_KV_LENGTHS, "--kv-lengths");
    return EXIT_DONE;
}

static enum exit_code read_kernel(struct request *request)
{
    const char *kernel = request->values.text[RUN_KERNEL];
    char names[512] = "";
    request->desc.variant = kernel;
    if (kernel == NULL || strcmp(kernel, "auto") == 0)
        return EXIT_DONE;
    for (size_t i = 0; clattn_attention_variant(i) != NULL; i++) {
        const char *name = clattn_attention_variant(i);
        if (strcmp(kernel, name) == 0)
            return EXIT_DONE;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", length > 0 ? ", " : "", name);
    }
    return fail(EXIT_USAGE, "--kernel is %s: expected auto or one of these: %s", kernel, names);
}

enum exit_code run_request(struct request *request)
{
    request->made_up = requested(request, RUN_RANDOM);
    TRY(check_combinations(request));
    TRY(read_problem(request));
    TRY(read_heads(request));
    TRY(read_scores(request));
    TRY(read_band(request));
    TRY(read_types(request));
    return read_kernel(request);
}
