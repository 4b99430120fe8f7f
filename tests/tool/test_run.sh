#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tool computes and writes, on the device that it takes by default.
# shellcheck source=/dev/null disable=SC2154
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
. "$here/example.sh"

# ---- devices ----

ok devices
says VERDICT out
ok devices --long
says 'verdict ' out
ok devices --json
says '"ready": true' out
says '"driver": "' out

# ---- an example that can be computed by hand ----

run --lse lse.npy --scores s.npy --scores-stage raw
holds o.npy 2.76159416 3.76159416
holds lse.npy 3.62692801
holds s.npy 1.5 3.5
says "'<f4', 'fortran_order': False, 'shape': (1, 1, 1, 2)" o.npy
says "'shape': (1, 1, 1)," lse.npy
says "'shape': (1, 1, 1, 2)," s.npy
says 'verified  yes' err
checks=$((checks + 1))
[ ! -s out ] || problem 'the summary is on standard output'

run --scores s.npy --scores-stage weights
holds s.npy 0.11920292 0.88079708
run --softcap 2 --scores s.npy --scores-stage softcap
holds s.npy 1.27029795 1.88275078
run --mask second.npy --lse lse.npy --scores s.npy --scores-stage masked
holds o.npy 3 4
holds lse.npy 3.5
holds s.npy -inf 3.5
run --mask add.npy --lse lse.npy
holds o.npy 3 4
holds lse.npy 4.5
run --mask nothing.npy --lse lse.npy
holds o.npy 0 0
holds lse.npy -inf
run --kv-lengths first.npy
holds o.npy 1 2
run --causal top-left
holds o.npy 1 2
run --causal bottom-right
holds o.npy 2.76159416 3.76159416
run --causal -1
holds o.npy 0 0
run --window 0,0 --align bottom-right
holds o.npy 3 4
run --window -1,0 --align 0
holds o.npy 1 2
# Its gradients.
#
# With the gradient (1, 0) of the output, values get the weights times it. The weights' gradients are those of the
# values' first numbers, 1 and 3, and the scores' w (1 - o) and w (3 - o), o being 2.76159416: -0.20998717 and its opposite.
# The query gets 0.20998717 (k2 - k1), and keys get the scores' gradients times the query.

# shellcheck disable=SC2059
{ header '<f4' '1, 1, 1, 2'; printf "$one\000\000\000\000"; } >do.npy
files='-q q.npy -k k.npy -v k.npy --scale 1 --verify --d-output do.npy'
run --d-query dq.npy --d-key dk.npy --d-value dv.npy
holds dq.npy 0.41997434 0.41997434
holds dk.npy -0.10499359 -0.10499359 0.10499359 0.10499359
holds dv.npy 0.11920292 0 0.88079708 0
says "'<f4', 'fortran_order': False, 'shape': (1, 1, 2, 2)" dk.npy
says '^backward  b1h1q1k2d2:f32:scale=1:backward$' err
checks=$((checks + 1))
[ "$(grep -c '^verified  yes' err)" -eq 2 ] || problem "not verified: $(cat err)"

# Without a batch there are gradients all the same, of 0, and no kernel is needed.
ok run --random b0h2q4k4d4:f32:alibi@0:relative=1@0:backward --verify --d-alibi da.npy --d-relative-bias dr.npy
holds da.npy 0 0
holds dr.npy 0 0 0 0 0 0
says "'shape': (2,)," da.npy
says "'shape': (2, 3)," dr.npy

# keys in another order; as JSON, with the time of each pass
ok run --random b1h1q1k2d2:f32:backward --layout bshd --d-key dk.npy --verify --time --json
says "'shape': (1, 2, 1, 2)" dk.npy
tr -d ' \n' <out >flat
says '"backward":{"problem":"b1h1q1k2d2:f32:backward",.*"verified":true,.*"seconds":[0-9.e-]*,"runs":[0-9]*,"gflops":' flat
ok run --random b1h1q1k2d2:f32 --json
says '"backward": null' out

files='-q q.npy -k k.npy -v k.npy -o o.npy --scale 1 --verify'
run --dtype bf16
says 'd2:bf16' err
says "'<f4'" o.npy
for kernel in $("$clattn" run --random b1h1q1k1d1:f32 --kernel none 2>&1 | sed 's/.*: //; s/,//g'); do
    [ "$kernel" != flash_dot ] || continue # which takes bf16 alone
    run --kernel "$kernel"
    holds o.npy 2.76159416 3.76159416
    says "kernel    $kernel" err
