#!/usr/bin/env bash
# The library exports exactly the functions of symbols.txt, under no version.
set -eu
nm -D --defined-only --with-symbol-versions "$KAIO_LIB" | awk '{ print $NF }' | LC_ALL=C sort >exported
diff "$TESTS_TOP/tests/package/symbols.txt" exported
