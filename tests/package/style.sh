#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang has no warning, as gcc has none (make); scripts pass shellcheck; each source names its licence, which is no part of
# a command's help; docs/usage.md shows the options as the table has them; nothing but sources lies in the tree.
set -eu
cd "$TESTS_TOP"
find scripts tests .ci debian -type f | while read -r file; do
    if [ "${file##*.}" = sh ] || head -n 1 "$file" | grep -q '^#!.*sh$'; then echo "$file"; fi
done | xargs shellcheck -x
for source in shim/*.c shim/*/*.c record/*.c tools/*.c; do # gcc: when it is built
    clang -std=gnu11 -D_GNU_SOURCE -Ishim -pthread -DKAIO_VERSION='""' -Wall -Wextra -Werror -fsyntax-only "$source"
done
# What a program left behind is large, or no text.
left=$(find . \( -path ./build -o -path ./.git \) -prune -o -type f -size +1M -print
    grep -rlPa --exclude-dir=build --exclude-dir=.git --exclude-dir=__pycache__ '\x00' . || true)
[ -z "$left" ] || { echo "no sources: $left"; exit 1; }
unnamed=$(grep -rL --exclude='*.md' --exclude-dir=__pycache__ 'SPDX-License-Identifier: MIT' \
    Makefile shim record tools scripts tests .ci man debian/rules debian/tests/api)
[ -z "$unnamed" ] || { echo "without a line SPDX-License-Identifier: $unnamed"; exit 1; }
for command in run ab check record; do
    if scripts/kaio $command --help | grep SPDX; then exit 1; fi
done
build/kaio --internal markdown | while read -r line; do
    grep -qF -- "$line" docs/usage.md || { echo "docs/usage.md has not: $line"; exit 1; }
done
