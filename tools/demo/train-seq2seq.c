/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sequence-to-sequence model that learns: an LSTM reads, an LSTM writes and attends over all states of the reader.
 *
 *   h_n = LSTM(h_(n-1), x_n)               reads
 *   c_t = sum_n softmax_n(s_(t-1) . h_n) h_n
 *   s_t = LSTM(s_(t-1), [c_t, y_(t-1)])    writes; s_0 is the last h
 *   y_t = softmax(W s_t + b)
 *
 * Bahdanau, Cho and Bengio 2014, "Neural Machine Translation by Jointly Learning to Align and Translate", with the dot
 * score of Luong, Pham and Manning 2015. The task is to reverse sequences, from random weights, with the right symbols
 * so far as y (teacher forcing). Then the same network learns with the last h alone to attend over: the one vector of
 * fixed size that Sutskever, Vinyals and Le 2014, "Sequence to Sequence Learning with Neural Networks", had. Both are
 * judged on sequences that they never saw, with what they wrote themselves as y. A state knows more than one symbol, so
 * the alignment may lie beside the symbol that is written.
 *
 * Attention, projections and their backward passes run on the device; an LSTM's four gates are one projection of
 * [context, symbol, state], and the encoder's context is 0. Products that need no order wait until all steps are done:
 * the gradients of weights, and those of the states attended over.
 */
#include "demo/common.h"
#include "demo/training.h"
#include "shared/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SYMBOLS = 10, LENGTH = 24, BATCH = 32, TRAINED = 700, TESTED = 8 }; /* batches, the last two */
enum { CELLS = 64, EMBEDDED = 16, GATES = 4 * CELLS };
enum { SYMBOL = CELLS, STATE = SYMBOL + EMBEDDED, ROW = STATE + CELLS }; /* columns, behind those of the context */

/* What is learned. All but the embedding is on the device, too. */
struct weights {
    float encoder[GATES][ROW], encoder_bias[GATES], decoder[GATES][ROW], decoder_bias[GATES];
    float word[SYMBOLS][CELLS], word_bias[SYMBOLS];
    float embedding[SYMBOLS + 1][EMBEDDED]; /* the last is what the first y is */
};

/* Row t is what step t reads: [context, symbol, state]; the state that it makes is in row t + 1. */
struct lstm {
    size_t weight, bias; /* where they begin in struct weights */
    clattn_buffer rows_there, gates_there, d_rows_there, d_gates_there;
    int read[LENGTH][BATCH]; /* symbols */
    float row[LENGTH + 1][BATCH][ROW], gate[LENGTH][BATCH][GATES], cell[LENGTH + 1][BATCH][CELLS];
    float d_row[LENGTH + 1][BATCH][ROW], d_gate[BATCH][GATES], d_cell[BATCH][CELLS];
    float d_state[LENGTH][BATCH][CELLS]; /* from what looks at the states made, but for the next step */
};

struct network {
    struct lstm encoder, decoder;
    struct learned learned;
    int first; /* of the encoder's states to attend over: 0, or LENGTH - 1 for the last one alone */
    clattn_plan **attend, **attend_all, **d_query, **d_keys, **gates, **d_gates, **d_weights, **word, **d_word;
    clattn_buffer weights, d_weights_there, lse, all_lse, scores, d_key_there, d_value_there;
    clattn_buffer logits_there, d_logits_there, d_states_there;
    float d_key[LENGTH][BATCH][CELLS], d_value[LENGTH][BATCH][CELLS];
    float logits[LENGTH][BATCH][SYMBOLS], d_logits[LENGTH][BATCH][SYMBOLS];
    float alignment[BATCH][LENGTH][LENGTH];
};

struct numbers {
    struct network network;
    float right[2][LENGTH], before[LENGTH][LENGTH], after[LENGTH][LENGTH];
};

#define VALUES(network)    ((struct weights *)(void *)(network)->learned.value)
#define GRADIENTS(network) ((struct weights *)(void *)(network)->learned.gradient)
#define ON_DEVICE          offsetof(struct weights, embedding)
#define ROWS_BYTES         (BATCH * ROW * sizeof(float))
#define GATES_BYTES        (BATCH * GATES * sizeof(float))

