/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An encoder-decoder Transformer (Vaswani et al. 2017, "Attention Is All You Need") that learns to sort: it is shown
 * sequences of letters beside the same letters in order, from random weights on, until it sorts sequences that it has
 * never seen.
 *
 *   encoder   x = letters + places;  x += attention(norm x);  x += hidden(norm x);  memory = norm x
 *   decoder   y = letters so far + places;  y += causal attention(norm y);  y += attention(norm y, memory);
 *             y += hidden(norm y);  the next letter = the largest of classify(norm y)
 *
 * hidden is a projection to twice the width, a rectifier, and a projection back; norms come before what they feed, as
 * in Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", which learns without patience.
 *
 * Every attention and every projection, there and back, is a run on the device; embedding, normalisation, rectifier,
 * loss and AdamW are the few lines of training.c and below. A letter is predicted from those before it in the right
 * order, so that one run learns all places at once. Where every one of these predictions is right, so is what the
 * network writes by itself: each of its letters follows from its own right ones before.
 */
#include "demo/common.h"
#include "demo/training.h"
#include "shared/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    LENGTH = 12,
    LETTERS = 26,
    START = LETTERS, /* what the decoder is given before there is a letter */
    WIDTH = 64,
    HEADS = 4,
    HIDDEN = 2 * WIDTH,
    BATCH = 64,
    TOKENS = BATCH * LENGTH,
    STEPS = 1300,
    TESTS = 16 /* batches that are not learned from */
};

/* ---- projections and attention on the device ------------------------------------------------------------------ */

/* Of all that is learned, `weight` and `bias` count numbers from the first. */
struct projection {
    int in, out;
    size_t weight, bias;
    clattn_plan *plan, *back;
    clattn_linear_args args;
    clattn_linear_backward_args back_args;
};

struct attention {
    bool cross, causal;
    size_t weight, bias, last_weight, last_bias; /* those of queries, keys and values together, and the last ones */
    clattn_plan *plan, *back;
    clattn_layer_args args;
    clattn_layer_backward_args back_args;
};

struct norm {
    size_t gain, bias;
    float output[TOKENS * WIDTH];
};

enum { ENCODE, ENCODE_HIDDEN, MEMORY, DECODE, CROSS, DECODE_HIDDEN, CLASSIFY, NORMS };

struct network {
    struct learned learned; /* what the device computes with comes first */
    size_t on_device;
    clattn_buffer values, gradients, workspace;
    struct attention encode, decode, cross;
    struct projection widen[2], narrow[2], classify; /* of encoder and decoder */
    struct norm norms[NORMS];
    size_t letters, source_places, target_places; /* embeddings, [LETTERS + 1, WIDTH] and [LENGTH, WIDTH] */

    int source[TOKENS], before[TOKENS], target[TOKENS];           /* letters; `before` is the target one place later */
    float encoder[3][TOKENS * WIDTH], decoder[4][TOKENS * WIDTH]; /* as each sublayer finds them and the last leaves */
    float hidden[2][TOKENS * HIDDEN], logits[TOKENS * LETTERS], d_logits[TOKENS * LETTERS];
    float change[TOKENS * WIDTH], d_hidden[TOKENS * HIDDEN];
    float d_change[TOKENS * WIDTH], d_encoder[TOKENS * WIDTH], d_decoder[TOKENS * WIDTH], d_memory[TOKENS * WIDTH];
    float loss[STEPS];
    float weights[2][HEADS][LENGTH * LENGTH]; /* of the cross-attention over one sequence, before and after */
};

static size_t take(struct network *net, size_t count)
{
    net->learned.count += count;
    return net->learned.count - count;
}

static void lay_out_projection(struct network *net, struct projection *p, int in, int out)
{
    *p = (struct projection){.in = in, .out = out};
    p->weight = take(net, (size_t)in * (size_t)out);
    p->bias = take(net, (size_t)out);
}

static void lay_out_attention(struct network *net, struct attention *a)
{
    a->weight = take(net, 3 * WIDTH * WIDTH);
    a->bias = take(net, 3 * WIDTH);
    a->last_weight = take(net, WIDTH * WIDTH);
    a->last_bias = take(net, WIDTH);
}

