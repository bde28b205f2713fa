#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What runs the tests: a pattern without a test is a mistake, limits count what the machine gives, what hangs ends
# all the same, and install-needs writes to no name that another user could have put there.
# alone: it keeps every CPU busy
set -eu
fail() { echo "$1"; exit 1; }
status=0
"$TESTS_TOP/tests/run" nosuch >out 2>errors || status=$?
[ $status = 2 ] && [ "$(cat errors)" = "run: no test's name contains 'nosuch'; they are tests/api/*.c and tests/*/*.sh" ] ||
    fail "nosuch: $status: $(cat out errors)"

# a tree of tests that are none: one that hangs, one that tells how slow the machine is
mkdir -p tree/tests/room tree/tests/api tree/tests/lib
cp "$TESTS_TOP/tests/run" tree/tests
cp -r "$TESTS_TOP/tests/lib/run.d" tree/tests/lib
# shellcheck disable=SC2016 # for the script
echo 'echo $BASHPID >"$TESTS_TOP/pid"; exec sleep 1000' >tree/tests/room/hangs.sh
# shellcheck disable=SC2016 # for the script
echo 'echo "$TEST_SLOW"; timeout 1 sleep 2 || exit 1; exit 77' >tree/tests/room/tells.sh
printf '#include "test.h"\nstatic void test(void) { alarm(1); sleep_ms(2000); }\n' >slow.c
gcc -std=gnu11 -I"$TESTS_TOP/tests/lib" -o slow slow.c
export TEST_LONG=1 TEST_LIMIT=1
status=0
TEST_SLOW=3 tree/tests/run hangs >out 2>&1 || status=$?
[ $status = 1 ] && grep -q 'FAIL room/hangs (status 124)' out || fail "hangs: $(cat out)"
! kill -0 "$(cat tree/pid)" 2>/dev/null || fail "it goes on"
TEST_LIMIT=100 TEST_SLOW=4 tree/tests/run tells >out 2>&1 && grep -q 'skip room/tells: 4' out || fail "timeout: $(cat out)"
TEST_LIMIT=100 TEST_SLOW=1 tree/tests/run tells >out 2>&1 && fail "timeout ends nothing: $(cat out)"
TEST_SLOW=4 ./slow >/dev/null || fail "alarm()"
{ TEST_SLOW=1 ./slow >/dev/null; } 2>/dev/null && fail "alarm() ends nothing"

# ended, with something mounted: nothing is left
if unshare -m true 2>/dev/null; then
    # shellcheck disable=SC2016 # for the script
    printf '%s\n' 'mkdir at; mount -t tmpfs none at; mkdir at/below; mount -t tmpfs none at/below' \
        ': >at/file; : >"$TESTS_TOP/mounted"; exec sleep 1000' >tree/tests/room/mounts.sh
    mkdir scratch
    TMPDIR=$PWD/scratch TEST_LIMIT=100 setsid tree/tests/run mounts >out 2>&1 &
    until [ -e tree/mounted ]; do sleep 0.1; done
    kill -- -$!
    wait $! || true
    [ -z "$(ls scratch)" ] && ! grep -q "$PWD/scratch" /proc/mounts || fail "left: $(find scratch; grep scratch /proc/mounts)"
else
    echo "skipped, what a test that is ended leaves mounted: nothing can be mounted here"
fi