/* ---- plans and buffers ---- */

/* A column of row `t` and those behind it, in rows or their gradients. */
static clattn_buffer at(clattn_buffer rows, int t, int column)
{
    return demo_at(rows, (size_t)t * ROWS_BYTES + (size_t)column * sizeof(float));
}

/* Attention of so many steps' states over the encoder's, all where they lie in the rows. */
static void describe(clattn_attention_desc *desc, int queries)
{
    const clattn_layout columns = {CLATTN_F32, {ROW, 0, (int64_t)BATCH * ROW, 1}};
    clattn_attention_desc_init(desc);
    desc->batch = BATCH;
    desc->q_heads = desc->kv_heads = 1;
    desc->q_len = queries;
    desc->kv_len = LENGTH;
    desc->head_dim = CELLS;
    desc->scale = 1; /* that is, none */
    desc->lse = 1;
    desc->query = desc->key = desc->value = desc->output = columns;
}

static enum exit_code plan_attention(struct demo *demo, struct network *n)
{
    clattn_attention_desc one, all;
    clattn_attention_backward_desc query, keys;
    describe(&one, 1);
    describe(&all, LENGTH);
    all.scores_stage = CLATTN_SCORES_WEIGHTS;
    CALL(clattn_attention_plan_create(demo->context, &one, n->attend = demo_plan(demo), &demo->error));
    CALL(clattn_attention_plan_create(demo->context, &all, n->attend_all = demo_plan(demo), &demo->error));
    clattn_attention_backward_desc_init(&query);
    query.attention = &one;
    query.d_query = query.accumulate = 1;
    query.d_output_layout = query.d_query_layout = one.query;
    CALL(clattn_attention_backward_plan_create(demo->context, &query, n->d_query = demo_plan(demo), &demo->error));
    clattn_attention_backward_desc_init(&keys);
    keys.attention = &all;
    keys.d_key = keys.d_value = 1;
    keys.d_output_layout = one.query;
    keys.d_key_layout = keys.d_value_layout = (clattn_layout){CLATTN_F32, {CELLS, 0, (int64_t)BATCH * CELLS, 1}};
    CALL(clattn_attention_backward_plan_create(demo->context, &keys, n->d_keys = demo_plan(demo), &demo->error));
    return EXIT_DONE;
}

static enum exit_code plan_linear(struct demo *demo, struct network *n)
{
    clattn_linear_desc one, all, word;
    clattn_linear_backward_desc backward;
    clattn_linear_desc_init(&one);
    one.batch = one.bias = 1;
    one.length = BATCH;
    one.in_features = ROW;
    one.out_features = GATES;
    CALL(clattn_linear_plan_create(demo->context, &one, n->gates = demo_plan(demo), &demo->error));
    clattn_linear_backward_desc_init(&backward);
    backward.linear = &one;
    backward.d_input = 1;
    CALL(clattn_linear_backward_plan_create(demo->context, &backward, n->d_gates = demo_plan(demo), &demo->error));
    all = one;
    all.length = (int64_t)LENGTH * BATCH;
    backward.linear = &all;
    backward.d_input = 0;
    backward.d_weight = backward.d_bias = 1;
    CALL(clattn_linear_backward_plan_create(demo->context, &backward, n->d_weights = demo_plan(demo), &demo->error));
    word = all;
    word.in_features = CELLS;
    word.out_features = SYMBOLS;
    word.input.strides[2] = ROW;
    word.input.strides[3] = 1;
    CALL(clattn_linear_plan_create(demo->context, &word, n->word = demo_plan(demo), &demo->error));
    backward.linear = &word;
    backward.d_input = 1;
    CALL(clattn_linear_backward_plan_create(demo->context, &backward, n->d_word = demo_plan(demo), &demo->error));
    return EXIT_DONE;
}

