#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# KAIO_STATS: the figures of single files, in every mode: what was asked of each, in what order, and how
# it went; a number that means another file; more files than there are places; children; threads. As
# JSON, and as the table of kaio --stats.
set -eu
fail() { echo "$1"; exit 1; }
files=$TESTS_TOP/build/tests/command/files

# counted MODE WHAT: in a directory of its own; report.json has a line for each process
counted() {
    rm -rf pages work
    mkdir pages work
    (cd work && KAIO_MODE=$1 KAIO_STATS=../pages LD_PRELOAD=$KAIO_LIB "$files" "$2") >out 2>&1 || fail "$1 $2: $(cat out)"
    [ ! -s out ] || fail "$1 $2: output: $(cat out)"
    find pages -type f | sort -t . -k 2n | xargs "$TESTS_TOP/build/kaio" top --json --report >report.json
    mode=$1
}
# holds FILTER: true; file("NAME") is the one whose path ends so
holds() {
    jq -es 'def file(name): .files[] | select(.path | endswith("/work/" + name)); .[0] | '"$1" report.json >/dev/null ||
        fail "not true in $mode: $1: $(cat report.json)"
}

"$files" histogram || fail "$("$files" histogram)"
for mode in auto worker off; do
    counted $mode kinds
    holds '(.files | length) == 4 and .other_files == 0 and ([.files[].missed_at_most] == [0, 0, 0, 0])'
    holds '[.files[].path] == ["'"$PWD"'/work/sequential", "'"$PWD"'/work/random", "'"$PWD"'/work/written", .files[3].path]'
    holds 'file("sequential") | .requests == {read: 64, write: 0, fsync: 0, fdatasync: 0} and
        .bytes == {read: 262144, write: 0} and .sequential == {read: 64, write: 0} and .size_histogram == [[4096, 64]]'
    holds 'file("random") | .requests.read == 60 and .sequential.read == 0 and .size_histogram == [[512, 60]]'
    holds 'file("written") | .requests == {read: 0, write: 10, fsync: 2, fdatasync: 1} and
        .bytes.write == 81920 and .sequential.write == 10'
    holds 'all(.files[]; .latency_us.count == ([.requests[]] | add)) and
        all(.files[].latency_us; 0 < .p50 and .p50 <= .p99 and .p99 <= .max)'
    holds '.files[3] | (.path | startswith("pipe:[")) and .requests.read == 1 and .latency_us.p50 >= 30000 and
        .latency_us.p50 < 3000000'
    holds 'file("random") | .device == "'"$(stat -c '%Hd:%Ld' work/random)"'" and .inode == '"$(stat -c %i work/random)"
    if [ "$mode" = off ]; then
        holds '([.files[].lanes[]] + [.files[].declined[]] | add) == 0'
    else
        holds 'all(.files[]; ([.lanes[]] | add) == ([.requests[]] | add))'
        holds '. as $p | all(.declined | keys[]; . as $why | $p.declined[$why] == ([$p.files[].declined[$why]] | add))'
        holds '. as $p | all(.lanes | keys[]; . as $lane | $p.lanes[$lane].requests == ([$p.files[].lanes[$lane]] | add))'
    fi
done
counted worker kinds
holds 'file("sequential") | .lanes.worker == 64 and .declined.no_context == 64'

for mode in auto worker off; do
    counted "$mode" reused
    holds '(file("by-close").requests.read == 5) and (file("by-dup2").requests.read == 7)'
    # fclose() is found out within 64 requests
    holds '[file("first").requests.read, file("by-fclose").requests.read] | add == 123 and .[0] >= 12 and .[0] <= 76'
    holds '(.files | length) == 4' # another name is no other file
    counted "$mode" many
    holds '.files[0] | (.path | endswith("/work/busy")) and .requests.read == 50 and .missed_at_most > 0 and .missed_at_most <= 4'
    holds '(.files | length) == 10 and ([.files[].requests[]] | add) + .other_files == 350'
    counted "$mode" threads
    holds '(.files | length) == 1 and .files[0].requests.read == 800 and .other_files == 0'
done
counted auto forked # under glibc the child hangs
jq -es 'map(.files[0].requests.read) == [10, 5]' report.json >/dev/null || fail "forked: $(cat report.json)"

# the table: the same file of two processes is one
(cd work && "$TESTS_TOP/build/kaio" --internal stats ../report "$KAIO_LIB" "$files" forked)
grep -A 2 'reads write syncs bytes size order' report | tail -n 2 >rows
[ "$(head -n 1 rows)" = "  $PWD/work/shared" ] && grep -q '^    15     0     0   60K   4K ' rows || fail "forked: $(cat report)"
rm -rf work
mkdir work
(cd work && KAIO_MODE=worker "$TESTS_TOP/build/kaio" --internal stats ../report.text "$KAIO_LIB" "$files" kinds)
row() { grep -A 1 "$1" report.text | tail -n 1 | grep -qE "$2" || fail "$1: $(cat report.text)"; }
time='[0-9.]+[mnu]?s'
row /work/sequential "^    64     0     0  256K   4K sequential worker     no context      +$time +$time$"
row /work/random "^    60     0     0   30K  512 random     worker     no context      +$time +$time$"
row /work/written "^     0    10     3   80K   8K sequential worker     no context      +$time +$time$"
row 'pipe:\[' "^     1     0     0     1    1 -          caller     would wait      +$time +$time$"
[ "$(awk 'length > 79 && !/\//' report.text)" = "" ] || fail "too wide: $(cat report.text)"
