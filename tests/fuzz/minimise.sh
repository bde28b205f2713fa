#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fuzz.sh finds a library that is broken on purpose (broken/broken.c) and makes the program that shows it
# smaller: fewer operations, and without most kinds of calls. With TEST_LONG broken in two more ways.
set -eu
gcc -O2 -std=gnu11 -Wall -Wextra -Werror -shared -fPIC -pthread -o broken.so "$TESTS_TOP/tests/fuzz/broken/broken.c" -ldl
ways=(lost) seconds=6
[ -z "${TEST_LONG-}" ] || ways=(short lost early) seconds=30
for way in "${ways[@]}"; do
    status=0
    mkdir "$way"
    (cd "$way" && FUZZ_PATIENCE=3 BREAK=$way KAIO_LIB="$PWD/../broken.so $KAIO_LIB" FUZZ_MINIMISE_S=$seconds \
        bash "$TESTS_TOP/tests/fuzz/fuzz.sh" 1 4000 '' KAIO_MODE=worker) >"log.$way" 2>&1 || status=$?
    [ $status != 0 ] || { echo "$way was not found"; cat "log.$way"; exit 1; }
    smaller=$(grep '^smaller:' "log.$way") || { echo "$way was not minimised"; cat "log.$way"; exit 1; }
    read -r _ _ _ _ ops without <<<"$smaller"
    echo "$way: $ops operations without $without"
    [ "$ops" -lt 2000 ] && [ "${#without}" -ge 2 ] || { echo "hardly smaller"; cat "log.$way"; exit 1; }
done
