/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention in sequence-to-sequence models: a decoder looks, at each step, at the encoder's states that matter now.
 *
 *   c_t = sum_j softmax_j(s_t . h_j) h_j      s_t: state of the decoder, h_j: states of the encoder, no scale
 *
 * Bahdanau, Cho and Bengio 2014, "Neural Machine Translation by Jointly Learning to Align and Translate", made the
 * context; Luong, Pham and Manning 2015, "Effective Approaches to Attention-based Neural Machine Translation", its
 * score a dot product ("dot", equation 8).
 *
 * First the example that one can compute by hand, then a decoder of 1000 cells, as Luong's, that walks over a sentence
 * in the order of its translation. Nothing is trained (train-seq2seq.c does that): the words' states are random, and
 * the recurrence is a linear memory that answers the state of a word with the state of the one to be translated next.
 * Each step's state comes from the context before, so the steps are as many runs, of one plan.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WORDS = 10, CELLS = 1000 };

static const char *const source[WORDS] = {"the", "old", "black", "cat", "sleeps", "on", "the", "big", "white", "bed"};
static const char *const target[WORDS] = {"le", "vieux", "chat", "noir", "dort", "sur", "le", "grand", "lit", "blanc"};
static const int order[WORDS] = {0, 1, 3, 2, 4, 5, 6, 7, 9, 8}; /* the source of each word of the target */

/* A plan for one decoder state over `length` encoder states, which are keys and values both. */
static enum exit_code plan_step(struct demo *demo, int64_t length, int64_t cells, clattn_plan **plan)
{
    clattn_attention_desc desc;
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = desc.q_len = 1;
    desc.kv_len = length;
    desc.head_dim = cells;
    desc.scale = 1; /* that is, none */
    desc.scores_stage = CLATTN_SCORES_WEIGHTS;
    CALL(clattn_attention_plan_create(demo->context, &desc, plan, &demo->error));
    return EXIT_DONE;
}

/* One step: the context and the weights of state `s`. */
static enum exit_code step(struct demo *demo, clattn_plan *plan, clattn_attention_args *args, const float *s,
                           size_t cells, float *context, float *weights)
{
    TRY(demo_write(demo, args->query, s, cells * sizeof *s));
    CALL(clattn_attention_run(plan, demo->queue, args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, args->output, context, cells * sizeof *context));
    return demo_read(demo, args->scores, weights, (size_t)args->kv_len * sizeof *weights);
}

/* h1 = (1, 2), h2 = (3, 4), s0 = (0.5, 0.5): scores 1.5 and 3.5. */
static enum exit_code by_hand(struct demo *demo)
{
    const float h[2][2] = {{1, 2}, {3, 4}}, s0[2] = {0.5f, 0.5f};
    const double w2 = 1 / (1 + exp(1.5 - 3.5));
    const float expected[2] = {(float)(1 + 2 * w2), (float)(2 + 2 * w2)};
    float context[2], weights[2];
    clattn_plan **plan = demo_plan(demo);
    TRY(plan_step(demo, 2, 2, plan));
    clattn_attention_args args;
    clattn_attention_args_init(&args, *plan);
    TRY(demo_buffer(demo, h, sizeof h, &args.key));
    args.value = args.key;
    TRY(demo_buffer(demo, NULL, sizeof s0, &args.query));
    TRY(demo_buffer(demo, NULL, sizeof context, &args.output));
    TRY(demo_buffer(demo, NULL, sizeof weights, &args.scores));
    TRY(step(demo, *plan, &args, s0, 2, context, weights));
    printf("by hand   weights %.6f %.6f, context (%.6f, %.6f)\n", (double)weights[0], (double)weights[1],
           (double)context[0], (double)context[1]);
    return demo_check("context against softmax((1.5, 3.5))", demo_difference(context, expected, 2), 1e-6);
}

/* The next state: the memory's answer to the context, as long as every state is. */
static void recur(float h[WORDS][CELLS], const float *context, float s[CELLS])
{
    double square = 0;
    memset(s, 0, CELLS * sizeof *s);
    for (int t = 0; t < WORDS; t++) {
        double share = 0; /* of the word translated in step t; what follows it is the word of step t + 1 */
        for (int d = 0; d < CELLS; d++)
            share += (double)h[order[t]][d] * (double)context[d];
        for (int d = 0; d < CELLS && t + 1 < WORDS; d++)
            s[d] += (float)share * h[order[t + 1]][d];
    }
    for (int d = 0; d < CELLS; d++)
        square += (double)s[d] * (double)s[d];
    for (int d = 0; d < CELLS; d++)
        s[d] *= (float)(1.9 / sqrt(square));
}

/* A step's context in double precision. */
static void reference(float h[WORDS][CELLS], const float *s, float *context)
{
    double weight[WORDS], sum = 0;
    for (int j = 0; j < WORDS; j++) {
        double score = 0;
        for (int d = 0; d < CELLS; d++)
            score += (double)s[d] * (double)h[j][d];
        sum += weight[j] = exp(score);
    }
    for (int d = 0; d < CELLS; d++) {
        double c = 0;
        for (int j = 0; j < WORDS; j++)
            c += weight[j] / sum * (double)h[j][d];
        context[d] = (float)c;
    }
}

static enum exit_code run(struct demo *demo)
{
    static float h[WORDS][CELLS], s[CELLS], context[CELLS], expected[CELLS], weights[WORDS][WORDS];
    TRY(by_hand(demo));
    demo_normal(&h[0][0], WORDS * CELLS, 1.9f / sqrtf(CELLS), 1); /* each about 1.9 long, at right angles nearly */
    clattn_plan **plan = demo_plan(demo);
    TRY(plan_step(demo, WORDS, CELLS, plan));
    clattn_attention_args args;
    clattn_attention_args_init(&args, *plan);
    TRY(demo_buffer(demo, h, sizeof h, &args.key));
    args.value = args.key;
    TRY(demo_buffer(demo, NULL, sizeof s, &args.query));
    TRY(demo_buffer(demo, NULL, sizeof context, &args.output));
    TRY(demo_buffer(demo, NULL, sizeof weights[0], &args.scores));
    double worst = 0;
    int wrong = 0;
    memcpy(s, h[order[0]], sizeof s);
    for (int t = 0; t < WORDS; t++) {
        TRY(step(demo, *plan, &args, s, CELLS, context, weights[t]));
        reference(h, s, expected);
        worst = fmax(worst, demo_difference(context, expected, CELLS));
        int most = 0;
        for (int j = 0; j < WORDS; j++)
            most = weights[t][j] > weights[t][most] ? j : most;
        wrong += most != order[t];
        printf("%s%s<-%s %.2f%s", t == 0 ? "steps     " : "", target[t], source[most], (double)weights[t][most],
               t + 1 < WORDS ? ", " : "\n");
        recur(h, context, s);
    }
    TRY(demo_check("contexts of all steps", worst, 1e-6));
    TRY(demo_check("words that look elsewhere than where they come from", wrong, 0));
    const struct heatmap_panel panel = {
        .values = &weights[0][0], .rows = WORDS, .columns = WORDS, .row_names = target, .column_names = source};
    return demo_picture(demo, &(struct heatmap){.title = "seq2seq: where the decoder looks at each step",
                                                .row_axis = "decoder step",
                                                .column_axis = "encoder state",
                                                .panels = &panel,
                                                .count = 1});
}

const struct demo_entry demo_seq2seq = {
    "seq2seq", "a decoder looks at the encoder's states, step by step (Bahdanau 2014, Luong 2015)", false, run, 0};
