#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Stock fio, direct I/O: every request but the first few goes through io_submit (a busy disk declines one
# now and then), no thread is made for them beyond the workers of those few, and nothing calls io_getevents.
set -eu
args=(--name=x --filename=data --size=16m --bs=4k --rw=randread --direct=1 --iodepth=8 --thread)
fio "${args[@]}" --ioengine=psync >/dev/null # lays out the file
count() { grep -cE "$1" trace || true; }
trace() { strace -f -o trace -e trace=io_submit,io_getevents,io_pgetevents,clone,clone3 "$@" >log 2>&1; }

trace fio "${args[@]}" --ioengine=psync
threads=$(count 'clone3?\(')
mkdir stats
trace env KAIO_STATS="$PWD/stats" LD_PRELOAD="$KAIO_LIB" fio "${args[@]}" --ioengine=posixaio
submitted=$(count 'io_submit\(')
extra=$(($(count 'clone3?\(') - threads))
echo "4096 requests: io_submit $submitted times, $extra threads more than with psync"
[ "$submitted" -ge 3900 ] && [ "$submitted" -le 4200 ]
[ "$extra" -le 16 ]
[ "$(count 'io_p?getevents')" = 0 ]
"$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
jq -es 'map(.lanes.kernel.requests) | add >= 3900' report.json >/dev/null || { cat report.json; exit 1; }
