#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Many threads: few descriptors for all of them, waits that end well without one and when the program takes
# its number (crowd.c), and a wake-up that costs the same whether 64 or 1,000 threads wait (round_trip.c).
set -eu
programs=$TESTS_TOP/build/tests/lanes
# shellcheck source=tests/lib/fuse/slowfs.sh
. "$TESTS_TOP/tests/lib/fuse/slowfs.sh"
failed=

# part NAME VAR=VALUE...: "waits" ends without "done", with its last thread
part() {
    local status=0
    TEST_SIDE=shim timeout 60 env "CROWD=$1" "${@:2}" LD_PRELOAD="$KAIO_LIB" "$programs/crowd" >out 2>&1 || status=$?
    [ "$status $(head -n 1 out)" = "0 0 bad" ] || { echo "$*: status $status"; cat out; failed=1; }
}

for kind in cached written direct stream; do
    for limit in 1024 64; do part fds KIND=$kind LIMIT=$limit; done
done
part waits
part dup2
part blockers
part blockers TAKEN=1
if ! slowfs_start; then
    echo "skipped, a slow device: FUSE cannot be mounted here: $(tail -n 1 slowfs.out)"
elif ! loop=$(losetup --find --show slow/h 2>losetup.out); then
    echo "skipped, a slow device: no loop device: $(cat losetup.out)"
else
    echo 0 >"/sys/block/${loop#/dev/}/queue/read_ahead_kb"
    part waits HELD="$loop"
    dd if=slow/h iflag=nocache count=0 status=none # what is cached does not wait
    part dup2 HELD="$loop"
    losetup -d "$loop"
fi

# trips THREADS [VAR=VALUE]: ns of CPU time for a round trip
trips() { env "THREADS=$1" "${@:2}" LD_PRELOAD="$KAIO_LIB" "$programs/round_trip" | head -n 1; }
least() { sort -n <<<"$1" | sed '/^$/d' | head -n 1; }
for whose in "" FOREIGN=1; do
    few='' many='' flat=
    for i in 1 2 3 4 5 6 7 8 9; do # in turns; the least is the least disturbed by others
        few=$(least "$few"$'\n'"$(trips 64 $whose)")
        many=$(least "$many"$'\n'"$(trips 1000 $whose)")
        flat=$([ $((many * 2)) -gt $((few * 3)) ] || echo yes)
        [ "$i" -lt 3 ] || [ ! "$flat" ] || break
    done
    echo "${whose:-own}: a round trip takes $few ns of CPU time beside 64 threads, $many beside 1000"
    [ "$flat" ] || failed=1
done
[ -z "$failed" ]
