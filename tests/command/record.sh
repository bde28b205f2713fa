#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio record: what was asked for is in the file, and fio replays just that; nothing is lost in forked
# children, by _exit(), nor with more files than there is room for, nor when the program closes the recording's
# descriptor; a full disk stops only the recording. libkaio-record.so works alone, too. At the end it says what is
# in the file, and the fio command that replays it does.
set -eu
fail() { echo "$1"; exit 1; }
export -n KAIO_LIB # no variable of the library
dd if=/dev/urandom of=data bs=1M count=1 status=none
record() { "$TESTS_TOP/scripts/kaio" record "$@"; }
recorder=$TESTS_TOP/build/libkaio-record.so
every=$TESTS_TOP/build/tests/lib/every
watch=$TESTS_TOP/build/tests/command/watch

# asked FILE...: "reads bytes writes bytes syncs datasyncs" of recordings
asked() {
    awk '{ n[$3]++; bytes[$3] += $5 }
         END { print n["read"] + 0, bytes["read"] + 0, n["write"] + 0, bytes["write"] + 0, n["sync"] + 0, n["datasync"] + 0 }' "$@"
}
# replayed FILE [FIO-ARGUMENT...]: the same, of what fio does with it, as strace sees it
replayed() {
    local file=$1
    shift
    rm -f trace.*
    strace -ff -y -o trace -e trace=pread64,pwrite64,fsync,fdatasync \
        fio --name=replay --read_iolog="$file" --ioengine=psync --replay_no_stall=1 "$@" >fio.log 2>&1 ||
        fail "fio: $(cat fio.log)"
    awk '{ call = $1; sub(/\(.*/, "", call); n[call]++; if ($NF > 0) bytes[call] += $NF }
         END { print n["pread64"] + 0, bytes["pread64"] + 0, n["pwrite64"] + 0, bytes["pwrite64"] + 0, n["fsync"] + 0, n["fdatasync"] + 0 }' \
        <(cat trace.* | grep -F "<$PWD/")
}
# valid FILE: a header, and no request but of a file that is known and open
valid() {
    awk 'NR == 1 { if ($0 != "fio version 3 iolog") bad = 1; next }
         $3 == "add" { known[$2] = 1; next }
         $3 == "open" { if (!known[$2] || open[$2]) bad = 1; open[$2] = 1; next }
         $3 == "close" { if (!open[$2]) bad = 1; delete open[$2]; next }
         { if (!open[$2] || NF != 5) bad = 1 }
         END { exit bad }' "$1" || fail "$1 is no iolog: $(head -n 5 "$1") ... $(tail -n 2 "$1")"
}

# told PATTERN: kaio record has said so
told() { grep -Eqx -- "$1" errors || fail "nowhere: $1: $(cat errors)"; }
# as_printed READS,WRITES: what fio does with the command that kaio record has printed
as_printed() {
    [ "$(grep -c '^    fio ' errors)" = 1 ] || fail "no command: $(cat errors)"
    sh -c "$(sed -n 's/^    fio /fio /p' errors)" >fio.log 2>&1 || fail "as printed: $(cat fio.log)"
    [ "$(sed -n 's/.*issued rwts: total=\([0-9,]*\) .*/\1/p' fio.log | awk -F, '{ r += $1; w += $2 } END { print r "," w }')" = "$1" ] ||
        fail "as printed: $(cat fio.log)"
}

for mode in auto off; do
    echo old >log
    KAIO_MODE=$mode record -o log -- "$every" data 2>errors || fail "status"
    grep -q 'left out of the recording: 1 of streams, 0 of' errors || fail "the pipe: $(cat errors)"
    valid log
    [ "$(asked log)" = "144 589824 1 4096 1 1" ] || fail "$mode: $(asked log)"
    [ "$(replayed log)" = "144 589824 1 4096 1 1" ] || fail "replayed: $(replayed log)"
    told "kaio: 144 reads of 576 KiB, 1 write of 4.0 KiB, 2 syncs recorded in $PWD/log; fio replays them:"
    told "    fio --name=replay --read_iolog=$PWD/log --ioengine=libaio --iodepth=32 --direct=1"
    told 'It writes where the command wrote: replay on copies.'
    as_printed 144,1
done
fio --name=replay --read_iolog=log --ioengine=libaio --iodepth=32 --replay_no_stall=1 \
    --output-format=json >fio.json
