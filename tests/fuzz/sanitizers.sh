#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs of tests/api, and random ones (fuzz.c), with library and program built under ASan and
# UBSan, and under TSan (make SANITIZE=...), and as they are under valgrind's memcheck. What the tool
# reports is a failure, and so is output that is not glibc's. A few of them; with TEST_LONG all, and
# tests/load/load.
#   sanitizers.sh TOOL [PROGRAM]...   only these; tools: asan tsan memcheck (KAIO_LIB, TESTS_TOP are set)
set -u
reports=$PWD/reports
mkdir -p "$reports"
failures=0

# What a tool cannot run, and why.
declare -A skips=(
    [asan/fork]="gcc 12's ASan takes no lock of its allocator around fork(): a child beside threads may hang"
    [asan/process]="the same"
    [asan/lifetime]="measures memory, which ASan keeps"
    [asan/suspend]="gcc 12's ASan keeps poisoned the frames that a cancellation leaves; destructors then run there"
    [tsan/fork]="gcc 12's TSan starts no threads in a child of a process with threads"
    [tsan/process]="the same"
    [tsan/lifetime]="measures memory, which TSan keeps"
    [tsan/handler]="TSan delays a handler until its thread makes a call that TSan knows, and keeps one signal"
    [tsan/list]="the same: a wait that a handler shall interrupt"
    [tsan/signals]="the same"
    [tsan/notify]="TSan wants more stack than its smallest threads have, and says so in a report"
    [tsan/suspend]="the same"
    [tsan/stuck]="its threads wait for requests that others are just making, and its handler sets errno"
    [memcheck/errors]="its bad buffers are what memcheck reports"
    [memcheck/joined]="the same"
    [memcheck/stream_errors]="the same"
    [memcheck/terminal]="the same"
    [memcheck/calls]="its handlers run on stacks that memcheck does not know"
    [memcheck/lifetime]="measures memory, which valgrind uses, too"
    [memcheck/stuck]="valgrind knows no userfaultfd"
    [memcheck/progress]="its rounds are processes of their own, too many for valgrind to start"
    [tsan/suspend_many]="gcc 12's TSan dies when a thread gets the pthread_t of one that has just ended"
)
# Only reports count: the tool has descriptors, stacks and address space of its own, delays handlers, or writes
# what is in a child's buffers.
own_output=" asan/terminal tsan/descriptors tsan/no_descriptors tsan/terminal tsan/many_lists "
own_output+="memcheck/descriptors memcheck/many_lists memcheck/notify memcheck/list memcheck/process memcheck/fork "

personality=()
setarch -R true 2>/dev/null && personality=(setarch -R) # TSan needs its addresses free
export ASAN_OPTIONS="log_path=$reports/report detect_leaks=0"
# libbacktrace, which names the functions in a report, calls close(), which is ours: TSan would hang
export TSAN_OPTIONS="log_path=$reports/report die_after_fork=0 symbolize=0"
export UBSAN_OPTIONS=print_stacktrace=1

# run TOOL VARS PROGRAM ARGS...
run() {
    local tool=$1 vars=$2 program=$3 lib=$KAIO_LIB
    shift 3
    local built=$TESTS_TOP/build command=()
    case $tool in
    memcheck) # which runs one thread at a time, so none shall spin for another
        command=(taskset -c 0 valgrind -q --error-exitcode=66 --log-file="$reports/report.%p") ;;
    tsan) # libkaio first: who closes a descriptor waits for the library's use of it, and TSan sees it then
        built+=/tsan
        lib=$built/libkaio.so
        ;;
    asan)
        built+=/asan
        lib="$(gcc -print-file-name=libasan.so) $built/libkaio.so"
        ;;
    esac
    # shellcheck disable=SC2086 # several words
    timeout -k 1 100 "${personality[@]}" env $vars TEST_SIDE=shim LD_PRELOAD="$lib" "${command[@]}" \
        "$built/tests/$program" "$@" </dev/null
}

# The functions of the library in a report of TSan.
names() {
    local line at
    while IFS= read -r line; do
        at=$(sed -n 's/.*<null>.*libkaio.so+\(0x[0-9a-f]*\)).*/\1/p' <<<"$line")
        if [ "$at" ]; then addr2line -sfpe "$TESTS_TOP/build/tsan/libkaio.so" "$at"; else echo "$line"; fi
    done
}

