/* SPDX-License-Identifier: Apache-2.0 */
/* Self-attention of four tokens on the default device. The tokens are twice the unit vectors: every weight is known. */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>
#include <math.h>
#include <stdio.h>

int main(void)
{
    const float x[4][4] = {{2, 0, 0, 0}, {0, 2, 0, 0}, {0, 0, 2, 0}, {0, 0, 0, 2}};
    float y[4][4];

    clattn_attention_desc desc; /* what to compute; 0 is the default: f32, dense, scale 1 / sqrt(head_dim) */
    clattn_attention_desc_init(&desc);
    desc.batch = desc.q_heads = desc.kv_heads = 1;
    desc.q_len = desc.kv_len = 4;
    desc.head_dim = 4;

    clattn_attention_host_args args;
    clattn_attention_host_args_init(&args);
    args.query = args.key = args.value = x;
    args.output = y;

    clattn_error error;
    if (clattn_attention_host(NULL, &desc, &args, &error) != CLATTN_SUCCESS) {
        fprintf(stderr, "attention: %s\n", error.message);
        return 1;
    }

    float own = expf(2) / (expf(2) + 3); /* weight of a token on itself: its score is 2 * 2 / sqrt(4), the others' 0 */
    int right = 1;
    for (int i = 0; i < 4; ++i) {
        printf("%.4f %.4f %.4f %.4f\n", y[i][0], y[i][1], y[i][2], y[i][3]);
        for (int j = 0; j < 4; ++j)
            right &= fabsf(y[i][j] - 2 * (i == j ? own : (1 - own) / 3)) < 1e-6f;
    }
    return right ? 0 : 1;
}