jq -e '.jobs[0] | .read.total_ios == 144 and .write.total_ios == 1' fio.json >/dev/null || fail "libaio"

rm -f log*
echo "fio version 3 iolog" | tee log.1 >log.name # somebody's
record -o log "$watch" forked data 2>errors
told "kaio: 16 reads of 46.5 KiB, 0 writes of 0 bytes, 0 syncs recorded in $PWD/log and 1 more, a file for each process; fio replays them:"
told "    fio --name=replay --numjobs=2 --read_iolog=$PWD/log:$PWD/log.[0-9]+ --ioengine=libaio --iodepth=32"
! grep -q copies errors || fail "nothing is written: $(cat errors)"
as_printed 16,0
rm log.1 log.name
valid log
[ "$(asked log)" = "11 45056 0 0 0 0" ] || fail "parent: $(cat log)"
[ "$(asked log.*)" = "5 2560 0 0 0 0" ] || fail "child: $(ls)"

rm -f log*
touch log # KAIO_RECORD by hand, and there is one already
KAIO_RECORD=log LD_PRELOAD="$recorder $KAIO_LIB" "$watch" executed data
[ "$(wc -l log.* | awk '{ print $1 }' | paste -sd' ')" = "6 6 12" ] || fail "after execve(): $(ls)"

# on glibc's AIO alone
rm -f log*
KAIO_RECORD=$PWD/log LD_PRELOAD=$recorder "$every" data 2>errors || fail "alone: status"
grep -q 'left out of the recording: 1 of streams, 0 of' errors || fail "alone, the pipe: $(cat errors)"
[ "$(asked log)" = "144 589824 1 4096 1 1" ] || fail "alone: $(asked log)"
[ "$(replayed log)" = "144 589824 1 4096 1 1" ] || fail "alone, replayed: $(replayed log)"

# the program closes the descriptor, and puts files of its own on the number
for preload in "$recorder $KAIO_LIB" "$recorder"; do
    rm -f log* own
    KAIO_RECORD=$PWD/log LD_PRELOAD=$preload "$watch" closes data || fail "closes: $preload"
    valid log
    [ "$(asked log)" = "15 61440 0 0 0 0" ] || fail "closes: $preload: $(cat log)"
done

# loaded for nothing, or not loaded
LD_PRELOAD="$recorder $KAIO_LIB" "$every" data >out 2>&1 && [ ! -s out ] || fail "not asked for: $(cat out)"
for preload in "$KAIO_LIB" "$KAIO_LIB $recorder"; do
    rm -f log*
    KAIO_RECORD=$PWD/log LD_PRELOAD=$preload "$every" data >out 2>&1 || fail "not in front: status"
    [ "$(wc -l <out)" = 1 ] && grep -q 'nothing is recorded without libkaio-record.so; .*kaio record -o FILE' out &&
        [ ! -e log ] || fail "not in front: $preload: $(cat out)"
done
KAIO_RECORD=0 LD_PRELOAD=$KAIO_LIB "$every" data >out 2>&1 && [ ! -s out ] || fail "KAIO_RECORD=0: $(cat out)"
for bad in '' 1 007 /dev/stderr "$(printf '/%01024d' 1)"; do
    KAIO_RECORD=$bad LD_PRELOAD=$recorder "$every" data >out 2>&1 || fail "KAIO_RECORD=$bad: status"
    [ "$(wc -l <out)" = 1 ] && grep -q 'KAIO_RECORD=.* is not understood (accepted: 0 or a file.s path)' out ||
        fail "KAIO_RECORD=$bad: $(cat out)"
done
[ ! -e 1 ] && [ ! -e 007 ] || fail "a number has become a file"

# fio's jobs are forked and end by _exit(); their files are laid out without AIO
rm -f log*
record -o log fio --name=x --numjobs=2 --size=1m --rw=randrw --ioengine=posixaio --iodepth=8 \
    --fsync=8 --output-format=json >fio.json || fail "fio: $(cat fio.json)"
ios=$(jq -r '[.jobs[].read.total_ios, .jobs[].write.total_ios] | add' fio.json)
read -r reads _ writes _ syncs _ < <(asked log log.*)
[ $((reads + writes)) = "$ios" ] && [ "$ios" = 512 ] && [ "$syncs" -gt 0 ] || fail "fio: $ios; $(asked log log.*)"
for file in log log.*; do
    valid "$file"
    [ "$(replayed "$file")" = "$(asked "$file")" ] || fail "replayed: $(replayed "$file"), asked: $(asked "$file")"
