#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# close() while a tracer holds a read() where it begins: it is not asleep in the file yet (entering.c).
set -eu
strace -f -o trace -e trace=read -e inject=read:delay_enter=100000:when=1 \
    -E LD_PRELOAD="$KAIO_LIB" -E TEST_SIDE=shim "$TESTS_TOP/build/tests/races/entering" >out
grep -q DELAYED trace || { echo "no read() was delayed: $(tail -n 5 trace)"; exit 1; }
diff out - <<END
closed: 0
read: 0, 0
left: 7
done
END
