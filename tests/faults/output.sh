#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The log, the statistics, a recording and what is said on standard error hurt nobody, wherever they go:
# no signal, no waiting, no link followed, no errno, descriptor or file of the program's changed. Closed and full
# pipes, sockets, FIFOs, terminals; RLIMIT_FSIZE; links, directories, read-only places; no descriptor left. The report
# of kaio --stats goes to the same places.
set -eu
dd if=/dev/urandom of=data bs=4k count=1 status=none
chmod 666 data
cp data data.before
program=$TESTS_TOP/build/tests/faults/output
fail() { echo "$1"; exit 1; }

runs=0
# unhurt SETTING COMMAND... : COMMAND makes the place, and runs what is put behind it
unhurt() {
    local setting=$1 signals status preload=$KAIO_LIB
    shift
    [[ $setting != KAIO_RECORD=* ]] || preload="$TESTS_TOP/build/libkaio-record.so $KAIO_LIB"
    for signals in $modes; do
        status=0 runs=$((runs + 1))
        timeout -k 1 10 "$@" env LD_PRELOAD="$preload" "$setting" "$program" run "$signals" $how data >out 2>errors || status=$?
        cmp -s data data.before || fail "$setting, $*: written into the program's file"
        [ $status = 0 ] || fail "$setting, $*, signals $signals $how: status $status: $(cat out errors)"
    done
}
how=usual modes="default handled blocked"

# reported WHERE COMMAND...: the same with a report of kaio --stats there
reported() {
    local where=$1 status=0
    shift
    [[ "$*" != *no_size ]] || return 0 # it refuses: there is no room for pages
    runs=$((runs + 1))
    timeout -k 1 10 "$@" "$TESTS_TOP/build/kaio" --internal stats "$where" "$KAIO_LIB" "$program" run default "$how" data >out 2>errors || status=$?
    cmp -s data data.before || fail "report to $where, $*: written into the program's file"
    [ $status = 0 ] || fail "report to $where, $*: status $status: $(cat out errors)"
}

# standard error: what is asked for, a warning, and what cannot be written where it was to go
for place in closed_pipe full_pipe closed_socket full_socket closed_fifo full_fifo full_terminal hung_up_terminal \
    full_device no_descriptor no_size; do
    [[ $place != full_* ]] || modes=default # no signal comes from these, and a report waits for a second
    for setting in KAIO_LOG=1 KAIO_STATS=1 KAIO_DEPTH=nonsense KAIO_LOG=/nowhere/x KAIO_STATS=/nowhere/ \
        KAIO_RECORD=/nowhere/x; do
        unhurt $setting "$program" $place
    done
    reported 1 "$program" $place
    modes="default handled blocked"
done
[ ! -s no_size ] || fail "RLIMIT_FSIZE 0, but it has grown"

# NAME is what each of them finds there
settings() { echo "KAIO_LOG=$1 KAIO_STATS=$1/ KAIO_RECORD=$1"; }
each() { # NAME COMMAND...
    local setting
    for setting in $(settings "$1"); do unhurt "$setting" "${@:2}"; done
    reported "$1" "${@:2}"
    reported "$1.json" "${@:2}"
}

mkdir fresh
each "$PWD/fresh/a" "$program" no_size
mkdir fresh/b
unhurt KAIO_STATS="$PWD/fresh/b/" "$program" no_size
unhurt KAIO_STATS=live "$program" no_size
XDG_RUNTIME_DIR=$PWD/fresh unhurt KAIO_STATS=live "$program" no_size
[ -z "$(find fresh -type f -size +0)" ] && [ -z "$(find fresh -name 'libkaio-*')" ] || fail "left: $(ls -lR fresh)"

mkfifo fifo fifo.json
each "$PWD/fifo" # without a reader
modes=default
each "$PWD/full_fifo" "$program" full_fifo # with one that does not read
modes="default handled blocked"
[ -z "$(find . -name 'fifo.*' ! -name fifo.json ! -name 'fifo.[0-9]*')" ] || fail "$(ls)"

