#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tool says and refuses before it needs a device: help, usage, files, shapes. Needs none.
# shellcheck source=/dev/null disable=SC2154
. "$(dirname "$0")/common.sh"

# ---- help and version ----

for arguments in --version -V 'devices --version' 'run -V' 'run -q x --version' 'bench --version' 'demo -V'; do
    # shellcheck disable=SC2086
    ok $arguments
    says '^clattn [0-9]*\.[0-9]*\.[0-9]*$' out
done
"$clattn" --help >whole
for arguments in help 'help --help' -h; do
    # shellcheck disable=SC2086
    ok $arguments
    cmp -s whole out || problem "clattn $arguments and clattn --help differ"
done
for command in devices run bench demo; do
    "$clattn" $command --help >whole
    ok help $command
    checks=$((checks + 1))
    cmp -s whole out || problem "clattn help $command and clattn $command --help differ"
done
refused 2 'no command: expected one of these: devices, run, bench, demo' help nonsense
refused 2 'extra: unexpected argument' help run extra
for arguments in --help 'devices --help' 'run --help' 'run -q x --help' 'bench --help'; do
    # shellcheck disable=SC2086
    ok $arguments
    says '^Examples:' out
    says '^Environment:' out
    says '^Exit codes:' out
    says 'CLATTN_DEVICE' out
done
for option in query key value output past-key past-value present-key present-value random seed layout q-heads kv-heads \
    scale softcap causal window window-shift align mask mask-pad kv-lengths q-cu-lengths kv-cu-lengths block-table kv-len \
    circular sinks alibi relative-bias dropout dropout-seed dropout-offset lse scores scores-stage d-output d-lse d-query \
    d-key d-value d-mask d-sinks d-alibi d-relative-bias heatmap heatmap-head dtype kernel backward-kernel device verify \
    time json; do
    "$clattn" run --help >out
    says "--$option" out
done

# The program itself is small, whatever its demos compute with. Where a sanitizer is in it, it is not.
checks=$((checks + 1))
if ! grep -q __asan_init "$clattn"; then
    (ulimit -v 80000 && "$clattn" --help >out 2>err) || problem "no help in 80 MB: $(cat err)"
fi

# ---- usage ----

zeros q.npy '<f4' '1, 4, 5, 8' 640
zeros k.npy '<f4' '1, 2, 7, 8' 448
zeros v.npy '<f4' '1, 2, 7, 6' 336
files='-q q.npy -k k.npy -v v.npy -o o.npy'
bad() {
    expected=$1
    pattern=$2
    shift 2
    # shellcheck disable=SC2086
    refused "$expected" "$pattern" run $files "$@"
}

