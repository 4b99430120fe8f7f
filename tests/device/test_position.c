/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary embedding and sinusoidal encoding against their formulas in long double: both pairings, parts of a head, every
 * kind of position, tables, strides, types, in place, lengths below the plan's, far positions, backward; and what they
 * are for: products of turned queries and keys depend on the distance alone.
 */
#include "compare.h"
#include "tensors.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The promise of position.h for sines and cosines. */
#define ANGLE_BOUND 1e-6

/* ---- positions ------------------------------------------------------------------------------------------------ */

/* A buffer of `count` integers of this type, the first at an odd place and numbers of no use around them. */
static clattn_buffer upload_positions(const struct harness *harness, clattn_lengths type, const int64_t *positions,
                                      int64_t count, cl_mem *mem)
{
    size_t size = type == CLATTN_LENGTHS_I32 ? 4 : 8;
    size_t bytes = (size_t)(count + 6) * size;
    unsigned char *data = malloc(bytes);
    cl_int code = CL_SUCCESS;

    assert_non_null(data);
    memset(data, 0x5a, bytes);
    for (int64_t n = 0; n < count; ++n) {
        int32_t narrow = (int32_t)positions[n];
        memcpy(data + (size_t)(n + 3) * size, size == 4 ? (const void *)&narrow : (const void *)&positions[n], size);
    }
    *mem = clCreateBuffer(harness->cl_ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, data, &code);
    assert_int_equal(code, CL_SUCCESS);
    free(data);
    return (clattn_buffer){.mem = *mem, .offset = 3 * size};
}

static long double angle_of(long double position, double base, int64_t k, int64_t n)
{
    return position * powl(base, -(long double)k / (long double)n);
}

/* Half a unit in the last place of `dtype`, at a number near `expected`. */
static double rounding(clattn_dtype dtype, double expected)
{
    return 0.5 * compare_epsilon(dtype) * fabs(expected) + compare_smallest_normal(dtype);
}

/* ---- rotary --------------------------------------------------------------------------------------------------- */

enum lay { DENSE, PADDED, BSHD };

enum spread { NO_TABLES, SHARED, OWN }; /* whose the tables are */

struct rotary_case {
    int64_t batch, heads, length, head_dim, rotary_dim;
    clattn_rotary_pairs pairs;
    clattn_lengths positions;
    enum spread tables;
    enum lay lay;
    clattn_dtype input, output;
    bool in_place;
    int64_t run_length; /* 0: the plan's */
    int64_t offset;
    double base;
    clattn_dtype table;
    bool backward;
};

static struct tensor make(const struct rotary_case *c, clattn_dtype dtype)
{
    if (c->lay != BSHD)
        return tensor_make(dtype, c->batch, c->heads, c->length, c->head_dim, c->lay == PADDED ? 5 : 0);
    struct tensor t =
        tensor_make(dtype, c->batch, c->heads, c->length, c->head_dim, 0); /* the same size, other order */
    const int64_t strides[4] = {c->length * c->heads * c->head_dim, c->head_dim, c->heads * c->head_dim, 1};
    memcpy(t.layout.strides, strides, sizeof strides);
    memcpy(t.strides, strides, sizeof strides);
    return t;
}

/* Positions of every kind: out of the tables, negative, far and equal ones. */
static int64_t made_up_position(const struct rotary_case *c, int64_t n, uint64_t *seed)
{
    static const int64_t special[] = {0, -1, 1, INT32_MAX, INT32_MIN, -12345, (1 << 24) + 1};
    if (n % 3 == 0)
        return special[n / 3 % 7];
    return (int64_t)(case_random(seed) % (uint64_t)(2 * c->length + 3));
}

/* The cosine and the sine of pair k of token i, as the tables have them or as they should be. */
static void turn_of(const struct rotary_case *c, const struct tensor *cosines, const struct tensor *sines,
                    int64_t position, int64_t b, int64_t k, long double *cosine, long double *sine)
{
    if (c->tables == NO_TABLES) {
        long double angle = angle_of((long double)position, c->base, k, c->rotary_dim / 2);
        *cosine = cosl(angle);
        *sine = sinl(angle);
        return;
    }
    int64_t last = cosines->extent[2] - 1;
    int64_t row = position < 0 ? 0 : position > last ? last : position;
    *cosine = tensor_get(cosines, c->tables == OWN ? b : 0, 0, row, k);
    *sine = tensor_get(sines, c->tables == OWN ? b : 0, 0, row, k);
}

