#!/usr/bin/env bash
# The rows of scripts/matrix that take seconds: i386, and arm64 by qemu-user. The others: scripts/matrix.
set -eu
if [ "$(id -u)" != 0 ] || ! command -v i686-linux-gnu-gcc aarch64-linux-gnu-gcc qemu-aarch64-static >/dev/null; then
    echo "skipped, other machines: not root, or no cross compilers (scripts/test installs them)"
    exit 0
fi
export MATRIX_DIR=$PWD/matrix
"$TESTS_TOP/scripts/matrix" cross/i386 api/basic api/files api/offsets
"$TESTS_TOP/scripts/matrix" cross/aarch64 api/basic
