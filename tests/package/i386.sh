#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The row of scripts/matrix for i386, the part that takes seconds.
set -eu
if [ "$(id -u)" != 0 ] || ! command -v i686-linux-gnu-gcc >/dev/null; then
    echo "skipped, i386: not root, or no cross compiler (scripts/test installs it)"
    exit 0
fi
"$TESTS_TOP/tests/lib/runs_i386" || { echo "skipped, i386: this kernel runs no 32-bit programs"; exit 0; }
MATRIX_DIR=$PWD/matrix "$TESTS_TOP/scripts/matrix" cross/i386 api/basic api/files api/offsets
