/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `clattn run`, and the request that they add up to, before any file is looked at. */
#include "run/run.h"
#include <string.h>

#define TEXT_OPTION(letter, name, val, help, argument)                                                                 \
    {                                                                                                                  \
        name, letter, POPT_ARG_STRING, NULL, val, help, argument                                                       \
    }
#define FLAG_OPTION(name, val, help)                                                                                   \
    {                                                                                                                  \
        name, '\0', POPT_ARG_NONE, NULL, val, help, NULL                                                               \
    }

#define EXPECTED_ALIGNMENT "expected top-left, bottom-right or the position of the first query among the keys"

const struct poptOption run_options[] = {
    TEXT_OPTION('q', "query", RUN_QUERY, "queries: FILE.npy of floats, FILE.npz:NAME, or - for standard input", "FILE"),
    TEXT_OPTION('k', "key", RUN_KEY, "keys", "FILE"),
    TEXT_OPTION('v', "value", RUN_VALUE, "values", "FILE"),
    TEXT_OPTION('\0', "qkv", RUN_QKV, "all three, [batch, length, 3, heads, dim]", "FILE"),
    TEXT_OPTION('\0', "npz", RUN_NPZ, "every array that it has, by the names of these options", "FILE"),
    TEXT_OPTION('o', "output", RUN_OUTPUT, "where the result goes, in the query's type and form; - for standard output",
                "FILE"),
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
    TEXT_OPTION('\0', "window-shift", RUN_WINDOW_SHIFT, "shifts --causal and --window; -1: the past only", "N"),
    TEXT_OPTION('\0', "align", RUN_ALIGN, "where the first query stands, for what needs it", "ALIGN"),
    TEXT_OPTION('\0', "mask", RUN_MASK, "bool or integers (true is seen) or float (added), broadcast from the right",
                "FILE"),
    FLAG_OPTION("mask-pad", RUN_MASK_PAD, "a mask may cover fewer keys than there are: the others are excluded"),
    TEXT_OPTION('\0', "kv-lengths", RUN_KV_LENGTHS, "keys of each batch", "FILE"),
    TEXT_OPTION('\0', "q-cu-lengths", RUN_Q_CU_LENGTHS, "packed queries: where each sequence begins", "FILE"),
    TEXT_OPTION('\0', "kv-cu-lengths", RUN_KV_CU_LENGTHS, "the same for keys and values", "FILE"),
    TEXT_OPTION('\0', "block-table", RUN_BLOCK_TABLE, "paged keys: blocks of each batch in the pool", "FILE"),
    TEXT_OPTION('\0', "kv-len", RUN_KV_LEN, "keys of a batch that is paged (default all of its blocks)", "N"),
    FLAG_OPTION("circular", RUN_CIRCULAR, "keys and values are caches that --kv-lengths have been written to"),
    TEXT_OPTION('\0', "sinks", RUN_SINKS, "logits that join the softmax, one a query head", "FILE"),
    TEXT_OPTION('\0', "alibi", RUN_ALIBI, "slopes of ALiBi, [heads] or [batch, heads]; auto for the usual ones",
                "FILE"),
    TEXT_OPTION('\0', "relative-bias", RUN_RELATIVE_BIAS, "added by distance, [heads, 2R + 1], -R to R keys away",
                "FILE"),
    TEXT_OPTION('\0', "dropout", RUN_DROPOUT, "share of the weights that become 0, 0 to less than 1", "X"),
    TEXT_OPTION('\0', "dropout-seed", RUN_DROPOUT_SEED, "which weights: needed with dropout", "N"),
    TEXT_OPTION('\0', "dropout-offset", RUN_DROPOUT_OFFSET, "other ones with the same seed (default 0)", "N"),
    TEXT_OPTION('\0', "lse", RUN_LSE, "where the log-sum-exp goes", "FILE"),
    TEXT_OPTION('\0', "scores", RUN_SCORES, "where the scores go", "FILE"),
    TEXT_OPTION('\0', "scores-stage", RUN_SCORES_STAGE, "which scores: raw, softcap, masked or weights", "STAGE"),
    TEXT_OPTION('\0', "d-output", RUN_D_OUTPUT, "gradient of the result, which the next are made from", "FILE"),
    TEXT_OPTION('\0', "d-lse", RUN_D_LSE, "gradient of the log-sum-exp, where there is one", "FILE"),
    TEXT_OPTION('\0', "d-query", RUN_D_QUERY, "where the gradient of the queries goes", "FILE"),
    TEXT_OPTION('\0', "d-key", RUN_D_KEY, "where that of the keys goes", "FILE"),
    TEXT_OPTION('\0', "d-value", RUN_D_VALUE, "where that of the values goes", "FILE"),
    TEXT_OPTION('\0', "d-mask", RUN_D_MASK, "where that of a mask of floats goes, in the mask's shape", "FILE"),
    TEXT_OPTION('\0', "d-sinks", RUN_D_SINKS, "where that of the sinks goes", "FILE"),
    TEXT_OPTION('\0', "d-alibi", RUN_D_ALIBI, "where that of the slopes goes", "FILE"),
    TEXT_OPTION('\0', "d-relative-bias", RUN_D_RELATIVE_BIAS, "where that of the relative bias goes", "FILE"),
    TEXT_OPTION('\0', "heatmap", RUN_HEATMAP, "where a picture of the weights goes, as PNG", "FILE"),
    TEXT_OPTION('\0', "heatmap-head", RUN_HEATMAP_HEAD, "the one head to draw (default all)", "N"),
    TEXT_OPTION('\0', "dtype", RUN_DTYPE, "type to compute in: f32, f16 or bf16 (default the query's)", "TYPE"),
    TEXT_OPTION('\0', "kernel", RUN_KERNEL, "algorithm (default auto)", "NAME"),
    TEXT_OPTION('\0', "backward-kernel", RUN_BACKWARD_KERNEL, "algorithm of the gradients (default auto)", "BACKWARD"),
    TEXT_OPTION('\0', "device", RUN_DEVICE, "gpu, cpu, accelerator, any, P:D or name=TEXT", "SPEC"),
    FLAG_OPTION("verify", RUN_VERIFY, "compare with a computation in double precision"),
    FLAG_OPTION("time", RUN_TIME, "measure the median time of a run"),
    FLAG_OPTION("json", RUN_JSON, "summary as JSON on standard output"),
    FLAG_OPTION("verbose", RUN_VERBOSE, "show what the library logs and why it chose the kernel"),
    OPTIONS_END,
};

