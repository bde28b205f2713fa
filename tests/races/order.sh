#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A sync never ends, nor reaches the file, before the writes that were queued before it; appended
# records are whole and in order: order.c, on the scratch directory's filesystem and on slowfs, which
# has slow writes and tells what came when.
set -eu
program=$TESTS_TOP/build/tests/races/order
shim=(TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB")
# shellcheck source=tests/lib/fuse/slowfs.sh
. "$TESTS_TOP/tests/lib/fuse/slowfs.sh"
fail() { echo "$1"; exit 1; }

for part in disk append; do
    env ORDER=$part TEST_SIDE=glibc "$program" >glibc.out || fail "$part, glibc: $(cat glibc.out)"
    for vars in KAIO_DEPTH=256 KAIO_DEPTH=2; do
        env ORDER=$part $vars "${shim[@]}" "$program" >shim.out || fail "$part, $vars: $(cat shim.out)"
        diff glibc.out shim.out || fail "$part, $vars: other than glibc"
    done
    cat glibc.out
done

# slow VAR=VALUE...: on a fresh slowfs, whose log has to say something, too
slow() {
    local status=0
    slowfs_start || fail "slowfs: $(cat slowfs.out)"
    (cd slow && exec env "$@" "$program") || status=$?
    slowfs_stop
    # the n-th sync of a file must find the 8 writes of its n-th round
    awk '$1 == "write" { ended[$2, $3]++ }
         $1 == "sync" { arrived++; early += ended[$2, ++round[$2]] != 8 }
         END { print arrived + 0 " syncs arrived, " early + 0 " too early" }' log
    return $status
}

slowfs_start || { echo "slowfs cannot be mounted here: $(tail -n 1 slowfs.out)"; exit 77; }
slowfs_stop
slow ORDER=sync TEST_SIDE=glibc >glibc.out || fail "sync, glibc: $(cat glibc.out)"
grep -q '^1000 syncs arrived, 0 too early' glibc.out || fail "sync, glibc: $(cat glibc.out)"
cat glibc.out
for vars in KAIO_DEPTH=256 KAIO_DEPTH=2; do
    for part in sync call; do
        slow ORDER=$part $vars "${shim[@]}" >shim.out || fail "$part, $vars: $(cat shim.out)"
        diff glibc.out shim.out || fail "$part, $vars: not as it should be"
    done
done
# glibc's fsync() does not know about requests: this would be found
slow ORDER=call TEST_SIDE=glibc >glibc.out || fail "call, glibc: $(cat glibc.out)"
! grep ' 0 too early' glibc.out
