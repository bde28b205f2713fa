#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# KAIO_STATS: what is counted is what was asked for, with the shim as with glibc; forked children count
# for themselves; the figures add up; KAIO_STATS=live leaves nothing behind, KAIO_STATS=DIRECTORY the
# figures of any end; what asks for a report is told who makes it; the USDT probes are there.
set -eu
dd if=/dev/urandom of=data bs=1M count=1 status=none
fail() { echo "$1"; exit 1; }
watch=$TESTS_TOP/build/tests/command/watch
top=("$TESTS_TOP/build/kaio" top)

# counted MODE COMMAND...: runs it; report.json is what it left, the process that was last last
counted() {
    rm -rf report.json pages
    mkdir pages
    local mode=$1 status=0
    shift
    KAIO_MODE=$mode KAIO_STATS=pages LD_PRELOAD=$KAIO_LIB "$@" >out 2>&1 || status=$?
    [ $status = "${expected-0}" ] || fail "$*: status $status: $(cat out)"
    [ ! -s out ] || fail "$*: output: $(cat out)"
    find pages -type f | sort -t . -k 2n | xargs -r "${top[@]}" --json --report >report.json
}
# holds FILTER: true for the last process
holds() {
    jq -es "last | $1" report.json >/dev/null || fail "not true: $1: $(cat report.json)"
}
sums='def sum(h): [h.histogram[][1]] | add // 0; all(.latency_us, .call_us, .completion_us; sum(.) == .count)'

for mode in auto off worker; do
    counted "$mode" "$TESTS_TOP/build/tests/lib/every" data
    holds '.version == 1 and .command == "every" and .mode == "'"$mode"'" and .pid > 0 and .elapsed_s > 0'
    holds '.requests == {read: 145, write: 1, fsync: 1, fdatasync: 1}'
    holds '.bytes == {read: (144 * 4096 + 1), write: 4096}'
    holds '.size_histogram == [[1, 1], [4096, 145]]'
    holds '([.depth_histogram[][1]] | add) == 148 and .depth_histogram[-1][0] == 64'
    holds '.latency_us.count == 84 and .call_us.count == 84' # the list waits, and is never asked
    holds '.in_progress == 64 and .unseen == 0'
    holds "$sums"
    holds '.latency_us | .p50 <= .p99 and .p99 <= .p999 and .p999 <= .max and .p50 > 0'
    if [ "$mode" = off ]; then
        holds '.completion_us.count == 0 and ([.lanes[].requests] | add) == 0'
    else
        holds '.completion_us.count == 148 and ([.lanes[].requests] | add) == 148'
        holds '([.lanes[].bytes] | add) == 145 * 4096 + 1'
    fi
done
counted worker "$TESTS_TOP/build/tests/lib/every" data
holds '.declined.no_context == 147 and .declined.would_wait == 1 and .workers_peak >= 1 and .batches.io_submit == 0'

for mode in auto off; do
    counted $mode "$watch" rejected data
    holds '([.requests[]] | add) == 0 and .bytes.read == 0 and .size_histogram == [] and .in_progress == 0'
    counted $mode "$watch" unseen data
    holds '.requests.read == 3 and .unseen == 2 and .in_progress == 1 and .call_us.count == 0'
    counted $mode "$watch" slow data
    holds '.latency_us | .count == 1 and .max >= 50000 and .max < 1000000'
    counted $mode "$watch" many data
    holds '.requests.read == 20000 and .latency_us.count + .unseen == 20000 and .in_progress == 0'
    holds '.latency_us.count > 15000'
done
counted auto "$watch" forked data # under glibc the child hangs
[ "$(jq -c '[.requests.read, .bytes.read, .latency_us.count, .unseen]' report.json | paste -sd' ')" = \
    '[11,45056,11,0] [5,2560,5,0]' ] || fail "forked: $(cat report.json)"
"$watch" histogram data || fail "histogram"