done

rm -f log*
record -o log fio --name=t --filename=shared --numjobs=4 --thread --size=1m --rw=randread --ioengine=posixaio --iodepth=8 >fio.log
valid log
[ "$(asked log)" = "1024 4194304 0 0 0 0" ] || fail "threads: $(asked log)"

rm -f log*
record -o log "$watch" files data
valid log
[ "$(asked log)" = "2200 9011200 0 0 0 0" ] || fail "files: $(asked log)"
[ "$(grep -c 'open$' log)" -gt 1100 ] || fail "there was room for all files"
ulimit -n 4096
[ "$(replayed log)" = "2200 9011200 0 0 0 0" ] || fail "files, replayed: $(replayed log)"
rm -f many.* log*

# a number that becomes another file, which may have the inode of the last
for preload in "$recorder $KAIO_LIB" "$recorder"; do
    rm -f log
    KAIO_RECORD=$PWD/log LD_PRELOAD=$preload "$watch" renumbered data || fail "renumbered: status"
    valid log
    [ "$(awk '$3 == "read" { n[$2]++ } END { for (name in n) print name, n[name] }' log | sort -V)" = \
        "$(for i in {0..59}; do echo "$PWD/re.$i 2"; done)" ] || fail "renumbered: $(cat log)"
done
# the path is looked up once
rm log
KAIO_RECORD=$PWD/log strace -f -o trace -e trace=readlink,readlinkat -E LD_PRELOAD="$recorder" "$watch" often data
[ "$(asked log)" = "5000 20480000 0 0 0 0" ] && [ "$(grep -c '"/proc/self/fd/' trace)" = 1 ] || fail "looked up: $(wc -l trace)"
rm log

# some direct, some not; names that a shell or fio would take for something else
cp data buffered
record -o "a:b 'c\$d" sh -c '"$1" data; exec "$2" forked buffered' sh "$every" "$watch" 2>errors
told 'Only some of the files were open with O_DIRECT; fio has one --direct for all\.'
! grep -q 'direct=1$' errors || fail "direct: $(cat errors)"
as_printed 160,1
rm -f a:b*

# what it says of nothing; it ends as the command does
record -o log true 2>errors
told 'kaio: nothing is recorded: the command made no request of a file by POSIX AIO'
mkfifo begun
"$TESTS_TOP/scripts/kaio" record -o log sh -c 'trap "exit 9" TERM; echo >begun; while :; do sleep 0.05; done' 2>errors &
read -r _ <begun
kill $!
status=0
wait $! || status=$?
[ $status = 9 ] && grep -q 'nothing is recorded' errors || fail "SIGTERM: $status: $(cat errors)"

cp data 'a file'
record -o log "$watch" often 'a file' 2>errors
grep -q 'and 0 of\|, 5000 of files' errors || fail "a space: $(cat errors)"
(ulimit -f 100; record -o log "$watch" often data 2>errors) || fail "RLIMIT_FSIZE: $?"
[ "$(grep -c 'recording ends' errors)" = 1 ] && grep -q 'recording ends: .*File too large; the program goes on' errors || fail "RLIMIT_FSIZE: $(cat errors)"
valid log

mkdir full
if mount -t tmpfs -o size=64k none full 2>/dev/null; then
    status=0
    record -o full/log "$watch" often data 2>errors || status=$?
    cp full/log log
    umount full
    [ $status = 0 ] || fail "full: status $status"
    [ "$(grep -c 'recording ends' errors)" = 1 ] && grep -q 'recording ends: .*No space left' errors || fail "full: $(cat errors)"
    valid log
    [ "$(replayed log)" = "$(asked log)" ] || fail "full: $(replayed log) of $(asked log)"
else
    echo "skipped, a full tmpfs: cannot be mounted here"
fi

# refused STATUS PATTERN ARGUMENT...
refused() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    record "$@" >out 2>errors || status=$?
    [ $status = "$wanted" ] && [ "$(wc -l <errors)" = 1 ] && grep -q "$pattern" errors || fail "$*: $status: $(cat errors)"
}
refused 125 'no file to write to' true
refused 125 'no command' -o log
refused 125 'not an option' --nonsense true
refused 125 'cannot be written to' -o /nowhere/log true
refused 125 'is not a file' -o full true
refused 127 'not found' -o log no-such-command
