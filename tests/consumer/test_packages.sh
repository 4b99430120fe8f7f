#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Uses what `cpack` made as others do: installs Debian's packages, builds and runs programs against them, removes them,
# and runs the tool of the archive from where that is unpacked. Changes the system that it runs on, as root: .ci/run
# gives it one of its own.
#
# usage: test_packages.sh SOURCE PACKAGES WORK     WORK is emptied first
set -eux
source=$1 packages=$2 work=$3
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# what is left of them where none is installed
left() {
    find /usr /etc /var/lib/dpkg/info -name '*clattn*' -not -path "$source/*"
}

[ -z "$(left)" ]
dpkg -i "$packages"/*.deb

cmake -S "$source/tests/consumer" -B by_cmake
cmake --build by_cmake
by_cmake/consumer
# shellcheck disable=SC2046 # pkg-config answers in words
{
    cc -std=c99 "$source/tests/consumer/main.c" -o by_pkg_config $(pkg-config --cflags --libs clattn)
    cc "$source/tests/examples/self_attention.c" -o first $(pkg-config --cflags --libs clattn) -lm
}
./by_pkg_config
./first
ldd first | grep 'libclattn.so.0.1 => /[a-z/]*lib/'
version=$(clattn --version)
[ "$version" = "clattn $(dpkg-query -W -f '${Version}' clattn)" ]
clattn run --random b1h2q5k7d16:f16 --verify
[ -s /usr/share/bash-completion/completions/clattn ]
[ -s /usr/share/zsh/vendor-completions/_clattn ]
[ -s /usr/share/fish/vendor_completions.d/clattn.fish ]
for package in libclattn0.1 libclattn-dev clattn; do
    [ -s "/usr/share/doc/$package/copyright" ]
done

dpkg --purge clattn libclattn-dev libclattn0.1
[ -z "$(left)" ]
if ./first; then
    exit 1
fi

tar xzf "$packages"/*.tar.gz
[ "$(./clattn-*/bin/clattn --version)" = "$version" ]