mkdir directory directory.json
each "$PWD/directory"
rm -rf directory/*
chmod 500 directory
setpriv=(setpriv --reuid 65534 --clear-groups)
chmod 755 .
if "${setpriv[@]}" test -r data 2>/dev/null; then
    each "$PWD/directory/x" "${setpriv[@]}"
    unhurt "KAIO_STATS=$PWD/directory/" "${setpriv[@]}"
else
    echo "skipped, as another user: the directory cannot be reached"
fi
each /proc/x
each "$PWD/data/x" # ENOTDIR
mkdir ro
if mount -t tmpfs -o ro none ro 2>/dev/null; then
    (each "$PWD/ro/x" && unhurt "KAIO_STATS=$PWD/ro/") && status=0 || status=1
    umount ro
    [ "$status" = 0 ] || exit 1
else
    echo "skipped, read-only: cannot be mounted here"
fi

for link in link dangling; do
    rm -f victim
    [ $link = dangling ] || echo x >victim
    ln -s victim $link
    ln -s victim $link.json
    for setting in $(settings "$PWD/$link"); do
        [[ $setting != */ ]] || continue # there new files are made only
        unhurt "$setting"
        case $setting in
        *RECORD*) compgen -G "$link.*[0-9]" >/dev/null || fail "$setting: no recording beside it" ;;
        *) grep -q 'cannot be written: .*symbolic links' errors || fail "$setting: not said: $(cat errors)" ;;
        esac
    done
    for where in $link "$PWD/$link.json"; do
        reported "$where"
        grep -q "the report cannot be written: $where: .*symbolic links" errors || fail "$where: not said: $(cat errors)"
    done
    [ "$(cat victim 2>/dev/null)" = "$([ $link = dangling ] || echo x)" ] || fail "$link was followed"
done

# a block device is not overwritten
truncate -s 64k image
if device=$(losetup -f --show image 2>/dev/null); then
    (unhurt "KAIO_LOG=$device" && unhurt "KAIO_STATS=$device" && reported "$device") && status=0 || status=1
    losetup -d "$device"
    [ "$status" = 0 ] && cmp -n 65536 image /dev/zero || fail "a block device was written to"
else
    echo "skipped, a block device: no loop device"
fi

# no descriptor left: a line that needs none comes
how=full
each "$PWD/file"
for setting in KAIO_STATS=live KAIO_LOG=1 KAIO_STATS=1 KAIO_STATS="$PWD/fresh/"; do unhurt "$setting"; done
grep -q 'nothing is published: .*Too many open files' errors || fail "nothing said with no descriptor left: $(cat errors)"

# 2 is the program's own by now (above, no_descriptor: from the beginning)
how=instead
for setting in KAIO_LOG=1 KAIO_STATS=1 KAIO_RECORD=/nowhere/x; do unhurt $setting; done
how=usual

# and what can be written is
kaio_stats=("$TESTS_TOP/build/kaio" --internal stats)
LD_PRELOAD=$KAIO_LIB KAIO_LOG=/dev/stderr "$program" run default usual data 2>errors
[ "$(grep -c 'active\|kernel AIO' errors)" = 2 ] || fail "to a file: $(cat errors)"
KAIO_LOG=1 "${kaio_stats[@]}" 1 "$KAIO_LIB" "$program" run default usual data 2>&1 >out | cat >errors
[ "$(grep -c 'active\|kernel AIO\| 100 requests' errors)" = 3 ] || fail "to a pipe: $(cat errors)"
cat fifo >errors &
exec 3>fifo
KAIO_LOG=$PWD/fifo "${kaio_stats[@]}" fifo "$KAIO_LIB" "$program" run default usual data
exec 3>&-
wait $!
[ "$(grep -c 'active\|kernel AIO\| 100 requests' errors)" = 3 ] || fail "to a FIFO: $(cat errors)"
# a reader who is behind
exec 3<>fifo
head -c 65536 /dev/zero >&3
(sleep 0.3; exec timeout 2 cat <&3 >errors) &
"${kaio_stats[@]}" 1 "$KAIO_LIB" "$program" run default usual data 2>&3
exec 3>&-
wait $! || true
grep -aq ' 100 requests' errors && grep -aq 'inside the calls' errors || fail "no report for a reader who is behind"
echo "note: $runs runs"
