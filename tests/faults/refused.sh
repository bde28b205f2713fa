#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# io_setup refused, by errno and for good or at first; or fs.aio-max-nr used up: programs do the same,
# on workers or with a smaller context, and the log says why. A filter that kills. No threads, no memory: EAGAIN.
# contexts: it depends on what fs.aio-max-nr has left
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
# A filter that kills for a call of ours, and for none of glibc's: KAIO_MODE=off is for such programs.
TEST_WARM=1 TEST_SIDE=glibc "$tests/api/basic" >glibc.out
for call in 206 209 290 327; do # io_setup, io_submit, eventfd2, preadv2
    status=0
    TEST_WARM=1 TEST_SIDE=shim "$tests/lib/refusing" kill $call env LD_PRELOAD="$KAIO_LIB" "$tests/api/basic" \
        >shim.out 2>&1 || status=$?
    [ $status != 77 ] || { echo "skipped, filters that kill: no seccomp here"; break; }
    [ $status = 159 ] || fail "killed for $call: status $status"
    TEST_WARM=1 TEST_SIDE=glibc "$tests/lib/refusing" kill $call \
        env LD_PRELOAD="$KAIO_LIB" KAIO_MODE=off "$tests/api/basic" >off.out || fail "$call, KAIO_MODE=off"
    diff glibc.out off.out || fail "$call, KAIO_MODE=off: another result"
done
# EAGAIN at first: it asks for less
dd if=/dev/urandom of=data bs=1M count=1 status=none
strace -f -o trace -e trace=io_setup -e inject=io_setup:error=EAGAIN:when=1..3 \
    env LD_PRELOAD="$KAIO_LIB" KAIO_LOG="$PWD/log" "$tests/lib/every" data
grep -q 'io_setup(32, \[0x' trace && grep -q 'depth 32' log || fail "did not halve: $(cat trace)"
# for real: another process holds all there is
"$tests/lib/hog" env LD_PRELOAD="$KAIO_LIB" KAIO_LOG="$PWD/log2" "$tests/lib/every" data
grep -q 'no kernel AIO' log2 || fail "with aio-max-nr used up: $(cat log2)"

# no threads: the same answers as glibc's
for side in glibc shim; do
    library=$KAIO_LIB
    [ $side = shim ] || library=
    SCARCE=thread strace -f -o trace -e trace=clone3 -e inject=clone3:error=EAGAIN \
        env LD_PRELOAD="$library" "$tests/faults/scarce" >$side.out || fail "no threads, $side"
    grep -q INJECTED trace || fail "no threads, $side: nothing was injected"
done
grep -q 'write: at once EAGAIN' glibc.out || fail "no threads: glibc does not mind"
diff glibc.out shim.out || fail "no threads: another result"

# no memory, from the program's first request on or later: nothing hangs or crashes, EAGAIN at worst
SCARCE=memory strace -o trace -e trace=mmap,getppid env LD_PRELOAD="$KAIO_LIB" "$tests/faults/scarce" >log
before=$(sed '/getppid/,$d' trace | grep -c '^mmap')
after=$(sed '1,/getppid/d' trace | grep -c '^mmap')
[ "$after" -ge 3 ] || fail "no memory was asked for"
for ((n = before + 1; n <= before + after + 1; n++)); do
    SCARCE=memory strace -f -o trace -e trace=mmap -e inject=mmap:error=ENOMEM:when=$n+ \
        env LD_PRELOAD="$KAIO_LIB" "$tests/faults/scarce" >log || fail "no memory from mmap $n on: $(cat log)"
    [ "$n" -gt $((before + 1)) ] || grep -q INJECTED trace || fail "no memory: nothing was injected"
done