# a name in the report: UTF-8 is kept, what is not becomes U+FFFD; no control character is raw
names() { # NAME JSON
    local name
    name=$(printf %b "$1")
    cp "$watch" "$name"
    rm -rf report.json pages
    mkdir pages
    "$TESTS_TOP/build/kaio" --internal stats report.json "$KAIO_LIB" "./$name" slow data
    KAIO_STATS=pages/ LD_PRELOAD=$KAIO_LIB "./$name" slow data
    "${top[@]}" --json --report pages/* >>report.json
    [ "$(LC_ALL=C grep -cF "\"command\":\"$(printf %b "$2")\"" report.json)" = 2 ] || fail "$1: $(head -c 100 report.json)"
    jq -e . report.json >/dev/null || fail "$1: no JSON"
}
names 'fi\303\251-\346\227\245-\360\237\230\200' 'fi\303\251-\346\227\245-\360\237\230\200'
names '\351t\351' '\\ufffdt\\ufffd' # Latin-1
names 'a\033\177\302\233\302\240' 'a\\u001b\\u007f\\u009b\302\240'
names '\300\256\355\240\200\364\220\200\200\342\202' \
    '\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd' # not the shortest, a surrogate, too large, cut

# whatever the end; a page for each process and each program
# reads: of each page, by process
reads() { [ "$(jq -s 'sort_by(.pid, .elapsed_s)[].requests.read' report.json | paste -sd+)" = "$1" ] || fail "not $1: $(cat report.json)"; }
for mode in auto off; do
    if [ $mode = auto ]; then
        counted auto "$watch" quits data
        reads 7+5
        holds '.bytes.read == 2560 and .latency_us.count == 5 and .in_progress == 0'
        jq -es 'map(.completion_us.count) | sort == [5, 7]' report.json >/dev/null || fail "mixed up: $(cat report.json)"
        counted auto "$watch" forked data
        reads 11+5
    fi
    expected=137 counted $mode "$watch" killed data
    reads 101
    holds '.latency_us.count == 100 and .in_progress == 1 and .elapsed_s >= 0.02 and .elapsed_s < 60'
    holds '.command == "watch" and .mode == "'$mode'" and .io_setup == "not needed"'
    counted $mode "$watch" executed data
    [ "$(find pages -name 'libkaio-*' -perm 600 | wc -l)" = 2 ] || fail "pages: $(ls -l pages)"
    reads 3+3
    for _ in 1 2 3 4 5; do
        counted $mode "$watch" crowd data
        reads 800
    done
done
dd if=/dev/zero of=zeros bs=1M count=1 status=none
status=''
"${top[@]}" --json --report zeros pages/* nowhere >report.json 2>errors || status=$?
[ "$status" = 125 ] && unset status && [ "$(wc -l <errors)" = 2 ] || fail "no pages: $(cat errors)"
grep -q 'zeros holds no figures' errors && grep -q 'nowhere: No such file or directory' errors ||
    fail "why: $(cat errors)"
reads 800
XDG_RUNTIME_DIR=$PWD/pages KAIO_STATS=live LD_PRELOAD=$KAIO_LIB "$watch" slow data
XDG_RUNTIME_DIR=$PWD/pages "${top[@]}" --once --json >out
[ "$(find pages -type f | wc -l)" = 1 ] || fail "a page was swept, or another left: $(ls pages)"
KAIO_STATS=nowhere/ LD_PRELOAD=$KAIO_LIB "$watch" slow data 2>errors
[ "$(grep -c 'nothing is published: nowhere/libkaio-.*: No such file' errors)" = 1 ] || fail "no directory: $(cat errors)"


# a filesystem without fallocate()
truncate -s 4M image
mkdir old
if mkfs.ext2 -q image >log 2>&1 && mount -o loop image old 2>log; then
    KAIO_STATS=old LD_PRELOAD=$KAIO_LIB "$watch" quits data 2>errors && "${top[@]}" --json --report old/libkaio-* >report.json || :
    umount old
    [ ! -s errors ] || fail "ext2: $(cat errors)"
    reads 7+5
else
    echo "skipped, ext2: $(tail -n 1 log)"
fi

# a report, not from the library: a line, and the program runs on
for value in 1 /dev/stderr report report.json; do
    rm -f report*
    KAIO_STATS=$value LD_PRELOAD=$KAIO_LIB "$watch" slow data 2>errors || fail "KAIO_STATS=$value: status"
    [ "$(wc -l <errors)" = 1 ] && grep -q "KAIO_STATS=$value .*kaio --stats" errors || fail "KAIO_STATS=$value: $(cat errors)"
    [ ! -e report ] && [ ! -e report.json ] || fail "KAIO_STATS=$value has made a file"
done

# live: a file for each process with requests, the owner's only, gone at the end
mkdir run
export XDG_RUNTIME_DIR=$PWD/run
pages() { find run -name 'libkaio-*' | wc -l; }
await() { # COUNT
    for _ in $(seq 200); do
        if [ "$(pages)" = "$1" ]; then return; fi
        sleep 0.02
    done
    fail "not $1 pages: $(ls run)"
}
live() { KAIO_STATS=live LD_PRELOAD=$KAIO_LIB exec "$watch" "$@" data; }
mkfifo first second
live running <first &
exec 3>first
await 1
[ "$(stat -c '%a %U' "run/libkaio-$(id -u)-$!")" = "600 $(id -un)" ] || fail "owner, mode: $(ls -l run)"
exec 3>&-
wait $! || fail "status"
[ "$(pages)" = 0 ] || fail "left behind: $(ls run)"
live running <second &
killed=$!
exec 3>second
await 1
kill -9 $killed
wait $killed 2>/dev/null || true
exec 3>&-
await 1
(live slow)
[ "$(pages)" = 0 ] || fail "not swept: $(ls run)"
XDG_RUNTIME_DIR=/nowhere
(live slow) || fail "no directory"
if mount -t tmpfs -o size=16k none run 2>/dev/null; then
    dd if=/dev/zero of=run/full bs=4k count=4 status=none 2>/dev/null || true
    export XDG_RUNTIME_DIR=$PWD/run
    (KAIO_LOG=$PWD/log live slow) && grep -q 'nothing is published: .*No space' log || status=1
    left=$(pages)
    umount run
    [ "${status-0}" = 0 ] && [ "$left" = 0 ] || fail "full: $left pages, log: $(cat log)"
else
    echo "skipped, a full tmpfs: cannot be mounted here"
fi

if ! echo '#include <sys/sdt.h>' | gcc -E - >/dev/null 2>&1; then
    echo "skipped, probes: no <sys/sdt.h>"
    exit 0
fi
for probe in submit decline complete notify; do
    readelf -n "$KAIO_LIB" | grep -A1 'Provider: libkaio' | grep -q "Name: $probe" || fail "no probe $probe"
done
