#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the build finds is part of what it depends on: a header that was not there, other flags. A warning is an error
# only with WERROR=1. With TEST_LONG and as root README's two commands in README's order in a bare Debian 12:
# scripts/demo, which builds without <sys/sdt.h>, then scripts/test, which installs it (command/stats looks for
# the probes).
# alone with TEST_LONG: it runs all tests
set -eu
fail() { echo "$1"; exit 1; }
mkdir tree
cp -r "$TESTS_TOP"/{Makefile,shim,record} tree

# the system's headers without <sys/sdt.h>
cp -rs /usr/include include
rm -f include/sys/sdt.h include/*/sys/sdt.h
own=$(gcc -print-file-name=include)
compiler="gcc -nostdinc -isystem $own -isystem $PWD/include -isystem $PWD/include/$(gcc -print-multiarch)"
# builds: what make does, by the number of compilations
builds() { make -C tree CC="$compiler" "$@" build/shim/core/rule.o >log 2>&1 || fail "make $*: $(tail log)"; grep -c -e ' -c -o ' log || true; }
probes() { if readelf -SW tree/build/shim/core/rule.o | grep -q '\.probes'; then echo yes; else echo no; fi; }

[ "$(builds)" = 1 ] && [ "$(probes)" = no ] || fail "without the header: $(tail -n 3 log)"
[ "$(builds)" = 0 ] || fail "built anew for nothing: $(tail -n 3 log)"
mkdir -p include/sys
cat >include/sys/sdt.h <<'H'
#define STAP_PROBEV(...) __asm__ volatile(".pushsection .probes, \"\", @progbits\n\t.long 1\n\t.popsection")
H
[ "$(builds)" = 1 ] && [ "$(probes)" = yes ] || fail "the header has come, and the build does not know: $(tail -n 3 log)"
[ "$(builds)" = 0 ] || fail "built anew for nothing: $(tail -n 3 log)"
rm include/sys/sdt.h
[ "$(builds)" = 1 ] && [ "$(probes)" = no ] || fail "the header has gone: $(tail -n 3 log)"
[ "$(builds CFLAGS=-O1)" = 1 ] || fail "other flags: $(tail -n 3 log)"
[ "$(builds CFLAGS=-O1)" = 0 ] || fail "built anew for nothing: $(tail -n 3 log)"

echo 'static int unused;' >>tree/shim/core/rule.c
[ "$(builds CFLAGS=-O1 WERROR=)" = 1 ] && grep -q 'warning: .*unused' log || fail "a warning: $(tail -n 3 log)"
touch tree/shim/core/rule.c
if make -C tree CC="$compiler" CFLAGS=-O1 WERROR=1 build/shim/core/rule.o >log 2>&1; then fail "WERROR=1: a warning is no error"; fi

[ "${TEST_LONG-}" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null; then
    echo "skipped, README's commands in a bare Debian 12: not root, or no mmdebstrap"
    exit 0
fi
root=$PWD/root
mmdebstrap --variant=minbase bookworm "$root" >log 2>&1 || {
    echo "skipped, README's commands in a bare Debian 12: no mirror: $(tail -n 1 log)"
    exit 0
}
mkdir "$root/libkaio"
tar -C "$TESTS_TOP" --exclude ./build --exclude ./.git -c . | tar -C "$root/libkaio" -x
echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts" # what installers write
# inside COMMAND: its mounts are its own, and end with it
inside() {
    # shellcheck disable=SC2016 # for the shell in the namespace
    unshare -m bash -c 'mount --bind "$0" "$0"; for place in proc sys dev; do mount --rbind "/$place" "$0/$place"; done
        exec chroot "$0" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -c "cd /libkaio && $1"' "$root" "$1" >log 2>&1 ||
        fail "$1: $(grep ^FAIL log) $(grep -A 9 ^FAIL log || tail -n 40 log)"
}
inside scripts/demo
[ "$(readelf -n "$root/libkaio/build/libkaio.so" | grep -c 'Provider: libkaio')" = 0 ] || fail "the machine was not bare"
inside scripts/test
grep -q '^ok   command/stats' log && ! grep -q 'skipped, probes' log || fail "no probes: $(tail -n 3 log)"
echo "note: scripts/test in a bare Debian 12: $(tail -n 2 log | tr '\n' ' ')"