static enum exit_code make_lstm(struct demo *demo, struct lstm *l, size_t weight, size_t bias)
{
    l->weight = weight;
    l->bias = bias;
    TRY(demo_buffer(demo, NULL, sizeof l->row, &l->rows_there));
    TRY(demo_buffer(demo, NULL, sizeof l->gate, &l->gates_there));
    TRY(demo_buffer(demo, NULL, sizeof l->d_row, &l->d_rows_there));
    return demo_buffer(demo, NULL, sizeof l->gate, &l->d_gates_there);
}

static enum exit_code make_buffers(struct demo *demo, struct network *n)
{
    TRY(make_lstm(demo, &n->encoder, offsetof(struct weights, encoder), offsetof(struct weights, encoder_bias)));
    TRY(make_lstm(demo, &n->decoder, offsetof(struct weights, decoder), offsetof(struct weights, decoder_bias)));
    TRY(demo_buffer(demo, NULL, ON_DEVICE, &n->weights));
    TRY(demo_buffer(demo, NULL, ON_DEVICE, &n->d_weights_there));
    TRY(demo_buffer(demo, NULL, LENGTH * BATCH * sizeof(float), &n->lse));
    TRY(demo_buffer(demo, NULL, LENGTH * BATCH * sizeof(float), &n->all_lse));
    TRY(demo_buffer(demo, NULL, sizeof n->alignment, &n->scores));
    TRY(demo_buffer(demo, NULL, sizeof n->d_key, &n->d_key_there));
    TRY(demo_buffer(demo, NULL, sizeof n->d_value, &n->d_value_there));
    TRY(demo_buffer(demo, NULL, sizeof n->logits, &n->logits_there));
    TRY(demo_buffer(demo, NULL, sizeof n->d_logits, &n->d_logits_there));
    return demo_buffer(demo, NULL, sizeof n->decoder.d_state, &n->d_states_there);
}

/* A network that knows nothing: random weights, of which the sums over a row are about 1 in size; open forget gates. */
static enum exit_code begin(struct demo *demo, struct network *n, int first)
{
    learned_free(&n->learned);
    TRY(learned_create(&n->learned, sizeof(struct weights) / sizeof(float)));
    struct weights *w = VALUES(n);
    n->first = first;
    demo_normal(*w->encoder, GATES * ROW, 1 / sqrtf(ROW), 1);
    demo_normal(*w->decoder, GATES * ROW, 1 / sqrtf(ROW), 2);
    demo_normal(*w->word, SYMBOLS * CELLS, 1 / sqrtf(CELLS), 3);
    demo_normal(*w->embedding, (SYMBOLS + 1) * EMBEDDED, 1, 4);
    for (int d = 0; d < CELLS; d++)
        w->encoder_bias[CELLS + d] = w->decoder_bias[CELLS + d] = 1;
    return demo_write(demo, n->weights, w, ON_DEVICE);
}

/* ---- the cell, on the host ---- */

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static float hyperbolic(float x)
{
    return 2 * sigmoid(2 * x) - 1;
}

/* c' = f c + i u, s' = o tanh(c'), with the gates i, f, o = sigmoid and u = tanh of the projection. */
static void cell_forward(struct lstm *l, int t)
{
    for (int b = 0; b < BATCH; b++)
        for (int d = 0; d < CELLS; d++) {
            float *i = &l->gate[t][b][d], *f = i + CELLS, *o = f + CELLS, *u = o + CELLS;
            *i = sigmoid(*i);
            *f = sigmoid(*f);
            *o = sigmoid(*o);
            *u = hyperbolic(*u);
            l->cell[t + 1][b][d] = *f * l->cell[t][b][d] + *i * *u;
            l->row[t + 1][b][STATE + d] = *o * hyperbolic(l->cell[t + 1][b][d]);
        }
}

