/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest program that uses clattn, and OpenCL itself as such a program would. Valid C99 and C++11. */
#define CL_TARGET_OPENCL_VERSION 120
#include <clattn/clattn.h>
#include <stdio.h>

int main(void)
{
    char compiled[32];
    cl_uint platforms = 0;
    cl_int code = clGetPlatformIDs(0, NULL, &platforms);

    printf("clattn %s, OpenCL says %d and %u platforms\n", clattn_version_string(), (int)code, (unsigned)platforms);
    sprintf(compiled, "%d.%d.%d", CLATTN_VERSION_MAJOR, CLATTN_VERSION_MINOR, CLATTN_VERSION_PATCH);
    return strcmp(clattn_version_string(), compiled) == 0 ? 0 : 1;
}
