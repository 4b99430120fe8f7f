# SPDX-License-Identifier: Apache-2.0
# An example that can be computed by hand, its arrays, and a run of it.
# shellcheck shell=sh disable=SC2034,SC2154
#
# One query (0.5, 0.5) over the keys and values (1, 2) and (3, 4), unscaled (Luong et al. 2015): scores 1.5 and 3.5,
# weights 1 / (1 + e^2) = 0.11920292 and 0.88079708, output 1 + 2 * 0.88079708 and 1 more, log-sum-exp 3.5 + 0.12692801.

one='\000\000\200\077' two='\000\000\000\100' three='\000\000\100\100' four='\000\000\200\100' half='\000\000\000\077'
infinity='\000\000\200\377' # minus infinity
# shellcheck disable=SC2059
{
    { header '<f4' '1, 1, 1, 2'; printf "$half$half"; } >q.npy
    { header '<f4' '1, 1, 2, 2'; printf "$one$two$three$four"; } >k.npy
    { header '>f4' '1, 1, 2, 2'; printf '\077\200\000\000\100\000\000\000\100\100\000\000\100\200\000\000'; } >big.npy
    { header '<f4' '1, 1, 2, 2' | sed 's/False/True /'; printf "$one$three$two$four"; } >fortran.npy
    { header '<f2' '1, 1, 1, 2'; printf '\000\070\000\070'; } >q16.npy
    { header '|b1' '2,'; printf '\000\001'; } >second.npy
    { header '|b1' '1, 1'; printf '\000'; } >nothing.npy
    { header '<f4' '1, 2'; printf "$infinity$one"; } >add.npy
    { header '<i8' '1,'; printf '\001\000\000\000\000\000\000\000'; } >first.npy
}
files='-q q.npy -k k.npy -v k.npy -o o.npy --scale 1 --verify'
run() {
    rm -f o.npy lse.npy s.npy
    # shellcheck disable=SC2086
    ok run $files "$@"
}