static void lay_out(struct network *net)
{
    net->decode.causal = net->cross.cross = true;
    lay_out_attention(net, &net->encode);
    lay_out_attention(net, &net->decode);
    lay_out_attention(net, &net->cross);
    for (int n = 0; n < 2; n++) {
        lay_out_projection(net, &net->widen[n], WIDTH, HIDDEN);
        lay_out_projection(net, &net->narrow[n], HIDDEN, WIDTH);
    }
    lay_out_projection(net, &net->classify, WIDTH, LETTERS);
    net->on_device = net->learned.count;
    for (int n = 0; n < NORMS; n++) {
        net->norms[n].gain = take(net, WIDTH);
        net->norms[n].bias = take(net, WIDTH);
    }
    net->letters = take(net, (LETTERS + 1) * WIDTH);
    net->source_places = take(net, LENGTH * WIDTH);
    net->target_places = take(net, LENGTH * WIDTH);
}

static clattn_buffer at(clattn_buffer all, size_t number)
{
    return demo_at(all, number * sizeof(float));
}

static enum exit_code floats(struct demo *demo, size_t count, clattn_buffer *buffer)
{
    return demo_buffer(demo, NULL, count * sizeof(float), buffer);
}

static enum exit_code make_projection(struct demo *demo, const struct network *net, struct projection *p)
{
    clattn_linear_desc desc;
    clattn_linear_backward_desc back;
    clattn_linear_desc_init(&desc);
    desc.batch = BATCH;
    desc.length = LENGTH;
    desc.in_features = p->in;
    desc.out_features = p->out;
    desc.bias = 1;
    clattn_linear_backward_desc_init(&back);
    back.linear = &desc;
    back.d_input = back.d_weight = back.d_bias = 1;
    clattn_plan **plan = demo_plan(demo), **back_plan = demo_plan(demo);
    CALL(clattn_linear_plan_create(demo->context, &desc, plan, &demo->error));
    CALL(clattn_linear_backward_plan_create(demo->context, &back, back_plan, &demo->error));
    p->plan = *plan;
    p->back = *back_plan;
    clattn_linear_args_init(&p->args, p->plan);
    TRY(floats(demo, (size_t)TOKENS * (size_t)p->in, &p->args.input));
    TRY(floats(demo, (size_t)TOKENS * (size_t)p->out, &p->args.output));
    p->args.weight = at(net->values, p->weight);
    p->args.bias = at(net->values, p->bias);
    clattn_linear_backward_args_init(&p->back_args, p->back);
    p->back_args.input = p->args.input;
    p->back_args.weight = p->args.weight;
    p->back_args.d_output = p->args.output; /* which nobody reads again */
    TRY(floats(demo, (size_t)TOKENS * (size_t)p->in, &p->back_args.d_input));
    p->back_args.d_weight = at(net->gradients, p->weight);
    p->back_args.d_bias = at(net->gradients, p->bias);
    return EXIT_DONE;
}

static void describe_attention(const struct attention *a, clattn_attention_desc *attention, clattn_layer_desc *desc)
{
    clattn_attention_desc_init(attention);
    attention->batch = BATCH;
    attention->q_heads = attention->kv_heads = HEADS;
    attention->q_len = attention->kv_len = LENGTH;
    attention->head_dim = WIDTH / HEADS;
    attention->causal = a->causal;
    attention->alignment = a->causal ? CLATTN_ALIGN_TOP_LEFT : CLATTN_ALIGN_NONE;
    clattn_layer_desc_init(desc);
    desc->attention = attention;
    desc->inputs = a->cross ? CLATTN_LAYER_CROSS : CLATTN_LAYER_SELF;
    desc->width = WIDTH;
    desc->bias = 1;
}

