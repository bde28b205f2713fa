#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 16 threads, 64 files, 4,096 requests at once, which wait when a round begins (load.c): the data is right,
# every request ends and is notified once, memory, descriptors and threads do not grow, and the library counts
# as many requests as the program. Some seconds; with TEST_LONG 100, or as long as a test may take, an hour in
# one piece:
#   TEST_LIMIT=4500 scripts/soak 76 load/load
set -euo pipefail
seconds=4
[ -z "${TEST_LONG-}" ] || seconds=100
# a fifth is for the ends of rounds, when everything must end
[ -z "${TEST_LONG-}" ] || [ -z "${TEST_LIMIT-}" ] || seconds=$((TEST_LIMIT * 4 / 5))

# load SECONDS SETTING...
load() {
    rm -rf data.* stats
    mkdir stats
    echo "${*:2}"
    env "${@:2}" LOAD_SECONDS="$1" KAIO_STATS="$PWD/stats" LD_PRELOAD="$KAIO_LIB" \
        "$TESTS_TOP/build/tests/load/load" | tee log
    "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
    jq -c '[.requests, .in_progress, (.lanes | map_values(.requests))]' report.json
    read -r reads _ writes _ syncs _ < <(grep ' reads, ' log)
    jq -e ".requests | .read == $reads and .write == $writes and .fsync + .fdatasync == $syncs" report.json
    jq -e '.in_progress == 0' report.json
    sed -n "s/.* reads, .*/note: &, ${*:2}/p" log
}
load $seconds KAIO_MODE=auto
[ "${TEST_LONG-}" ] || load 2 KAIO_MODE=worker
