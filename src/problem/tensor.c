/* SPDX-License-Identifier: Apache-2.0 */
/* Dense strides, the span of a tensor, aliasing within an output, overlap of two tensors. */
#include "problem/tensor.h"
#include "util/error.h"
#include "util/size.h"

static bool dense_strides(const int64_t extent[4], int64_t stride[4])
{
    int64_t step = 1;
    for (int d = 3; d >= 0; d--) {
        stride[d] = step;
        if (!cla_mul(step, extent[d], &step))
            return false;
    }
    return true;
}

static bool span_fits(struct cla_tensor *tensor)
{
    int64_t last = 0, along, bytes;
    for (int d = 0; d < 4; d++)
        if (!cla_mul(tensor->extent[d] - 1, tensor->stride[d], &along) || !cla_add(last, along, &last))
            return false;
    return cla_add(last, 1, &tensor->span) && cla_mul(tensor->span, tensor->element_size, &bytes);
}

/* The dimensions with more than one element, by ascending stride; returns how many. */
static int sort_dimensions(const struct cla_tensor *tensor, int order[4])
{
    int count = 0;
    for (int d = 3; d >= 0; d--) {
        if (tensor->extent[d] <= 1)
            continue;
        int at = count++;
        for (; at > 0 && tensor->stride[order[at - 1]] > tensor->stride[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    return count;
}

/*
 * Strides that each step past all that lies inside them never meet. There are others that do not meet either (extents
 * 2 and 3 with strides 3 and 2), but nobody lays out a tensor so, and telling them apart is a knapsack problem.
 */
static clattn_status check_no_alias(const struct cla_tensor *tensor, const char *name, clattn_error *error)
{
    int order[4];
    int count = sort_dimensions(tensor, order);
    int64_t inside = 1;
    for (int k = 0; k < count; k++) {
        int d = order[k];
        if (tensor->stride[d] < inside)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                            "%s.strides[%d] is %lld: expected at least %lld, so that no two elements share a place",
                            name, d, (long long)tensor->stride[d], (long long)inside);
        inside += (tensor->extent[d] - 1) * tensor->stride[d];
    }
    return CLATTN_SUCCESS;
}

clattn_status cla_tensor_lay_out(struct cla_tensor *tensor, const int64_t strides[4], const char *name,
                                 clattn_error *error)
{
    const int64_t *extent = tensor->extent;
    bool dense = true, empty = false, fits = true;

    for (int d = 0; d < 4; d++) {
        if (strides[d] < 0)
            return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s.strides[%d] is %lld: expected 0 or more", name, d,
                            (long long)strides[d]);
        tensor->stride[d] = strides[d];
        dense = dense && strides[d] == 0;
        empty = empty || extent[d] == 0;
    }
    if (!dense && extent[3] > 1 && strides[3] != 1)
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE, "%s.strides[3] is %lld: expected 1, rows are contiguous",
                        name, (long long)strides[3]);
    if (dense && !empty)
        fits = dense_strides(extent, tensor->stride);
    for (int d = 0; d < 4; d++)
        if (empty || extent[d] == 1)
            tensor->stride[d] = 0;
    tensor->span = 0;
    if (empty)
        return CLATTN_SUCCESS;
    if (!fits || !span_fits(tensor))
        return cla_fail(error, CLATTN_ERROR_INVALID_VALUE,
                        "%s has the shape [%lld, %lld, %lld, %lld]: expected a size in bytes that fits 63 bits", name,
                        (long long)extent[0], (long long)extent[1], (long long)extent[2], (long long)extent[3]);
    return tensor->written ? check_no_alias(tensor, name, error) : CLATTN_SUCCESS;
}

void cla_tensor_set_span(struct cla_tensor *tensor)
{
    tensor->span = 1;
    for (int d = 0; d < 4; d++) {
        if (tensor->extent[d] == 0) {
            tensor->span = 0;
            return;
        }
        tensor->span += (tensor->extent[d] - 1) * tensor->stride[d];
    }
}

/*
 * The bytes of a tensor: one run of reach[0] bytes, repeated along `count` dimensions, the widest stride last. reach[k]
 * is the number of bytes from the first to the last of the innermost k dimensions, both included.
 */
struct runs {
    int count;
    int64_t extent[4];
    int64_t stride[4];
    int64_t reach[5];
};

static struct runs runs_of(const struct cla_tensor *tensor)
{
    struct runs runs = {.reach = {tensor->element_size}};
    int order[4];
    int count = sort_dimensions(tensor, order);
    for (int k = 0; k < count; k++) {
        int64_t extent = tensor->extent[order[k]];
        int64_t stride = tensor->stride[order[k]] * tensor->element_size;
        int64_t reach = runs.reach[runs.count] + (extent - 1) * stride;
        if (runs.count == 0 && stride <= runs.reach[0]) { /* no gap: the run grows */
            runs.reach[0] = reach;
            continue;
        }
        runs.extent[runs.count] = extent;
        runs.stride[runs.count] = stride;
        runs.reach[++runs.count] = reach;
    }
    return runs;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/*
 * Whether the innermost na dimensions of `a` at start_a and nb of `b` at start_b have a byte in common. Goes down the
 * dimension with the wider stride, into those positions along it whose range reaches the other's. Where both have the
 * same stride, only the difference of their positions matters and both dimensions go at once: tensors packed into one
 * another (such as QKV) take a few steps whatever their size.
 */
static bool meet(const struct runs *a, int na, int64_t start_a, const struct runs *b, int nb, int64_t start_b,
                 int *budget)
{
    if ((*budget)-- == 0)
        return true;
    if (start_a + a->reach[na] <= start_b || start_b + b->reach[nb] <= start_a)
        return false;
    if (na == 0 && nb == 0)
        return true;
    if (na == 0 || (nb > 0 && b->stride[nb - 1] > a->stride[na - 1]))
        return meet(b, nb, start_b, a, na, start_a, budget);

    int64_t stride = a->stride[na - 1];
    int64_t lowest = 0, highest = a->extent[na - 1] - 1;
    na--;
    if (nb > 0 && b->stride[nb - 1] == stride) {
        nb--;
        lowest = 1 - b->extent[nb];
    }
    /* Positions k with start_a + k * stride + reach_a > start_b and start_a + k * stride < start_b + reach_b. */
    int64_t first = cla_max(lowest, floor_div(start_b - a->reach[na] - start_a, stride) + 1);
    int64_t last = cla_min(highest, floor_div(start_b + b->reach[nb] - 1 - start_a, stride));
    for (int64_t k = first; k <= last; k++)
        if (meet(a, na, start_a + k * stride, b, nb, start_b, budget))
            return true;
    return false;
}

bool cla_tensors_overlap(const struct cla_tensor *a, int64_t start_a, const struct cla_tensor *b, int64_t start_b)
{
    int budget = 1 << 16; /* about a millisecond */
    if (a->span == 0 || b->span == 0)
        return false;
    struct runs runs_a = runs_of(a), runs_b = runs_of(b);
    return meet(&runs_a, runs_a.count, start_a, &runs_b, runs_b.count, start_b, &budget);
}
