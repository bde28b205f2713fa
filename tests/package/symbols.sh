#!/usr/bin/env bash
# The libraries export exactly the functions of symbols.txt and symbols-record.txt, under no version, and
# libkaio-record.so needs nothing of libkaio.so.
set -eu
exported() { nm -D --defined-only --with-symbol-versions "$1" | awk '{ print $NF }' | LC_ALL=C sort; }
exported "$KAIO_LIB" | diff "$TESTS_TOP/tests/package/symbols.txt" -
exported "$TESTS_TOP/build/libkaio-record.so" | diff "$TESTS_TOP/tests/package/symbols-record.txt" -
if nm -D --undefined-only "$TESTS_TOP/build/libkaio-record.so" | grep kaio; then exit 1; fi
