#!/usr/bin/env bash
# io_setup refused, by errno and for good or at first; or fs.aio-max-nr used up: programs do the same,
# on workers or with a smaller context, and the log says why.
set -eu
tests=$TESTS_TOP/build/tests
fail() { echo "$1"; exit 1; }
TEST_WARM=1 TEST_SIDE=glibc "$tests/api/files" >glibc.out
for error in ENOSYS EPERM EAGAIN ENOMEM; do
    TEST_WARM=1 TEST_SIDE=shim strace -f -o trace -e trace=io_setup -e inject=io_setup:error=$error \
        env LD_PRELOAD="$KAIO_LIB" KAIO_LOG="$PWD/log" "$tests/api/files" >shim.out
    grep -q INJECTED trace || fail "$error: nothing was injected"
    diff glibc.out shim.out || fail "$error: another result"
    grep -q 'no kernel AIO' log || fail "$error: the log is silent"
    rm log
done
# EAGAIN at first: it asks for less
dd if=/dev/urandom of=data bs=1M count=1 status=none
strace -f -o trace -e trace=io_setup -e inject=io_setup:error=EAGAIN:when=1..3 \
    env LD_PRELOAD="$KAIO_LIB" KAIO_LOG="$PWD/log" "$tests/proof/every" data
grep -q 'io_setup(32, \[0x' trace && grep -q 'depth 32' log || fail "did not halve: $(cat trace)"
# for real: another process holds all there is
"$tests/proof/hog" env LD_PRELOAD="$KAIO_LIB" KAIO_LOG="$PWD/log2" "$tests/proof/every" data
grep -q 'no kernel AIO' log2 || fail "with aio-max-nr used up: $(cat log2)"
