#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Where CPUs are short, threads that look around for each other take no more time than glibc's, which sleep
# (busy.c): beside a busy program on each CPU, on one CPU, there with a real-time priority, too, and with half a CPU
# of a control group's quota.
# (Beside busy programs buffered writes one at a time took forty times as long.)
# alone: it measures
set -eu
program=$TESTS_TOP/build/tests/lanes/busy rounds=7 failures=0
loops=() policy=() group=
ended() {
    [ ${#loops[@]} = 0 ] || kill "${loops[@]}" 2>/dev/null || true
    loops=()
    [ -z "$group" ] || rmdir "$group" || true
    group=
}
trap ended EXIT

# The first two CPUs that may be used
mapfile -t cpus < <(taskset -cp $$ | sed 's/.*: //' | tr , '\n' | while IFS=- read -r from to; do
    seq "$from" "${to:-$from}"
done | head -n 2)

# once SIDE VAR=VALUE...: in the group, if there is one
once() {
    local side=$1 vars=()
    shift
    [ "$side" = glibc ] || vars=(LD_PRELOAD="$KAIO_LIB")
    (
        [ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
        exec "${policy[@]}" taskset -c "$on" env TEST_SIDE="$side" "${vars[@]}" "$@" "$program"
    ) | head -n 1
}

# compare WHERE WALL CPU VAR=VALUE...: the ratios of alternating runs are at most these, in the middle (the median of the
# pairs) or at best (the second fastest of either side). The scheduler puts the two threads of a request now on one CPU,
# now on two, and keeps to it for a whole run, under either library; on two a wake is an interrupt, and in some virtual
# machines a request then takes ten times as long. What the library costs itself shows in both.
compare() {
    local where=$1 wall=$2 cpu=$3 glibc shim
    shift 3
    for ((i = 0; i < rounds; i++)); do
        if ((i % 2)); then glibc=$(once glibc "$@") shim=$(once shim "$@"); else shim=$(once shim "$@") glibc=$(once glibc "$@"); fi
        echo "$glibc $shim"
    done >pairs
    middle() { awk -v at="$1" '{ print $(at + 2) / $at }' pairs | sort -g | sed -n "$((rounds / 2 + 1))p"; }
    second() { cut -d ' ' -f "$1" pairs | sort -n | sed -n 2p; }
    best() { awk -v glibc="$(second "$1")" -v shim="$(second $(($1 + 2)))" 'BEGIN { print shim / glibc }'; }
    within() { awk -v w="$1" -v c="$2" -v wall="$wall" -v cpu="$cpu" 'BEGIN { exit !(w <= wall && c <= cpu) }'; }
    echo "note: $where, $*: wall $(middle 1), CPU $(middle 2) of glibc's; at best $(best 1) and $(best 2)"
    if ! within "$(middle 1)" "$(middle 2)" && ! within "$(best 1)" "$(best 2)"; then
        echo "$where, $*: slower than glibc"
        cat pairs
        failures=$((failures + 1))
    fi
}

# A system call's microseconds. The library makes two or three more than glibc's AIO for a buffered write
# (docs/measurements.md), which count where calls are slow (0.1 us, in some virtual machines 1.3).
call=$(DEPTH=0 "$program" | head -n 1)
echo "note: a system call takes $call us"
plus() { awk -v limit="$1" -v each="$2" -v call="$call" 'BEGIN { print limit + each * call }'; }

# all WHERE [FIRST LAST EACH]: the margins are for other work on the machine. The last is long enough that its first tenth of a second,
# in which it takes up to 1.4 of glibc's time beside busy programs, does not decide.
all() {
    local each=${4-0.6}
    compare "$1" "$(plus "${2-1.3}" 0.2)" "$(plus "${2-1.3}" 0.2)" DEPTH=32 READS=1 REQUESTS=10000
    compare "$1" "$(plus "${2-1.5}" "$each")" "$(plus "${2-1.5}" "$each")" DEPTH=1 READS=0 REQUESTS=3000
    compare "$1" "$(plus "${3-1.2}" "$each")" "$(plus "${3-1.3}" "$each")" DEPTH=32 READS=0 REQUESTS=40000
}

on=${cpus[0]}
all "one CPU"
if chrt -f 1 true 2>/dev/null; then
    policy=(chrt -f 1)
    all "one CPU, real-time priority" 1.6 2.1 0.8 # no thread preempts another, glibc's best case: signal masks and looks count
    policy=()
else
    echo "skipped, real-time priority: not allowed here"
fi

if [ ${#cpus[@]} = 2 ]; then
    on=${cpus[0]},${cpus[1]}
    for cpu in "${cpus[@]}"; do
        taskset -c "$cpu" bash -c 'while :; do :; done' &
        loops+=($!)
    done
    all "busy CPUs"
    ended
else
    echo "skipped, busy CPUs: there is one only"
fi

# quota DIRECTORY FILE VALUE: a group of our own there
quota() {
    [ -w "$1/cgroup.procs" ] && mkdir "$1/kaio-busy.$$" 2>/dev/null || return
    group=$1/kaio-busy.$$
    echo "$3" 2>/dev/null >"$group/$2" || { ended; return 1; }
}
if quota /sys/fs/cgroup/cpu cpu.cfs_quota_us 50000 || quota /sys/fs/cgroup cpu.max "50000 100000"; then
    all "half a CPU"
    ended
else
    echo "skipped, half a CPU: no control group can be made here"
fi
[ $failures = 0 ] || {
    [ "${TEST_SLOW:-1}" -lt 4 ] && exit 1
    echo "no verdict beside other work, which makes this machine $TEST_SLOW times as slow: $failures slower than glibc"
    exit 77
}
