# SPDX-License-Identifier: MIT
# chroot.sh - rows chroot/SUITE.
# shellcheck shell=bash disable=SC2154 # $top, $dir: matrix

# made SUITE [PACKAGES [MACHINE]]: makes the chroot $root, with these packages, of another machine that this one can run
made() {
    [ ! -d "$root" ] || return 0
    needs mmdebstrap ${3:+arch-test}
    rm -rf "$root.new"
    mkdir -p "$dir/chroot"
    mmdebstrap --quiet --variant=minbase --aptopt="$(expired)" ${2:+"--include=$2"} ${3:+"--architectures=$3"} \
        "$1" "$root.new" http://deb.debian.org/debian ||
        cannot "mmdebstrap could not make a chroot of $1"
    mv "$root.new" "$root"
}

# inside COMMAND...: in the chroot, where /kaio is this tree and /build is $build; what is mounted is gone afterwards
inside() {
    mkdir -p "$root/kaio" "$root/build"
    unshare --mount sh -eu -c 'root=$1 top=$2 build=$3
        shift 3
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --bind -o ro "$top" "$root/kaio"
        mount --bind "$build" "$root/build"
        exec env -u TMPDIR TEST_BUILD=/build LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"' \
        - "$root" "$top" "$build" "$@"
}

# package: the library's and the command's install, and kaio runs a program
package() {
    cp "$top"/build/{libkaio,kaio}_"$(sed -n 's/^VERSION = //p' "$top/Makefile")"_amd64.deb "$build"
    if ! inside sh -c 'dpkg -i /build/*.deb' >"$build/dpkg" 2>&1; then
        echo "FAIL package: does not install"; sed 's/^/     | /' "$build/dpkg"
    elif inside sh -euc 'cd /var/tmp
        kaio --version
        TEST_SIDE=glibc /build/tests/api/basic >/build/expected
        TEST_SIDE=shim kaio --stats=/build/stats -- /build/tests/api/basic >/build/got
        cmp /build/expected /build/got
        test -s /build/stats' >"$build/kaio" 2>&1; then
        echo "ok   package"
    else
        echo "FAIL package: kaio"; sed 's/^/     | /' "$build/kaio"
    fi
    inside dpkg -P kaio libkaio >/dev/null 2>&1
}

# Programs that were built for glibc 2.36 run on later ones; what is tried with them is then old programs, too. Earlier ones
# get a compiler.
row() {
    local compiler='' test programs
    root=$dir/chroot/$1 build=$dir/build/$1
    [ "$1" != bullseye ] || compiler=gcc,libc6-dev,make
    needs build-essential debhelper libaio-dev systemtap-sdt-dev
    make -s -j2 all deb build-debug || { echo "FAIL build"; exit 1; }
    made "$1" "$compiler"
    rm -rf "$build"
    mkdir -p "$build/debug" "$build/tests/api"
    cp build/libkaio.so "$build"
    cp build/debug/libkaio.so "$build/debug"
    programs=(tests/api/*.c)
    programs=("${programs[@]%.c}")
    if [ "$compiler" ]; then
        inside make -s -j2 -C /kaio B=/build TEST_LIBS=-lrt "${programs[@]/#//build/}" || { echo "FAIL build there"; exit 1; }
    else
        make -s -j2 "${programs[@]/#/build/}" || { echo "FAIL build"; exit 1; }
        cp "${programs[@]/#/build/}" "$build/tests/api"
    fi
    echo "what: api and the package, Debian $1, $(inside ldd --version | sed 's/.* /glibc /; q'), Linux $(uname -r)"
    # shellcheck disable=SC2046 # several words
    for test in $(wanted api/); do inside /kaio/tests/run "$test"; done
    [ ${#tests[@]} != 0 ] || package
}
