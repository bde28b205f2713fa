#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The libraries export exactly the functions of debian/libkaio.symbols, under no version, and
# libkaio-record.so needs nothing of libkaio.so. Both run from glibc 2.17 on; they bring the libraries in which
# AIO and dlsym() are before 2.34. The tools need no later glibc, either.
set -eu
exported() { nm -D --defined-only --with-symbol-versions "$1" | awk '{ print $NF }' | LC_ALL=C sort; }
listed() { sed -n "/^$1 /,/^[^ ]/s/^ \([^(].*\)@Base .*/\1/p" "$TESTS_TOP/debian/libkaio.symbols" | LC_ALL=C sort; }
exported "$KAIO_LIB" | diff <(listed libkaio.so) -
exported "$TESTS_TOP/build/libkaio-record.so" | diff <(listed libkaio-record.so) -
if nm -D --undefined-only "$TESTS_TOP/build/libkaio-record.so" | grep kaio; then exit 1; fi

# early FILE: needs no version of glibc above 2.17
early() {
    objdump -p "$1" | sed -n '/^Version References/,$s/.* GLIBC_//p' | sort -V >versions
    [ -s versions ] && [ "$(echo 2.17 | sort -V - versions | tail -n 1)" = 2.17 ] || { echo "$1 needs $(tail -n 1 versions)"; exit 1; }
}
for library in "$KAIO_LIB" "$TESTS_TOP/build/libkaio-record.so"; do
    early "$library"
    needed=$(objdump -p "$library" | awk '/^ *NEEDED/ { print $2 }' | sort | paste -sd' ')
    [ "$needed" = "libc.so.6 libdl.so.2 librt.so.1" ] || { echo "$library is linked with $needed"; exit 1; }
done
for tool in kaio kaio-measure; do early "$TESTS_TOP/build/$tool"; done
