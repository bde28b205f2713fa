#!/usr/bin/env bash
# Stock fio writes with checksums and reads back: direct and buffered, random writes with aio_fsync,
# four threads.
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
