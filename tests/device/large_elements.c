/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers past 2^31 elements, where the device allocates the 4 GiB that they take in f16. */
#include "beyond.h"

int main(void)
{
    return beyond_main("b1h2q3k5d16:f16:scores=masked", (int64_t)1 << 32);
}
