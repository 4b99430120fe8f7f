/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention on tensors whose parts lie gigabytes apart in one buffer, of which only the elements are ever written:
 * shows that indices and offsets are 64 bits wide everywhere.
 */
#ifndef CLATTN_TESTS_BEYOND_H
#define CLATTN_TESTS_BEYOND_H

#include <stdint.h>

/*
 * A whole test program. Runs `problem` (one batch, small) on every variant with the last head, then the last row, then
 * the beginning of every tensor more than `bytes` bytes into the buffer. Returns the exit code of the program: 77 where
 * the device does not allocate such a buffer, after a line that says so.
 */
int beyond_main(const char *problem, int64_t bytes);

#endif