const struct run_output run_outputs[RUN_OUTPUTS] = {{OUTPUT, RUN_OUTPUT, "output"},
                                                    {LSE, RUN_LSE, "lse"},
                                                    {SCORES, RUN_SCORES, "scores"},
                                                    {KEY, RUN_PRESENT_KEY, "present_key"},
                                                    {VALUE, RUN_PRESENT_VALUE, "present_value"},
                                                    {D_QUERY, RUN_D_QUERY, "d_query"},
                                                    {D_KEY, RUN_D_KEY, "d_key"},
                                                    {D_VALUE, RUN_D_VALUE, "d_value"},
                                                    {D_MASK, RUN_D_MASK, "d_mask"},
                                                    {D_SINKS, RUN_D_SINKS, "d_sinks"},
                                                    {D_ALIBI_SLOPES, RUN_D_ALIBI, "d_alibi"},
                                                    {D_RELATIVE_BIAS, RUN_D_RELATIVE_BIAS, "d_relative_bias"}};

static enum exit_code contradicts_problem(const struct request *request, enum run_option option, const char *name)
{
    return fail(EXIT_USAGE, "%s is %s: the problem %s says something else", name, request->values.text[option],
                request->values.text[RUN_RANDOM]);
}

/* Standard output is for one thing. */
static enum exit_code check_standard_output(const struct request *request)
{
    bool used = requested(request, RUN_HEATMAP) && strcmp(request->values.text[RUN_HEATMAP], OUTPUT_STANDARD) == 0;
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        const char *path = request->values.text[run_outputs[i].option];
        used = used || (path != NULL && strcmp(path, OUTPUT_STANDARD) == 0);
    }
    if (used && requested(request, RUN_JSON))
        return fail(EXIT_USAGE, "--json and an output to - are given: expected one of them on standard output");
    return EXIT_DONE;
}

