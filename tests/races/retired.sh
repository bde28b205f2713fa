#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The reaper's record is another's only after its last leave (retired.c).
set -eu
TEST_WARM=1 TEST_SIDE=shim LD_PRELOAD=$KAIO_LIB timeout 60 "$TESTS_TOP/build/tests/races/retired" >log 2>&1 || { cat log; exit 1; }
