#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Races in windows of a few microseconds, which these programs hold open (hold.h, replace.h) or need not:
# no thread for two callers at a time; a fork beside the first request; a signal that fails while another
# thread asks; no thread for the reaper; a descriptor closed under a thread that is about to use it; a list's
# memory that serves the next while its call goes on; a cancellation of what is just being offered; a fork at
# each instruction of direct.c; how long the lock is held, and signals blocked; handlers where signals are let
# in; a thread's attributes that go while it is started. And what a forked child must not lose (neighbour.c).
set -eu
failures=0
runs=(no_reaper 'direct_call TEST_WARM=1' 'no_worker KAIO_MODE=worker' first_fork
    'failed_signal KAIO_MODE=worker' late_call list_reuse cancel_offered 'stepped TEST_WARM=1' 'held TEST_WARM=1'
    neighbour attributes 'let_in TEST_WARM=1')
for run in "${runs[@]}"; do
    read -ra words <<<"$run"
    status=0
    timeout -k 1 60 env TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB" "${words[@]:1}" \
        "$TESTS_TOP/build/tests/races/${words[0]}" >log 2>&1 || status=$?
    case $status in
    0) grep -q '^done' log || { echo "$run: not done"; failures=1; } ;;
    77) echo "skipped, $run: $(tail -n 1 log)" ;;
    *) echo "$run: status $status"; cat log; failures=1 ;;
    esac
done
exit $failures
