#!/usr/bin/env bash
# aio_cancel() of a sync that runs, in the kernel or in a worker: AIO_NOTCANCELED, and it ends with 0, as
# under glibc (running_sync.c).
set -eu
program=$TESTS_TOP/build/tests/proof/running_sync
# shellcheck source=tests/proof/fuse/slowfs.sh
. "$TESTS_TOP/tests/proof/fuse/slowfs.sh"
fail() { echo "$1"; exit 1; }

slowfs_start || { echo "slowfs cannot be mounted here: $(tail -n 1 slowfs.out)"; exit 77; }
TEST_SIDE=glibc timeout -k 1 20 "$program" >glibc.out || fail "glibc: $(cat glibc.out)"
grep -q '^sync: not cancelled' glibc.out || fail "glibc: $(cat glibc.out)"
for setting in TEST_COLD=1 KAIO_MODE=worker TEST_WARM=1; do
    rm -f stats
    timeout -k 1 20 env "$setting" TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB" KAIO_STATS="$PWD/stats" "$program" \
        >shim.out || fail "$setting: $(cat shim.out)"
    diff glibc.out shim.out || fail "$setting: other than glibc"
    lane='by workers  *20$' # one is cancelled of each many
    [ $setting != TEST_WARM=1 ] || lane='by the kernel  *36$' # and 16 reads
    grep -q "$lane" stats || fail "$setting: not $lane: $(cat stats)"
done
slowfs_stop