static void check_rotary(const struct rotary_case *c, const char *name, const struct tensor *from,
                         const struct tensor *to, const struct tensor *cosines, const struct tensor *sines,
                         const int64_t *positions)
{
    int64_t half = c->rotary_dim / 2;

    TENSOR_FOR_EACH(to)
    {
        double found = tensor_get(to, b, h, i, j);
        double x = tensor_get(from, b, h, i, j);
        double expected = oracle_round(c->output, x);
        double bound = 0.0;
        if (j < c->rotary_dim) {
            bool interleaved = c->pairs == CLATTN_ROTARY_INTERLEAVED;
            int64_t k = interleaved ? j / 2 : j % half;
            bool second = interleaved ? j % 2 != 0 : j >= half;
            int64_t other = interleaved ? j ^ 1 : second ? j - half : j + half;
            double y = tensor_get(from, b, h, i, other);
            long double cosine, sine;
            turn_of(c, cosines, sines, positions[b * c->length + i], b, k, &cosine, &sine);
            expected = (double)(x * cosine + (second != c->backward ? y : -y) * sine);
            double size = c->tables == NO_TABLES ? ANGLE_BOUND * (fabs(x) + fabs(y))
                                                 : 0x1p-22 * (fabs(x * (double)cosine) + fabs(y * (double)sine));
            bound = size + rounding(c->output, fabs(expected) + size);
        }
        if (!(fabs(found - expected) <= bound))
            fail_msg("%s: output[%d,%d,%d,%d] is %.9g: expected %.9g, bound %.3g", name, (int)b, (int)h, (int)i, (int)j,
                     found, expected, bound);
    }
}

static void rotary_of_case(const struct harness *harness, const struct rotary_case *c, const char *name)
{
    int64_t length = c->run_length != 0 ? c->run_length : c->length;
    int64_t table_length = c->tables != NO_TABLES ? c->length + c->offset : 1;
    struct tensor input = make(c, c->input);
    struct tensor original = make(c, c->input);
    struct tensor output = make(c, c->output);
    int64_t table_batch = c->tables == OWN ? c->batch : 1;
    struct tensor cosines = tensor_make(c->table, table_batch, 1, table_length, c->rotary_dim / 2, 0);
    struct tensor sines = tensor_make(c->table, table_batch, 1, table_length, c->rotary_dim / 2, 0);
    int64_t *positions = calloc((size_t)(c->batch * c->length), sizeof *positions);
    uint64_t seed = 99;
    cl_mem positions_mem = NULL;
    clattn_plan *plan = NULL;
    clattn_rotary_desc desc;
    clattn_rotary_args args;
    clattn_error error;

    assert_non_null(positions);
    for (int64_t n = 0; n < c->batch * c->length; ++n)
        positions[n] = c->positions != CLATTN_LENGTHS_NONE ? made_up_position(c, n, &seed) : c->offset + n % c->length;
    input.extent[2] = original.extent[2] = length; /* what lies past stays NaN */
    tensor_fill(&input, 1.0, 5);
    tensor_fill(&original, 1.0, 5);
    tensor_fill(&cosines, 1.0, 6); /* any numbers will do */
    tensor_fill(&sines, 1.0, 7);

    clattn_rotary_desc_init(&desc);
    desc.batch = c->batch;
    desc.heads = c->heads;
    desc.length = c->length;
    desc.head_dim = c->head_dim;
    desc.rotary_dim = c->rotary_dim == c->head_dim ? 0 : c->rotary_dim;
    desc.pairs = c->pairs;
    desc.base = c->base == 10000.0 ? 0.0 : c->base;
    desc.tables = c->tables != NO_TABLES;
    desc.table_batch = c->tables == OWN ? c->batch : 0;
    desc.table_length = table_length;
    desc.table = c->table;
    desc.positions = c->positions;
    desc.input = input.layout;
    desc.output = output.layout;
    desc.backward = c->backward;
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, name);
    assert_int_equal(clattn_plan_workspace_size(plan), 0);
    clattn_rotary_args_init(&args, plan);
    assert_true(args.length == c->length && args.offset == 0);
    args.length = length;
    args.offset = c->offset;
    args.input = tensor_upload(harness, &input);
    args.output = c->in_place ? args.input : tensor_upload(harness, &output);
    if (desc.tables) {
        args.cos = tensor_upload(harness, &cosines);
        args.sin = tensor_upload(harness, &sines);
    }
    if (c->positions != CLATTN_LENGTHS_NONE)
        args.positions = upload_positions(harness, c->positions, positions, c->batch * c->length, &positions_mem);
    harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, name);
    struct tensor *result = c->in_place ? &input : &output;
    result->extent[2] = length;
    tensor_download(harness, result);
    check_rotary(c, name, &original, result, &cosines, &sines, positions);

    clattn_plan_release(plan);
    if (positions_mem != NULL)
        clReleaseMemObject(positions_mem);
    free(positions);
    tensor_free(&input);
    tensor_free(&original);
    tensor_free(&output);
    tensor_free(&cosines);
    tensor_free(&sines);
}

#define F32  CLATTN_F32
#define F16  CLATTN_F16
#define BF16 CLATTN_BF16
#define NONE CLATTN_LENGTHS_NONE
#define I32  CLATTN_LENGTHS_I32
#define I64  CLATTN_LENGTHS_I64

