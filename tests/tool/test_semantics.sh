#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tool makes of attention's further inputs: pasts, sinks, position biases, pools of blocks, packed sequences,
# dropout; on the device that it takes by default.
# shellcheck source=/dev/null disable=SC2154
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
. "$here/example.sh"

# ---- the keys and values that came before ----

# The example with its first key and value as the past: the same numbers, and the present is what k.npy was.
# shellcheck disable=SC2059
{
    { header '<f4' '1, 1, 1, 2'; printf "$half$half"; } >q1.npy
    { header '<f4' '1, 1, 2, 2'; printf "$one$two$three$four"; } >k1.npy
    { header '<f4' '1, 1, 1, 2'; printf "$one$two"; } >past.npy
    { header '<f4' '1, 1, 1, 2'; printf "$three$four"; } >new.npy
    { header '<f4' '1, 1, 0, 2'; } >empty.npy
    { header '<i4' '1,'; whole 2; } >two.npy
}
files='-q q1.npy -k new.npy -v new.npy --past-key past.npy --past-value past.npy -o o.npy --scale 1 --verify'
run --present-key pk.npy --present-value pv.npy
holds o.npy 2.76159416 3.76159416
holds pk.npy 1 2 3 4
holds pv.npy 1 2 3 4
says "'shape': (1, 1, 2, 2)" pk.npy
says 'present_key *pk.npy: float32 \[1, 1, 2, 2\]' err
run --causal bottom-right --kv-lengths first.npy # offsets and lengths count both: the query stands at 0, sees one key
holds o.npy 1 2
run --causal 0
holds o.npy 1 2
run --mask second.npy
holds o.npy 3 4
# of three keys, a mask of two leaves the third one out where it is told to
files='-q q1.npy -k k1.npy -v k1.npy --past-key past.npy --past-value past.npy -o o.npy --scale 1 --verify'
# shellcheck disable=SC2086
refused 4 'second.npy: .*it covers 2 of 3 keys' run $files --mask second.npy
run --mask second.npy --mask-pad
holds o.npy 1 2
says 'mask=bool@1x1x1x2:mask_pad' err
run --mask second.npy --kv-lengths two.npy
holds o.npy 1 2
ok run --random b2h4q5k7d8:f32:mask=add@1x1x5x4:lengths --verify
ok run --random b2h4q5k7d8:f32:mask=add@1x1x5x4:ragged=kv --verify
ok run --random b2h4q5k7d8:f32:mask=add@1x1x5x4:circular:lengths --verify
ok run --random b1h4q5k7d8:f32:mask=add@1x1x5x4:mask_pad --verify
files='-q q1.npy -k k1.npy -v k1.npy --past-key empty.npy --past-value empty.npy -o o.npy --scale 1 --verify'
run --present-value pv.npy
holds o.npy 2.76159416 3.76159416
holds pv.npy 1 2 3 4
ok run -q q1.npy -k k1.npy -v k1.npy --present-key pk.npy
holds pk.npy 1 2 3 4
ok run --random b1h1q2k3d2:bf16 --present-key pk.npy --present-value pv.npy --layout bshd
says "'<f4', 'fortran_order': False, 'shape': (1, 1, 3, 2)" pv.npy

