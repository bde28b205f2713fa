#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Threads that look around for each other do not keep the one CPU that is left from each other: buffered writes
# (one_cpu.c) cost no more of it than under glibc, where nobody looks around. (They did: three times as much.)
set -eu
program=$TESTS_TOP/build/tests/lanes/one_cpu
least() { for _ in 1 2 3; do "$@" "$program" | head -n 1; done | sort -n | head -n 1; }
glibc=$(least env TEST_SIDE=glibc)
shim=$(least env TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB")
echo "$glibc us of CPU time a request under glibc, $shim here"
[ "$shim" -le $((glibc * 3 / 2 + 2)) ]