done
refused 5 . run --random b1h1q4k4d4:f32:scores=raw --kernel flash
refused 3 'no OpenCL device' run --random b1h1q4k4d4:f32 --device 99:0
refused 2 'selector' run --random b1h1q4k4d4:f32 --device nonsense

# the same keys in another byte order and in Fortran's; a pipe; the query's type is the output's
files='-q q.npy -k big.npy -v fortran.npy -o o.npy --scale 1 --verify'
run
holds o.npy 2.76159416 3.76159416
rm -f o.npy
checks=$((checks + 1))
# shellcheck disable=SC2002
cat q.npy | "$clattn" run -q /dev/stdin -k k.npy -v k.npy --scale 1 -o /dev/stdout 2>err | cat >o.npy
holds o.npy 2.76159416 3.76159416
ok run -q q.npy -k k.npy -v k.npy --scale 1 -o -
mv out o.npy
holds o.npy 2.76159416 3.76159416
files='-q q16.npy -k k.npy -v k.npy -o o.npy --scale 1 --verify'
run
says "'<f2'" o.npy
run --dtype f32
says "'<f2'" o.npy
says 'd2:f32' err

# float64 is rounded, which is said; finite numbers of a mask stay finite, so that a row of them is not empty
{ header '<f8' '1, 1, 2, 2'
    printf '\000\000\000\000\000\000\360\077\000\000\000\000\000\000\000\100'
    printf '\000\000\000\000\000\000\010\100\000\000\000\000\000\000\020\100'; } >k64.npy
{ header '<f8' '2,'
    printf '\377\377\377\377\377\377\357\377\377\377\377\377\377\377\357\377'; } >lowest.npy
files='-q q.npy -k k64.npy -v k.npy -o o.npy --scale 1 --verify'
run
holds o.npy 2.76159416 3.76159416
says '^rounded   key: float64 to float32$' err
run --mask lowest.npy --json
holds o.npy 2 3
[ "$(tr -d ' \n' <out | grep -c '"rounded":\["key","mask"\]')" -eq 1 ] || problem "not rounded: $(cat out)"

# bfloat16, which NumPy writes without a type, in and out: 1.5 and 3.5 are exact, and so are their weights' sums to 2^-8
{ header '|V2' '1, 1, 1, 2'; printf '\000\077\000\077'; } >qb.npy
{ header '<V2' '1, 1, 2, 2'; printf '\200\077\000\100\100\100\200\100'; } >kb.npy
files='-q qb.npy -k kb.npy -v kb.npy -o o.npy --scale 1 --verify'
run
says 'd2:bf16' err
says "'|V2', 'fortran_order': False, 'shape': (1, 1, 1, 2)" o.npy
checks=$((checks + 1))
[ "$(tail -c 4 o.npy | od -An -tx1 | tr -d ' \n')" = 31407140 ] || problem "bfloat16: $(tail -c 4 o.npy | od -An -tx1)"

# masks of whole numbers are true where they are not 0; so is one without a dimension
files='-q q.npy -k k.npy -v k.npy -o o.npy --scale 1 --verify'
{ header '|u1' '2,'; printf '\000\200'; } >m.npy
run --mask m.npy
holds o.npy 3 4
{ header '<i8' '2,'; printf '\000\000\000\000\001\000\000\000\000\000\000\000\000\000\000\000'; } >m.npy
run --mask m.npy
holds o.npy 1 2
{ header '|b1' ''; printf '\001'; } >m.npy
run --mask m.npy
holds o.npy 2.76159416 3.76159416
{ header '|b1' ''; printf '\000'; } >m.npy
run --mask m.npy
holds o.npy 0 0
for type in '|i1' '|u1' '<i2' '<u2' '<i4' '<u4' '<i8' '<u8'; do
    { header "$type" '1,'; printf '\001\000\000\000\000\000\000\000' | head -c "${type#??}"; } >l.npy
    run --kv-lengths l.npy
    holds o.npy 1 2
done