# A step over a cache gives what one pass over all keys gives, in every form. Past and present are 4-D in each.
ok run --random b2h3q2k5d4:f32 --present-key pk.npy --present-value pv.npy --seed 1
ok run --random b2h3q2k2d4:f32 -o nq.npy --present-key nk.npy --present-value nv.npy --seed 2
past='--past-key pk.npy --past-value pv.npy --causal bottom-right --verify'
# shellcheck disable=SC2086
ok run -q nq.npy -k nk.npy -v nv.npy $past -o o4.npy --present-key k4.npy --present-value v4.npy
says 'b2h3q2k7d4:f32:causal' err
ok run -q nq.npy -k k4.npy -v v4.npy -o o.npy --causal 5 --verify
swapped() { # FILE SHAPE: [2, 3, 2, 4] of float32 with heads and positions swapped, under another shape
    header '<f4' "$2"
    for row in 0 2 4 1 3 5 6 8 10 7 9 11; do
        tail -c +$((129 + 16 * row)) "$1" | head -c 16
    done
}
same() { # FILE FILE: the same data, headers apart
    checks=$((checks + 1))
    tail -c 192 "$1" >data1
    tail -c 192 "$2" | cmp data1 - || problem "$1 and $2 differ"
}
same o4.npy o.npy
swapped o4.npy '2, 2, 3, 4' >expected.npy
for shape in '2, 2, 3, 4' '2, 2, 12'; do
    form='--q-heads 3 --kv-heads 3'
    [ "$shape" = '2, 2, 12' ] || form='--layout bshd'
    for name in nq nk nv; do
        swapped $name.npy "$shape" >s$name.npy
    done
    rm -f o.npy kb.npy vb.npy
    # shellcheck disable=SC2086
    ok run -q snq.npy -k snk.npy -v snv.npy $past $form -o o.npy --present-key kb.npy --present-value vb.npy
    says "'shape': ($shape)" o.npy
    same expected.npy o.npy
    checks=$((checks + 2))
    cmp k4.npy kb.npy || problem "$form: another present key"
    cmp v4.npy vb.npy || problem "$form: another present value"
done

# ---- sinks and position biases ----

# A sink of logit 0 adds 1 to the sum e^1.5 + e^3.5 = 37.59714103.
zeros sinks.npy '<f4' '1,' 4
zeros sinks4.npy '<f4' '4,' 16
# shellcheck disable=SC2059
{
    { header '<f4' '1,'; printf "$two"; } >slopes.npy
    { header '<f4' '1, 1'; printf "$two"; } >rows.npy
    { header '<f4' '1,'; printf '\000\000\200\073'; } >usual.npy # 2^-8, the slope of an only head
    { header '<f2' '1, 3'; printf '\000\074\000\274\000\000'; } >bias.npy # 1 for the key before, -1 for the own, 0
}
files='-q q1.npy -k k1.npy -v k1.npy -o o.npy --scale 1 --verify'
run --sinks sinks.npy --lse lse.npy
holds o.npy 2.69004497 3.66413631
holds lse.npy 3.65317821
run --alibi slopes.npy --align bottom-right --scores s.npy --scores-stage masked
holds s.npy -0.5 3.5
holds o.npy 2.96402758 3.96402758
run --alibi auto --align bottom-right --scores s.npy --scores-stage masked
holds s.npy 1.49609375 3.5
run --alibi rows.npy --align bottom-right --scores s.npy --scores-stage masked
holds s.npy -0.5 3.5
run --causal 1 --window-shift -1 # the first key alone is before the query at the second
holds o.npy 1 2
says ':causal@1:shift=-1' err
run --causal 0 --window-shift -1 --lse lse.npy
holds o.npy 0 0
holds lse.npy -inf
ok run --random b3h4q9k13d8:f32:alibi=batch@top-left --verify
ok run -q q1.npy -k k1.npy -v k1.npy -o o.npy --scale 0 --verify
holds o.npy 2 3
says ':scale=0' err
run --alibi usual.npy --align 1 --scores s.npy --scores-stage masked
holds s.npy 1.49609375 3.5
run --relative-bias bias.npy --causal bottom-right --lse lse.npy
holds o.npy 2 3
holds lse.npy 3.19314718

# ---- keys in a pool of blocks, in a circle, packed ----

