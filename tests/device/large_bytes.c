/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers past 2^31 bytes. */
#include "beyond.h"

int main(void)
{
    return beyond_main("b1h2q3k5d16:f32:scores=weights", (int64_t)1 << 31);
}
