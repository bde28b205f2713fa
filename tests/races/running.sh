#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Requests that a filesystem holds up, in the kernel or in a worker, and what waits behind them: what
# aio_cancel() says of each, the descriptor that is closed under them, order; as under glibc (running.c).
set -eu
program=$TESTS_TOP/build/tests/races/running
# shellcheck source=tests/lib/fuse/slowfs.sh
. "$TESTS_TOP/tests/lib/fuse/slowfs.sh"
fail() { echo "$1"; exit 1; }

# run SIDE VAR=VALUE...: prints to SIDE.out
run() {
    local side=$1 library='' status=0
    shift
    [ "$side" = glibc ] || library=$KAIO_LIB
    timeout -k 1 30 env "$@" TEST_SIDE="$side" LD_PRELOAD="$library" KAIO_STATS="$PWD/stats" "$program" \
        >"$side.out" || status=$?
    rm -f log.hold
    [ $status = 0 ] || fail "$*, $side: $(tail -n 3 "$side.out")"
}

# shim VAR=VALUE...
shim() {
    rm -rf stats
    mkdir stats
    run shim "$@"
    diff glibc.out shim.out || fail "$*: other than glibc"
}

slowfs_start || { echo "slowfs cannot be mounted here: $(tail -n 1 slowfs.out)"; exit 77; }
run glibc RUNNING=sync
grep -q '^sync: not cancelled' glibc.out || fail "glibc: $(cat glibc.out)"
for setting in TEST_COLD=1 KAIO_MODE=worker TEST_WARM=1; do
    shim $setting RUNNING=sync
    lane='.worker.requests == 20' # one is cancelled of each many
    [ $setting != TEST_WARM=1 ] || lane='.kernel.requests == 36' # and 16 reads
    "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
    jq -e ".lanes | $lane" report.json >/dev/null || fail "$setting: not $lane: $(cat report.json)"
done
run glibc RUNNING=file
grep -q '^running: not cancelled' glibc.out || fail "glibc: $(cat glibc.out)"
shim RUNNING=file
shim RUNNING=file TEST_WARM=1
shim RUNNING=file TEST_WARM=1 KAIO_DEPTH=2 KAIO_WORKERS=2
shim RUNNING=file TEST_WARM=1 KAIO_ORDER=fd
run glibc RUNNING=others
grep -q '64 held: 5 of others in time' glibc.out || fail "glibc: $(cat glibc.out)"
shim RUNNING=others
shim RUNNING=others TEST_WARM=1
shim RUNNING=others KAIO_WORKERS=1
shim RUNNING=others KAIO_MODE=worker
run glibc RUNNING=order
shim RUNNING=order KAIO_ORDER=fd
shim RUNNING=order KAIO_ORDER=fd TEST_WARM=1
slowfs_stop
