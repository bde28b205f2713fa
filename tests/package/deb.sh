#!/usr/bin/env bash
# make deb: a package without lintian's errors, the same each time, that apt installs and removes; then
# LD_PRELOAD=libkaio.so and kaio work from anywhere. Not as root, it is unpacked instead.
set -eu
fail() { echo "$1"; exit 1; }
export GIT_DIR=$PWD/none # as in an archive
make -s -C "$TESTS_TOP" deb >log 2>&1 || fail "make deb: $(cat log)"
package=$(echo "$TESTS_TOP"/build/libkaio_*.deb)
cp "$package" first.deb
make -s -C "$TESTS_TOP" deb >log 2>&1
cmp first.deb "$package" || fail "two builds differ"
lintian --allow-root --fail-on error,warning "$package" 2>&1 || fail "lintian"
dpkg-deb -f "$package" Depends | grep -q '^libc6 (>= 2\.[0-9]*)$' || fail "depends: $(dpkg-deb -f "$package" Depends)"

works() { # KAIO
    cd /
    # shellcheck disable=SC2016 # expanded by the command
    [[ "$("$1" sh -c 'echo "$LD_PRELOAD"')" == */usr/lib/x86_64-linux-gnu/libkaio.so ]] || fail "kaio"
    "$1" check fio | grep -q '^ok .*uses POSIX AIO' || fail "kaio check"
    cd "$OLDPWD"
}
if [ "$(id -u)" != 0 ] || dpkg -s libkaio >/dev/null 2>&1; then
    dpkg-deb -x "$package" root
    works "$PWD/root/usr/bin/kaio"
    echo "skipped: apt install (not root, or a libkaio is installed)"
    exit 0
fi
trap 'dpkg -P libkaio >/dev/null 2>&1 || :' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends "$package" >log 2>&1 || fail "apt-get install: $(cat log)"
works kaio
cd /
[ "$(LD_PRELOAD=libkaio.so KAIO_LOG=1 /bin/true 2>&1 | grep -c 'active: mode auto')" = 1 ] || fail "LD_PRELOAD=libkaio.so"
[ -z "$(LD_PRELOAD="libkaio-record.so libkaio.so" KAIO_RECORD=/nowhere/log /bin/true 2>&1)" ] || fail "LD_PRELOAD=libkaio-record.so"
# small images leave manuals and documents out
if [ -e /usr/share/man/man1/kaio.1.gz ]; then man -w kaio >/dev/null || fail "man kaio"; fi
! dpkg --verify libkaio | grep -Ev ' /usr/share/(man|doc|lintian)/' || fail "files are not as packed"
cd "$OLDPWD"
dpkg -L libkaio | while read -r path; do if [ ! -d "$path" ]; then echo "$path"; fi; done >files
apt-get purge -y libkaio >log 2>&1 || fail "apt-get purge: $(cat log)"
while read -r path; do [ ! -e "$path" ] || fail "left: $path"; done <files
