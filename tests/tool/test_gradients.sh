#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The gradients of what is added to scores, whose kernels take long to compile; test_run.sh has those of the rest.
# shellcheck source=/dev/null disable=SC2154
. "$(dirname "$0")/common.sh"

# test_run.sh's example: one query (0.5, 0.5) over the keys and values (1, 2) and (3, 4), unscaled, and the gradient (1, 0) of
# the output. With a mask of 0 and a sink of 1.5 the weights are 0.10650699, 0.78698604 and the sink's 0.10650699, the output's
# first number 2.46746511, the scores' gradients -0.15629530 and 0.41909754.

zero='\000\000\000\000' one='\000\000\200\077' two='\000\000\000\100' three='\000\000\100\100' four='\000\000\200\100' half='\000\000\000\077'
# shellcheck disable=SC2059
{
    { header '<f4' '1, 1, 1, 2'; printf "$half$half"; } >q.npy
    { header '<f4' '1, 1, 2, 2'; printf "$one$two$three$four"; } >k.npy
    { header '<f4' '1, 1, 1, 2'; printf "$one$zero"; } >do.npy
    { header '<f4' '1,'; printf '\000\000\300\077'; } >sink.npy
}
zeros zero.npy '<f4' '1, 2' 8
ok run -q q.npy -k k.npy -v k.npy --scale 1 --verify --d-output do.npy --mask zero.npy --sinks sink.npy --d-mask dm.npy \
    --d-sinks ds.npy
holds dm.npy -0.15629530 0.41909754
holds ds.npy -0.26280228
says "'shape': (1, 2)," dm.npy
says "'shape': (1,)," ds.npy
says ':backward=mask,sinks$' err

# So many batches that sums over them are held.
ok run --random b70h2q5k9d4:f32:mask=add@1x1x1x9:alibi@bottom-right:relative=2@bottom-right:backward=mask,alibi,relative --verify
checks=$((checks + 1))
[ "$(grep -c '^verified  yes' err)" -eq 2 ] || problem "not verified: $(cat err)"

finish
