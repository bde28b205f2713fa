#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Few descriptors, threads, or little memory, in small steps from what the program has; a little of
# fs.aio-max-nr, or nothing, from the first or while it runs: limits.c loses nothing, and the log says once
# why it is slower.
# contexts: it depends on what fs.aio-max-nr has left
set -eu
limits=$TESTS_TOP/build/tests/faults/limits
fail() { echo "$1"; exit 1; }
many=8
[ -z "${TEST_LONG-}" ] || many=60

# run LIMIT STEPS COMMAND...
run() {
    local name=$1 steps=$2
    shift 2
    LIMIT=${name%.*} STEPS=$steps timeout -k 1 300 "$@" env LD_PRELOAD="$KAIO_LIB" KAIO_LOG=1 \
        "$limits" >out 2>"log.$name" || fail "$name: $(tail -n 5 out)"
}

# said TEXT LIMIT: each process that says so says it once
said() {
    grep -q "$1" "log.$2" || fail "$2: the log is silent about: $1"
    local most
    most=$(grep "$1" "log.$2" | sort | uniq -c | sort -n | tail -n 1)
    [ "$(awk '{print $1}' <<<"$most")" = 1 ] || fail "$2: said more than once: $most"
}

run nofile $many
said 'no descriptor' nofile
run nproc $many
said 'could not be started' nproc
said 'notification is lost' nproc
run as $many
said 'could not be started' as
hog=$TESTS_TOP/build/tests/lib/hog
run none 1 "$hog"
said 'no kernel AIO' none
for leaves in 1 3 64; do
    run none.$leaves 1 env HOG_LEAVES=$leaves "$hog"
    said 'kernel AIO: depth' none.$leaves
done
run during 1
said 'no kernel AIO' during
said 'kernel AIO: depth' during
[ "$(grep -c 'no kernel AIO' log.during)/$(grep -c 'kernel AIO: depth' log.during)" = 1/2 ] ||
    fail "during: $(cat log.during)"