# cases: one alone, one that is none, and a difference or an end names where it shows
cat >tree/tests/api/odd.c <<'C'
#include "test.h"
static void test(void) {
    CASE("same") say("same");
    CASE("differs") say(is_shim() ? "one" : "another");
    CASE("dies") if (is_shim()) abort();
    CASE("after") say("after");
}
C
mkdir -p tree/build/tests/api tree/build/debug
gcc -std=gnu11 -I"$TESTS_TOP/tests/lib" -o tree/build/tests/api/odd tree/tests/api/odd.c
cp "$KAIO_LIB" tree/build
cp "$TESTS_TOP/build/debug/libkaio.so" tree/build/debug
export TEST_LIMIT=100 TEST_SLOW=1
tree/tests/run api/odd:same >out 2>&1 && grep -q '^5 passed, 0 failed' out || fail "one case: $(cat out)"
TEST_SETTINGS="auto shallow" tree/tests/run api/odd:same >out 2>&1 && grep -q '^2 passed, 0 failed' out || fail "settings: $(cat out)"
TEST_SETTINGS="auto other" tree/tests/run api/odd:same >out 2>&1 && fail "no such setting: $(cat out)"
grep -q 'no setting is called other; there are: auto warm shallow worker fd-order' out || fail "no such setting: $(cat out)"
tree/tests/run api/odd:other >out 2>&1 && fail "no such case: $(cat out)"
grep -q 'no case other; there are: same differs dies after' out || fail "no such case: $(cat out)"
tree/tests/run api/odd:differs >out 2>&1 && fail "a difference: $(cat out)"
[ "$(grep -c '^FAIL api/odd:differs [a-z-]* (status 1)' out)" = 5 ] || fail "a difference: $(cat out)"
tree/tests/run odd >out 2>&1 && fail "an end: $(cat out)"
[ "$(grep -c '^FAIL api/odd:dies [a-z-]* (status 134)' out)" = 5 ] || fail "an end: $(cat out)"
sed -i '/dies/d' tree/tests/api/odd.c
gcc -std=gnu11 -I"$TESTS_TOP/tests/lib" -o tree/build/tests/api/odd tree/tests/api/odd.c
tree/tests/run odd >out 2>&1 && fail "a difference among others: $(cat out)"
[ "$(grep -c '^FAIL api/odd:differs [a-z-]* (status 1)' out)" = 5 ] || fail "a difference among others: $(cat out)"
export TEST_LIMIT=1

# beside other work that begins with a test: it fails, and is tried again
cat >tree/tests/room/slows.sh <<'S'
[ ! -e "$TESTS_TOP/slows" ] || exit 0
for _ in $(seq $((10 * $(nproc)))); do
    setsid sh -c 'while :; do :; done' &
    echo $! >>"$TESTS_TOP/slows"
done
exit 1
S
trap 'kill $(cat tree/slows)' EXIT
unset TEST_SLOW
TEST_LIMIT=100 tree/tests/run slows >out 2>&1 && grep -q '^ok   room/slows (.* s, again: ' out || fail "slows: $(cat out)"
TEST_LIMIT=100 tree/tests/run tells >out 2>&1 || fail "beside busy loops: $(cat out)"
slow=$(sed -n 's/^skip room.tells: //p' out)
[ "$slow" -ge 2 ] && [ "$slow" -le 40 ] || fail "beside busy loops: $(cat out)"

# apt-get's log: a new file, for the owner only; an installation that was cut off is ended first
mkdir bin
# shellcheck disable=SC2016 # for the script
printf '#!/bin/sh\nlog=$(readlink /proc/$$/fd/1)\nstat -c "%%n %%a" "$log" >>"$LOGS"; [ -e "$LOGS.configured" ] || echo early >>"$LOGS"; exit 1\n' >bin/apt-get
# shellcheck disable=SC2016 # for the script
printf '#!/bin/sh\n[ "$*" != "--configure -a" ] || : >"$LOGS.configured"\n' >bin/dpkg
printf '#!/bin/sh\nexit 1\n' >bin/dpkg-query
printf '#!/bin/sh\necho 0\n' >bin/id
chmod +x bin/*
LOGS=$PWD/logs TMPDIR=$PWD PATH=$PWD/bin:$PATH "$TESTS_TOP/scripts/install-needs" nothing 2>errors && fail "it failed, but exit 0"
[[ "$(head -n 1 logs)" =~ ^$PWD/kaio-apt\.[A-Za-z0-9]{6}\ 600$ ]] || fail "the log: $(cat logs errors)"
! grep -q early logs || fail "apt-get ran before dpkg --configure -a"