/* Which files and flags go together. */
static enum exit_code check_combinations(const struct request *request)
{
    bool files = requested(request, RUN_QUERY) || requested(request, RUN_KEY) || requested(request, RUN_VALUE);
    bool all_files = requested(request, RUN_QUERY) && requested(request, RUN_KEY) && requested(request, RUN_VALUE);
    if (request->made_up && files)
        return fail(EXIT_USAGE, "--random excludes -q, -k and -v");
    if (!request->made_up && !all_files)
        return fail(EXIT_USAGE,
                    "expected -q, -k and -v with a file each, --qkv, --npz, or --random; see clattn run --help");
    if (requested(request, RUN_SEED) && !request->made_up)
        return fail(EXIT_USAGE, "--seed is given without --random");
    bool wanted = request->made_up || requested(request, RUN_VERIFY) || requested(request, RUN_TIME) ||
                  requested(request, RUN_JSON) || requested(request, RUN_HEATMAP);
    for (int i = 0; i < RUN_OUTPUTS; i++)
        wanted = wanted || requested(request, run_outputs[i].option);
    if (!wanted)
        return fail(EXIT_USAGE,
                    "nothing is to be done with the result: expected -o FILE, or at least one of --lse, "
                    "--scores, --heatmap, --present-key, --present-value, the gradients (--d-query and so on), "
                    "--verify, --time and --json");
    bool past = requested(request, RUN_PAST_KEY);
    if (past != requested(request, RUN_PAST_VALUE))
        return fail(EXIT_USAGE, "--past-key and --past-value: expected both or neither");
    if (past && request->made_up)
        return fail(EXIT_USAGE, "--random excludes --past-key and --past-value");
    if (requested(request, RUN_HEATMAP_HEAD) && !requested(request, RUN_HEATMAP))
        return fail(EXIT_USAGE, "--heatmap-head is given without --heatmap FILE");
    if (requested(request, RUN_Q_HEADS) != requested(request, RUN_KV_HEADS))
        return fail(EXIT_USAGE, "--q-heads and --kv-heads: expected both or neither");
    return check_standard_output(request);
}

static enum exit_code read_problem(struct request *request)
{
    clattn_error error;
    clattn_attention_desc_init(&request->desc);
    clattn_attention_backward_desc_init(&request->backward);
    if (!request->made_up)
        return EXIT_DONE;
    if (clattn_attention_backward_desc_parse(request->values.text[RUN_RANDOM], &request->desc, &request->backward,
                                             &error) != CLATTN_SUCCESS)
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
        if (desc->scale_set && desc->scale != number)
            return contradicts_problem(request, RUN_SCALE, "--scale");
        desc->scale = number;
        desc->scale_set = 1;
    }
    if (softcap != NULL) {
        TRY(parse_float("--softcap", softcap, &number));
        if (number < 0.0f)
            return fail(EXIT_USAGE, "--softcap is %s: expected a finite number that is not negative", softcap);
        if (desc->softcap != 0.0f && desc->softcap != number)
            return contradicts_problem(request, RUN_SOFTCAP, "--softcap");
        desc->softcap = number;
    }
    if (requested(request, RUN_SINKS) && desc->sinks)
        return contradicts_problem(request, RUN_SINKS, "--sinks");
    desc->sinks = desc->sinks != 0 || requested(request, RUN_SINKS);
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
    if (requested(request, RUN_HEATMAP) && desc->scores_stage == CLATTN_SCORES_NONE)
        desc->scores_stage = CLATTN_SCORES_WEIGHTS;
    if (requested(request, RUN_HEATMAP_HEAD))
        return parse_integer("--heatmap-head", request->values.text[RUN_HEATMAP_HEAD], 0, INT32_MAX,
                             &request->heatmap_head);
    return EXIT_DONE;
}

