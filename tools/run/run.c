/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn run`: attention on arrays from files, or on made-up ones. */
#include "run/run.h"
#include <string.h>

/* Products that the reference may compute for --verify: a few seconds. */
#define MOST_PRODUCTS 2e9

/* What a run holds on to. Zeroed, it holds nothing. */
struct run {
    struct request request;
    struct arrays arrays;
    struct outputs outputs;
    clattn_context *context;
    clattn_plan *plan[NUM_PASSES];
    struct launch launch;
    struct report report;
};

static void show_log(clattn_log_level level, const char *text, void *user_data)
{
    (void)user_data;
    static const char *const levels[] = {"error", "warning", "info"};
    for (const char *line = text; *line != '\0';) {
        int length = (int)strcspn(line, "\n");
        note("%s: %.*s", levels[level], length, line);
        line += length + (line[length] == '\n');
    }
}

/* The plan of a pass, in the launch and in the report. */
static enum exit_code prepare_pass(struct run *run, enum pass pass)
{
    static const enum run_option options[NUM_PASSES] = {RUN_KERNEL, RUN_BACKWARD_KERNEL};
    clattn_error error;
    if (launch_plan(run->context, &run->arrays, pass, run->request.values.text[options[pass]], &run->plan[pass],
                    &error) != CLATTN_SUCCESS) {
        bool file = error.status == CLATTN_ERROR_INVALID_VALUE && !run->request.made_up;
        return file ? fail(EXIT_BAD_FILE, "%s", error.message) : fail_library(&error);
    }
    run->report.pass[pass].plan = run->plan[pass];
    launch_set_plan(&run->launch, pass, run->plan[pass]);
    return EXIT_DONE;
}

/* The device, its memory, and the plans: everything that can be refused without data. */
static enum exit_code prepare(struct run *run)
{
    clattn_error error;
    clattn_context_desc desc;
    clattn_context_desc_init(&desc);
    desc.log = requested(&run->request, RUN_VERBOSE) ? show_log : NULL;
    const char *selector = run->request.values.text[RUN_DEVICE];
    if (clattn_context_create_default(selector, &desc, &run->context, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    clattn_device_info_init(&run->report.device);
    if (clattn_device_query(clattn_context_cl_device(run->context), &run->report.device, &error) != CLATTN_SUCCESS)
        return fail_library(&error);
    TRY(launch_create(&run->launch, run->context, &run->arrays));
    progress("building kernels");
    TRY(prepare_pass(run, FORWARD));
    return arrays_have_gradients(&run->arrays) ? prepare_pass(run, BACKWARD) : EXIT_DONE;
}

static enum exit_code measure(struct run *run, enum pass pass)
{
    struct pass_report *report = &run->report.pass[pass];
    TRY(launch_measure(&run->launch, pass, &report->timing));
    report->timed = true;
    if (report->timing.median > 0)
        report->gflops = launch_work(&run->arrays, pass).flop / report->timing.median * 1e-9;
    return EXIT_DONE;
}

static enum exit_code verify(struct run *run, enum pass pass)
{
    struct pass_report *report = &run->report.pass[pass];
    TRY(pass == FORWARD ? verify_outputs(&run->arrays, run->request.made_up, MOST_PRODUCTS, &report->verification)
                        : verify_gradients(&run->arrays, MOST_PRODUCTS, &report->verification));
    report->verified = true;
    return report->verification.passed
               ? EXIT_DONE
               : fail(EXIT_VERIFICATION, "verification failed: %s", report->verification.message);
}

static enum exit_code compute(struct run *run)
{
    progress("computing");
    enum exit_code code = launch_run(&run->launch, &run->arrays);
    for (enum pass pass = FORWARD; pass < NUM_PASSES && code == EXIT_DONE; pass++) {
        if (run->plan[pass] == NULL)
            continue;
        if (requested(&run->request, RUN_TIME)) {
            progress("measuring");
            code = measure(run, pass);
        }
        if (code == EXIT_DONE && requested(&run->request, RUN_VERIFY)) {
            progress("verifying");
            code = verify(run, pass);
        }
    }
    progress(NULL);
    return code;
}

/* The descriptors are those of run_outputs, then that of the heat map. */
static enum exit_code write_outputs(struct run *run, const int descriptor[RUN_OUTPUTS + 1])
{
    enum exit_code code = EXIT_DONE;
    for (int i = 0; i < RUN_OUTPUTS && code == EXIT_DONE; i++)
        if (requested(&run->request, run_outputs[i].option))
            code = arrays_write(&run->arrays, run_outputs[i].operand, run->request.values.text[run_outputs[i].option],
                                descriptor[i]);
    if (code == EXIT_DONE && requested(&run->request, RUN_HEATMAP))
        code = run_heatmap_write(&run->request, &run->arrays, descriptor[RUN_OUTPUTS]);
    return code == EXIT_DONE ? outputs_commit(&run->outputs) : code;
}

static enum exit_code do_run(struct run *run)
{
    int descriptor[RUN_OUTPUTS + 1];
    enum exit_code code = run_request(&run->request);
    if (code == EXIT_DONE)
        code = run_load(&run->request, &run->arrays);
    if (code == EXIT_DONE && requested(&run->request, RUN_HEATMAP))
        code = run_heatmap_check(&run->request, &run->arrays);
    for (int i = 0; i < RUN_OUTPUTS && code == EXIT_DONE; i++)
        if (requested(&run->request, run_outputs[i].option))
            code = outputs_open(&run->outputs, run->request.values.text[run_outputs[i].option], &descriptor[i]);
    if (code == EXIT_DONE && requested(&run->request, RUN_HEATMAP))
        code = outputs_open(&run->outputs, run->request.values.text[RUN_HEATMAP], &descriptor[RUN_OUTPUTS]);
    if (code == EXIT_DONE)
        code = prepare(run);
    if (code == EXIT_DONE) {
        progress("preparing arrays");
        code = arrays_fill(&run->arrays, run->request.seed);
    }
    if (code == EXIT_DONE)
        code = compute(run);
    if (code == EXIT_DONE)
        code = write_outputs(run, descriptor);
    if (code != EXIT_DONE && code != EXIT_VERIFICATION)
        return code;
    if (!requested(&run->request, RUN_JSON)) {
        run_summary(&run->request, &run->arrays, &run->report);
        return code;
    }
    enum exit_code printed = run_json(&run->arrays, &run->report);
    return code != EXIT_DONE ? code : printed;
}

static enum exit_code run_main(const struct command *command, int argc, const char **argv)
{
    struct run run;
    bool answered;
    memset(&run, 0, sizeof run);
    enum exit_code code = options_parse(command, argc, argv, &run.request.values, &answered);
    if (code == EXIT_DONE && !answered)
        code = do_run(&run);
    progress(NULL);
    launch_release(&run.launch);
    for (enum pass pass = FORWARD; pass < NUM_PASSES; pass++)
        clattn_plan_release(run.plan[pass]);
    clattn_context_release(run.context);
    outputs_close(&run.outputs);
    arrays_free(&run.arrays);
    options_free(&run.request.values);
    return code;
}

const struct command run_command = {
    .name = "run",
    .summary = "compute attention, softmax(scale Q K^T) V, on arrays from .npy and .npz files or on made-up ones",
    .details =
        "Arrays are [batch, heads, length, dim], or with --layout bshd [batch, length, heads, dim]; with --q-heads "
        "and\n"
        "--kv-heads also [batch, length, heads * dim]. The number of query heads is a multiple of the key's. The\n"
        "computation is in the query's type, or --dtype's, and keys and values are converted to it. float64 is "
        "rounded\n"
        "to float32. An input is FILE.npy, FILE.npz:NAME, or - for standard input; --npz takes every array of a file\n"
        "as the input of its name, such as query or q, past_key, mask.\n"
        "\n"
        "With --past-key and --past-value the keys are the past, then those of -k: offsets, masks and lengths count\n"
        "both. Past and present are [batch, heads, length, dim] in every layout.\n"
        "\n"
        "With --block-table, keys and values are pools [blocks, heads, page, dim], key j of batch b being in block\n"
        "table[b, j / page]. With --circular they are caches that begin again at their first row when they are full,\n"
        "and --kv-lengths counts all keys that ever came. With --q-cu-lengths or --kv-cu-lengths, [batch + 1], arrays\n"
        "have a batch of 1, in which sequence b has rows cu[b] to cu[b + 1] - 1.\n"
        "\n"
        "ALIGN says where the first query stands among the keys: top-left, bottom-right (the last query at the last\n"
        "key), or a position. PROBLEM is batch, query heads, key/value heads, lengths and dim, then the type, then\n"
        "what else there is, in the manner of b1h32g8q512k2048d128v64:f16:causal:\n"
        "\n"
        "  gN and vN may be absent; f32, f16 or bf16; causal, causal@ALIGN, window=L,R@ALIGN, shift=N, softcap=X,\n"
        "  scale=X, mask=bool, mask=add, mask_pad, lengths, lse, scores=raw|softcap|masked|weights, sinks,\n"
        "  alibi@ALIGN, alibi=batch@ALIGN, relative=R@ALIGN, circular (with lengths), paged=PAGE,\n"
        "  paged=PAGExBLOCKS, ragged=q|kv|qkv, ragged=qkv@TOTAL,TOTAL, dropout=P, backward,\n"
        "  backward=query,key,value,mask,sinks,alibi,relative (or some of them), d_lse, accumulate\n"
        "\n"
        "Gradients are those of the sum of --d-output times the result, and of --d-lse times the log-sum-exp. They\n"
        "have the form of what they are gradients of and the type of the result; those of what is added to scores\n"
        "are float32.\n"
        "\n"
        "Output files appear when everything has succeeded, the verification too.\n",
    .examples = "  clattn run -q q.npy -k k.npy -v v.npy -o out.npy\n"
                "  clattn run -q q.npy -k k.npy -v v.npy -o out.npy --causal bottom-right --mask mask.npy --verify\n"
                "  clattn run -q q.npy -k k.npy -v v.npy -o out.npy --past-key pk.npy --past-value pv.npy \\\n"
                "    --present-key pk2.npy --present-value pv2.npy --causal bottom-right\n"
                "  clattn run --npz inputs.npz -o out.npy\n"
                "  clattn run --random b1h8q512k512d64:f32:causal --verify --time\n",
    .options = run_options,
    .run = run_main,
};