static void rotary_is_right(void **state)
{
    static const struct rotary_case cases[] = {
        /* batch, heads, length, head_dim, rotary_dim, pairs, positions, tables, lay, types, in place, run, offset,
           base, type of the tables, backward */
        {1, 1, 1, 2, 2, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, DENSE, F32, F32, false, 0, 1, 10000.0, F32, false},
        {2, 3, 5, 64, 64, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, DENSE, F32, F32, false, 0, 0, 10000.0, F32, false},
        {2, 3, 5, 64, 64, CLATTN_ROTARY_INTERLEAVED, NONE, NO_TABLES, DENSE, F32, F32, true, 0, 7, 500000.0, F32,
         false},
        {1, 17, 33, 72, 72, CLATTN_ROTARY_HALVES, I32, NO_TABLES, BSHD, F32, F32, true, 0, 0, 10000.0, F32, false},
        {1, 17, 33, 72, 72, CLATTN_ROTARY_INTERLEAVED, I64, NO_TABLES, BSHD, F16, F16, true, 20, 0, 10000.0, F32,
         false},
        {3, 2, 9, 21, 6, CLATTN_ROTARY_HALVES, I64, NO_TABLES, PADDED, F32, F32, false, 0, 0, 10000.0, F32, false},
        {3, 2, 9, 21, 6, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, PADDED, F32, F32, true, 4, -3, 1.5, F32, false},
        {3, 9, 9, 21, 20, CLATTN_ROTARY_INTERLEAVED, I32, NO_TABLES, PADDED, BF16, F32, false, 5, 0, 10000.0, F32,
         false},
        {2, 8, 4, 203, 2, CLATTN_ROTARY_INTERLEAVED, NONE, NO_TABLES, DENSE, F16, F32, false, 0, 1 << 30, 10000.0, F32,
         false},
        {1, 1, 130, 203, 198, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, BSHD, F32, F16, false, 129, 100, 1e6, F32, false},
        {2, 2, 6, 128, 96, CLATTN_ROTARY_HALVES, I32, NO_TABLES, DENSE, BF16, BF16, true, 0, 0, 10000.0, F32, false},
        {2, 5, 6, 128, 128, CLATTN_ROTARY_HALVES, NONE, SHARED, DENSE, F32, F32, false, 0, 3, 10000.0, F32, false},
        {2, 5, 6, 128, 34, CLATTN_ROTARY_INTERLEAVED, NONE, OWN, PADDED, F32, F32, true, 3, 2, 10000.0, F32, false},
        {3, 5, 6, 40, 40, CLATTN_ROTARY_HALVES, I64, SHARED, BSHD, F32, BF16, false, 0, 0, 10000.0, F32, false},
        {3, 5, 6, 40, 38, CLATTN_ROTARY_INTERLEAVED, I32, OWN, DENSE, F16, F16, false, 5, 0, 10000.0, F32, false},
        {3, 1, 6, 8, 4, CLATTN_ROTARY_HALVES, I32, OWN, PADDED, BF16, F16, false, 0, 0, 10000.0, F32, false},
        {2, 5, 6, 128, 128, CLATTN_ROTARY_HALVES, NONE, SHARED, DENSE, F32, F32, false, 0, 3, 10000.0, F16, false},
        {2, 5, 6, 128, 34, CLATTN_ROTARY_INTERLEAVED, NONE, OWN, PADDED, F16, F16, true, 3, 2, 10000.0, F16, false},
        {3, 2, 6, 40, 38, CLATTN_ROTARY_HALVES, I64, SHARED, BSHD, F32, BF16, false, 0, 0, 10000.0, BF16, false},
        {3, 5, 6, 40, 40, CLATTN_ROTARY_INTERLEAVED, I32, OWN, DENSE, BF16, BF16, false, 5, 0, 10000.0, BF16, false},
        {2, 3, 5, 64, 64, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, DENSE, F32, F32, false, 0, 7, 10000.0, F32, true},
        {1, 17, 33, 72, 70, CLATTN_ROTARY_INTERLEAVED, I64, NO_TABLES, BSHD, F16, F16, true, 20, 0, 10000.0, F32, true},
        {3, 2, 9, 21, 6, CLATTN_ROTARY_HALVES, NONE, NO_TABLES, PADDED, BF16, F32, false, 4, -3, 1.5, F32, true},
        {2, 5, 6, 128, 34, CLATTN_ROTARY_INTERLEAVED, NONE, OWN, PADDED, F32, F32, true, 3, 2, 10000.0, F16, true},
        {3, 2, 6, 40, 38, CLATTN_ROTARY_HALVES, I64, SHARED, BSHD, F16, BF16, false, 0, 0, 10000.0, BF16, true},
    };
    char name[32];

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n) {
        snprintf(name, sizeof name, "case %d", (int)n);
        rotary_of_case(*state, &cases[n], name);
    }
}

