#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# On ext4, xfs, btrfs (in an image) and tmpfs: programs of tests/api print under the shim what they
# print under glibc; so does partial.c, where requests are served in part, also on a full filesystem. And
# no call waits for a write that is to end on the device (durable.c).
set -eu
tests=$TESTS_TOP/build/tests
top=$PWD tried=0
trap '! mountpoint -q "$top/mounted" || umount "$top/mounted" || umount -l "$top/mounted"' EXIT
fail() { echo "$1"; exit 1; }

# new TYPE [SIZE]: a fresh filesystem in mounted/, in an image but for tmpfs; SIZE is for tmpfs
new() {
    local options=(-q) size=400M
    [ "$1" != btrfs ] || size=1G # sparse; with little it may find no place for its metadata under load
    [ "$1" != ext4 ] || options+=(-m 0 -E lazy_itable_init=0) # nothing goes on in the background
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o "size=${2-400M}" kaio-test mounted
    else
        rm -f image
        truncate -s $size image && "mkfs.$1" "${options[@]}" image && mount -o loop image mounted
    fi
}

# full TYPE: one with some 300 KiB left, the same each time: a copy of the first
full() {
    if [ "$1" = tmpfs ] || [ ! -e "$1.full" ]; then
        new "$1" 2M
        (cd mounted && PART=fill "$tests/faults/partial") >log || fail "$1: $(cat log)"
        [ "$1" != tmpfs ] || return 0
        umount mounted
        mv image "$1.full"
    fi
    cp --sparse=always "$1.full" image
    mount -o loop image mounted
}

# run SIDE VAR=VALUE... PROGRAM: in an empty directory there; prints to SIDE.out
run() {
    local side=$1 dir status=0 vars=()
    shift
    [ "$side" = glibc ] || vars=(LD_PRELOAD="$KAIO_LIB")
    dir=$(mktemp -d mounted/XXXXXX)
    (cd "$dir" && env TEST_WARM=1 TEST_SIDE="$side" "${vars[@]}" "$@") >"$side.out" 2>&1 || status=$?
    rm -rf "$dir"
    return $status
}

compare() {
    diff glibc.out shim.out || fail "$1: other than glibc"
}

# same TYPE VAR=VALUE... PROGRAM
same() {
    local type=$1
    shift
    run glibc "$@" || fail "$type: $* does not work under glibc: $(tail -n 1 glibc.out)"
    run shim "$@" || fail "$type: $* under the shim: $(tail -n 3 shim.out)"
    compare "$type: $*"
    grep '^skipped' shim.out || true
}

# durable TYPE [VAR=VALUE]
durable() {
    run shim TEST_NOTES=1 "${@:2}" "$tests/faults/durable" || fail "$1, durable: $(tail -n 3 shim.out)"
    ! grep -q 'waits$' shim.out || fail "$1: $(cat shim.out)"
}

mkdir mounted
for type in ext4 xfs btrfs tmpfs; do
    if ! new $type >log 2>&1; then
        echo "skipped, $type: cannot be mounted here: $(tail -n 1 log)"
        continue
    fi
    tried=$((tried + 1))
    for name in basic files errors list fsync; do same $type "$tests/api/$name"; done
    same $type KAIO_MODE=worker "$tests/api/errors"
    same $type env -u TEST_WARM "$tests/api/errors"
    same $type PART=reads "$tests/faults/partial"
    durable $type
    mount -o remount,sync mounted
    durable $type MOUNTED_SYNC=1
    umount mounted
    [ $type != btrfs ] || continue # its metadata takes space when it likes
    for side in glibc shim; do
        full $type
        run $side PART=full "$tests/faults/partial" || fail "$type, full: $(tail -n 3 $side.out)"
        umount mounted
    done
    grep -q ENOSPC shim.out
    compare "$type, full"
done
[ $tried != 0 ] || { echo "no filesystem can be mounted here"; exit 77; }
