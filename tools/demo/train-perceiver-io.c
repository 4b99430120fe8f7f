/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which symbol is masked here? A long input is read into few latents, and the answer decoded from them by a query for a
 * place; all of it learned, end to end.
 *
 *   z = z0 + cross(z0, x)    read      queries from the latents z0, which are learned too
 *   z = z + self(z)          process
 *   y = cross(q, z)          decode    q says the place alone; y are logits of the symbol that was there
 *
 * Jaegle et al. 2021, "Perceiver IO: A General Architecture for Structured Inputs & Outputs", which learns to fill in
 * masked bytes in this way. Here 2048 symbols are a motif of 16 over and over, another one in each sequence; half of
 * them are masked, and of the others two in five are replaced at random. So who looks at one that is not masked, a
 * number of periods away, is right in 65 % of the cases. To do better, the latents must find the period, which all
 * sequences have, and gather the evidence for a phase from all over the input.
 *
 * The three layers and their backward passes run on the device; sums of residuals, cross-entropy and AdamW on the host.
 */
#include "demo/common.h"
#include "demo/training.h"
#include "shared/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SYMBOLS = 8, LENGTH = 2048, PERIOD = 16, BATCH = 8, QUERIES = 64 };
enum { TRAINED = 300, TESTED = 8 };                                  /* batches */
enum { WAVES = 11, PLACE = 2 * WAVES, WIDTH = SYMBOLS + 1 + PLACE }; /* of an input: a symbol or the mask, its place */
enum { LATENTS = 32, CELLS = 64, SHOWN = 4 * PERIOD };               /* numbers of a latent; symbols in the picture */

struct weights {
    float read_q[CELLS][CELLS], read_k[CELLS][WIDTH], read_v[CELLS][WIDTH], read_o[CELLS][CELLS];
    float process_q[CELLS][CELLS], process_k[CELLS][CELLS], process_v[CELLS][CELLS], process_o[CELLS][CELLS];
    float decode_q[CELLS][PLACE], decode_k[CELLS][CELLS], decode_v[CELLS][CELLS], decode_o[SYMBOLS][CELLS];
    float latents[LATENTS][CELLS]; /* on the host alone: a batch has a copy in each sequence */
};

#define VALUES(my)    ((struct weights *)(void *)(my)->learned.value)
#define GRADIENTS(my) ((struct weights *)(void *)(my)->learned.gradient)
#define ON_DEVICE     offsetof(struct weights, latents)

struct layer {
    clattn_plan **forward, **backward;
    clattn_layer_args args;
    clattn_layer_backward_args backward_args;
};

struct numbers {
    struct learned learned;
    struct layer read, process, decode;
    clattn_plan **look; /* reads, and gives out the weights */
    clattn_buffer weights, d_weights, scores;
    float input[BATCH][LENGTH][WIDTH], place[BATCH][QUERIES][PLACE];
    int answer[BATCH][QUERIES];
    float latents[BATCH][LATENTS][CELLS], change[BATCH][LATENTS][CELLS], d_latents[BATCH][LATENTS][CELLS];
    float logits[BATCH][QUERIES][SYMBOLS], d_logits[BATCH][QUERIES][SYMBOLS];
    float all[BATCH][LATENTS][LENGTH], before[LATENTS][SHOWN], after[LATENTS][SHOWN];
};

/* ---- plans and buffers ---- */

static void describe(clattn_attention_desc *attention, clattn_layer_desc *layer, int queries, int keys)
{
    clattn_attention_desc_init(attention);
    attention->batch = BATCH;
    attention->q_heads = attention->kv_heads = 1;
    attention->q_len = queries;
    attention->kv_len = keys;
    attention->head_dim = CELLS;
    clattn_layer_desc_init(layer);
    layer->attention = attention;
    layer->inputs = CLATTN_LAYER_CROSS;
    layer->keep = 1;
    layer->width = layer->context_width = layer->output_width = CELLS;
}

/* One of the layers' tensors, [BATCH, length, width]. */
static enum exit_code tensor(struct demo *demo, int64_t length, int64_t width, clattn_buffer *buffer)
{
    return demo_buffer(demo, NULL, (size_t)(BATCH * length * width) * sizeof(float), buffer);
}

