#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# stress-ng's POSIX AIO stressor (signals, never aio_return) verifies what it reads. Its processes end
# by _exit(), so that they use the shim is seen in the log, not in a report.
set -eu
KAIO_LOG=$PWD/log LD_PRELOAD=$KAIO_LIB stress-ng --aio 2 --verify --aio-requests 32 -t $((5 * ${TEST_SLOW:-1})) \
    --temp-path "$PWD" --metrics-brief
[ "$(grep -c 'kernel AIO: depth' log)" = 2 ] || { cat log; exit 1; }
