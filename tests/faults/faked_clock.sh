#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library's clock is the kernel's: another preloaded library that fakes clocks and sleeps changes
# no time limit, keeps no thread from its end, and makes none spin.
set -eu
for mode in auto worker; do
    timeout 60 env TEST_SIDE=shim KAIO_MODE=$mode LD_PRELOAD="$KAIO_LIB" \
        "$TESTS_TOP/build/tests/faults/faked_clock" >log 2>&1 &&
        ! grep -E 'too (early|late) 1|calls|last: [^1]' log || { echo "mode $mode:"; cat log; exit 1; }
done
faketime=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
[ -n "$faketime" ] || { echo "skipped libfaketime: not installed (Debian: faketime)"; exit 0; }
export FAKETIME_DONT_FAKE_MONOTONIC=0
for fake in "-10d" "2020-01-01 00:00:00" "+0 x50" "+0 x0.02"; do
    for order in "$faketime $KAIO_LIB" "$KAIO_LIB $faketime"; do
        timeout -s KILL 20 env FAKETIME="$fake" LD_PRELOAD="$order" \
            "$TESTS_TOP/build/tests/faults/idle_end" >log 2>&1 ||
            { echo "FAKETIME=$fake: status $?"; cat log; exit 1; }
        grep -qx "idle: yes; limit: EAGAIN, in time" log || { echo "FAKETIME=$fake:"; cat log; exit 1; }
    done
done
