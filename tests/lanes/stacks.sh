#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Threads of the library have stack enough for any size of the program's thread-local data: stacks.c, with
# the log and statistics, too.
set -eu
tests=$TESTS_TOP/build/tests
try() { # WHAT COMMAND...
    timeout 60 env TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB" "${@:2}" >log 2>&1 && grep -q '^done' log ||
        { echo "$1: status $?"; tail -n 20 log; exit 1; }
    echo "$1: $(grep untouched log)"
}
mkdir counts
for setting in KAIO_MODE=auto KAIO_MODE=worker KAIO_ORDER=fd KAIO_DEPTH=2; do
    try "$setting" "$setting" KAIO_LOG="$PWD/said-%p" KAIO_STATS="$PWD/counts/" "$tests/lanes/stacks"
done
for bytes in 30000 50000 55000 56320 57344 58880 62000 200000 3000000; do
    gcc -O1 -std=gnu11 -pthread -I"$TESTS_TOP/tests/lib" -DTLS=$bytes -o stacks-tls "$TESTS_TOP/tests/lanes/stacks.c"
    for setting in KAIO_MODE=auto KAIO_MODE=worker; do
        try "$bytes bytes thread-local, $setting" "$setting" ./stacks-tls
    done
done