refused 2 'expected a command'
refused 2 'no command: expected one of these: devices, run, bench, demo' nonsense
refused 2 'unknown option' devices --nonsense
refused 2 'unexpected argument' devices extra
# shellcheck disable=SC2046 # 2000 arguments
refused 2 '^clattn bench: nonsense is no name: ' bench $(awk 'BEGIN { for (i = 0; i < 2000; i++) print "prefill" }') nonsense
refused 2 'expected -q, -k and -v' run
refused 2 'expected -q, -k and -v' run -q q.npy -k k.npy -o o.npy
refused 2 'expected -o FILE' run -q q.npy -k k.npy -v v.npy
bad 2 '--nonsense: unknown option' --nonsense
bad 2 'does not take an argument' --verify=3
bad 2 'missing argument' --scale
bad 2 'unexpected argument' extra
bad 2 'given twice' --output p.npy
bad 2 'both or neither' --q-heads 4
bad 2 'both or neither' --kv-heads 2
bad 2 'past-key and --past-value: expected both or neither' --past-key k.npy
bad 2 'past-key and --past-value: expected both or neither' --past-value v.npy
bad 2 'two outputs' --present-key o.npy
bad 2 'alibi is given without --align or --causal: expected top-left' --alibi auto
bad 2 'relative-bias is given without --align' --relative-bias b.npy
bad 2 'expected one of --block-table, --circular and --kv-cu-lengths' --block-table t.npy --circular --kv-lengths l.npy
bad 2 'expected one of --block-table' --kv-cu-lengths c.npy --circular --kv-lengths l.npy
bad 2 'circular is given without --kv-lengths' --circular
bad 2 'kv-lengths is given with cumulative' --kv-cu-lengths c.npy --kv-lengths l.npy
bad 2 'scores is given with cumulative' --q-cu-lengths c.npy --scores s.npy --scores-stage raw
bad 2 'past and present are given with keys that are' --block-table t.npy --present-key p.npy
bad 2 'past and present are given with keys that are' --circular --kv-lengths l.npy --past-key k.npy --past-value v.npy
bad 2 'past and present are given with keys that are' --kv-cu-lengths c.npy --present-value p.npy
bad 2 'kv-len is given without --block-table' --kv-len 3
bad 2 'kv-len is -1: expected a whole number' --block-table t.npy --kv-len -1
bad 2 'divisor of --q-heads (5)' --q-heads 5 --kv-heads 2
bad 2 'q-heads is 0: expected a whole number' --q-heads 0 --kv-heads 2
bad 2 'scale is nan: expected a finite' --scale nan
bad 2 'scale is -inf: expected a finite' --scale -inf
bad 2 'scale is 1e60: expected a finite' --scale 1e60
bad 2 'scale is 1e-60: expected' --scale 1e-60
bad 2 'scale is 1e-400: expected' --scale 1e-400
bad 2 'scale is 1x: expected a number' --scale 1x
bad 2 'scale is : expected a number' --scale ''
bad 2 'softcap is -1: expected' --softcap -1
bad 2 'softcap is inf: expected' --softcap inf
bad 2 'dropout is 1: expected 0 or more, less than 1$' --dropout 1 --dropout-seed 1
bad 2 'dropout is -0.5: expected 0 or more, less than 1$' --dropout -0.5 --dropout-seed 1
bad 2 'dropout is nan: expected' --dropout nan --dropout-seed 1
bad 2 'dropout is 0.5 and --dropout-seed is not given' --dropout 0.5
bad 2 'dropout-seed is -1: expected a whole number from 0' --dropout 0.5 --dropout-seed -1
bad 2 'dropout-offset is 1.5: expected a whole number from 0' --dropout 0.5 --dropout-seed 1 --dropout-offset 1.5
bad 2 'dropout-seed is given without --dropout$' --dropout-seed 1
bad 2 'dropout-offset is given without --dropout$' --dropout-offset 1
bad 2 'causal is middle: expected top-left, bottom-right' --causal middle
bad 2 'causal is 99999999999999999999: expected' --causal 99999999999999999999
bad 2 'window is given without --align' --window 1,1
bad 2 'window is 1: expected LEFT,RIGHT' --window 1 --align 0
bad 2 'window is -2,1: expected LEFT,RIGHT' --window -2,1 --align 0
bad 2 'align is given without' --align 0
bad 2 'align is bottom-right: expected the alignment' --causal top-left --align bottom-right
bad 2 'align is 1: expected the alignment' --causal 0 --align 1
bad 2 'scores is given without --scores-stage' --scores s.npy
bad 2 'scores-stage is given without --scores' --scores-stage raw
bad 2 'heatmap-head is given without --heatmap' --heatmap-head 0
bad 2 'heatmap-head is -1: expected a whole number' --heatmap x.png --heatmap-head -1
bad 2 'is given for two outputs' --heatmap o.npy
bad 2 'these: raw, softcap, masked, weights$' --scores s.npy --scores-stage all
bad 2 'these: f32, f16, bf16$' --dtype f64
bad 2 'these: bhsd, bshd$' --layout bsdh
bad 2 'seed is given without --random' --seed 1
bad 2 'random excludes' --random b1h1q1k1d1:f32
bad 2 'kernel is nonsense: .*: [a-z_, ]*unfused' --kernel nonsense
bad 2 'kernel is : .*: [a-z_, ]*flash' --kernel ''
bad 2 'two outputs' --lse ./o.npy
bad 2 'd-query is given without --d-output: expected the gradient of the result$' --d-query dq.npy
bad 2 'd-output is given without a gradient to compute: expected --d-query or another$' --d-output q.npy
bad 2 'd-lse is given without a gradient to compute' --d-lse l.npy
bad 2 'backward-kernel is given without a gradient' --backward-kernel auto
bad 2 'backward-kernel is nonsense: expected auto or one of these: [a-z_, ]*tiled' \
    --d-output q.npy --d-query dq.npy --backward-kernel nonsense
