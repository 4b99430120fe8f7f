#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The benchmark: what it reports and how its numbers hang together, what it refuses, and comparisons with baselines that
# are edited to have been faster or slower. No time is expected to be anything.
# shellcheck source=/dev/null disable=SC2154
peers=$(cd "$(dirname "$0")/../../tools" && pwd)/compare-peers
. "$(dirname "$0")/common.sh"

# field NAME FILE: the values of a field of a report, one a line, without quotes
field() {
    sed -n 's/^ *"'"$1"'": "\{0,1\}\([^"]*[^",]\)"\{0,1\},\{0,1\}$/\1/p' "$2"
}

# is NAME FILE VALUES...: the field has these values
is() {
    name=$1
    file=$2
    shift 2
    checks=$((checks + 1))
    [ "$(field "$name" "$file")" = "$(printf '%s\n' "$@")" ] || problem "$name: expected $*: $(cat "$file")"
}

# near WANTED FOUND: within 1e-6 of it
near() {
    checks=$((checks + 1))
    awk -v wanted="$1" -v found="$2" 'BEGIN {
        d = wanted - found
        exit !(found != "" && d <= 1e-6 * wanted && -d <= 1e-6 * wanted) }' || problem "expected $1, found $2"
}

# edited NAME SED...: a copy of the report base.json with changes
edited() {
    name=$1
    shift
    sed "$@" base.json >"$name"
    cmp -s base.json "$name" && problem "$name is base.json"
}

small=b1h4g2q5k7d8:f32:causal
window=b1h2q2k100d8:f16:window=3,0@bottom-right
backward=b1h1q1k2d2:f32:backward

# ---- usage, and what cannot be measured ----

refused 2 'one of --json, --csv and --markdown' bench --json --csv
refused 2 'max-regress is given without --baseline' bench --max-regress 5
refused 2 'repeat is 0: expected a whole number' bench --repeat 0
refused 2 'seconds is 0: expected more than 0' bench --seconds 0
refused 2 'seconds is x: expected a number' bench --seconds x
refused 2 'kernel is nonsense: expected auto, all or some of these, .*: flash, .*unfused' bench --kernel nonsense
refused 2 'kernel is : expected auto' bench --kernel flash,
refused 2 'flash is given twice' bench --kernel flash,unfused,flash
refused 2 '^clattn bench: b1h2q4k4d4: .*type' bench $small b1h2q4k4d4
sets='expected one of these: prefill, causal, decode, grouped, odd, train; or a problem, such as b1h'
refused 2 "'' is no name: $sets" bench ''
refused 2 "prefil is no name: $sets" bench prefil
refused 2 "Decode is no name: $sets" bench prefill Decode
refused 2 'b1h3g2q4k4d4:f32: kv_heads is 2' bench b1h3g2q4k4d4:f32
refused 3 'no OpenCL device' bench --device 99:0
refused 1 'none/x.json: cannot be written: its folder none: No such file' bench $small -o none/x.json
refused 2 'backward: --kernel names none that computes gradients: expected auto' bench $backward --kernel unfused
refused 2 "$small: --kernel names none that computes attention: expected auto" bench $small --kernel tiled
refused 5 'scores=raw: flash: ' bench b1h2q4k4d4:f32:scores=raw --kernel unfused,flash

# ---- the report ----

ok bench $small $window $backward --kernel auto --json -o base.json --repeat 3
checks=$((checks + 1))
[ -z "$(cat out err)" ] || problem "it says: $(cat out err)"
for name in fma_gflops matrix_gflops read_gbs copy_gbs launch_us; do
    is $name base.json null
done
is problem base.json $small $window $backward
is verified base.json true true true
is fma_share base.json null null null
is floor_share base.json null null null
for name in device driver version kernel tile extra_bytes first_call_s; do
    checks=$((checks + 1))
    [ -n "$(field $name base.json)" ] || problem "no $name in $(cat base.json)"
done

