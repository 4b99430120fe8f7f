/* SPDX-License-Identifier: Apache-2.0 */
/* `clattn run` in parts: the command line becomes a request, a request becomes arrays, a run becomes a report. */
#ifndef TOOL_RUN_H
#define TOOL_RUN_H

#include "shared/arrays.h"
#include "shared/launch.h"
#include "shared/options.h"
#include "shared/output.h"
#include "shared/verify.h"

enum run_option {
    RUN_QUERY = OPTION_HELP + 1,
    RUN_KEY,
    RUN_VALUE,
    RUN_QKV,
    RUN_NPZ,
    RUN_OUTPUT,
    RUN_PAST_KEY,
    RUN_PAST_VALUE,
    RUN_PRESENT_KEY,
    RUN_PRESENT_VALUE,
    RUN_RANDOM,
    RUN_SEED,
    RUN_LAYOUT,
    RUN_Q_HEADS,
    RUN_KV_HEADS,
    RUN_SCALE,
    RUN_SOFTCAP,
    RUN_CAUSAL,
    RUN_WINDOW,
    RUN_WINDOW_SHIFT,
    RUN_ALIGN,
    RUN_MASK,
    RUN_MASK_PAD,
    RUN_KV_LENGTHS,
    RUN_Q_CU_LENGTHS,
    RUN_KV_CU_LENGTHS,
    RUN_BLOCK_TABLE,
    RUN_KV_LEN,
    RUN_CIRCULAR,
    RUN_SINKS,
    RUN_ALIBI,
    RUN_RELATIVE_BIAS,
    RUN_DROPOUT,
    RUN_DROPOUT_SEED,
    RUN_DROPOUT_OFFSET,
    RUN_LSE,
    RUN_SCORES,
    RUN_SCORES_STAGE,
    RUN_D_OUTPUT,
    RUN_D_LSE,
    RUN_D_QUERY,
    RUN_D_KEY,
    RUN_D_VALUE,
    RUN_D_MASK,
    RUN_D_SINKS,
    RUN_D_ALIBI,
    RUN_D_RELATIVE_BIAS,
    RUN_HEATMAP,
    RUN_HEATMAP_HEAD,
    RUN_DTYPE,
    RUN_KERNEL,
    RUN_BACKWARD_KERNEL,
    RUN_DEVICE,
    RUN_VERIFY,
    RUN_TIME,
    RUN_JSON,
    RUN_VERBOSE
};

extern const struct poptOption run_options[];

/* The operands that go to files. */
#define RUN_OUTPUTS 12
struct run_output {
    enum operand operand;
    enum run_option option;
    const char *name;
};
extern const struct run_output run_outputs[RUN_OUTPUTS];

/* What the command line asks for. Shapes are in `desc` where the problem is made up, otherwise the files have them. */
struct request {
    struct option_values values; /* file names and flags stay as they were given */
    bool made_up;
    uint64_t seed;
    uint64_t dropout_seed;
    uint64_t dropout_offset;
    enum array_form form;
    int64_t q_heads, kv_heads; /* 0: not given */
    int64_t heatmap_head;      /* read where it was given */
    bool dtype_given;
    clattn_dtype dtype;
    int64_t kv_len;             /* -1: not given */
    clattn_attention_desc desc; /* scale, softcap, alignment, causality, window, lse, scores stage, storage, sinks,
                                   ALiBi, dropout; cumulative lengths are not NONE where there will be some */
    clattn_attention_backward_desc backward; /* which gradients */
};

/* Whether an option was given. */
static inline bool requested(const struct request *request, enum run_option option)
{
    return request->values.text[option] != NULL;
}

/*
 * Before all else: the arrays of --npz become the values of their options, as FILE.npz:NAME, and so does --qkv for
 * each of the three that it holds.
 */
enum exit_code run_inputs(struct request *request);

/* From values to all the rest; what contradicts itself is EXIT_USAGE. */
enum exit_code run_request(struct request *request);

/* Reads or describes the inputs: desc, shapes, and the data of files. Arrays that are made up have no data yet. */
enum exit_code run_load(const struct request *request, struct arrays *arrays);

/* For --heatmap: refuses what cannot be drawn, once the shapes are known; draws it; a line of the summary. */
enum exit_code run_heatmap_check(const struct request *request, const struct arrays *arrays);
enum exit_code run_heatmap_write(const struct request *request, const struct arrays *arrays, int descriptor);
void run_heatmap_summary(const struct request *request, const struct arrays *arrays);

/* What there is to say about a run. */
struct report {
    clattn_device_info device;
    struct pass_report {
        const clattn_plan *plan; /* NULL: there is no such pass */
        bool verified;           /* compared with the reference, whatever came of it */
        struct verification verification;
        bool timed;
        struct timing timing;
        double gflops;
    } pass[NUM_PASSES];
};

/* Whether some output is wrong, so that none is written. */
static inline bool report_failed(const struct report *report)
{
    for (enum pass pass = FORWARD; pass < NUM_PASSES; pass++)
        if (report->pass[pass].verified && !report->pass[pass].verification.passed)
            return true;
    return false;
}

/* The summary for people, on standard error, and for machines, on standard output. */
void run_summary(const struct request *request, const struct arrays *arrays, const struct report *report);
enum exit_code run_json(const struct arrays *arrays, const struct report *report);

#endif