bad 2 'd-mask is given without --mask$' --d-output q.npy --d-mask dm.npy
bad 2 'd-sinks is given without --sinks$' --d-output q.npy --d-sinks ds.npy
bad 2 'd-alibi is given without --alibi$' --d-output q.npy --d-alibi da.npy
bad 2 'd-relative-bias is given without --relative-bias$' --d-output q.npy --d-relative-bias dr.npy
bad 2 'd-key is given with keys that are paged or circular: caches are not trained on$' \
    --d-output q.npy --d-key dk.npy --block-table t.npy

# ---- the problem string, and what contradicts it ----

refused 2 'random: ' run --random ''
refused 2 'random: ' run --random b1h2q4k4d4
refused 2 'kv_heads is 2' run --random b1h3g2q4k4d4:f32
refused 2 'causal is top-left: expected the alignment that the problem has' \
    run --random b1h2q4k4d4:f32:causal --causal top-left
refused 2 'window is 1,1: the problem' run --random b1h2q4k4d4:f32:window=2,1@0 --window 1,1
refused 2 'dtype is f16: the problem' run --random b1h2q4k4d4:f32 --dtype f16
refused 2 'softcap is 2: the problem' run --random b1h2q4k4d4:f32:softcap=3 --softcap 2
refused 2 'q-heads is 4: the problem' run --random b1h2q4k4d4:f32 --q-heads 4 --kv-heads 4
refused 2 'mask is m.npy: the problem' run --random b1h2q4k4d4:f32:mask=add --mask m.npy
refused 2 'scores-stage is raw: the problem' run --random b1h2q4k4d4:f32:scores=weights --scores s --scores-stage raw
refused 2 'random excludes --past-key' run --random b1h2q4k4d4:f32 --past-key k.npy --past-value v.npy
refused 2 'random excludes --block-table' run --random b1h2q4k4d4:f32 --block-table t.npy
refused 2 'random excludes .*expected .*ragged=q,' run --random b1h2q4k4d4:f32 --q-cu-lengths c.npy
refused 2 'circular is given without --kv-lengths' run --random b1h2q4k4d4:f32 --circular
refused 2 'circular is : the problem' run --random b1h2q4k4d4:f32:paged=2:lengths --circular
refused 2 'dropout is 0.5: the problem' run --random b1h2q4k4d4:f32:dropout=0.25 --dropout 0.5 --dropout-seed 1
refused 2 'dropout is 0.25 and --dropout-seed is not given' run --random b1h2q4k4d4:f32:dropout=0.25
refused 2 'sinks is s.npy: the problem' run --random b1h2q4k4d4:f32:sinks --sinks s.npy
refused 2 'alibi is auto: the problem' run --random b1h2q4k4d4:f32:alibi@0 --alibi auto
refused 2 'relative-bias is b.npy: the problem' run --random b1h2q4k4d4:f32:relative=2@0 --relative-bias b.npy
refused 2 'past and present' run --random b1h2q4k4d4:f32:ragged=kv --present-key p.npy
refused 2 'random: ' run --random b1h2q4k4d4:f32:paged=0
refused 2 'seed is -1: expected' run --random b1h2q4k4d4:f32 --seed -1
refused 2 'random: problem string, at "backward=x": expected backward, or' run --random b1h2q4k4d4:f32:backward=x
refused 2 'random: d_sinks is 1 and attention.sinks is 0' run --random b1h2q4k4d4:f32:backward=sinks
refused 2 'd-query is given with keys that are paged' run --random b1h2q4k4d4:f32:paged=2 --d-query dq.npy
refused 2 'd-mask: the mask of the problem is boolean: expected mask=add$' \
    run --random b1h2q4k4d4:f32:mask=bool --d-mask dm.npy

