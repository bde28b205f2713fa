# SPDX-License-Identifier: MIT
# measure.sh - sourced by demo and bench: one fio run, medians, the machine. Needs $top.
# shellcheck shell=bash disable=SC2154

around=() # words that stand before the command: bench's time(1)
also=     # a library to be preloaded on every side

# fio_side SIDE DIRECTORY SECONDS FIO-ARGUMENT...: runs fio once.
# SIDE: glibc or shim (engine posixaio), or the name of a native engine; psync*16: by so many threads.
fio_side() {
    local side=$1 where=$2 seconds=$3 engine=posixaio preload=
    shift 3
    case $side in
    glibc) ;;
    shim) preload=$top/build/libkaio.so ;;
    psync\**) engine=psync && set -- "$@" --thread --numjobs="${side#*\*}" ;;
    *) engine=$side ;;
    esac
    "${around[@]}" env LD_PRELOAD="$preload $also" timeout --foreground $((seconds + 60)) fio --name=x \
        --directory="$where" --ioengine="$engine" --runtime="$seconds" --time_based \
        --group_reporting --randrepeat=0 "$@" 2>"$where/fio.err"
}

# fio_iops SIDE DIRECTORY SECONDS FIO-ARGUMENT...: runs fio once and prints its IOPS.
fio_iops() {
    fio_side "$@" --minimal | awk -F';' '
        NF > 50 { print $8 + $49; found = 1 }
        END { exit !found }' || {
        echo "fio failed ($*):" >&2
        cat "$2/fio.err" >&2
        return 1
    }
}

# median: of the numbers on standard input, one a line
median() {
    sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# machine: one line about what this was measured on
machine() {
    local model
    model=$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)
    echo "$(nproc) CPUs ($model), Linux $(uname -r), $(findmnt -no FSTYPE -T "$1"), $(fio --version)"
}