static enum exit_code read_dropout(struct request *request)
{
    clattn_attention_desc *desc = &request->desc;
    const char *dropout = request->values.text[RUN_DROPOUT];
    float number;
    if (dropout != NULL) {
        TRY(parse_float("--dropout", dropout, &number));
        if (number < 0.0f || number >= 1.0f)
            return fail(EXIT_USAGE, "--dropout is %s: expected 0 or more, less than 1", dropout);
        if (desc->dropout != 0.0f && desc->dropout != number)
            return contradicts_problem(request, RUN_DROPOUT, "--dropout");
        desc->dropout = number;
    }
    const bool drops = dropout != NULL || desc->dropout != 0.0f;
    if (!drops && (requested(request, RUN_DROPOUT_SEED) || requested(request, RUN_DROPOUT_OFFSET)))
        return fail(EXIT_USAGE, "--dropout-%s is given without --dropout",
                    requested(request, RUN_DROPOUT_SEED) ? "seed" : "offset");
    if (desc->dropout != 0.0f && !requested(request, RUN_DROPOUT_SEED))
        return fail(EXIT_USAGE,
                    "dropout is %g and --dropout-seed is not given: expected a whole number from 0 to "
                    "2^64 - 1",
                    (double)desc->dropout);
    if (requested(request, RUN_DROPOUT_SEED))
        TRY(parse_seed("--dropout-seed", request->values.text[RUN_DROPOUT_SEED], &request->dropout_seed));
    if (requested(request, RUN_DROPOUT_OFFSET))
        TRY(parse_seed("--dropout-offset", request->values.text[RUN_DROPOUT_OFFSET], &request->dropout_offset));
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
            return fail(EXIT_USAGE, "--window is given without --align: " EXPECTED_ALIGNMENT);
        desc->window = 1;
        desc->window_left = left;
        desc->window_right = right;
    }
    if (requested(request, RUN_WINDOW_SHIFT)) {
        int64_t shift;
        TRY(parse_integer("--window-shift", request->values.text[RUN_WINDOW_SHIFT], INT32_MIN, INT32_MAX, &shift));
        if (!desc->causal && !desc->window)
            return fail(EXIT_USAGE, "--window-shift is given without --causal or --window");
        if (desc->window_shift != 0 && desc->window_shift != shift)
            return contradicts_problem(request, RUN_WINDOW_SHIFT, "--window-shift");
        desc->window_shift = shift;
    }
    if (requested(request, RUN_ALIBI) && desc->alibi)
        return contradicts_problem(request, RUN_ALIBI, "--alibi");
    if (requested(request, RUN_RELATIVE_BIAS) && desc->relative_extent != 0)
        return contradicts_problem(request, RUN_RELATIVE_BIAS, "--relative-bias");
    desc->alibi = desc->alibi != 0 || requested(request, RUN_ALIBI);
    bool biased = desc->alibi || desc->relative_extent != 0 || requested(request, RUN_RELATIVE_BIAS);
    if (biased && desc->alignment == CLATTN_ALIGN_NONE)
        return fail(EXIT_USAGE, "%s is given without --align or --causal: " EXPECTED_ALIGNMENT,
                    requested(request, RUN_ALIBI) ? "--alibi" : "--relative-bias");
    if (requested(request, RUN_ALIGN) && !desc->causal && !desc->window && !biased)
        return fail(EXIT_USAGE, "--align is given without --window, --causal, --alibi or --relative-bias");
    return EXIT_DONE;
}

