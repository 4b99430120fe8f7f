/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where keys and values lie: the one home of how they are stored. Every kernel finds the row of a key or a value here, and asks how
 * many rows from there on follow at the view's row stride. Dense tensors are one run.
 */
static inline long key_row(long4 view, int b, int g, int j)
{
    return view_row(view, b, g, j);
}

static inline long value_row(long4 view, int b, int g, int j)
{
    return view_row(view, b, g, j);
}

/* Rows in one run from key j on, at least 1, keys from `end` on not being wanted. The same for values. */
static inline int key_run(int j, int end)
{
    return end - j;
}
