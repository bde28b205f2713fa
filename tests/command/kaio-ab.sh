#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio ab: what it measures, merges and refuses. Beside the library itself a stub in its place plays
# what the library must never do, and writes reports whose sums are known.
# alone: it measures
set -eu
kaio=$TESTS_TOP/scripts/kaio
fail() { echo "$1"; cat out errors; exit 1; }

# ab STATUS ARGUMENT...: kaio ab must end so
ab() {
    local status=0 wanted=$1
    shift
    "$kaio" ab "$@" >out 2>errors || status=$?
    [ $status = "$wanted" ] || fail "kaio ab $*: status $status, not $wanted"
}
# says PATTERN: on one of its outputs
says() { cat out errors | grep -Eq -- "$1" || fail "nowhere: $1"; }

# figures [GLIBC-REPORT LIBKAIO-REPORT]: kaio ab's, of the canned runs in ./runs
figures() {
    jq -n --slurpfile runs runs --argjson glibc "${1-[]}" --argjson libkaio "${2-[]}" --arg kernel k --arg date d \
        --argjson cpus 2 --argjson pairs 3 -L "$TESTS_TOP/scripts/kaio.d" -f "$TESTS_TOP/scripts/kaio.d/ab.jq" --args -- x
}

# the verdict, from canned runs
verdict() { # GLIBC LIBKAIO VERDICT [GLIBC LIBKAIO]: wall times; requests
    paste -d' ' <(tr ' ' '\n' <<<"$1") <(tr ' ' '\n' <<<"$2") | awk '
        { printf "{\"side\":\"glibc\",\"how\":\"timed\",\"pair\":%d,\"wall_s\":%s}\n", NR, $1
          printf "{\"side\":\"libkaio\",\"how\":\"timed\",\"pair\":%d,\"wall_s\":%s}\n", NR, $2 }' >runs
    figures "$(made "${4-}")" "$(made "${5-}")" >out
    [ "$(jq -r .verdict out)" = "$3" ] || fail "verdict of $1 and $2"
}
# made N: a report of so many requests
made() {
    echo "[${1:+{\"requests\":{\"read\":$1\},\"bytes\":{\},\"size_histogram\":[],\"latency_us\":{\"histogram\":[]\},\"call_us\":{\"histogram\":[]\}\}}]"
}
: >out; : >errors
verdict "2.1 2.0 1.9" "1 1 1" "1.9–2.1 × faster"
verdict "2.1 20 1.9" "1 1 1" "2–20 × faster"
verdict "1 1 1" "2 1.5 1.6" "1.5–2.0 × slower"
verdict "1 1.1 1" "1.1 1 1" "no difference beyond the noise (0.91–1.10 ×)"
verdict "1.01 1.01 1.01" "1 1 1" "no difference beyond the noise (1.01 ×)"
verdict "1.05 1.04 1.05" "1 1 1" "5.0 × as many requests in the same time" 100 500
verdict "1 1 1" "1 1 1" "0.50 × as many requests in the same time" 100 50
verdict "1.05 1.05 1.05" "1 1 1" "1.05 × faster" 100 105
verdict "2 2 2" "1 1 1" "2.0 × faster" 100 500

# many pairs: an outlier or two are no reason to know nothing; but half of them are
times() { awk -v from="$1" -v n="$2" 'BEGIN { while (n-- > 0) print from + n % 5 / 10 }' | paste -sd' '; } # five values
ones() { times 1 "$1" | sed 's/1\.[0-9]*/1/g'; }
verdict "$(times 2 29) 0.5" "$(ones 30)" "2.1–2.3 × faster"
verdict "$(times 2 24) 0.5 0.4 0.3 0.2 90 80" "$(ones 30)" "2.1–2.3 × faster"
verdict "$(ones 30)" "$(times 2 29) 0.1" "2.1–2.3 × slower"
verdict "$(times 2 15) $(times 0.5 15)" "$(ones 30)" "no difference beyond the noise (0.8–2.1 ×)"
verdict "$(times 2 19) $(times 0.5 11)" "$(ones 30)" "no difference beyond the noise (0.9–2.2 ×)"
verdict "$(times 2 8) 0.9" "$(ones 9)" "2.0–2.3 × faster"
verdict "$(times 2 7) 0.9" "$(ones 8)" "no difference beyond the noise (0.9–2.4 ×)"
verdict "$(times 2 5) 0.9" "$(ones 6)" "no difference beyond the noise (0.9–2.4 ×)"