/* Where keys and values lie, how sequences are packed, and which of these go together with what. */
static enum exit_code read_storage(struct request *request)
{
    clattn_attention_desc *desc = &request->desc;
    bool paged = requested(request, RUN_BLOCK_TABLE), circular = requested(request, RUN_CIRCULAR);
    if (request->made_up && (paged || requested(request, RUN_Q_CU_LENGTHS) || requested(request, RUN_KV_CU_LENGTHS)))
        return fail(EXIT_USAGE, "--random excludes --block-table, --q-cu-lengths and --kv-cu-lengths: expected paged=, "
                                "ragged=q, ragged=kv or ragged=qkv in the problem");
    if (requested(request, RUN_Q_CU_LENGTHS))
        desc->q_cu_lengths = CLATTN_LENGTHS_I32;
    if (requested(request, RUN_KV_CU_LENGTHS))
        desc->kv_cu_lengths = CLATTN_LENGTHS_I32;
    if (circular + paged + (desc->kv_cu_lengths != CLATTN_LENGTHS_NONE) > 1)
        return fail(EXIT_USAGE, "expected one of --block-table, --circular and --kv-cu-lengths");
    if (circular && desc->kv_storage == CLATTN_STORAGE_PAGED)
        return contradicts_problem(request, RUN_CIRCULAR, "--circular");
    if (paged || circular)
        desc->kv_storage = paged ? CLATTN_STORAGE_PAGED : CLATTN_STORAGE_CIRCULAR;
    if (circular && !requested(request, RUN_KV_LENGTHS) && desc->kv_lengths == CLATTN_LENGTHS_NONE)
        return fail(EXIT_USAGE, "--circular is given without --kv-lengths: expected how many keys each batch has had");
    if (requested(request, RUN_KV_LENGTHS) && desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        return fail(EXIT_USAGE, "--kv-lengths is given with cumulative lengths of keys, which say the same");
    if (requested(request, RUN_SCORES) && desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        return fail(EXIT_USAGE, "--scores is given with cumulative lengths of queries, which have none");
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR || desc->kv_cu_lengths != CLATTN_LENGTHS_NONE)
        for (enum run_option option = RUN_PAST_KEY; option <= RUN_PRESENT_VALUE; option++)
            if (requested(request, option))
                return fail(EXIT_USAGE, "past and present are given with keys that are paged, circular or packed");
    request->kv_len = -1;
    if (!requested(request, RUN_KV_LEN))
        return EXIT_DONE;
    if (!paged)
        return fail(EXIT_USAGE, "--kv-len is given without --block-table");
    return parse_integer("--kv-len", request->values.text[RUN_KV_LEN], 0, INT32_MAX, &request->kv_len);
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
    if (requested(request, RUN_QKV)) {
        if (requested(request, RUN_LAYOUT) || requested(request, RUN_BLOCK_TABLE))
            return fail(EXIT_USAGE, "--%s is given with --qkv, which is [batch, length, 3, heads, dim]",
                        requested(request, RUN_LAYOUT) ? "layout" : "block-table");
        request->form = FORM_BSHD;
    }
    if (requested(request, RUN_LAYOUT)) {
        int layout;
        TRY(parse_name("--layout", request->values.text[RUN_LAYOUT], layouts, &layout));
        request->form = layout == 0 ? FORM_BHSD : FORM_BSHD;
    }
    if (request->made_up && requested(request, RUN_MASK) && desc->mask_kind != CLATTN_MASK_NONE)
        return contradicts_problem(request, RUN_MASK, "--mask");
    if (requested(request, RUN_MASK_PAD) && !requested(request, RUN_MASK))
        return fail(EXIT_USAGE, "--mask-pad is given without --mask FILE");
    desc->mask_pad = desc->mask_pad != 0 || requested(request, RUN_MASK_PAD);
    if (request->made_up && requested(request, RUN_KV_LENGTHS) && desc->kv_lengths != CLATTN_LENGTHS_NONE)
        return contradicts_problem(request, RUN_KV_LENGTHS, "--kv-lengths");
    return EXIT_DONE;
}

/* Which gradients, and that there is what they are gradients of. A mask is looked at once it has been read. */
static enum exit_code read_gradients(struct request *request)
{
    clattn_attention_desc *desc = &request->desc;
    clattn_attention_backward_desc *backward = &request->backward;
    const struct {
        enum run_option option;
        int *wanted;
        bool has_source;
        const char *name, *source;
    } gradients[] = {
        {RUN_D_QUERY, &backward->d_query, true, "--d-query", ""},
        {RUN_D_KEY, &backward->d_key, true, "--d-key", ""},
        {RUN_D_VALUE, &backward->d_value, true, "--d-value", ""},
        {RUN_D_MASK, &backward->d_mask, desc->mask_kind != CLATTN_MASK_NONE || requested(request, RUN_MASK), "--d-mask",
         "--mask"},
        {RUN_D_SINKS, &backward->d_sinks, desc->sinks != 0, "--d-sinks", "--sinks"},
        {RUN_D_ALIBI, &backward->d_alibi_slopes, desc->alibi != 0, "--d-alibi", "--alibi"},
        {RUN_D_RELATIVE_BIAS, &backward->d_relative_bias,
         desc->relative_extent != 0 || requested(request, RUN_RELATIVE_BIAS), "--d-relative-bias", "--relative-bias"},
    };
    const char *wanted = NULL;
    for (size_t i = 0; i < sizeof gradients / sizeof *gradients; i++) {
        if (requested(request, gradients[i].option) && !gradients[i].has_source)
            return fail(EXIT_USAGE, "%s is given without %s", gradients[i].name, gradients[i].source);
        *gradients[i].wanted = *gradients[i].wanted || requested(request, gradients[i].option);
        wanted = *gradients[i].wanted && wanted == NULL ? gradients[i].name : wanted;
    }
    if (wanted == NULL && (requested(request, RUN_D_OUTPUT) || requested(request, RUN_D_LSE)))
        return fail(EXIT_USAGE, "--d-%s is given without a gradient to compute: expected --d-query or another",
                    requested(request, RUN_D_OUTPUT) ? "output" : "lse");
    if (wanted == NULL && requested(request, RUN_BACKWARD_KERNEL))
        return fail(EXIT_USAGE,
                    "--backward-kernel is given without a gradient to compute: expected --d-query or another");
    if (wanted == NULL)
        return EXIT_DONE;
    if (!request->made_up && !requested(request, RUN_D_OUTPUT))
        return fail(EXIT_USAGE, "%s is given without --d-output: expected the gradient of the result", wanted);
    if (desc->kv_storage != CLATTN_STORAGE_LINEAR)
        return fail(EXIT_USAGE, "%s is given with keys that are paged or circular: caches are not trained on", wanted);
    desc->lse = 1;
    backward->d_lse = backward->d_lse || requested(request, RUN_D_LSE);
    return EXIT_DONE;
}

static enum exit_code read_kernels(const struct request *request)
{
    const char *kernel = request->values.text[RUN_KERNEL], *backward = request->values.text[RUN_BACKWARD_KERNEL];
    if (kernel != NULL && strcmp(kernel, "auto") != 0)
        TRY(parse_kernel("--kernel", kernel, "auto or one of these", clattn_attention_variant));
    if (backward != NULL && strcmp(backward, "auto") != 0)
        TRY(parse_kernel("--backward-kernel", backward, "auto or one of these", clattn_attention_backward_variant));
    return EXIT_DONE;
}

enum exit_code run_request(struct request *request)
{
    request->made_up = requested(request, RUN_RANDOM);
    TRY(run_inputs(request));
    TRY(check_combinations(request));
    TRY(read_problem(request));
    TRY(read_heads(request));
    TRY(read_scores(request));
    TRY(read_dropout(request));
    TRY(read_band(request));
    TRY(read_types(request));
    TRY(read_storage(request));
    TRY(read_gradients(request));
    return read_kernels(request);
}
