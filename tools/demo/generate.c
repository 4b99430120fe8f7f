/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Autoregressive generation: each token is made from those before it, whose keys and values lie in a cache. The steps
 * give what one causal pass over all tokens gives.
 *
 *   q, k, v = x_t W_QKV^T, q and k turned by their position t; K, V = the cache with k, v appended
 *   o_t = softmax(q K^T / sqrt(64)) V,  token t + 1 = argmax(E o_t)
 *
 * Vaswani et al. 2017, "Attention Is All You Need" (masked self-attention), Su et al. 2021, "RoFormer" (the positions),
 * Radford et al. 2019, GPT-2 (the shapes: 768 wide, 12 heads of 64), Shazeer 2019, "Fast Transformer Decoding" (what a
 * step costs: one reading of the cache).
 *
 * A token is a syllable. Weights are random, so the text means nothing, but each token depends on all before it.
 */
#include "demo/common.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LENGTH = 48, HEADS = 12, DIM = 64, WIDTH = HEADS * DIM, TOKENS = 100, SHOWN = 4 };

struct numbers {
    float w_qkv[3 * WIDTH * WIDTH], embedding[TOKENS * WIDTH], weights[HEADS * LENGTH * LENGTH];
};

static struct numbers *my; /* demo->memory */

/* A layer and the choice of the next token, for up to `length` tokens a run: plans, arguments, and so buffers. */
struct model {
    clattn_plan **project, **turn, **append, **attend, **score;
    clattn_linear_args projecting, scoring;
    clattn_rotary_args turning;
    clattn_append_args appending;
    clattn_attention_args attending;
};

/* Queries, keys and values lie packed, [length, 3, heads, dim]; the caches are [heads, LENGTH, dim]. */
static enum exit_code build(struct demo *demo, int64_t length, clattn_scores_stage stage, struct model *m)
{
    const size_t row = WIDTH * sizeof(float), rows = (size_t)length * row;
    const clattn_layout packed = {CLATTN_F32, {length * 3 * WIDTH, DIM, 3 * WIDTH, 1}};
    const clattn_layout merged = {CLATTN_F32, {length * WIDTH, DIM, WIDTH, 1}};
    clattn_linear_desc linear = {sizeof linear, .batch = 1, .length = length, .in_features = WIDTH};
    clattn_rotary_desc rotary = {sizeof rotary, .batch = 1, .length = length, .head_dim = DIM};
    clattn_append_desc append = {sizeof append, .batch = 1, .length = length, .head_dim = DIM};
    clattn_attention_desc attention = {sizeof attention, .batch = 1, .q_len = length, .head_dim = DIM};
    rotary.heads = 2 * HEADS; /* queries', then keys', in place */
    rotary.input = rotary.output = append.key = append.value = attention.query = packed;
    append.kv_heads = attention.q_heads = attention.kv_heads = HEADS;
    append.capacity = attention.kv_len = LENGTH;
    attention.output = merged;
    attention.causal = 1;
    attention.alignment = CLATTN_ALIGN_BOTTOM_RIGHT; /* the last query is the last token */
    attention.scores_stage = stage;
    clattn_plan ***const plans[] = {&m->project, &m->turn, &m->append, &m->attend, &m->score};
    for (int i = 0; i < 5; i++)
        *plans[i] = demo_plan(demo);
    linear.out_features = 3 * WIDTH;
    CALL(clattn_linear_plan_create(demo->context, &linear, m->project, &demo->error));
    linear.out_features = TOKENS;
    CALL(clattn_linear_plan_create(demo->context, &linear, m->score, &demo->error));
    CALL(clattn_rotary_plan_create(demo->context, &rotary, m->turn, &demo->error));
    CALL(clattn_append_plan_create(demo->context, &append, m->append, &demo->error));
    CALL(clattn_attention_plan_create(demo->context, &attention, m->attend, &demo->error));
    clattn_linear_args_init(&m->projecting, *m->project);
    clattn_linear_args_init(&m->scoring, *m->score);
    clattn_rotary_args_init(&m->turning, *m->turn);
    clattn_append_args_init(&m->appending, *m->append);
    clattn_attention_args_init(&m->attending, *m->attend);
    TRY(demo_buffer(demo, NULL, rows, &m->projecting.input));
    TRY(demo_buffer(demo, my->w_qkv, sizeof my->w_qkv, &m->projecting.weight));
    TRY(demo_buffer(demo, NULL, 3 * rows, &m->projecting.output));
    TRY(demo_buffer(demo, NULL, LENGTH * row, &m->appending.key_cache));
    TRY(demo_buffer(demo, NULL, LENGTH * row, &m->appending.value_cache));
    TRY(demo_buffer(demo, NULL, rows, &m->attending.output));
    TRY(demo_buffer(demo, NULL, sizeof my->weights, &m->attending.scores));
    TRY(demo_buffer(demo, my->embedding, sizeof my->embedding, &m->scoring.weight));
    TRY(demo_buffer(demo, NULL, (size_t)length * TOKENS * sizeof(float), &m->scoring.output));
    m->turning.input = m->turning.output = m->attending.query = m->projecting.output;
    m->appending.key = demo_at(m->projecting.output, row);
    m->appending.value = demo_at(m->projecting.output, 2 * row);
    m->attending.key = m->appending.key_cache;
    m->attending.value = m->appending.value_cache;
    m->scoring.input = m->attending.output;
    return EXIT_DONE;
}

