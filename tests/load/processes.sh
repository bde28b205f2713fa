#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 256 processes at once at the default fs.aio-max-nr, 65,536: each has its context, of full depth, and the
# kernel does its reads. Where others have contexts already, as many processes as there is room for.
# contexts: it depends on what fs.aio-max-nr has left
set -eu
max=$(cat /proc/sys/fs/aio-max-nr)
for _ in {1..50}; do # those of processes that have just ended
    [ "$(cat /proc/sys/fs/aio-nr)" != 0 ] || break
    sleep 0.1
done
used=$(cat /proc/sys/fs/aio-nr)
processes=$(((max - used) / 256))
[ $processes -lt 256 ] || processes=256
[ $processes = 256 ] || echo "skipped: $((256 - processes)) of 256 processes: fs.aio-nr is $used of $max"
[ $processes != 0 ] || exit 77
mkdir stats
KAIO_LOG=1 KAIO_STATS=$PWD/stats PROCESSES=$processes LD_PRELOAD=$KAIO_LIB \
    "$TESTS_TOP/build/tests/load/processes" 2>log || { cat log; exit 1; }
full=$(grep -c 'kernel AIO: depth 256' log) || true
kernel=$("$TESTS_TOP/build/kaio" top --json --report stats/* |
    jq -s 'map(select(.io_setup == "yes" and .lanes.kernel.requests > 0)) | length')
echo "$processes processes: $full contexts of full depth, $kernel of them used"
[ "$full" = $processes ] && [ "$kernel" = $processes ]
