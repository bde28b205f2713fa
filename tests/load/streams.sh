#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 10,000 reads of idle streams are pending (streams.c): for all of them one thread, and nothing is lost.
set -euo pipefail
LD_PRELOAD=$KAIO_LIB "$TESTS_TOP/build/tests/load/streams" | tee log
grep -q '^skipped' log || [ "$(awk '/ threads$/ { print $1 }' log)" -le 2 ]