# Query i of 5 sees 3 + i of 7 keys, 25 in all: 2 * 4 * 25 * (8 + 8) operations. Q and O have 4 * 5 rows, K and V 2 * 7,
# of 8 floats. Through the window the two queries see 4 keys each, and 5 in all. A backward pass counts as 2.5 times the 16
# operations of its forward on the two pairs, and twice the 6 rows of 2 floats.
work() { # OPERATIONS BYTES LINE
    set -- "$1" "$2" "$(field gflops base.json | sed -n "$3p")" "$(field gbs base.json | sed -n "$3p")" \
        "$(field median_s base.json | sed -n "$3p")"
    near "$1" "$(echo "$3 $5" | awk '{ printf "%.9g", $1 * $2 * 1e9 }')"
    near "$2" "$(echo "$4 $5" | awk '{ printf "%.9g", $1 * $2 * 1e9 }')"
}
work 3200 2176 1
work 512 448 2
work 40 96 3
checks=$((checks + 1))
{ field min_s base.json; field median_s base.json; } | awk '{ t[NR] = $1 } END { exit !(NR == 6 && t[1] > 0 &&
    t[2] > 0 && t[3] > 0 && t[1] <= t[4] && t[2] <= t[5] && t[3] <= t[6]) }' || problem "min_s and median_s: $(cat base.json)"

ok bench $small --json --roofline --repeat 3

# A CPU has no matrix unit for OpenCL C; another device may have one.
if "$clattn" devices --json >devices.json && [ "$(field class devices.json)" = cpu ]; then
    is matrix_gflops out null
else
    checks=$((checks + 1))
    field matrix_gflops out | awk '{ exit !($1 == "null" || $1 > 0) }' || problem "matrix_gflops: $(cat out)"
fi
for name in fma_gflops read_gbs copy_gbs launch_us; do
    checks=$((checks + 1))
    field $name out | awk '{ exit !($1 > 0) }' || problem "$name is not above 0: $(cat out)"
done
value() { field "$1" out; }

# Shares are of what was measured beside the result; that of the whole run is at least as much, and the launch is the same.
least() { # SHARE FORMULA: the share is FORMULA or more
    checks=$((checks + 1))
    awk "BEGIN { exit !($1 >= (1 - 1e-6) * ($2)) }" || problem "expected $1 to be at least $2: $(cat out)"
}
least "$(value fma_share)" "$(value gflops) / $(value fma_gflops)"
least "$(value floor_share)" "(3200e-9 / $(value fma_gflops) + 1e-6 * $(value launch_us)) / $(value median_s)"
least "$(value floor_share)" "(2176e-9 / $(value read_gbs) + 1e-6 * $(value launch_us)) / $(value median_s)"

# Two results in turns, several of each.
ok bench $small $window --json --roofline --seconds 0.25
checks=$((checks + 1))
{ field fma_share out; field floor_share out; } | awk '!($1 > 0 && $1 != "null") { bad = 1 } END { exit bad || NR < 4 }' ||
    problem "expected shares above 0: $(cat out)"

# Every variant takes the small problem; only one gives scores out, and what is left out is said.
variants=$("$clattn" run --random $small --kernel nonsense 2>&1 | sed 's/.*: //; s/,//g')
narrow=b1h4g2q5k7d8:bf16:causal # which all of them take
ok bench $narrow --kernel all --csv --repeat 1
says '^device,driver,version,problem,kernel,tile,verified,median_s,min_s,gflops,gbs,fma_share,floor_share,' out
checks=$((checks + 1))
# shellcheck disable=SC2086
[ "$(sed 1d out | grep -o "$narrow,[a-z_]*,[a-z0-9]*,true," | wc -l)" -eq "$(echo $variants | wc -w)" ] ||
    problem "expected a line for each of $variants: $(cat out)"
ok bench b1h2q4k4d4:f32:scores=raw --kernel all --json --repeat 1
is kernel out unfused
says 'scores=raw: left out: flash: ' err
ok bench $window --csv --repeat 1
says ",\"$window\"," out

ok bench $small --kernel unfused --repeat 2
says '^device    .*, driver .*, clattn [0-9]' out
says '^PROBLEM  *KERNEL  *TILE  *VERIFIED  *MEDIAN  *MIN  *SPREAD  *GFLOP/s  *GB/s  *EXTRA  *FIRST$' out
says "^$small  *unfused  *[a-z0-9]*  *yes " out
ok bench $small --markdown --repeat 1
says '^| PROBLEM | KERNEL | .* |$' out
says "^| $small | [a-z_]* | [a-z0-9]* | yes |" out

# Nothing to compute, and no keys.
ok bench b0h2q4k4d4:f32 b1h2q3k0d4:f32 --json --repeat 1
is verified out true true

# ---- baselines ----