# ---- files ----

query() {
    refused 4 "$1" run -q "$2" -k k.npy -v v.npy -o o.npy
}

escape=$(printf 'no\033[31m\nsuch')
query '^clattn run: no\\x1b\[31m\\x0asuch: ' "$escape"
query 'none.npy: cannot be read as query: No such file' none.npy
query 'it is a directory' /
query 'does not begin as a .npy file' /dev/null
printf 'not an array at all' >text.npy
query 'text.npy: .*does not begin as a .npy file' text.npy
head -c 700 q.npy >short.npy
query 'short.npy: .*truncated: [0-9]* bytes of data, expected 640' short.npy
head -c 40 q.npy >header.npy
query 'truncated in its header' header.npy
{ cat q.npy; printf x; } >long.npy
query 'goes on after its 640 bytes' long.npy
printf '\223NUMPY\002\000\377\377\377\377{' >huge.npy
query 'its header has 4294967295 bytes' huge.npy
zeros many.npy '<f4' '9223372036854775807, 4, 5, 8' 0
query 'more elements than any memory' many.npy
zeros claim.npy '<f4' '1, 4, 1000000000, 8' 640
query 'truncated: 640 bytes of data, expected 128000000000' claim.npy
zeros object.npy '|O' '1, 4, 5, 8' 1280
query "'|O': expected float16, bfloat16, float32 or float64" object.npy
zeros complex.npy '<c8' '1, 4, 5, 8' 1280
query "'<c8': expected float16, bfloat16, float32 or float64" complex.npy
zeros whole.npy '<i4' '1, 4, 5, 8' 640
query "'<i4': expected float16" whole.npy
{ header '<f8' '1,'; printf '\000\000\000\000\000\000\360\177'; } >infinite.npy
query 'query is float64 \[1\]: expected 4 dimensions' infinite.npy
{ header '<f8' '1,'; printf '\000\000\000\000\000\000\020\110'; } >beyond.npy
query 'its element 0 is [0-9.e+]*: expected what float32 has' beyond.npy
zeros flat.npy '<f4' '20, 32' 2560
query 'query is float32 \[20, 32\]: expected 4 dimensions' flat.npy
zeros deep.npy '<f4' '1, 1, 4, 5, 8' 640
query 'query has 5 dimensions' deep.npy
zeros none.npy '<f4' '1, 4, 5, 0' 0
query 'expected at least 1 element a head' none.npy
checks=$((checks + 1))
# shellcheck disable=SC2002
cat short.npy | "$clattn" run -q /dev/stdin -k k.npy -v v.npy -o o.npy 2>err
[ $? -eq 4 ] && [ ! -e o.npy ] || problem 'a truncated pipe is taken'
says 'truncated: ' err

# ---- shapes that do not fit ----

zeros k3.npy '<f4' '1, 3, 7, 8' 672
zeros kb.npy '<f4' '2, 2, 7, 8' 896
zeros kd.npy '<f4' '1, 2, 7, 9' 504
zeros v8.npy '<f4' '1, 2, 8, 6' 384
refused 4 'k3.npy: .*3 heads; expected a divisor' run -q q.npy -k k3.npy -v v.npy -o o.npy
refused 4 'kb.npy: .*expected a batch of 1' run -q q.npy -k kb.npy -v v.npy -o o.npy
refused 4 'kd.npy: .*9 elements a head; expected 8' run -q q.npy -k kd.npy -v v.npy -o o.npy
refused 4 'v8.npy: .*length 7, as key has' run -q q.npy -k k.npy -v v8.npy -o o.npy
bad 4 'expected 8 heads, as --q-heads says' --q-heads 8 --kv-heads 2
bad 4 'expected 4 heads, as --kv-heads says' --q-heads 4 --kv-heads 4