/* The weights of `a` in `all`, or their gradients: w_q, w_k and w_v behind one another, and w_o; the same of biases. */
static void place_weights(const struct attention *a, clattn_buffer all, clattn_buffer *const to[8])
{
    for (int n = 0; n < 3; n++) {
        *to[n] = at(all, a->weight + (size_t)n * WIDTH * WIDTH);
        *to[4 + n] = at(all, a->bias + (size_t)n * WIDTH);
    }
    *to[3] = at(all, a->last_weight);
    *to[7] = at(all, a->last_bias);
}

static void place_values(const struct attention *a, clattn_buffer values, clattn_layer_args *args)
{
    clattn_buffer *const to[8] = {&args->w_q, &args->w_k, &args->w_v, &args->w_o,
                                  &args->b_q, &args->b_k, &args->b_v, &args->b_o};
    place_weights(a, values, to);
}

static enum exit_code make_backward(struct demo *demo, const struct network *net, struct attention *a,
                                    const clattn_layer_desc *layer)
{
    clattn_layer_backward_desc desc;
    clattn_layer_backward_args *args = &a->back_args;
    clattn_layer_backward_desc_init(&desc);
    desc.layer = layer;
    desc.d_input = desc.d_w_q = desc.d_w_k = desc.d_w_v = desc.d_w_o = 1;
    desc.d_b_q = desc.d_b_k = desc.d_b_v = desc.d_b_o = 1;
    desc.d_context = a->cross;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_layer_backward_plan_create(demo->context, &desc, plan, &demo->error));
    a->back = *plan;
    clattn_layer_backward_args_init(args, a->back);
    args->input = a->args.input;
    args->context = a->args.context;
    args->w_q = a->args.w_q;
    args->w_k = a->args.w_k;
    args->w_v = a->args.w_v;
    args->w_o = a->args.w_o;
    args->kept = a->args.kept;
    args->d_output = a->args.output; /* which nobody reads again */
    TRY(floats(demo, TOKENS * WIDTH, &args->d_input));
    if (a->cross)
        TRY(floats(demo, TOKENS * WIDTH, &args->d_context));
    clattn_buffer *const to[8] = {&args->d_w_q, &args->d_w_k, &args->d_w_v, &args->d_w_o,
                                  &args->d_b_q, &args->d_b_k, &args->d_b_v, &args->d_b_o};
    place_weights(a, net->gradients, to);
    return EXIT_DONE;
}

static enum exit_code make_attention(struct demo *demo, const struct network *net, struct attention *a)
{
    clattn_attention_desc attention;
    clattn_layer_desc desc;
    describe_attention(a, &attention, &desc);
    desc.keep = 1;
    clattn_plan **plan = demo_plan(demo);
    CALL(clattn_layer_plan_create(demo->context, &desc, plan, &demo->error));
    a->plan = *plan;
    clattn_layer_args_init(&a->args, a->plan);
    TRY(floats(demo, TOKENS * WIDTH, &a->args.input));
    if (a->cross)
        TRY(floats(demo, TOKENS * WIDTH, &a->args.context));
    TRY(floats(demo, TOKENS * WIDTH, &a->args.output));
    TRY(demo_buffer(demo, NULL, clattn_layer_kept_size(a->plan), &a->args.kept));
    place_values(a, net->values, &a->args);
    return make_backward(demo, net, a, &desc);
}

