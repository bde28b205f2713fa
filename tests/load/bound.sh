#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 262,144 requests are in progress (bound.c): the next are refused and cost nothing, and there is room again.
set -euo pipefail
for setting in KAIO_MODE=auto KAIO_MODE=worker; do
    status=0
    env $setting LD_PRELOAD="$KAIO_LIB" "$TESTS_TOP/build/tests/load/bound" >log || status=$?
    [ $status = 0 ] || { echo "$setting:"; tail -n 40 log; exit $status; }
done