/* The pair (1, 0) becomes (cos, sin): every base and head dim at near and far positions, given in both ways. */
static void angles_are_exact_at_any_distance(void **state)
{
    static const int64_t positions[] = {0,         1,         -1,        1000, 123456, -123456, (1 << 24) + 1,
                                        INT32_MAX, INT32_MIN, 987654321, 25};
    static const double bases[] = {10000.0, 1.0, 2.0, 500000.0, 1e6, 1e30};
    static const int64_t dims[] = {2, 6, 64, 128, 256};
    enum { COUNT = sizeof positions / sizeof *positions };
    const struct harness *harness = *state;
    double worst = 0.0;

    for (size_t of = 0; of < sizeof bases / sizeof *bases * (sizeof dims / sizeof *dims); ++of) {
        double base = bases[of / 5];
        int64_t dim = dims[of % 5];
        struct tensor t = tensor_make(F32, 1, 1, COUNT, dim, 0);
        cl_mem mem = NULL;
        clattn_plan *plan = NULL;
        clattn_rotary_desc desc;
        clattn_rotary_args args;
        clattn_error error;

        TENSOR_FOR_EACH(&t)
        tensor_put(&t, b, h, i, j, j % 2 == 0 ? 1.0 : 0.0);
        clattn_rotary_desc_init(&desc);
        desc.batch = desc.heads = 1;
        desc.length = COUNT;
        desc.head_dim = dim;
        desc.base = base;
        desc.pairs = CLATTN_ROTARY_INTERLEAVED;
        desc.positions = of % 2 == 0 ? I64 : I32;
        harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "angles");
        clattn_rotary_args_init(&args, plan);
        args.input = args.output = tensor_upload(harness, &t);
        args.positions = upload_positions(harness, desc.positions, positions, COUNT, &mem);
        harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "angles");
        tensor_download(harness, &t);
        TENSOR_FOR_EACH(&t)
        {
            long double angle = angle_of((long double)positions[i], base, j / 2, dim / 2);
            double expected = (double)(j % 2 == 0 ? cosl(angle) : sinl(angle));
            double difference = fabs(tensor_get(&t, b, h, i, j) - expected);
            worst = difference > worst ? difference : worst;
            if (!(difference <= ANGLE_BOUND))
                fail_msg("base %g, dim %d, position %lld, element %d is %.9g: expected %.9g", base, (int)dim,
                         (long long)positions[i], (int)j, tensor_get(&t, b, h, i, j), expected);
        }
        clattn_plan_release(plan);
        clReleaseMemObject(mem);
        tensor_free(&t);
    }
    print_message("largest error of a sine or cosine: %.3g\n", worst);
}

/* One plan of one token, run with this offset on a copy of `from`. */
static void turn_token(const struct harness *harness, clattn_plan *plan, const struct tensor *from, int64_t offset,
                       struct tensor *to)
{
    clattn_rotary_args args;
    clattn_error error;

    *to = tensor_make(F32, 1, 1, 1, from->extent[3], 0);
    memcpy(to->data, from->data, from->bytes);
    clattn_rotary_args_init(&args, plan);
    args.offset = offset;
    args.input = args.output = tensor_upload(harness, to);
    harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "token");
    tensor_download(harness, to);
}

static double turned_product(const struct harness *harness, clattn_plan *plan, const struct tensor *query, int64_t m,
                             const struct tensor *key, int64_t n)
{
    struct tensor a, b;
    double sum = 0.0;

    turn_token(harness, plan, query, m, &a);
    turn_token(harness, plan, key, n, &b);
    for (int64_t j = 0; j < query->extent[3]; ++j)
        sum += tensor_get(&a, 0, 0, 0, j) * tensor_get(&b, 0, 0, 0, j);
    tensor_free(&a);
    tensor_free(&b);
    return sum;
}

static void products_depend_on_the_distance_alone(void **state)
{
    static const int64_t shifts[] = {1, 17, 4095, 1000000, 2000000000, -70};
    const struct harness *harness = *state;

    for (int pairs = 0; pairs < 2; ++pairs) {
        struct tensor query = tensor_make(F32, 1, 1, 1, 64, 0);
        struct tensor key = tensor_make(F32, 1, 1, 1, 64, 0);
        clattn_plan *plan = NULL;
        clattn_rotary_desc desc;
        clattn_error error;
        double size = 0.0;

        tensor_fill(&query, 1.0, 1);
        tensor_fill(&key, 1.0, 2);
        for (int64_t j = 0; j < 64; ++j)
            size += fabs(tensor_get(&query, 0, 0, 0, j)) + fabs(tensor_get(&key, 0, 0, 0, j));
        clattn_rotary_desc_init(&desc);
        desc.batch = desc.heads = desc.length = 1;
        desc.head_dim = 64;
        desc.pairs = (clattn_rotary_pairs)pairs;
        harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "relative");
        double expected = turned_product(harness, plan, &query, 12, &key, 5);
        for (size_t s = 0; s < sizeof shifts / sizeof *shifts; ++s) {
            double found = turned_product(harness, plan, &query, 12 + shifts[s], &key, 5 + shifts[s]);
            if (!(fabs(found - expected) <= 4.0 * ANGLE_BOUND * size))
                fail_msg("pairs %d, shifted by %d: %.9g: expected %.9g", pairs, (int)shifts[s], found, expected);
            found = turned_product(harness, plan, &query, 12 + shifts[s], &key, 5);
            assert_true(fabs(found - expected) > 1e-3); /* at another distance it is another number */
        }
        clattn_plan_release(plan);
        tensor_free(&query);
        tensor_free(&key);
    }
}