zeros q3.npy '<f4' '1, 5, 32' 640
zeros k33.npy '<f4' '1, 7, 16' 448
refused 2 'expected --q-heads and --kv-heads' run -q q3.npy -k k33.npy -v k33.npy -o o.npy
refused 4 'multiple of --q-heads (6)' run -q q3.npy -k k33.npy -v k33.npy -o o.npy --q-heads 6 --kv-heads 2
refused 4 'expected 3 dimensions, as query' run -q q3.npy -k k.npy -v v.npy -o o.npy --q-heads 4 --kv-heads 2

for shape in 8 3,2 6,7 3,1,7 2,1,1,1 5,0; do
    rm -f m.npy
    zeros m.npy '|b1' "$shape," 0
    case $shape in
    8) zeros m.npy '|b1' '8,' 8 ;;
    3,2) zeros m.npy '|b1' '3, 2' 6 ;;
    6,7) zeros m.npy '|b1' '6, 7' 42 ;;
    3,1,7) zeros m.npy '|b1' '3, 1, 7' 21 ;;
    2,1,1,1) zeros m.npy '|b1' '2, 1, 1, 1' 2 ;;
    esac
    bad 4 'm.npy: mask is bool .*expected what broadcasts over \[1, 4, 5, 7\]' --mask m.npy
done
zeros m.npy '<i2' '8,' 16
bad 4 'm.npy: mask is int16 \[8\]: expected what broadcasts' --mask m.npy
zeros m.npy '|O' '7,' 56
bad 4 'expected bool, int8, .*, uint64, float16, bfloat16, float32 or float64' --mask m.npy

# what gradients are made from has the shape of what it is a gradient of
zeros d8.npy '<f4' '1, 4, 5, 8' 640
zeros d6.npy '<f4' '1, 4, 5, 6' 480
zeros whole.npy '<i4' '1, 4, 5, 6' 480
bad 4 'd8.npy: d_output is float32 \[1, 4, 5, 8\]: expected the shape \[1, 4, 5, 6\], as output has$' \
    --d-output d8.npy --d-query dq.npy
bad 4 'd6.npy: d_lse is float32 \[1, 4, 5, 6\]: expected the shape \[1, 4, 5\], as lse has$' \
    --d-output d6.npy --d-lse d6.npy --d-query dq.npy
bad 4 'whole.npy: cannot be read as d_output: its element type' --d-output whole.npy --d-query dq.npy
zeros seen.npy '|b1' '5, 7' 35
bad 4 'seen.npy: mask is bool \[5, 7\]: expected floats with --d-mask: only what is added has a gradient$' \
    --mask seen.npy --d-output d6.npy --d-mask dm.npy

bad 2 'is given for two outputs' --d-output d6.npy --d-key dk.npy --d-value dk.npy

# ---- several arrays in a file, and standard input ----

zeros qkv.npy '<f4' '1, 5, 3, 4, 8' 1920
zeros two.npy '<f4' '1, 5, 2, 4, 8' 1280
refused 4 'two.npy: is float32 \[1, 5, 2, 4, 8\]: expected \[batch, length, 3, heads, dim\]' run --qkv two.npy -o o.npy
refused 4 'q.npy: is float32 \[1, 4, 5, 8\]: expected \[batch' run --qkv q.npy -o o.npy
zeros vast.npy '<f4' '1152921504606846976, 1, 3, 0, 1' 0
refused 4 'vast.npy: ' run --qkv vast.npy -o o.npy --q-heads 1 --kv-heads 1
refused 2 'qkv and --key are given: expected one' run --qkv qkv.npy -k k.npy -o o.npy
refused 2 'layout is given with --qkv' run --qkv qkv.npy -o o.npy --layout bhsd
refused 2 'block-table is given with --qkv' run --qkv qkv.npy -o o.npy --block-table t.npy
refused 2 'random excludes -q' run --qkv qkv.npy --random b1h1q1k1d1:f32
refused 2 'npz is q.npy: expected a file whose name ends in .npz' run --npz q.npy -o o.npy
refused 4 'none.npz: cannot be read as an archive: No such file' run --npz none.npz -o o.npy
cp q.npy q.npz
refused 4 'q.npz: cannot be read as an archive: it is no zip archive' run --npz q.npz -o o.npy
refused 4 'q.npz:q: cannot be read as query: it is no zip archive' run -q q.npz:q -k k.npy -v v.npy -o o.npy
refused 2 'query and --mask are -: expected one input from standard input' run -q - -k k.npy -v v.npy --mask - -o o.npy
query '^clattn run: -: cannot be read as query: it does not begin as a .npy file' - </dev/null
bad 2 'mask-pad is given without --mask' --mask-pad
bad 2 'mask-pad is given without --mask' --mask-pad --kv-lengths l.npy

