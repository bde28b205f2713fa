#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Old kernels, by making calls fail as they did there (old.d/old.c; tests on real ones: scripts/matrix). Programs
# cannot tell, children find a clean state however they were made, and what a kernel does not know is asked for once,
# not by each request.
set -eu
fail() { echo "$1"; exit 1; }
own=$TESTS_TOP/tests/faults/old.d
${CC:-gcc} -O1 -shared -fPIC -o old.so "$own/old.c"
${CC:-gcc} -O1 -o children "$own/children.c"

# on VERSION COMMAND...: with the library, on that kernel
on() {
    local version=$1
    shift
    env OLD="$version" OLD_COUNT="$PWD/count" TEST_SIDE=shim TEST_WARM=1 LD_PRELOAD="$PWD/old.so $KAIO_LIB" "$@"
}

# at_most COLUMN N WHERE: in each process
at_most() {
    awk -v column="$1" -v most="$2" '$column > most { exit 1 }' count || fail "$3: asked for again and again: $(sort -u count)"
}

# 3.10: RHEL 7; 4.9: Debian 9; 4.14: Amazon Linux 2; 4.18: RHEL 8; 5.10: Debian 11
for version in 310 409 414 418 510; do
    rm -f count
    on $version ./children >out 2>&1 || fail "children on $version: $(cat out)"
    [ "$(awk '{ print $10 }' count)" -gt 100 ] || fail "direct reads are not the kernel's on $version: $(cat count)"
    grep -qx '4 children, byte x' out || fail "children on $version: $(cat out)"
    case $version in 409 | 418) continue ;; esac # much the same as those before
    for name in basic files stream fsync; do
        TEST_SIDE=glibc "$TESTS_TOP/build/tests/api/$name" >expected 2>&1 || fail "$name under glibc"
        rm -f count
        on $version "$TESTS_TOP/build/tests/api/$name" >got 2>&1 || fail "$name on $version: $(tail -n 5 got)"
        diff -I '^note: ' expected got || fail "$name on $version differs"
        at_most 2 8 "statx on $version, $name"
        at_most 6 $((version < 413 ? 1 : 64)) "io_submit on $version, $name"
        echo "note: $version, $name: $(sort count | tail -n 1)"
    done
done
