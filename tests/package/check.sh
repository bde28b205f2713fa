#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make check, as a user builds it: without root, with nothing in the environment, its files in TMPDIR. Of tests/api one
# program stands for all, which tests/run runs besides.
set -eu
public=$(mktemp -d "${TMPDIR:-/var/tmp}/kaio-check.XXXXXX") # the test's own directory is root's
trap 'rm -rf "$public"' EXIT
mkdir "$public/tree" "$public/tmp"
tar -C "$TESTS_TOP" --exclude ./build --exclude ./.git -c . | tar -C "$public/tree" -x
find "$public/tree/tests/api" -name '*.c' ! -name basic.c -delete
user=()
if [ "$(id -u)" = 0 ]; then
    chown -R 65534 "$public"
    user=(setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs)
fi
cd "$public/tree"
"${user[@]}" env -i PATH=/usr/bin:/bin TMPDIR="$public/tmp" TEST_SLOW="${TEST_SLOW-}" make -s check >"$public/log" 2>&1 &&
    grep -qx '1 passed, 0 failed, 0 skipped' "$public/log" || { tail -n 30 "$public/log"; exit 1; }
[ -z "$(ls "$public/tmp")" ] || { echo "left in TMPDIR: $(ls "$public/tmp")"; exit 1; }