/* d_gate and d_cell from the latter and the gradients of the state that step t made. */
static void cell_backward(struct lstm *l, int t)
{
    for (int b = 0; b < BATCH; b++)
        for (int d = 0; d < CELLS; d++) {
            const float *g = &l->gate[t][b][d], i = g[0], f = g[CELLS], o = g[2 * CELLS], u = g[3 * CELLS];
            const float d_state = l->d_state[t][b][d] + l->d_row[t + 1][b][STATE + d];
            const float c = hyperbolic(l->cell[t + 1][b][d]);
            const float d_cell = l->d_cell[b][d] + d_state * o * (1 - c * c);
            l->d_gate[b][d] = d_cell * u * i * (1 - i);
            l->d_gate[b][CELLS + d] = d_cell * l->cell[t][b][d] * f * (1 - f);
            l->d_gate[b][2 * CELLS + d] = d_state * c * o * (1 - o);
            l->d_gate[b][3 * CELLS + d] = d_cell * i * (1 - u * u);
            l->d_cell[b][d] = d_cell * f;
        }
}

/* ---- forward ---- */

/* The buffers of attention that begins at step t. */
static void place(const struct network *n, int t, clattn_attention_args *args)
{
    args->kv_len = LENGTH - n->first;
    args->query = at(n->decoder.rows_there, t, STATE);
    args->key = args->value = at(n->encoder.rows_there, 1 + n->first, STATE);
    args->output = at(n->decoder.rows_there, t, 0);
    args->lse = demo_at(n->lse, (size_t)t * BATCH * sizeof(float));
}

/* One step, whose symbols are known; the decoder attends first. */
static enum exit_code step(struct demo *demo, struct network *n, struct lstm *l, int t)
{
    clattn_linear_args linear;
    for (int b = 0; b < BATCH; b++)
        memcpy(&l->row[t][b][SYMBOL], VALUES(n)->embedding[l->read[t][b]], EMBEDDED * sizeof(float));
    TRY(demo_write(demo, at(l->rows_there, t, 0), l->row[t], sizeof l->row[t]));
    if (l == &n->decoder) {
        clattn_attention_args args;
        clattn_attention_args_init(&args, *n->attend);
        place(n, t, &args);
        CALL(clattn_attention_run(*n->attend, demo->queue, &args, 0, NULL, NULL, &demo->error));
    }
    clattn_linear_args_init(&linear, *n->gates);
    linear.input = at(l->rows_there, t, 0);
    linear.weight = demo_at(n->weights, l->weight);
    linear.bias = demo_at(n->weights, l->bias);
    linear.output = demo_at(l->gates_there, (size_t)t * GATES_BYTES);
    CALL(clattn_linear_run(*n->gates, demo->queue, &linear, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, linear.output, l->gate[t], sizeof l->gate[t]));
    cell_forward(l, t);
    return EXIT_DONE;
}

/* Reads a batch; the decoder then begins where the encoder ended. */
static enum exit_code encode(struct demo *demo, struct network *n)
{
    struct lstm *e = &n->encoder;
    for (int t = 0; t < LENGTH; t++)
        TRY(step(demo, n, e, t));
    TRY(demo_write(demo, at(e->rows_there, LENGTH, 0), e->row[LENGTH], sizeof e->row[LENGTH]));
    for (int b = 0; b < BATCH; b++)
        memcpy(&n->decoder.row[0][b][STATE], &e->row[LENGTH][b][STATE], CELLS * sizeof(float));
    memcpy(n->decoder.cell[0], e->cell[LENGTH], sizeof e->cell[LENGTH]);
    return EXIT_DONE;
}