/* Takes `count` tokens after the first `past`; their keys and values join the cache. Gives o, and the tokens' scores.
 */
static enum exit_code pass(struct demo *demo, struct model *m, int64_t past, int64_t count, const int *tokens, float *o,
                           float *scores)
{
    static float x[LENGTH * WIDTH];
    for (int64_t i = 0; i < count; i++)
        memcpy(x + i * WIDTH, my->embedding + tokens[i] * WIDTH, WIDTH * sizeof *x);
    m->turning.offset = m->appending.position = past;
    m->attending.kv_len = past + count;
    TRY(demo_write(demo, m->projecting.input, x, (size_t)count * WIDTH * sizeof *x));
    CALL(clattn_linear_run(*m->project, demo->queue, &m->projecting, 0, NULL, NULL, &demo->error));
    CALL(clattn_rotary_run(*m->turn, demo->queue, &m->turning, 0, NULL, NULL, &demo->error));
    CALL(clattn_append_run(*m->append, demo->queue, &m->appending, 0, NULL, NULL, &demo->error));
    CALL(clattn_attention_run(*m->attend, demo->queue, &m->attending, 0, NULL, NULL, &demo->error));
    CALL(clattn_linear_run(*m->score, demo->queue, &m->scoring, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, m->attending.output, o, (size_t)count * WIDTH * sizeof *o));
    return demo_read(demo, m->scoring.output, scores, (size_t)count * TOKENS * sizeof *scores);
}

static int largest(const float *scores)
{
    int most = 0;
    for (int i = 0; i < TOKENS; i++)
        most = scores[i] > scores[most] ? i : most;
    return most;
}

static enum exit_code run(struct demo *demo)
{
    my = demo->memory;
    static float stepped[LENGTH * WIDTH], whole[LENGTH * WIDTH], scores[LENGTH * TOKENS];
    static const char *const captions[SHOWN] = {"head 0", "head 1", "head 2", "head 3"};
    struct heatmap_panel panels[SHOWN];
    struct model step, all;
    int tokens[LENGTH + 1] = {0}, others = 0;
    demo_normal(my->w_qkv, 3 * WIDTH * WIDTH, 1.3f / sqrtf(WIDTH), 1);
    demo_normal(my->embedding, TOKENS * WIDTH, 1, 2);
    TRY(build(demo, 1, CLATTN_SCORES_NONE, &step));
    TRY(build(demo, LENGTH, CLATTN_SCORES_WEIGHTS, &all));
    printf("text      ");
    for (int t = 0; t < LENGTH; t++) {
        printf("%c%c%s", "bdfghklmnprstvwyzcjx"[tokens[t] / 5], "aeiou"[tokens[t] % 5], t % 4 == 3 ? " " : "");
        TRY(pass(demo, &step, t, 1, tokens + t, stepped + t * WIDTH, scores));
        tokens[t + 1] = largest(scores);
    }
    TRY(pass(demo, &all, 0, LENGTH, tokens, whole, scores));
    for (int t = 0; t < LENGTH; t++)
        others += largest(scores + t * TOKENS) != tokens[t + 1];
    printf("\nkernels   steps %s, pass %s\n", clattn_plan_name(*step.attend), clattn_plan_name(*all.attend));
    TRY(demo_check("cached steps against one causal pass", demo_difference(stepped, whole, LENGTH * WIDTH), 2e-5));
    TRY(demo_check("tokens that the pass would choose otherwise", others, 0));
    TRY(demo_read(demo, all.attending.scores, my->weights, sizeof my->weights));
    for (int h = 0; h < SHOWN; h++)
        panels[h] = (struct heatmap_panel){
            .caption = captions[h], .values = my->weights + h * LENGTH * LENGTH, .rows = LENGTH, .columns = LENGTH};
    return demo_picture(
        demo, &(struct heatmap){"generate: what each token was made from", "token", "token seen", panels, SHOWN, 0});
}

const struct demo_entry demo_generate = {
    "generate", "token by token with a key/value cache, the same as one causal pass (Vaswani 2017)", false, run,
    sizeof *my};
