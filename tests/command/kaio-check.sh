#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio check: what it finds about programs, processes, files and the kernel, and that it writes nothing
# to what it is shown.
# contexts: it depends on what fs.aio-max-nr has left
set -eu
kaio=$TESTS_TOP/scripts/kaio
fail() { echo "$1"; cat out; exit 1; }
export -n KAIO_LIB # no variable of the library

# expect STATUS PATTERN ARGUMENT...: kaio check must end so, with a line of that pattern
expect() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    "$kaio" check "$@" >out 2>&1 || status=$?
    [ $status = "$wanted" ] || fail "kaio check $*: status $status, not $wanted"
    grep -Eq "$pattern" out || fail "kaio check $*: no line '$pattern'"
    ! grep -Evq '^$|^(ok|warn|no) +[^ ]' out || fail "kaio check $*: not a finding"
}

cat >user.c <<'C'
#include <aio.h>
int use(struct aiocb *cb) { return aio_read(cb) + lio_listio(LIO_WAIT, &cb, 1, 0); }
C
cat >main.c <<'C'
int use(void *);
int main(int argc, char *argv[]) { return argc > 9 ? use(argv) : 0; }
C
cat >plain.c <<'C'
int main(void) { return 0; }
C
gcc -shared -fPIC -o libuser.so user.c
gcc -o through main.c -L. -luser -Wl,-rpath,"$PWD"
gcc -o plain plain.c
gcc -static -o static plain.c
printf '#!%s\n' "$PWD/through" >script
chmod +x script

expect 0 '^ok +kernel: Linux [0-9]'
expect 0 '^(ok|warn) +fs.aio-nr: [0-9]+ of fs.aio-max-nr [0-9]+'
expect 0 '^ok +uses POSIX AIO: .*/fio calls .*aio_read' fio
expect 0 '^ok +uses POSIX AIO: .*/libuser.so calls aio_read lio_listio' ./through
expect 0 '^ok +uses POSIX AIO: .*/libuser.so' ./script
expect 0 '^warn +no POSIX AIO in it' ./plain
expect 1 '^no +.*statically linked' ./static
expect 1 '^no +no-such-thing: neither' no-such-thing

# what is not there is said first, and nothing is said of its filesystem
for what in /nonexistent ./none /etc/passwd/x no-such-thing 4194305 ''; do
    expect 1 '^no ' "$what"
    [ "$(wc -l <out)" = 1 ] || fail "kaio check '$what': more than that it is not there"
done
expect 1 '^ok +.*/fio: a dynamic' /nonexistent fio
head -n 1 out | grep -q '^no    /nonexistent: No such file' || fail "the first line"

# paths: a file keeps its bytes and its time, and nothing stays beside it
mkdir directory
echo text >directory/file
touch -d '2001-01-01' directory/file
sum=$(stat -c '%s %Y' directory/file; cat directory/file; ls -a directory)
expect 0 'filesystem' directory/file
expect 0 '^(ok|warn) +(direct reads|O_DIRECT)' directory
[ "$sum" = "$(stat -c '%s %Y' directory/file; cat directory/file; ls -a directory)" ] || fail "it has written"
memory=$(mktemp -d /dev/shm/kaio-check.XXXXXX)
trap 'rm -rf "$memory"' EXIT
expect 0 '^ok +reads and writes: by the calling thread' "$memory"
mkfifo directory/fifo
expect 0 '^ok +a stream' directory/fifo
expect 0 'no scratch file can be made' /proc/self

# a process: without, with, with a context, switched off
sleep 60 &
expect 1 'libkaio is not loaded' $!
kill $!
"$kaio" sleep 60 &
for _ in $(seq 100); do grep -qs libkaio /proc/$!/maps && break; sleep 0.05; done
expect 0 '^ok +process .*libkaio is loaded: /' $!
expect 0 '^ok +active, without a kernel context' $!
kill $!
LD_PRELOAD=${KAIO_LIB%.so}-record.so sleep 60 &
for _ in $(seq 100); do grep -qs libkaio-record /proc/$!/maps && break; sleep 0.05; done
expect 1 '^ok +process .*libkaio-record is loaded: /' $!
expect 1 '^no +process .*libkaio is not loaded; it has to' $!
grep -q 'LD_PRELOAD names libkaio' out && fail "libkaio-record.so taken for libkaio.so: $(cat out)"
kill $!
"$kaio" --mode off sleep 60 &
for _ in $(seq 100); do grep -qs libkaio /proc/$!/maps && break; sleep 0.05; done
expect 1 '^no +not active' $!
kill $!
"$kaio" fio --name=x --ioengine=posixaio --rw=randread --bs=4k --size=1m --direct=1 --iodepth=4 --thread \
    --time_based --runtime=30 >fio.log 2>&1 &
for _ in $(seq 200); do grep -qs '/\[aio\]' /proc/$!/maps && break; sleep 0.05; done
if grep -qs '/\[aio\]' /proc/$!/maps; then expect 0 '^ok +active: it has a kernel context' $!
else echo "skipped: a process with a context (no O_DIRECT here)"; fi
kill $!
wait || :

# names and paths of others reach no terminal as they are
cat >named.c <<'C'
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char *argv[]) {
    prctl(PR_SET_NAME, argv[1]);
    int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
    if (argc != 3 || ftruncate(fd, 4096) || mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) return 1;
    return write(1, "x", 1) != 1 || pause();
}
C
gcc -o named named.c
raw() { LC_ALL=C grep -q "$(printf '[\001-\011\013-\037\177-\237\377]')" out; } # also what C1 is in UTF-8
mkfifo begun
./named "$(printf 'a\033[31m\302\233\377')" "$PWD/libkaio$(printf '\033]0;t\007\177').so" >begun &
head -c 1 begun >/dev/null
expect 0 'process .*\(a\\x1b\[31m\\xc2\\x9b\\xff\): libkaio is loaded: .*/libkaio\\x1b\]0;t\\x07\\x7f\.so' $!
! raw || fail "raw: $(cat -v out)"
kill $!
wait $! || :
name=$(printf 'no\nok    \033[1m\233')
for what in "$name" "./$name"; do
    expect 1 '^no +.*no\\x0aok    \\x1b\[1m' "$what"
    ! raw || fail "raw: $(cat -v out)"
done
"$kaio" "./$name" 2>out || [ "$(wc -l <out)" = 1 ] || fail "kaio run: $(cat -v out)"
! raw || fail "raw: $(cat -v out)"

# the host's requests used up: in a mount namespace the figures are ours to choose
if unshare -m true 2>/dev/null; then
    mkdir proc
    echo 65500 >proc/aio-nr
    echo 65536 >proc/aio-max-nr
    # shellcheck disable=SC2016 # expanded inside
    unshare -m sh -c 'mount --bind proc/aio-nr /proc/sys/fs/aio-nr &&
        mount --bind proc/aio-max-nr /proc/sys/fs/aio-max-nr && exec "$0" check' "$kaio" >out 2>&1 || :
    grep -q '^warn *fs.aio-nr: 65500 .*: sysctl -w fs.aio-max-nr=1048576$' out || fail "requests used up"
else
    echo "skipped: fs.aio-max-nr used up (no mount namespace)"
fi
