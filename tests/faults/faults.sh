#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# System calls of the library fail, at first, now and then, or for good, while random programs run
# (fuzz.c): each request ends once, with what the model allows or that errno, and the process lives.
# strace counts them for each thread; the first BEFORE are those of ld.so and of the test. "hidden": the program must not notice at all; "silent": nobody asks to be notified. With TEST_LONG
# more seeds.
set -u
fuzz=$TESTS_TOP/build/tests/fuzz/fuzz
failures=0 seeds=1 ops=150 runs=0 total=0
[ -z "${TEST_LONG-}" ] || { seeds="1 2"; ops=300; }
while read -r call error number how before; do
    injected=0 n=$ops
    [[ $call != io_* ]] || n=2000 # the first few requests reach no context
    for when in $((before + 1)) $((before + 2))+5 $((before + 4))+; do
        for seed in $seeds; do
            expected=$number without=lfh
            [ "$how" != hidden ] || expected=0
            [ "$how" != silent ] || without=lfhnt
            env FUZZ_FAULT="$expected" timeout -k 1 25 strace -f --seccomp-bpf -o trace -e trace="$call" \
                -e inject="$call:error=$error:when=$when" \
                -E LD_PRELOAD="$KAIO_LIB" "$fuzz" "$seed" "$n" $without >log 2>&1 </dev/null || {
                failures=$((failures + 1))
                echo "$call $error $when, fuzz $seed $n $without:"
                cat log
            }
            runs=$((runs + 1)) injected=$((injected + $(grep -c INJECTED trace)))
        done
    done
    total=$((total + injected))
    [ $injected != 0 ] || echo "skipped, $call $error: it was not called"
done <<END
io_setup ENOMEM 12 hidden
io_submit EAGAIN 11 hidden
epoll_ctl ENOMEM 12 hidden
preadv2 EAGAIN 11 hidden
preadv2 EOPNOTSUPP 95 hidden
pwritev2 EAGAIN 11 hidden
pread64 EIO 5 seen 2
pwrite64 ENOSPC 28 seen
fsync EIO 5 seen
clone3 EAGAIN 11 silent 2
END
echo "note: $total calls have failed in $runs runs"
[ $failures = 0 ]
