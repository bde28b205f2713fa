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
    local machine=$1 triplet=$2
    shift 2
    needs gcc libc6-dev make libaio-dev "gcc-$triplet" "libc6-dev-${machine/aarch64/arm64}-cross"
    make -s -j2 "B=$build" "CC=$triplet-gcc" "$build/libkaio.so" &&
        make -s -j2 "B=$build/debug" DEBUG=1 "CC=$triplet-gcc" "$build/debug/libkaio.so" &&
        programs "$triplet" TEST_LIBS= "$@" || { echo "FAIL build"; exit 1; }
}

# programs TRIPLET WORD...: those of tests/api, or that were asked for, into $build
programs() {
    local triplet=$1 names=(tests/api/*.c)
    [ ${#tests[@]} = 0 ] || names=("${tests[@]/#/tests/}")
    names=("${names[@]%.c}")
    make -s -j2 "B=$build" "CC=$triplet-gcc" "${@:2}" "${names[@]/#/$build/}"
}

# tried TEST...: by tests/run, from $build
tried() {
    local test
    for test; do TEST_BUILD=$build tests/run "$test"; done
}

# These run by themselves on a 64-bit kernel, with the C library of the cross compiler.
i386() {
    local root=/usr/i686-linux-gnu/lib base=$dir/build/i386 way name flags
    local libs="-Wl,--dynamic-linker=$root/ld-linux.so.2 -Wl,--disable-new-dtags,-rpath,$root"
    build=$base
    compiled i386 i686-linux-gnu "TEST_LIBS=$libs"
    echo "what: api as i386, glibc 2.36, Linux $(uname -r)"
    # shellcheck disable=SC2046 # several words
    tried $(wanted api/)
    for way in "off64 -D_FILE_OFFSET_BITS=64" "time64 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64"; do
        read -r name flags <<<"$way"
        build=$base-$name
        mkdir -p "$build"
        ln -sfn "$base/libkaio.so" "$base/debug" "$build"
        programs i686-linux-gnu "TEST_LIBS=$libs" "CPPFLAGS=$flags" || { echo "FAIL build of $name"; continue; }
        # shellcheck disable=SC2046
        tried $(wanted api/basic api/files api/offsets api/suspend) | sed "s| api/| $name/|"
    done
    echo "what: basic, files, offsets and suspend also with _FILE_OFFSET_BITS=64 and _TIME_BITS=64"
}

row() {
    local machine triplet qemu
    read -r machine triplet qemu < <(grep "^$1 " <<<"$machines")
    if [ "$qemu" = - ]; then i386; return; fi
    needs qemu-user-static
    build=$dir/build/$machine
    compiled "$machine" "$triplet"
    echo "what: api/basic, api/files and api/offsets as $machine, glibc 2.36, by $(qemu-"$qemu"-static --version | sed 's/(.*//; s/ version//; s/ *$//; q'), without kernel AIO"
    # shellcheck disable=SC2046
    TEST_EMULATOR="qemu-$qemu-static -L /usr/$triplet" tried $(wanted api/basic api/files api/offsets)
}
