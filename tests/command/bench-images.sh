#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The cells of scripts/bench on a block device that it makes in an image, with TEST_LONG also on xfs and
# btrfs: they run, and all is gone afterwards. What is to append does.
set -eu
fail() { echo "$1"; exit 1; }
mkdir files

places=(loop)
[ -z "${TEST_LONG-}" ] || places+=(xfs btrfs)
for place in "${places[@]}"; do
    "$TESTS_TOP/scripts/bench" --quick --dir files --cells "$place direct randread" --out out >table 2>log ||
        fail "$place: $(cat log)"
    if grep 'left out' log; then
        echo "skipped $place"
        continue
    fi
    jq -e --arg place "$place" '.cells | length == 1 and .[0].where == $place and .[0].best.median > 0' \
        out/results.json >/dev/null || fail "$place: $(cat table)"
done
! losetup --list | grep "$PWD/files" || fail "a loop device is left"
! grep "$PWD/files" /proc/self/mounts || fail "a filesystem is left"
[ -z "$(ls files)" ] || fail "left behind: $(ls files)"

# the second byte does not take the first one's place
for byte in a b; do
    printf %s "$byte" | LD_PRELOAD=$TESTS_TOP/build/tests/bench/append.so dd of=./appended conv=notrunc 2>/dev/null
done
[ "$(cat appended)" = ab ] || fail "append.so does not append"
