#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# scripts/bench runs from end to end, for two cells and one microbenchmark: its results have what they
# should have, nothing is left behind, also when it is interrupted, and mistakes are one line each.
set -eu
bench=$TESTS_TOP/scripts/bench
fail() { echo "$1"; exit 1; }
has() { # FILTER, over results.json
    jq -e "$1" out/results.json >/dev/null || fail "results.json: not $1: $(head -c 600 out/results.json)"
}
mkdir files
BENCH_MEMORY=$(mktemp -d /dev/shm/kaio-tests.XXXXXX)
export BENCH_MEMORY
trap 'rm -rf "$BENCH_MEMORY"' EXIT
left() { find files "$BENCH_MEMORY" -mindepth 1 -maxdepth 1 -name 'kaio-bench.*'; }

"$bench" --quick --dir files --cells tmpfs --out out >table 2>log || fail "tmpfs: $(cat log)"
has '.about | .machine and .kernel and .fio and .date and .pairs == 1 and (.command | test("tmpfs"))'
has '.cells | length == 2'
has '.cells | all(.ratio.median > 0 and .native.libaio.median > 0 and (.runs.glibc | length) == 1)'
has '.cells[].median["glibc", "shim", "libaio", "io_uring", "psync"] | .iops > 0 and .p50_us > 0
    and .p99_us >= .p50_us and .cpu_us >= 0 and .switches >= 0'
has '.cells | all(.best.median > 0 and .best.engine and (.async.engine == "libaio" or .async.engine == "io_uring")
    and .best.median <= .async.median and .cpu_ratio.median >= 0)'
has '.summary | .best.count == 2 and .best.geometric_mean > 0 and .async.geometric_mean >= .best.geometric_mean'
has '.summary.cells | .count == 2 and has("below") and has("medians_below") and .geometric_mean > 0'
for over in 'the best native engine' 'the best asynchronous one' glibc; do
    grep -q "^2 cells: [012] below 1.0 in the one pair, geometric mean [0-9.]* × $over\$" table || fail "no summary: $(cat table)"
done
grep -q '^| cell | shim / best |' table || fail "another first ratio: $(cat table)"
! grep '–[0-9]' table || fail "ranges of one pair"
cmp table out/results.md
grep -q '</svg>' out/ratios-cells.svg || fail "no bar chart"
grep -q '<title>Stock fio: requests a second' out/ratios-cells.svg || fail "the bar chart does not say what it shows"
grep -q 'bold" >files in memory<' out/ratios-cells.svg || fail "no heading above a group of bars"
[ "$(grep -c '<text>.*[0-9] ×' out/ratios-cells.svg)" = 2 ] || fail "a bar has no number"
[ "$(wc -l <log)" = 2 ] || fail "not one line a cell: $(cat log)"

"$bench" --quick --dir files --cells 'micro poll' --out out >table 2>log || fail "micro: $(cat log)"
has '.figures | length == 2 and all(.unit == "ns" and .better == "lower" and .ratio.median > 0
    and (.runs.glibc | length) == 1 and (.runs.shim | length) == 1)'
has '.summary.figures.count == 2'

# docs/bench: the pictures are those of the figures beside them
# shellcheck disable=SC2034 # for plots.sh
(
    top=$TESTS_TOP out=$PWD/drawn directory=$PWD/files
    # shellcheck source=scripts/bench.d/plots.sh
    . "$top/scripts/bench.d/plots.sh"
    mkdir drawn
    cp "$top/docs/bench/plots.json" drawn/results.json
    depths
    [ "$(grep -c 'random [a-z]*s<' drawn/depth.svg)" = 4 ] || fail "not four plots in one picture"
    cp "$top/docs/bench/results.json" drawn/
    bars cells
    bars figures
)
for picture in depth ratios-cells ratios-figures; do
    cmp "drawn/$picture.svg" "$TESTS_TOP/docs/bench/$picture.svg" || fail "docs/bench/$picture.svg is not what bench draws now"
done

# one pair more, and there are ranges; --quick has no microbenchmarks, though their names match, too
"$bench" --quick --pairs 2 --dir files --cells 'm' --help >help
grep -q -- '--quick .*microbenchmarks' help && grep -q 'minutes, where' help && grep -q -- '--out DIR' help || fail "$(cat help)"
"$bench" --quick --pairs 2 --dir files --cells 'tmpfs direct randread 4k d32' --out out >table 2>log || fail "two pairs: $(cat log)"
grep -q '^1 cells: [01] below 1.0 in every pair' table && grep -q '[0-9]–[0-9]' table || fail "two pairs: $(cat table)"
status=0
"$bench" --quick --dir files --cells poll --out out >table 2>log || status=$?
[ $status = 2 ] && grep -q "no cell's name contains 'poll'" log || fail "--quick with a microbenchmark: $(cat table log)"

# not the one of run.d, which on a slow machine waits until all has ended
command -p timeout --foreground -s INT 2 "$bench" --quick --dir files --cells 'randread 4k d1' --out out \
    >table 2>log && fail "interrupted, but exit 0"
[ -z "$(left)" ] || fail "left behind: $(left)"
# in the middle of a run of fio
"$bench" --quick --dir files --cells 'randread 4k d1' --out out >table 2>log &
until compgen -G "$BENCH_MEMORY/kaio-bench.*/startup" >/dev/null; do sleep 0.01; done
kill -TERM $!
wait $! && fail "terminated, but exit 0"
[ -z "$(left)" ] || fail "left behind: $(left)"

for wrong in --fast '--dir /nowhere' '--pairs x' --out '--cells nosuch'; do
    status=0
    # shellcheck disable=SC2086 # several words
    "$bench" $wrong >table 2>log || status=$?
    [ $status = 2 ] && [ "$(wc -l <log)" = 1 ] || fail "bench $wrong: $status $(cat log)"
done