/* The logits of the states that `count` steps from t on made. */
static enum exit_code words(struct demo *demo, struct network *n, int t, int count)
{
    struct lstm *l = &n->decoder;
    clattn_linear_args args;
    clattn_linear_args_init(&args, *n->word);
    args.length = (int64_t)count * BATCH;
    args.input = at(l->rows_there, t + 1, STATE);
    args.weight = demo_at(n->weights, offsetof(struct weights, word));
    args.bias = demo_at(n->weights, offsetof(struct weights, word_bias));
    args.output = n->logits_there;
    TRY(demo_write(demo, at(l->rows_there, t + count, 0), l->row[t + count], sizeof l->row[0]));
    CALL(clattn_linear_run(*n->word, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, args.output, n->logits[t], (size_t)count * sizeof n->logits[t]);
}

/* Attention of all steps at once, now that their states are known: its lse, and the weights. */
static enum exit_code attend_all(struct demo *demo, struct network *n)
{
    clattn_attention_args args;
    clattn_attention_args_init(&args, *n->attend_all);
    place(n, 0, &args);
    args.lse = n->all_lse;
    args.scores = n->scores;
    CALL(clattn_attention_run(*n->attend_all, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return EXIT_DONE;
}

/* ---- backward ---- */

/* The buffers of the backward pass of attention that begins at step t. */
static void place_backward(const struct network *n, int t, clattn_attention_backward_args *args)
{
    clattn_attention_args forward = {0};
    place(n, t, &forward);
    args->kv_len = forward.kv_len;
    args->query = forward.query;
    args->key = forward.key;
    args->value = forward.value;
    args->output = forward.output;
    args->lse = forward.lse;
    args->d_output = at(n->decoder.d_rows_there, t, 0);
    args->d_query = at(n->decoder.d_rows_there, t, STATE);
}

/* One step: from the gradients of its state to those of its row. */
static enum exit_code step_backward(struct demo *demo, struct network *n, struct lstm *l, int t)
{
    clattn_linear_backward_args linear;
    clattn_linear_backward_args_init(&linear, *n->d_gates);
    linear.weight = demo_at(n->weights, l->weight);
    linear.d_output = demo_at(l->d_gates_there, (size_t)t * GATES_BYTES);
    linear.d_input = at(l->d_rows_there, t, 0);
    cell_backward(l, t);
    TRY(demo_write(demo, linear.d_output, l->d_gate, sizeof l->d_gate));
    CALL(clattn_linear_backward_run(*n->d_gates, demo->queue, &linear, 0, NULL, NULL, &demo->error));
    if (l == &n->decoder) {
        clattn_attention_backward_args args;
        clattn_attention_backward_args_init(&args, *n->d_query);
        place_backward(n, t, &args);
        CALL(clattn_attention_backward_run(*n->d_query, demo->queue, &args, 0, NULL, NULL, &demo->error));
    }
    TRY(demo_read(demo, linear.d_input, l->d_row[t], sizeof l->d_row[t]));
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < EMBEDDED; i++)
            GRADIENTS(n)->embedding[l->read[t][b]][i] += l->d_row[t][b][SYMBOL + i];
    return EXIT_DONE;
}

/* All steps of an LSTM, the last first, then the gradients of its weights. */
static enum exit_code lstm_backward(struct demo *demo, struct network *n, struct lstm *l)
{
    clattn_linear_backward_args linear;
    for (int t = LENGTH - 1; t >= 0; t--)
        TRY(step_backward(demo, n, l, t));
    clattn_linear_backward_args_init(&linear, *n->d_weights);
    linear.input = l->rows_there;
    linear.d_output = l->d_gates_there;
    linear.d_weight = demo_at(n->d_weights_there, l->weight);
    linear.d_bias = demo_at(n->d_weights_there, l->bias);
    CALL(clattn_linear_backward_run(*n->d_weights, demo->queue, &linear, 0, NULL, NULL, &demo->error));
    return EXIT_DONE;
}

static enum exit_code words_backward(struct demo *demo, struct network *n)
{
    clattn_linear_backward_args args;
    clattn_linear_backward_args_init(&args, *n->d_word);
    args.input = at(n->decoder.rows_there, 1, STATE);
    args.weight = demo_at(n->weights, offsetof(struct weights, word));
    args.d_output = n->d_logits_there;
    args.d_input = n->d_states_there;
    args.d_weight = demo_at(n->d_weights_there, offsetof(struct weights, word));
    args.d_bias = demo_at(n->d_weights_there, offsetof(struct weights, word_bias));
    TRY(demo_write(demo, args.d_output, n->d_logits, sizeof n->d_logits));
    CALL(clattn_linear_backward_run(*n->d_word, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, args.d_input, n->decoder.d_state, sizeof n->decoder.d_state);
}

/* The gradients of the encoder's states, which are keys and values: those of all steps at once. */
static enum exit_code keys_backward(struct demo *demo, struct network *n)
{
    struct lstm *e = &n->encoder;
    clattn_attention_backward_args args;
    const size_t first = (size_t)n->first * sizeof n->d_key[0];
    TRY(attend_all(demo, n));
    clattn_attention_backward_args_init(&args, *n->d_keys);
    place_backward(n, 0, &args);
    args.lse = n->all_lse;
    args.d_key = demo_at(n->d_key_there, first);
    args.d_value = demo_at(n->d_value_there, first);
    CALL(clattn_attention_backward_run(*n->d_keys, demo->queue, &args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, args.d_key, n->d_key[n->first], sizeof n->d_key - first));
    TRY(demo_read(demo, args.d_value, n->d_value[n->first], sizeof n->d_value - first));
    memset(e->d_state, 0, sizeof e->d_state);
    for (int t = n->first; t < LENGTH; t++)
        for (int b = 0; b < BATCH; b++)
            for (int d = 0; d < CELLS; d++)
                e->d_state[t][b][d] = n->d_key[t][b][d] + n->d_value[t][b][d];
    return EXIT_DONE;
}

/* ---- learning ---- */

/* Batch `index` of `stream`, and what is to be made of it. */
static void draw(struct network *n, uint64_t stream, int index, int target[LENGTH][BATCH])
{
    for (int t = 0; t < LENGTH; t++)
        for (int b = 0; b < BATCH; b++) {
            uint64_t i = ((uint64_t)index * LENGTH + (uint64_t)t) * BATCH + (uint64_t)b;
            n->encoder.read[t][b] = target[LENGTH - 1 - t][b] = (int)(random_bits(0, stream, i) % SYMBOLS);
        }
    for (int b = 0; b < BATCH; b++)
        n->decoder.read[0][b] = SYMBOLS;
    memset(n->encoder.row[0], 0, sizeof n->encoder.row[0]);
    memset(n->encoder.cell[0], 0, sizeof n->encoder.cell[0]);
}

/* One step of AdamW. */
static enum exit_code learn(struct demo *demo, struct network *n, int index, double *loss)
{
    struct lstm *e = &n->encoder, *d = &n->decoder;
    int target[LENGTH][BATCH];
    draw(n, 5, index, target);
    memcpy(d->read[1], target, sizeof target - sizeof target[0]);
    TRY(encode(demo, n));
    for (int t = 0; t < LENGTH; t++)
        TRY(step(demo, n, d, t));
    TRY(words(demo, n, 0, LENGTH));
    *loss = cross_entropy(**n->logits, *target, LENGTH * BATCH, SYMBOLS, **n->d_logits, NULL);

