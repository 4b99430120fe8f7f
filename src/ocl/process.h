/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process. Drivers do not outlive a fork: their threads are not in the child, their locks may be held for ever, and
 * what waits for either hangs. So the one thing that the library keeps outside its objects is which process called
 * OpenCL first.
 */
#ifndef CLA_OCL_PROCESS_H
#define CLA_OCL_PROCESS_H

#include <clattn/base.h>

/*
 * FORKED where this process is a child of one in which the library has called OpenCL. Every public function that is
 * about to call it asks this first; what releases objects leaves those of OpenCL alone where it fails.
 */
clattn_status cla_process_check(clattn_error *error);

#endif
