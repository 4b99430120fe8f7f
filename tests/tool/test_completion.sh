#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the shells complete: every command and option that the help has, and values for everything that an option takes.
# bash is asked; the files of the others are parsed, where those shells are there. Needs no device.
# shellcheck source=/dev/null disable=SC2154
completion=$(cd "$(dirname "$0")/../.." && pwd)/tools/completion
. "$(dirname "$0")/common.sh"

if ! command -v bash >bash-is; then
    echo 'SKIPPED: no bash'
    exit 77
fi

# completes WORDS...: what bash offers for the last of them, one a line, in the file offered
completes() {
    checks=$((checks + 1))
    bash -c '. "$1" && shift && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) &&
        _clattn "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" &&
        printf "%s\n" "${COMPREPLY[@]}"' bash "$completion/clattn.bash" "$clattn" "$@" >offered 2>err ||
        problem "bash: clattn $*: $(cat err)"
    [ ! -s err ] || problem "bash: clattn $*: $(cat err)"
}

# offers WORDS...: these and no others were offered
offers() {
    checks=$((checks + 1))
    [ "$(tr '\n' ' ' <offered)" = "$* " ] || problem "expected $*, offered: $(tr '\n' ' ' <offered)"
}

"$clattn" --help >help
commands=$(sed -n '/^Usage:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' help)
completes ''
# shellcheck disable=SC2086
offers $commands help --help --version
completes he
offers help
completes help de
offers devices demo
for command in $commands; do
    "$clattn" "$command" --help >help
    sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p' help >options
    completes "$command" -
    checks=$((checks + 2))
    [ "$(wc -l <options)" -gt 3 ] || problem "clattn $command --help has no options"
    cmp -s options offered || problem "clattn $command: options (<) and what is offered (>): $(diff options offered)"
    # whatever options take is in the list of each shell
    for what in $(sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}--[a-z-]*=\([^ ]*\).*/\2/p' help | sort -u); do
        checks=$((checks + 1))
        grep -q "[ |]$what\( |\|)\)" "$completion/clattn.bash" || problem "clattn.bash does not know $what"
    done
done
completes run --layout ''
offers bhsd bshd
completes run --layout = bs
offers bshd
completes run --layout =
offers bhsd bshd
completes run --dtype ''
offers f32 f16 bf16
completes run --causal b
offers bottom-right
completes run --scores-stage m
offers masked
completes run --kernel un
offers unfused
completes run --backward-kernel til
offers tiled
completes bench --kernel til
offers tiled
completes run --scale ''
offers ''
touch some.npy some.npz
completes run -q some
offers some.npy some.npz
completes run --mask some
offers some.npy some.npz
completes bench pre
offers prefill
completes bench tr
offers train
completes demo see
offers ''
completes demo seq
offers seq2seq

# Each value that is offered is one that the program takes.
for option in layout dtype scores-stage kernel causal; do
    completes run "--$option" ''
    while read -r value; do
        checks=$((checks + 1))
        "$clattn" run --random nonsense "--$option" "$value" >out 2>err
        "$clattn" run --random b1h1q1k1d1:f32 --seed x "--$option" "$value" 2>&1 | grep -q "$option is" &&
            problem "--$option $value is offered and not taken"
    done <offered
done

for shell in zsh:_clattn fish:clattn.fish; do
    command -v "${shell%:*}" >shell-is || continue
    checks=$((checks + 1))
    "${shell%:*}" -n "$completion/${shell#*:}" 2>err || problem "$shell: $(cat err)"
done
finish
