#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A program of ACE's Proactor (ace.cc), both of its ways to wait, copies a file and talks through sockets:
# the data is right, under glibc and under the library, which gets all of its requests.
set -eu
g++ -O1 -o ace "$TESTS_TOP/tests/apps/ace.cc" -lACE >log 2>&1 || { echo "ace.cc cannot be built: $(head -n 1 log)"; exit 77; }
head -c 2000000 /dev/urandom >from
for way in aiocb sig; do
    for library in "" "$KAIO_LIB"; do
        rm -rf to stats
        mkdir stats
        LD_PRELOAD=$library KAIO_STATS=$PWD/stats ./ace $way from to >log 2>&1 || { cat log; exit 1; }
        cmp from to
    done
    "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
    jq -c .requests report.json
    jq -e '.requests | .read > 480 and .write > 480' report.json >log # 8 KiB each, file and socket
done
