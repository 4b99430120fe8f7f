/* SPDX-License-Identifier: Apache-2.0 */
/* Philox 4x32-10, a generator without state (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"). */
#ifndef CLA_UTIL_PHILOX_H
#define CLA_UTIL_PHILOX_H

#include <stdint.h>

/* The four random words that belong to a counter under a key. */
void cla_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

#endif
