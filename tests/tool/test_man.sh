#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual page and --help name the same options and the same exit codes. Needs no device.
# shellcheck source=/dev/null disable=SC2154
page=$(cd "$(dirname "$0")/../.." && pwd)/tools/man/clattn.1
. "$(dirname "$0")/common.sh"

# Commands are what the tool's own help lists.
"$clattn" --help >help
commands=$(sed -n '/^Usage:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' help)
checks=$((checks + 1))
[ -n "$commands" ] || problem "no commands in: $(cat help)"
for command in $commands; do
    checks=$((checks + 1))
    grep -q "^\.Ss clattn $command\$" "$page" || problem "clattn.1 has no section for clattn $command"
    "$clattn" "$command" --help >>help
done

# Long options, one a line. In the page they are written as ".Fl -option" or ", -option".
sed -n 's/^ *\(-[a-zA-Z], \)\{0,1\}--\([a-z-]*\).*/\2/p' help | sort -u >in-help
grep -o '\(Fl\|,\) -[a-z][a-z-]*' "$page" | sed 's/.* -//' | sort -u >in-page
checks=$((checks + 1))
cmp -s in-help in-page || problem "options in --help (<) and in clattn.1 (>): $(diff in-help in-page | grep '^[<>]' | tr '\n' ' ')"

sed -n '/^Exit codes:/,/^$/s/^  \([0-9]\) .*/\1/p' help | sort -u >in-help
sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/s/^\.It \([0-9]\)$/\1/p' "$page" >in-page
checks=$((checks + 1))
cmp -s in-help in-page || problem "exit codes in --help (<) and in clattn.1 (>): $(diff in-help in-page | grep '^[<>]' | tr '\n' ' ')"

finish
