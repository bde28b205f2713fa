#!/usr/bin/env bash
# Stock fio writes with checksums and reads back. First, on the scratch directory's filesystem: direct and
# buffered random writes with aio_fsync, four threads, mixed sizes. Then every direction of --rw x direct
# and buffered x 1 and 4 jobs x threads and processes, on ext4, xfs, btrfs (in an image) and tmpfs.
set -eu
common=(--ioengine=posixaio --bs=4k --rw=randwrite --iodepth=16 --verify=crc32c --verify_fatal=1
    --do_verify=1 --group_reporting --thread)
run() {
    echo "fio $*"
    KAIO_STATS=$PWD/report LD_PRELOAD=$KAIO_LIB fio "${common[@]}" "$@" >log 2>&1 || { cat log; exit 1; }
    if grep -qi 'verify.*bad\|verify: ' log; then cat log; exit 1; fi
    grep 'by the kernel\|by workers' report
    rm -f report
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
size=512k
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
            echo "direct=$direct"
            echo "numjobs=$numjobs"
            [ $thread = 0 ] || echo thread
        done
    done; done; done
}
jobs >all.fio

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
    KAIO_STATS=$PWD/report.json LD_PRELOAD=$KAIO_LIB fio ../all.fio --output-format=json --output=fio.json
    jq -e '[.jobs[] | .error] | length >= 49 and all(. == 0)' fio.json >log || { cat fio.json; return 1; }
    # the jobs that are threads (those that are processes end by _exit): all by AIO
    jq -e '.requests | .read >= 7680 and .write > 3072' report.json >log || { cat report.json; return 1; }
    jq -c "[\"$1\", .requests, (.lanes | map_values(.requests))]" report.json
}
processes=() status=0
for type in ext4 xfs btrfs tmpfs; do
    (set -e; on $type) >$type.log 2>&1 &
    processes+=($!)
done
for process in "${processes[@]}"; do wait "$process" || status=1; done
cat ./*.log
exit $status