/* One run of `desc`, with tables or without, from `from` to `to`, at offset 3. */
static void turn_all(const struct harness *harness, const clattn_rotary_desc *desc, struct tensor *from,
                     struct tensor *to, struct tensor *cosines, struct tensor *sines)
{
    clattn_plan *plan = NULL;
    clattn_rotary_args args;
    clattn_error error;

    harness_check(clattn_rotary_plan_create(harness->context, desc, &plan, &error), &error, "turn");
    clattn_rotary_args_init(&args, plan);
    args.offset = 3;
    args.input = tensor_upload(harness, from);
    args.output = tensor_upload(harness, to);
    if (desc->tables) {
        args.cos = tensor_upload(harness, cosines);
        args.sin = tensor_upload(harness, sines);
    }
    harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, "turn");
    tensor_download(harness, to);
    clattn_plan_release(plan);
    struct tensor *uploaded[] = {from, to, cosines, sines};
    for (size_t n = 0; n < 4; ++n) {
        if (uploaded[n]->mem != NULL)
            clReleaseMemObject(uploaded[n]->mem);
        uploaded[n]->mem = NULL;
    }
}

/* The sum of the products of all elements, and that of their sizes. */
static double product_of(const struct tensor *t, const struct tensor *u, double *size)
{
    double sum = 0.0;

    *size = 0.0;
    TENSOR_FOR_EACH(t)
    {
        double product = tensor_get(t, b, h, i, j) * tensor_get(u, b, h, i, j);
        sum += product;
        *size += fabs(product);
    }
    return sum;
}

/* The gradient of a linear map R is its transpose: <R x, y> = <x, R^T y>, of any tables; and R^T R x = x without. */
static void backward_is_the_transpose_and_the_inverse(void **state)
{
    enum { B = 2, H = 3, L = 7, D = 38, R = 34, TABLE = L + 3 };
    const struct harness *harness = *state;

    for (int n = 0; n < 6; ++n) {
        const clattn_dtype type = (clattn_dtype)(n % 3);
        struct tensor x = tensor_make(type, B, H, L, D, 0);
        struct tensor y = tensor_make(type, B, H, L, D, 0);
        struct tensor turned = tensor_make(type, B, H, L, D, 0);
        struct tensor back = tensor_make(type, B, H, L, D, 0);
        struct tensor cosines = tensor_make(type, 1, 1, TABLE, R / 2, 0);
        struct tensor sines = tensor_make(type, 1, 1, TABLE, R / 2, 0);
        clattn_rotary_desc desc;
        double size, other_size;

        tensor_fill(&x, 1.0, 1);
        tensor_fill(&y, 1.0, 2);
        tensor_fill(&cosines, 1.0, 3);
        tensor_fill(&sines, 1.0, 4);
        clattn_rotary_desc_init(&desc);
        desc.batch = B;
        desc.heads = H;
        desc.length = L;
        desc.head_dim = D;
        desc.rotary_dim = R;
        desc.pairs = n % 2 == 0 ? CLATTN_ROTARY_HALVES : CLATTN_ROTARY_INTERLEAVED;
        desc.tables = n >= 3;
        desc.table = type;
        desc.table_length = TABLE;
        desc.input.dtype = desc.output.dtype = type;
        turn_all(harness, &desc, &x, &turned, &cosines, &sines);
        desc.backward = 1;
        turn_all(harness, &desc, &y, &back, &cosines, &sines);
        const double forward = product_of(&turned, &y, &size);
        const double backward = product_of(&x, &back, &other_size);
        const double bound = (compare_epsilon(type) + 4.0 * ANGLE_BOUND) * (size + other_size);
        if (!(fabs(forward - backward) <= bound))
            fail_msg("case %d: <R x, y> is %.9g, <x, R^T y> is %.9g: expected the same", n, forward, backward);
        if (desc.tables == 0) {
            turn_all(harness, &desc, &turned, &back, &cosines, &sines);
            TENSOR_FOR_EACH(&x)
            {
                const double expected = tensor_get(&x, b, h, i, j);
                const bool stays = j >= R;
                const int64_t k = desc.pairs == CLATTN_ROTARY_HALVES ? (j + R / 2) % R : j ^ 1;
                const double pair = fabs(expected) + (stays ? 0.0 : fabs(tensor_get(&x, b, h, i, k)));
                const double most = stays ? 0.0 : 4.0 * ANGLE_BOUND * pair + 2.0 * rounding(type, pair);
                if (!(fabs(tensor_get(&back, b, h, i, j) - expected) <= most))
                    fail_msg("case %d: R^T R x at [%d,%d,%d,%d] is %.9g: expected %.9g", n, (int)b, (int)h, (int)i,
                             (int)j, tensor_get(&back, b, h, i, j), expected);
            }
        }
        tensor_free(&x);
        tensor_free(&y);
        tensor_free(&turned);
        tensor_free(&back);
        tensor_free(&cosines);
        tensor_free(&sines);
    }
}

