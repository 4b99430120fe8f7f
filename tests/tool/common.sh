# SPDX-License-Identifier: Apache-2.0
# What the tests of the tool share. A test is run as: test_NAME.sh TOOL, and works in a folder of its own that it takes
# away. Arrays are made with printf and head, so that nothing but a shell is needed.
set -u
clattn=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/run"
cd "$folder/run" || exit 1
LC_ALL=C
export LC_ALL
unset CLATTN_DEVICE
checks=0
failures=0

problem() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}

finish() {
    echo "$checks checks, $failures failed"
    [ "$failures" -eq 0 ] && [ "$checks" -gt 0 ]
    exit
}

# header DESCR SHAPE: the start of an .npy file, such as header '<f4' '1, 2'
header() {
    text="{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"
    # shellcheck disable=SC2059
    printf '\223NUMPY\001\000'"\\$(printf %03o $((${#text} + 1)))"'\000'
    printf '%s\n' "$text"
}

# zeros NAME DESCR SHAPE BYTES
zeros() {
    {
        header "$2" "$3"
        head -c "$4" /dev/zero
    } >"$1"
}

# whole NUMBERS...: as int32, each below 256
whole() {
    for number in "$@"; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o "$number")\\000\\000\\000"
    done
}

# ok ARGUMENTS...: the tool succeeds. Its outputs stay in the files out and err.
ok() {
    checks=$((checks + 1))
    "$clattn" "$@" >out 2>err
    code=$?
    [ "$code" -eq 0 ] || problem "clattn $*: exit code $code: $(cat err)"
}

# refused CODE PATTERN ARGUMENTS...: the tool fails with CODE and one line that begins as it must and matches PATTERN
# (of grep), leaving no file behind.
refused() {
    expected=$1
    pattern=$2
    shift 2
    checks=$((checks + 1))
    before=$(ls -A)
    "$clattn" "$@" >../tool-out.$$ 2>../tool-err.$$
    code=$?
    mv ../tool-out.$$ out
    mv ../tool-err.$$ err
    [ "$code" -eq "$expected" ] || problem "clattn $*: exit code $code, expected $expected: $(cat err)"
    [ "$(wc -l <err)" -eq 1 ] || problem "clattn $*: expected one line: $(cat err)"
    grep -q '^clattn\( [a-z]*\)\{0,1\}: ' err || problem "clattn $*: how it begins: $(cat err)"
    grep -q -e "$pattern" err || problem "clattn $*: expected '$pattern', found: $(cat err)"
    [ "$(ls -A)" = "$before" ] || problem "clattn $*: left something: $(ls -A)"
}

# says PATTERN FILE: a line of FILE matches
says() {
    checks=$((checks + 1))
    grep -q -e "$1" "$2" || problem "expected '$1' in $2: $(cat "$2")"
}

# floats FILE: the numbers of an .npy file of float32 that the tool wrote, one a line (its header has 128 bytes)
floats() {
    tail -c +129 "$1" | od -An -v -tf4 | tr -s ' \n' '\n' | sed '/^$/d'
}

# holds FILE NUMBERS...: the file has these numbers, to 1e-5
holds() {
    checks=$((checks + 1))
    file=$1
    shift
    floats "$file" >found
    printf '%s\n' "$@" >wanted
    paste wanted found | awk '
        NF != 2 { bad = 1 }
        $1 ~ /inf/ || $2 ~ /inf/ { bad = bad || $1 != $2; next }
        { d = $1 - $2; bad = bad || d > 1e-5 || d < -1e-5 }
        END { exit bad }' || problem "$file: expected $*, found $(tr '\n' ' ' <found)"
}

# is_png FILE: the signature, a width and height over 100, and the end of a PNG file
is_png() {
    checks=$((checks + 1))
    set -- "$1" "$(od -An -v -tu1 -N24 "$1" | tr -s ' \n' ' ')" "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')"
    case $2 in
    ' 137 80 78 71 13 10 26 10 0 0 0 13 73 72 68 82 '*) ;;
    *) problem "$1 does not begin as a PNG: $2" ;;
    esac
    # shellcheck disable=SC2086
    echo $2 | awk '{ exit !($19 * 256 + $20 > 100 && $23 * 256 + $24 > 100) }' || problem "$1 is too small: $2"
    [ "$3" = 49454e44ae426082 ] || problem "$1 does not end as a PNG: $3"
}

: >out
: >err
