#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The row of scripts/matrix for arm64 by qemu-user, the part that takes seconds.
set -eu
if [ "$(id -u)" != 0 ] || ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
    echo "skipped, arm64: not root, or no cross compiler (scripts/test installs it)"
    exit 0
fi
MATRIX_DIR=$PWD/matrix "$TESTS_TOP/scripts/matrix" cross/aarch64 api/basic