/* ---- sinusoidal ----------------------------------------------------------------------------------------------- */

struct sinusoidal_case {
    int64_t batch, length, width, rows, columns;
    double row_scale, column_scale, base; /* 0: the default */
    bool add, in_place;
    clattn_lengths positions;
    int64_t padding;
    clattn_dtype input, output;
    int64_t run_length; /* 0: the plan's */
    int64_t offset;
    bool scales_set;
};

/* The formula of Vaswani et al. for each half on its own where there are columns, as in Carion et al. */
static double encoding_of(const struct sinusoidal_case *c, int64_t i, int64_t position, int64_t j)
{
    double base = c->base == 0.0 ? 10000.0 : c->base;
    long double scale = c->row_scale == 0.0 && !c->scales_set ? 1.0L : c->row_scale;
    long double at = (long double)position;
    int64_t width = c->width;
    if (c->columns != 0) {
        width /= 2;
        at = (long double)(i / c->columns + c->offset);
        if (j >= width) {
            scale = c->column_scale == 0.0 && !c->scales_set ? 1.0L : c->column_scale;
            at = (long double)(i % c->columns + c->offset);
            j -= width;
        }
    }
    long double angle = at * scale / powl(base, (long double)(j / 2 * 2) / (long double)width);
    return (double)(j % 2 == 0 ? sinl(angle) : cosl(angle));
}

static void sinusoidal_of_case(const struct harness *harness, const struct sinusoidal_case *c, const char *name)
{
    int64_t length = c->run_length != 0 ? c->run_length : c->length;
    struct tensor input = tensor_make(c->input, c->batch, 1, c->length, c->width, c->padding);
    struct tensor original = tensor_make(c->input, c->batch, 1, c->length, c->width, c->padding);
    struct tensor output = tensor_make(c->output, c->batch, 1, c->length, c->width, c->padding);
    int64_t *positions = calloc((size_t)(c->batch * c->length), sizeof *positions);
    uint64_t seed = 3;
    cl_mem positions_mem = NULL;
    clattn_plan *plan = NULL;
    clattn_sinusoidal_desc desc;
    clattn_sinusoidal_args args;
    clattn_error error;

    assert_non_null(positions);
    for (int64_t n = 0; n < c->batch * c->length; ++n)
        positions[n] =
            c->positions != NONE ? (int64_t)(case_random(&seed) % 100000) - 50000 : c->offset + n % c->length;
    input.extent[2] = original.extent[2] = length;
    tensor_fill(&input, 1.0, 5);
    tensor_fill(&original, 1.0, 5);

    clattn_sinusoidal_desc_init(&desc);
    desc.batch = c->batch;
    desc.length = c->length;
    desc.width = c->width;
    desc.base = c->base;
    desc.rows = c->rows;
    desc.columns = c->columns;
    desc.row_scale = c->row_scale;
    desc.column_scale = c->column_scale;
    desc.scales_set = c->scales_set;
    desc.add = c->add;
    desc.positions = c->positions;
    desc.input = input.layout;
    desc.output = output.layout;
    harness_check(clattn_sinusoidal_plan_create(harness->context, &desc, &plan, &error), &error, name);
    clattn_sinusoidal_args_init(&args, plan);
    assert_true(args.length == c->length && args.offset == 0);
    args.length = length;
    args.offset = c->offset;
    if (c->add)
        args.input = tensor_upload(harness, &input);
    args.output = c->in_place ? args.input : tensor_upload(harness, &output);
    if (c->positions != NONE)
        args.positions = upload_positions(harness, c->positions, positions, c->batch * c->length, &positions_mem);
    harness_check(clattn_sinusoidal_run(plan, harness->queue, &args, 0, NULL, NULL, &error), &error, name);
    struct tensor *result = c->in_place ? &input : &output;
    result->extent[2] = length;
    tensor_download(harness, result);
    TENSOR_FOR_EACH(result)
    {
        double expected = encoding_of(c, i, positions[b * c->length + i], j);
        double bound = ANGLE_BOUND;
        if (c->add) {
            expected += tensor_get(&original, b, h, i, j);
            bound += 0x1p-24 * fabs(expected);
        }
        double found = tensor_get(result, b, h, i, j);
        bound += rounding(c->output, fabs(expected) + bound);
        if (!(fabs(found - expected) <= bound))
            fail_msg("%s: output[%d,%d,%d] is %.9g: expected %.9g", name, (int)b, (int)i, (int)j, found, expected);
    }
    clattn_plan_release(plan);
    if (positions_mem != NULL)
        clReleaseMemObject(positions_mem);
    free(positions);
    tensor_free(&input);
    tensor_free(&original);
    tensor_free(&output);
}

