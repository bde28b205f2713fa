#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs of both classes under one kaio: it starts either, and either starts the other; without a message. With the
# library of one class it says what is missing for the other. A program's own ld.so is asked if that is not the
# system's: for one with a glibc that is too old kaio says so.
set -eu
fail() { echo "$1"; exit 1; }
kaio=$PWD/root/bin/kaio
export -n KAIO_LIB # no variable of the library
install_() { make -s -C "$TESTS_TOP" "$@" DESTDIR="$PWD/root" PREFIX= >log 2>&1 || fail "make $*: $(tail log)"; }
install_ install
native=$PWD/root/lib/$(gcc -print-multiarch)

# refused PATTERN COMMAND...: in one sentence, and nothing is run
refused() {
    local status=0 pattern=$1
    shift
    timeout 20 "$kaio" "$@" >out 2>errors || status=$?
    [ $status = 126 ] && [ ! -s out ] && [ "$(wc -l <errors)" = 1 ] && grep -q "$pattern" errors || fail "$*: status $status: $(cat out errors)"
}

# A libc.so.6 as of 2.12, by the versions that it has, and an ld.so of the program's own
cat >old.map <<'MAP'
GLIBC_2.2.5 { global: *; };
GLIBC_2.12 { } GLIBC_2.2.5;
MAP
mkdir old
echo 'int puts(const char *text) { return !text; }' >old.c
gcc -shared -fPIC -nostdlib -fno-builtin -o old/libc.so.6 old.c -Wl,-soname,libc.so.6,--version-script,old.map
loader=$(readelf -lW /bin/sh | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
cp "$loader" ld.so
printf 'int main(void) { return 0; }\n' >main.c
gcc -nostdlib -nostartfiles -e main -o old/program main.c -Wl,--no-as-needed old/libc.so.6 \
    "-Wl,--dynamic-linker=$PWD/ld.so" "-Wl,-rpath,$PWD/old"
refused 'older than 2.17' old/program
gcc -o own main.c "-Wl,--dynamic-linker=$PWD/ld.so"
timeout 20 "$kaio" ./own || fail "an ld.so of its own: $?"
# an ld.so that is not there, one that no kernel runs
gcc -o alien main.c "-Wl,--dynamic-linker=$PWD/alien.so"
refused "its ld.so ($PWD/alien.so) cannot be run: No such file or directory" ./alien
printf '\177ELF, but of no machine' >alien.so
chmod +x alien.so
refused "its ld.so ($PWD/alien.so) cannot be run: this kernel runs no programs of its kind" ./alien

command -v i686-linux-gnu-gcc >/dev/null || { echo "skipped, 32-bit programs: no gcc-i686-linux-gnu"; exit 0; }
cross=/usr/i686-linux-gnu/lib
cp "$TESTS_TOP/build/tests/command/watch" watch64
i686-linux-gnu-gcc -Wno-psabi -o watch32 "$TESTS_TOP/tests/command/watch.c" "-Wl,--dynamic-linker=$cross/ld-linux.so.2,-rpath,$cross"
dd if=/dev/zero of=data bs=1M count=1 status=none

# one class: the file's own path, and a sentence for the other
# shellcheck disable=SC2016 # expanded by the command
[ "$(LD_PRELOAD='' "$kaio" sh -c 'echo "$LD_PRELOAD"')" = "$native/libkaio.so" ] || fail "one class: LD_PRELOAD"
refused 'another architecture (32-bit x86).*32-BIT PROGRAMS' ./watch32 quits data
"$kaio" check ./watch32 | grep -q '^no .*32-BIT PROGRAMS' || fail "one class: check"
"$TESTS_TOP/tests/lib/runs_i386" || { echo "skipped, both classes: this kernel runs no 32-bit programs"; exit 0; }
install_ install-library ARCH=i386 LIBDIR=/lib32 # where this ld.so does not look
refused 'does not load.*32-BIT PROGRAMS' ./watch32 quits data
install_ uninstall-library ARCH=i386 LIBDIR=/lib32
install_ install-library ARCH=i386
mkdir elsewhere
cp -r root/bin root/lib root/libexec elsewhere
mv elsewhere/lib/*64-linux*/*.so elsewhere/lib # a 64-bit library where $LIB does not lead to
ln -sf ../../lib/libkaio.so elsewhere/libexec/kaio
# shellcheck disable=SC2016
[ "$(LD_PRELOAD='' elsewhere/bin/kaio sh -c 'echo "$LD_PRELOAD"')" = "$PWD/elsewhere/lib/libkaio.so" ] || fail "elsewhere: LD_PRELOAD"

# both
# shellcheck disable=SC2016
[ "$(LD_PRELOAD='' "$kaio" sh -c 'echo "$LD_PRELOAD"')" = "$PWD/root/\$LIB/libkaio.so" ] || fail "both: LD_PRELOAD"
"$kaio" check ./watch32 >out || fail "both: check: $(cat out)"
grep -q '^ok .*watch32 calls aio_read' out || fail "both: check: $(cat out)"
for command in ./watch32 ./watch64 'sh -c "./watch64 quits data; ./watch32 quits data"'; do
    [[ $command = sh* ]] || command="$command quits data"
    eval "timeout 60 '$kaio' --record=log --stats=report.json $command" >out 2>&1 || fail "$command: status $?: $(cat out)"
    [ ! -s out ] || fail "$command: $(cat out)"
    jq -r '"\(.command) \(.requests.read)"' report.json >>counted
    cat log* >>recorded
    rm report.json log*
done
[ "$(sort counted | paste -sd,)" = "watch32 5,watch32 5,watch32 7,watch32 7,watch64 5,watch64 5,watch64 7,watch64 7" ] || fail "counted: $(cat counted)"
[ "$(grep -c ' read ' recorded)" = 48 ] || fail "recorded: $(grep -c ' read ' recorded)"
install_ uninstall
[ "$(find root ! -type d -printf '%P\n' | sort | paste -sd,)" = lib/i386-linux-gnu/libkaio-record.so,lib/i386-linux-gnu/libkaio.so ] || fail "uninstall: $(find root)"
install_ uninstall-library ARCH=i386
[ -z "$(find root ! -type d)" ] || fail "uninstall-library: $(find root ! -type d)"