/* output = input w^T + b */
static enum exit_code project(struct demo *demo, struct projection *p, const float *input, float *output)
{
    TRY(demo_write(demo, p->args.input, input, (size_t)TOKENS * (size_t)p->in * sizeof *input));
    CALL(clattn_linear_run(p->plan, demo->queue, &p->args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, p->args.output, output, (size_t)TOKENS * (size_t)p->out * sizeof *output);
}

static enum exit_code project_back(struct demo *demo, struct projection *p, const float *d_output, float *d_input)
{
    TRY(demo_write(demo, p->back_args.d_output, d_output, (size_t)TOKENS * (size_t)p->out * sizeof *d_output));
    CALL(clattn_linear_backward_run(p->back, demo->queue, &p->back_args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, p->back_args.d_input, d_input, (size_t)TOKENS * (size_t)p->in * sizeof *d_input);
}

/* `context` NULL: self-attention. */
static enum exit_code attend(struct demo *demo, struct attention *a, const float *input, const float *context,
                             float *output)
{
    const size_t bytes = sizeof(float[TOKENS * WIDTH]);
    TRY(demo_write(demo, a->args.input, input, bytes));
    if (context != NULL)
        TRY(demo_write(demo, a->args.context, context, bytes));
    CALL(clattn_layer_run(a->plan, demo->queue, &a->args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, a->args.output, output, bytes);
}

static enum exit_code attend_back(struct demo *demo, struct attention *a, const float *d_output, float *d_input,
                                  float *d_context)
{
    const size_t bytes = sizeof(float[TOKENS * WIDTH]);
    TRY(demo_write(demo, a->back_args.d_output, d_output, bytes));
    CALL(clattn_layer_backward_run(a->back, demo->queue, &a->back_args, 0, NULL, NULL, &demo->error));
    if (d_context != NULL)
        TRY(demo_read(demo, a->back_args.d_context, d_context, bytes));
    return demo_read(demo, a->back_args.d_input, d_input, bytes);
}

/* ---- the network ---------------------------------------------------------------------------------------------- */

static const float *normalise(struct network *net, int number, const float *input)
{
    struct norm *norm = &net->norms[number];
    const float *value = net->learned.value;
    norm_forward(input, value + norm->gain, value + norm->bias, TOKENS, WIDTH, norm->output);
    return norm->output;
}

/* Adds what the gradient of the normalised is to `d_input`, that of its input. */
static void normalise_back(struct network *net, int number, const float *input, const float *d_output, float *d_input)
{
    const struct norm *norm = &net->norms[number];
    float *gradient = net->learned.gradient;
    norm_backward(input, net->learned.value + norm->gain, d_output, TOKENS, WIDTH, d_input, gradient + norm->gain,
                  gradient + norm->bias);
}

static void embed(const struct network *net, const int *letters, size_t places, float *output)
{
    for (int t = 0; t < TOKENS; t++)
        for (int d = 0; d < WIDTH; d++)
            output[t * WIDTH + d] = net->learned.value[net->letters + (size_t)(letters[t] * WIDTH + d)] +
                                    net->learned.value[places + (size_t)(t % LENGTH * WIDTH + d)];
}

static void embed_back(struct network *net, const int *letters, size_t places, const float *d_output)
{
    for (int t = 0; t < TOKENS; t++)
        for (int d = 0; d < WIDTH; d++) {
            net->learned.gradient[net->letters + (size_t)(letters[t] * WIDTH + d)] += d_output[t * WIDTH + d];
            net->learned.gradient[places + (size_t)(t % LENGTH * WIDTH + d)] += d_output[t * WIDTH + d];
        }
}

static void add_change(const struct network *net, const float *before, float *after)
{
    for (int i = 0; i < TOKENS * WIDTH; i++)
        after[i] = before[i] + net->change[i];
}

static enum exit_code hidden(struct demo *demo, struct network *net, int number, const float *input)
{
    TRY(project(demo, &net->widen[number], input, net->hidden[number]));
    relu_forward(net->hidden[number], TOKENS * HIDDEN);
    return project(demo, &net->narrow[number], net->hidden[number], net->change);
}

static enum exit_code hidden_back(struct demo *demo, struct network *net, int number, const float *d_output)
{
    TRY(project_back(demo, &net->narrow[number], d_output, net->d_hidden));
    relu_backward(net->hidden[number], net->d_hidden, TOKENS * HIDDEN);
    return project_back(demo, &net->widen[number], net->d_hidden, net->d_change);
}

static enum exit_code forward(struct demo *demo, struct network *net)
{
    float(*x)[TOKENS * WIDTH] = net->encoder, (*y)[TOKENS * WIDTH] = net->decoder;
    embed(net, net->source, net->source_places, x[0]);
    TRY(attend(demo, &net->encode, normalise(net, ENCODE, x[0]), NULL, net->change));
    add_change(net, x[0], x[1]);
    TRY(hidden(demo, net, 0, normalise(net, ENCODE_HIDDEN, x[1])));
    add_change(net, x[1], x[2]);
    const float *memory = normalise(net, MEMORY, x[2]);

    embed(net, net->before, net->target_places, y[0]);
    TRY(attend(demo, &net->decode, normalise(net, DECODE, y[0]), NULL, net->change));
    add_change(net, y[0], y[1]);
    TRY(attend(demo, &net->cross, normalise(net, CROSS, y[1]), memory, net->change));
    add_change(net, y[1], y[2]);
    TRY(hidden(demo, net, 1, normalise(net, DECODE_HIDDEN, y[2])));
    add_change(net, y[2], y[3]);
    return project(demo, &net->classify, normalise(net, CLASSIFY, y[3]), net->logits);
}

/* From d_logits to the gradients of all that is learned, the other way round. What a sublayer adds to has the gradient
 * of the sum, and adds to it what comes back through the sublayer. */
static enum exit_code backward(struct demo *demo, struct network *net)
{
    float(*x)[TOKENS * WIDTH] = net->encoder, (*y)[TOKENS * WIDTH] = net->decoder;
    float *dx = net->d_encoder, *dy = net->d_decoder, *d_change = net->d_change;
    memset(net->learned.gradient, 0, net->learned.count * sizeof(float));
    memset(dx, 0, sizeof net->d_encoder);
    memset(dy, 0, sizeof net->d_decoder);
    TRY(project_back(demo, &net->classify, net->d_logits, d_change));
    normalise_back(net, CLASSIFY, y[3], d_change, dy);
    TRY(hidden_back(demo, net, 1, dy));
    normalise_back(net, DECODE_HIDDEN, y[2], d_change, dy);
    TRY(attend_back(demo, &net->cross, dy, d_change, net->d_memory));
    normalise_back(net, CROSS, y[1], d_change, dy);
    TRY(attend_back(demo, &net->decode, dy, d_change, NULL));
    normalise_back(net, DECODE, y[0], d_change, dy);
    embed_back(net, net->before, net->target_places, dy);

    normalise_back(net, MEMORY, x[2], net->d_memory, dx);
    TRY(hidden_back(demo, net, 0, dx));
    normalise_back(net, ENCODE_HIDDEN, x[1], d_change, dx);
    TRY(attend_back(demo, &net->encode, dx, d_change, NULL));
    normalise_back(net, ENCODE, x[0], d_change, dx);
    embed_back(net, net->source, net->source_places, dx);
    return demo_read(demo, net->gradients, net->learned.gradient, net->on_device * sizeof(float));
}

/* ---- sequences ------------------------------------------------------------------------------------------------ */

/*
 * A batch of random sequences: of those whose letters' numbers add up to a multiple of 8, which nothing is ever learned
 * from, or of the others.
 */
static void draw_batch(struct network *net, uint64_t stream, bool held_out)
{
    uint64_t index = 0;
    for (int *s = net->source, *y = net->target; s < net->source + TOKENS; s += LENGTH, y += LENGTH) {
        int sum, count[LETTERS] = {0}, place = 0;
        do {
            sum = 0;
            for (int i = 0; i < LENGTH; i++)
                sum += s[i] = (int)(random_bits(1, stream, index++) % LETTERS);
        } while ((sum % 8 == 0) != held_out);
        for (int i = 0; i < LENGTH; i++)
            count[s[i]]++;
        for (int letter = 0; letter < LETTERS; letter++)
            for (int n = 0; n < count[letter]; n++)
                y[place++] = letter;
    }
    for (int t = 0; t < TOKENS; t++)
        net->before[t] = t % LENGTH == 0 ? START : net->target[t - 1];
}

static bool is_sorted(const struct network *net, int sequence)
{
    for (int t = sequence * LENGTH; t < (sequence + 1) * LENGTH; t++)
        if (largest_of(net->logits + t * LETTERS, LETTERS) != net->target[t])
            return false;
    return true;
}

/* The share of held-out sequences that come out wrong somewhere. */
static enum exit_code test(struct demo *demo, struct network *net, const char *when, double *wrong)
{
    double loss = 0;
    int right = 0;
    for (int batch = 0; batch < TESTS; batch++) {
        draw_batch(net, 1000000 + (uint64_t)batch, true);
        TRY(forward(demo, net));
        loss += cross_entropy(net->logits, net->target, TOKENS, LETTERS, NULL, NULL) / TESTS;
        for (int n = 0; n < BATCH; n++)
            right += is_sorted(net, n);
    }
    printf("%-9s held-out sequences: loss %.3f, %d of %d sorted\n", when, loss, right, TESTS * BATCH);
    *wrong = 1 - (double)right / (TESTS * BATCH);
    return EXIT_DONE;
}

/* ---- learning ------------------------------------------------------------------------------------------------- */

static void init(struct network *net, size_t first, size_t count, double deviation)
{
    demo_normal(net->learned.value + first, count, (float)deviation, first);
}

static void init_projection(struct network *net, const struct projection *p)
{
    init(net, p->weight, (size_t)p->in * (size_t)p->out, 1 / sqrt(p->in));
}

static void init_attention(struct network *net, const struct attention *a)
{
    init(net, a->weight, 3 * WIDTH * WIDTH, 1 / sqrt(WIDTH));
    init(net, a->last_weight, WIDTH * WIDTH, 1 / sqrt(WIDTH));
}

static void init_all(struct network *net)
{
    init_attention(net, &net->encode);
    init_attention(net, &net->decode);
    init_attention(net, &net->cross);
    for (int n = 0; n < 2; n++) {
        init_projection(net, &net->widen[n]);
        init_projection(net, &net->narrow[n]);
    }
    init_projection(net, &net->classify);
    for (int n = 0; n < NORMS; n++)
        for (int d = 0; d < WIDTH; d++)
            net->learned.value[net->norms[n].gain + (size_t)d] = 1;
    init(net, net->letters, (LETTERS + 1) * WIDTH, 0.5);
    init(net, net->source_places, LENGTH * WIDTH, 0.5);
    init(net, net->target_places, LENGTH * WIDTH, 0.5);
}

static enum exit_code create(struct demo *demo, struct network *net)
{
    lay_out(net);
    TRY(learned_create(&net->learned, net->learned.count));
    init_all(net);
    TRY(floats(demo, net->on_device, &net->values));
    TRY(floats(demo, net->on_device, &net->gradients));
    TRY(demo_write(demo, net->values, net->learned.value, net->on_device * sizeof(float)));
    struct attention *attentions[] = {&net->encode, &net->decode, &net->cross};
    struct projection *projections[] = {&net->widen[0], &net->widen[1], &net->narrow[0], &net->narrow[1],
                                        &net->classify};
    for (int n = 0; n < 3; n++) {
        progress("building kernels");
        TRY(make_attention(demo, net, attentions[n]));
    }
    for (int n = 0; n < 5; n++)
        TRY(make_projection(demo, net, projections[n]));
    progress(NULL);
    return EXIT_DONE;
}

static enum exit_code learn(struct demo *demo, struct network *net)
{
    for (int step = 0; step < STEPS; step++) {
        char text[80];
        draw_batch(net, (uint64_t)step, false);
        TRY(forward(demo, net));
        net->loss[step] = (float)cross_entropy(net->logits, net->target, TOKENS, LETTERS, net->d_logits, NULL);
        TRY(backward(demo, net));
        learned_step(&net->learned, learning_rate(step, STEPS, 3e-3), 0.01);
        TRY(demo_write(demo, net->values, net->learned.value, net->on_device * sizeof(float)));
        snprintf(text, sizeof text, "learning: loss %.3f", (double)net->loss[step]);
        progress_bar((step + 1.0) / STEPS, text);
    }
    progress(NULL);
    return EXIT_DONE;
}

/* ---- the picture ---------------------------------------------------------------------------------------------- */

/* The cross-attention's weights over the first held-out sequence: its layer again, which gives them out. */
static enum exit_code look(struct demo *demo, struct network *net, float weights[HEADS][LENGTH * LENGTH])
{
    clattn_attention_desc attention;
    clattn_layer_desc desc;
    clattn_plan **plan = demo_plan(demo);
    clattn_layer_args args;
    draw_batch(net, 1000000, true);
    TRY(forward(demo, net));
    describe_attention(&net->cross, &attention, &desc);
    attention.batch = 1;
    attention.scores_stage = CLATTN_SCORES_WEIGHTS;
    CALL(clattn_layer_plan_create(demo->context, &desc, plan, &demo->error));
    clattn_layer_args_init(&args, *plan);
    args.input = net->cross.args.input;
    args.context = net->cross.args.context;
    args.output = net->cross.args.output;
    place_values(&net->cross, net->values, &args);
    TRY(floats(demo, HEADS * LENGTH * LENGTH, &args.scores));
    CALL(clattn_layer_run(*plan, demo->queue, &args, 0, NULL, NULL, &demo->error));
    return demo_read(demo, args.scores, weights, sizeof(float[HEADS][LENGTH * LENGTH]));
}

static enum exit_code draw(struct demo *demo, const struct network *net)
{
    static float mean[2][LENGTH * LENGTH]; /* of the heads */
    static char letters[2][LENGTH][2];
    const char *names[2][LENGTH];
    const struct picture *curve;
    for (int t = 0; t < LENGTH; t++) {
        letters[0][t][0] = (char)('a' + net->source[t]);
        letters[1][t][0] = (char)('a' + net->target[t]);
        names[0][t] = letters[0][t];
        names[1][t] = letters[1][t];
    }
    for (int when = 0; when < 2; when++)
        for (int i = 0; i < LENGTH * LENGTH; i++)
            for (int h = 0; h < HEADS; h++)
                mean[when][i] += net->weights[when][h][i] / HEADS;
    TRY(demo_curve(demo, net->loss, STEPS, &curve));
    const struct heatmap_panel panels[3] = {
        {.caption = "loss, step by step", .picture = curve},
        {"before learning", mean[0], LENGTH, LENGTH, 0, 0, names[1], names[0], NULL},
        {"after", mean[1], LENGTH, LENGTH, 0, 0, names[1], names[0], NULL},
    };
    return demo_picture(demo, &(struct heatmap){"train: where the decoder looks for the next letter in order",
                                                "next letter", "letters as given", panels, 3, 3});
}

/* At how many of the places the largest weight, of all heads together, lies on the next letter: their share. */
static double share_found(const struct network *net, float weights[HEADS][LENGTH * LENGTH])
{
    int found = 0;
    for (int i = 0; i < LENGTH; i++) {
        float row[LENGTH] = {0};
        for (int h = 0; h < HEADS; h++)
            for (int j = 0; j < LENGTH; j++)
                row[j] += weights[h][i * LENGTH + j];
        found += net->source[largest_of(row, LENGTH)] == net->target[i];
    }
    return (double)found / LENGTH;
}

static enum exit_code train(struct demo *demo, struct network *net)
{
    double wrong;
    TRY(create(demo, net));
    printf("network   %zu numbers to learn, %d letters of %d, batches of %d, %d steps\n", net->learned.count, LENGTH,
           LETTERS, BATCH, STEPS);
    printf("layer     %s\n", clattn_plan_problem(net->cross.plan));
    TRY(test(demo, net, "before", &wrong));
    TRY(look(demo, net, net->weights[0]));
    TRY(learn(demo, net));
    TRY(test(demo, net, "after", &wrong));
    TRY(look(demo, net, net->weights[1]));
    printf("looks     where the next letter is: in %.0f %% of all places, before in %.0f %%\n",
           100 * share_found(net, net->weights[1]), 100 * share_found(net, net->weights[0]));
    TRY(demo_check("held-out sequences that are not sorted, of all", wrong, 0.01));
    return draw(demo, net);
}

static enum exit_code run(struct demo *demo)
{
    struct network *net = demo->memory;
    enum exit_code code = train(demo, net);
    learned_free(&net->learned);
    return code;
}

const struct demo_entry demo_train = {"train", "a Transformer learns to sort, from random weights (Vaswani 2017)",
                                      false, run, sizeof(struct network)};
