#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# System calls of the library fail or are answered by the test itself (replace.h), in many small
# processes: injected.c, each call and errno in turn, and forged.c, partial submissions and events of
# every kind. A call that the library makes has failed at least once, and there is none that it makes in no
# setting. With TEST_LONG more positions, others each time, and in several settings.
set -u
programs=$TESTS_TOP/build/tests/faults
parts=4 failures=0
settings=("" "KAIO_MODE=worker")
if [ -n "${TEST_LONG-}" ]; then
    settings+=("KAIO_DEPTH=2 KAIO_WORKERS=2" "KAIO_ORDER=fd")
    export SEED=${SEED-$RANDOM}
    echo "note: SEED=$SEED"
fi

# start DIRECTORY COMMAND...
start() {
    mkdir -p "$1"
    (cd "$1" && shift && exec env LD_PRELOAD="$KAIO_LIB" "$@" >log 2>&1) &
    pids[$!]=$1
}

# counted SETTING: what was called and how often it failed there, "fault NAME CALLS INJECTED" of each part
counted() {
    grep -h '^fault ' part.*/log >>faults
    grep -h '^fault ' part.*/log | awk -v setting="$1" '
        { injected[$2] += $4; if ($3 == 0) rare[$2] = 1 }
        END {
            for (name in injected) if (!injected[name] && !(name in rare)) {
                print setting ": " name " is called and has never failed"
                bad = 1
            }
            exit bad
        }' || failures=$((failures + 1))
}

for setting in "${settings[@]}"; do
    declare -A pids=()
    read -ra vars <<<"$setting"
    [ -n "$setting" ] || start forged "$programs/forged"
    for ((part = 0; part < parts; part++)); do
        start "part.$part" "${vars[@]}" PART=$part PARTS=$parts "$programs/injected"
    done
    for pid in "${!pids[@]}"; do
        status=0
        wait "$pid" || status=$?
        log=${pids[$pid]}/log
        [ $status != 77 ] || { tail -n 1 "$log"; exit 77; }
        [ $status = 0 ] && grep -q '^done' "$log" && continue
        failures=$((failures + 1))
        echo "${pids[$pid]} $setting: status $status"
        grep -v '^fault ' "$log"
    done
    cat "${pids[@]/%//log}" | grep 'cases,' | tee -a cases
    counted "${setting:-auto}"
done
awk '
    / of .* cases, / { ran += $1; next }
    / cases, / { forged += $1; next }
    { calls[$2] += $3; injected += $4 }
    END {
        for (name in calls) if (!calls[name]) { print name " is not called at all"; bad = 1 }
        print "note: " injected " calls have failed in " ran " cases, " forged " others were forged"
        exit bad
    }' cases faults || failures=$((failures + 1))
[ $failures = 0 ]
