#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each kind of request takes the lane that the design gives it, as the report tells: the kernel, or
# declined for just this reason. The last but one: xfs and btrfs, where they can be mounted.
set -eu
fail() { echo "$1"; exit 1; }

# taken REPORT: the lane of the one request after the warm-up, which is 64 by workers, 16 by the kernel
taken() {
    jq -r '.lanes.kernel.requests as $kernel | .declined | del(.first_few) | map_values(select(. > 0))
        | if $kernel == 17 and . == {} then "kernel"
          elif $kernel == 16 and . == {} then "caller"
          elif $kernel == 16 and add == 1 then keys[0]
          else "unclear: \($kernel) by the kernel, declined: \(.)" end' "$1"
}

# lane NAME REASON [FILE]: one request of the kind; REASON as in the report, "kernel" or "caller". The kernel may
# decline any request now and then, on a busy disk. And an offered read begins to read what is not in memory: if its
# thread then loses the CPU, the data is there when it looks (one in four, beside five tests). Ten tries.
lane() {
    local got=
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf stats
        mkdir stats
        KAIO_STATS=$PWD/stats LD_PRELOAD=$KAIO_LIB "$TESTS_TOP/build/tests/lanes/lanes" "$1" \
            "${3-data}" || fail "$1: status $?"
        "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
        got=$(taken report.json)
        echo "$1: $got"
        [ "$got" != "$2" ] || return 0
    done
    fail "$1: not '$2': $(cat report.json)"
}
dd if=/dev/urandom of=data bs=1M count=4 conv=fsync status=none
if [ "$(stat -f -c %T .)" != ext2/ext3 ]; then
    echo "the scratch directory is not on ext4"
    exit 77
fi
lane direct kernel
lane overwrite kernel
lane extend would_wait
lane cached caller
lane uncached would_wait
lane short short
lane large large
lane write unsupported
lane append append
lane memory caller
lane "large memory" large
lane stream caller
lane offset caller
lane proc unsupported

for type in xfs btrfs; do
    truncate -s 400M image
    mkdir -p mounted
    "mkfs.$type" -q image >log 2>&1 || { echo "skipped, $type: mkfs: $(tail -n 1 log)"; continue; }
    if ! mount -o loop image mounted 2>log; then
        echo "skipped, $type: cannot be mounted here: $(tail -n 1 log)"
        continue
    fi
    dd if=/dev/urandom of=mounted/data bs=1M count=4 conv=fsync status=none
    status=0
    (
        lane direct kernel mounted/data
        lane cached caller mounted/data
        lane uncached would_wait mounted/data
        cd mounted # buffered writes: taken, or declined when the time stamp needs a transaction
        TEST_WARM=1 timeout 60 "$TESTS_TOP/build/tests/api/files" >../glibc.out
        TEST_WARM=1 LD_PRELOAD=$KAIO_LIB timeout 60 "$TESTS_TOP/build/tests/api/files" >../shim.out
        diff ../glibc.out ../shim.out
    ) || status=1
    umount mounted
    rm image
    [ $status = 0 ] || exit 1
done
