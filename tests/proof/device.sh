#!/usr/bin/env bash
# A device that errs at chosen blocks and stalls for a second (device.c): a FUSE file, whose requests
# workers make, and a loop device on it, whose errors come in the kernel's events. As under glibc.
# Filesystems that are full: filesystems.sh.
set -eu
device=$TESTS_TOP/build/tests/proof/device
fail() { echo "$1"; exit 1; }
# shellcheck source=tests/proof/fuse/slowfs.sh
. "$TESTS_TOP/tests/proof/fuse/slowfs.sh"

# compare FILE: glibc serves one request of a descriptor after the other, hence each stall, too
compare() {
    for side in glibc shim; do
        local library=
        [ $side = glibc ] || library=$KAIO_LIB
        dd if=slow/e iflag=nocache count=0 status=none # what is cached does not stall
        FAULTY=$1 TEST_WARM=1 timeout -k 1 60 env LD_PRELOAD="$library" "$device" >$side.out ||
            fail "$1, $side: $(tail -n 3 $side.out)"
    done
    diff glibc.out shim.out || fail "$1: other than glibc"
    grep -q 'read of 3: EIO' shim.out || fail "$1: no error was made"
    grep -q '0 bad, in time 1, still stalled 1' shim.out || fail "$1: $(grep others shim.out)"
}

slowfs_start || { echo "FUSE cannot be mounted here: $(tail -n 1 slowfs.out)"; exit 77; }
compare "$PWD/slow/e"
if loop=$(losetup --find --show slow/e 2>losetup.out); then
    status=0
    echo 2 >"/sys/block/${loop#/dev/}/queue/nomerges" # or an error is that of all neighbours
    (compare "$loop") || status=$?
    losetup -d "$loop"
    [ $status = 0 ] || exit 1
else
    echo "skipped, a loop device on it: $(cat losetup.out)"
fi
slowfs_stop