# Masks that were made for other keys than there are.
zeros m.npy '|b1' '5, 5' 25
covers='expected all, or a last extent of 1, or --mask-pad, which excludes the others, or --kv-lengths$'
bad 4 "m.npy: mask is bool \[5, 5\]: it covers 5 of 7 keys; $covers" --mask m.npy
zeros k2.npy '<f4' '1, 2, 2, 8' 128
zeros v2.npy '<f4' '1, 2, 2, 6' 96
zeros m7.npy '<f4' '7,' 28
bad 4 "m7.npy: .*: it covers 7 of 9 keys, the past ones among them; $covers" --mask m7.npy --past-key k2.npy \
    --past-value v2.npy
{ header '<i4' '1,'; whole 6; } >l.npy
cp l.npy l6.npy
bad 4 'm.npy: .*: batch 0 has 6 keys; expected at most 5, or --mask-pad, which excludes the others' --mask m.npy \
    --kv-lengths l.npy
{ header '<i4' '1,'; whole 100; } >l.npy
bad 4 'm.npy: .*: batch 0 has 7 keys; expected at most 5' --mask m.npy --kv-lengths l.npy --circular
{ header '<i4' '2,'; whole 0 6; } >c.npy
zeros m2.npy '<f4' '1, 1, 5, 2' 40
bad 4 'm2.npy: .*: batch 0 has 6 keys; expected at most 2' --mask m2.npy --kv-cu-lengths c.npy
refused 4 "m.npy: .*it covers 5 of 7 keys; $covers" run --random b1h4q5k7d8:f32 --mask m.npy
refused 4 'm.npy: .*: batch 0 has 6 keys; expected at most 5' run --random b1h4q5k7d8:f32:ragged=q --mask m.npy \
    --kv-lengths l6.npy
refused 2 'random: .*mask_shape\[3\] is 5: the mask covers 5 of kv_len (7) keys' \
    run --random b1h4q5k7d8:f32:mask=bool@1x1x5x5

# ---- numbers for each head ----

zeros n4.npy '<f4' '4,' 16
zeros n2.npy '<f4' '2,' 8
zeros n43.npy '<f4' '4, 3' 48
zeros n44.npy '<f4' '4, 4' 64
zeros n41.npy '<f4' '4, 1' 16
bad 4 'n2.npy: sinks is float32 \[2\]: expected \[4\], a number for each query head' --sinks n2.npy
bad 4 'n43.npy: sinks .*expected \[4\]' --sinks n43.npy
bad 4 'k.npy: alibi_slopes .*expected \[4\]' --alibi k.npy --align 0
bad 4 'n44.npy: alibi_slopes .*expected \[4\] or \[1, 4\] (\[batch, heads\])' --alibi n44.npy --align 0
bad 2 'window-shift is given without --causal or --window' --window-shift -1
bad 2 'window-shift is x: expected a whole number' --causal top-left --window-shift x
refused 2 'window-shift is 2: the problem' run --random b1h2q4k4d4:f32:causal:shift=-1 --window-shift 2
refused 2 'scale is 0: the problem' run --random b1h2q4k4d4:f32:scale=1 --scale 0
bad 4 'automatic: cannot be read as alibi_slopes: No such file' --alibi automatic --align 0
bad 4 'n44.npy: relative_bias is float32 \[4, 4\]: expected \[4, 2R + 1\]' --relative-bias n44.npy --align 0
bad 4 'n41.npy: relative_bias .*R being 1 or more' --relative-bias n41.npy --align 0
bad 4 'n4.npy: relative_bias .*expected \[4, 2R + 1\]' --relative-bias n4.npy --align 0

