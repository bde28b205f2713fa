# SPDX-License-Identifier: MIT
# busy.sh - sourced by bench: the four ways in which a host has no CPU to spare (--busy). A cell's
# name begins with the way. Needs $directory; sets $within, the words before the command.
# shellcheck shell=bash disable=SC2034,SC2154

ways=("busy loops" "half a CPU" "one CPU" "64 processes")
within=() loops=() group=

# can_have_half: makes a control group with half a CPU. False: cannot be had here.
can_have_half() {
    local parent
    for parent in /sys/fs/cgroup/cpu /sys/fs/cgroup; do
        group=$parent/kaio-bench.$$
        [ -e "$parent/cgroup.procs" ] && mkdir "$group" 2>/dev/null || continue
        { echo 50000 >"$group/cpu.cfs_quota_us"; } 2>/dev/null && return 0
        { echo +cpu >"$parent/cgroup.subtree_control" && echo "50000 100000" >"$group/cpu.max"; } \
            2>/dev/null && return 0
        rmdir "$group"
    done
    group=
    return 1
}

# busy_begin WAY, busy_end: around each run
busy_begin() {
    local cpu
    within=()
    case $1 in
    "busy loops")
        for cpu in $(cpus); do
            taskset -c "$cpu" sh -c 'while :; do :; done' &
            loops+=($!)
        done
        ;;
    "half a CPU") within=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group") ;;
    "one CPU") within=(taskset -c "$(cpus | head -n 1)") ;;
    esac
}
busy_end() {
    [ ${#loops[@]} = 0 ] || kill "${loops[@]}"
    wait "${loops[@]}" 2>/dev/null || true
    loops=()
}

# cpus: those that may be used, one a line
cpus() {
    taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' | while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done
}

# busy_arguments WAY ARGUMENTS: fio's, that way
busy_arguments() {
    case $1 in
    "64 processes") echo "${2// --thread/} --numjobs=64 --iodepth=1" ;;
    *) echo "$2" ;;
    esac
}

busy_taken_down() {
    busy_end
    [ -z "$group" ] || rmdir "$group"
}
