/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clattn: attention on any OpenCL device.
 *
 * This header is the whole library. Its parts can be included alone:
 *
 *   base.h       the rules for all functions, status, errors, devices, contexts, tensors, buffers, plans
 *   attention.h  attention: softmax(scale Q K^T) V with masks, on device buffers and on host arrays
 *   backward.h   the gradients of attention, of a linear projection, of the layer
 *   primitive.h  its three stages on their own: scores, softmax, weighted sum; merge of partial states
 *   cache.h      the key/value cache: appends new keys and values, linear, circular or paged
 *   position.h   rotary embedding, sinusoidal encodings in one and two dimensions, ALiBi's slopes
 *   layer.h      what stands around attention: the linear projection, the multi-head layer
 */
#ifndef CLATTN_CLATTN_H
#define CLATTN_CLATTN_H

#include <clattn/attention.h>
#include <clattn/backward.h>
#include <clattn/base.h>
#include <clattn/cache.h>
#include <clattn/layer.h>
#include <clattn/position.h>
#include <clattn/primitive.h>

#endif
