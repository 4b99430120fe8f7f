#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The demos. As test_demo.sh TOOL NAME PICTURE: that demo's own check holds, and PICTURE is then a PNG of some size. As
# test_demo.sh TOOL: what the list says and what is refused, which needs no device.
# shellcheck source=/dev/null disable=SC2154
. "$(dirname "$0")/common.sh"

if [ $# -eq 3 ]; then
    mkdir -p "$(dirname "$3")"
    rm -f "$3"
    ok demo "$2" -o "$3"
    cat out
    is_png "$3"
    says '^check ' out
    says "^picture   .*: [0-9]* x [0-9]* pixels" out
    finish
fi

ok demo
checks=$((checks + 1))
[ "$(grep -c '^[a-z][a-z0-9-]*  *[A-Za-z]' out)" -eq "$(wc -l <out)" ] || problem "lines without a name: $(cat out)"
says '^seq2seq ' out
refused 2 'nonsense is no demo: expected one of these: .*seq2seq' demo nonsense
refused 2 'expected the name of a demo' demo -o x.png
refused 2 'unexpected argument' demo seq2seq seq2seq
refused 2 'seq2seq looks at no picture' demo seq2seq --image x.png
refused 1 'no/x.png: cannot be written: No such file' demo seq2seq -o no/x.png
refused 3 'no OpenCL device' demo seq2seq --device 99:0 -o x.png
finish
