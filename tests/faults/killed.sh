#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 at random moments (killed.c): everything that an aio_fsync had confirmed is in the files, and no
# request is half reported. Then the same on a filesystem that stops at that moment and loses what it
# has in memory; then fio, whose own verify state tells what must be there.
set -eu
fail() { echo "$1"; exit 1; }
kills=12 crashes=4 fios=2
[ -z "${TEST_LONG-}" ] || kills=120 crashes=60 fios=12
program=$TESTS_TOP/build/tests/faults/killed
export TEST_SIDE=shim

# killed DIRECTORY SETTING KILLS
killed() {
    echo "$2, $3 times"
    env -C "$1" "$2" KILLS="$3" LD_PRELOAD="$KAIO_LIB" "$program" >log 2>&1 || fail "$(cat log)"
    tee -a figures <log
}
for setting in KAIO_MODE=auto KAIO_MODE=worker KAIO_ORDER=fd; do killed . $setting $((kills / 3)); done

crash() { # TYPE
    truncate -s 400M image
    mkdir -p mounted
    "mkfs.$1" -q image >log 2>&1 || { echo "skipped, $1: mkfs: $(tail -n 1 log)"; return; }
    mount -o loop image mounted 2>log || { echo "skipped, $1: cannot be mounted here: $(tail -n 1 log)"; return; }
    trap '! mountpoint -q mounted || umount mounted' EXIT
    export CRASH="umount mounted && mount -o loop image mounted"
    killed mounted KAIO_MODE=auto $((crashes / 2))
    killed mounted KAIO_MODE=worker $((crashes / 2))
    unset CRASH
    umount mounted
    rm image
}
crash ext4

# The trigger saves what has been written and then kills fio; the second run verifies just that. It may say
# too much: one thread saves what another still counts (on a busy machine 5 of 40 runs under glibc were bad, with
# the libaio engine none). So only three bad ones in a row count.
killed_fio() { # BLOCKS OPTION...: as soon as so many are allocated
    local args=(--name=killed --filename=data --size=64m --bs=4k --rw=randwrite --ioengine=posixaio --iodepth=16
        --thread --fallocate=none --verify=crc32c --verify_fatal=1 --fdatasync=32 "${@:2}")
    rm -f ./*verify*.state trigger data
    truncate -s 64m data # or the second run would fill it up
    (until [ "$(stat -c %b data)" -gt "$1" ]; do sleep 0.01; done; touch trigger) &
    # shellcheck disable=SC2016 # fio's shell expands it
    LD_PRELOAD=$KAIO_LIB fio "${args[@]}" --do_verify=0 --verify_state_save=1 --trigger-file=trigger \
        --trigger='kill -9 $PPID' >log 2>&1 && fail "fio was not killed: $(cat log)"
    wait
    LD_PRELOAD=$KAIO_LIB fio "${args[@]}" --verify_only --verify_state_load=1 >log 2>&1 || return 1
    ! grep -q 'verify: ' log || return 1
    sed -n 's/.*issued rwts: total=\([0-9]*\).*/fio: \1 writes found/p' log | tee found
    total=$((total + $(grep -o '[0-9]*' found)))
}
total=0
for ((i = 0; i < fios; i++)); do
    for try in 1 2 3; do killed_fio $((RANDOM % 9000)) --direct=$((i % 2)) && break; [ $try -lt 3 ] || fail "$(cat log)"; done
done
awk -v fios=$fios -v writes=$total '/^killed / { n += $2; rounds += $4 } END {
    print "note: killed " n " times, " rounds " rounds confirmed; fio " fios " times, " writes " writes found" }' figures
[ $total -gt 0 ]
