/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That two PNG pictures are the same. Weights of two devices may differ in their last digits, and so a level of red,
 * green or blue by one; at a weight near 0, where the picture changes as its root, by a little more.
 *
 * usage: same_picture FILE FILE
 */
#include "shared/message.c" /* what the tool has */
#include "shared/picture.c"
#include <stdlib.h>

#define LEVELS 3

int main(int argc, char **argv)
{
    struct picture a, b;
    if (argc != 3 || picture_read(argv[1], &a) != EXIT_DONE || picture_read(argv[2], &b) != EXIT_DONE)
        return 1;
    if (a.width != b.width || a.height != b.height) {
        printf("FAILED: %s is %d x %d pixels, %s is %d x %d\n", argv[1], a.width, a.height, argv[2], b.width, b.height);
        return 1;
    }
    int largest = 0;
    for (int i = 0; i < 3 * a.width * a.height; i++) {
        int difference = abs(a.pixels[i] - b.pixels[i]);
        largest = difference > largest ? difference : largest;
    }
    printf("%d x %d pixels, levels differ by %d of 255 at most, allowed %d\n", a.width, a.height, largest, LEVELS);
    picture_free(&a);
    picture_free(&b);
    return largest <= LEVELS ? 0 : 1;
}
