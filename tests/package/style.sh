#!/usr/bin/env bash
# Builds without a warning with gcc and clang; scripts pass shellcheck; README shows the options as
# the table has them.
set -eu
cd "$TESTS_TOP"
find scripts tests .ci -type f | while read -r file; do
    if [ "${file##*.}" = sh ] || head -n 1 "$file" | grep -q '^#!.*sh$'; then echo "$file"; fi
done | xargs shellcheck -x
for compiler in gcc clang; do
    for source in shim/*.c shim/*/*.c record/*.c tools/*.c; do
        $compiler -std=gnu11 -D_GNU_SOURCE -Ishim -fPIC -fvisibility=hidden -pthread -O2 -DKAIO_VERSION='""' -Wall -Wextra \
            -Werror -c -o /dev/null "$source"
    done
done
build/kaio-check --markdown | while read -r line; do
    grep -qF -- "$line" README.md || { echo "README.md has not: $line"; exit 1; }
done