# verdict STATUS WHAT FILE: FILE holds what it printed
verdict() {
    find reports -type f -empty -delete
    if [ "$1" != 0 ] || [ "$(ls reports)" ]; then
        echo "FAILED, status $1: $2"
        failures=$((failures + 1))
        find reports -type f -exec cat {} + | head -n 80 | names
        tail -n 20 "$3"
    fi
    rm -f reports/*
}

# api TOOL VARS PROGRAM
api() {
    local tool=$1 vars=$2 program=$3 status=0 warm=
    [[ $vars != *TEST_WARM* ]] || warm=TEST_WARM=1
    mkdir -p glibc shim
    (cd glibc && env $warm TEST_SIDE=glibc timeout 100 "$TESTS_TOP/build/tests/api/$program") \
        >expected 2>&1 </dev/null || { echo "broken under glibc: $program"; exit 1; }
    (cd shim && run "$tool" "$vars" "api/$program") >log 2>&1 || status=$?
    if [[ $own_output != *" $tool/$program "* ]]; then
        diff expected log >difference || { [ $status != 0 ] || status=1; cp difference log; }
    fi
    verdict $status "$tool $vars $program" log
    rm -rf glibc shim
}

# fuzz TOOL SECONDS OPS: without f (forks) and h (handlers), for TSan n (notifications), see above
fuzz() {
    local end=$((SECONDS + $2)) seed=1 status without=fh
    [ "$1" != tsan ] || without=fhn
    local settings=("" KAIO_MODE=worker "KAIO_DEPTH=2 KAIO_WORKERS=2" KAIO_ORDER=fd) n=0
    while [ $n = 0 ] || [ $SECONDS -lt $end ]; do
        status=0
        run "$1" "${settings[n % ${#settings[@]}]}" fuzz/fuzz $seed "$3" $without >log 2>&1 || status=$?
        verdict $status "$1 ${settings[n % ${#settings[@]}]} fuzz $seed $3 $without" log
        n=$((n + 1)) seed=$((RANDOM << 15 | RANDOM))
    done
}

# load TOOL SECONDS: under TSan, where a second takes three, notified by threads only. ASan keeps 256 MiB of what was
# freed, which would look like growth.
load() {
    local status=0
    rm -f data.*
    run "$1" "LOAD_SECONDS=$2 ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=1" load/load >log 2>&1 || status=$?
    verdict $status "$1 load" log
    sed -n "s/.* reads, .*/note: $1: &/p" log
}

build() {
    local targets=("$@")
    make -s -C "$TESTS_TOP" -j2 SANITIZE=address,undefined "${targets[@]/#/build/asan/}" &&
        make -s -C "$TESTS_TOP" -j2 SANITIZE=thread "${targets[@]/#/build/tsan/}" || exit 1
}

# tool TOOL SETTING PROGRAM...
tool() {
    local name=$1 setting=$2 program
    shift 2
    for program; do
        if [ "${skips[$name/$program]-}" ]; then
            echo "skipped $name $program: ${skips[$name/$program]}"
        else
            api "$name" "$setting" "$program"
        fi
    done
}

all=()
for source in "$TESTS_TOP"/tests/api/*.c; do all+=("$(basename "$source" .c)"); done
if [ $# -gt 0 ]; then
    name=$1
    shift
    [ $# -gt 0 ] || set -- "${all[@]}"
    build libkaio.so "${@/#/tests/api/}"
    settings=("" TEST_WARM=1)
    [ "$name" != memcheck ] || settings=(KAIO_MODE=worker)
    for setting in "${settings[@]}"; do tool "$name" "$setting" "$@"; done
elif [ -n "${TEST_LONG-}" ]; then
    build libkaio.so tests/fuzz/fuzz tests/load/load "${all[@]/#/tests/api/}"
    for name in asan tsan; do
        for setting in "" TEST_WARM=1; do tool $name "$setting" "${all[@]}"; done
        fuzz $name 60 4000
    done
    load asan 20
    load tsan 10
    tool memcheck KAIO_MODE=worker "${all[@]}" # valgrind does not know all of io_submit()
else
    build libkaio.so tests/fuzz/fuzz tests/api/{basic,cancel,list}
    for name in asan tsan; do
        tool $name TEST_WARM=1 basic cancel
        fuzz $name 4 500
    done
    tool asan TEST_WARM=1 list
    tool memcheck KAIO_MODE=worker basic cancel
fi
exit $((failures > 0))
