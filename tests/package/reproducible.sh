#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What is built does not depend on the directory or the time: two trees, one of them reached by a link, give the same
# libraries, tools and manual, byte for byte; with TEST_LONG packages, too. Beside these make deb leaves nothing.
set -eu
fail() { echo "$1"; exit 1; }
unset SOURCE_DATE_EPOCH                                   # debian/changelog has one
export CFLAGS='-O1 -g' DEB_CFLAGS_SET='-O1 -g' WERROR='' # faster; and the Makefile by itself, without dpkg's flags
goals=all wanted=10
if [ "${TEST_LONG-}" ]; then
    if command -v rpmbuild >/dev/null; then goals+=' rpm' wanted=$((wanted + 2)); else echo "skipped, make rpm: no rpmbuild"; fi
    if command -v dh >/dev/null; then
        goals+=' deb' wanted=$((wanted + 4)) # with those of debugging symbols
    else
        echo "skipped, make deb: no debhelper"
    fi
fi
mkdir -p one another/place
for tree in one another/place; do # as new as a clone
    tar -C "$TESTS_TOP" --exclude ./build --exclude ./.git -c . | tar -C $tree -xm
done
ln -s another/place link
find one another ! -path 'one/build*' ! -path '*/place/build*' | sort >before
for tree in one link; do
    # shellcheck disable=SC2086 # several words
    (cd $tree && make -s -j2 $goals) >log 2>&1 || fail "make $goals in $tree: $(tail log)"
done
find one another ! -path 'one/build*' ! -path '*/place/build*' | sort | diff before - || fail "make $goals leaves files"
(cd one/build && find . -maxdepth 2 \( -name '*.so' -o -name kaio -o -name 'kaio-*' -o -path './man/*' -o -path './completion/*' -o -name '*.rpm' -o -name '*.deb' \) -type f | sort) >built
[ "$(wc -l <built)" = $wanted ] || fail "built: $(cat built)"
while read -r file; do
    cmp "one/build/$file" "link/build/$file" || fail "$file depends on where it is built"
done <built
