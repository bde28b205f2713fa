#!/usr/bin/env bash
# System calls of the library fail or are answered by the test itself (replace.h), in many small
# processes: injected.c, each call and errno in turn, and forged.c, partial submissions and events of
# every kind. With TEST_LONG more positions, and in several settings.
set -u
proof=$TESTS_TOP/build/tests/proof
parts=4 failures=0
settings=("")
[ -z "${TEST_LONG-}" ] || settings+=("KAIO_MODE=worker" "KAIO_DEPTH=2 KAIO_WORKERS=2" "KAIO_ORDER=fd")

# start DIRECTORY COMMAND...
start() {
    mkdir -p "$1"
    (cd "$1" && shift && exec env LD_PRELOAD="$KAIO_LIB" "$@" >log 2>&1) &
    pids[$!]=$1
}

for setting in "${settings[@]}"; do
    declare -A pids=()
    read -ra vars <<<"$setting"
    [ -n "$setting" ] || start forged "$proof/forged"
    for ((part = 0; part < parts; part++)); do
        start "part.$part" "${vars[@]}" PART=$part PARTS=$parts "$proof/injected"
    done
    for pid in "${!pids[@]}"; do
        status=0
        wait "$pid" || status=$?
        log=${pids[$pid]}/log
        [ $status != 77 ] || { tail -n 1 "$log"; exit 77; }
        [ $status = 0 ] && grep -q '^done' "$log" && continue
        failures=$((failures + 1))
        echo "${pids[$pid]} $setting: status $status"
        cat "$log"
    done
    cat ./*/log | grep 'cases,'
done
[ $failures = 0 ]