# the interval is that of the sign test: n, which of them bound it, its confidence (tables of the binomial)
for row in "1 1 0.0000" "2 1 0.5000" "5 1 0.9375" "6 1 0.9688" "8 1 0.9922" "9 2 0.9609" "12 3 0.9614" "17 5 0.9510" \
    "20 6 0.9586" "25 8 0.9567" "30 10 0.9572" "50 18 0.9672" "100 40 0.9648" "999 469 0.9502"; do
    read -r n k confidence <<<"$row"
    seq "$n" | shuf --random-source=<(yes) | awk '
        { printf "{\"side\":\"glibc\",\"how\":\"timed\",\"pair\":%d,\"wall_s\":%d}\n", NR, $1
          printf "{\"side\":\"libkaio\",\"how\":\"timed\",\"pair\":%d,\"wall_s\":1}\n", NR }' >runs
    [ "$(figures | jq -r '.figures[0].ratio | "\(.low) \(.high) \(.confidence * 10000 | round)"')" = \
        "$k $((n + 1 - k)) $(awk -v c="$confidence" 'BEGIN { printf "%d", c * 10000 + 0.5 }')" ] ||
        fail "interval of $n: $(figures | jq -c '.figures[0].ratio')"
done

# a figure that one run has not: its pair is left out, the others stay pairs
cat >runs <<'TXT'
{"side":"glibc","how":"timed","pair":1,"wall_s":1,"threads":10}
{"side":"libkaio","how":"timed","pair":1,"wall_s":1}
{"side":"libkaio","how":"timed","pair":2,"wall_s":1,"threads":2}
{"side":"glibc","how":"timed","pair":2,"wall_s":1,"threads":4}
TXT
[ "$(figures | jq -c '.figures[6].ratio | [.low, .high]')" = "[2,2]" ] || fail "not pairs: $(figures | jq -c '.figures[6]')"

# the machine
machine() { # WALL OTHERS STEAL PRESSURE WANTED
    printf '{"side":"%s","how":"timed","pair":1,"wall_s":%s,"cpus":2,"others_s":%s,"steal_s":%s,"pressure_s":%s}\n' \
        glibc "$1" "$2" "$3" "$4" libkaio "$1" "$2" "$3" "$4" >runs
    [ "$(figures | jq -r .machine.busy)" = "$5" ] || fail "machine: $*: $(figures | jq -c .machine)"
}
machine 10 0.2 0 9 false # waits of its own threads
machine 10 2.5 0 0 true
machine 10 1.2 0 0.1 false
machine 10 1.2 0 2 true
machine 10 0 1 0 true
machine 0.1 0.2 0 0 null
figures | jq -r -L "$TESTS_TOP/scripts/kaio.d" -f "$TESTS_TOP/scripts/kaio.d/ab-table.jq" | grep -q busy && fail "too short to tell"
machine 10 10 0 8 true
figures | jq -r -L "$TESTS_TOP/scripts/kaio.d" -f "$TESTS_TOP/scripts/kaio.d/ab-table.jq" >out
says 'The machine was busy: other programs had 50 % of its CPU time; something waited for a CPU 80 % of the time'
sed -i 's/,"pressure_s":[^}]*//' runs # an older kernel
[ "$(figures | jq -c '.machine | .busy, .pressure')" = "$(printf 'true\nnull')" ] || fail "without pressure"

# the command itself: both sides in turn, --prepare before each, no input, nothing left behind
mkdir tmp
export TMPDIR=$PWD/tmp
# shellcheck disable=SC2016 # expanded by the command
ab 0 -n 2 --same-output --json json --prepare 'echo p >>order' -- \
    sh -c 'case $LD_PRELOAD in *libkaio*) echo "l$KAIO_MODE";; *) echo g;; esac >>order; cat; echo same'
[ "$(tr -d '\n' <order)" = "pgplpgplplpgploffpl" ] || fail "order: $(tr '\n' ' ' <order)"
says 'neither .*sh nor its libraries use POSIX AIO'
says '^libkaio: (no difference|[0-9.–]+ × )'
says 'No AIO request was seen'
[ "$(jq -c '[.command[0], .pairs, (.runs | length), .kernel]' json)" = "[\"sh\",2,8,\"$(uname -r)\"]" ] || fail "json"
[ -z "$(ls tmp)" ] || fail "scratch files are left"