/* A layer whose weights lie in struct weights at these offsets, and its gradients by these and by what is learned. */
static enum exit_code make_layer(struct demo *demo, const struct numbers *my, const clattn_layer_desc *desc,
                                 const size_t at[4], bool d_input, bool d_context, struct layer *layer)
{
    const clattn_attention_desc *attention = desc->attention;
    clattn_layer_backward_desc gradients;
    clattn_layer_backward_desc_init(&gradients);
    gradients.layer = desc;
    gradients.d_w_q = gradients.d_w_k = gradients.d_w_v = gradients.d_w_o = 1;
    gradients.d_input = d_input;
    gradients.d_context = d_context;
    layer->forward = demo_plan(demo);
    layer->backward = demo_plan(demo);
    CALL(clattn_layer_plan_create(demo->context, desc, layer->forward, &demo->error));
    CALL(clattn_layer_backward_plan_create(demo->context, &gradients, layer->backward, &demo->error));
    printf("layer     %s\n", clattn_plan_problem(*layer->forward));

    clattn_layer_args *args = &layer->args;
    clattn_layer_backward_args *to = &layer->backward_args;
    clattn_layer_args_init(args, *layer->forward);
    clattn_layer_backward_args_init(to, *layer->backward);
    TRY(tensor(demo, attention->q_len, desc->width, &args->input));
    TRY(demo_buffer(demo, NULL, clattn_layer_kept_size(*layer->forward), &args->kept));
    TRY(tensor(demo, attention->q_len, desc->output_width, &args->output));
    TRY(tensor(demo, attention->q_len, desc->output_width, &to->d_output));
    if (desc->inputs == CLATTN_LAYER_CROSS)
        TRY(tensor(demo, attention->kv_len, desc->context_width, &args->context));
    if (d_input)
        TRY(tensor(demo, attention->q_len, desc->width, &to->d_input));
    if (d_context)
        TRY(tensor(demo, attention->kv_len, desc->context_width, &to->d_context));
    to->input = args->input;
    to->context = args->context;
    to->kept = args->kept;
    to->w_q = args->w_q = demo_at(my->weights, at[0]);
    to->w_k = args->w_k = demo_at(my->weights, at[1]);
    to->w_v = args->w_v = demo_at(my->weights, at[2]);
    to->w_o = args->w_o = demo_at(my->weights, at[3]);
    to->d_w_q = demo_at(my->d_weights, at[0]);
    to->d_w_k = demo_at(my->d_weights, at[1]);
    to->d_w_v = demo_at(my->d_weights, at[2]);
    to->d_w_o = demo_at(my->d_weights, at[3]);
    return EXIT_DONE;
}

