#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What scripts/bench measures beside cells, in its shortest form: a busy host, patterns of programs,
# growth; with TEST_LONG all the ways to be busy, and the lock. It runs, its results have what they should have, and
# nothing is left behind.
set -eu
bench=$TESTS_TOP/scripts/bench
fail() { echo "$1"; exit 1; }
has() { # FILTER, over results.json
    jq -e "$1" out/results.json >/dev/null || fail "results.json: not $1: $(head -c 600 out/results.json)"
}
measure() { # ARGUMENT...
    "$bench" --quick --dir files --out out "$@" >table 2>log || fail "bench $*: $(cat log)"
}
mkdir files
BENCH_MEMORY=$(mktemp -d /dev/shm/kaio-tests.XXXXXX)
export BENCH_MEMORY
trap 'rm -rf "$BENCH_MEMORY"' EXIT

cells=': tmpfs direct randread 4k d32'
[ "${TEST_LONG-}" ] || cells=CPU$cells
measure --busy --cells "$cells"
ways='["half a CPU", "one CPU"]'
[ -z "${TEST_LONG-}" ] || ways='["64 processes", "busy loops", "half a CPU", "one CPU"]'
if grep '^half a CPU: left out' log; then ways=${ways/'"half a CPU", '/}; fi
has "(.busy | map(.way) | sort) == $ways and .cells == []"
has '.busy | all(.ratio.median > 0 and .cpu_ratio.median > 0 and .native == {})'
has '.summary.busy | .count > 0 and has("cpu_above")'
grep -q '^| one CPU: tmpfs direct randread 4k d32 |' table || fail "no row: $(cat table)"
grep -Eq '^[1-4] cells? on a busy host: .* × glibc; [0-4] with more than 1.1 × its CPU time' table || fail "$(cat table)"
! compgen -G '/sys/fs/cgroup/cpu/kaio-bench.*' && ! compgen -G '/sys/fs/cgroup/kaio-bench.*' || fail "a control group is left"

measure --patterns
has '.figures | length == 30 and all(.name | startswith("pattern "))'
has '.figures | map(select(.name | endswith(", CPU time"))) | length == 15 and all(.unit == "us" and .ratio.median > 0)'

measure --growth --cells 'growth threads waiting'
has '.growth | map(.name) == ["threads waiting on sockets"]'
has '.growth | all((.points | map(.size)) == [1, 4, 16, 64] and (.points | all(.glibc > 0 and .shim > 0)))'
has '.growth | all(.slope | .glibc and .shim)'
grep -q '^1 axis: [01] on which' table && grep -q '^| threads waiting on sockets | 64 |' table || fail "$(cat table)"
grep -q '</svg>' out/growth-threads-waiting-on-sockets.svg || fail "no plot"
# the other axes, at a size where glibc cannot go on
"$TESTS_TOP/build/tests/bench/growth" >axes
while IFS=$'\t' read -r axis _; do
    case $axis in
    "threads waiting"*) continue ;;
    esac
    ns=$(cd files && BENCH_QUICK=1 LD_PRELOAD=$KAIO_LIB "$TESTS_TOP/build/tests/bench/growth" "$axis" 30)
    [[ $ns =~ ^[1-9][0-9.]*(e\+[0-9]+)?$ ]] || fail "growth $axis: '$ns'"
done <axes
rm files/bench.data

if [ "${TEST_LONG-}" ]; then # it builds the library anew
    measure --locks --cells 'locks write to memory'
    has '.locks | length == 1 and .[0].name == "write to memory"'
    has '.locks[0] | .points | length == 5 and all(.one.holds > 0.9 and .one.held_ns >= .add_ns and .gain > 0)'
    has '.locks[0] | .serial > 0 and .lock_limit > 0 and .coherence >= 0 and .rates["256"] > 0'
    grep -q '^| write to memory | .* |' table || fail "$(cat table)"
fi

for wrong in '--busy --growth' '--patterns --cells nosuch' '--growth --cells nosuch' '--locks --cells nosuch' '--busy --cells nosuch'; do
    status=0
    # shellcheck disable=SC2086 # several words
    "$bench" --quick --dir files --out out $wrong >table 2>log || status=$?
    [ $status = 2 ] && [ "$(wc -l <log)" = 1 ] || fail "bench $wrong: $status $(cat log)"
done
left=$(find files "$BENCH_MEMORY" -mindepth 1 -maxdepth 1 -name 'kaio-bench.*')
[ -z "$left" ] || fail "left behind: $left"