# ---- packed sequences, blocks, circles ----

cumulative() { # PATTERN OPTION NUMBERS...
    pattern=$1
    option=$2
    shift 2
    { header '<i4' "$#,"; whole "$@"; } >c.npy
    # shellcheck disable=SC2086
    bad 4 "$pattern" $option c.npy
}
cumulative 'c.npy: q_cu_lengths\[2\] is 3: expected 4, where the sequence begins, to 5, the length of query' \
    '--kv-cu-lengths c.npy --q-cu-lengths' 0 4 3
cumulative 'q_cu_lengths\[1\] is 6: expected 0, where the sequence begins, to 5' --q-cu-lengths 0 6
cumulative 'kv_cu_lengths\[0\] is 8: expected 0 to 7, the length of key' --kv-cu-lengths 8 8
cumulative 'kv_cu_lengths\[1\] is 1: expected 2, where' --kv-cu-lengths 2 1
cumulative 'kv_cu_lengths is int32 \[3\]: expected \[2\], one more than the sequences' --kv-cu-lengths 0 1 2
cumulative 'k.npy: key is float32 \[1, 2, 7, 8\]: expected a batch of 2, as query has' --q-cu-lengths 0 1 2
zeros c0.npy '<i4' '0,' 0
bad 4 'c0.npy: q_cu_lengths is int32 \[0\]: expected \[batch + 1\]' --q-cu-lengths c0.npy
zeros c2.npy '<i4' '2, 2' 16
bad 4 'c2.npy: kv_cu_lengths is int32 \[2, 2\]: expected \[batch + 1\]' --kv-cu-lengths c2.npy
zeros c1.npy '<i8' '3,' 24
zeros q2.npy '<f4' '2, 4, 5, 8' 1280
refused 4 'q2.npy: query .*expected a batch of 1' run -q q2.npy -k kb.npy -v kb.npy -o o.npy --q-cu-lengths c1.npy
refused 4 'kb.npy: key .*expected a batch of 1' run -q q2.npy -k kb.npy -v kb.npy -o o.npy --kv-cu-lengths c1.npy

zeros t.npy '<i4' '1, 2' 8
bad 4 't.npy: block_table .*--kv-len is 15; expected at most 14, blocks of 7 keys' --block-table t.npy --kv-len 15
{ header '<i4' '1, 2'; whole 0 1; } >t.npy
bad 4 't.npy: block_table\[0, 1\] is 1: expected 0 to 0, a block of key' --block-table t.npy
{ header '<i4' '1, 2'; printf '\377\377\377\377\000\000\000\000'; } >t.npy
bad 4 'block_table\[0, 0\] is -1: expected 0 to 0' --block-table t.npy --kv-len 1
{ header '<i4' '1,'; whole 15; } >l.npy
bad 4 'kv_lengths\[0\] is 15: expected 0 to 14, the keys of its blocks' --block-table t.npy --kv-lengths l.npy
zeros t.npy '<i4' '2, 2' 16
bad 4 't.npy: block_table is int32 \[2, 2\]: expected \[1, blocks\]' --block-table t.npy
{ header '<i8' '1, 2'; printf '\000\000\000\000\001\000\000\000\000\000\000\000\000\000\000\000'; } >t.npy
bad 4 'block_table\[0, 0\] is 4294967296: expected 0 to 0, a block of key' --block-table t.npy
{ header '<i8' '1, 2'; printf '\000\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000'; } >t.npy
bad 4 'its element 1 is 4294967296: expected what int32 has' --block-table t.npy --kv-len 3
zeros t.npy '<f4' '1, 2' 8
bad 4 'expected int8, int16, int32, int64, uint8, uint16, uint32 or uint64' --block-table t.npy
{ header '<i8' '1,'; printf '\377\377\377\377\377\377\377\377'; } >l.npy
bad 4 'kv_lengths\[0\] is -1: expected 0 or more' --kv-lengths l.npy --circular

