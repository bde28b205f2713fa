#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# alone: it builds the packages of two architectures
# make deb: two packages, and their source, without lintian's errors; unpacked, kaio works. (documents.sh installs them.)
# The libraries of i386, by the cross compiler, have no file in common with those of amd64 that is not the same. With
# TEST_LONG and as root apt installs and removes them here, which must not be cut off by a limit: no other package could be
# installed afterwards. Then LD_PRELOAD=libkaio.so and kaio work from anywhere, and debian/tests/api passes. Both classes
# are installed in a Debian of both architectures, and kaio serves both; arm64 is built, too.
set -eu
fail() { echo "$1"; exit 1; }
# deb ARCH [VARIABLE=...]: leaves the packages' names in $packages
deb() {
    local arch=$1
    shift
    make -s -C "$TESTS_TOP" deb "$@" >log 2>&1 || fail "make deb $*: $(tail log)"
    packages=("$TESTS_TOP/build/libkaio_${version}_$arch.deb" "$TESTS_TOP/build/kaio_${version}_$arch.deb")
    lintian --allow-root --fail-on error,warning "${packages[@]}" 2>&1 || fail "lintian: $arch"
}
(cd "$TESTS_TOP" && apt-get build-dep --simulate ./) >log 2>&1 || fail "apt-get build-dep: $(tail log)" # as README has it
version=$(sed -n 's/^VERSION = //p' "$TESTS_TOP/Makefile")
native=$(dpkg --print-architecture)
deb "$native"
for package in "${packages[@]}"; do
    dpkg-deb -f "$package" Depends | grep -Eq '(^|, )libc6 \(>= 2\.1[67]\)$' || fail "depends: $(dpkg-deb -f "$package" Depends)"
done
dpkg-deb -f "${packages[1]}" Depends | grep -q '^libkaio (= ' || fail "kaio comes without its library"
installed=("${packages[@]}")
mkdir -p source/libkaio
tar -C "$TESTS_TOP" --exclude ./build --exclude ./.git -c . | tar -C source/libkaio -x
(cd source && dpkg-source -b libkaio) >log 2>&1 || fail "dpkg-source: $(cat log)"
lintian --allow-root --fail-on error,warning source/*.dsc 2>&1 || fail "lintian: the source"

if command -v i686-linux-gnu-gcc >/dev/null; then
    SOURCE_DATE_EPOCH=1700000000 deb i386 ARCH=i386
    [ "$(TZ=UTC dpkg-deb -c "${packages[0]}" | awk '{ print $4 }' | sort -u)" = 2023-11-14 ] || fail "SOURCE_DATE_EPOCH: $(dpkg-deb -c "${packages[0]}")"
    for package in "${installed[0]}" "${packages[0]}"; do
        [ "$(dpkg-deb -f "$package" Multi-Arch)" = same ] || fail "$package: not Multi-Arch: same"
        dpkg-deb --ctrl-tarfile "$package" | tar -xO ./md5sums
    done | sort -u -k 2 >one
    for package in "${installed[0]}" "${packages[0]}"; do dpkg-deb --ctrl-tarfile "$package" | tar -xO ./md5sums; done | sort -u >all
    [ "$(wc -l <one)" = "$(wc -l <all)" ] || fail "Multi-Arch: $(diff one all)"
else
    echo "skipped, i386: no gcc-i686-linux-gnu"
fi

works() { # KAIO
    cd /
    # shellcheck disable=SC2016 # expanded by the command
    [[ "$("$1" sh -c 'echo "$LD_PRELOAD"')" == */usr/lib/x86_64-linux-gnu/libkaio.so ]] || fail "kaio"
    "$1" check fio | grep -q '^ok .*uses POSIX AIO' || fail "kaio check"
    cd "$OLDPWD"
}
# In a namespace of its mounts. In Debian's own way: apt takes the packages of the other architecture from a file, too.
if [ "${TEST_LONG-}" ] && [ "$(id -u)" = 0 ] && [ "$native" = amd64 ]; then
    command -v aarch64-linux-gnu-gcc >/dev/null && deb arm64 ARCH=arm64
    root=$PWD/chroot
    if mmdebstrap --variant=apt --architectures=amd64,i386 --include=libc6:i386 bookworm "$root" http://deb.debian.org/debian >log 2>&1; then
        mkdir "$root/debs"
        cp "${installed[@]}" "${installed[0]/_amd64/_i386}" "$root/debs"
        for class in "gcc:/lib64/ld-linux-x86-64.so.2" "i686-linux-gnu-gcc:/lib/ld-linux.so.2"; do
            "${class%%:*}" -Wno-psabi -o "$root/debs/watch-${class%%:*}" "$TESTS_TOP/tests/command/watch.c" "-Wl,--dynamic-linker=${class#*:}"
        done
        dd if=/dev/zero of="$root/debs/data" bs=1M count=1 status=none
        chroot "$root" sh -c 'cd /debs && apt-get install -y --no-install-recommends ./*.deb' >log 2>&1 || fail "apt-get, both: $(tail log)"
        unshare -m sh -c 'mount --rbind /proc "$0/proc" && exec chroot "$0" sh -c "cd /debs && kaio sh -c \"./watch-gcc slow data; KAIO_LOG=1 ./watch-i686-linux-gnu-gcc slow data\""' "$root" >out 2>&1 ||
            fail "both: $(cat out)"
        [ "$(grep -c 'active: mode auto' out)" = 1 ] && [ "$(wc -l <out)" -le 2 ] || fail "both: $(cat out)"
    else
        echo "skipped, Debian of two architectures: no mirror: $(tail -n 1 log)"
    fi
fi

if [ -z "${TEST_LONG-}" ] || [ "$(id -u)" != 0 ] || dpkg -s libkaio >/dev/null 2>&1; then
    for package in "${installed[@]}"; do dpkg-deb -x "$package" root; done
    works "$PWD/root/usr/bin/kaio"
    [ -z "${TEST_LONG-}" ] || echo "skipped: apt install (not root, or a libkaio is installed)"
    exit 0
fi
trap 'dpkg -P kaio libkaio >/dev/null 2>&1 || :' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends "${installed[@]}" >log 2>&1 || fail "apt-get install: $(cat log)"
works kaio
cd /
[ "$(LD_PRELOAD=libkaio.so KAIO_LOG=1 /bin/true 2>&1 | grep -c 'active: mode auto')" = 1 ] || fail "LD_PRELOAD=libkaio.so"
[ -z "$(LD_PRELOAD="libkaio-record.so libkaio.so" KAIO_RECORD=/nowhere/log /bin/true 2>&1)" ] || fail "LD_PRELOAD=libkaio-record.so"
AUTOPKGTEST_TMP=$OLDPWD/autopkgtest "$TESTS_TOP/debian/tests/api" basic >"$OLDPWD/log" 2>&1 || fail "debian/tests/api: $(tail "$OLDPWD/log")"
# small images leave manuals and documents out
if [ -e /usr/share/man/man1/kaio.1.gz ]; then man -w kaio >/dev/null || fail "man kaio"; fi
! dpkg --verify kaio libkaio | grep -Ev ' /usr/share/(man|doc|lintian)/' || fail "files are not as packed"
cd "$OLDPWD"
dpkg -L kaio libkaio | while read -r path; do if [ ! -d "$path" ]; then echo "$path"; fi; done >files
apt-get purge -y kaio libkaio >log 2>&1 || fail "apt-get purge: $(cat log)"
while read -r path; do [ -z "$path" ] || [ ! -e "$path" ] || fail "left: $path"; done <files