edited fast.json 's/"median_s": .*/"median_s": 1e-9,/'
edited slow.json 's/"median_s": .*/"median_s": 1e9,/'
refused 7 "$small: .* takes .* more than in fast.json: expected at most 10 % more" bench $small --baseline fast.json \
    --repeat 2
says ' CHANGE$' out
says '+[0-9.e]*+\{0,1\}[0-9]* %$' out
ok bench $small --baseline fast.json --max-regress 1e15 --repeat 2
ok bench $small --baseline slow.json --max-regress 0 --repeat 2
says ' -100.0 %$' out
ok bench $small --baseline - --max-regress 1e15 --repeat 2 --json -o - <base.json
says '"median_s": ' out
refused 4 '^clattn bench: -: cannot be read as a baseline' bench $small --baseline - --repeat 2 </dev/null
refused 2 'max-regress is -1: expected a percentage' bench --baseline fast.json --max-regress -1

# The report of a run that was slower is there all the same.
checks=$((checks + 1))
"$clattn" bench $small --baseline fast.json --repeat 2 --json -o slower.json 2>err
[ $? -eq 7 ] || problem "expected exit code 7: $(cat err)"
is problem slower.json $small

# A kernel that was not measured then is compared with the only one that was.
edited other.json -e 's/"kernel": .*/"kernel": "other",/' -e 's/"median_s": .*/"median_s": 1e-9,/'
refused 7 'more than in other.json' bench $small --baseline other.json --repeat 2
edited untimed.json 's/"median_s": .*/"median_s": null,/'
ok bench $small --baseline untimed.json --repeat 2

bad() {
    refused 4 "$1" bench $small --repeat 2 --baseline "$2"
}
bad 'absent.json: cannot be read as a baseline: No such file' absent.json
bad 'cannot be read as a baseline: Is a directory' .
head -n 5 base.json >short.json
bad 'short.json: cannot be read as a baseline, line [0-9]*: ' short.json
printf '' >empty.json
bad 'empty.json: cannot be read as a baseline' empty.json
echo '[1, 2]' >list.json
bad 'list.json: names no device: expected what clattn bench --json wrote' list.json
edited foreign.json 's/"device": .*/"device": "another",/'
bad 'foreign.json: was measured on another: expected .*, the device of this run' foreign.json
edited unnamed.json '/"kernel"/d'
bad 'unnamed.json: results\[0\] lacks' unnamed.json
edited negative.json 's/"median_s": .*/"median_s": -1,/'
bad 'negative.json: results\[0\] lacks .*median_s above 0' negative.json
edited text.json 's/"median_s": .*/"median_s": "fast",/'
bad 'text.json: results\[0\] lacks' text.json
bad 'devices.json: names no device' devices.json
echo '{"device": "x", "results": 3}' >number.json
bad 'number.json: has no list of results' number.json
refused 4 'base.json: has none of the problems .*, such as b1h2q4k4d4:f32' bench b1h2q4k4d4:f32 --baseline base.json

# ---- beside others: with none of them installed, the tool beside itself ----

if command -v python3 >/dev/null; then
    compare() {
        python3 "$peers" --clattn "$clattn" --rounds 1 --seconds 0.05 --pause 0.01 "$@" >out 2>err
    }
    checks=$((checks + 1))
    compare --peers none --again same:NO_COLOR=1 --markdown $small b1h2q4k4d4:f32:mask=bool $backward || problem "$(cat err)"
    says '^| PROBLEM | clattn ms | same ms | ratio |$' out
    says "^| $small | [0-9.]* | [0-9.]* | [0-9.]* |$" out
    says '^| b1h2q4k4d4:f32:mask=bool | [0-9.]* |' out
    says "^| $backward | [0-9.]* | [0-9.]* | [0-9.]* |$" out
    checks=$((checks + 1))
    compare --peers none b1h2q4k4d4 && problem "a problem without a type: $(cat out)"
    says 'b1h2q4k4d4: expected a problem such as' err
fi

# ---- a terminal ----

if command -v script >/dev/null && script -qc true /dev/null >out 2>&1; then
    checks=$((checks + 1))
    script -qc "'$clattn' bench $small --repeat 1" /dev/null >out
    grep -q '\[#* *\] b1h4' out || problem "no bar on a terminal: $(cat out)"
    checks=$((checks + 1))
    NO_COLOR=1 script -qc "'$clattn' bench $small --repeat 1" /dev/null >out
    ! grep -q '\[#* *\] b1h4' out || problem "a bar in spite of NO_COLOR: $(cat out)"
fi
finish
