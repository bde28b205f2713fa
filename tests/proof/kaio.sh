#!/usr/bin/env bash
# scripts/kaio: adds the library and becomes the program; refuses in one sentence what it cannot serve.
set -eu
kaio=$TESTS_TOP/scripts/kaio
fail() { echo "$1"; exit 1; }

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
[ "$("$kaio" --mode=off sh -c 'echo "$KAIO_MODE"')" = off ] || fail "--mode="
"$kaio" --stats true 2>&1 | grep -q requests || fail "--stats"
status=0
"$kaio" sh -c 'exit 7' || status=$?
[ $status = 7 ] || fail "the program's status is lost"
ln -s "$kaio" link
./link true || fail "through a symbolic link"
"$kaio" --help | grep -q KAIO_WORKERS || fail "--help"

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
