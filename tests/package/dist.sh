#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make dist: an archive with the version in its name, of all that is committed, from which everything builds; make rpm:
# packages that install where glibc is 2.17, and whose command works.
set -eu
fail() { echo "$1"; exit 1; }
version=$(sed -n 's/^VERSION = //p' "$TESTS_TOP/Makefile")
grep -qx "Version: $version" "$TESTS_TOP/scripts/libkaio.spec" || fail "libkaio.spec has another version than Makefile"
if git -C "$TESTS_TOP" rev-parse HEAD >/dev/null 2>&1; then
    make -s -C "$TESTS_TOP" dist >log 2>&1 || fail "make dist: $(cat log)"
    tar -xf "$TESTS_TOP/build/libkaio-$version.tar.gz"
    git -C "$TESTS_TOP" ls-tree -r --name-only HEAD | sort >committed
    (cd "libkaio-$version" && find . ! -type d -printf '%P\n') | sort | diff committed - || fail "the archive has other files"
    make -s -C "libkaio-$version" all >log 2>&1 || fail "the archive does not build: $(tail log)"
    [ "$("libkaio-$version/scripts/kaio" --version)" = "libkaio $version" ] || fail "the archive's kaio"
else
    echo "skipped, make dist: not a checkout"
fi

command -v rpmbuild >/dev/null || { echo "skipped, make rpm: no rpmbuild"; exit 0; }
SOURCE_DATE_EPOCH=1700000000 make -s -C "$TESTS_TOP" rpm >log 2>&1 || fail "make rpm: $(tail log)"
for package in libkaio kaio; do
    file=$TESTS_TOP/build/$package-$version-1.x86_64.rpm
    [ "$(rpm -qp --qf '%{BUILDTIME} %{BUILDHOST}' "$file")" = "1700000000 localhost" ] || fail "$package: built $(rpm -qpi "$file")"
    rpm -qpR "$file" >requires
    sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p' requires | sort -V | tail -n 1 >newest
    [ -s newest ] && [ "$(echo 2.17 | sort -V - newest | tail -n 1)" = 2.17 ] || fail "$package requires glibc $(cat newest)"
    # of rpm itself no more than RHEL 7 has (4.11)
    if grep '^rpmlib(' requires | grep -Ev '\((CompressedFileNames|FileDigests|PayloadFilesHavePrefix|PartialHardlinkSets)\)'; then fail "$package requires a newer rpm"; fi
    rpm2archive - <"$file" | tar -xz || fail "$package: cannot be unpacked"
done
grep -q '^libkaio(x86-64) = ' requires || fail "kaio comes without its library: $(cat requires)"
[ -e usr/lib64/libkaio.so ] && [ -e usr/lib64/libkaio-record.so ] || fail "no libraries: $(find usr)"
[ "$(KAIO_LOG=1 usr/bin/kaio true 2>&1 | grep -c 'active: mode auto')" = 1 ] || fail "kaio of the package: $(usr/bin/kaio true 2>&1)"
