#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio scan: programs that use POSIX AIO, by themselves or through a library, of either class and byte order; why it
# would not help; processes, and in which the library is active; all of /usr in 20 s. Nothing is run.
set -eu
kaio=$TESTS_TOP/build/kaio
fail() { echo "$1"; cat -v out; exit 1; }
export -n KAIO_LIB # no variable of the library

cat >user.c <<'C'
#include <aio.h>
#include <signal.h>
int use(struct aiocb *cb) { return aio_read(cb) + lio_listio(LIO_WAIT, &cb, 1, 0) + aio_suspend((void *)&cb, 1, 0); }
C
cat >main.c <<'C'
#include <signal.h>
int use(void *);
int main(int argc, char *argv[]) { return argc > 9 ? use(argv) + sigwaitinfo(0, 0) : 0; }
C
echo 'int main(void) { return 0; }' >plain.c
# a program with a name for its ld.so that would tell if it were run
printf '#!/bin/sh\necho run >%s/run\n' "$PWD" >loader
chmod +x loader
mkdir -p programs/lib programs/more
gcc -shared -fPIC -o programs/lib/libuser.so user.c
gcc -shared -fPIC -o programs/lib/plugin.so user.c
gcc -o programs/self main.c user.c
gcc -o programs/more/through main.c -Lprograms/lib -luser '-Wl,-rpath,$ORIGIN/../lib'
gcc -o programs/rpath plain.c -Lprograms/lib -Wl,--no-as-needed -luser '-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib'
gcc -o programs/plain plain.c
gcc -static -o programs/static main.c user.c
gcc -o programs/loader main.c user.c "-Wl,--dynamic-linker=$PWD/loader"
cp programs/self programs/setuid
chmod u+s programs/setuid
cp programs/self "programs/$(printf 'n\033[7m')"
ln -s self programs/link
mkfifo programs/fifo
head -c 64 programs/self >programs/cut
head -c 3000 programs/self >programs/cut2
chmod +x programs/cut*
if command -v i686-linux-gnu-gcc >/dev/null; then
    i686-linux-gnu-gcc -o programs/i386 main.c user.c
else
    echo "skipped, 32-bit programs: no gcc-i686-linux-gnu"
fi
# of 32 bits and the other byte order: a header, an interpreter, dynamic symbols
python3 - <<'PY'
import struct
names = b"\0aio_write\0aio_fsync\0"
interp, symbols = b"/lib/ld.so.1\0\0\0\0", b"".join(struct.pack(">IIIBBH", n, 0, 0, 0x12, 0, 0) for n in (0, 1, 11))
at = 52 + 32
sections = at + len(interp) + len(symbols) + len(names)
head = b"\x7fELF\1\2\1" + bytes(9) + struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, 0, 52, sections, 0, 52, 32, 1, 40, 3, 0)
segment = struct.pack(">8I", 3, at, 0, 0, 13, 13, 4, 1)
section = lambda kind, offset, size, link, entry: struct.pack(">10I", 0, kind, 0, 0, offset, size, link, 0, 4, entry)
table = bytes(40) + section(11, at + len(interp), len(symbols), 2, 16) + section(3, at + len(interp) + len(symbols), len(names), 0, 0)
open("programs/powerpc", "wb").write(head + segment + interp + symbols + names + table)
PY
chmod +x programs/powerpc

has() { # PATTERN
    grep -Eq "$1" out || fail "no line '$1'"
}
before=$(find programs -printf '%p %s %T@\n' | sort)
LC_ALL=C "$kaio" scan programs >out 2>errors || fail "status $?"
[ ! -s errors ] || fail "$(cat errors)"
has '^HELPS +CALLS +WAITS BY +PROGRAM$'
has '^yes +read listio +aio_suspend sigwaitinfo +programs/self$'
has '^yes +read listio +aio_suspend +programs/more/through, through programs/more/\.\./lib/libuser\.so$'
has '^yes +read listio +aio_suspend +programs/rpath, through programs/lib/libuser\.so$'
has '^yes +read listio +aio_suspend +programs/lib/plugin\.so \(a library: helps what loads it\)$'
has '^no +read .* programs/setuid: is setuid'
has '^no +read .* programs/static: is statically linked'
has '^yes .* programs/loader$'
has '^yes .* programs/n\\x1b\[7m$'
has '^no +write fsync +- +programs/powerpc: is built for another architecture'
[ ! -e programs/i386 ] || has '^no +read listio +.* programs/i386: is built for another architecture \(32-bit x86\)'
! grep -Eq 'programs/(plain|link|fifo|cut)' out || fail "what is none is shown"
[ ! -e run ] || fail "an ld.so was run"
[ "$(grep -c libuser.so: out)" = 0 ] && ! grep -q ' programs/lib/libuser.so (a' out || fail "a library that is loaded, by itself"
[ "$before" = "$(find programs -printf '%p %s %T@\n' | sort)" ] || fail "something was written"
n=$((8 + $([ -e programs/i386 ] && echo 1 || echo 0)))
has "^[0-9]+ files: $((n + 0)) programs use POSIX AIO, 5 of them can be helped\$"
"$kaio" scan programs/link >out && has '^yes .* /.*/programs/self$'
status=0
"$kaio" scan nowhere >out 2>&1 || status=$?
[ $status = 125 ] && has '^kaio: nowhere: No such file'
if [ "$(id -u)" = 0 ] && mkdir -m 700 closed && chmod 755 . &&
    setpriv --reuid=65534 --clear-groups "$kaio" scan programs >/dev/null 2>&1; then
    setpriv --reuid=65534 --clear-groups "$kaio" scan closed >out 2>&1 && has '^1 could not be read; --unreadable'
    setpriv --reuid=65534 --clear-groups "$kaio" scan --unreadable closed >out 2>&1 && has '^kaio: closed: Permission denied'
fi

# processes: by what they have mapped
dd if=/dev/zero of=data bs=1M count=1 status=none
mkfifo first second third
"$TESTS_TOP/build/tests/command/watch" running data <first &
plain=$!
exec 3>first
"$kaio" "$TESTS_TOP/build/tests/command/watch" running data <second &
active=$!
exec 4>second
"$kaio" --mode off "$TESTS_TOP/build/tests/command/watch" running data <third &
off=$!
exec 5>third
for pid in $active $off; do
    for _ in $(seq 200); do if grep -qs 'libkaio\.so' "/proc/$pid/maps"; then break; fi; sleep 0.05; done
done
"$kaio" scan $plain $active $off $$ >out
has '^ACTIVE +CALLS +WAITS BY +PID PROGRAM$'
has "^no +read .* $plain /.*/watch\$"
has "^yes +read .* $active /.*/watch\$"
has "^off +read .* $off /.*/watch\$"
! grep -q " $$ " out || fail "bash is none"
has '^4 processes: 3 use POSIX AIO, 1 of them with libkaio$'
exec 3>&- 4>&- 5>&-
wait $plain $active $off

began=$EPOCHREALTIME
"$kaio" scan /usr >out
took_ms=$(((${EPOCHREALTIME/[.,]/} - ${began/[.,]/}) / 1000))
has '^yes .* /usr/bin/fio$'
echo "note: /usr: $took_ms ms, $(tail -n 1 out)"
[ $took_ms -lt $((20000 * ${TEST_SLOW:-1})) ] || fail "/usr took $took_ms ms"