#define AT(layer)                                                                                                      \
    ((const size_t[]){offsetof(struct weights, layer##_q), offsetof(struct weights, layer##_k),                        \
                      offsetof(struct weights, layer##_v), offsetof(struct weights, layer##_o)})

static enum exit_code make(struct demo *demo, struct numbers *my)
{
    clattn_attention_desc attention;
    clattn_layer_desc layer;
    TRY(demo_buffer(demo, NULL, ON_DEVICE, &my->weights));
    TRY(demo_buffer(demo, NULL, ON_DEVICE, &my->d_weights));
    describe(&attention, &layer, LATENTS, LENGTH);
    layer.context_width = WIDTH;
    TRY(make_layer(demo, my, &layer, AT(read), true, false, &my->read));
    layer.keep = 0;
    attention.scores_stage = CLATTN_SCORES_WEIGHTS;
    CALL(clattn_layer_plan_create(demo->context, &layer, my->look = demo_plan(demo), &demo->error));
    describe(&attention, &layer, LATENTS, LATENTS);
    layer.inputs = CLATTN_LAYER_SELF;
    TRY(make_layer(demo, my, &layer, AT(process), true, false, &my->process));
    describe(&attention, &layer, QUERIES, LATENTS);
    layer.width = PLACE;
    layer.output_width = SYMBOLS;
    return make_layer(demo, my, &layer, AT(decode), false, true, &my->decode);
}

/* Random weights, of which the sums over a row are about 1 in size, and the places of the input as waves. */
static void begin(struct numbers *my)
{
    struct weights *w = VALUES(my);
    demo_normal(my->learned.value, my->learned.count, 1 / sqrtf(CELLS), 1);
    demo_normal(*w->read_k, CELLS * WIDTH, 1 / sqrtf(WIDTH), 2);
    demo_normal(*w->read_v, CELLS * WIDTH, 1 / sqrtf(WIDTH), 3);
    demo_normal(*w->decode_q, CELLS * PLACE, 1 / sqrtf(PLACE), 4);
    demo_normal(*w->latents, LATENTS * CELLS, 1, 5);
    for (int i = 0; i < BATCH * LENGTH; i++)
        for (int n = 0; n < WAVES; n++) {
            double angle = 3.141592653589793 * (i % LENGTH) / (1 << n); /* periods of 2, 4, 8, ... */
            float *wave = &my->input[i / LENGTH][i % LENGTH][SYMBOLS + 1 + 2 * n];
            wave[0] = (float)sin(angle);
            wave[1] = (float)cos(angle);
        }
}

/* ---- a batch ---- */

/* Batch `index` of `stream`: motifs, what is left of them, and masked places with the symbols that were there. */
static void draw(struct numbers *my, uint64_t stream, int index)
{
    for (int b = 0; b < BATCH; b++) {
        const uint64_t first = (uint64_t)(index * BATCH + b) * (LENGTH + PERIOD + QUERIES);
        bool masked[LENGTH];
        int motif[PERIOD];
        for (int p = 0; p < PERIOD; p++)
            motif[p] = (int)(random_bits(0, stream, first + LENGTH + (uint64_t)p) % SYMBOLS);
        for (int i = 0; i < LENGTH; i++) {
            const uint64_t bits = random_bits(0, stream, first + (uint64_t)i);
            int symbol = bits / 16 % 5 < 2 ? (int)(bits % SYMBOLS) : motif[i % PERIOD];
            masked[i] = bits / 8 % 2 == 0;
            memset(my->input[b][i], 0, (SYMBOLS + 1) * sizeof(float));
            my->input[b][i][masked[i] ? SYMBOLS : symbol] = 1;
        }
        for (int q = 0; q < QUERIES; q++) {
            int i = (int)(random_bits(0, stream, first + LENGTH + PERIOD + (uint64_t)q) % LENGTH);
            while (!masked[i])
                i = (i + 1) % LENGTH;
            memcpy(my->place[b][q], &my->input[b][i][SYMBOLS + 1], sizeof my->place[b][q]);
            my->answer[b][q] = motif[i % PERIOD];
        }
    }
}

/* ---- forward and backward ---- */

/* What a layer adds to the latents. */
static enum exit_code add(struct demo *demo, struct numbers *my, const struct layer *layer)
{
    float *latent = **my->latents;
    const float *change = **my->change;
    TRY(demo_write(demo, layer->args.input, my->latents, sizeof my->latents));
    CALL(clattn_layer_run(*layer->forward, demo->queue, &layer->args, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, layer->args.output, my->change, sizeof my->change));
    for (int i = 0; i < BATCH * LATENTS * CELLS; i++)
        latent[i] += change[i];
    return EXIT_DONE;
}

static enum exit_code forward(struct demo *demo, struct numbers *my)
{
    for (int b = 0; b < BATCH; b++)
        memcpy(my->latents[b], VALUES(my)->latents, sizeof my->latents[b]);
    TRY(demo_write(demo, my->read.args.context, my->input, sizeof my->input));
    TRY(add(demo, my, &my->read));
    TRY(add(demo, my, &my->process));
    const clattn_layer_args *decode = &my->decode.args;
    TRY(demo_write(demo, decode->context, my->latents, sizeof my->latents));
    TRY(demo_write(demo, decode->input, my->place, sizeof my->place));
    CALL(clattn_layer_run(*my->decode.forward, demo->queue, decode, 0, NULL, NULL, &demo->error));
    return demo_read(demo, decode->output, my->logits, sizeof my->logits);
}

static enum exit_code run_backward(struct demo *demo, const struct layer *layer)
{
    CALL(clattn_layer_backward_run(*layer->backward, demo->queue, &layer->backward_args, 0, NULL, NULL, &demo->error));
    return EXIT_DONE;
}

/* The gradient goes past the layer as well as through it. */
static enum exit_code add_backward(struct demo *demo, struct numbers *my, const struct layer *layer)
{
    float *d_latent = **my->d_latents;
    const float *change = **my->change;
    TRY(demo_write(demo, layer->backward_args.d_output, my->d_latents, sizeof my->d_latents));
    TRY(run_backward(demo, layer));
    TRY(demo_read(demo, layer->backward_args.d_input, my->change, sizeof my->change));
    for (int i = 0; i < BATCH * LATENTS * CELLS; i++)
        d_latent[i] += change[i];
    return EXIT_DONE;
}

static enum exit_code backward(struct demo *demo, struct numbers *my)
{
    const clattn_layer_backward_args *decode = &my->decode.backward_args;
    float(*sum)[CELLS] = GRADIENTS(my)->latents;
    TRY(demo_write(demo, decode->d_output, my->d_logits, sizeof my->d_logits));
    TRY(run_backward(demo, &my->decode));
    TRY(demo_read(demo, decode->d_context, my->d_latents, sizeof my->d_latents));
    TRY(add_backward(demo, my, &my->process));
    TRY(add_backward(demo, my, &my->read));
    TRY(demo_read(demo, my->d_weights, GRADIENTS(my), ON_DEVICE));
    memset(sum, 0, LATENTS * sizeof *sum);
    for (int b = 0; b < BATCH; b++)
        for (int l = 0; l < LATENTS; l++)
            for (int d = 0; d < CELLS; d++)
                sum[l][d] += my->d_latents[b][l][d];
    return EXIT_DONE;
}

/* ---- learning ---- */

static enum exit_code train(struct demo *demo, struct numbers *my)
{
    for (int i = 0; i < TRAINED; i++) {
        char text[80];
        draw(my, 6, i);
        TRY(forward(demo, my));
        double loss = cross_entropy(**my->logits, *my->answer, BATCH * QUERIES, SYMBOLS, **my->d_logits, NULL);
        TRY(backward(demo, my));
        learned_step(&my->learned, learning_rate(i, TRAINED, 1e-2), 0);
        TRY(demo_write(demo, my->weights, VALUES(my), ON_DEVICE));
        snprintf(text, sizeof text, "batch %d of %d, loss %.2f", i + 1, TRAINED, loss);
        progress_bar((i + 1.0) / TRAINED, text);
    }
    progress(NULL);
    return EXIT_DONE;
}

/* The share of unseen questions that are answered wrongly; and what the latents read of the start of the last input. */
static enum exit_code judge(struct demo *demo, struct numbers *my, double *wrong, float read[LATENTS][SHOWN])
{
    clattn_layer_args look = my->read.args;
    int right, found = 0;
    for (int i = 0; i < TESTED; i++) {
        draw(my, 7, i);
        TRY(forward(demo, my));
        cross_entropy(**my->logits, *my->answer, BATCH * QUERIES, SYMBOLS, NULL, &right);
        found += right;
    }
    *wrong = 1 - (double)found / (TESTED * BATCH * QUERIES);
    for (int b = 0; b < BATCH; b++)
        memcpy(my->latents[b], VALUES(my)->latents, sizeof my->latents[b]);
    TRY(demo_write(demo, look.input, my->latents, sizeof my->latents));
    look.scores = my->scores;
    CALL(clattn_layer_run(*my->look, demo->queue, &look, 0, NULL, NULL, &demo->error));
    TRY(demo_read(demo, my->scores, my->all, sizeof my->all));
    for (int p = 0, row = 0; p < PERIOD; p++) /* latents by the phase that each reads most */
        for (int l = 0; l < LATENTS; l++)
            if (largest_of(my->all[0][l], LENGTH) % PERIOD == p) {
                for (int i = 0; i < SHOWN; i++)
                    read[row][i] = log10f(fmaxf(my->all[0][l][i], 1e-4f));
                row++;
            }
    return EXIT_DONE;
}

static enum exit_code learn(struct demo *demo, struct numbers *my)
{
    double before, after;
    begin(my);
    TRY(demo_write(demo, my->weights, VALUES(my), ON_DEVICE));
    TRY(judge(demo, my, &before, my->before));
    TRY(train(demo, my));
    TRY(judge(demo, my, &after, my->after));
    printf("right     %.1f %% before, %.1f %% after, of %d questions about unseen inputs of %d symbols\n",
           100 * (1 - before), 100 * (1 - after), TESTED * BATCH * QUERIES, LENGTH);
    return demo_check("share of masked symbols that are answered wrongly", after, 0.05);
}

static enum exit_code run(struct demo *demo)
{
    struct numbers *my = demo->memory;
    progress("building kernels");
    TRY(make(demo, my));
    TRY(demo_buffer(demo, NULL, sizeof my->all, &my->scores));
    TRY(learned_create(&my->learned, sizeof(struct weights) / sizeof(float)));
    enum exit_code code = learn(demo, my);
    learned_free(&my->learned);
    TRY(code);
    const struct heatmap_panel panels[] = {
        {"before", *my->before, LATENTS, SHOWN, 0, 0, NULL, NULL, NULL},
        {"after", *my->after, LATENTS, SHOWN, 0, 0, NULL, NULL, NULL},
    };
    return demo_picture(demo, &(struct heatmap){"train-perceiver-io: what latents read (log10 of weights)",
                                                "latent, by phase", "symbol, the first of 2048", panels, 2, 1});
}

const struct demo_entry demo_train_perceiver_io = {
    "train-perceiver-io", "latents learn to say which symbol is masked in a long input (Jaegle 2021)", false, run,
    sizeof(struct numbers)};