# an archive that NumPy made by savez_compressed(q=, key=, v=), by its options' names, by one name, beside an option
printf '\120\113\003\004\055\000\000\000\010\000\000\000\041\000\107\365\115\276\377\377\377\377\377\377\377\377\005\000'\
'\024\000\161\056\156\160\171\001\000\020\000\210\000\000\000\000\000\000\000\115\000\000\000\000\000\000\000\233'\
'\354\027\352\033\020\311\310\120\306\120\255\236\222\132\234\134\244\156\245\240\156\223\146\242\256\243\240\236'\
'\226\137\124\122\224\230\027\237\137\224\222\012\022\167\113\314\051\116\005\212\027\147\044\026\244\002\371\032'\
'\206\072\012\020\144\244\251\243\120\253\100\006\340\142\140\140\260\007\141\000\120\113\003\004\055\000\000\000'\
'\010\000\000\000\041\000\123\041\320\103\377\377\377\377\377\377\377\377\007\000\024\000\153\145\171\056\156\160'\
'\171\001\000\020\000\220\000\000\000\000\000\000\000\126\000\000\000\000\000\000\000\233\354\027\352\033\020\311'\
'\310\120\306\120\255\236\222\132\234\134\244\156\245\240\156\223\146\242\256\243\240\236\226\137\124\122\224\230'\
'\027\237\137\224\222\012\022\167\113\314\051\116\005\212\027\147\044\026\244\002\371\032\206\072\012\100\144\004'\
'\104\232\072\012\265\012\144\000\056\006\206\006\173\006\006\006\007\040\002\342\006\007\000\120\113\003\004\055'\
'\000\000\000\010\000\000\000\041\000\123\041\320\103\377\377\377\377\377\377\377\377\005\000\024\000\166\056\156'\
'\160\171\001\000\020\000\220\000\000\000\000\000\000\000\126\000\000\000\000\000\000\000\233\354\027\352\033\020'\
'\311\310\120\306\120\255\236\222\132\234\134\244\156\245\240\156\223\146\242\256\243\240\236\226\137\124\122\224'\
'\230\027\237\137\224\222\012\022\167\113\314\051\116\005\212\027\147\044\026\244\002\371\032\206\072\012\100\144'\
'\004\104\232\072\012\265\012\144\000\056\006\206\006\173\006\006\006\007\040\002\342\006\007\000\120\113\001\002'\
'\055\003\055\000\000\000\010\000\000\000\041\000\107\365\115\276\115\000\000\000\210\000\000\000\005\000\000\000'\
'\000\000\000\000\000\000\000\000\200\001\000\000\000\000\161\056\156\160\171\120\113\001\002\055\003\055\000\000'\
'\000\010\000\000\000\041\000\123\041\320\103\126\000\000\000\220\000\000\000\007\000\000\000\000\000\000\000\000'\
'\000\000\000\200\001\204\000\000\000\153\145\171\056\156\160\171\120\113\001\002\055\003\055\000\000\000\010\000'\
'\000\000\041\000\123\041\320\103\126\000\000\000\220\000\000\000\005\000\000\000\000\000\000\000\000\000\000\000'\
'\200\001\023\001\000\000\166\056\156\160\171\120\113\005\006\000\000\000\000\003\000\003\000\233\000\000\000\240'\
'\001\000\000\000\000' >three.npz
files='--npz three.npz -o o.npy --scale 1 --verify'
run
holds o.npy 2.76159416 3.76159416
files='-q three.npz:q -k three.npz:key.npy -v k.npy -o o.npy --scale 1 --verify'
run
holds o.npy 2.76159416 3.76159416
ok run --npz three.npz -v k64.npy -o o.npy --scale 1 --verify
holds o.npy 2.76159416 3.76159416
says 'rounded   value' err
refused 4 'three.npz: cannot be read as query: it is an archive: expected FILE.npz:NAME, one of q, key, v' \
    run -q three.npz -k k.npy -v k.npy --verify
refused 4 'three.npz:k: cannot be read as key: it is an archive without k' run -q q.npy -k three.npz:k -v k.npy --verify
sed 's/key.npy/kez.npy/g' three.npz >other.npz
refused 4 'other.npz: its array kez has the name of no input: expected q, k, v or these: .*past-key' run --npz other.npz

# standard input, as a file of its own position too
ok run -q - -k k.npy -v k.npy --scale 1 -o o.npy <q.npy
holds o.npy 2.76159416 3.76159416
{ printf xyz; cat k.npy; } >later.npy
{
    dd bs=1 count=3 >skipped 2>&1
    ok run -q q.npy -k - -v k.npy --scale 1 -o o.npy
} <later.npy
holds o.npy 2.76159416 3.76159416

# ---- queries, keys and values in one file: [batch, length, 3, heads, dim] ----