past() { # PATTERN KEY VALUE
    bad 4 "$1" --past-key "$2" --past-value "$3"
}
zeros k16.npy '<f2' '1, 2, 7, 8' 224
past 'k3.npy: past_key is float32 \[1, 3, 7, 8\]: expected \[1, 2, length, 8\]' k3.npy v.npy
past 'kb.npy: past_key .*expected \[1, 2, length, 8\]' kb.npy v.npy
past 'kd.npy: past_key .*expected \[1, 2, length, 8\]' kd.npy v.npy
past 'k33.npy: past_key .*expected \[1, 2, length, 8\]' k33.npy v.npy
past 'k16.npy: past_key is float16 .*expected float32, as key' k16.npy v.npy
past 'k.npy: past_value is .*expected \[1, 2, length, 6\]' k.npy k.npy
past 'v8.npy: past_value is .*expected the length 7, as past_key' k.npy v8.npy
past 'absent.npy: cannot be read as past_key' absent.npy v.npy
refused 1 'none/p.npy: cannot be written: its folder none: No such' \
    run -q q.npy -k k.npy -v v.npy --present-key none/p.npy

{ header '<i4' '1,'; printf '\010\000\000\000'; } >l.npy
bad 4 'kv_lengths\[0\] is 8: expected 0 to 7' --kv-lengths l.npy
{ header '<i8' '1,'; printf '\377\377\377\377\377\377\377\377'; } >l.npy
bad 4 'kv_lengths\[0\] is -1: expected 0 or more' --kv-lengths l.npy
zeros l.npy '<i4' '2,' 8
bad 4 'kv_lengths is int32 \[2\]: expected the shape \[1\]' --kv-lengths l.npy
zeros l.npy '<f4' '1,' 4
bad 4 'expected int8, int16, int32, int64,' --kv-lengths l.npy

# ---- outputs that cannot be, and no device ----

refused 1 'none/o.npy: cannot be written: its folder none: No such' run -q q.npy -k k.npy -v v.npy -o none/o.npy
refused 1 'q.npy/o.npy: cannot be written: Not a directory' run -q q.npy -k k.npy -v v.npy -o q.npy/o.npy
refused 1 'cannot be written: Is a directory' run -q q.npy -k k.npy -v v.npy -o .
refused 1 'cannot be written: Is a directory' run -q q.npy -k k.npy -v v.npy -o none/
refused 1 'cannot be written' run -q q.npy -k k.npy -v v.npy -o ''
refused 1 '/proc/o.npy: cannot be written: its folder /proc: ' run -q q.npy -k k.npy -v v.npy -o /proc/o.npy
ln -s nothing link.npy
refused 1 'link.npy: cannot be written: it is a symbolic link to a file that does not exist' \
    run -q q.npy -k k.npy -v v.npy -o link.npy
bad 2 'a.npy: is given for two outputs' --lse a.npy --present-key ./a.npy
refused 2 '^clattn run: -: is given for two outputs' run -q q.npy -k k.npy -v v.npy -o - --lse -
bad 2 'json and an output to - are given' --lse - --json
bad 2 'json and an output to - are given' --heatmap - --json
refused 2 'output is -: standard output has what the demo says' demo seq2seq -o -

OCL_ICD_VENDORS=$PWD/no-vendors/
OCL_ICD_FILENAMES=
export OCL_ICD_VENDORS OCL_ICD_FILENAMES
refused 3 'no OpenCL platform.*pocl-opencl-icd' run -q q.npy -k k.npy -v v.npy -o o.npy
for package in pocl-opencl-icd intel-opencl-icd mesa-opencl-icd rocm-opencl-icd nvidia-opencl-icd; do
    refused 3 "$package" devices
done
refused 3 pocl-opencl-icd devices --json
checks=$((checks + 1))
[ "$(tr -d ' \n' <out)" = '{"platforms":[]}' ] || problem "devices --json without a platform: $(cat out)"

checks=$((checks + 1))
if [ -w /dev/full ]; then
    "$clattn" --help >/dev/full 2>err
    [ $? -eq 1 ] || problem 'help to a full disk succeeds'
    says 'standard output cannot be written' err
fi
finish
