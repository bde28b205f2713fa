#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# slowfs.sh - sourced: slowfs_start mounts slowfs.c on ./slow, and its log is ./log; slowfs_stop
# ends it.

# Answers when it is mounted.
slowfs_start() {
    if [ ! -e slowfs ]; then
        local fuse
        mkdir slow
        read -ra fuse <<<"$(pkg-config --cflags --libs fuse3)"
        gcc -O2 -std=gnu11 -Wall -Wextra -Werror -o slowfs "$TESTS_TOP/tests/lib/fuse/slowfs.c" "${fuse[@]}"
        slowfs_top=$PWD
        trap '! mountpoint -q "$slowfs_top/slow" || fusermount3 -uz "$slowfs_top/slow"' EXIT
    fi
    ./slowfs log slow >slowfs.out 2>&1 &
    slowfs_pid=$!
    until mountpoint -q slow; do
        kill -0 "$slowfs_pid" 2>kill.out || return 1
        sleep 0.05
    done
}

slowfs_stop() {
    fusermount3 -u slow || fusermount3 -uz slow
    wait "$slowfs_pid"
}
