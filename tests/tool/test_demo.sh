#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The demos. As test_demo.sh TOOL NAME PICTURE: that demo's own check holds, and PICTURE is then a PNG of some size. As
# test_demo.sh TOOL: what the list says, what is refused, and pictures of the user's own.
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
refused 1 'no/x.png: cannot be written: its folder no: No such file' demo seq2seq -o no/x.png

# ---- pictures of the user's own, which are not trusted ----

# 3 x 2 pixels in grey; a header that promises 100000 x 100000
printf '\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\000\000\003\000\000\000\002\010'\
'\000\000\000\000\270\037\071\306\000\000\000\020\111\104\101\124\170\234\143\140\150\370\317\360\277'\
'\201\001\000\014\000\002\377\252\016\176\276\000\000\000\000\111\105\116\104\256\102\140\202' >grey.png
printf '\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\001\206\240\000\001\206\240\010'\
'\002\000\000\000\047\060\234\237\000\000\000\010\111\104\101\124\170\234\003\000\000\000\000\001\110'\
'\006\211\322\000\000\000\000\111\105\116\104\256\102\140\202' >huge.png
ok demo seq2seq -o whole.png
head -c 5000 whole.png >short.png
{
    head -c 5000 whole.png
    printf 'XXXX'
    tail -c +5005 whole.png
} >flipped.png
printf 'no picture\n' >text.png

refused 4 'no.png: cannot be read: No such file' demo convolution --image no.png
refused 4 'text.png: cannot be read as a PNG picture: ' demo convolution --image text.png
refused 4 'cannot be read' demo convolution --image .
refused 4 'short.png: cannot be read as a PNG picture: ' demo convolution --image short.png
refused 4 'flipped.png: cannot be read as a PNG picture: ' demo convolution --image flipped.png
refused 4 'huge.png: is a picture of 100000 x 100000 pixels: expected at most 67108864 in all' \
    demo convolution --image huge.png -o x.png
ok demo convolution --image grey.png -o grey-out.png
is_png grey-out.png
ok demo convolution --image - -o standard-out.png <grey.png
checks=$((checks + 1))
cmp grey-out.png standard-out.png || problem 'a picture on standard input gives another one'
ok demo image-text --image whole.png -o whole-out.png
is_png whole-out.png
refused 3 'no OpenCL device' demo seq2seq --device 99:0 -o x.png
finish
