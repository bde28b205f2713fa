#!/usr/bin/env bash
# What is built does not depend on the directory or the time: two trees, one of them reached by a link, give the same
# libraries, tools and manual, byte for byte.
set -eu
fail() { echo "$1"; exit 1; }
mkdir -p one another/place
for tree in one another/place; do # as new as a clone
    tar -C "$TESTS_TOP" --exclude ./build --exclude ./.git -c . | tar -C $tree -xm
done
ln -s another/place link
for tree in one link; do
    (cd $tree && make -s -j2 all) >log 2>&1 || fail "make all in $tree: $(tail log)"
done
(cd one/build && find . -maxdepth 2 \( -name '*.so' -o -name 'kaio-*' -o -path './man/*' \) -type f | sort) >built
[ "$(grep -c . built)" = 8 ] || fail "built: $(cat built)"
while read -r file; do
    cmp "one/build/$file" "link/build/$file" || fail "$file depends on where it is built"
done <built
