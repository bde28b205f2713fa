# SPDX-License-Identifier: MIT
# cross.sh - rows cross/MACHINE. Debian's name of the machine, its triplet, qemu's name.
# shellcheck shell=bash disable=SC2154 # $top, $dir: matrix
machines="i386 i686-linux-gnu -
aarch64 aarch64-linux-gnu aarch64
armhf arm-linux-gnueabihf arm
ppc64el powerpc64le-linux-gnu ppc64le
s390x s390x-linux-gnu s390x
riscv64 riscv64-linux-gnu riscv64"

# compiled MACHINE TRIPLET WORD...: installs the compiler, and builds into $build the library, the one that asserts, and
# the programs of tests/api; for these make is given the words
compiled() {
    local triplet=$2
    arch=${1/aarch64/arm64} build=build/${1/aarch64/arm64}
    needs gcc libc6-dev make libaio-dev dpkg-dev "gcc-$triplet" "libc6-dev-$arch-cross"
    make -s -j2 "ARCH=$arch" libraries && make -s -j2 "ARCH=$arch" build-debug && programs TEST_LIBS= "${@:3}" ||
        { echo "FAIL build"; exit 1; }
}

# programs WORD...: those of tests/api, or that were asked for, into $build
programs() {
    local names=(tests/api/*.c)
    [ ${#tests[@]} = 0 ] || names=("${tests[@]/#/tests/}")
    names=("${names[@]%.c}")
    make -s -j2 "ARCH=$arch" "B=$build" "$@" "${names[@]/#/$build/}"
}

# tried TEST...: by tests/run, from $build
tried() {
    local test
    for test; do TEST_BUILD=$top/$build tests/run "$test"; done
}

# These run by themselves on a 64-bit kernel, with the C library of the cross compiler. Tests that were asked for are not
# compiled the other ways, too.
i386() {
    local root=/usr/i686-linux-gnu/lib base=build/i386 way name flags
    local libs="-Wl,--dynamic-linker=$root/ld-linux.so.2 -Wl,--disable-new-dtags,-rpath,$root"
    compiled i386 i686-linux-gnu "TEST_LIBS=$libs"
    (cd "$dir" && "$top/tests/lib/runs_i386") || cannot "this kernel runs no 32-bit programs"
    echo "what: api as i386, glibc 2.36, Linux $(uname -r)"
    # shellcheck disable=SC2046 # several words
    tried $(wanted api/)
    [ ${#tests[@]} = 0 ] || return 0
    for way in "off64 -D_FILE_OFFSET_BITS=64" "time64 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64"; do
        read -r name flags <<<"$way"
        build=$base-$name
        mkdir -p "$build"
        ln -sfn "$top/$base/libkaio.so" "$top/$base/debug" "$build"
        programs "TEST_LIBS=$libs" "CFLAGS=-O2 -g $flags" || { echo "FAIL build of $name"; continue; }
        tried api/basic api/files api/offsets api/suspend | sed "s| api/| $name/|"
    done
    echo "what: basic, files, offsets and suspend also with _FILE_OFFSET_BITS=64 and _TIME_BITS=64"
    verified
}

# fio's own package for i386 reads back what it has written, direct and buffered.
verified() {
    local root=$dir/chroot/i386 build=$top/$base direct
    # shellcheck source=/dev/null
    . "$top/scripts/matrix.d/chroot.sh"
    made bookworm fio i386
    for direct in 0 1; do
        # shellcheck disable=SC2016 # inside
        if inside sh -euc 'cd "$(mktemp -d -p /var/tmp)"
            trap "rm -rf \"$PWD\"" EXIT
            LD_PRELOAD=/build/libkaio.so KAIO_LOG=1 fio --name=verify --ioengine=posixaio --thread --filename=data --size=64m \
                --rw=randwrite --bs=4k --iodepth=32 --direct='$direct' --verify=crc32c >said 2>&1 || { cat said; false; }
            grep -q "libkaio.*: active" said || { cat said; false; }' >"$build/fio.log" 2>&1; then
            echo "ok   fio verify direct=$direct"
        else
            echo "FAIL fio verify direct=$direct"
            sed 's/^/     | /' "$build/fio.log"
        fi
    done
    echo "what: fio's i386 package verifies 64 MiB, buffered and direct"
}

row() {
    local machine triplet qemu arch build
    read -r machine triplet qemu < <(grep "^$1 " <<<"$machines")
    if [ "$qemu" = - ]; then i386; return; fi
    needs qemu-user-static
    compiled "$machine" "$triplet"
    echo "what: api/basic, api/files and api/offsets as $machine, glibc 2.36, by $(qemu-"$qemu"-static --version | sed 's/(.*//; s/ version//; s/ *$//; q'), without kernel AIO"
    # shellcheck disable=SC2046
    TEST_EMULATOR="qemu-$qemu-static -L /usr/$triplet" tried $(wanted api/basic api/files api/offsets)
}