static void sinusoidal_is_right(void **state)
{
    static const double turn = 6.283185307179586;
    const struct sinusoidal_case cases[] = {
        /* batch, length, width, rows, columns, scales, base, add, in place, positions, padding, types, run, offset,
           whether scales of 0 are meant */
        {1, 1, 2, 0, 0, 0.0, 0.0, 0.0, false, false, NONE, 0, F32, F32, 0, 1, false},
        {2, 50, 512, 0, 0, 0.0, 0.0, 0.0, false, false, NONE, 0, F32, F32, 0, 0, false},
        {2, 50, 36, 0, 0, 0.0, 0.0, 0.0, true, false, NONE, 3, F32, F32, 31, 1 << 30, false},
        {2, 9, 36, 0, 0, 0.25, 0.0, 100.0, true, true, I32, 3, F32, F32, 4, 0, false},
        {3, 9, 206, 0, 0, 0.0, 0.0, 0.0, true, true, I64, 0, F16, F16, 0, 0, false},
        {3, 9, 206, 0, 0, -1.0, 0.0, 0.0, true, false, NONE, 1, BF16, F16, 8, -4, false},
        {1, 7, 130, 0, 0, 0.0, 0.0, 0.0, false, false, I32, 0, F32, BF16, 0, 0, false},
        {1, 35, 4, 5, 7, 0.0, 0.0, 0.0, false, false, NONE, 0, F32, F32, 0, 0, false},
        {2, 35, 128, 5, 7, 0.0, 0.0, 0.0, true, true, NONE, 2, F32, F32, 0, 0, false},
        {2, 35, 256, 5, 7, turn / 5, turn / 7, 0.0, false, false, NONE, 0, F32, F32, 0, 1,
         false}, /* DETR, normalised */
        {2, 35, 36, 7, 5, 0.5, 0.0, 20.0, true, false, NONE, 0, F16, F32, 22, 0, false},
        {2, 9, 36, 0, 0, 0.0, 0.0, 0.0, true, false, I32, 0, F32, F32, 0, 0, true},    /* every token the same */
        {2, 35, 36, 7, 5, 0.5, 0.0, 0.0, false, false, NONE, 0, F32, F32, 0, 3, true}, /* every column the same */
        {1, 35, 36, 5, 7, 0.0, 0.5, 0.0, true, false, NONE, 0, F32, F16, 0, 3, true},
    };
    char name[32];

    for (size_t n = 0; n < sizeof cases / sizeof *cases; ++n) {
        snprintf(name, sizeof name, "case %d", (int)n);
        sinusoidal_of_case(*state, &cases[n], name);
    }
}

/* ---- refusals of a run ---------------------------------------------------------------------------------------- */

#define REFUSED(expected, text, ...)                                                                                   \
    do {                                                                                                               \
        clattn_rotary_args args = good;                                                                                \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error), expected);             \
        if (strstr(error.message, text) == NULL)                                                                       \
            fail_msg("\"%s\": expected \"%s\" in it", error.message, text);                                            \
    } while (0)