# what is measured: threads, CPU time, memory, switches
cat >burn.c <<'C'
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static void *nothing(void *p) { return p; }
int main(int argc, char **argv) {
    pthread_t thread;
    for (int i = 0; i < (argc > 1 ? atoi(argv[1]) : 5); i++) if (!pthread_create(&thread, NULL, nothing, NULL)) pthread_join(thread, NULL);
    if (argc > 1) return 0;
    volatile char *memory = malloc(64 << 20);
    memset((char *)memory, 1, 64 << 20);
    volatile long n = 0;
    while (clock() < CLOCKS_PER_SEC / 8) for (int i = 0; i < 1000000; i++) n++; /* user time */
    while (clock() < CLOCKS_PER_SEC / 5) continue; /* system time, mostly */
    for (int i = 0; i < 30; i++) usleep(1000);
    return 0;
}
C
gcc -O0 -pthread -o burn burn.c
ab 0 -n1 --json=json ./burn
jq -e '(.figures | map({key: .name, value: .}) | from_entries) as $f
    | [$f[] | .glibc.median, .libkaio.median] as $all
    | [$f.threads.glibc.median, $f.threads.libkaio.median] == [5, 5]
    and $f.user_s.glibc.median + $f.system_s.glibc.median >= 0.19 and $f.wall_s.glibc.median >= 0.21
    and $f.user_s.glibc.median > 0.02 and $f.system_s.glibc.median < 0.2
    and $f.max_rss_kib.libkaio.median > 65536 and $f.max_rss_kib.libkaio.median < 90000
    and $f.voluntary_switches.glibc.median >= 30 and ($all | length) == 14' json >/dev/null || fail "figures: $(jq -c .figures json)"

# all threads, also those of children, however many; in each run, so with a range
ab 0 -n2 --json=json -- sh -c './burn 12345; true'
jq -e '.figures[] | select(.name == "threads") | [.glibc.min, .glibc.max, .libkaio.min, .libkaio.max] ==
    [12345, 12345, 12345, 12345] and .ratio.min == 1 and .ratio.max == 1' json >/dev/null ||
    fail "threads: $(jq -c '.figures[] | select(.name == "threads")' json)"
says '^threads created +12,345 +12,345 +1.00 ×'

# beside other work that is said, and a verdict all the same
for _ in $(seq "$(nproc)"); do timeout 60 sh -c 'while :; do :; done' & done
ab 0 -n2 --json=json -- ./burn
# shellcheck disable=SC2046 # several
kill $(jobs -p)
says 'The machine was busy: other programs had [0-9]+ % of its CPU time'
says 'glibc / libkaio \(50 % interval\)$'
jq -e '.machine.others > 0.2' json >/dev/null || fail "busy: $(jq -c .machine json)"

# commands that fail, and what kaio refuses
ab 3 -- sh -c 'echo output; echo why >&2; exit 3'
says 'fails without libkaio \(exit status 3\)'
says '^    output$'
says '^    why$'
# shellcheck disable=SC2016
ab 137 -- sh -c 'kill -9 $$'
says 'signal 9'
ab 125 --same-output -- date +%N
says 'output changes without libkaio, too'
ab 125 --prepare 'echo no room; false' true
says 'no room'
ab 125 -n 0 true
ab 125 -n many true
ab 125 --json /nonexistent/json true
ab 125 --nonsense true
ab 125
ab 127 no-such-command
mkdir empty
for tool in sh dirname readlink; do ln -s "$(command -v $tool)" empty/; done
status=0
PATH=$PWD/empty "$kaio" ab /bin/true >out 2>errors || status=$?
[ $status = 125 ] && grep -q 'apt-get install jq' errors || fail "jq is missing"

# the library's own reports of both sides
fio --name=x --filename=data --size=1m --rw=write --bs=64k >/dev/null
ab 0 -n 1 --json json --svg svg fio --name=x --filename=data --size=1m --rw=randrw --ioengine=posixaio --iodepth=8
jq -e '.aio | .glibc.requests == .libkaio.requests and .glibc.requests.read + .glibc.requests.write == 256
    and .glibc.latency_us.count >= 256 and .libkaio.latency_us.count >= 256
    and .libkaio.latency_us.p50 > 0 and .libkaio.latency_us.p50 <= .libkaio.latency_us.p99
    and .glibc.size_histogram == [[4096, 256]] and .libkaio.call_us.max > 0' json >/dev/null || fail "reports: $(jq -c .aio json)"
