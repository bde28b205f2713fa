#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Where requests queue by priority the order is that of a plain walk (fuzzer/rank.c).
set -eu
gcc -O1 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=address,undefined -I"$TESTS_TOP/shim" \
    -o rank "$TESTS_TOP/tests/fuzz/fuzzer/rank.c"
./rank