static void runs_are_refused(void **state)
{
    const struct harness *harness = *state;
    struct tensor t = tensor_make(F32, 1, 2, 8, 16, 0);
    struct tensor table = tensor_make(F32, 1, 1, 10, 4, 0);
    clattn_plan *plan = NULL;
    clattn_plan *other = NULL;
    clattn_rotary_desc desc;
    clattn_rotary_args good;
    clattn_sinusoidal_args sinusoidal;
    clattn_error error;

    clattn_rotary_desc_init(&desc);
    desc.batch = 1;
    desc.heads = 2;
    desc.length = 4;
    desc.head_dim = 8;
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &other, &error), &error, "computed");
    desc.tables = 1;
    desc.table_length = 10;
    harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "tables");
    clattn_rotary_args_init(&good, plan);
    good.input = good.output = tensor_upload(harness, &t);
    good.output.offset += 64 * 4;
    good.cos = good.sin = tensor_upload(harness, &table);
    harness_check(clattn_rotary_run(plan, harness->queue, &good, 0, NULL, NULL, &error), &error, "apart");
    good.output = good.input;
    harness_check(clattn_rotary_run(plan, harness->queue, &good, 0, NULL, NULL, &error), &error, "in place");

    REFUSED(CLATTN_ERROR_INVALID_VALUE, "length is 5: expected 0 to the plan's 4", args.length = 5);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "offset is 7: expected 0 to 6", args.offset = 7);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "offset is -1: expected 0 to 6", args.offset = -1);
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "offset is 9: expected 0 to 8", args.offset = 9, args.length = 2);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "output shares bytes with input", args.output.offset += 4);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "output shares bytes with cos", args.cos = args.output);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "cos is missing", memset(&args.cos, 0, sizeof args.cos));
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "sin has", args.sin.offset = table.bytes - 4);
    REFUSED(CLATTN_ERROR_INVALID_BUFFER, "input has offset", args.input.offset += 2);
    REFUSED(CLATTN_ERROR_INVALID_ARGUMENT, "clattn_rotary_args", args.struct_size = 8);
    clattn_sinusoidal_args_init(&sinusoidal, plan);
    assert_int_equal(clattn_sinusoidal_run(plan, harness->queue, &sinusoidal, 0, NULL, NULL, &error),
                     CLATTN_ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "plan is one of rotary: expected one of sinusoidal");
    clattn_plan_release(plan);

    plan = other;
    memset(&good.cos, 0, sizeof good.cos);
    memset(&good.sin, 0, sizeof good.sin);
    good.offset = -((int64_t)1 << 39);
    harness_check(clattn_rotary_run(plan, harness->queue, &good, 0, NULL, NULL, &error), &error, "far");
    REFUSED(CLATTN_ERROR_INVALID_VALUE, "offset is 549755813889: expected -549755813888 to 549755813888",
            args.offset = ((int64_t)1 << 39) + 1);
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    clattn_plan_release(plan);
    tensor_free(&t);
    tensor_free(&table);
}

/* In place is in place only where every element stays where it was, in its type. */
static void other_layouts_are_not_in_place(void **state)
{
    const struct harness *harness = *state;
    struct tensor t = tensor_make(F32, 1, 2, 8, 16, 0);
    clattn_error error;

    for (int n = 0; n < 3; ++n) {
        clattn_plan *plan = NULL;
        clattn_rotary_desc desc;
        clattn_rotary_args args;

        clattn_rotary_desc_init(&desc);
        desc.batch = 1;
        desc.heads = 2;
        desc.length = 4;
        desc.head_dim = 8;
        const int64_t other[4] = {64, 8, 16, 1}; /* [batch, length, heads, dim] */
        if (n == 1)
            memcpy(desc.output.strides, other, sizeof other);
        if (n == 2)
            desc.input.dtype = CLATTN_F16;
        harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "in place");
        clattn_rotary_args_init(&args, plan);
        args.input.mem = t.mem;
        if (t.mem == NULL)
            args.input = tensor_upload(harness, &t);
        args.output = args.input;
        clattn_status status = clattn_rotary_run(plan, harness->queue, &args, 0, NULL, NULL, &error);
        assert_int_equal(status, n == 0 ? CLATTN_SUCCESS : CLATTN_ERROR_INVALID_BUFFER);
        if (n > 0)
            assert_non_null(strstr(error.message, "output shares bytes with input"));
        clattn_plan_release(plan);
    }
    assert_int_equal(clFinish(harness->queue), CL_SUCCESS);
    tensor_free(&t);
}

/* Nothing to do is done without buffers, and gives an event. */
static void nothing_is_needed_for_nothing(void **state)
{
    static const int64_t extents[][3] = {{0, 2, 4}, {1, 0, 4}, {1, 2, 0}, {1, 2, 4}};
    const struct harness *harness = *state;

    for (size_t n = 0; n < sizeof extents / sizeof *extents; ++n) {
        clattn_plan *plan = NULL;
        clattn_rotary_desc desc;
        clattn_rotary_args args;
        clattn_error error;
        cl_event event = NULL;

        clattn_rotary_desc_init(&desc);
        desc.batch = extents[n][0];
        desc.heads = extents[n][1];
        desc.length = extents[n][2];
        desc.head_dim = 8;
        desc.positions = I32;
        harness_check(clattn_rotary_plan_create(harness->context, &desc, &plan, &error), &error, "empty");
        clattn_rotary_args_init(&args, plan);
        args.length = 0;
        harness_check(clattn_rotary_run(plan, harness->queue, &args, 0, NULL, &event, &error), &error, "empty");
        assert_int_equal(clWaitForEvents(1, &event), CL_SUCCESS);
        clReleaseEvent(event);
        clattn_plan_release(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_is_right),
        cmocka_unit_test(angles_are_exact_at_any_distance),
        cmocka_unit_test(products_depend_on_the_distance_alone),
        cmocka_unit_test(backward_is_the_transpose_and_the_inverse),
        cmocka_unit_test(sinusoidal_is_right),
        cmocka_unit_test(runs_are_refused),
        cmocka_unit_test(other_layouts_are_not_in_place),
        cmocka_unit_test(nothing_is_needed_for_nothing),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
