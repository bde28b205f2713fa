#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Without the ring of events (a kernel whose layout is unknown; here madvise(MADV_DONTFORK) is refused) the
# library has no context: programs of tests/api print what they print under glibc.
set -eu
tests=$TESTS_TOP/build/tests
fail() { echo "$1"; exit 1; }
for program in api/{basic,suspend,list,threads,notify,stream}; do
    TEST_WARM=1 TEST_SIDE=glibc timeout -k 1 30 "$tests/$program" >glibc.out || fail "$program under glibc"
    rm -f log
    status=0
    timeout -k 1 30 "$tests/lib/no_ring" env TEST_WARM=1 TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB" \
        KAIO_DEPTH=1024 KAIO_LOG="$PWD/log" "$tests/$program" >shim.out || status=$?
    [ $status != 77 ] || { echo "no seccomp filter here"; exit 77; }
    [ $status = 0 ] || fail "$program: status $status, $(tail -n 3 shim.out)"
    grep -q 'no kernel AIO' log || fail "$program: it has a context: $(cat log)"
    diff glibc.out shim.out || fail "$program: other than glibc"
done
