#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# scripts/kaio: adds the library and becomes the program; refuses in one sentence what it cannot serve.
set -eu
kaio=$TESTS_TOP/scripts/kaio
fail() { echo "$1"; exit 1; }
export -n KAIO_LIB # no variable of the library

# expect STATUS PATTERN ARGUMENT...: kaio must end so, with one line on standard error
expect() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    "$kaio" "$@" >out 2>errors || status=$?
    [ $status = "$wanted" ] || fail "kaio $*: status $status, not $wanted: $(cat errors)"
    [ "$(wc -l <errors)" = 1 ] && grep -q "$pattern" errors || fail "kaio $*: $(cat errors)"
    [ ! -s out ] || fail "kaio $*: it ran"
}

[ "$(LD_PRELOAD='' "$kaio" -- sh -c 'echo "$LD_PRELOAD"')" = "$KAIO_LIB" ] || fail "LD_PRELOAD"
ln -s "$KAIO_LIB" other.so
[ "$(LD_PRELOAD=$PWD/other.so "$kaio" sh -c 'echo "$LD_PRELOAD"')" = "$KAIO_LIB:$PWD/other.so" ] ||
    fail "an LD_PRELOAD that was there is gone"
[ "$("$kaio" --mode worker sh -c 'echo "$KAIO_MODE"')" = worker ] || fail "--mode"
[ "$("$kaio" run --workers 3 --depth=9 sh -c 'echo "$KAIO_WORKERS $KAIO_DEPTH"')" = "3 9" ] || fail "run --workers"
"$kaio" --stats="$PWD/report" true
grep -q requests report || fail "--stats=FILE"
"$kaio" --stats=report.json true && [ -e report.json ] && [ ! -s report.json ] || fail "--stats=FILE.json of nothing"
# shellcheck disable=SC2016
for words in run:--record=log record:-olog; do
    [ "$(LD_PRELOAD='' "$kaio" ${words%:*} "${words#*:}" sh -c 'echo "$LD_PRELOAD"')" = "${KAIO_LIB%.so}-record.so:$KAIO_LIB" ] || fail "$words: LD_PRELOAD"
done
[ "$("$kaio" --mode=off sh -c 'echo "$KAIO_MODE"')" = off ] || fail "--mode="
"$kaio" --stats true 2>&1 | grep -q requests || fail "--stats"

# the sum of all processes, whatever ends them, by command
dd if=/dev/zero of=data bs=1M count=1 status=none
cp "$TESTS_TOP/build/tests/command/watch" watch
cp watch "$(printf 'other\033[m')"
sum() { # STATUS REQUESTS OF COMMAND...: how it must end, what the report must say
    local status=0 wanted=$1 requests=$2 of=$3
    shift 3
    "$kaio" --stats "$@" >out 2>errors || status=$?
    [ $status = "$wanted" ] || fail "$*: status $status, not $wanted: $(cat errors)"
    [ ! -s out ] && grep -qx "libkaio: $requests requests.*" errors && [ "$(sed -n 's/^  \(of .*\)/\1/p' errors | tr -s ' ' | paste -sd,)" = "$of" ] ||
        fail "$*: $(cat -v out errors)"
}
sum 0 12 "of watch (2 processes) 12" ./watch quits data
sum 137 101 "of watch 101" ./watch killed data
sum 0 6 "of watch (2 processes) 6" ./watch executed data
sum 9 7 'of watch (2 processes) 6,of other\x1b[m 1' sh -c './watch executed data; ./other*m slow data; exit 9'
sum 0 0 "" true
grep -q ' of true or what it started' errors || fail "$(cat errors)"
KAIO_STATS=1 "$kaio" --mode off ./watch killed data 2>errors || grep -q '^libkaio: 101 requests' errors || fail "KAIO_STATS=1: $(cat errors)"
for stats in --stats=report --stats=report.json; do
    "$kaio" $stats sh -c './watch quits data; ./watch killed data' >out 2>errors && fail "$stats: status"
    [ ! -s out ] && [ "$(grep -vc Killed errors)" = 0 ] || fail "$stats: $(cat out errors)"
done
grep -qx 'libkaio: 113 requests' report && grep -q 'asked for: 113 reads of' report && grep -q 'inside the calls  *p50' report ||
    fail "--stats=FILE: $(cat report)"
[ "$(jq -c '[.command, .requests.read]' report.json | sort | paste -sd' ')" = '["watch",101] ["watch",5] ["watch",7]' ] ||
    fail "--stats=FILE.json: $(cat report.json)"
mkdir pages
"$kaio" --stats=pages ./watch quits data && "$TESTS_TOP/build/kaio" top --json --report pages/* | jq -es 'length == 2' >/dev/null ||
    fail "--stats=DIRECTORY: $(ls pages)"
same=$(sh -c 'echo $$; exec "$0" --stats=pages sh -c "echo \$\$"' "$kaio" | uniq | wc -l)
[ "$same" = 1 ] || fail "for a directory kaio does not become the program"
sum 0 512 "of fio (2 processes) 512" fio --output=log --name=x --numjobs=2 --size=1m --rw=randread --ioengine=posixaio --iodepth=8

# otherwise nobody sees the difference: input, arguments, signals, kill -9, ^Z; nothing is left behind
[ "$(echo input | "$kaio" --stats sh -c 'cat; echo "$1"' sh 'an  argument' 2>/dev/null)" = "input
an  argument" ] || fail "--stats: input, arguments"
mkfifo begun
"$kaio" --stats sh -c 'trap "exit 9" USR1; echo "$$ $KAIO_STATS" >begun; while :; do sleep 0.05; done' 2>errors &
read -r inside where <begun
[ "$inside" != $! ] && [ -d "$where" ] && kill -USR1 $!
status=0
wait $! || status=$?
[ $status = 9 ] && [ ! -e "$where" ] && grep -q requests errors || fail "kill -USR1: $status, $where: $(cat errors)"
(ulimit -c 0; "$kaio" --stats sh -c 'kill -SEGV $$' 2>errors) || status=$?
[ $status = 139 ] && grep -q requests errors || fail "SIGSEGV: $status"
"$kaio" --stats sh -c 'echo "$$ $KAIO_STATS" >begun; exec sleep 60' &
read -r inside where <begun
kill -9 $!
for _ in $(seq 100); do [ -e "/proc/$inside" ] || break; sleep 0.05; done
[ ! -e "/proc/$inside" ] || fail "kill -9 of kaio leaves the program"
rm -r "$where"
"$kaio" --stats sh -c 'echo "$$ $KAIO_STATS" >begun; sleep 60 & echo $! >pid' 2>errors &
read -r inside where <begun
wait $!
grep -q "still running: 1; .*kaio top --report $where\*" errors && [ -d "$where" ] || fail "a daemon: $(cat errors)"
kill "$(cat pid)"
rm -r "$where"
status=0
(ulimit -f 0; "$kaio" --stats true) 2>&1 | grep -q 'no room for statistics' || fail "no room"
same=$(sh -c 'echo $$; exec "$0" sh -c "echo \$\$"' "$kaio" | uniq | wc -l)
[ "$same" = 1 ] || fail "without a report kaio does not become the program"
"$kaio" sh -c 'exit 7' || status=$?
[ $status = 7 ] || fail "the program's status is lost"
ln -s "$kaio" link
./link true || fail "through a symbolic link"
"$kaio" --help | grep -q KAIO_WORKERS || fail "--help"

# programs with ASan, its runtime a library (gcc) or inside (clang): they start, do AIO, and it still finds
cat >asan.c <<'C'
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
int main(int argc, char *argv[]) {
    char *buffer = malloc(4096);
    struct aiocb cb = {.aio_fildes = open(argv[0], O_RDONLY), .aio_buf = buffer, .aio_nbytes = 4096};
    const struct aiocb *list[] = {&cb};
    if (aio_read(&cb)) return 2;
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    if (argc > 1) buffer[4096 + atoi(argv[1])] = 0;
    free(buffer);
    return aio_return(&cb) == 4096 ? 5 : 3;
}
C
for compiler in gcc "clang -shared-libasan -Wl,-rpath,$(dirname "$(clang -print-file-name=libclang_rt.asan-x86_64.so)")" clang; do
    $compiler -w -fsanitize=address -o asan asan.c || { echo "skipped, ASan: no $compiler"; continue; }
    asan() { # PATTERN STATUS COMMAND...
        local status=0 wanted=$2 pattern=$1
        shift 2
        KAIO_LOG=1 "$@" >out 2>&1 || status=$?
        [ $status = "$wanted" ] && grep -q "$pattern" out || fail "$compiler: $*: status $status: $(cat out)"
    }
    asan active 5 "$kaio" ./asan
    asan active 5 "$kaio" sh -c './asan; exit $?'
    LD_PRELOAD=$PWD/other.so asan '' "$([ "$compiler" = clang ] && echo 5 || echo 1)" "$kaio" ./asan # not ours to say
    asan heap-buffer-overflow 1 "$kaio" ./asan 7
    ASAN_OPTIONS=exitcode=9 asan heap-buffer-overflow 9 "$kaio" ./asan 7
    KAIO_LOG=0 asan 'fails without libkaio (exit status 5)' 5 "$kaio" ab -n 1 ./asan
done
gcc -w -fsanitize=address -o asan asan.c && LD_PRELOAD=$(realpath "$(gcc -print-file-name=libasan.so)") asan active 5 "$kaio" ./asan
"$kaio" check ./asan | grep -q "^ok .*ASan's runtime refuses" || fail "kaio check of ASan"

printf 'int main(void) { return 0; }\n' >main.c
gcc -static -o static main.c
gcc -o setuid main.c
cp setuid capable
cp setuid plain
printf 'text\n' >text
expect 125 'no command'
expect 125 'not an option' --nonsense true
expect 125 'not one of auto' --mode fast true
expect 125 'not one of 1 to 256' --workers 257 true
expect 125 'not one of 1 to 256' --workers= true
expect 125 'not one of 1 to 65536' --depth 99999999999999999999 true
expect 125 'needs a value' --order
KAIO_ORDER=both expect 125 'KAIO_ORDER' true
for variable in KAIO_LOG:--log KAIO_STATS:--stats KAIO_RECORD:--record; do
    flag=${variable#*:}
    expect 125 'cannot be written to: No such file or directory' "$flag=/nonexistent/file" true
    expect 125 'cannot be written to: Is a directory\|cannot be written to: No such file' "$flag=$PWD/none/" true
    expect 125 'cannot be written to: .*too long' "$flag=$PWD/$(printf %01024d 1)" true
    expect 125 'not one of 0.*; a file of that name is ./2' "$flag=2" true
    for value in 2 007; do env "${variable%:*}=$value" "$kaio" true 2>errors && fail "$variable=$value"; done
    [ "$(wc -l <errors)" = 1 ] || fail "more than a line: $(cat errors)"
done
expect 125 'not one of 0 or a file.s path; a file of that name is ./1' --record true
KAIO_RECORD=1 expect 125 'is ./1' true
KAIO_LOG=/nonexistent/log expect 125 'KAIO_LOG' ab true
mkfifo fifo
ln -s /etc/passwd pointer
expect 125 'nobody reads it' --log=fifo true
expect 125 'symbolic link' --stats=pointer true
expect 125 'Not a directory' --stats=text/ true
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --clear-groups "$kaio" --version >out 2>&1; then
    mkdir -m 755 closed
    setpriv --reuid=65534 --clear-groups "$kaio" --stats="$PWD/closed/" true 2>errors && fail "a directory of others"
    setpriv --reuid=65534 --clear-groups "$kaio" --log="$PWD/closed/log" true 2>>errors && fail "a file there"
    [ "$(grep -c 'cannot be written to: Permission denied' errors)" = 2 ] || fail "a directory of others: $(cat errors)"
fi
for name in none 1 2 007; do [ ! -e $name ] || fail "$name is left"; done
# what can be written: nothing is made by the look, and the program may go elsewhere
[ "$("$kaio" --log=0 --record=recorded sh -c 'cd / && echo "$KAIO_LOG $KAIO_RECORD"')" = "0 $PWD/recorded" ] || fail "--record"
[ ! -e recorded ] || fail "the look has made the recording"
echo line >old
"$kaio" --log=old --stats=report.%p bash -c 'cd /' && grep -q '^line' old && grep -q active old || fail "--log=old"
[ "$(cat report.[0-9]* | grep -c requests)" = 1 ] || fail "--stats=report.%p: $(ls)"
rm report.[0-9]*
"$kaio" --stats=report.%p.json ./watch quits data
[ "$(jq -r '"report.\(.pid).json" == input_filename' report.[0-9]*.json | paste -sd,)" = true,true ] || fail "--stats=report.%p.json: $(ls)"
expect 125 'kaio ab counts in a run of its own' ab --stats true
KAIO_DETPH=9 KAIO_DEPTH=8 "$kaio" sh -c 'echo "$KAIO_DEPTH"' >out 2>errors || fail "KAIO_DETPH"
[ "$(cat out)" = 8 ] && [ "$(wc -l <errors)" = 1 ] && grep -q 'KAIO_DETPH is no variable' errors || fail "KAIO_DETPH: $(cat errors)"
expect 127 'not found' no-such-command
expect 127 'no such file' ./no-such-file
expect 126 'not executable' ./text
expect 126 'is a directory' /tmp
expect 126 'statically linked' ./static
chmod u+s setuid
expect 126 'setuid' ./setuid
printf '\x01' | dd of=plain bs=1 seek=4 conv=notrunc status=none # ELFCLASS32
expect 126 'another architecture' ./plain
if setcap cap_net_raw+ep capable 2>/dev/null; then expect 126 'capabilities' ./capable; fi

mkdir -p copy/scripts
cp -r "$kaio" "$kaio.d" copy/scripts/
status=0
copy/scripts/kaio true 2>errors || status=$?
[ $status = 125 ] && grep -q 'is missing; build it' errors || fail "missing library: $(cat errors)"
