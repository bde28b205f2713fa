#!/usr/bin/env bash
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

# 3.10: RHEL 7; 4.9: Debian 9; 4.14: Amazon Linux 2; 4.18: RHEL 8; 5.10: Debian 11
for version in 310 409 414 418 510; do
    on $version ./children >out 2>&1 || fail "children on $version: $(cat out)"
    grep -qx '4 children, byte x' out || fail "children on $version: $(cat out)"
    for name in basic files stream fsync; do
        TEST_SIDE=glibc "$TESTS_TOP/build/tests/api/$name" >expected 2>&1 || fail "$name under glibc"
        rm -f count
        on $version "$TESTS_TOP/build/tests/api/$name" >got 2>&1 || fail "$name on $version: $(tail -n 5 got)"
        diff -I '^note: ' expected got || fail "$name on $version differs"
        echo "note: $version, $name: failed: $(cat count)"
    done
done