    memset(GRADIENTS(n)->embedding, 0, sizeof GRADIENTS(n)->embedding);
    memset(d->d_row[LENGTH], 0, sizeof d->d_row[LENGTH]);
    memset(d->d_cell, 0, sizeof d->d_cell);
    TRY(words_backward(demo, n));
    TRY(lstm_backward(demo, n, d));
    TRY(keys_backward(demo, n));
    memcpy(e->d_row[LENGTH], d->d_row[0], sizeof d->d_row[0]); /* the state that both have */
    memcpy(e->d_cell, d->d_cell, sizeof d->d_cell);
    TRY(lstm_backward(demo, n, e));
    TRY(demo_read(demo, n->d_weights_there, GRADIENTS(n), ON_DEVICE));
    learned_step(&n->learned, learning_rate(index, TRAINED, 1e-2), 0);
    return demo_write(demo, n->weights, VALUES(n), ON_DEVICE);
}

/* The share of symbols of unseen sequences that are right, by place; and where the first of them looked. */
static enum exit_code judge(struct demo *demo, struct network *n, int batches, float right[LENGTH],
                            float alignment[LENGTH][LENGTH])
{
    int target[LENGTH][BATCH];
    memset(right, 0, LENGTH * sizeof *right);
    for (int i = batches - 1; i >= 0; i--) {
        draw(n, 6, i, target);
        TRY(encode(demo, n));
        for (int t = 0; t < LENGTH; t++) {
            TRY(step(demo, n, &n->decoder, t));
            TRY(words(demo, n, t, 1));
            for (int b = 0; b < BATCH; b++) {
                int written = largest_of(n->logits[t][b], SYMBOLS);
                right[t] += written == target[t][b] ? 1.0f / (float)(batches * BATCH) : 0;
                if (t + 1 < LENGTH)
                    n->decoder.read[t + 1][b] = written;
            }
        }
    }
    TRY(attend_all(demo, n));
    TRY(demo_read(demo, n->scores, n->alignment, sizeof n->alignment));
    memcpy(alignment, n->alignment[0], sizeof n->alignment[0]);
    return EXIT_DONE;
}

static double mean(const float right[LENGTH])
{
    double sum = 0;
    for (int t = 0; t < LENGTH; t++)
        sum += (double)right[t] / LENGTH;
    return sum;
}

/* TRAINED batches. `begun` is the share of the demo that is done by then, of which this is half. */
static enum exit_code train(struct demo *demo, struct network *n, const char *name, double begun)
{
    for (int i = 0; i < TRAINED; i++) {
        char text[80];
        double loss;
        TRY(learn(demo, n, i, &loss));
        snprintf(text, sizeof text, "%s: batch %d of %d, loss %.2f", name, i + 1, TRAINED, loss);
        progress_bar(begun + 0.5 * (i + 1) / TRAINED, text);
    }
    progress(NULL);
    return EXIT_DONE;
}

static enum exit_code show(struct demo *demo, struct numbers *my)
{
    static char letters[2][LENGTH][2];
    const char *read[LENGTH], *written[LENGTH];
    for (int t = 0; t < LENGTH; t++) {
        letters[0][t][0] = (char)('a' + my->network.encoder.read[t][0]);
        letters[1][t][0] = (char)('a' + my->network.encoder.read[LENGTH - 1 - t][0]);
        read[t] = letters[0][t];
        written[t] = letters[1][t];
    }
    const char *const rows[2] = {"attention", "one vector"};
    const struct heatmap_panel panels[] = {
        {"weights before", *my->before, LENGTH, LENGTH, 0, 0, written, read, NULL},
        {"weights after", *my->after, LENGTH, LENGTH, 0, 0, written, read, NULL},
        {"share of symbols right, by place", *my->right, 2, LENGTH, 0, 0, rows, NULL, NULL},
    };
    return demo_picture(demo,
                        &(struct heatmap){"train-seq2seq: what a decoder that reverses sequences learned to look at",
                                          "decoder step", "encoder state", panels, 3, 2});
}

static enum exit_code learn_both(struct demo *demo, struct numbers *my)
{
    struct network *n = &my->network;
    TRY(begin(demo, n, LENGTH - 1));
    TRY(train(demo, n, "one vector", 0));
    TRY(judge(demo, n, TESTED, my->right[1], my->before));
    TRY(begin(demo, n, 0));
    TRY(judge(demo, n, 1, my->right[0], my->before));
    TRY(train(demo, n, "attention", 0.5));
    return judge(demo, n, TESTED, my->right[0], my->after);
}

static enum exit_code run(struct demo *demo)
{
    struct numbers *my = demo->memory;
    progress("building kernels");
    TRY(plan_attention(demo, &my->network));
    TRY(plan_linear(demo, &my->network));
    TRY(make_buffers(demo, &my->network));
    enum exit_code code = learn_both(demo, my);
    learned_free(&my->network.learned);
    TRY(code);
    printf("right     attention %.1f %%, one vector %.1f %% of the symbols of %d unseen sequences of %d\n",
           100 * mean(my->right[0]), 100 * mean(my->right[1]), TESTED * BATCH, LENGTH);
    TRY(demo_check("share of symbols wrong with attention", 1 - mean(my->right[0]), 0.05));
    TRY(demo_check("share of symbols right with one vector", mean(my->right[1]), 0.5));
    return show(demo, my);
}

const struct demo_entry demo_train_seq2seq = {
    "train-seq2seq", "an LSTM with attention learns to reverse sequences, without it does not (Bahdanau 2014)", false,
    run, sizeof(struct numbers)};