nan='\000\000\300\177'
# shellcheck disable=SC2059
{
    { header '<f4' '3, 1, 1, 2'; printf "$nan$nan$three$four$one$two"; } >pool.npy
    { header '<i4' '1, 2'; whole 2 1; } >table.npy
    { header '<i4' '1, 2'; whole 2 9; } >beyond.npy
    { header '<f4' '1, 1, 2, 2'; printf "$three$four$one$two"; } >circle.npy
    { header '<i4' '1,'; whole 3; } >third.npy
    { header '<f4' '1, 1, 3, 2'; printf "$half$half$half$half$nan$nan"; } >rows.npy
    { header '<f4' '1, 3, 2'; printf "$half$half$half$half$nan$nan"; } >rows3.npy
    { header '<f4' '1, 1, 4, 2'; printf "$nan$nan$one$two$three$four$half$one"; } >keys.npy
    { header '<f4' '1, 4, 2'; printf "$nan$nan$one$two$three$four$half$one"; } >keys3.npy
    { header '<i4' '4,'; whole 0 1 1 2; } >qcu.npy
    { header '<i4' '4,'; whole 1 3 3 4; } >kvcu.npy
}
files='-q q1.npy -k pool.npy -v pool.npy -o o.npy --scale 1 --verify'
run --block-table table.npy
holds o.npy 2.76159416 3.76159416
says ':paged=1x3' err
cp o.npy narrow.npy
{ header '<i8' '1, 2'; printf '\002\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000'; } >table64.npy
run --block-table table64.npy
checks=$((checks + 1))
cmp o.npy narrow.npy || problem 'a block table of int64 gives another result'
run --block-table table.npy --layout bshd --causal bottom-right
holds o.npy 2.76159416 3.76159416
run --block-table beyond.npy --kv-len 1
holds o.npy 1 2
run --block-table beyond.npy --kv-lengths first.npy
holds o.npy 1 2
refused 4 'beyond.npy: block_table\[0, 1\] is 9: expected 0 to 2, a block of key' \
    run -q q1.npy -k pool.npy -v pool.npy --block-table beyond.npy --verify

# Of three keys that came into a circle of two, the last is in the first row.
files='-q q1.npy -k circle.npy -v circle.npy -o o.npy --scale 1 --verify --circular'
run --kv-lengths third.npy --window 0,0 --align bottom-right
holds o.npy 3 4
run --kv-lengths third.npy --causal 0
holds o.npy 1 2
run --kv-lengths first.npy
holds o.npy 3 4

# Sequences of 1, 0 and 1 queries and 2, 0 and 1 keys; a row and a key before and after belong to none.
files='-o o.npy --scale 1 --verify --q-cu-lengths qcu.npy --kv-cu-lengths kvcu.npy'
run -q rows.npy -k keys.npy -v keys.npy --lse lse.npy --causal bottom-right
holds o.npy 2.76159416 3.76159416 0.5 1 0 0
holds lse.npy 3.62692801 0.75 0
says "'shape': (1, 1, 3, 2)" o.npy
says "'shape': (1, 3)" lse.npy
says 'b3h1q1k2d2:f32:.*ragged=qkv@3,4' err
run -q rows3.npy -k keys3.npy -v keys3.npy --q-heads 1 --kv-heads 1
holds o.npy 2.76159416 3.76159416 0.5 1 0 0
says "'shape': (1, 3, 2)" o.npy

# ---- made-up problems with each of these ----

for what in lengths:circular paged=5 paged=5x2:lengths ragged=q ragged=kv ragged=qkv@15,20:causal:lse sinks \
    alibi@bottom-right relative=3@2:alibi@2:sinks:paged=4:ragged=q:mask=add; do
    ok run --random "b3h4g2q9k13d8v5:f16:$what" --verify --json
    says '"verified": true' out
done
ok run --random b2h4q9k13d8:f32:lengths --circular --sinks sinks4.npy --alibi auto --align 3 --verify

# ---- dropout ----

dropping=b2h4g2q9k13d8v5:f32:dropout=0.3:lse
ok run --random $dropping --dropout-seed 7 --verify -o a.npy
ok run --random $dropping --dropout-seed 7 --dropout 0.3 --dropout-offset 0 --kernel flash --verify
ok run --random $dropping --dropout-seed 7 --dropout-offset 18446744073709551615 --verify -o b.npy
ok run --random $dropping --dropout-seed 8 --verify -o c.npy
ok run --random $dropping --dropout-seed 7 --verify --scores s.npy --scores-stage weights --json
says '"verified": true' out
checks=$((checks + 2))
! cmp -s a.npy b.npy || problem 'another offset drops the same weights'
! cmp -s a.npy c.npy || problem 'another seed drops the same weights'

finish
