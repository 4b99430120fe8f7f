#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tool where OpenCL calls fail: `clattn devices` says so, and makes nothing up. Needs the layer of failing_layer.h.
. "$(dirname "$0")/common.sh"

# failing NAME NUMBER CODE ARGUMENTS...: runs the tool; its exit code is then in code, its outputs are in out and err.
failing() {
    checks=$((checks + 1))
    call=$1:$2:$3
    shift 3
    FAILING_CALL=$call "$clattn" "$@" >out 2>err
    code=$?
}

failing clGetPlatformIDs 1 -6 devices
if [ "$code" -eq 0 ] && [ ! -s err ]; then
    echo 'SKIPPED: the OpenCL loader knows no layers'
    exit 77
fi
[ "$code" -eq 1 ] || problem "without platforms to be had: exit code $code"
says 'clGetPlatformIDs failed' err

failing clGetDeviceIDs 0 -6 devices
[ "$code" -eq 3 ] || problem "without devices to be had: exit code $code"
says 'no devices: clGetDeviceIDs failed with OpenCL error -6' out
says 'clGetDeviceIDs failed with CL_OUT_OF_HOST_MEMORY (-6)' err
! grep -q install err || problem "what is there is to be installed: $(cat err)"
failing clGetDeviceIDs 0 -6 devices --json
says '"reason": "clGetDeviceIDs failed with OpenCL error -6"' out
failing clGetDeviceIDs 0 -6 run --random b1h1q1k1d1:f32
[ "$code" -eq 3 ] || problem "a run without devices to be had: exit code $code"

failing clGetDeviceInfo 0 -6 devices
[ "$code" -eq 3 ] || problem "without facts to be had: exit code $code"
says '^0:0.* ? .*unusable$' out
! grep -q -e accelerator -e ' 0 B' out || problem "made-up facts: $(cat out)"
failing clGetDeviceInfo 0 -6 devices --long
! grep -q -e accelerator -e ' 0 B' out || problem "made-up facts: $(cat out)"
failing clGetDeviceInfo 0 -6 devices --json
! grep -q -e '"type"' -e '"global_memory"' out || problem "made-up facts: $(cat out)"
says '"ready": false' out

# Whichever call it is that fails, once.
for name in clGetPlatformIDs clGetPlatformInfo clGetDeviceIDs clGetDeviceInfo; do
    number=1
    while :; do
        failing "$name" "$number" -5 devices
        [ "$code" -ne 0 ] || [ -s err ] || break # none fails: there are not as many
        [ -s err ] || problem "$name, call $number: exit code $code without a word"
        number=$((number + 1))
    done
    [ "$number" -gt 1 ] || problem "$name: no call has failed"
done

finish
