#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Neighbours of a list are copied eight by one call: 64 reads of a file in the page cache, and as many of a file in
# memory, which first refuses an offer.
set -eu
strace -f -o trace -e trace=preadv,preadv2 env LD_PRELOAD="$KAIO_LIB" "$TESTS_TOP/build/tests/lanes/joined"
cached=$(grep -c 'preadv2(.*, 8, [0-9]*, RWF_NOWAIT) = 32768' trace) || true
memory=$(grep -c 'preadv(.*, 8, [0-9]*) = 32768' trace) || true
[ "$cached" = 8 ] && [ "$memory" = 8 ] || { echo "cached: $cached calls, memory: $memory"; cat trace; exit 1; }
