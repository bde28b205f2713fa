#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Waits that are left by siglongjmp(), pthread_exit(), cancellation (sideways.c) and by a C++ exception
# (thrown.cc): nothing of them stays behind.
set -eu
TEST_SIDE=shim KAIO_MODE=worker LD_PRELOAD=$KAIO_LIB "$TESTS_TOP/build/tests/races/sideways" >log 2>&1 || true
[ "$(cat log)" = "done" ] || { cat log; exit 1; }
g++ -O1 -fnon-call-exceptions -pthread -o thrown "$TESTS_TOP/tests/races/thrown.cc"
for mode in auto worker; do
    KAIO_MODE=$mode LD_PRELOAD=$KAIO_LIB timeout 30 ./thrown >log 2>&1 || { echo "thrown, $mode"; cat log; exit 1; }
done
