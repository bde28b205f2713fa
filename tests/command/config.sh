#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# KAIO_*: every mode does what it says; a bad value is one warning and the default; setuid-style
# programs ignore all of it (secure_getenv), which the unit here cannot show without a setuid copy.
set -eu
dd if=/dev/urandom of=data bs=1M count=1 status=none
every=$TESTS_TOP/build/tests/lib/every
fail() { echo "$1"; exit 1; }
run() { strace -f -o trace -e trace=io_setup,io_submit,clone,clone3 env LD_PRELOAD="$KAIO_LIB" "$@" "$every" data; }

run KAIO_MODE=off
! grep -q 'io_setup' trace || fail "mode off made a context"
grep -q clone trace || fail "mode off: glibc made no thread"
run KAIO_MODE=worker
! grep -q 'io_setup' trace || fail "mode worker made a context"
run KAIO_DEPTH=16
grep -q 'io_setup(16' trace || fail "KAIO_DEPTH=16 is not what io_setup was asked for"

for bad in KAIO_MODE=fast KAIO_DEPTH=0 KAIO_DEPTH=x KAIO_DEPTH=99999999999 KAIO_WORKERS=-1 \
    KAIO_ORDER=file KAIO_LOG= KAIO_STATS= KAIO_LOG=2 KAIO_LOG=-1 KAIO_STATS=2 \
    KAIO_STATS=99999999999999999999; do
    env LD_PRELOAD="$KAIO_LIB" "$bad" "$every" data 2>errors || fail "$bad: the program failed"
    [ "$(wc -l <errors)" = 1 ] || fail "$bad: not one line: $(cat errors)"
    grep -qF "$bad" errors && grep -q accepted errors || fail "$bad: $(cat errors)"
    [ "$(ls)" = "$(printf 'data\nerrors\ntrace')" ] || fail "$bad made a file: $(ls)"
done
env LD_PRELOAD="$KAIO_LIB" "$every" data >out 2>&1
[ ! -s out ] || fail "output without being asked: $(cat out)"

mkdir pages
for directory in pages pages/ "$PWD/pages" ./pages; do
    env LD_PRELOAD="$KAIO_LIB" KAIO_STATS="$directory" KAIO_LOG="$PWD/log" "$every" data >out 2>&1
    [ ! -s out ] || fail "output although files are named: $(cat out)"
done
[ "$(find pages -name 'libkaio-*' | wc -l)" = 4 ] || fail "pages: $(ls pages)"
grep -q 'active: mode auto' log || fail "log: $(cat log)"
