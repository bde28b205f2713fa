# SPDX-License-Identifier: MIT
# run.sh - sourced by bench: one run of fio or of a microbenchmark, as lines of JSON.
# Needs $top $directory $memory $seconds $size.
# shellcheck shell=bash disable=SC2034,SC2154

# place WHERE: the directory of its files
place() {
    case $1 in
    disk) echo "$directory" ;;
    memory) echo "$memory" ;;
    *) echo "$directory/$1" ;;
    esac
}

# lay_out WHERE: writes the file that the cells there use. False: cannot be had here.
lay_out() {
    local image=$directory/$1.image
    case $1 in
    disk) set -- "$directory" --direct=1 ;;
    memory) set -- "$memory" ;;
    *)
        mkdir "$directory/$1"
        truncate -s $((5 * size + 300))M "$image"
        case $1 in
        loop) device=$(losetup --direct-io=on -f --show "$image") && ln -s "$device" "$directory/loop/data" ;;
        *) "mkfs.$1" -q "$image" && mount -o loop "$image" "$directory/$1" ;;
        esac >/dev/null 2>"$directory/failed" || {
            finished "$1: left out: $(tail -n 1 "$directory/failed")"
            return 1
        }
        set -- "$directory/$1" --direct=1
        ;;
    esac
    fio_side psync "$1" 1 --filename=data --size="$size"m --rw=write --bs=1m --time_based=0 \
        --runtime=0 "${@:2}" --output=/dev/null || {
        echo "bench: fio could not write $size MiB to $1: $(tail -n 1 "$1/fio.err")" >&2
        exit 1
    }
}

# taken_down: what lay_out() has made
taken_down() {
    local where
    busy_taken_down
    for where in xfs btrfs; do ! mountpoint -q "$directory/$where" || umount "$directory/$where"; done
    [ -z "${device-}" ] || losetup -d "$device"
    rm -rf "$directory" "$memory"
}

# prepare WHERE BEFORE: brings the page cache into the state that the cell starts from
prepare() {
    local where
    [ "$1" != memory ] || return 0
    where=$(place "$1")
    rm -f "$where/new" "$where/appended"
    sync -d "$where/data"
    case $2 in
    warm) cat "$where/data" >/dev/null ;;
    cold) dd of="$where/data" oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null ;;
    esac
}

# fio_json SIDE DIRECTORY SECONDS FIO-ARGUMENT...: runs fio once and prints one line of JSON. fio
# itself reports only the CPU time of its own thread, without glibc's helpers; so it is time(1)'s,
# less that of a run of a single request ($startup). Latency is from submission to completion: what
# fio calls completion latency would leave out what an engine does while it submits.
fio_json() {
    # shellcheck disable=SC2034 # used by fio_side()
    local around=("${within[@]}" time -q -o "$directory/usage" -f '%U %S %c %w')
    if ! fio_side "$@" --lat_percentiles=1 --clat_percentiles=0 --output-format=json \
        --output="$directory/fio.json"; then
        echo "bench: fio failed ($*): $(tail -n 1 "$2/fio.err")" >&2
        return 1
    fi
    # fio may print a remark before its JSON
    sed -n '/^{/,$p' "$directory/fio.json" |
        jq -c --arg usage "$(tail -n 1 "$directory/usage")" --arg startup "$startup" '
        def sum($columns): split(" ") | map(tonumber) | .[$columns[0]] + .[$columns[1]];
        def used($columns): [0, ($usage | sum($columns)) - ($startup | sum($columns))] | max;
        .jobs[0] | [.read, .write] as $ways | ($ways | max_by(.total_ios)) as $way |
        ($ways | map(.total_ios) | add) as $requests |
        {iops: ($ways | map(.iops) | add), requests: $requests,
            p50_us: ($way.lat_ns.percentile["50.000000"] / 1000),
            p99_us: ($way.lat_ns.percentile["99.000000"] / 1000),
            cpu_us: (used([0, 1]) * 1e6 / $requests), switches: (used([2, 3]) / $requests)}'
}

# measure_startup: sets $startup to what fio uses before and after its requests
measure_startup() {
    startup="0 0 0 0"
    fio_json glibc "$memory" 1 --filename=startup --size=4k --rw=write --time_based=0 \
        --runtime=0 >/dev/null
    startup=$(tail -n 1 "$directory/usage")
}

# run SIDE WHERE BEFORE ARGUMENTS WAY: one run of a cell; on a busy host, if a WAY is given
run() {
    local where arguments status=0 also=
    where=$(place "$2")
    arguments=$(busy_arguments "$5" "$4")
    case $arguments in
    *--filename=appended*) also=$top/build/tests/bench/append.so ;;&
    *--filename=*) arguments="--size=$((4 * size))m $arguments" ;;
    *) arguments="--filename=data --size=${size}m $arguments" ;;
    esac
    prepare "$2" "$3"
    busy_begin "$5"
    # shellcheck disable=SC2086 # several arguments
    fio_json "$1" "$where" "$seconds" $arguments || status=$?
    busy_end
    return $status
}

# run_micro SIDE NAME ARGUMENT...: one run of tests/bench/NAME.c, a line of JSON for each figure
run_micro() {
    local preload=
    [ "$1" = glibc ] || preload=$top/build/libkaio.so
    (cd "$directory" && LD_PRELOAD=$preload exec timeout --foreground 60 "$top/build/tests/bench/$2" "${@:3}") \
        >"$directory/figures" || {
        echo "bench: tests/bench/$2 failed under $1" >&2
        return 1
    }
    jq -cR 'split("\t") | {figure: .[0], unit: .[1], better: .[2], value: (.[3] | tonumber)}' \
        "$directory/figures"
}
