/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OpenCL layer that makes calls fail, loaded by a loader that knows layers and finds its path in OPENCL_LAYERS. A
 * test drives it through the struct, which the module exports as `failing_layer`; for another program the environment
 * variable FAILING_CALL, read when the loader starts, sets the first three: NAME:NUMBER:CODE.
 */
#ifndef CLATTN_TESTS_FAILING_LAYER_H
#define CLATTN_TESTS_FAILING_LAYER_H

struct failing_layer {
    char name[48]; /* of the function whose call fails; "": none does */
    long number;   /* which of its calls from now on, from 1; 0: all */
    int code;      /* what it returns */
    long calls;    /* of any function that the layer knows, so far: 0 where the loader knows no layers */
    long kernels;  /* references to kernels that are held: created and retained less released */
};

#endif
