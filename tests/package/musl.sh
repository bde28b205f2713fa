#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The build for musl (make musl): its programs see the same with it and without, and nothing of glibc is in it.
set -eu
if ! command -v musl-gcc >/dev/null; then
    echo "skipped, musl: no musl-gcc (package musl-tools)"
    exit 0
fi
fail() { echo "$1"; exit 1; }
cp -r "$TESTS_TOP"/{Makefile,shim,record,scripts} .
make -s musl CC=gcc
library=$PWD/build/musl/libkaio-musl.so
! readelf -d "$library" | grep NEEDED | grep -v 'libc\.so\]' || fail "it needs more than musl"

mkdir -p build
cp "$TESTS_TOP"/build/{libkaio.so,libkaio-record.so,kaio} build

read -ra compiler < <(make -s --eval='compiler:;@echo $(MUSL_CC)' compiler CC=gcc)
for name in basic files direct; do
    "${compiler[@]}" -std=gnu11 -O1 -w -I"$TESTS_TOP/tests/lib" -pthread -o $name "$TESTS_TOP/tests/api/$name.c"
    mkdir $name.musl
    (cd $name.musl && TEST_SIDE=glibc ../$name >../expected) || fail "$name by itself: $(tail -n 3 expected)"
    for setting in TEST_WARM=1 KAIO_MODE=worker; do
        (mkdir $name.$setting && cd $name.$setting && env $setting TEST_SIDE=shim LD_PRELOAD="$library" ../$name >../got) ||
            fail "$name, $setting: $(tail -n 3 got)"
        diff -I '^note: ' expected got || fail "$name, $setting: another output"
    done
done
(mkdir kaio && cd kaio && TEST_SIDE=shim KAIO_LOG=1 ../scripts/kaio ../basic >../got 2>../said) || fail "kaio: $(cat said)"
diff -I '^note: ' <(cd basic.musl && TEST_SIDE=glibc ../basic) got || fail "kaio, basic: another output"
grep -q 'active: mode auto' said || fail "kaio has not put the library in front: $(cat said)"
rm -r build/musl
if scripts/kaio ./basic >got 2>said || [ $? != 126 ] || ! grep -q 'make musl' said; then fail "without the library: $(cat said)"; fi