says '^call to completion, median +[0-9].* [mµ]s +[0-9].* [mµ]s$'
grep -q '</svg>' svg && grep -q '<title>Completion latency' svg && grep -q 'text>fio --name=x' svg || fail "svg: $(head -n 12 svg)"

says '^libkaio: '

# a process that is killed, one that becomes another program, one that ends by _exit()
watch=$TESTS_TOP/build/tests/command/watch
# shellcheck disable=SC2016 # expanded by the command
ab 0 -n 1 --json json -- sh -c 'for end; do "$0" $end data; done; exit 0' "$watch" killed executed crowd
jq -e '.aio | [.glibc, .libkaio][] | .processes == 4 and .requests.read == 101 + 3 + 3 + 800' json >/dev/null ||
    fail "any end: $(jq -c .aio json)"

# a command that runs for a time; beside other work a start may take longer than the rest
for _ in 1 2 3; do
    ab 0 -n 1 -- fio --name=x --filename=data --size=1m --rw=randread --ioengine=posixaio --iodepth=32 --time_based \
        --runtime=1
    ! grep -q 'seems to run for a time' out || break
done
says '^libkaio: [0-9.]+ × as many requests in the same time, in one run of each side$'
says 'seems to run for a time'

# a stub in the library's place: what two processes counted, and the two kinds of bugs
mkdir -p copy/build
cp -r "$TESTS_TOP/scripts" copy/
cp "$TESTS_TOP"/build/{kaio,kaio-*,libkaio-record.so} copy/build/
cat >stub.c <<'C'
#include "shim/observe/stats.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static const char *stats;
static int off;
static struct kaio_counts page = {
    .magic = KAIO_PAGE_MAGIC, .size = sizeof page, .requests = {10, 2, 1, 1}, .bytes = {40960, 8192}, .sizes = {[12] = 12},
};
__attribute__((constructor)) static void loaded(void) {
    const char *stub = getenv("STUB"), *mode = getenv("KAIO_MODE");
    stats = getenv("KAIO_STATS");
    off = mode && !strcmp(mode, "off");
    if (stub && !strcmp(stub, "exit")) _exit(7);
    if (stub && !strcmp(stub, "print")) printf("printed\n"), fflush(stdout);
}
__attribute__((destructor)) static void report(void) {
    char path[4096];
    if (!stats || stats[strlen(stats) - 1] != '/') return;
    snprintf(path, sizeof path, "%sstub-%d", stats, (int)getpid());
    page.latency.bucket[kaio_hist_index(10000)] = 7;
    page.latency.bucket[kaio_hist_index(off ? 1000000 : 100000)] = 5;
    page.call.bucket[kaio_hist_index(1000)] = 12;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (write(fd, &page, sizeof page) != sizeof page) abort();
    close(fd);
}
C
gcc -shared -fPIC -I "$TESTS_TOP" -o copy/build/libkaio.so stub.c
kaio=$PWD/copy/scripts/kaio
ab 0 -n 1 --json json --svg svg -- bash -c 'bash -c true; true' # not dash: it ends by _exit()
[ "$(jq -c '.aio.libkaio | .processes, .requests.read, .bytes.write, .size_histogram, .latency_us' json | tr '\n' ' ')" = \
    '2 20 16384 [[4096,24]] {"count":24,"p50":10.239,"p99":102.399,"max":102.399,"histogram":[[10.239,14],[102.399,10]]} ' ] ||
    fail "merged: $(jq -c .aio json)"
says '^syncs +4 +4$'
says 'request sizes: up to 4 KiB \(100 %\)'
grep -q '</svg>' svg && grep -q 'glibc: median 10 ' svg && grep -q 'libkaio: median 10 ' svg || fail "svg"
export STUB=exit
ab 1 -- sh -c 'echo before'
says '^\*\*\* kaio: with libkaio the command ends with exit status 7'
says 'bug in libkaio; please report'
STUB=print
ab 0 -n 1 -- sh -c 'echo same'
ab 1 -n 1 --same-output -- sh -c 'echo same'
says '^\*\*\* kaio: with libkaio the command prints something else'
says '^> printed$'
[ -z "$(ls tmp)" ] || fail "scratch files are left"
