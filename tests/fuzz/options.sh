#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# libFuzzer on the parsing of the KAIO_* variables (fuzzer/options.c), with ASan and UBSan: some seconds;
# with TEST_LONG a minute.
set -eu
seconds=2
[ -z "${TEST_LONG-}" ] || seconds=60
clang -std=gnu11 -D_GNU_SOURCE -I"$TESTS_TOP/shim" -I"$TESTS_TOP/shim" -pthread -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -o options "$TESTS_TOP/tests/fuzz/fuzzer/options.c"
mkdir corpus
i=0
for value in auto kernel off 256 99999999999 -1 0 1 live fd "$PWD/log.%p" %p%p "$(printf %1023s x)" "$(printf %1040s x)"; do
    for option in 0 1 2 3 4 5 6; do
        # shellcheck disable=SC2059 # the number of the option as a byte
        { printf "\\x0$option"; printf %s "$value"; } >"corpus/$((i += 1))"
    done
done
./options -max_total_time=$seconds -max_len=1200 -len_control=0 -close_fd_mask=2 -timeout=5 corpus >log 2>&1 ||
    { echo "the parser fails, input in $PWD:"; tail -n 25 log; exit 1; }