{ header '<f4' '1, 2, 3, 1, 2'
    # shellcheck disable=SC2059
    printf "$half$half$one$two$one$two$half$half$three$four$three$four"; } >qkv.npy
ok run --qkv qkv.npy --scale 1 --verify -o o.npy
holds o.npy 2.76159416 3.76159416 2.76159416 3.76159416
says "'shape': (1, 2, 1, 2)" o.npy
ok run --qkv qkv.npy --scale 1 --verify --causal top-left -o o.npy --present-key pk.npy
holds o.npy 1 2 2.76159416 3.76159416
holds pk.npy 1 2 3 4
{ header '<f4' '1, 0, 3, 1, 2'; } >qkv.npy
ok run --qkv qkv.npy --verify -o o.npy

# ---- made-up arrays ----

ok run --random b2h4g2q9k13d8v5:f32:window=4,2@top-left:mask=add:lengths:softcap=5 --verify -o a.npy --lse lse.npy
ok run --random b2h4g2q9k13d8v5:f32:window=4,2@top-left:mask=add:lengths:softcap=5 --verify -o b.npy
ok run --random b2h4g2q9k13d8v5:f32:window=4,2@top-left:mask=add:lengths:softcap=5 --seed 1 -o c.npy
checks=$((checks + 2))
cmp a.npy b.npy || problem 'the same seed gives other arrays'
! cmp -s a.npy c.npy || problem 'another seed gives the same arrays'
ok run --random b2h4g2q9k13d8v5:f32 --window 4,2 --align top-left --softcap 5 --scale 0.25 --verify
ok run --random b0h4q9k13d8:f16:lse --verify -o o.npy --lse lse.npy
says "'<f2', 'fortran_order': False, 'shape': (0, 4, 9, 8)" o.npy
ok run --random b1h2q3k0d8:f32 --verify -o o.npy
ok run --random b1h2q33k65d8:bf16:causal@3:mask=bool --verify --time --json
says '"problem": "b1h2q33k65d8:bf16:causal@3:mask=bool"' out
for name in version variant name tile device driver dtype shapes verified error share rows seconds runs gflops; do
    says "\"$name\": [^n]" out
done
says '"verified": true' out
ok run --random b1h2q3k4d8:f32 --json
says '"error": null' out
says '"seconds": null' out

# ---- forms of one array: [batch, length, heads, dim] and [batch, length, heads * dim] are the same bytes ----

ok run --random b2h6q5k5d4:f32 -o q.npy
ok run --random b2h6q7k7d4:f32 -o k.npy --seed 1
reform() { # FILE SHAPE: the data of q.npy or k.npy under another shape
    { header '<f4' "$2"; tail -c +129 "$1"; }
}
reform q.npy '2, 5, 6, 4' >q4.npy
reform q.npy '2, 5, 24' >q3.npy
reform k.npy '2, 7, 6, 4' >k4.npy
reform k.npy '2, 7, 24' >k3.npy
ok run -q q4.npy -k k4.npy -v k4.npy --layout bshd -o o4.npy --verify
ok run -q q3.npy -k k3.npy -v k3.npy --q-heads 6 --kv-heads 6 -o o3.npy --verify
says "'shape': (2, 5, 6, 4)" o4.npy
says "'shape': (2, 5, 24)" o3.npy
tail -c +129 o4.npy >data4
tail -c +129 o3.npy >data3
checks=$((checks + 1))
cmp data3 data4 || problem 'the forms give different results'
reform k.npy '2, 14, 12' >k3.npy
ok run -q q3.npy -k k3.npy -v k3.npy --q-heads 6 --kv-heads 3 -o o.npy --verify
says 'b2h6g3q5k14d4' err
says "'shape': (2, 5, 24)" o.npy

# ---- heat maps ----

