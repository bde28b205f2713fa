# measure.sh - sourced by demo and bench: one fio run, pairs of them, medians. Needs $top.
# shellcheck shell=bash disable=SC2154

# fio_iops SIDE DIRECTORY SECONDS FIO-ARGUMENT...: runs fio once and prints its IOPS.
# SIDE: glibc or shim (engine posixaio), or the name of a native engine.
fio_iops() {
    local side=$1 directory=$2 seconds=$3 engine=posixaio preload=
    shift 3
    case $side in
    glibc) ;;
    shim) preload=$top/build/libkaio.so ;;
    *) engine=$side ;;
    esac
    LD_PRELOAD=$preload timeout $((seconds + 60)) fio --name=x --directory="$directory" \
        --ioengine="$engine" --runtime="$seconds" --time_based --group_reporting --minimal \
        --randrepeat=0 "$@" 2>"$directory/fio.err" | awk -F';' '
        NF > 50 { print $8 + $49; found = 1 }
        END { exit !found }' || {
        echo "fio failed ($side $*):" >&2
        cat "$directory/fio.err" >&2
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
