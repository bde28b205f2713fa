#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Stock fio writes with checksums and reads back. First, on the scratch directory's filesystem: direct and
# buffered random writes with aio_fsync, four threads, mixed sizes. Then every direction of --rw x direct
# and buffered x 1 and 4 jobs x threads and processes, on ext4, xfs, btrfs (in an image) and tmpfs. Each makes as
# many requests as fio counts, and the kernel has most that are direct, also of the processes, which end by _exit().
set -eu
common=(--ioengine=posixaio --bs=4k --rw=randwrite --iodepth=16 --verify=crc32c --verify_fatal=1
    --do_verify=1 --group_reporting --thread)
run() {
    echo "fio $*"
    rm -rf stats
    mkdir stats
    KAIO_STATS=$PWD/stats LD_PRELOAD=$KAIO_LIB fio "${common[@]}" "$@" >log 2>&1 || { cat log; exit 1; }
    if grep -qi 'verify.*bad\|verify: ' log; then cat log; exit 1; fi
    "$TESTS_TOP/build/kaio" top --json --report stats/* | jq -c '.lanes | map_values(.requests)'
}
run --name=direct --size=16m --direct=1 --fsync=16
run --name=buffered --size=16m --fdatasync=16
run --name=threads --size=8m --direct=1 --fsync=32 --numjobs=4
run --name=mixed --size=8m --rw=randrw --bsrange=512-64k --numjobs=2 --fsync=64

# One fio for each filesystem, in which the jobs follow each other: what forks has used AIO before.
jobs() {
    local direct numjobs thread rw
    echo "[global]
ioengine=posixaio
bs=4k
iodepth=16
size=1m
directory=mounted
verify=crc32c
verify_fatal=1
stonewall
group_reporting
unlink=1
[written]
filename=written
rw=write
unlink=0"
    for direct in 0 1; do for numjobs in 1 4; do for thread in 0 1; do
        for rw in read randread write randwrite rw randrw; do
            echo "[$rw-$direct-$numjobs-$thread]"
            echo "rw=$rw"
            [[ $rw != *read ]] || printf 'filename=written\nunlink=0\n'
            printf 'direct=%s\nsize=%sk\n' $direct $((512 << direct)) # the first 64 requests are never the kernel's
            echo "numjobs=$numjobs"
            [ $thread = 0 ] || echo thread
        done
    done; done; done
}
jobs >all.fio

# What is wrong of the processes' figures, in the order in which they began; $main has the threads'.
cat >wrong.jq <<'JQ'
def all(f): map(f) | add;
def job: (.jobname / "-") as [$rw, $direct, $n, $thread]
    | {name: .jobname, reads: .read.total_ios, writes: .write.total_ios, direct: ($direct == "1"),
       n: ($n // "1" | tonumber), thread: ($thread == "1")};
def lacks: .reads > (.pages | all(.requests.read)) or .writes > (.pages | all(.requests.write));
# btrfs cannot write to a new place without waiting
def most($op): 2 * all(.lanes.kernel.completion_us[$op].count // 0) > all(.requests[$op]);
def elsewhere: .pages | (most("read") and ($type == "btrfs" or 2 * all(.lanes.kernel.requests) >
    all(.requests.read + .requests.write)) | not);
. as $pages | ($fio[0].jobs | map(job)) as $jobs | map(select(.pid != $main)) as $processes
| reduce ($jobs[] | select(.thread | not)) as $job ({from: 0, jobs: []};
    .jobs += [$job + {pages: $processes[.from:.from + $job.n]}] | .from += $job.n)
| (.jobs[] | select(lacks or (.direct and $type != "tmpfs" and elsewhere))),
  (select(.from != ($processes | length)) | "\($processes | length) processes, not \(.from)"),
  ($jobs | map(select(.thread)) | {name: "threads", reads: all(.reads), writes: all(.writes),
    pages: ($pages | map(select(.pid == $main)))} | select(lacks))
JQ

# on TYPE: in a directory of its own, since all four run at once: fio mostly waits for its own clock
on() {
    mkdir "$1"
    cd "$1"
    mkdir mounted
    trap '! mountpoint -q "$PWD/mounted" || umount "$PWD/mounted" || umount -l "$PWD/mounted"' EXIT
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o size=400M kaio-test mounted
    else
        truncate -s 400M image && "mkfs.$1" -q image && mount -o loop image mounted
    fi || { echo "skipped, $1: cannot be mounted here"; return 0; }
    mkdir stats
    KAIO_STATS=$PWD/stats/ LD_PRELOAD=$KAIO_LIB fio ../all.fio --output-format=json --output=fio.json &
    wait $!
    jq -e '[.jobs[] | .error] | length >= 49 and all(. == 0)' fio.json >log || { cat fio.json; return 1; }
    # their names end in the time at which they began
    find stats -type f | sort -t . -k 2n | xargs "$TESTS_TOP/build/kaio" top --json --report >report.json
    jq -cs --arg type "$1" --argjson main $! --slurpfile fio fio.json -f ../wrong.jq report.json >wrong
    [ ! -s wrong ] || { cut -c -1000 wrong; return 1; }
    jq -cs --arg type "$1" 'def all(f): map(f) | add;
        [$type, "\(length) processes", {read: all(.requests.read), write: all(.requests.write)},
         {kernel: all(.lanes.kernel.requests), worker: all(.lanes.worker.requests)}]' report.json
}
processes=() status=0
for type in ext4 xfs btrfs tmpfs; do
    (set -e; on $type) >$type.log 2>&1 &
    processes+=($!)
done
for process in "${processes[@]}"; do wait "$process" || status=1; done
cat ./*.log
exit $status
