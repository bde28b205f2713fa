# SPDX-License-Identifier: MIT
# growth.sh - sourced by bench: the runs of tests/bench/growth.c (--growth) and of locks.c (--locks).
# Needs $top $directory $pairs $pattern and bench's functions.
# shellcheck shell=bash disable=SC2154

# growth: each axis that the pattern names, from its least size on. A side that does not come to an
# end in time, or that fails, has no larger sizes.
growth() {
    local axis sizes size pair side gone found=
    while IFS=$'\t' read -r axis sizes <&3; do
        [[ "growth $axis" == *"$pattern"* ]] || continue
        found=1 gone=' '
        for size in $sizes; do
            for pair in $(seq "$pairs"); do
                for side in glibc shim; do
                    [[ $gone != *" $side "* ]] || continue
                    progress "growth $axis: $size, pair $pair of $pairs, $side"
                    run_in_time "$side" growth "$axis" "$size" >"$directory/run" || {
                        finished "growth $axis: $side cannot do $size: $(tail -n 1 "$directory/failed")"
                        gone+="$side "
                        continue
                    }
                    jq -nc '$ARGS.named' --arg growth "$axis" --argjson size "$size" --arg side "$side" \
                        --argjson pair "$pair" --argjson ns "$(cat "$directory/run")" >>"$runs"
                done
            done
        done
        finished "growth $axis: done"
    done 3< <("$top/build/tests/bench/growth")
    [ "$found" ] || refuse "no axis's name contains '$pattern'"
}

# locks: each kind of request, on one thread and on two, with longer and longer holds of the lock
locks() {
    local kind pair threads add found=
    while read -r kind <&3; do
        [[ "locks $kind" == *"$pattern"* ]] || continue
        found=1
        for pair in $(seq "$pairs"); do
            for add in 0 500 1000 2000 4000; do
                for threads in 1 2; do
                    progress "locks $kind: pair $pair of $pairs, $threads threads, + $add ns"
                    HOLDS_ADD_NS=$add run_in_time tests/bench/libkaio-holds locks "$kind" "$threads" \
                        >"$directory/run" || {
                        echo "bench: locks failed ($kind): $(tail -n 1 "$directory/failed")" >&2
                        exit 1
                    }
                    jq -c --raw-input --arg kind "$kind" --argjson threads "$threads" --argjson add $add '
                        split("\t") | map(tonumber) | {locks: $kind, threads: $threads, add_ns: $add,
                        rate: .[0], holds: .[1], held_ns: .[2], waited_ns: .[3]}' "$directory/run" >>"$runs"
                done
            done
        done
        finished "locks $kind: done"
    done 3< <("$top/build/tests/bench/locks")
    [ "$found" ] || refuse "no kind's name contains '$pattern'"
}

# run_in_time SIDE PROGRAM ARGUMENT...: SIDE as in bench, or the path of a library below build
run_in_time() {
    local preload="" limit=60 status=0
    [ -z "${BENCH_QUICK-}" ] || limit=10
    case $1 in
    glibc) ;;
    shim) preload=$top/build/libkaio.so ;;
    *) preload=$top/build/$1.so ;;
    esac
    (cd "$directory" && LD_PRELOAD=$preload exec timeout --foreground -k 1 $limit \
        "$top/build/tests/bench/$2" "${@:3}") 2>"$directory/failed" || status=$?
    [ $status -lt 124 ] || echo "not within $limit s" >"$directory/failed"
    return $status
}
