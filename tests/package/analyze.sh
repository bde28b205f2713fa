#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make analyze: gcc -fanalyzer, cppcheck, clang-tidy and clang's look at the lock find nothing, and that one finds
# what is touched without it.
set -eu
make -s -j2 -C "$TESTS_TOP" analyze
sed 's/^LOCKED \(.*release(\)/\1/' "$TESTS_TOP/shim/core/order.c" >order.c
if clang -std=gnu11 -D_GNU_SOURCE -I"$TESTS_TOP/shim" -Wthread-safety -Werror -fsyntax-only order.c 2>log; then
    echo "a LOCKED less is not found"
    exit 1
fi
grep -q "requires holding lock 'kaio_the_lock'" log