ok run -q q.npy -k k.npy -v k.npy --heatmap all.png --verify
is_png all.png
says 'heatmap   all.png: all heads of batch 0; the other batches are not drawn' err
says 'scores=weights' err
ok run -q q.npy -k k.npy -v k.npy --heatmap five.png --heatmap-head 5 --json
is_png five.png
ok run --random b1h2q30k40d8:f16:causal --scores s.npy --scores-stage masked --heatmap masked.png
says "'shape': (1, 2, 30, 40)" s.npy
is_png masked.png
ok run --random b1h2q30k40d8:f16:causal --heatmap again.png
ok run --random b1h2q30k40d8:f16:causal --heatmap same.png
checks=$((checks + 3))
cmp again.png same.png || problem 'the same weights give another picture'
! cmp -s again.png masked.png || problem 'weights and masked scores give the same picture'
! cmp -s all.png five.png || problem 'all heads and one head give the same picture'
refused 4 'heatmap-head is 6: expected 0 to 5' run -q q.npy -k k.npy -v k.npy --heatmap x.png --heatmap-head 6
refused 2 'heatmap-head is 2: expected 0 to 1' run --random b1h2q3k4d8:f32 --heatmap x.png --heatmap-head 2
refused 2 'no weights to draw' run --random b1h2q3k0d8:f32 --heatmap x.png
refused 2 'heatmap: the queries are packed' run --random b2h2q3k4d8:f32:ragged=q --heatmap x.png
refused 5 'have 320000000000 bytes: expected at most 1073741824' \
    run --random b1h8q100000k100000d8:f32 --heatmap x.png
refused 5 'x [0-9]* pixels: expected at most 67108864.*--heatmap-head' \
    run --random b1h8q4000k4000d8:f32 --heatmap x.png
refused 5 '2000 heads: expected at most 1024' run --random b1h2000q4k4d8:f32 --heatmap x.png
refused 5 . run --random b1h2q4k4d8:f32 --kernel flash --heatmap x.png
[ ! -w /dev/full ] || refused 1 '/dev/full: cannot be written: No space' run -q q.npy -k k.npy -v k.npy -o o.npy \
    --heatmap /dev/full

# ---- outputs: all or none ----

if [ -w /dev/full ]; then
    rm -f o.npy
    refused 1 '/dev/full: cannot be written: No space' run -q q.npy -k k.npy -v k.npy -o o.npy --lse /dev/full
    refused 1 '/dev/full: cannot be written: No space' run -q q.npy -k k.npy -v k.npy -o /dev/full --lse lse2.npy
    refused 1 '/dev/full: cannot be written: No space' run --random b1h1q1k2d2:f32:backward --d-query dq2.npy --d-key /dev/full
    checks=$((checks + 1))
    "$clattn" run -q q.npy -k k.npy -v k.npy --json >/dev/full 2>err
    [ $? -eq 1 ] || problem 'JSON to a full disk succeeds'
fi
rm -f o.npy
(
    ulimit -f 4096 # 2 or 4 MiB, as the shell counts; what drivers write is less, the output 10 MB
    "$clattn" run --random b1h1q20000k2d128:f32 -o o.npy
) >out 2>err
code=$?
checks=$((checks + 1))
[ "$code" -eq 1 ] && [ ! -e o.npy ] || problem "a file that cannot be as long: exit code $code"
says 'o.npy: cannot be written: File too large' err

ln -sf target.npy link.npy
printf 'old' >target.npy
chmod 640 target.npy
ok run -q q.npy -k k.npy -v k.npy -o link.npy
checks=$((checks + 1))
[ -h link.npy ] && case $(ls -l target.npy) in -rw-r-----*) true ;; *) false ;; esac || problem 'a link is replaced'
says "'shape': (2, 6, 5, 4)" target.npy
ok run -q q.npy -k k.npy -v k.npy -o q.npy # in place of its own input

# A signal while it works takes what is staged with it: every one that ends a program. The problem takes minutes to
# verify, if nothing ends it. A compiler in a driver may swallow some of them.
# Address sanitizer keeps SEGV for itself.
signals='TERM:143 ALRM:142 VTALRM:154 XCPU:152'
grep -q __asan_init "$clattn" || signals="$signals SEGV:139"
for signal in $signals; do
    "$clattn" run --random b1h8q9000k9000d128:f32 --verify --time -o staged.npy >out 2>err &
    pid=$!
    waited=0
    while ! ls .clattn-* >/dev/null 2>&1 && [ $waited -lt 100 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    waited=0
    while kill -"${signal%:*}" $pid 2>/dev/null && [ $waited -lt 100 ]; do
        sleep 0.2
        waited=$((waited + 1))
    done
    wait $pid 2>/dev/null
    code=$?
    checks=$((checks + 1))
    [ "$code" -eq "${signal#*:}" ] && ! ls .clattn-* staged.npy >/dev/null 2>&1 ||
        problem "signal $signal: exit code $code, $(ls -A)"
    rm -f .clattn-*
done
finish
