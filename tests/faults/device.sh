#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Devices that are not as usual (device.c), as under glibc: one that errs at chosen blocks and stalls for
# a second, as a FUSE file, whose requests workers make, and as a loop device on it, whose errors come
# in the kernel's events; a loop device that ends where no page does; and one that does not answer.
# Filesystems that are full: filesystems.sh.
set -eu
device=$TESTS_TOP/build/tests/faults/device
fail() { echo "$1"; exit 1; }
# shellcheck source=tests/lib/fuse/slowfs.sh
. "$TESTS_TOP/tests/lib/fuse/slowfs.sh"

# run SIDE VAR=VALUE...: prints to SIDE.out
run() {
    local side=$1 library='' status=0
    shift
    [ "$side" = glibc ] || library=$KAIO_LIB
    for file in e h; do dd if=slow/$file iflag=nocache count=0 status=none; done # what is cached does not stall
    TEST_SIDE=$side TEST_WARM=1 timeout -k 1 60 env "$@" LD_PRELOAD="$library" "$device" >"$side.out" || status=$?
    rm -f log.hold
    [ $status = 0 ] || fail "$*, $side: $(tail -n 3 "$side.out")"
}

# same VAR=VALUE...
same() {
    run glibc "$@"
    run shim "$@"
    diff glibc.out shim.out || fail "$*: other than glibc"
}

# faulty FILE: glibc serves one request of a descriptor after the other, hence each stall, too
faulty() {
    same FAULTY="$1"
    grep -q 'read of 3: EIO' shim.out || fail "$1: no error was made"
    grep -q '0 bad, in time 1, still stalled 1' shim.out || fail "$1: $(grep others shim.out)"
}

ends() {
    same END="$1"
    grep -q 'at the end, write 512: ENOSPC, -1' shim.out || fail "$1: it has no end: $(cat shim.out)"
}

# held DEVICE: with KAIO_DEPTH=2, and as far as it goes
held() {
    run glibc HELD="$1"
    for depth in 2 256; do
        rm -rf stats
        mkdir stats
        run shim HELD="$1" KAIO_DEPTH=$depth KAIO_STATS="$PWD/stats"
        diff glibc.out shim.out || fail "depth $depth: other than glibc"
        # after the 16 of the warm-up, all but what was cancelled
        "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
        jq -e ".batches.iocbs == $((depth == 2 ? 18 : 19))" report.json >/dev/null || fail "not by the kernel: $(cat report.json)"
    done
}

# on_loop FILE TEST: TEST of a loop device on it
on_loop() {
    local loop status=0
    if ! loop=$(losetup --find --show "$1" 2>losetup.out); then
        echo "skipped, a loop device on $1: $(cat losetup.out)"
        return 0
    fi
    # or an error is that of all neighbours
    echo 2 >"/sys/block/${loop#/dev/}/queue/nomerges"
    echo 0 >"/sys/block/${loop#/dev/}/queue/read_ahead_kb"
    ("$2" "$loop") || status=$?
    losetup -d "$loop"
    return $status
}

slowfs_start || { echo "FUSE cannot be mounted here: $(tail -n 1 slowfs.out)"; exit 77; }
faulty "$PWD/slow/e"
on_loop slow/e faulty
truncate -s $((256 * 1024 + 3 * 512)) end
on_loop end ends
on_loop slow/h held
slowfs_stop
